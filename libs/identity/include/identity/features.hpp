// What each side of a handshake lists in its signed metadata (docs/protocol.md 7.2). Pure; any thread.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "base/msgpack.hpp"
#include "base/result.hpp"

namespace vaultysclaw::identity {

namespace feature {
inline constexpr std::string_view kSeal = "seal", kIntentV2 = "intent-v2", kSignedResults = "signed-results",
                                  kResultAck = "result-ack", kControlV2 = "control-v2";
}  // namespace feature

// A list of features: a value, sorted, without duplicates. Names that this version does not know are kept, for they
// count when a later list is shorter.
class Features {
 public:
  Features() = default;
  // What this version speaks, agents and control planes alike.
  static const Features& ours();
  // Member `features` of signed metadata; absent: none. Malformed: not an array of strings. TooLarge: over 32, or one
  // that is not 1 to 64 printable ASCII characters.
  static Result<Features> fromMetadata(const msgpack::Value& metadata);
  // Back from text(). Malformed.
  static Result<Features> fromText(std::string_view text);

  bool has(std::string_view name) const { return names_.contains(name); }
  bool empty() const { return names_.empty(); }
  Features without(std::string_view name) const;
  // What is in use between two signed version 1 lists: what both have; without `seal` only control-v2, and without
  // signed-results no result-ack.
  Features with(const Features& other) const;
  // What `other` has and this list has not, separated by ", "; empty when nothing is missing.
  std::string missing(const Features& other) const;

  msgpack::Value toMetadata() const;
  std::string text() const;  // one per line
  const std::set<std::string, std::less<>>& names() const { return names_; }
  bool operator==(const Features&) const = default;

 private:
  std::set<std::string, std::less<>> names_;
};

}  // namespace vaultysclaw::identity
