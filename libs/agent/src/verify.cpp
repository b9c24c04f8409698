#include "vaultysclaw/verify.hpp"

#include "identity/tokens.hpp"
#include "protocol/codec.hpp"

namespace vaultysclaw {
namespace {

Status verify(std::string_view text, BytesView controlPlaneId) {
  VC_TRY_ASSIGN(const identity::VaultysId issuer, identity::VaultysId::fromId(controlPlaneId));
  VC_TRY_ASSIGN(const protocol::Message message, protocol::decode(text));
  const auto* intent = std::get_if<protocol::Intent>(&message.payload);
  if (intent == nullptr) return Error{Errc::InvalidArgument, "the message is no intent"};
  if (!message.signature) return Error{Errc::BadSignature, "the intent is not signed"};
  // Freshness is not this function's business, so the token's own expiry is the only time that counts.
  const WallTime now = std::chrono::floor<milliseconds>(std::chrono::system_clock::now());
  VC_TRY_ASSIGN(const identity::IntentToken token, identity::verifyIntentToken(*message.signature, issuer, now));
  const auto other = [](std::string_view what) {
    return Error{Errc::BadSignature, "the signature is for another " + std::string(what)};
  };
  if (token.id != message.messageId || token.id != intent->id.value) return other("id");
  if (!message.agentId || token.agentId != *message.agentId) return other("agent");
  if (token.action != intent->action) return other("action");
  if (!token.paramsHash) return {};
  if (*token.paramsHash != identity::sha256(asBytes(intent->params.text))) return other("value of params");
  if (token.userDid.value_or("") != (intent->userDid ? intent->userDid->value : "")) return other("user");
  return {};
}

}  // namespace

bool verifyIntentMessage(std::string_view message, std::span<const std::uint8_t> controlPlaneId, std::string* why) {
  const Status status = verify(message, controlPlaneId);
  if (!status && why != nullptr) *why = status.error().message;
  return status.ok();
}

}  // namespace vaultysclaw
