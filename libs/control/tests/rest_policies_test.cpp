#include "people_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

class RestPolicies : public PeopleFixture {
 protected:
  RestPolicies() {
    EXPECT_TRUE(store
                    ->writeBlocking([](store::ControlWriter& w) {
                      return w.putWorkspace({.id = store::WorkspaceId("w-1"), .name = "lab"});
                    })
                    .ok());
    restart();
    plane.policies().onChanged = [this](const std::vector<Did>& agents, const std::string& reason) {
      concerned = agents;
      why = reason;
      return agents;
    };
  }
  json add(const std::string& body) {
    const Answer answer = as("admin", "POST", "/api/policies", body);
    EXPECT_EQ(answer.status, 201) << answer.body;
    return answer.parsed()["policy"];
  }
  std::vector<Did> concerned;
  std::string why;
};

TEST_F(RestPolicies, AreAddedListedReadAndRevoked) {
  const Answer added = as(
      "admin", "POST", "/api/policies",
      R"({"name":"audit","did":")" + kDid.value +
          R"(","capabilities":["echo"],"resourceLimits":{"maxRequestsPerHour":5},"expiresAt":"2999-01-01T00:00:00.000Z","reason":"r"})");
  ASSERT_EQ(added.status, 201) << added.body;
  EXPECT_EQ(added.parsed()["sentTo"], json({kDid.value}));
  EXPECT_EQ(added.header("ETag"), "\"1\"");
  EXPECT_EQ(why, "r");
  const json policy = added.parsed()["policy"];
  EXPECT_EQ(policy["did"], kDid.value);
  EXPECT_EQ(policy["workspaceId"], nullptr);
  EXPECT_EQ(policy["capabilities"], json({"echo"}));
  EXPECT_EQ(policy["resourceLimits"], json({{"maxRequestsPerHour", 5}}));
  EXPECT_EQ(policy["createdBy"], "user:admin");
  EXPECT_EQ(policy["status"], "live");
  const std::string path = "/api/policies/" + policy["id"].get<std::string>();
  EXPECT_EQ(as("admin", "GET", path).parsed(), policy);

  const json shared = add(R"({"workspace":"lab","resourceLimits":{"maxTokensPerDay":1}})");
  EXPECT_EQ(shared["workspaceId"], "w-1");
  EXPECT_EQ(shared["capabilities"], nullptr);
  const auto list = [&](const std::string& query) {
    const json page = as("admin", "GET", "/api/policies" + query).parsed();
    std::vector<std::string> ids;
    for (const json& item : page["items"]) ids.push_back(item["id"]);
    EXPECT_EQ(page["pagination"]["total"], ids.size());
    return ids;
  };
  EXPECT_EQ(list(""), (std::vector<std::string>{shared["id"], policy["id"]})) << "the newest first";
  EXPECT_EQ(list("?did=" + kDid.value), std::vector<std::string>{policy["id"]});
  EXPECT_EQ(list("?workspace=lab"), std::vector<std::string>{shared["id"]});
  EXPECT_TRUE(list("?workspace=none").empty());

  auto stale = requestBy(secret("admin", kAllScopes), "DELETE", path);
  stale.headers.emplace_back("If-Match", "\"7\"");
  EXPECT_EQ(send(stale).status, 412);
  const Answer revoked = as("admin", "DELETE", path);
  EXPECT_EQ(revoked.status, 200);
  EXPECT_EQ(revoked.parsed()["policy"]["status"], "revoked");
  EXPECT_EQ(revoked.parsed()["sentTo"], json({kDid.value}));
  EXPECT_EQ(as("admin", "DELETE", path).status, 409);
  EXPECT_EQ(list("?status=live"), std::vector<std::string>{shared["id"]});
  EXPECT_EQ(list("?status=revoked"), std::vector<std::string>{policy["id"]});
  EXPECT_EQ(as("admin", "GET", "/api/policies/none").status, 404);
}

TEST_F(RestPolicies, SayWhatIsWrongWithThem) {
  const auto details = [&](const std::string& body) {
    const Answer answer = as("admin", "POST", "/api/policies", body);
    EXPECT_EQ(answer.status, 400) << answer.body;
    return answer.parsed()["details"];
  };
  EXPECT_TRUE(details(R"({"capabilities":[]})").contains("body"));
  EXPECT_TRUE(details(R"({"did":")" + kDid.value + R"(","workspace":"lab"})").contains("body"));
  EXPECT_TRUE(details(R"({"did":"x'; DROP TABLE policies; --","capabilities":[]})").contains("did"));
  EXPECT_TRUE(details(R"({"workspace":"lab","capabilities":["\u0000"]})").contains("capabilities"));
  EXPECT_TRUE(details(R"({"workspace":"lab","expiresAt":"soon"})").contains("expiresAt"));
  EXPECT_TRUE(details(R"({"workspace":"lab","capabilities":[],"and":1})").contains("and"));
  EXPECT_EQ(as("admin", "POST", "/api/policies", R"({"workspace":"lab"})").status, 400);
  EXPECT_EQ(as("admin", "POST", "/api/policies", R"({"workspace":"'; --","capabilities":[]})").status, 404);
}

TEST_F(RestPolicies, AnswerTheOriginalsPaths) {
  const Answer added = as("admin", "POST", "/api/admin/policies",
                          R"({"agentDid":")" + kDid.value + R"(","workspaceId":null,"capabilities":["echo"]})");
  ASSERT_EQ(added.status, 201) << added.body;
  const json list = as("admin", "GET", "/api/admin/policies?includeExpired=true").parsed();
  EXPECT_EQ(list["policies"][0], added.parsed()["policy"]);
  EXPECT_EQ(list["policies"], list["items"]);
}

}  // namespace
}  // namespace vaultysclaw::control::testing
