// One handshake in which we answer: its state, and the trips to the workers where signatures are made and checked.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "context.hpp"
#include "identity/challenger.hpp"

namespace vaultysclaw::control {

// Owned by a session, used once. Confined to the loop; hooks run there, never inside a call. Destroying it drops what
// is under way at the workers.
class Handshake : public std::enable_shared_from_this<Handshake> {
 public:
  using Claim = identity::Responder::Claim;
  struct Hooks {
    // Judges a claim that is well formed but not proved, before anything is signed for it, and says what to certify.
    std::function<Result<msgpack::Map>(const Claim&)> certify;
    std::function<void(std::string step1)> onStep1;  // base64
    std::function<void(const Claim&)> onProved;      // last
    std::function<void(Error)> onFailed;             // last, instead of onProved
  };
  Handshake(Context& context, Hooks hooks) : context_(context), hooks_(std::move(hooks)) {}

  // Takes the base64 data of the peer's next message. Conflict when none is due: the peer must wait for our answer.
  Status feed(std::string_view data);
  const std::optional<Claim>& claim() const { return claim_; }

 private:
  enum class Step : std::uint8_t { AwaitingInit, Checking, AwaitingComplete, Proving, Ended };

  void onChecked(Result<Claim> claim);
  void fail(Error error);
  // Runs `work` on a worker with the responder, then `done` here unless this handshake has been destroyed.
  template <class T>
  void onWorker(std::function<Result<T>(identity::Responder&)> work, void (Handshake::*done)(Result<T>));
  void onAnswered(Result<Bytes> step1);
  void onFinished(Result<std::monostate> result);
  // Adds how far the clocks are apart when that is the reason.
  static Error explained(Error error, BytesView message, WallTime now);

  Context& context_;
  Hooks hooks_;
  Step step_ = Step::AwaitingInit;
  // Used by one thread at a time: by a worker from submit() until it has posted back.
  std::shared_ptr<identity::Responder> responder_;
  std::optional<Claim> claim_;
};

}  // namespace vaultysclaw::control
