// One handshake in which we answer: its state, and the trips to the workers where signatures are made and checked.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "context.hpp"
#include "identity/challenger.hpp"
#include "identity/seal.hpp"

namespace vaultysclaw::control {

// Owned by a session, used once. Confined to the loop; hooks run there, never inside a call but for `certify`.
// Destroying it drops what is under way at the workers.
class Handshake : public std::enable_shared_from_this<Handshake> {
 public:
  using Claim = identity::Responder::Claim;
  // What we state in metadata.pk2.
  struct Certificate {
    msgpack::Map metadata;
    std::optional<std::string> peerDh;  // set: a channel is made with this key, and `dh` is added to our metadata
  };
  struct Hooks {
    // Judges a claim that is well formed but not proved, before anything is signed for it, and says what to certify.
    // May run inside feed(), and must not destroy the handshake.
    std::function<Result<Certificate>(const Claim&)> certify;
    std::function<void(std::string step1)> onStep1;  // base64
    // Last. The channel is there exactly when the certificate asked for one: everything from now on is sealed.
    std::function<void(const Claim&, std::optional<identity::SealedChannel>)> onProved;
    std::function<void(Error)> onFailed;  // last, instead of onProved
  };
  Handshake(Context& context, Hooks hooks) : context_(context), hooks_(std::move(hooks)) {}

  // Takes the base64 data of the peer's next message. Conflict when none is due: the peer must wait for our answer.
  Status feed(std::string_view data);
  // COMPLETE is here and asks for a channel: nothing unsealed may follow it.
  bool sealing() const { return step_ == Step::Proving && sealed_; }

 private:
  enum class Step : std::uint8_t { AwaitingInit, Checking, AwaitingComplete, Proving, Ended };
  // Used by one thread at a time: by a worker from submit() until it has posted back.
  struct Work {
    identity::Responder responder;
    std::optional<identity::SealKeys> keys;
    std::string peerDh;
    std::optional<identity::SealedChannel> channel;
  };

  void onInit(Bytes init, WallTime now);
  void onChecked(Result<Claim> claim);
  void fail(Error error);
  // Runs `work` on a worker, then `done` here unless this handshake has been destroyed.
  template <class T>
  void onWorker(std::function<Result<T>(Work&)> work, void (Handshake::*done)(Result<T>));
  void onAnswered(Result<Bytes> step1);
  void onFinished(Result<std::monostate> result);
  // Adds how far the clocks are apart when that is the reason.
  static Error explained(Error error, BytesView message, WallTime now);

  Context& context_;
  Hooks hooks_;
  Step step_ = Step::AwaitingInit;
  bool sealed_ = false;
  std::shared_ptr<Work> work_;
  std::optional<Claim> claim_;
};

}  // namespace vaultysclaw::control
