// Registration, handshake and certificates (protocol.md 4.1, 7.1, 7.2).
#include <algorithm>

#include "base/log.hpp"
#include "convert.hpp"
#include "core.hpp"
#include "names.hpp"

namespace vaultysclaw::detail {
namespace {

// Handshakes that a control plane may open before the agent is approved: one, one more after an approval, and some
// slack. Each costs it nothing and us a key operation.
constexpr int kMaxEarlyHandshakes = 8;
constexpr milliseconds kNoticeableOffset{5'000};
constexpr Duration kHandshakeTimeout = seconds(60);
// Between COMPLETE and the first record that opens: an attacker who holds no keys cannot make the agent wait longer.
constexpr Duration kSealTimeout = seconds(10);
constexpr std::string_view kRevoked = "revoked";
// A registration that was lost on the other side is then made again.
constexpr Duration kPendingTimeout = std::chrono::minutes(15);

msgpack::Value textList(const std::vector<std::string>& items) {
  msgpack::Array array;
  for (const auto& item : items) array.emplace_back(item);
  return msgpack::Value(std::move(array));
}

}  // namespace

void AgentCore::noteServerTime(const protocol::Message& message) {
  const auto theirs = fromIso8601(message.timestamp);
  if (theirs) serverClock_ = *theirs - ports_.clock().now();
}

std::string AgentCore::clockHint() const {
  if (!serverClock_ || (*serverClock_ < kNoticeableOffset && *serverClock_ > -kNoticeableOffset)) return "";
  const auto seconds = std::chrono::abs(*serverClock_).count() / 1000;
  return " (the control plane's clock is " + std::to_string(seconds) + " s " +
         (serverClock_->count() > 0 ? "ahead of" : "behind") +
         " this machine's, and handshakes are valid for 60 s: check the time on both machines)";
}

void AgentCore::onAuthChallenge(const protocol::Message& message, const protocol::AuthChallenge& challenge) {
  noteServerTime(message);
  if (challenge.data.empty()) {
    if (stopping_) return;
    if (phase_ == Phase::AwaitChallenge) {
      sessionId_ = challenge.sessionId;
      phase_ = Phase::Registering;
      send(protocol::Register{setup_.config.name, setup_.config.version});
      log(LogSeverity::Info, "Sent registration request");
      return;
    }
    if (phase_ != Phase::Authenticated && ++earlyHandshakes_ > kMaxEarlyHandshakes)
      return dropConnection("The control plane keeps restarting the handshake");
    return startHandshake(challenge.sessionId);
  }
  // Without a handshake under way this is the control plane's copy of COMPLETE, which says nothing new.
  if (initiator_) onStep1(challenge);
}

void AgentCore::startHandshake(const std::string& sessionId) {
  sessionId_ = sessionId;
  identity::Initiator::Config config;
  config.metadata = {{msgpack::Value(pk1::kName), msgpack::Value(setup_.config.name)},
                     {msgpack::Value(pk1::kCapabilities), textList(announced_)},
                     {msgpack::Value(pk1::kFeatures), setup_.features.toMetadata()}};
  if (seal_) {
    config.metadata.emplace_back(msgpack::Value(pk1::kChannel), msgpack::Value(seal_->channel()));
  } else if (!agreed_ && setup_.features.has(identity::feature::kSeal)) {
    sealKeys_ = identity::SealKeys::generate(ports_.entropy());
    config.metadata.emplace_back(msgpack::Value(pk1::kDh), msgpack::Value(sealKeys_->dh()));
  }
  // Called only for an identity that has proved itself by its signature.
  config.acceptPeer = [this](const identity::VaultysId& peer) {
    Status accepted = acceptPeer(peer);
    if (!accepted) foreignPeer_ = accepted.error();
    return accepted;
  };
  initiator_ =
      std::make_unique<identity::Initiator>(setup_.self, std::move(config), ports_.entropy(), ports_.clock().now());
  if (phase_ != Phase::Authenticated) {
    phase_ = Phase::Proving;
    armHandshakeTimer(kHandshakeTimeout, "The handshake was not complete after 60 s");
  }
  send(protocol::AuthChallenge{sessionId_, base64Encode(initiator_->init()), setup_.config.name, announced_});
  log(LogSeverity::Debug, "Sent initial auth challenge");
}

std::string AgentCore::trustCommand(const std::string& argument) const {
  std::string command = "vaultysclaw id trust " + setup_.config.vaultysIdPath;
  if (!setup_.config.statePath.empty()) command += " --state " + setup_.config.statePath;
  return "'" + command + " " + argument + "'";
}

Status AgentCore::acceptPeer(const identity::VaultysId& peer) {
  const std::string did = peer.didV1().value;
  if (!setup_.config.controlPlaneDid.empty() && did != setup_.config.controlPlaneDid)
    return Error{Errc::PolicyDenied, "The control plane at " + setup_.wsUrl + " has the identity " + did +
                                         ", but controlPlaneDid expects " + setup_.config.controlPlaneDid +
                                         ": check the URL, and compare with the DID that the control plane shows"};
  const bool known = controlPlane_ ? *controlPlane_ == peer.toVersion(identity::IdVersion::V1)
                                   : trustedDid_.empty() || trustedDid_ == did;
  if (!known)
    return Error{Errc::PolicyDenied,
                 "The control plane at " + setup_.wsUrl + " has the identity " + did + ", but this agent belongs to " +
                     trustedDid_ +
                     ". Either somebody is in between, or the control plane was set up anew. If it was, "
                     "compare with the DID that it shows when it starts, stop the agent and run " +
                     trustCommand(did)};
  return {};
}

Status AgentCore::beginChannel(const identity::Initiator& handshake) {
  VC_TRY_ASSIGN(identity::Features listed, identity::Features::fromMetadata(handshake.peerMetadata()));
  if (const std::string missing = listed.missing(listed_); !missing.empty())
    return Error{Errc::PolicyDenied,
                 "the control plane no longer lists " + missing +
                     ", which it has listed before. Either somebody is in "
                     "between, or it was replaced by an older version. If it was, stop the agent and run " +
                     trustCommand(handshake.peer().didV1().value)};
  const identity::Features inUse = setup_.features.with(listed);
  std::optional<identity::SealedChannel> channel;
  if (inUse.has(identity::feature::kSeal)) {
    const msgpack::Value* dh = handshake.peerMetadata().find(pk1::kDh);
    if (dh == nullptr || dh->string() == nullptr)
      return Error{Errc::Malformed, "the control plane lists seal and sends no dh"};
    VC_TRY_ASSIGN(channel, sealKeys_->derive(identity::SealRole::Initiator, handshake.signedBytes(), *dh->string(),
                                             ports_.entropy()));
  } else if (connection_->peer().protection == net::Protection::None && !setup_.config.allowPlaintext) {
    return Error{Errc::PolicyDenied,
                 "the connection is not encrypted and the control plane does not seal it (section 7.3): everyone on "
                 "the path could read and change everything. Use wss://, a control plane that lists seal, or set "
                 "allowPlaintext for a network you trust"};
  }
  agreed_ = Agreed{handshake.peer(), std::move(listed)};
  inUse_ = inUse;
  seal_ = std::move(channel);
  return {};
}

Status AgentCore::checkReissue(const identity::Initiator& handshake) const {
  VC_TRY_ASSIGN(const identity::Features listed, identity::Features::fromMetadata(handshake.peerMetadata()));
  if (!(handshake.peer() == agreed_->peer))
    return Error{Errc::PolicyDenied, "another identity than the one this connection began with"};
  if (!(listed == agreed_->listed))
    return Error{Errc::PolicyDenied, "other features than those this connection began with"};
  return {};
}

void AgentCore::refusedFor(std::string reason) {
  // What anybody on the path could have said must not outlive the path.
  if (seal_ || connection_->peer().protection != net::Protection::None) return halt(std::move(reason));
  dropConnection(std::move(reason));
}

void AgentCore::onStep1(const protocol::AuthChallenge& challenge) {
  auto initiator = std::exchange(initiator_, nullptr);
  const auto fail = [&](const std::string& why) { dropConnection("The handshake failed: " + why + clockHint()); };
  auto step1 = base64Decode(challenge.data);
  if (!step1) return fail("the control plane's answer is not base64");
  const WallTime now = ports_.clock().now();
  auto complete = initiator->onStep1(*step1, now);
  if (!complete) {
    const Error& error = complete.error();
    // Anything less than a signature of somebody else could come from whoever happens to answer at the address.
    if (const auto foreign = std::exchange(foreignPeer_, std::nullopt)) return refusedFor(foreign->message);
    if (error.code == Errc::Expired && !serverClock_) serverClock_ = identity::clockOffset(*step1, now);
    return fail(error.message);
  }
  auto grant = grantFromCertificate(initiator->peerMetadata());
  if (!grant) return fail(grant.error().message);
  candidate_ = std::move(grant).value();
  candidateText_ = base64Encode(*complete);
  const protocol::AuthChallenge answer{sessionId_, candidateText_, setup_.config.name, announced_};
  if (agreed_) {
    if (Status same = checkReissue(*initiator); !same) return fail(same.error().message);
    send(answer);
  } else {
    const std::string text = compose(answer);
    if (Status agreed = beginChannel(*initiator); !agreed) return fail(agreed.error().message);
    sealKeys_.reset();
    sendUnsealed(text);
    if (seal_) {
      sealTimer_ = ports_.loop().after(kSealTimeout, [weak = weak_from_this()] {
        if (auto self = weak.lock())
          self->dropConnection("The control plane did not answer on the sealed channel within 10 s");
      });
    }
  }
  if (phase_ != Phase::Authenticated) phase_ = Phase::Proved;
}

void AgentCore::onAuthComplete(const protocol::AuthComplete& complete) {
  if (stopping_) return;
  const bool first = phase_ != Phase::Authenticated;
  if (first && phase_ != Phase::Proved && phase_ != Phase::Pending) {
    return dropConnection("The control plane sent auth_complete before the handshake was complete" + clockHint());
  }
  if (complete.did != did().value)
    return dropConnection("The control plane sent auth_complete for " + printable(complete.did) +
                          ", not for this agent");
  if (candidate_) {
    certificate_ = std::exchange(candidate_, std::nullopt);
    certificateText_ = std::exchange(candidateText_, {});
    pinControlPlane();
  }
  VC_ASSERT(certificate_.has_value(), "an authenticated agent has a certificate");
  policy::Grant told = *certificate_;
  told.capabilities = complete.capabilities;
  certificate_ = policy::narrowest(*certificate_, told);
  announced_ = complete.capabilities;
  publishGrant();
  if (first) {
    phase_ = Phase::Authenticated;
    acceptLongMessages();
    everConnected_ = true;
    handshakeTimer_.reset();
    backoff_.reset();
    linkUp_ = true;
    if (seal_) answers_.addChannel(std::string(seal_->channel()));
    judgeDelegations();
    journal_->setStatus(AgentStatus::Connected, "");
    scheduleHeartbeat();
    pollBudget();
  }
  log(LogSeverity::Info, "Auth complete: " + complete.did);
  AuthCompleteInfo info = convert(*certificate_);
  info.did = did().value;
  info.controlPlaneDid = controlPlane_->did().value;
  info.certificate = certificateText_;
  callHook("onAuthComplete", [info](BaseAgentRuntime& agent) { agent.onAuthComplete(info); });
  if (first) loadOutbox();
}

void AgentCore::pinControlPlane() {
  if (controlPlane_) return rememberFeatures();
  controlPlane_ = agreed_->peer.toVersion(identity::IdVersion::V1);
  trustedDid_ = controlPlane_->did().value;
  listed_ = agreed_->listed;
  shared_.with([&](Shared& s) { s.controlPlaneDid = trustedDid_; });
  onState<Status>(
      [id = *controlPlane_, listed = listed_](store::AgentState& state) { return storePin(state, id, listed); },
      [this](const Status& saved) {
        if (!saved)
          halt("The control plane's identity cannot be stored, so a false one could not be told later: " +
               saved.error().message);
      });
}

void AgentCore::rememberFeatures() {
  if (!controlPlane_ || agreed_->listed == listed_) return;
  listed_ = agreed_->listed;
  onState<Status>(
      [id = *controlPlane_, listed = listed_](store::AgentState& state) { return storePin(state, id, listed); },
      [this](const Status& saved) {
        if (!saved) log(LogSeverity::Error, "The control plane's features cannot be stored: " + saved.error().message);
      });
}

void AgentCore::onUpdateCapabilities(const protocol::UpdateCapabilities& update) {
  // Unsigned: it may take away at once, and only the certificate that follows can add.
  policy::Grant told;
  told.capabilities = update.capabilities;
  if (update.resourceLimits) told.limits = *update.resourceLimits;
  told.policyId = update.policyId;
  told.policyExpiresAt = update.policyExpiresAt;
  certificate_ = policy::narrowest(*certificate_, told);
  // The certificate under way may be older than this message, and auth_complete says nothing of limits and expiry.
  if (candidate_) candidate_ = policy::narrowest(*candidate_, told);
  announced_ = update.capabilities;
  publishGrant();
  log(LogSeverity::Info, "Capabilities are about to change: " + printable(update.reason));
}

void AgentCore::publishGrant() {
  shared_.with([&](Shared& s) { s.grant = *certificate_; });
}

void AgentCore::onAuthFailed(const protocol::AuthFailed& failed) {
  if (seal_ && failed.reason == kRevoked)
    return halt("The control plane " + trustedDid_ +
                " has withdrawn this agent's registration (revoked). Ask its "
                "operators; once they let the agent in again, start it again");
  dropConnection("The control plane refused the handshake: " + printable(failed.reason) + clockHint());
}

void AgentCore::onPending(const protocol::RegistrationPending& pending) {
  if (phase_ != Phase::Proved) return log(LogSeverity::Warn, "Ignored registration_pending outside of a handshake");
  phase_ = Phase::Pending;
  everConnected_ = true;
  armHandshakeTimer(kPendingTimeout, "Nobody has approved this agent for 15 minutes: it asks again");
  log(LogSeverity::Info,
      "Registration pending (id: " + printable(pending.registrationId.value) + "): " + printable(pending.message));
  journal_->setStatus(AgentStatus::PendingApproval,
                      "An operator must approve this agent on the control plane (registration " +
                          printable(pending.registrationId.value) + ", " + did().value + ")");
}

void AgentCore::onApproved(const protocol::RegistrationApproved& approved) {
  if (phase_ != Phase::Pending && phase_ != Phase::Proved)
    return log(LogSeverity::Warn, "Ignored registration_approved outside of a registration");
  std::string names;
  for (const auto& capability : approved.capabilities) names += (names.empty() ? "" : ", ") + printable(capability);
  log(LogSeverity::Info, "Registration approved; capabilities: " + (names.empty() ? "none" : names));
}

void AgentCore::onRejected(const protocol::RegistrationRejected& rejected) {
  if (phase_ != Phase::Pending && phase_ != Phase::Proved)
    return log(LogSeverity::Warn, "Ignored registration_rejected outside of a registration");
  refusedFor("An operator rejected the registration of this agent: " + printable(rejected.reason) +
             ". Ask them, then start the agent again");
}

}  // namespace vaultysclaw::detail
