#include "password.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <optional>

namespace vaultysclaw::control {
namespace {

constexpr std::size_t kLeastBesidesName = 8, kLeastNameBytes = 3;
constexpr std::size_t kLeastDifferentBytes = 5;
constexpr std::size_t kSaltBytes = 16, kHashBytes = 32;
// Of a stored text that is believed: a damaged or forged one must not take the machine's memory.
constexpr PasswordCost kMostBelieved{18, 16, 16};
constexpr std::uint64_t kMostBelievedMemory = std::uint64_t{256} << 20;

// Those of at least 12 bytes that lists of leaked passwords begin with, and what somebody would choose here. Lower
// case.
constexpr std::string_view kCommon[] = {"1234567890ab",
                                        "1234567890qwerty",
                                        "123456789qwerty",
                                        "1q2w3e4r5t6y",
                                        "1qaz2wsx3edc",
                                        "1qaz2wsx3edc4rfv",
                                        "q1w2e3r4t5y6",
                                        "qazwsxedcrfv",
                                        "qwertyuiop[]",
                                        "qwertyuiopas",
                                        "qwertyuiopasdf",
                                        "asdfghjkl;'",
                                        "zaq12wsxcde3",
                                        "abcdefghijkl",
                                        "abcdefghijklm",
                                        "abcd1234abcd",
                                        "thisismypassword",
                                        "correcthorsebatterystaple",
                                        "correct horse battery staple"};
// Words that make no password, whatever digits and signs stand around them and however often they are repeated.
constexpr std::string_view kCommonWords[] = {
    "administrator", "admin",    "changeme", "control", "default", "dragon",   "football",    "iloveyou", "letmein",
    "login",         "master",   "monkey",   "owner",   "passwrd", "password", "princess",    "qwerty",   "qwertyuiop",
    "secret",        "sunshine", "superman", "test",    "user",    "vaultys",  "vaultysclaw", "welcome"};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// How much of `text` is left without `what`.
std::size_t sizeBesides(std::string_view text, std::string_view what) {
  std::size_t left = text.size();
  for (auto at = text.find(what); at != std::string_view::npos; at = text.find(what, at + what.size()))
    left -= what.size();
  return left;
}

bool isLetter(char c) {
  return (c >= 'a' && c <= 'z') || static_cast<unsigned char>(c) >= 0x80;
}

// Each byte is one more, or one less, than the one before, as in 1234567890123.
bool isRow(std::string_view text) {
  for (const int step : {1, -1}) {
    bool row = true;
    for (std::size_t i = 1; i < text.size() && row; ++i) {
      const int difference = text[i] - text[i - 1];
      row = difference == step || difference == -9 * step;  // 9 is followed by 0
    }
    if (row) return true;
  }
  return false;
}

bool isCommon(const std::string& password) {
  if (std::find(std::begin(kCommon), std::end(kCommon), password) != std::end(kCommon) || isRow(password)) return true;
  std::array<bool, 256> seen{};
  for (const char c : password) seen[static_cast<unsigned char>(c)] = true;
  if (static_cast<std::size_t>(std::count(seen.begin(), seen.end(), true)) < kLeastDifferentBytes) return true;
  std::string letters;
  letters.reserve(password.size());
  std::copy_if(password.begin(), password.end(), std::back_inserter(letters), isLetter);
  const bool common =
      !letters.empty() && std::any_of(std::begin(kCommonWords), std::end(kCommonWords),
                                      [&](std::string_view word) { return sizeBesides(letters, word) == 0; });
  wipe(letters);
  return common;
}

struct Stored {
  PasswordCost cost;
  Bytes salt, hash;
};

template <class Number>
bool takeNumber(std::string_view& text, std::string_view label, char end, Number& into) {
  if (!text.starts_with(label)) return false;
  text.remove_prefix(label.size());
  const auto [stop, wrong] = std::from_chars(text.data(), text.data() + text.size(), into);
  const auto taken = static_cast<std::size_t>(stop - text.data());
  if (wrong != std::errc() || taken == text.size() || text[taken] != end) return false;
  text.remove_prefix(taken + 1);
  return true;
}

std::optional<Stored> parse(std::string_view text) {
  Stored out;
  unsigned logN = 0;
  constexpr std::string_view kScheme = "$scrypt$";
  if (!text.starts_with(kScheme)) return std::nullopt;
  text.remove_prefix(kScheme.size());
  if (!takeNumber(text, "ln=", ',', logN) || !takeNumber(text, "r=", ',', out.cost.r) ||
      !takeNumber(text, "p=", '$', out.cost.p))
    return std::nullopt;
  if (logN < 1 || logN > kMostBelieved.logN || out.cost.r < 1 || out.cost.r > kMostBelieved.r || out.cost.p < 1 ||
      out.cost.p > kMostBelieved.p || (std::uint64_t{128} * out.cost.r << logN) > kMostBelievedMemory)
    return std::nullopt;
  out.cost.logN = static_cast<std::uint8_t>(logN);
  const auto dollar = text.find('$');
  if (dollar == std::string_view::npos) return std::nullopt;
  auto salt = base64Decode(text.substr(0, dollar)), hash = base64Decode(text.substr(dollar + 1));
  if (!salt || !hash || salt->size() != kSaltBytes || hash->size() != kHashBytes) return std::nullopt;
  out.salt = std::move(*salt);
  out.hash = std::move(*hash);
  return out;
}

std::string format(const PasswordCost& cost, BytesView salt, BytesView hash) {
  return "$scrypt$ln=" + std::to_string(cost.logN) + ",r=" + std::to_string(cost.r) + ",p=" + std::to_string(cost.p) +
         "$" + base64Encode(salt) + "$" + base64Encode(hash);
}

}  // namespace

std::optional<std::string> whatIsWrongWith(std::string_view password, std::string_view userName) {
  if (password.size() < kMinPasswordBytes)
    return "must have at least " + std::to_string(kMinPasswordBytes) + " bytes: a few words make a good one";
  if (password.size() > kMaxPasswordBytes) return "must have at most " + std::to_string(kMaxPasswordBytes) + " bytes";
  // HMAC, and so scrypt, takes no notice of zero bytes at the end.
  if (password.find('\0') != std::string_view::npos) return "must have no zero bytes";
  std::string plain = lower(password);
  const bool common = isCommon(plain);
  const bool named = userName.size() >= kLeastNameBytes && sizeBesides(plain, userName) < kLeastBesidesName;
  wipe(plain);
  if (named) return "is little more than the user's name";
  if (common) return "is one that is guessed first: a few words that nobody else would put together make a good one";
  return std::nullopt;
}

Result<Bytes> PasswordHashes::derive(const PasswordCost& cost, BytesView password, BytesView salt) {
  ++runs_;
  const std::uint64_t n = std::uint64_t{1} << cost.logN;
  // What OpenSSL takes: V, B and the working blocks. Its own limit is too low by the latter.
  const std::uint64_t memory = 128 * std::uint64_t{cost.r} * (n + cost.p + 4) + 4096;
  Bytes out(kHashBytes);
  if (EVP_PBE_scrypt(reinterpret_cast<const char*>(password.data()), password.size(), salt.data(), salt.size(), n,
                     cost.r, cost.p, memory, out.data(), out.size()) != 1)
    return Error{Errc::Io, "there is not enough memory to check a password; try again"};
  return out;
}

Result<std::string> PasswordHashes::make(BytesView password) {
  std::array<std::uint8_t, kSaltBytes> salt{};
  entropy_.fill(salt);
  VC_TRY_ASSIGN(const Bytes hash, derive(cost_, password, salt));
  return format(cost_, salt, hash);
}

Result<bool> PasswordHashes::matches(std::string_view stored, BytesView password) {
  const auto parsed = parse(stored);
  if (!parsed) {
    VC_TRY_ASSIGN(const Bytes unused, derive(cost_, password, std::array<std::uint8_t, kSaltBytes>{}));
    return unused.empty();
  }
  VC_TRY_ASSIGN(Bytes hash, derive(parsed->cost, password, parsed->salt));
  const bool equal = constantTimeEqual(hash, parsed->hash);
  wipe(hash);
  return equal;
}

bool PasswordHashes::isOutdated(std::string_view stored) const {
  const auto parsed = parse(stored);
  if (!parsed) return false;
  const PasswordCost& cost = parsed->cost;
  return cost.logN < cost_.logN || cost.r < cost_.r || cost.p < cost_.p;
}

std::string PasswordHashes::unmatchable() {
  std::array<std::uint8_t, kSaltBytes> salt{};
  std::array<std::uint8_t, kHashBytes> hash{};
  entropy_.fill(salt);
  entropy_.fill(hash);
  return format(cost_, salt, hash);
}

}  // namespace vaultysclaw::control
