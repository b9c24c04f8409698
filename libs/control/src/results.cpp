#include "results.hpp"

#include <algorithm>

namespace vaultysclaw::control {
namespace {

// What both a message and a row say of an intent's end.
struct End {
  std::string_view intentId, status, agentDid, controlPlaneDid;
  const std::optional<std::string>& error;
  const std::optional<std::string>& code;
  WallTime executedAt;
};

Status differs(const char* what) {
  return Error{Errc::PolicyDenied, std::string("the signed result has another ") + what + " than the result itself"};
}

Status compare(const identity::ResultToken& token, const End& end) {
  if (token.agentDid != end.agentDid) return differs("agentDid");
  if (token.controlPlaneDid != end.controlPlaneDid) return differs("controlPlaneDid");
  if (token.intentId != end.intentId) return differs("intentId");
  if (token.status != end.status) return differs("status");
  if (token.error != end.error) return differs("error");
  if (token.code != end.code) return differs("code");
  if (token.executedAt != end.executedAt) return differs("executedAt");
  return {};
}

Status compareOutput(const identity::ResultToken& token, const std::string* output) {
  if (token.outputHash.has_value() != (output != nullptr)) return differs("outputHash");
  if (output && *token.outputHash != identity::sha256(asBytes(*output))) return differs("outputHash");
  return {};
}

bool intentHolds(const store::IntentRow& row, const std::string& signedToken, const identity::VaultysId& self) {
  // It has expired long since; what counts is what was signed.
  const auto token = identity::verifyIntentToken(signedToken, self, row.createdAt);
  if (!token || token->id != row.id.value || token->action != row.action || token->agentId != row.did.value)
    return false;
  if (!token->paramsHash) return true;
  return token->userDid == row.userDid &&
         (row.paramsOmitted || *token->paramsHash == identity::sha256(asBytes(row.params)));
}

bool resultHolds(const store::IntentRow& row, const std::vector<store::IntentEventRow>& events,
                 const identity::ResultToken& token, const identity::VaultysId& self) {
  // Lists cut long errors.
  const bool cut =
      row.error && token.error && token.error->size() > row.error->size() && token.error->starts_with(*row.error);
  const auto& error = cut ? token.error : row.error;
  const Did ours = self.didV1();
  const End end{
      row.id.value, row.status, row.did.value, ours.value, error, row.code, row.executedAt.value_or(WallTime())};
  if (!compare(token, end)) return false;
  if (!row.outputOmitted && !compareOutput(token, row.output ? &*row.output : nullptr)) return false;
  return asksFor(token.intentHash, row.token, events);
}

}  // namespace

std::string_view statusName(protocol::ResultStatus status) {
  return status == protocol::ResultStatus::Success ? "success" : "failed";
}

Result<identity::ResultToken> checkResult(const protocol::IntentResult& result, const identity::VaultysId& agent,
                                          const Did& controlPlane) {
  if (!result.signature) return Error{Errc::PolicyDenied, "the result is not signed"};
  if (result.publicKey) {
    VC_TRY_ASSIGN(const Bytes key, base64Decode(*result.publicKey));
    if (key != agent.id()) return Error{Errc::PolicyDenied, "the result's publicKey is not this agent's id"};
  }
  VC_TRY_ASSIGN(auto token, identity::verifyResultToken(*result.signature, agent));
  const Did did = agent.didV1();
  VC_TRY(compare(token, End{result.intentId.value, statusName(result.status), did.value, controlPlane.value,
                            result.error, result.code, result.executedAt}));
  VC_TRY(compareOutput(token, result.output ? &result.output->text : nullptr));
  return token;
}

bool asksFor(const identity::Sha256& intentHash, const std::string& firstToken,
             const std::vector<store::IntentEventRow>& events) {
  const auto is = [&](const std::string& token) {
    const auto hash = identity::tokenBodyHash(token);
    return hash && *hash == intentHash;
  };
  return is(firstToken) ||
         std::any_of(events.begin(), events.end(), [&](const auto& event) { return event.token && is(*event.token); });
}

StoredProof proofOf(const store::IntentRow& row, const std::vector<store::IntentEventRow>& events,
                    const identity::VaultysId& self, const identity::VaultysId* agent) {
  StoredProof out;
  out.intent = intentHolds(row, row.token, self) && std::all_of(events.begin(), events.end(), [&](const auto& event) {
                 return !event.token || intentHolds(row, *event.token, self);
               });
  if (!row.resultToken || row.resultToken->empty() || !agent) return out;  // empty: too long for a list
  const auto token = identity::verifyResultToken(*row.resultToken, *agent);
  out.result = token && resultHolds(row, events, *token, self);
  return out;
}

Result<std::optional<identity::VaultysId>> identityOf(store::ControlReader& reader, const Did& did) {
  std::optional<identity::VaultysId> out;
  VC_TRY_ASSIGN(const auto id, reader.publicId(did));
  if (!id) return out;
  auto identity = identity::VaultysId::fromId(*id);
  if (identity && identity->didV1() == did) out = std::move(*identity);
  return out;
}

}  // namespace vaultysclaw::control
