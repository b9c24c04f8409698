#include "store_work.hpp"

namespace vaultysclaw::store {
namespace {

constexpr std::uint64_t kAgents = 5, kRegistrations = 6, kIntents = 40, kKeys = 6, kTokens = 3;

std::string textOf(std::mt19937_64& random, std::size_t longest = 300) {
  std::string text(random() % longest, ' ');
  for (char& c : text) c = static_cast<char>('a' + random() % 26);
  return text;
}
Bytes bytesOf(std::mt19937_64& random, std::size_t size = 32) {
  Bytes bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
  return bytes;
}
std::optional<std::string> maybe(std::mt19937_64& random) {
  return random() % 2 == 0 ? std::optional(textOf(random)) : std::nullopt;
}
WallTime timeOf(std::mt19937_64& random) {
  return fromUnixMillis(static_cast<std::int64_t>(random() % 1'000'000));
}
std::string nameOf(const char* what, std::uint64_t number) {
  return what + std::to_string(number);
}

// Absent and there already are no reason to give a work up.
Status lenient(const Status& status) {
  const bool fine = status.ok() || status.error().code == Errc::NotFound || status.error().code == Errc::Conflict;
  return fine ? Status() : status;
}

AgentRow agentOf(std::mt19937_64& random) {
  return {.did = Did(nameOf("did:agent:", random() % kAgents)),
          .publicId = bytesOf(random),
          .name = textOf(random),
          .capabilities = textOf(random),
          .requestedCapabilities = textOf(random),
          .limits = textOf(random),
          .policyId = maybe(random),
          .policyExpiresAt = timeOf(random),
          .handshakeVersion = static_cast<int>(random() % 2),
          .createdAt = timeOf(random),
          .lastSeenAt = timeOf(random),
          .features = textOf(random),
          .paused = maybe(random)};
}
RegistrationRow registrationOf(std::mt19937_64& random) {
  return {.id = RegistrationId(nameOf("registration", random() % kRegistrations)),
          .did = Did(nameOf("did:agent:", random() % kAgents)),
          .publicId = bytesOf(random),
          .name = textOf(random),
          .requestedCapabilities = textOf(random),
          .address = textOf(random),
          .status = random() % 2 == 0 ? "pending" : "approved",
          .reason = textOf(random),
          .handshakeVersion = 1,
          .createdAt = timeOf(random),
          .decidedAt = timeOf(random),
          .decidedBy = textOf(random)};
}
IntentRow intentOf(std::mt19937_64& random, std::size_t longest) {
  return {.id = IntentId(nameOf("intent", random() % kIntents)),
          .did = Did(nameOf("did:agent:", random() % kAgents)),
          .action = textOf(random),
          .params = textOf(random, longest),
          .token = textOf(random),
          .status = random() % 2 == 0 ? "pending" : "queued",
          .userDid = maybe(random),
          .requestedBy = textOf(random),
          .createdAt = timeOf(random),
          .traceparent = maybe(random),
          .timeoutMs = static_cast<std::int64_t>(random() % 1000),
          .ttlSeconds = static_cast<std::int64_t>(random() % 1000),
          .idempotencyKey = maybe(random)};
}
IntentRow endOf(std::mt19937_64& random, std::size_t longest) {
  constexpr const char* kEnds[] = {"success", "failed", "lost", "timeout"};
  IntentRow row{.id = IntentId(nameOf("intent", random() % kIntents)), .status = kEnds[random() % 4]};
  row.output = textOf(random, longest);
  row.error = maybe(random);
  row.code = maybe(random);
  row.executedAt = timeOf(random);
  row.finishedAt = timeOf(random);
  row.resultToken = maybe(random);
  return row;
}

using ControlStep = ControlStore::Work;
ControlStep auditStep(std::mt19937_64& random) {
  AuditRow row{.at = timeOf(random),
               .actor = textOf(random, 20),
               .action = random() % 2 == 0 ? "intent.send" : "agent.pause",
               .target = textOf(random, 20),
               .details = textOf(random)};
  row.hash = bytesOf(random);
  return [row](ControlWriter& w) mutable -> Status {
    VC_TRY_ASSIGN(const auto last, w.lastAudit());
    row.seq = last ? last->seq + 1 : 1;
    row.previousHash = last ? last->hash : Bytes(32, 0);
    return w.appendAudit(row);
  };
}

// What may happen to an intent between its beginning and its end.
ControlStep openIntentStep(std::mt19937_64& random) {
  const IntentId id(nameOf("intent", random() % kIntents));
  switch (random() % 3) {
    case 0:
      return [id](ControlWriter& w) { return w.requeueIntent(id); };
    case 1:
      return [id, event = IntentEventRow{.at = timeOf(random), .event = textOf(random), .detail = textOf(random)}](
                 ControlWriter& w) { return w.addIntentEvent(id, event); };
    default:
      return [id, send = IntentSend{textOf(random) + "t", timeOf(random), timeOf(random), random() % 2 == 0}](
                 ControlWriter& w) { return w.recordSend(id, send); };
  }
}

ControlStep controlStep(std::mt19937_64& random) {
  switch (random() % 15) {
    case 11:
    case 12:
    case 13:
      return openIntentStep(random);
    case 0:
    case 1:
      return [row = agentOf(random)](ControlWriter& w) { return w.putAgent(row); };
    case 2: {
      const Did did(nameOf("did:agent:", random() % kAgents));
      switch (random() % 3) {
        case 0:
          return [did](ControlWriter& w) { return w.deleteAgent(did); };
        case 1:
          return [did](ControlWriter& w) { return w.resetPin(did); };
        default:
          return [did, at = timeOf(random)](ControlWriter& w) { return w.touchAgent(did, at); };
      }
    }
    case 3:
      return [row = registrationOf(random)](ControlWriter& w) { return w.putRegistration(row); };
    case 4:
    case 5:
    case 6:
      return [row = intentOf(random, 6000)](ControlWriter& w) { return w.insertIntent(row); };
    case 7:
    case 8:
      return [row = endOf(random, 6000)](ControlWriter& w) { return w.finishIntent(row); };
    case 9:
      return [row = ApiTokenRow{.id = TokenId(nameOf("token", random() % kTokens)),
                                .name = textOf(random),
                                .hash = bytesOf(random),
                                .createdAt = timeOf(random)}](ControlWriter& w) { return w.putApiToken(row); };
    case 10:
      return [key = nameOf("key", random() % kKeys), value = textOf(random, 9000)](ControlWriter& w) {
        return w.putMeta(key, value);
      };
    default:
      return auditStep(random);
  }
}

std::string controlPlaneOf(std::mt19937_64& random) {
  return random() % 4 == 0 ? "did:cp:two" : "did:cp:one";
}
StoredUsage usageOf(std::mt19937_64& random) {
  StoredUsage usage{.utcDay = static_cast<std::int64_t>(random() % 30'000)};
  usage.promptTotal = static_cast<std::int64_t>(random() % 1000);
  usage.syncId = textOf(random, 40);
  usage.requestsThisHour = static_cast<std::int64_t>(random() % 100);
  return usage;
}
Riders ridersOf(std::mt19937_64& random) {
  Riders riders;
  if (random() % 2 == 0) riders.usage = usageOf(random);
  for (std::uint64_t i = random() % 3; i > 0; --i) {
    riders.settled.push_back({nameOf("intent", random() % kIntents),
                              random() % 2 == 0 ? SeenIntent::State::Delivered : SeenIntent::State::Rejected});
  }
  return riders;
}

AgentWork acceptWork(std::mt19937_64& random) {
  const SeenIntent intent{.controlPlaneDid = controlPlaneOf(random),
                          .intentId = nameOf("intent", random() % kIntents),
                          .fingerprint = textOf(random),
                          .intentHash = textOf(random),
                          .acceptedAt = timeOf(random)};
  return [intent, riders = ridersOf(random)](AgentState& state) -> Status {
    const auto seen = state.acceptIntent(intent, riders);
    return seen.ok() ? Status() : Status(seen.error());
  };
}
AgentWork finishWork(std::mt19937_64& random, std::size_t longest) {
  return [cp = controlPlaneOf(random), id = nameOf("intent", random() % kIntents),
          finished = FinishedIntent{textOf(random, longest), textOf(random)},
          riders = ridersOf(random)](AgentState& state) { return state.finishIntent(cp, id, finished, riders); };
}

}  // namespace

ControlStore::Work randomControlWork(std::mt19937_64& random) {
  std::vector<ControlStep> steps;
  for (std::uint64_t i = 1 + random() % 4; i > 0; --i) steps.push_back(controlStep(random));
  const bool givesUp = random() % 8 == 0;
  return [steps, givesUp](ControlWriter& w) -> Status {
    for (const auto& step : steps) VC_TRY(lenient(step(w)));
    return givesUp ? Status(Error{Errc::InvalidArgument, "gives up"}) : Status();
  };
}

std::vector<std::string> controlMetaKeys() {
  std::vector<std::string> keys{"large"};
  for (std::uint64_t i = 0; i < kKeys; ++i) keys.push_back(nameOf("key", i));
  return keys;
}

ControlStore::Work largeControlWork(std::mt19937_64& random, std::size_t bytes) {
  return [value = std::string(bytes, static_cast<char>('a' + random() % 26)),
          audit = auditStep(random)](ControlWriter& w) -> Status {
    VC_TRY(w.putMeta("large", value));
    return audit(w);
  };
}

AgentWork randomAgentWork(std::mt19937_64& random) {
  switch (random() % 10) {
    case 0:
    case 1:
    case 2:
      return acceptWork(random);
    case 3:
    case 4:
    case 5:
      return finishWork(random, 3000);
    case 6:
      return [cp = controlPlaneOf(random), riders = ridersOf(random), before = timeOf(random)](AgentState& state) {
        return riders.usage ? state.forgetIntents(cp, before) : state.settle(cp, riders.settled);
      };
    case 7:
      return [usage = usageOf(random)](AgentState& state) { return state.saveUsage(usage); };
    case 8: {
      std::vector<StoredDelegation> all;
      for (std::uint64_t i = random() % 4; i > 0; --i) all.push_back({textOf(random, 20), textOf(random, 900)});
      return [all](AgentState& state) { return state.replaceDelegations(all); };
    }
    default: {
      std::vector<std::pair<std::string, std::optional<std::string>>> values;
      for (std::uint64_t i = 1 + random() % 3; i > 0; --i)
        values.emplace_back(nameOf("key", random() % kKeys), maybe(random));
      return [values](AgentState& state) { return state.putAll(values); };
    }
  }
}

AgentWork largeAgentWork(std::mt19937_64& random, std::size_t bytes) {
  return [value = std::string(bytes, static_cast<char>('a' + random() % 26))](AgentState& state) {
    return state.putAll({{"large", value}});
  };
}

std::vector<std::pair<std::string, std::string>> agentIntents() {
  std::vector<std::pair<std::string, std::string>> all;
  for (const char* controlPlane : {"did:cp:one", "did:cp:two"}) {
    for (std::uint64_t i = 0; i < kIntents; ++i) all.emplace_back(controlPlane, nameOf("intent", i));
  }
  return all;
}

std::vector<std::string> agentValueKeys() {
  return controlMetaKeys();
}

}  // namespace vaultysclaw::store
