#include "checks.hpp"

#include "identity/tokens.hpp"

namespace vaultysclaw::replay {
namespace {

std::string shown(const json* value) {
  return value ? value->dump() : "(absent)";
}

std::string want(bool holds, const std::string& what) {
  return holds ? "" : "ours should be " + what;
}

const json* find(const json& message, const std::string& path) {
  const json* node = &message;
  for (std::size_t from = 0; from <= path.size();) {
    const auto dot = std::min(path.find('.', from), path.size());
    const auto member = node->is_object() ? node->find(path.substr(from, dot - from)) : node->end();
    if (member == node->end()) return nullptr;
    node = &*member;
    from = dot + 1;
  }
  return node;
}

bool isText(const json* value) {
  return value && value->is_string();
}

bool newTo(Ledger& ledger, const std::string& id) {
  return ledger.seen.insert(id).second;
}

}  // namespace

Check is(const std::string& text) {
  return [expected = json::parse(text)](const Difference& d, Ledger&) {
    return want(d.ours && *d.ours == expected, expected.dump());
  };
}

Check says(const std::string& text) {
  return is(json(text).dump());
}

Check anyText() {
  return [](const Difference& d, Ledger&) {
    return want(isText(d.ours) && !d.ours->get<std::string>().empty(), "a text");
  };
}

Check inAnyOrder() {
  return [](const Difference& d, Ledger&) {
    const auto sorted = [](const json& value) { return nlohmann::json::parse(value.dump()); };
    return want(d.ours && d.recorded && sorted(*d.ours) == sorted(*d.recorded), shown(d.recorded));
  };
}

Check missing() {
  return [](const Difference& d, Ledger&) { return want(!d.ours && d.recorded, "absent"); };
}

Check fresh() {
  return [](const Difference& d, Ledger& ledger) {
    return want(isText(d.ours) && !d.ours->get<std::string>().empty() && newTo(ledger, *d.ours), "a new id");
  };
}

Check paired() {
  return [](const Difference& d, Ledger& ledger) -> std::string {
    if (!isText(d.ours) || !isText(d.recorded)) return "both sides should have an id";
    const std::string ours = *d.ours, recorded = *d.recorded;
    const auto known = ledger.oursOf.find(recorded);
    if (known != ledger.oursOf.end()) return want(known->second == ours, known->second + ", as before");
    if (!ledger.recordedOf.emplace(ours, recorded).second)
      return "ours stood for " + ledger.recordedOf[ours] + " before, and the recorded id is another one";
    ledger.oursOf.emplace(recorded, ours);
    return "";
  };
}

Check clock() {
  return [](const Difference& d, Ledger&) {
    const bool number = d.recorded && d.recorded->is_number();
    const json expected = number ? json(toUnixMillis(d.at)) : json(toIso8601(d.at));
    return want(d.ours && *d.ours == expected, expected.dump() + ", the time when it was sent");
  };
}

Check asAt(int seq) {
  return [seq](const Difference& d, Ledger& ledger) {
    const json* before = find(ledger.sent[seq], d.path);
    return want(d.ours && before && *d.ours == *before, shown(before) + ", as at " + std::to_string(seq));
  };
}

Check inVersion1() {
  return [](const Difference& d, Ledger&) {
    const auto bytes = isText(d.recorded) ? hexDecode(d.recorded->get<std::string>()) : Result<Bytes>(Bytes{});
    const auto id = identity::VaultysId::fromId(bytes.ok() ? *bytes : Bytes{});
    const std::string expected = id ? hexEncode(id->toVersion(identity::IdVersion::V1).id()) : "?";
    return want(isText(d.ours) && *d.ours == expected, expected);
  };
}

Check ownNonce(std::size_t from, std::size_t to) {
  return [from, to](const Difference& d, Ledger& ledger) -> std::string {
    if (!isText(d.ours) || !isText(d.recorded)) return "both sides should have a nonce";
    const std::string ours = *d.ours, recorded = *d.recorded;
    const std::string part = ours.substr(0, 2 * to).substr(2 * from);
    if (ours.size() != recorded.size()) return "ours has another length";
    if (ours.substr(0, 2 * from) != recorded.substr(0, 2 * from) || ours.substr(2 * to) != recorded.substr(2 * to))
      return "ours changes bytes that are not its own";
    return want(newTo(ledger, part), "new: these bytes came before");
  };
}

Check asStep1() {
  return [](const Difference& d, Ledger& ledger) {
    const json* theirs = find(ledger.step1, d.path);
    return want(theirs && d.ours && *d.ours == *theirs, shown(theirs) + ", as in STEP1");
  };
}

Check ownSignature() {
  return [](const Difference& d, Ledger& ledger) -> std::string {
    if (d.path == "signature.signature") {
      const auto token = d.message.value("signature", "");
      return want(identity::verifyIntentToken(token, ledger.transcript.server, d.at).ok(), "a signature that holds");
    }
    const auto handshake = handshakeIn(d.message);
    if (!handshake) return "ours is no handshake: " + handshake.error().message;
    const bool first = d.path == "payload.data.sign1";
    const Bytes& signer = first ? handshake->pk1 : handshake->pk2;
    const auto& self = first ? ledger.transcript.agent : ledger.transcript.server;
    if (signer != self.toVersion(handshake->version).id()) return "ours is signed by somebody else";
    return want(first ? initiatorSigned(*handshake) : responderSigned(*handshake), "a signature that holds");
  };
}

Check statement() {
  return [](const Difference& d, Ledger&) -> std::string {
    if (!d.ours || !d.ours->is_object()) return "ours should state something";
    const json& payload = d.message["payload"];
    for (const auto& [name, value] : d.ours->items()) {
      const bool ofEnvelope = name == "name" || name == "capabilities";
      if (ofEnvelope ? value != payload[name] : name != "features" && name != "dh" && name != "channel")
        return "ours says something unexpected in " + name;
    }
    return want(d.ours->contains("name") && d.ours->contains("capabilities") && d.ours->contains("features"),
                "a statement with name, capabilities and features");
  };
}

Check certificate(const std::string& text) {
  return [expected = json::parse(text)](const Difference& d, Ledger&) {
    json granted = d.ours ? *d.ours : json();
    const auto handshake = handshakeIn(d.message);
    if (granted.is_object() && handshake && handshake->version == identity::IdVersion::V1) {
      granted.erase("features");
      granted.erase("dh");
    }
    return want(granted == expected, expected.dump());
  };
}

Check wholeUptime() {
  return [](const Difference& d, Ledger& ledger) {
    const auto passed = std::chrono::duration_cast<seconds>(d.at - ledger.agentStartedAt).count();
    return want(d.ours && *d.ours == json(passed) && d.ours->is_number_integer(), std::to_string(passed));
  };
}

Check positive() {
  return [](const Difference& d, Ledger&) {
    return want(d.ours && d.ours->is_number_integer() && d.ours->get<std::int64_t>() > 0, "a whole number over 0");
  };
}

Check whole(const std::string& kind, const std::string& payloadText) {
  return [kind, payload = json::parse(payloadText)](const Difference& d, Ledger& ledger) -> std::string {
    json rest = d.message;
    if (kindOf(rest) != kind) return "ours should be a message of the kind " + kind;
    if (!newTo(ledger, rest.value("messageId", ""))) return "ours should have a new messageId";
    if (rest.value("timestamp", "") != toIso8601(d.at)) return "ours should have the time when it was sent";
    if (rest["payload"] != payload) return "ours should have the payload " + payload.dump();
    for (const char* name : {"type", "messageId", "timestamp", "payload"}) rest.erase(name);
    return want(rest.empty(), "without " + rest.dump());
  };
}

Check properHandshake(const std::string& kind) {
  return [kind](const Difference& d, Ledger& ledger) -> std::string {
    const auto handshake = handshakeIn(d.message);
    if (!handshake || kindOf(d.message) != kind) return "ours should be of the kind " + kind;
    json data = opened(d.message)["payload"]["data"];
    if (kind == "COMPLETE") {
      data.erase("sign1");
      return want(data == ledger.step1["payload"]["data"] && initiatorSigned(*handshake), "STEP1, and signed");
    }
    const auto self = ledger.transcript.agent.toVersion(identity::IdVersion::V1);
    const json& stated = data["metadata"]["pk1"];
    return want(data["version"] == 1 && handshake->protocol == "p2p" && handshake->service == "auth" &&
                    handshake->timestamp == toUnixMillis(d.at) && handshake->pk1 == self.id() &&
                    newTo(ledger, data["nonce"]) && stated["name"] == d.message["payload"]["name"] &&
                    stated["capabilities"] == d.message["payload"]["capabilities"],
                "a fresh INIT in version 1 with a statement");
  };
}

}  // namespace vaultysclaw::replay
