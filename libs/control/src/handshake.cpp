#include "handshake.hpp"

#include <cstdlib>

namespace vaultysclaw::control {
namespace {

// Longer ones are read on a worker, whoever sends them.
constexpr std::size_t kMaxQuickInit = 4096;

}  // namespace

template <class T>
void Handshake::onWorker(std::function<Result<T>(Work&)> work, void (Handshake::*done)(Result<T>)) {
  auto task = [&loop = context_.ports.loop, state = work_, work = std::move(work), done,
               weak = weak_from_this()]() mutable {
    auto result = std::make_shared<Result<T>>(work(*state));
    state.reset();
    loop.post([weak = std::move(weak), result, done] {
      if (auto self = weak.lock()) (self.get()->*done)(std::move(*result));
    });
  };
  if (!context_.ports.workers.submit(std::move(task))) {
    fail(Error{Errc::Busy, "the control plane is overloaded; connect again later"});
  }
}

Status Handshake::feed(std::string_view data) {
  if (step_ != Step::AwaitingInit && step_ != Step::AwaitingComplete) {
    return Error{Errc::Conflict, "unexpected auth_challenge: the last one is still being answered"};
  }
  auto bytes = data.size() > 2 * identity::kMaxHandshakeBytes
                   ? Result<Bytes>(Error{Errc::TooLarge, "handshake message is over 32 KiB"})
                   : base64Decode(data);
  const WallTime now = context_.now();
  const bool opening = step_ == Step::AwaitingInit;
  step_ = opening ? Step::Checking : Step::Proving;
  if (!bytes) {
    fail(bytes.error());
    return {};
  }
  if (opening) {
    onInit(std::move(*bytes), now);
  } else {
    onWorker<std::monostate>(
        [message = std::move(*bytes), now, &entropy = context_.ports.entropy](Work& work) -> Result<std::monostate> {
          if (auto proved = work.responder.onComplete(message, now); !proved)
            return Handshake::explained(proved.error(), message, now);
          if (!work.keys) return std::monostate{};
          VC_TRY_ASSIGN(work.channel, work.keys->derive(identity::SealRole::Responder, work.responder.signedBytes(),
                                                        work.peerDh, entropy));
          return std::monostate{};
        },
        &Handshake::onFinished);
  }
  return {};
}

void Handshake::onInit(Bytes init, WallTime now) {
  const auto begin = [this](std::function<bool(BytesView)> isCheckedId) {
    identity::Responder::Config config;
    config.isCheckedId = std::move(isCheckedId);
    work_ = std::make_shared<Work>(
        Work{identity::Responder(context_.self, std::move(config), context_.ports.entropy), {}, {}, {}});
  };
  // The check of the keys is what takes long, and an id that has proved itself needs none: that is not worth the way to
  // a worker and back. A stranger's is read as if it needed none, to find out, and what came of it is thrown away.
  if (init.size() <= kMaxQuickInit) {
    const auto stranger = std::make_shared<bool>(false);
    begin([proven = context_.provenIds, stranger](BytesView id) {
      *stranger = !proven->has(id);
      return true;
    });
    auto claim = work_->responder.onInit(init, now);
    if (!*stranger) {
      if (!claim) claim = explained(claim.error(), init, now);
      return onChecked(std::move(claim));
    }
  }
  begin([proven = context_.provenIds](BytesView id) { return proven->has(id); });
  onWorker<Claim>(
      [message = std::move(init), now](Work& work) -> Result<Claim> {
        auto claim = work.responder.onInit(message, now);
        if (!claim) return Handshake::explained(claim.error(), message, now);
        return claim;
      },
      &Handshake::onChecked);
}

void Handshake::onChecked(Result<Claim> claim) {
  if (step_ != Step::Checking) return;
  if (!claim) return fail(claim.error());
  claim_ = std::move(claim).value();
  auto certificate = hooks_.certify(*claim_);
  if (!certificate) return fail(certificate.error());
  sealed_ = certificate->peerDh.has_value();
  auto answer = [stated = std::move(*certificate), &entropy = context_.ports.entropy](Work& work) mutable {
    if (stated.peerDh) {
      work.peerDh = std::move(*stated.peerDh);
      work.keys.emplace(identity::SealKeys::generate(entropy));
      stated.metadata.emplace_back("dh", work.keys->dh());
    }
    return work.responder.answer(std::move(stated.metadata));
  };
  onWorker<Bytes>(std::move(answer), &Handshake::onAnswered);
}

void Handshake::onAnswered(Result<Bytes> step1) {
  if (step_ != Step::Checking) return;
  if (!step1) return fail(step1.error());
  step_ = Step::AwaitingComplete;
  hooks_.onStep1(base64Encode(*step1));
}

void Handshake::onFinished(Result<std::monostate> result) {
  if (step_ != Step::Proving) return;
  if (!result) return fail(result.error());
  step_ = Step::Ended;
  context_.provenIds->add(claim_->peer.toVersion(claim_->version));
  auto self = shared_from_this();  // the hook may destroy this handshake
  hooks_.onProved(*claim_, std::move(work_->channel));
}

void Handshake::fail(Error error) {
  step_ = Step::Ended;
  context_.ports.loop.post([weak = weak_from_this(), error = std::move(error)] {
    if (auto self = weak.lock()) self->hooks_.onFailed(error);
  });
}

Error Handshake::explained(Error error, BytesView message, WallTime now) {
  const auto offset = error.code == Errc::Expired ? identity::clockOffset(message, now) : std::nullopt;
  if (!offset) return error;
  const auto ms = offset->count();
  error.message = "the handshake's timestamp is " + std::to_string(std::abs(ms) / 1000) + " s " +
                  (ms < 0 ? "behind" : "ahead of") + " the control plane's clock (" + toIso8601(now) +
                  "), and at most 60 s are allowed: set the agent's clock";
  return error;
}

}  // namespace vaultysclaw::control
