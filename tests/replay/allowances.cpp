#include "allowances.hpp"

#include "checks.hpp"

namespace vaultysclaw::replay {
namespace {

constexpr Side kPlane = Side::ControlPlane, kAgent = Side::Agent;
constexpr auto kDiffers = Allowance::What::Differs, kNotSent = Allowance::What::NotSent,
               kInstead = Allowance::What::Instead, kMore = Allowance::What::More, kPlayed = Allowance::What::Played;

const std::vector<int> kAll;

}  // namespace

const std::vector<Allowance>& allowances() {
  static const std::vector<Allowance> table = {
      // ==== our control plane ====
      // Ids, times, and what signs them.
      {kPlane, kDiffers, "intent", "messageId", kAll, paired(), {9, 0, 0}, "the server chooses the intent's id"},
      {kPlane, kDiffers, "intent", "payload.id", kAll, paired(), {9, 0, 0}, "the server chooses the intent's id"},
      {kPlane, kDiffers, "intent", "signature.body.id", kAll, paired(), {9, 0, 0}, "the server chooses the intent's id"},
      {kPlane, kDiffers, "*", "messageId", kAll, fresh(), {1, 1, 1}, "every message has an id of its own"},
      {kPlane, kDiffers, "*", "payload.sessionId", kAll, paired(), {1, 1, 1}, "session ids are random"},
      {kPlane, kDiffers, "*", "payload.registrationId", kAll, paired(), {1, 1, 1}, "registration ids are random"},
      {kPlane, kDiffers, "*", "timestamp", kAll, clock(), {1, 1, 1}, "the time when ours sent it"},
      {kPlane, kDiffers, "*", "payload.timestamp", kAll, clock(), {1, 0, 0}, "the time when ours sent it"},
      {kPlane, kDiffers, "intent", "signature.body.timestamp", kAll, clock(), {1, 0, 0}, "the time when ours signed it"},
      {kPlane, kDiffers, "intent", "signature.signature", kAll, ownSignature(), {1, 0, 0}, "it signs the id and the time"},
      {kPlane, kDiffers, "STEP1", "payload.data.nonce", kAll, ownNonce(16, 32), {1, 1, 1}, "the responder's half is random"},
      {kPlane, kDiffers, "STEP1", "payload.data.sign2", kAll, ownSignature(), {1, 1, 1}, "it signs the nonce"},

      // Certificates.
      {kPlane, kDiffers, "STEP1", "payload.data.metadata.pk2", {5, 15, 35, 55, 93, 104, 115, 135, 144}, certificate(R"({"capabilities":[]})"), {1, 1, 8}, "the original certifies a stranger what it asks for, ours nothing until an operator has decided"},
      {kPlane, kDiffers, "STEP1", "payload.data.metadata.pk2", {168}, certificate(R"({"capabilities":["api_call","file_access","mail_send"]})"), {1, 0, 0}, "the original certifies what a known agent asks for, here nothing, and corrects itself; ours certifies the grant at once"},
      {kPlane, kNotSent, "update_capabilities", "", {172}, nullptr, {1, 0, 0}, "the certificate at #168 was right at once"},
      {kPlane, kNotSent, "auth_challenge", "", {173}, nullptr, {1, 0, 0}, "the certificate at #168 was right at once"},
      {kPlane, kPlayed, "INIT", "", {174}, nullptr, {1, 0, 0}, "it answers #173, which ours does not send"},
      {kPlane, kNotSent, "STEP1", "", {175}, nullptr, {1, 0, 0}, "it answers #174"},
      {kPlane, kPlayed, "COMPLETE", "", {176}, nullptr, {1, 0, 0}, "it answers #175"},
      {kPlane, kNotSent, "auth_complete", "", {177}, nullptr, {1, 0, 0}, "it answers #176"},
      {kPlane, kDiffers, "update_capabilities", "payload.resourceLimits", {136}, is("null"), {1, 0, 0}, "the original leaves out what this operator call does not change; ours always says all of it (4.1)"},
      {kPlane, kDiffers, "update_capabilities", "payload.policyId", {136}, is("null"), {1, 0, 0}, "as resourceLimits"},
      {kPlane, kDiffers, "update_capabilities", "payload.policyExpiresAt", {136}, is("null"), {1, 0, 0}, "as resourceLimits"},
      {kPlane, kPlayed, "INIT", "payload.capabilities", {4}, nullptr, {1, 0, 0}, "the recorded operator grants file_access, which the agent did not ask for; ours grants only what was asked for, so the agent asks for it"},
      {kPlane, kPlayed, "COMPLETE", "payload.capabilities", {6}, nullptr, {1, 0, 0}, "as at #4"},
      {kPlane, kPlayed, "step", "clock", {105, 119, 135}, nullptr, {3, 0, 0}, "ours sends certificates at least 5 s apart (7.3): the operator waits as long"},

      // What ours does not send.
      {kPlane, kNotSent, "skills_config", "", kAll, nullptr, {9, 0, 0}, "ours has no skills to configure yet"},
      {kPlane, kNotSent, "delegation_update", "", kAll, nullptr, {10, 0, 0}, "ours issues no delegations yet"},
      {kPlane, kNotSent, "COMPLETE", "", kAll, nullptr, {9, 0, 0}, "the agent's own bytes again, which agents ignore (4.1)"},
      {kPlane, kNotSent, "intent", "", {42, 46, 50, 54, 58, 62, 65}, nullptr, {7, 0, 0}, "the recording script sent it, not the server"},
      {kPlane, kNotSent, "agent_peer_catalog", "", {82}, nullptr, {1, 0, 0}, "the recording script sent it, not the server"},
      {kPlane, kNotSent, "policy_update", "", {130}, nullptr, {1, 0, 0}, "the recording script sent it, not the server"},
      {kPlane, kNotSent, "no_such_type", "", {133}, nullptr, {1, 0, 0}, "the recording script sent it, not the server"},
      {kPlane, kNotSent, "text", "", {134}, nullptr, {1, 0, 0}, "the recording script sent it, not the server"},

      // What ours adds or leaves out.
      {kPlane, kDiffers, "intent", "payload.timeoutMs", kAll, is("60000"), {9, 0, 0}, "deadlines (7.8)"},
      {kPlane, kDiffers, "chat_message", "payload.timeoutMs", kAll, is("600000"), {1, 0, 0}, "deadlines (7.8)"},
      {kPlane, kDiffers, "intent", "payload.userDid", {34}, missing(), {1, 0, 0}, "ours sends no intents on behalf of users yet"},

      // Refusals.
      {kPlane, kMore, "error", "", {26}, whole("error", R"({"error":"message: not valid JSON"})"), {0, 0, 1}, "the original says nothing to a text that is no JSON"},
      {kPlane, kDiffers, "auth_failed", "payload.reason", {46}, is(R"("Protocol tampered: the protocol is not p2p")"), {0, 0, 1}, "ours says what is wrong"},
      {kPlane, kDiffers, "auth_failed", "payload.reason", {66}, is(R"("Protocol tampered: the service is not one offered here")"), {0, 0, 1}, "ours says what is wrong"},
      {kPlane, kDiffers, "auth_failed", "payload.reason", {75, 84, 106}, is(R"("MessagePack ends too early")"), {0, 0, 3}, "the original passes on its decoder's words"},
      {kPlane, kDiffers, "auth_failed", "payload.reason", {95}, is(R"("?")"), {0, 0, 1}, "ours says what is wrong"},
      {kPlane, kDiffers, "auth_failed", "payload.reason", {126}, is(R"("the handshake's timestamp is 61 s behind the control plane's clock (2026-11-22T13:24:03.231Z), and at most 60 s are allowed: set the agent's clock")"), {0, 0, 1}, "ours says what is wrong"},
      {kPlane, kPlayed, "close", "registration", {38, 58, 118}, nullptr, {0, 0, 3}, "ours keeps a registration whose client has gone, and then refuses it version 0 after version 1 (7.1); so the operator rejects it before the next client comes"},

      // The end of a connection.
      {kPlane, kDiffers, "close", "code", kAll, is("1008"), {0, 1, 7}, "the original closes without a code, ours says that a rule was the reason"},
      {kPlane, kDiffers, "close", "reason", {10}, is(R"("registration rejected")"), {0, 1, 0}, "ours says why"},
      {kPlane, kDiffers, "close", "reason", kAll, is(R"("authentication failed")"), {0, 0, 7}, "ours says why"},
      {kPlane, kDiffers, "close", "reason", {146}, is(R"("the control plane is shutting down")"), {1, 0, 0}, "ours says why"},
      {kPlane, kDiffers, "close", "code", {189}, is("1000"), {1, 0, 0}, "the original closes without a code"},
      {kPlane, kDiffers, "close", "reason", {189}, is(R"("replaced by another connection of this agent")"), {1, 0, 0}, "ours says why"},

      // ==== our agent ====
      {kAgent, kDiffers, "*", "messageId", kAll, fresh(), {1, 1, 1}, "every message has an id of its own"},
      {kAgent, kDiffers, "*", "timestamp", kAll, clock(), {1, 1, 1}, "the time when ours sent it"},
      {kAgent, kDiffers, "result", "payload.executedAt", kAll, clock(), {1, 0, 0}, "the time when ours sent it"},
      {kAgent, kDiffers, "INIT", "payload.data.version", kAll, is("1"), {1, 1, 1}, "ours opens every handshake in version 1 (7.1)"},
      {kAgent, kDiffers, "INIT", "payload.data.timestamp", kAll, clock(), {1, 1, 1}, "the time when ours sent it"},
      {kAgent, kDiffers, "INIT", "payload.data.pk1", kAll, inVersion1(), {1, 1, 1}, "version 1 has ids in version 1"},
      {kAgent, kDiffers, "INIT", "payload.data.nonce", kAll, ownNonce(0, 16), {1, 1, 1}, "the initiator's half is random"},
      {kAgent, kDiffers, "INIT", "payload.data.metadata.pk1", kAll, statement(), {1, 1, 1}, "ours states what it is, and signs it (7.1)"},
      {kAgent, kDiffers, "COMPLETE", "payload.data.version", kAll, asStep1(), {1, 1, 1}, "what both sides have said, in version 1"},
      {kAgent, kDiffers, "COMPLETE", "payload.data.timestamp", kAll, asStep1(), {1, 1, 1}, "what both sides have said"},
      {kAgent, kDiffers, "COMPLETE", "payload.data.pk1", kAll, asStep1(), {1, 1, 1}, "what both sides have said, in version 1"},
      {kAgent, kDiffers, "COMPLETE", "payload.data.pk2", kAll, asStep1(), {1, 1, 1}, "what both sides have said, in version 1"},
      {kAgent, kDiffers, "COMPLETE", "payload.data.nonce", kAll, asStep1(), {1, 1, 1}, "what both sides have said"},
      {kAgent, kDiffers, "COMPLETE", "payload.data.metadata.pk1", kAll, asStep1(), {1, 1, 1}, "what both sides have said"},
      {kAgent, kDiffers, "COMPLETE", "payload.data.sign2", kAll, asStep1(), {1, 1, 1}, "the recorded server's, over the new nonce"},
      {kAgent, kDiffers, "COMPLETE", "payload.data.sign1", kAll, ownSignature(), {1, 1, 1}, "it signs the nonce"},
      {kAgent, kPlayed, "step", "clock", {68}, nullptr, {1, 0, 0}, "the recorded heartbeat was triggered early; ours comes when it is due"},
      {kAgent, kPlayed, "text", "process", kAll, nullptr, {0, 1, 1}, "the clients were programs of their own"},
  };
  return table;
}

}  // namespace vaultysclaw::replay
