// Runs commands in this process against a scripted HTTP server on loopback.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/fake_loop.hpp"
#include "base/guarded.hpp"
#include "base/temporary_directory.hpp"
#include "cli/cli.hpp"
#include "net/io_loop.hpp"

namespace vaultysclaw::cli::testing {

using ::testing::HasSubstr;
using ::testing::Not;
using json = nlohmann::json;

inline const std::string kDid = "did:vaultys:" + std::string(40, '1');
inline const std::string kOtherDid = "did:vaultys:" + std::string(40, '2');

struct Outcome {
  int code = -1;
  std::string out, err;
};

using vaultysclaw::testing::TemporaryDirectory;

class CliFixture : public ::testing::Test {
 protected:
  // What the server answers to "METHOD /path" (the query is not looked at), or to everything under "*".
  struct Reply {
    int status = 200;
    std::string body;
    std::vector<std::string> events;  // not empty: a stream of these
  };
  struct Seen {
    std::string method, path, body, authorization;
    std::map<std::string, std::string> query;
  };

  void SetUp() override {
    environment["VAULTYSCLAW_TOKEN"] = "vcp_test";
    net::ServerHandlers handlers;
    handlers.onRequest = [this](std::shared_ptr<net::HttpExchange> exchange) { answer(*exchange); };
    auto server = net::listen(loop, {}, std::move(handlers));
    ASSERT_TRUE(server.ok());
    server_ = std::move(*server);
    url = "http://127.0.0.1:" + std::to_string(server_->port());
  }
  void TearDown() override {
    loop.runBlocking([this] { server_.reset(); });
  }

  void on(const std::string& what, Reply reply) {
    replies.with([&](auto& all) { all[what] = std::move(reply); });
  }
  void on(const std::string& what, const json& body, int status = 200) { on(what, Reply{status, body.dump(), {}}); }
  std::vector<Seen> requests() {
    return seen.with([](auto& all) { return all; });
  }

  Outcome run(std::vector<std::string> args, const std::string& input = "", Terminal terminal = Terminal::No) {
    std::istringstream in(input);
    std::ostringstream out, err;
    Environment process{in,
                        out,
                        err,
                        Terminal::No,
                        terminal,
                        Terminal::No,
                        [this](const std::string& name) -> std::optional<std::string> {
                          const auto it = environment.find(name);
                          return it == environment.end() ? std::nullopt : std::optional(it->second);
                        },
                        &clock,
                        [this](Duration time) {
                          ++pauses;
                          clock.advance(time);
                        }};
    if (!url.empty()) args.insert(args.begin(), {"--url", url});
    const int code = cli::run(std::move(args), process);
    return {code, out.str(), err.str()};
  }

  static json agent(const std::string& name, const std::string& did, const std::string& status = "connected") {
    return {{"did", did},
            {"name", name},
            {"status", status},
            {"capabilities", {"echo", "read"}},
            {"lastSeen", "2026-01-31T12:00:00.000Z"}};
  }
  static json listing(json items, bool more = false) {
    return {{"items", items},
            {"pagination", {{"total", items.size()}, {"limit", 50}, {"offset", 0}, {"hasMore", more}}}};
  }

  vaultysclaw::testing::FakeClock clock;
  int pauses = 0;
  TemporaryDirectory directory;
  std::map<std::string, std::string> environment;
  std::string url;
  net::IoLoop loop;
  Guarded<std::map<std::string, Reply>> replies;
  Guarded<std::vector<Seen>> seen;

 private:
  void answer(net::HttpExchange& exchange) {
    const net::HttpRequest& r = exchange.request();
    Seen now{r.method, r.path, r.body, std::string(r.header("authorization").value_or("")), {}};
    for (const auto& [name, value] : r.query) now.query[name] = value;
    seen.with([&](auto& all) { all.push_back(now); });
    const Reply reply = replies.with([&](auto& all) {
      const auto it = all.find(r.method + " " + r.path);
      return it != all.end()     ? it->second
             : all.contains("*") ? all["*"]
                                 : Reply{404, R"({"error":"there is no such path"})", {}};
    });
    if (reply.events.empty()) {
      exchange.respond({reply.status, {{"Content-Type", "application/json"}}, reply.body});
      return;
    }
    exchange.beginStream(200, {{"Content-Type", "text/event-stream"}});
    for (const std::string& event : reply.events) exchange.write(event);
    exchange.endStream();
  }

  std::unique_ptr<net::Server> server_;
};

}  // namespace vaultysclaw::cli::testing
