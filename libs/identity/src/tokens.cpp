#include "identity/tokens.hpp"

#include "base/msgpack.hpp"

namespace vaultysclaw::identity {
namespace {

constexpr std::size_t kLengthBytes = 4;
// What JavaScript's Date can hold, so that arithmetic on a token's times stays far from overflow.
constexpr std::int64_t kMaxMillis = 8'640'000'000'000'000;

std::string seal(const VaultysId& issuer, const msgpack::Map& members) {
  const Bytes body = msgpack::encode(members);
  Bytes token;
  for (int shift = 0; shift < 32; shift += 8) token.push_back(static_cast<std::uint8_t>(body.size() >> shift));
  append(token, body);
  append(token, issuer.sign(body));
  return base64Encode(token);
}

struct Parts {
  Bytes whole;
  BytesView body, signature;  // inside whole
};

Result<Parts> split(std::string_view token) {
  auto decoded = base64Decode(token);
  if (!decoded.ok()) return Error{Errc::Malformed, "a token that is not base64"};
  Parts parts{std::move(*decoded), {}, {}};
  if (parts.whole.size() <= kLengthBytes) return Error{Errc::Malformed, "a token without a body"};
  std::size_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) length |= std::size_t{parts.whole[i]} << (8 * i);
  const BytesView rest = BytesView(parts.whole).subspan(kLengthBytes);
  if (length > rest.size()) return Error{Errc::Malformed, "a token that is shorter than the body it announces"};
  parts.body = rest.first(length);
  parts.signature = rest.subspan(length);
  return parts;
}

Error missing(std::string_view name) {
  return Error{Errc::Malformed, "a token whose member '" + std::string(name) + "' is missing or of the wrong type"};
}

// Reads members of a body; the first failure is kept.
class Reader {
 public:
  explicit Reader(const msgpack::Value& body) : body_(body) {}

  std::string text(std::string_view name) {
    const msgpack::Value* v = body_.find(name);
    if (v != nullptr && v->string() != nullptr) return *v->string();
    fail(name);
    return {};
  }
  std::optional<std::string> optionalText(std::string_view name) {
    const msgpack::Value* v = body_.find(name);
    if (v == nullptr || v->isNil()) return std::nullopt;
    return text(name);
  }
  std::vector<std::string> texts(std::string_view name) {
    std::vector<std::string> out;
    const msgpack::Value* v = body_.find(name);
    if (v == nullptr || v->array() == nullptr) {
      fail(name);
      return out;
    }
    for (const msgpack::Value& item : *v->array()) {
      if (item.string() == nullptr)
        fail(name);
      else
        out.push_back(*item.string());
    }
    return out;
  }
  WallTime time(std::string_view name) {
    const msgpack::Value* v = body_.find(name);
    const auto ms = v != nullptr ? v->asInteger() : std::nullopt;
    if (ms && *ms >= 0 && *ms <= kMaxMillis) return fromUnixMillis(*ms);
    fail(name);
    return {};
  }
  // Absent, nil and 0 are the original's ways to say "never".
  std::optional<WallTime> expiry(std::string_view name) {
    const msgpack::Value* v = body_.find(name);
    if (v == nullptr || v->isNil() || v->asInteger() == 0) return std::nullopt;
    return time(name);
  }
  std::optional<Sha256> hash(std::string_view name) {
    const msgpack::Value* v = body_.find(name);
    if (v == nullptr || v->isNil()) return std::nullopt;
    Sha256 out{};
    if (v->bytes() == nullptr || v->bytes()->size() != out.size()) {
      fail(name);
      return std::nullopt;
    }
    std::copy(v->bytes()->begin(), v->bytes()->end(), out.begin());
    return out;
  }
  void fail(std::string_view name) {
    if (status_.ok()) status_ = missing(name);
  }
  const Status& status() const { return status_; }

 private:
  const msgpack::Value& body_;
  Status status_;
};

// The body of a token that `issuer` signed and whose type is `type`.
Result<msgpack::Value> open(std::string_view token, const VaultysId& issuer, std::string_view type) {
  VC_TRY_ASSIGN(const Parts parts, split(token));
  if (!issuer.verify(parts.body, parts.signature)) {
    return Error{Errc::BadSignature, "a token that is not signed by " + issuer.didV1().value};
  }
  VC_TRY_ASSIGN(msgpack::Value body, msgpack::decode(parts.body));
  if (body.map() == nullptr || !msgpack::isPlain(body)) {
    return Error{Errc::Malformed, "a token whose body is not a map with distinct text keys"};
  }
  // The same key signs handshakes; what is signed there has a `protocol`, and is never a token.
  if (body.find("protocol") != nullptr) return Error{Errc::Malformed, "a handshake message in place of a token"};
  const msgpack::Value* actual = body.find("type");
  if (actual == nullptr || actual->string() == nullptr || *actual->string() != type) {
    return Error{Errc::Malformed, "a token of another type than '" + std::string(type) + "'"};
  }
  return body;
}

Status notExpired(const std::optional<WallTime>& expiresAt, WallTime now) {
  if (expiresAt && *expiresAt < now) return Error{Errc::Expired, "a token that expired at " + toIso8601(*expiresAt)};
  return {};
}

msgpack::Value timeValue(WallTime t) {
  return msgpack::Value::integer(toUnixMillis(t));
}

msgpack::Value textArray(const std::vector<std::string>& texts) {
  msgpack::Array out;
  for (const std::string& t : texts) out.emplace_back(t);
  return out;
}

}  // namespace

std::string signToken(const VaultysId& issuer, const IntentToken& token) {
  msgpack::Map body{{"type", "intent"},
                    {"id", token.id},
                    {"action", token.action},
                    {"agentId", token.agentId},
                    {"timestamp", timeValue(token.timestamp)}};
  if (token.paramsHash) body.emplace_back("paramsHash", BytesView(*token.paramsHash));
  if (token.userDid) body.emplace_back("userDid", *token.userDid);
  if (token.expiresAt) body.emplace_back("expiresAt", timeValue(*token.expiresAt));
  return seal(issuer, body);
}

std::string signToken(const VaultysId& issuer, const DelegationToken& token) {
  msgpack::Map body{{"type", "delegation"},
                    {"userDid", token.userDid},
                    {"agentDid", token.agentDid},
                    {"capabilities", textArray(token.capabilities)},
                    {"issuedAt", timeValue(token.issuedAt)}};
  if (token.expiresAt) body.emplace_back("expiresAt", timeValue(*token.expiresAt));
  return seal(issuer, body);
}

std::string signToken(const VaultysId& issuer, const PeerGrantToken& token) {
  msgpack::Map body{{"type", "peer_grant"},
                    {"sourceDid", token.sourceDid},
                    {"targetDid", token.targetDid},
                    {"targetName", token.targetName},
                    {"skillDescription", token.skillDescription},
                    {"capabilities", textArray(token.capabilities)},
                    {"issuedAt", timeValue(token.issuedAt)}};
  if (token.expiresAt) body.emplace_back("expiresAt", timeValue(*token.expiresAt));
  if (token.id) body.emplace_back("id", *token.id);
  return seal(issuer, body);
}

std::string signToken(const VaultysId& agent, const ResultToken& token) {
  msgpack::Map body{{"type", "result"}, {"intentId", token.intentId}, {"status", token.status}};
  if (token.outputHash) body.emplace_back("outputHash", BytesView(*token.outputHash));
  if (token.error) body.emplace_back("error", *token.error);
  if (token.code) body.emplace_back("code", *token.code);
  body.emplace_back("executedAt", timeValue(token.executedAt));
  body.emplace_back("agentDid", token.agentDid);
  body.emplace_back("controlPlaneDid", token.controlPlaneDid);
  body.emplace_back("intentHash", BytesView(token.intentHash));
  return seal(agent, body);
}

Result<IntentToken> verifyIntentToken(std::string_view token, const VaultysId& issuer, WallTime now) {
  VC_TRY_ASSIGN(const msgpack::Value body, open(token, issuer, "intent"));
  Reader r(body);
  IntentToken out;
  out.id = r.text("id");
  out.action = r.text("action");
  out.agentId = r.text("agentId");
  out.timestamp = r.time("timestamp");
  out.paramsHash = r.hash("paramsHash");
  out.userDid = r.optionalText("userDid");
  out.expiresAt = r.expiry("expiresAt");
  // Half of intent-v2 binds neither parameters nor time; nobody honest signs it.
  if (out.expiresAt && !out.paramsHash) r.fail("paramsHash");
  if ((out.paramsHash || out.userDid) && !out.expiresAt) r.fail("expiresAt");
  VC_TRY(r.status());
  VC_TRY(notExpired(out.expiresAt, now));
  return out;
}

Result<DelegationToken> verifyDelegationToken(std::string_view token, const VaultysId& issuer, WallTime now) {
  VC_TRY_ASSIGN(const msgpack::Value body, open(token, issuer, "delegation"));
  Reader r(body);
  DelegationToken out;
  out.userDid = r.text("userDid");
  out.agentDid = r.text("agentDid");
  out.capabilities = r.texts("capabilities");
  out.issuedAt = r.time("issuedAt");
  out.expiresAt = r.expiry("expiresAt");
  VC_TRY(r.status());
  VC_TRY(notExpired(out.expiresAt, now));
  return out;
}

Result<PeerGrantToken> verifyPeerGrantToken(std::string_view token, const VaultysId& issuer, WallTime now) {
  VC_TRY_ASSIGN(const msgpack::Value body, open(token, issuer, "peer_grant"));
  Reader r(body);
  PeerGrantToken out;
  out.sourceDid = r.text("sourceDid");
  out.targetDid = r.text("targetDid");
  out.targetName = r.text("targetName");
  out.skillDescription = r.text("skillDescription");
  out.capabilities = r.texts("capabilities");
  out.issuedAt = r.time("issuedAt");
  out.expiresAt = r.expiry("expiresAt");
  out.id = r.optionalText("id");
  VC_TRY(r.status());
  VC_TRY(notExpired(out.expiresAt, now));
  return out;
}

Result<ResultToken> verifyResultToken(std::string_view token, const VaultysId& agent) {
  VC_TRY_ASSIGN(const msgpack::Value body, open(token, agent, "result"));
  Reader r(body);
  ResultToken out;
  out.intentId = r.text("intentId");
  out.status = r.text("status");
  out.outputHash = r.hash("outputHash");
  out.error = r.optionalText("error");
  out.code = r.optionalText("code");
  out.executedAt = r.time("executedAt");
  out.agentDid = r.text("agentDid");
  out.controlPlaneDid = r.text("controlPlaneDid");
  const auto intentHash = r.hash("intentHash");
  if (!intentHash) r.fail("intentHash");
  VC_TRY(r.status());
  if (out.status != "success" && out.status != "failed")
    return Error{Errc::Malformed, "a result whose status is neither success nor failed"};
  out.intentHash = *intentHash;
  return out;
}

Result<Sha256> tokenBodyHash(std::string_view token) {
  VC_TRY_ASSIGN(const Parts parts, split(token));
  return sha256(parts.body);
}

}  // namespace vaultysclaw::identity
