#include "allowances.hpp"

#include "checks.hpp"

namespace vaultysclaw::replay {
namespace {

using What = Allowance::What;
using Seqs = std::vector<int>;

const Seqs kAll;

Allowance differs(std::string kind, std::string path, Seqs seqs, Check check, Uses uses, std::string reason) {
  return {{},   What::Differs,    std::move(kind), std::move(path), std::move(seqs), std::move(check),
          uses, std::move(reason)};
}
Allowance notSent(std::string kind, Seqs seqs, Uses uses, std::string reason) {
  return {{}, What::NotSent, std::move(kind), "", std::move(seqs), nullptr, uses, std::move(reason)};
}
Allowance instead(std::string kind, Seqs seqs, Check check, Uses uses, std::string reason) {
  return {{}, What::Instead, std::move(kind), "", std::move(seqs), std::move(check), uses, std::move(reason)};
}
Allowance more(std::string kind, Seqs seqs, Check check, Uses uses, std::string reason) {
  return {{}, What::More, std::move(kind), "", std::move(seqs), std::move(check), uses, std::move(reason)};
}
Allowance played(std::string kind, std::string path, Seqs seqs, Uses uses, std::string reason) {
  return {{}, What::Played, std::move(kind), std::move(path), std::move(seqs), nullptr, uses, std::move(reason)};
}

std::vector<Allowance> ofControlPlane() {
  return {
      // Ids, times, and what signs them.
      differs("intent", "messageId", kAll, paired(), {9, 0, 0}, "the server chooses the intent's id"),
      differs("intent", "payload.id", kAll, paired(), {9, 0, 0}, "the server chooses the intent's id"),
      differs("intent", "signature.body.id", kAll, paired(), {9, 0, 0}, "the server chooses the intent's id"),
      differs("*", "messageId", kAll, fresh(), {40, 5, 50}, "every message has an id of its own"),
      differs("*", "payload.sessionId", kAll, paired(), {22, 3, 36}, "session ids are random"),
      differs("*", "payload.registrationId", kAll, paired(), {2, 2, 4}, "registration ids are random"),
      differs("*", "timestamp", kAll, clock(), {49, 5, 37}, "the time when ours sent it"),
      differs("*", "payload.timestamp", kAll, clock(), {10, 0, 0}, "the time when ours sent it"),
      differs("intent", "signature.body.timestamp", kAll, clock(), {9, 0, 0}, "the time when ours signed it"),
      differs("intent", "signature.signature", kAll, ownSignature(), {9, 0, 0}, "it signs the id and the time"),
      differs("STEP1", "payload.data.nonce", kAll, ownNonce(16, 32), {9, 1, 7}, "the responder's half is random"),
      differs("STEP1", "payload.data.sign2", kAll, ownSignature(), {9, 1, 7}, "it signs the nonce"),

      // Certificates.
      differs("STEP1", "payload.data.metadata.pk2", {5}, certificate(R"({"capabilities":[]})"), {1, 1, 0},
              "ours certifies nothing before an operator has decided"),
      differs("STEP1", "payload.data.metadata.pk2", {35, 55, 93, 104, 115, 135, 144},
              certificate(R"({"capabilities":[]})"), {0, 0, 7}, "as at #5"),
      differs("STEP1", "payload.data.metadata.pk2", {168},
              certificate(R"({"capabilities":["api_call","file_access","mail_send"]})"), {1, 0, 0},
              "ours certifies the stored grant at once, so that nothing needs to follow"),
      notSent("update_capabilities", {172}, {1, 0, 0}, "the certificate at #168 says it already"),
      notSent("auth_challenge", {173}, {1, 0, 0}, "the certificate at #168 says it already"),
      played("INIT", "", {174}, {1, 0, 0}, "it answers #173, which ours does not send"),
      notSent("STEP1", {175}, {1, 0, 0}, "it answers #174"),
      played("COMPLETE", "", {176}, {1, 0, 0}, "it answers #175"),
      notSent("auth_complete", {177}, {1, 0, 0}, "it answers #176"),
      differs("update_capabilities", "payload.resourceLimits", {136}, is("null"), {1, 0, 0},
              "the original leaves out what this operator call does not change; ours always says all of it (4.1)"),
      differs("update_capabilities", "payload.policyId", {136}, is("null"), {1, 0, 0}, "as resourceLimits"),
      differs("update_capabilities", "payload.policyExpiresAt", {136}, is("null"), {1, 0, 0}, "as resourceLimits"),
      played(
          "INIT", "payload.capabilities", {4}, {1, 0, 0},
          "the recorded operator grants file_access, which the agent did not ask for; ours grants only what was asked "
          "for, so the agent asks for it"),
      played("COMPLETE", "payload.capabilities", {6}, {1, 0, 0}, "as at #4"),
      played("step", "clock", {105, 119, 135}, {3, 0, 0},
             "ours sends certificates at least 5 s apart (7.3): the operator waits as long"),

      // What ours does not send.
      notSent("skills_config", kAll, {9, 0, 0}, "ours has no skills to configure yet"),
      notSent("delegation_update", kAll, {10, 0, 0}, "ours issues no delegations yet"),
      notSent("COMPLETE", kAll, {9, 0, 0}, "the agent's own bytes again, which agents ignore (4.1)"),
      notSent("intent", {42, 46, 50, 54, 58, 62, 65}, {7, 0, 0}, "the recording script sent it, not the server"),
      notSent("agent_peer_catalog", {82}, {1, 0, 0}, "the recording script sent it, not the server"),
      notSent("policy_update", {130}, {1, 0, 0}, "the recording script sent it, not the server"),
      notSent("no_such_type", {133}, {1, 0, 0}, "the recording script sent it, not the server"),
      notSent("text", {134}, {1, 0, 0}, "the recording script sent it, not the server"),

      // What ours adds or leaves out.
      differs("intent", "payload.timeoutMs", kAll, is("60000"), {9, 0, 0}, "deadlines (7.8)"),
      differs("chat_message", "payload.timeoutMs", kAll, is("600000"), {1, 0, 0}, "deadlines (7.8)"),
      differs("intent", "payload.userDid", {34}, missing(), {1, 0, 0}, "ours sends no intents on behalf of users yet"),

      // Refusals.
      more("error", {26}, whole("error", R"({"error":"message: not valid JSON"})"), {0, 0, 1},
           "the original says nothing to a text that is no JSON"),
      differs("auth_failed", "payload.reason", {46}, says("Protocol tampered: the protocol is not p2p"), {0, 0, 1},
              "ours says what is wrong"),
      differs("auth_failed", "payload.reason", {66}, says("Protocol tampered: the service is not one offered here"),
              {0, 0, 1}, "ours says what is wrong"),
      differs("auth_failed", "payload.reason", {75, 84, 106}, says("MessagePack ends too early"), {0, 0, 3},
              "ours says what is wrong"),
      differs("auth_failed", "payload.reason", {95}, says("COMPLETE is not signed by the identity it names"), {0, 0, 1},
              "ours says what is wrong"),
      differs("auth_failed", "payload.reason", {126},
              says("the handshake's timestamp is 61 s behind the control plane's clock (2026-11-22T13:24:03.231Z), and "
                   "at most 60 s are allowed: set the agent's clock"),
              {0, 0, 1}, "ours says what is wrong"),
      played("close", "registration", {38, 58, 118}, {0, 0, 3},
             "ours keeps a registration when its client goes, and with it that it has spoken version 1 (7.2): the "
             "operator rejects it before the next client comes"),

      // The end of a connection.
      differs("close", "code", kAll, is("1008"), {0, 1, 7},
              "the original closes without a code; ours says that a rule was the reason"),
      differs("close", "code", {189}, is("1000"), {1, 0, 0}, "the original closes without a code"),
      differs("close", "reason", kAll, anyText(), {2, 1, 7}, "words for people"),
  };
}

std::vector<Allowance> ofAgent() {
  return {
      // Ids, times, and what signs them.
      differs("result", "messageId", {66}, asAt(63), {1, 0, 0},
              "ours runs no intent twice (7.4): the stored result comes again"),
      differs("result", "timestamp", {66}, asAt(63), {1, 0, 0}, "the stored result comes again"),
      differs("result", "payload.executedAt", {66}, asAt(63), {1, 0, 0}, "the stored result comes again"),
      differs("*", "messageId", kAll, fresh(), {61, 3, 28}, "every message has an id of its own"),
      differs("*", "timestamp", kAll, clock(), {61, 3, 28}, "the time when ours sent it"),
      differs("result", "payload.executedAt", kAll, clock(), {15, 0, 0}, "the time when ours sent it"),

      // Handshakes.
      differs("INIT", "payload.data.version", kAll, is("1"), {10, 1, 9},
              "ours opens every handshake in version 1 (7.1)"),
      differs("INIT", "payload.data.timestamp", kAll, clock(), {10, 1, 10}, "the time when ours sent it"),
      differs("INIT", "payload.data.pk1", kAll, inVersion1(), {10, 1, 9}, "version 1 has ids in version 1"),
      differs("INIT", "payload.data.nonce", kAll, ownNonce(0, 16), {10, 1, 10}, "the initiator's half is random"),
      differs("INIT", "payload.data.metadata.pk1", kAll, statement(), {10, 1, 10},
              "ours states what it is, and signs it (7.1)"),
      differs("COMPLETE", "payload.data.version", kAll, asStep1(), {10, 1, 4},
              "what both sides have said, in version 1"),
      differs("COMPLETE", "payload.data.timestamp", kAll, asStep1(), {10, 1, 5}, "what both sides have said"),
      differs("COMPLETE", "payload.data.pk1", kAll, asStep1(), {10, 1, 4}, "what both sides have said, in version 1"),
      differs("COMPLETE", "payload.data.pk2", kAll, asStep1(), {10, 1, 4}, "what both sides have said, in version 1"),
      differs("COMPLETE", "payload.data.nonce", kAll, asStep1(), {10, 1, 5}, "what both sides have said"),
      differs("COMPLETE", "payload.data.metadata.pk1", kAll, asStep1(), {10, 1, 5}, "what both sides have said"),
      differs("COMPLETE", "payload.data.sign2", kAll, asStep1(), {10, 1, 5},
              "the recorded server's, over the new nonce"),
      differs("COMPLETE", "payload.data.sign1", kAll, ownSignature(), {10, 1, 5}, "it signs the nonce"),

      // Intents.
      differs("result", "payload.output", {23, 63, 66, 95, 99}, inAnyOrder(), {5, 0, 0},
              "the SDK's Json sorts the members of what a handler returns"),
      differs("result", "payload.code", {31}, says("failed"), {1, 0, 0}, "error codes (7.8)"),
      differs("result", "payload.code", {27, 35, 39, 43, 47, 51, 59, 103, 117}, says("policy_denied"), {9, 0, 0},
              "error codes (7.8)"),
      differs("intent_ack", "payload.code", {32}, says("failed"), {1, 0, 0}, "error codes (7.8)"),
      differs("intent_ack", "payload.code", {28, 36, 40, 44, 48, 52, 60, 104, 118}, says("policy_denied"), {9, 0, 0},
              "error codes (7.8)"),
      differs("result", "payload.error", {43}, says("Intent signature verification failed: it is not signed"),
              {1, 0, 0}, "ours says what is wrong"),
      differs("intent_ack", "payload.reason", {44}, says("Intent signature verification failed: it is not signed"),
              {1, 0, 0}, "ours says what is wrong"),
      differs("result", "payload.error", {47},
              says("Intent signature verification failed: it is signed for another id"), {1, 0, 0},
              "ours says what is wrong"),
      differs("intent_ack", "payload.reason", {48},
              says("Intent signature verification failed: it is signed for another id"), {1, 0, 0},
              "ours says what is wrong"),
      differs("result", "payload.error", {51},
              says("Intent signature verification failed: it is signed for another agent"), {1, 0, 0},
              "ours says what is wrong"),
      differs("intent_ack", "payload.reason", {52},
              says("Intent signature verification failed: it is signed for another agent"), {1, 0, 0},
              "ours says what is wrong"),
      differs("result", "payload.status", {55}, says("success"), {1, 0, 0},
              "an envelope without agentId: ours compares the signed one with its own DID (section 3), and runs it"),
      differs("result", "payload.output", {55}, is(R"({"action":"api_call","echo":{"x":1}})"), {1, 0, 0}, "as status"),
      differs("result", "payload.error", {55}, missing(), {1, 0, 0}, "as status"),
      differs("intent_ack", "payload.success", {56}, is("true"), {1, 0, 0}, "as the result"),
      differs("intent_ack", "payload.reason", {56}, missing(), {1, 0, 0}, "as the result"),
      differs("result", "payload.status", {59}, says("failed"), {1, 0, 0},
              "ours runs nothing but the signed action (7.4)"),
      differs("result", "payload.output", {59}, missing(), {1, 0, 0}, "as status"),
      differs("result", "payload.error", {59}, says("Intent signature verification failed: another action is signed"),
              {1, 0, 0}, "as status"),
      differs("intent_ack", "payload.success", {60}, is("false"), {1, 0, 0}, "as the result"),
      differs("intent_ack", "payload.reason", {60},
              says("Intent signature verification failed: another action is signed"), {1, 0, 0}, "as the result"),

      // Heartbeats.
      played("step", "clock", {68}, {1, 0, 0}, "the recorded heartbeat was triggered early; ours comes when it is due"),
      differs("heartbeat", "payload.uptime", {69}, wholeUptime(), {1, 0, 0}, "ours counts whole seconds"),
      differs("heartbeat", "payload.memory.rss", {69}, positive(), {1, 0, 0}, "another process"),
      differs("heartbeat", "payload.memory.heapTotal", {69}, is("0"), {1, 0, 0}, "there is no JavaScript heap"),
      differs("heartbeat", "payload.memory.heapUsed", {69}, is("0"), {1, 0, 0}, "there is no JavaScript heap"),
      differs("heartbeat", "payload.memory.external", {69}, is("0"), {1, 0, 0}, "there is no JavaScript heap"),
      differs("heartbeat", "payload.memory.arrayBuffers", {69}, is("0"), {1, 0, 0}, "there is no JavaScript heap"),
      differs("heartbeat", "payload.tokenUsage.syncId", {69}, fresh(), {1, 0, 0}, "usage counted once (7.8)"),

      // The end of a connection.
      differs("close", "code", {160, 195}, is("1000"), {2, 0, 0}, "the original closes without a code"),
      differs("close", "by", {10}, says("agent"), {0, 1, 0}, "ours leaves when it hears that it is rejected"),
      differs("close", "code", {10}, is("1000"), {0, 1, 0}, "it left by itself"),
      differs("close", "reason", kAll, anyText(), {2, 1, 9}, "words for people"),

      // Clients that break the protocol: ours does not, and hears what the server answered them.
      instead("INIT", {3}, whole("register", R"({"name":"x","version":"0.0.1"})"), {0, 0, 1},
              "the recorded client does not register"),
      instead("heartbeat", {10}, whole("register", R"({"name":"nameless","version":"0.0.1"})"), {0, 0, 1},
              "the recorded client does not register"),
      instead("register", {19}, properHandshake("INIT"), {0, 0, 1}, "the recorded client registers twice"),
      instead("text", {26}, whole("register", R"({"name":"nameless","version":"0.0.1"})"), {0, 0, 1},
              "the recorded client sends no JSON"),
      differs("INIT", "payload.data.protocol", {45}, says("p2p"), {0, 0, 1},
              "the recorded client names another protocol"),
      differs("INIT", "payload.data.service", {54, 65}, says("auth"), {0, 0, 2},
              "the recorded client names another service"),
      differs("COMPLETE", "payload.data.service", {56}, asStep1(), {0, 0, 1}, "as in INIT"),
      instead("auth_challenge", {74, 83}, properHandshake("INIT"), {0, 0, 2},
              "the recorded client sends a part of an INIT, or none"),
      instead("auth_challenge", {105}, properHandshake("COMPLETE"), {0, 0, 1},
              "the recorded client sends a part of a COMPLETE"),
      differs("INIT", "payload.sessionId", {134}, says("fb4453a657978f508e4a0317182e7e2d"), {0, 0, 1},
              "the recorded client makes up a session id"),
      more("COMPLETE", {135}, properHandshake("COMPLETE"), {0, 0, 1}, "the recorded client goes away instead"),
      differs("register", "payload.name", {141}, says("nameless"), {0, 0, 1}, "the recorded client has no name"),
      differs("register", "payload.version", {141}, says("0.0.1"), {0, 0, 1}, "the recorded client has no version"),
      differs("*", "payload.name", {143, 145}, says("nameless"), {0, 0, 2}, "the recorded client has no name"),
      differs("*", "payload.capabilities", {143, 145}, is("[]"), {0, 0, 2},
              "the recorded client names no capabilities"),
      differs("close", "code", {5, 12, 21, 27, 38, 58, 118, 136, 147}, is("1000"), {0, 0, 9},
              "the recorded client closes without a code"),
      differs("close", "by", kAll, says("agent"), {0, 0, 7},
              "ours leaves when it hears auth_failed, and comes again later"),
      differs("close", "code", kAll, is("1006"), {0, 0, 7}, "it left by itself"),
      played("end", "process", kAll, {0, 0, 7},
             "every recorded client was a program of its own: ours ends before it comes again"),
  };
}

}  // namespace

const std::vector<Allowance>& allowances() {
  static const std::vector<Allowance> table = [] {
    std::vector<Allowance> all = ofControlPlane();
    for (auto& row : all) row.side = Side::ControlPlane;
    for (auto& row : ofAgent()) {
      row.side = Side::Agent;
      all.push_back(std::move(row));
    }
    return all;
  }();
  return table;
}

}  // namespace vaultysclaw::replay
