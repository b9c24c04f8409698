// Pure; any thread. Signed tokens (docs/protocol.md sections 3, 7.1 and 7.4): base64(uint32le length ‖ MessagePack body
// ‖ signature).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ports.hpp"
#include "identity/hash.hpp"
#include "identity/vaultys_id.hpp"

namespace vaultysclaw::identity {

struct IntentToken {
  std::string id;
  std::string action;
  std::string agentId;  // the agent's DID
  WallTime timestamp;
  // With the feature intent-v2, all or none but userDid:
  std::optional<Sha256> paramsHash;
  std::optional<std::string> userDid;
  std::optional<WallTime> expiresAt;
};

struct DelegationToken {
  std::string userDid;
  std::string agentDid;  // "*": any agent
  std::vector<std::string> capabilities;
  WallTime issuedAt;
  std::optional<WallTime> expiresAt;  // absent, 0 and nil mean never
};

struct PeerGrantToken {
  std::string sourceDid;
  std::string targetDid;
  std::string targetName;
  std::string skillDescription;
  std::vector<std::string> capabilities;
  WallTime issuedAt;
  std::optional<WallTime> expiresAt;
  std::optional<std::string> id;  // with the feature p2p-grants
};

// What an agent says it did (docs/protocol.md 7.5).
struct ResultToken {
  std::string intentId;
  std::string status;                // success or failed
  std::optional<Sha256> outputHash;  // of the bytes of `output`; absent when there is none
  std::optional<std::string> error, code;
  WallTime executedAt;
  std::string agentDid, controlPlaneDid;
  Sha256 intentHash;  // tokenBodyHash() of the intent it answers
};

std::string signToken(const VaultysId& issuer, const IntentToken& token);
std::string signToken(const VaultysId& issuer, const DelegationToken& token);
std::string signToken(const VaultysId& issuer, const PeerGrantToken& token);
std::string signToken(const VaultysId& agent, const ResultToken& token);

// Errors: Malformed (form, length, another type, a `protocol` key, a missing member), BadSignature, Expired. Signatures
// are checked over the bytes as received, before the body is read; members that are not known are ignored. Intents have
// no expiry unless they carry one; their freshness is the caller's rule.
Result<IntentToken> verifyIntentToken(std::string_view token, const VaultysId& issuer, WallTime now);
Result<DelegationToken> verifyDelegationToken(std::string_view token, const VaultysId& issuer, WallTime now);
Result<PeerGrantToken> verifyPeerGrantToken(std::string_view token, const VaultysId& issuer, WallTime now);
Result<ResultToken> verifyResultToken(std::string_view token, const VaultysId& agent);  // a result never expires

// SHA-256 of a token's body bytes; Malformed when it has none.
Result<Sha256> tokenBodyHash(std::string_view token);

}  // namespace vaultysclaw::identity
