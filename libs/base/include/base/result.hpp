// Result<T>: a value or an Error. Status is Result<void>.
#pragma once

#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/assert.hpp"
#include "base/error.hpp"

namespace vaultysclaw {

// Immutable once made, but for moving the value out. `T` must not be Error.
template <class T>
class [[nodiscard]] Result {
  static_assert(!std::is_same_v<T, Error>);

 public:
  using value_type = T;

  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return checked(), *std::get_if<0>(&state_); }
  const T& value() const& { return checked(), *std::get_if<0>(&state_); }
  T&& value() && { return checked(), std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T valueOr(T other) && { return ok() ? std::move(*this).value() : std::move(other); }

  const Error& error() const {
    VC_ASSERT(!ok(), "error() of a Result that holds a value");
    return *std::get_if<1>(&state_);
  }

 private:
  void checked() const { VC_ASSERT(ok(), "value() of a Result that holds an error"); }

  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return !error_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const {
    VC_ASSERT(error_.has_value(), "error() of a Status that is ok");
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

// Returns the error of `expr` from the enclosing function, if it has one.
#define VC_TRY(expr)                                            \
  do {                                                          \
    if (auto vcTry = (expr); !vcTry.ok()) return vcTry.error(); \
  } while (false)

// `VC_TRY_ASSIGN(auto x, f());` binds the value or returns the error.
#define VC_TRY_CONCAT_(a, b) a##b
#define VC_TRY_CONCAT(a, b) VC_TRY_CONCAT_(a, b)
#define VC_TRY_ASSIGN(lhs, expr) VC_TRY_ASSIGN_(VC_TRY_CONCAT(vcResult, __LINE__), lhs, expr)
#define VC_TRY_ASSIGN_(tmp, lhs, expr) \
  auto tmp = (expr);                   \
  if (!tmp.ok()) return tmp.error();   \
  lhs = std::move(tmp).value()

}  // namespace vaultysclaw
