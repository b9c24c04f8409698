#include "rest/api_error.hpp"

#include <set>

#include "base/json_writer.hpp"

namespace vaultysclaw::control::rest {

ApiError invalidRequest(std::vector<Problem> problems) {
  std::string text = "the request is not valid";
  if (!problems.empty()) text += ": " + problems.front().member + " " + problems.front().reason;
  if (problems.size() > 1) text += " (and " + std::to_string(problems.size() - 1) + " more, see details)";
  return {Errc::InvalidArgument, std::move(text), 0, std::move(problems), {}};
}

net::HttpResponse jsonResponse(int status, std::string body) {
  net::HttpResponse response;
  response.status = status;
  response.headers = {{"Content-Type", "application/json; charset=utf-8"}};
  body.push_back('\n');
  response.body = std::move(body);
  return response;
}

net::HttpResponse errorResponse(const ApiError& error, WallTime now) {
  const int status = error.status != 0 ? error.status : httpStatus(error.code);
  JsonWriter w;
  w.beginObject();
  w.member("error", error.text);
  w.member("code", name(error.code));
  w.member("statusCode", status);
  w.key("details").beginObject();
  std::set<std::string_view> told;  // the first of a member stands
  for (const Problem& problem : error.details) {
    if (told.insert(problem.member).second) w.member(problem.member, problem.reason);
  }
  w.endObject();
  w.member("timestamp", toIso8601(now));
  w.endObject();
  net::HttpResponse response = jsonResponse(status, w.take());
  response.headers.insert(response.headers.end(), error.headers.begin(), error.headers.end());
  return response;
}

}  // namespace vaultysclaw::control::rest
