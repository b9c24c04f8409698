// What every command that talks to a control plane needs: the connection, the streams, and words for what went wrong.
#pragma once

#include <istream>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <string>

#include "cli/cli.hpp"
#include "http_client.hpp"
#include "output.hpp"

namespace vaultysclaw::cli {

struct GlobalOptions {
  std::string url = "http://127.0.0.1:3000";
  std::string tokenFile = "./.vaultys/control-plane/api.token";
  std::string caFile;
  bool allowPlaintext = false;  // the token may go over http:// to another machine
  bool json = false;
};

using Json = nlohmann::ordered_json;

// One answer of the control plane: the parsed body and the bytes it came in.
struct Answer {
  Json body;
  std::string raw;
};

// Confined to one thread. Functions that return an optional have said on `err` what went wrong when it is empty; then
// exitCode() is what the command ends with.
class Context {
 public:
  Context(Environment& environment, GlobalOptions options);

  Environment& environment() { return environment_; }
  std::istream& in() { return environment_.in; }
  std::ostream& out() { return environment_.out; }
  std::ostream& err() { return environment_.err; }
  const GlobalOptions& options() const { return options_; }
  bool json() const { return options_.json; }
  const Painter& painter() const { return painter_; }
  const Painter& errorPainter() const { return errorPainter_; }
  int exitCode() const { return exitCode_; }

  std::optional<Answer> call(const std::string& method, const std::string& path, const std::string& body = "",
                             Duration timeout = seconds(30));
  HttpClient* client();  // null when there is no token to use: said so
  // Says what an answer that is not a success means and what to do.
  void explain(const ClientReply& reply);
  void explain(const Error& error);

  // The DID of an agent given by DID or by a name that only one has.
  std::optional<std::string> agentDid(const std::string& didOrName);
  // The id of a registration given by id, or by the DID or name of the agent that waits.
  std::optional<std::string> registrationId(const std::string& idOrName);

  // Prints `message`, and `next` as what to do; ends the command with `exitCode`.
  int fail(int exitCode, const std::string& message, const std::string& next = "");
  // The raw JSON of an answer, one line.
  void printJson(const Answer& answer);

 private:
  Environment& environment_;
  GlobalOptions options_;
  Painter painter_, errorPainter_;
  std::optional<HttpClient> client_;
  int exitCode_ = kOk;
};

// A member of an object as text: "" when absent or null, JSON for what is not a string.
std::string textOf(const Json& object, const char* member);
std::string joined(const Json& object, const char* member, const char* separator = ", ");
// "2026-01-31T12:00:00.000Z" as "2026-01-31 12:00:00".
std::string shortTime(const std::string& iso);

}  // namespace vaultysclaw::cli
