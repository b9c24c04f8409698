#include "base/error.hpp"

#include "base/assert.hpp"

namespace vaultysclaw {
namespace {

struct Row {
  Errc code;
  std::string_view name;
  std::string_view wire;
  int http;
};

constexpr Row kRows[] = {
    {Errc::InvalidArgument, "invalid_argument", "invalid", 400},
    {Errc::Malformed, "malformed", "invalid", 400},
    {Errc::TooLarge, "too_large", "invalid", 413},
    {Errc::BadSignature, "bad_signature", "policy_denied", 401},
    {Errc::Unauthenticated, "unauthenticated", "policy_denied", 401},
    {Errc::PolicyDenied, "policy_denied", "policy_denied", 403},
    {Errc::Expired, "expired", "policy_denied", 410},
    {Errc::Replayed, "replayed", "invalid", 409},
    {Errc::NotFound, "not_found", "not_found", 404},
    {Errc::Conflict, "conflict", "invalid", 409},
    {Errc::Busy, "busy", "busy", 429},
    {Errc::DeadlineExceeded, "deadline_exceeded", "deadline_exceeded", 504},
    {Errc::Cancelled, "cancelled", "cancelled", 499},
    {Errc::Interrupted, "interrupted", "interrupted", 503},
    {Errc::Unavailable, "unavailable", "failed", 503},
    {Errc::ConnectionLost, "connection_lost", "failed", 502},
    {Errc::Unsupported, "unsupported", "invalid", 501},
    {Errc::Io, "io_error", "failed", 500},
    {Errc::Failed, "failed", "failed", 500},
    {Errc::Internal, "internal", "failed", 500},
};

const Row& row(Errc code) {
  for (const Row& r : kRows) {
    if (r.code == code) return r;
  }
  VC_UNREACHABLE("an Errc without a row");
}

}  // namespace

std::string_view name(Errc code) {
  return row(code).name;
}
std::string_view wireCode(Errc code) {
  return row(code).wire;
}
int httpStatus(Errc code) {
  return row(code).http;
}

}  // namespace vaultysclaw
