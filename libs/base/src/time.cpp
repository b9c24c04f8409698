#include <charconv>
#include <string>
#include <utility>

#include "base/ports.hpp"

namespace vaultysclaw {
namespace {

// Reads exactly `digits` decimal digits at the front of `text`.
bool takeNumber(std::string_view& text, std::size_t digits, int& out) {
  if (text.size() < digits) return false;
  for (std::size_t i = 0; i < digits; ++i) {
    if (text[i] < '0' || text[i] > '9') return false;
  }
  std::from_chars(text.data(), text.data() + digits, out);
  text.remove_prefix(digits);
  return true;
}

bool takeChar(std::string_view& text, std::string_view oneOf) {
  if (text.empty() || oneOf.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

void putDigits(std::string& out, int number, int digits) {
  char text[8];
  for (int i = digits - 1; i >= 0; --i, number /= 10) text[i] = static_cast<char>('0' + number % 10);
  out.append(text, static_cast<std::size_t>(digits));
}

}  // namespace

std::string toIso8601(WallTime t) {
  const auto day = std::chrono::floor<std::chrono::days>(t);
  const std::chrono::year_month_day date(day);
  const auto ms = static_cast<int>((t - day).count());
  std::string out;
  out.reserve(24);
  if (const int year = int(date.year()); year >= 0 && year <= 9999)
    putDigits(out, year, 4);
  else
    out += std::to_string(year);  // no time of ours, and still told from every other one
  const std::pair<char, int> rest[] = {{'-', static_cast<int>(unsigned(date.month()))},
                                       {'-', static_cast<int>(unsigned(date.day()))},
                                       {'T', ms / 3'600'000},
                                       {':', ms / 60'000 % 60},
                                       {':', ms / 1000 % 60}};
  for (const auto& [before, number] : rest) {
    out += before;
    putDigits(out, number, 2);
  }
  out += '.';
  putDigits(out, ms % 1000, 3);
  out += 'Z';
  return out;
}

Result<WallTime> fromIso8601(std::string_view text) {
  const Error bad{Errc::Malformed, "not an RFC 3339 time such as 2026-01-31T12:00:00Z"};
  int y = 0, mo = 0, d = 0, h = 0, mi = 0, s = 0;
  if (!takeNumber(text, 4, y) || !takeChar(text, "-") || !takeNumber(text, 2, mo) || !takeChar(text, "-") ||
      !takeNumber(text, 2, d) || !takeChar(text, "Tt ") || !takeNumber(text, 2, h) || !takeChar(text, ":") ||
      !takeNumber(text, 2, mi) || !takeChar(text, ":") || !takeNumber(text, 2, s)) {
    return bad;
  }
  int ms = 0;
  if (takeChar(text, ".")) {
    int scale = 100, digits = 0, digit = 0;
    while (takeNumber(text, 1, digit)) {
      ms += digit * scale;
      scale /= 10;
      ++digits;
    }
    if (digits == 0 || digits > 9) return bad;
  }
  int offsetMinutes = 0;
  if (!takeChar(text, "Zz")) {
    const int sign = text.starts_with('-') ? -1 : 1;
    int oh = 0, om = 0;
    if (!takeChar(text, "+-") || !takeNumber(text, 2, oh) || !takeChar(text, ":") || !takeNumber(text, 2, om) ||
        oh > 23 || om > 59) {
      return bad;
    }
    offsetMinutes = sign * (oh * 60 + om);
  }
  const auto date = std::chrono::year(y) / mo / d;
  if (!text.empty() || !date.ok() || h > 23 || mi > 59 || s > 60) return bad;
  return WallTime(std::chrono::sys_days(date)) + std::chrono::hours(h) + std::chrono::minutes(mi - offsetMinutes) +
         seconds(s) + milliseconds(ms);
}

}  // namespace vaultysclaw
