// Grants and peer grants over REST.
#include "people_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

const Did kOther("did:vaultys:" + std::string(40, '2'));

class RestGrants : public PeopleFixture {
 protected:
  RestGrants() {
    const auto agents = [](store::ControlWriter& w) -> Status {
      VC_TRY(w.putAgent({.did = kOther, .publicId = {2}, .name = "other"}));
      return w.putAgent({.did = kDid, .publicId = {1}, .name = "echo", .capabilities = R"(["echo"])"});
    };
    EXPECT_TRUE(store->writeBlocking(agents).ok());
  }
  std::string add(const std::string& user) {
    const Answer made = as("admin", "POST", "/api/grants",
                           R"({"user":")" + user + R"(","did":")" + kDid.value + R"(","capabilities":["echo"]})");
    EXPECT_EQ(made.status, 201) << made.body;
    return made.parsed()["grant"]["id"];
  }
};

TEST_F(RestGrants, AreGivenListedAndRevoked) {
  const Answer made = as("admin", "POST", "/api/grants",
                         R"({"user":"member","did":")" + kDid.value +
                             R"(","capabilities":["echo"],"expiresAt":"2099-01-01T00:00:00.000Z"})");
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(made.header("ETag"), "\"1\"");
  const json grant = made.parsed()["grant"];
  EXPECT_EQ(made.parsed()["sentTo"], json::array());
  EXPECT_EQ(grant["user"], "member");
  EXPECT_EQ(grant["userDid"], plane.people().find("member")->did);
  EXPECT_EQ(grant["did"], kDid.value);
  EXPECT_EQ(grant["capabilities"], json::array({"echo"}));
  EXPECT_EQ(grant["status"], "live");
  EXPECT_EQ(grant["expiresAt"], "2099-01-01T00:00:00.000Z");
  EXPECT_EQ(grant["createdBy"], "user:admin");
  const std::string path = "/api/grants/" + grant["id"].get<std::string>();
  EXPECT_EQ(as("owner", "GET", path).parsed(), grant);

  auto revoke = requestBy(secret("owner", "operate"), "DELETE", path);
  revoke.headers.emplace_back("If-Match", "\"7\"");
  EXPECT_EQ(send(revoke).status, 412);
  revoke.headers.back().second = "\"1\"";
  const Answer gone = send(revoke);
  ASSERT_EQ(gone.status, 200) << gone.body;
  EXPECT_EQ(gone.parsed()["grant"]["status"], "revoked");
  EXPECT_EQ(gone.parsed()["grant"]["version"], 2);
  EXPECT_EQ(as("owner", "GET", "/api/grants?status=live").parsed()["items"], json::array());
  EXPECT_EQ(as("owner", "GET", "/api/grants?status=revoked&user=member&did=" + kOther.value).parsed()["items"].size(),
            0U);
  EXPECT_EQ(as("owner", "GET", "/api/grants?status=revoked&user=member&did=" + kDid.value).parsed()["items"].size(),
            1U);
  const auto rows = audited();
  EXPECT_EQ(rows.back().action, "grant.revoke");
  EXPECT_EQ(rows.back().details, R"({"user":"member","did":")" + kDid.value +
                                     R"(","capabilities":"[\"echo\"]","expiresAt":"2099-01-01T00:00:00.000Z",)"
                                     R"("from":"live","to":"revoked","reason":""})");
}

TEST_F(RestGrants, MembersSeeTheirOwn) {
  const std::string others = add("admin"), own = add("member");
  const json seen = as("member", "GET", "/api/grants").parsed()["items"];
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0]["id"], own);
  EXPECT_EQ(as("member", "GET", "/api/grants/" + own).status, 200);
  EXPECT_EQ(as("member", "GET", "/api/grants/" + others).status, 404);
  EXPECT_EQ(as("member", "GET", "/api/grants?user=admin").status, 403);
  EXPECT_EQ(as("member", "GET", "/api/grants?user=member").status, 200);
  EXPECT_EQ(as("member", "GET", "/api/users/admin/grants").status, 403);
  EXPECT_EQ(as("admin", "GET", "/api/grants").parsed()["items"].size(), 2U);
}

TEST_F(RestGrants, SayWhatIsWrong) {
  const struct {
    const char* body;
    int status;
    const char* member;
  } cases[] = {
      {R"({"capabilities":["echo"]})", 400, "user"},
      {R"({"user":"member"})", 400, "capabilities"},
      {R"({"user":"member","capabilities":[]})", 400, "capabilities"},
      {R"({"user":"member","capabilities":["a"],"capability":"b"})", 400, "capability"},
      {R"({"user":"member","capabilities":["a"],"did":"x"})", 400, "did"},
      {R"({"user":"member","capabilities":["a"],"expiresAt":"never"})", 400, "expiresAt"},
      {R"({"user":"member","capabilities":["a"],"more":1})", 400, "more"},
      {R"({"user":"nobody","capabilities":["a"]})", 404, nullptr},
  };
  for (const auto& c : cases) {
    const Answer answer = as("owner", "POST", "/api/grants", c.body);
    EXPECT_EQ(answer.status, c.status) << c.body << answer.body;
    EXPECT_TRUE(c.member == nullptr || answer.parsed()["details"].contains(c.member)) << answer.body;
  }
  EXPECT_EQ(as("owner", "GET", "/api/grants?did=x").status, 400);
  EXPECT_EQ(as("owner", "GET", "/api/grants?user=nobody").status, 404);
  EXPECT_EQ(as("owner", "DELETE", "/api/grants/x").status, 404);
}

TEST_F(RestGrants, AreReachedAsTheOriginalHasThem) {
  const std::string path = "/api/admin/users/" + plane.people().find("member")->did + "/grants";
  const Answer made = as("admin", "POST", path, R"({"agentDid":")" + kDid.value + R"(","capability":"echo"})");
  ASSERT_EQ(made.status, 201) << made.body;
  const std::string id = made.parsed()["grant"]["id"];
  EXPECT_EQ(made.parsed()["grant"]["capabilities"], json::array({"echo"}));
  const json listed = as("admin", "GET", path).parsed()["grants"];
  ASSERT_EQ(listed.size(), 1U);
  EXPECT_EQ(listed[0]["id"], id);
  EXPECT_EQ(as("admin", "DELETE", "/api/admin/users/owner/grants/" + id).status, 404) << "it is another user's";
  EXPECT_EQ(as("admin", "DELETE", path + "/" + id).parsed()["grant"]["status"], "revoked");
}

TEST_F(RestGrants, ThoseOfPeersToo) {
  const std::string body =
      R"({"source":")" + kOther.value + R"(","target":")" + kDid.value + R"(","capabilities":["echo"],)";
  const Answer made = as("admin", "POST", "/api/peer-grants", body + R"("skillDescription":"says it"})");
  ASSERT_EQ(made.status, 201) << made.body;
  const json grant = made.parsed()["peerGrant"];
  EXPECT_EQ(grant["source"], kOther.value);
  EXPECT_EQ(grant["targetName"], "echo");
  EXPECT_EQ(grant["skillDescription"], "says it");
  const std::string path = "/api/peer-grants/" + grant["id"].get<std::string>();
  EXPECT_EQ(as("admin", "GET", path).header("ETag"), "\"1\"");
  EXPECT_EQ(as("admin", "GET", "/api/peer-grants?source=" + kOther.value).parsed()["items"].size(), 1U);
  EXPECT_EQ(as("admin", "GET", "/api/peer-grants?target=" + kOther.value).parsed()["items"].size(), 0U);
  EXPECT_EQ(as("admin", "DELETE", path).parsed()["peerGrant"]["status"], "revoked");
  const Answer wrong =
      as("admin", "POST", "/api/peer-grants",
         R"({"source":")" + kOther.value + R"(","target":")" + kDid.value + R"(","capabilities":["mail_send"]})");
  EXPECT_EQ(wrong.status, 400);
  EXPECT_NE(wrong.body.find("mail_send"), std::string::npos);
}

TEST_F(RestGrants, WorkIsForTheUserWhoAsks) {
  ASSERT_EQ(as("member", "POST", kAgentPath + "/run", R"({"action":"echo"})").status, 200);
  const Did member(plane.people().find("member")->did);
  EXPECT_EQ(plane.asked->userDid, member);
  ASSERT_EQ(as("member", "POST", "/api/intents", R"({"did":")" + kDid.value + R"(","action":"echo"})").status, 202);
  EXPECT_EQ(plane.asked->userDid, member);
  ASSERT_EQ(as("owner", "POST", "/api/intents/broadcast", R"({"action":"echo"})").status, 202);
  EXPECT_EQ(plane.asked->userDid, Did(plane.people().find("owner")->did));
  ASSERT_EQ(as("member", "POST", "/api/chat", R"({"did":")" + kDid.value + R"(","message":"hello"})").status, 200);
  EXPECT_EQ(plane.chatRequest->userDid, member);
}

}  // namespace
}  // namespace vaultysclaw::control::testing
