// The OpenAPI document of the routes. What each route takes and answers stands in rest/openapi/*.json; what it needs
// stands in the table of routes, and the answers that follow from that (no key, no permission, no JSON, ...) are the
// same for all. Here these come together, so that each is written once.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "control/people.hpp"

namespace vaultysclaw::control::rest {

// The parts, base.json first. Made by the build.
std::vector<std::string_view> openApiParts();
// The style sheet of the readable page. Made by the build.
std::vector<std::string_view> docsPageStyle();

struct RouteNeeds {
  std::string_view method, pattern;
  Permission needs;
};

// Immutable. Its texts are over 100 kB each.
class OpenApi {
 public:
  OpenApi(const std::vector<RouteNeeds>& routes, std::string_view version);

  struct Operation {
    std::string id, summary;
  };
  // Empty texts when the parts do not describe it.
  Operation operation(std::string_view method, std::string_view pattern) const;
  const std::string& json() const { return json_; }
  const std::string& page() const { return page_; }
  // The page's Content-Security-Policy: its own style and nothing else.
  const std::string& pagePolicy() const { return pagePolicy_; }

 private:
  nlohmann::ordered_json document_;
  std::string json_, page_, pagePolicy_;
};

// The word of x-vaultysclaw-permission.
std::string_view permissionWord(Permission permission);
std::optional<Permission> permissionFrom(std::string_view word);

// The document as a page of HTML without scripts.
std::string docsPage(const nlohmann::ordered_json& document, std::string_view style);

}  // namespace vaultysclaw::control::rest
