#include "identity/tokens.hpp"
#include "report.hpp"

namespace vaultysclaw::conformance {
namespace {

using namespace identity;

Json toJson(const IntentToken& t) {
  return Json{{"type", "intent"},
              {"id", t.id},
              {"action", t.action},
              {"agentId", t.agentId},
              {"timestamp", toUnixMillis(t.timestamp)}};
}
template <class T>
Json withTimes(Json out, const T& token) {
  out["capabilities"] = token.capabilities;
  out["issuedAt"] = toUnixMillis(token.issuedAt);
  if (token.expiresAt) out["expiresAt"] = toUnixMillis(*token.expiresAt);
  return out;
}
Json toJson(const DelegationToken& t) {
  return withTimes(Json{{"type", "delegation"}, {"userDid", t.userDid}, {"agentDid", t.agentDid}}, t);
}
Json toJson(const PeerGrantToken& t) {
  return withTimes(Json{{"type", "peer_grant"},
                        {"sourceDid", t.sourceDid},
                        {"targetDid", t.targetDid},
                        {"targetName", t.targetName},
                        {"skillDescription", t.skillDescription}},
                   t);
}

template <class T>
Result<Json> asJson(const Result<T>& token) {
  return token.ok() ? Result<Json>(toJson(*token)) : Result<Json>(token.error());
}

// What the original's verifier compares after the signature: an empty text expects nothing, but for agentId.
bool meets(const Json& body, const Json& expected) {
  const auto wants = [&](const char* name) { return expected.contains(name) && expected.at(name).is_string(); };
  if (wants("intentId") && expected.at("intentId") != "" && body.at("id") != expected.at("intentId")) return false;
  if (wants("action") && expected.at("action") != "" && body.at("action") != expected.at("action")) return false;
  return !wants("agentId") || body.at("agentId") == expected.at("agentId");
}

// Every member we read is the original's, and what we do not have is no member of ours (unknown, or "no expiry").
bool sameBody(const Json& ours, const Json& original) {
  for (const auto& [name, value] : ours.items()) {
    if (!original.contains(name) || original.at(name) != value) return false;
  }
  return ours.contains("expiresAt") || !original.contains("expiresAt") || original.at("expiresAt").is_null() ||
         original.at("expiresAt") == 0;
}

bool lacksMember(const Json& body, std::string_view kind) {
  const std::vector<const char*> names =
      kind == "intent" ? std::vector{"id", "action", "agentId", "timestamp"}
      : kind == "delegation"
          ? std::vector{"userDid", "agentDid", "capabilities", "issuedAt"}
          : std::vector{"sourceDid", "targetDid", "targetName", "skillDescription", "capabilities", "issuedAt"};
  for (const char* name : names) {
    if (!body.contains(name)) return true;
  }
  return false;
}

std::string signAgain(const VaultysId& server, std::string_view kind, const Json& in, WallTime at) {
  const auto text = [&](const char* name) { return in.at(name).get<std::string>(); };
  const auto fill = [&](auto token) {
    token.capabilities = in.at("capabilities").get<std::vector<std::string>>();
    token.issuedAt = at;
    if (in.contains("expiresAt")) token.expiresAt = fromUnixMillis(in.at("expiresAt").get<std::int64_t>());
    return signToken(server, token);
  };
  if (kind == "intent") {
    IntentToken t;
    t.id = text("id"), t.action = text("action"), t.agentId = text("agentId"), t.timestamp = at;
    return signToken(server, t);
  }
  if (kind == "delegation") {
    DelegationToken t;
    t.userDid = text("userDid"), t.agentDid = text("agentDid");
    return fill(t);
  }
  PeerGrantToken t;
  t.sourceDid = text("sourceDid"), t.targetDid = text("targetDid");
  t.targetName = text("targetName"), t.skillDescription = text("skillDescription");
  return fill(t);
}

}  // namespace

void checkCerts(const Json& file, Report& report) {
  for (const Json& v : file.at("certs")) {
    Case c{textOf(v.at("name"))};
    const std::string kind = textOf(v.at("kind"));
    const Json& server = file.at("servers").at(textOf(v.at("server")));
    const auto issuer = VaultysId::fromId(hexOf(server.at("id_hex")));
    if (!issuer.ok()) {
      c.notSupported = true;
      c.expect(issuer.error().code == Errc::Unsupported, "a server whose id is refused: " + issuer.error().message);
      report.add(c);
      continue;
    }
    const std::string token = textOf(v.at("token_base64"));
    const WallTime now = fromUnixMillis(v.at("now_ms").get<std::int64_t>());
    auto body = kind == "intent"       ? asJson(verifyIntentToken(token, *issuer, now))
                : kind == "delegation" ? asJson(verifyDelegationToken(token, *issuer, now))
                                       : asJson(verifyPeerGrantToken(token, *issuer, now));
    if (body.ok() && v.contains("expected") && v.at("expected").is_object() && !meets(*body, v.at("expected"))) {
      body = Error{Errc::Conflict, "not what is expected"};
    }
    const Json& original = v.at("verify_result");
    if (original.is_null()) {
      c.expect(!body.ok(), "accepted what the original refuses");
    } else if (body.ok()) {
      c.expect(sameBody(*body, original), "another body: " + body->dump());
    } else {
      if (lacksMember(original, kind)) c.stricter = Rule::TokenMembers;
      c.expect(c.stricter.has_value(), "refused without a rule: " + body.error().message);
    }
    if (v.contains("input") && v.contains("signed_at_ms")) {
      const auto secret = VaultysId::fromSecretBase64(textOf(server.at("secret_base64")));
      const WallTime at = fromUnixMillis(v.at("signed_at_ms").get<std::int64_t>());
      c.expect(secret.ok() && signAgain(*secret, kind, v.at("input"), at) == token, "our token has other bytes");
    }
    if (v.contains("body_hex")) {
      const auto hash = tokenBodyHash(token);
      c.expect(hash.ok() && *hash == sha256(hexOf(v.at("body_hex"))), "body");
    } else {
      c.expect(!tokenBodyHash(token).ok(), "a body where the original finds none");
    }
    report.add(c);
  }
}

}  // namespace vaultysclaw::conformance
