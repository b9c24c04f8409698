// Strict reading of a request's JSON body and query: everything wrong is collected with the member's name, so that one
// answer tells all of it, and members nobody asked for are refused.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "net/http.hpp"
#include "protocol/messages.hpp"
#include "rest/api_error.hpp"
#include "store/control_store.hpp"

namespace vaultysclaw::control::rest {

// One JSON object. A JSON null counts as absent, except for isNull(). Confined to one request.
class Body {
 public:
  // An empty body is `{}`. Errors: 415 for another content type, 400 for bytes that are not one strict JSON object.
  static std::variant<Body, ApiError> parse(const net::HttpRequest& request);

  // Absent and null differ here. Asking for a member, in whatever way, makes it known.
  bool has(std::string_view name);
  bool isNull(std::string_view name);

  std::optional<std::string> text(std::string_view name, std::size_t maxBytes = 4096);
  std::string requiredText(std::string_view name, std::size_t maxBytes = 4096);
  // Text that is wiped here once it is taken. What the HTTP server has of it is not.
  std::optional<SecretBytes> secret(std::string_view name, std::size_t maxBytes);
  std::optional<std::int64_t> integer(std::string_view name, std::int64_t min, std::int64_t max);
  std::optional<bool> flag(std::string_view name);
  std::optional<std::vector<std::string>> textList(std::string_view name, std::size_t maxItems, std::size_t maxBytes);
  std::optional<WallTime> time(std::string_view name);
  // The member's bytes as they stand in the body; must be an object.
  std::optional<protocol::RawJson> rawObject(std::string_view name);
  std::optional<Body> object(std::string_view name);
  std::optional<std::vector<Body>> objects(std::string_view name, std::size_t maxItems);

  void problem(std::string_view name, std::string reason);
  // Takes over what an object inside found, unknown members included.
  void absorb(Body inner);
  // The problems so far and the members that were never asked for; nothing when all is well.
  std::optional<ApiError> finish();

 private:
  Body(std::string_view validObject, std::string prefix);
  struct Member {
    std::string raw;
    bool used = false;
  };
  Member* find(std::string_view name);
  Member* present(std::string_view name);  // not null
  void collectUnknown();

  std::string prefix_;
  std::map<std::string, Member, std::less<>> members_;
  std::vector<std::string> asked_;
  std::vector<Problem> problems_;
};

// Query parameters by the same rules.
class Query {
 public:
  // `lenient`: parameters nobody asked for are ignored (the original's paths know more than we do).
  enum class Unknown : bool { Refuse, Ignore };
  Query(const net::HttpRequest& request, Unknown unknown) : request_(request), unknown_(unknown) {}

  std::optional<std::string> text(std::string_view name);
  std::optional<std::string> oneOf(std::string_view name, std::initializer_list<std::string_view> values);
  std::optional<std::int64_t> integer(std::string_view name, std::int64_t min, std::int64_t max);
  std::optional<WallTime> time(std::string_view name);
  // limit (1 to 500, default 50) and offset; or, as the original has it, page and pageSize.
  store::Page page();
  void problem(std::string_view name, std::string reason) {
    problems_.push_back({std::string(name), std::move(reason)});
  }
  std::optional<ApiError> finish();

 private:
  const net::HttpRequest& request_;
  Unknown unknown_;
  std::vector<std::string> asked_;
  std::vector<Problem> problems_;
};

}  // namespace vaultysclaw::control::rest
