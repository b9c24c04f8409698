// The OpenAPI document against the routes: neither may know what the other does not.
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>

#include "base/bytes.hpp"
#include "people_fixture.hpp"

namespace vaultysclaw::control::testing {
namespace {

using Names = std::set<std::string>;

std::string templateOf(std::string pattern) {
  std::string out;
  std::istringstream parts(pattern.substr(1));
  for (std::string part; std::getline(parts, part, '/');)
    out += part.front() == ':' ? "/{" + part.substr(1) + "}" : "/" + part;
  return out;
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(c));
  return text;
}

class RestOpenApi : public PeopleFixture {
 protected:
  RestOpenApi() {
    intent_.row.did = kDid;
    plane.intentRows.push_back(intent_);
    document = withoutKey("/api/openapi.json").parsed();
    routes = as("owner", "GET", "/api").parsed()["routes"];
  }

  Answer withoutKey(const std::string& path) {
    auto r = request("GET", path);
    std::erase_if(r.headers, [](const auto& header) { return header.first == "Authorization"; });
    return send(std::move(r));
  }
  const json& resolved(const json& value) const {
    if (!value.contains("$ref")) return value;
    return document.at(json::json_pointer(value["$ref"].get<std::string>().substr(1)));
  }
  // The path, its operations and each operation's method.
  template <class F>
  void forEachOperation(F f) const {
    for (const auto& [path, item] : document["paths"].items()) {
      for (const auto& [method, operation] : item.items()) {
        if (method != "parameters") f(path, item, method, operation);
      }
    }
  }
  Answer ask(std::string path, std::string method, const std::string& query, const std::string& body) {
    const auto fill = [&](const std::string& name, const std::string& value) {
      if (const auto at = path.find(name); at != std::string::npos) path.replace(at, name.size(), value);
    };
    fill("{did}", kDid.value);
    fill("{conversationId}", "c");
    fill("{user}", "owner");
    fill("{grant}", "none");
    fill("{id}", path.starts_with("/api/workspaces") ? "default" : "owner");
    for (char& c : method) c = static_cast<char>(std::toupper(c));
    net::HttpRequest asked = requestBy(secret("owner", kAllScopes), method, path + query, body);
    asked.peer.protection = net::Protection::Loopback;  // or nobody could log in
    return send(std::move(asked));
  }
  // What the route says that it knows, when it was given a `member` that it does not.
  static Names knownBeside(const Answer& answer, const std::string& member) {
    const json details = answer.parsed()["details"];
    if (!details.contains(member)) return {"no word of " + member + ": " + answer.body};
    const std::string text = details[member], mark = "it knows ";
    const auto at = text.find(mark);
    if (at == std::string::npos) return {text};
    Names names;
    std::istringstream words(text.substr(at + mark.size()));
    for (std::string word; std::getline(words >> std::ws, word, ',');) names.insert(word);
    names.erase("none");
    return names;
  }
  // A deprecated name may be one that the route looks for only when the other is missing.
  static void expectSame(const Names& known, const Names& documented, const Names& deprecated,
                         const std::string& what) {
    Names missing, unknown;
    for (const std::string& name : known) {
      if (documented.count(name) + deprecated.count(name) == 0) missing.insert(name);
    }
    for (const std::string& name : documented) {
      if (known.count(name) == 0) unknown.insert(name);
    }
    EXPECT_EQ(missing, Names()) << what << " knows them, and they are not documented";
    EXPECT_EQ(unknown, Names()) << what << " does not know them, and they are documented";
  }
  // Of a body's schema and of the objects inside it; `sample` makes a body with one object at that place.
  void compareMembers(const json& schema, const std::string& prefix,
                      const std::function<std::string(std::string)>& sample,
                      const std::function<Answer(std::string)>& post, const std::string& what) {
    Names documented, deprecated;
    const json properties = schema.value("properties", json::object());
    for (const auto& [name, member] : properties.items())
      (member.value("deprecated", false) ? deprecated : documented).insert(name);
    expectSame(knownBeside(post(sample(R"({"zzz":1})")), prefix + "zzz"), documented, deprecated, what + " " + prefix);
    for (const auto& [name, property] : properties.items()) {
      json member = resolved(property);
      if (member.contains("anyOf")) member = resolved(member["anyOf"][0]);
      const bool list = member.contains("items");
      const json inner = list ? resolved(member["items"]) : member;
      if (inner.value("type", json()) != "object" || inner.value("additionalProperties", true)) continue;
      compareMembers(
          inner, prefix + name + (list ? "[0]." : "."),
          [&, &n = name](const std::string& inside) {
            return sample("{\"" + n + "\":" + (list ? "[" + inside + "]" : inside) + "}");
          },
          post, what);
    }
  }

  ControlPlane::IntentView intent_;
  json document, routes;
};

TEST_F(RestOpenApi, HasAnOperationForEveryRouteAndNoOther) {
  Names ofRoutes, ofDocument;
  for (const json& route : routes) {
    ofRoutes.insert(lower(route["method"]) + " " + templateOf(route["path"]));
    EXPECT_NE(route["operationId"], "") << route;
    EXPECT_NE(route["about"], "") << route;
  }
  forEachOperation([&](const std::string& path, const json&, const std::string& method, const json&) {
    ofDocument.insert(method + " " + path);
  });
  EXPECT_EQ(ofRoutes, ofDocument);
  EXPECT_GT(ofRoutes.size(), 30u);
}

// Those that have no route do not reach the document.
TEST_F(RestOpenApi, DescribesNoOperationWithoutARoute) {
  Names described, answered;
  for (const auto& file : std::filesystem::directory_iterator(VC_SOURCE_DIR "/libs/control/src/rest/openapi")) {
    if (file.path().extension() != ".json") continue;
    std::ifstream in(file.path());
    const json part = json::parse(in);
    for (const auto& [path, item] : part["paths"].items()) {
      for (const auto& [method, operation] : item.items()) {
        if (method != "parameters") described.insert(method + " " + path);
      }
    }
  }
  forEachOperation([&](const std::string& path, const json&, const std::string& method, const json&) {
    answered.insert(method + " " + path);
  });
  EXPECT_EQ(described, answered);
}

TEST_F(RestOpenApi, SaysWhatTheTableOfRoutesNeeds) {
  const std::map<std::string, std::pair<std::string, json>> kNeeds = {
      {"none", {"open", json::array()}},
      {"any key or session", {"own", json::array()}},
      {"scope read", {"read", {"read"}}},
      {"scope read of an admin or owner", {"oversee", {"read"}}},
      {"scope run", {"run", {"run"}}},
      {"scope operate of an admin or owner", {"operate", {"operate"}}},
      {"scope admin of an admin or owner", {"manage", {"admin"}}},
  };
  for (const json& route : routes) {
    const json& operation = document["paths"][templateOf(route["path"])][lower(route["method"])];
    const auto& [word, scopes] = kNeeds.at(route["needs"]);
    EXPECT_EQ(operation["x-vaultysclaw-permission"], word) << route;
    json security = json::array();
    if (word != "open") security = {{{"apiKey", scopes}}, {{"session", json::array()}}};
    EXPECT_EQ(operation["security"], security) << route;
    const bool refuses = word != "open" || operation["operationId"] == "logIn";
    EXPECT_EQ(operation["responses"].contains("401"), refuses) << route;
    EXPECT_EQ(operation["responses"].contains("403"), refuses) << route;
  }
}

TEST_F(RestOpenApi, HasTheMembersThatBodiesMayHave) {
  int compared = 0;
  forEachOperation([&](const std::string& path, const json&, const std::string& method, const json& operation) {
    if (!operation.contains("requestBody")) {
      EXPECT_NE(method, "post") << path;
      EXPECT_NE(method, "patch") << path;
      return;
    }
    const json& schema = resolved(operation["requestBody"]["content"]["application/json"]["schema"]);
    EXPECT_EQ(schema["additionalProperties"], false) << path;
    compareMembers(
        schema, "", [](const std::string& body) { return body; },
        [&](const std::string& body) { return ask(path, method, "", body); }, method + " " + path);
    ++compared;
  });
  EXPECT_GT(compared, 10);
}

TEST_F(RestOpenApi, HasTheParametersThatQueriesMayHave) {
  int compared = 0;
  forEachOperation([&](const std::string& path, const json& item, const std::string& method, const json& operation) {
    Names documented, deprecated, inPath;
    for (const json* from : {&item, &operation}) {
      for (const json& one : from->value("parameters", json::array())) {
        const json& parameter = resolved(one);
        if (parameter["in"] == "path") inPath.insert(parameter["name"]);
        if (parameter["in"] == "query")
          (parameter.value("deprecated", false) ? deprecated : documented).insert(parameter["name"]);
      }
    }
    for (const std::string& name : inPath) EXPECT_NE(path.find("{" + name + "}"), std::string::npos) << path;
    EXPECT_EQ(static_cast<std::size_t>(std::count(path.begin(), path.end(), '{')), inPath.size()) << path;
    if (operation.contains("requestBody")) {
      EXPECT_EQ(documented, Names()) << path;
      return;
    }
    const Answer answer = ask(path, method, "?zzz=1", "");
    if (answer.status == 400) {
      expectSame(knownBeside(answer, "zzz"), documented, deprecated, method + " " + path);
      ++compared;
    } else {
      EXPECT_EQ(documented, Names()) << method << ' ' << path << " ignores what the query says";
    }
  });
  EXPECT_GT(compared, 5);
}

TEST_F(RestOpenApi, IsStrictAndHasNoLooseEnds) {
  Names ids, used;
  const std::function<void(const json&)> look = [&](const json& value) {
    if (value.is_object() && value.contains("$ref")) {
      used.insert(value["$ref"]);
      EXPECT_NO_THROW(resolved(value)) << value;
    }
    if (value.is_object() && value.contains("properties") && value["properties"].is_object() &&
        value.value("type", json()) == "object") {
      // Those that are open say so themselves.
      EXPECT_TRUE(value.contains("additionalProperties")) << value;
      for (const json& name : value.value("required", json::array()))
        EXPECT_TRUE(value["properties"].contains(name)) << name;
    }
    if (value.is_structured()) {
      for (const json& inside : value) look(inside);
    }
  };
  look(document);
  for (const auto& [section, members] : document["components"].items()) {
    if (section == "securitySchemes") continue;
    for (const auto& [name, value] : members.items())
      EXPECT_EQ(used.count("#/components/" + section + "/" + name), 1u) << name << " is not used";
  }
  forEachOperation([&](const std::string& path, const json&, const std::string&, const json& operation) {
    EXPECT_TRUE(ids.insert(operation["operationId"]).second) << path;
    EXPECT_EQ(operation["tags"].size(), 1u) << path;
    EXPECT_NE(operation["summary"].get<std::string>().back(), '.') << path;
  });
  EXPECT_EQ(document["info"]["version"], as("owner", "GET", "/api").parsed()["version"]);
  EXPECT_EQ(document["servers"][0]["url"], "/");
}

TEST_F(RestOpenApi, ThePageShowsEveryOperationAndSchemaAndRunsNothing) {
  const Answer page = withoutKey("/api/docs");
  ASSERT_EQ(page.status, 200);
  EXPECT_EQ(page.header("Content-Type"), "text/html; charset=utf-8");
  EXPECT_TRUE(page.body.starts_with("<!doctype html>"));
  forEachOperation([&](const std::string& path, const json&, const std::string&, const json& operation) {
    const std::string id = operation["operationId"];
    EXPECT_NE(page.body.find("<article id=\"" + id + "\">"), std::string::npos) << path;
    EXPECT_NE(page.body.find("href=\"#" + id + "\""), std::string::npos) << path;
  });
  for (const auto& [name, schema] : document["components"]["schemas"].items())
    EXPECT_NE(page.body.find("<article id=\"schema-" + name + "\">"), std::string::npos) << name;
  // Every link on it leads somewhere.
  for (std::size_t at = page.body.find("href=\"#"); at != std::string::npos; at = page.body.find("href=\"#", at + 1)) {
    const std::string id = page.body.substr(at + 7, page.body.find('"', at + 7) - at - 7);
    EXPECT_NE(page.body.find("id=\"" + id + "\""), std::string::npos) << id;
  }
  for (const char* active : {"<script", " style=", " onclick", "<img", "<link", "src="})
    EXPECT_EQ(page.body.find(active), std::string::npos) << active;
  // Brackets of the descriptions are text.
  EXPECT_EQ(page.body.find("<NAME>"), std::string::npos);
}

TEST_F(RestOpenApi, ThePageMayUseItsOwnStyleAndNothingElse) {
  const Answer page = withoutKey("/api/docs");
  const auto begin = page.body.find("<style>") + 7, end = page.body.find("</style>");
  ASSERT_NE(end, std::string::npos);
  const auto hash = identity::sha256(asBytes(page.body.substr(begin, end - begin)));
  EXPECT_EQ(page.header("Content-Security-Policy"),
            "default-src 'none'; style-src 'sha256-" + base64Encode(hash) +
                "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
  EXPECT_EQ(std::count_if(page.headers.begin(), page.headers.end(),
                          [](const auto& h) { return h.first == "Content-Security-Policy"; }),
            1);
  EXPECT_EQ(page.header("X-Content-Type-Options"), "nosniff");
}

TEST_F(RestOpenApi, WithoutAKeyTheDocumentsCannotBeAskedForWithoutEnd) {
  int refused = 0;
  for (int i = 0; i < 700; ++i) refused += withoutKey(i % 2 == 0 ? "/api/docs" : "/api/openapi.json").status == 429;
  EXPECT_GE(refused, 100);
  EXPECT_EQ(withoutKey("/api/docs").header("Retry-After"), "60");
  EXPECT_EQ(withoutKey("/health").status, 200);
  clock.advance(seconds(60));
  EXPECT_EQ(withoutKey("/api/docs").status, 200);
}

TEST_F(RestOpenApi, OtherMethodsOfAnOpenPathNeedAKey) {
  auto r = request("POST", "/api/docs");
  std::erase_if(r.headers, [](const auto& header) { return header.first == "Authorization"; });
  EXPECT_EQ(send(r).status, 401);
  auto head = request("HEAD", "/api/docs");
  std::erase_if(head.headers, [](const auto& header) { return header.first == "Authorization"; });
  EXPECT_EQ(send(head).status, 200);
  EXPECT_EQ(withoutKey("/api/docs/more").status, 401);
}

}  // namespace
}  // namespace vaultysclaw::control::testing
