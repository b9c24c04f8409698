// Errors as REST answers: {error, code, statusCode, details, timestamp}.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.hpp"
#include "base/ports.hpp"
#include "net/http.hpp"

namespace vaultysclaw::control::rest {

struct Problem {
  std::string member;
  std::string reason;
};

// Value type.
struct ApiError {
  Errc code = Errc::Internal;
  std::string text;
  int status = 0;  // 0: the code's own
  std::vector<Problem> details;
  net::Headers headers;
};

inline ApiError toApiError(const Error& error) {
  return {error.code, error.message, 0, {}, {}};
}
ApiError invalidRequest(std::vector<Problem> problems);
net::HttpResponse errorResponse(const ApiError& error, WallTime now);
net::HttpResponse jsonResponse(int status, std::string body);

}  // namespace vaultysclaw::control::rest
