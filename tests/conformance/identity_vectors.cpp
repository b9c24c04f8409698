#include "identity/hash.hpp"
#include "report.hpp"

namespace vaultysclaw::conformance {
namespace {

using identity::IdType;
using identity::VaultysId;

VaultysId identityOf(const Json& v) {
  const Bytes entropy = hexOf(v.at("entropy_hex"));
  return VaultysId::fromEntropy(entropy, static_cast<IdType>(v.at("type_byte").get<int>()),
                                static_cast<identity::IdVersion>(v.at("version").get<int>()));
}

Bytes joined(BytesView a, BytesView b) {
  Bytes out = toBytes(a);
  append(out, b);
  return out;
}

bool equal(BytesView a, BytesView b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

void checkOne(const Json& v, Case& c) {
  const VaultysId id = identityOf(v);
  c.expect(equal(id.secret().view(), hexOf(v.at("secret_hex"))), "secret");
  c.expect(base64Encode(id.secret().view()) == textOf(v.at("secret_base64")), "secret in base64");
  c.expect(id.id() == hexOf(v.at("id_hex")), "id");
  c.expect(id.did().value == textOf(v.at("did")), "DID");
  c.expect(id.fingerprint() == textOf(v.at("fingerprint")), "fingerprint");
  c.expect(id.didDocument() == v.at("didDocument").dump(), "DID document");
  const auto fromSecret = VaultysId::fromSecretBase64(textOf(v.at("secret_base64")));
  c.expect(fromSecret.ok() && *fromSecret == id && fromSecret->hasSecret(), "identity from its secret");
  const auto fromId = VaultysId::fromId(id.id());
  c.expect(fromId.ok() && *fromId == id && !fromId->hasSecret(), "identity from its id");
  const Json& other = v.at("other_version");
  const VaultysId twin = id.toVersion(static_cast<identity::IdVersion>(other.at("version").get<int>()));
  c.expect(twin.id() == hexOf(other.at("id_hex")), "id in the other version");
  c.expect(twin.did().value == textOf(other.at("did")), "DID in the other version");
  c.expect(base64Encode(twin.secret().view()) == textOf(other.at("secret_base64")), "secret in the other version");
  for (const Json& s : v.at("signatures")) {
    const Bytes message = hexOf(s.at("message_hex"));
    const Bytes signature = hexOf(s.at("signature_hex"));
    const Bytes v0 = hexOf(s.at("v0_signature_hex"));
    c.expect(equal(identity::sha256({asBytes("VAULTYS_SIGN"), message}), hexOf(s.at("digest_hex"))), "digest");
    c.expect(equal(identity::sha256({id.id(), message}), hexOf(s.at("v0_digest_hex"))), "version 0 digest");
    c.expect(id.sign(message) == signature, "signature");
    c.expect(id.signV0(message) == v0, "version 0 signature");
    c.expect(fromId.ok() && fromId->verify(message, signature) && fromId->verifyV0(message, v0), "verification");
    c.expect(fromId.ok() && !fromId->verify(message, v0) && !fromId->verifyV0(message, signature),
             "schemes kept apart");
    c.expect(fromId.ok() && !fromId->verify(joined(message, message.empty() ? signature : message), signature),
             "another message refused");
  }
  for (const Json& h : v.at("hmac")) {
    c.expect(id.hmac(textOf(h.at("message"))) == hexOf(h.at("hmac_hex")), "hmac");
  }
  for (const Json& h : v.at("otp_hmac")) {
    c.expect(id.otpHmac(fromUnixMillis(h.at("now_ms").get<std::int64_t>()),
                        milliseconds(h.at("timelock_ms").get<std::int64_t>())) == hexOf(h.at("otp_hmac_hex")),
             "otp hmac");
  }
}

void checkParse(const Json& v, Case& c) {
  const Bytes input = hexOf(v.at("input_hex"));
  const bool isId = v.at("kind") == "id";
  const auto parsed = isId ? VaultysId::fromId(input) : VaultysId::fromSecret(input);
  if (!v.at("ok").get<bool>()) {
    c.expect(!parsed.ok(), "accepted what the original refuses");
  } else if (!parsed.ok()) {
    c.stricter = isId ? brokenIdRule(input) : std::nullopt;
    c.expect(c.stricter.has_value(), "refused without a rule: " + parsed.error().message);
  } else {
    c.expect(parsed->id() == hexOf(v.at("id_hex")) && parsed->did().value == textOf(v.at("did")), "id and DID");
  }
}

}  // namespace

void checkIdentity(const Json& file, Report& report) {
  for (const Json& v : file.at("identities")) {
    Case c{"identity " + textOf(v.at("did"))};
    checkOne(v, c);
    report.add(c);
  }
  for (const Json& v : file.at("verify_negative")) {
    Case c{"verify " + textOf(v.at("name"))};
    const bool original = v.at("result").is_boolean() && v.at("result").get<bool>();  // else a thrown error's text
    const Bytes idBytes = hexOf(v.at("id_hex"));
    const auto id = VaultysId::fromId(idBytes);
    const bool ours = id.ok() && id->verify(hexOf(v.at("message_hex")), hexOf(v.at("signature_hex")));
    c.expect(original || !ours, "accepted what the original refuses");
    if (original && !ours) {
      c.stricter = brokenIdRule(idBytes);
      c.expect(c.stricter.has_value(), "refused without a rule");
    }
    report.add(c);
  }
  for (const Json& v : file.at("parse_negative")) {
    Case c{"parse " + textOf(v.at("name"))};
    checkParse(v, c);
    report.add(c);
  }
  const Json& ids = file.at("identities");
  for (const Json& v : file.at("diffie_hellman")) {
    Case c{"diffie_hellman"};
    const VaultysId a = identityOf(ids.at(v.at("a_index").get<std::size_t>()));
    const VaultysId b = identityOf(ids.at(v.at("b_index").get<std::size_t>()));
    const auto ab = a.sharedKey(b);
    const auto ba = b.sharedKey(*VaultysId::fromId(a.id()));
    const Bytes expected = hexOf(v.at("shared_key_hex"));
    c.expect(ab.ok() && ba.ok() && equal(ab->view(), expected) && equal(ba->view(), expected), "shared key");
    report.add(c);
  }
  for (const Json& v : file.at("dhies")) {
    Case c{"dhies " + v.value("name", std::string())};
    const VaultysId sender = identityOf(ids.at(v.at("sender_index").get<std::size_t>()));
    const VaultysId recipient = identityOf(ids.at(v.at("recipient_index").get<std::size_t>()));
    const auto opened = recipient.dhiesDecrypt(hexOf(v.at("ciphertext_hex")), sender);
    if (v.at("decrypts").get<bool>()) {
      c.expect(opened.ok() && equal(opened->view(), hexOf(v.at("plaintext_hex"))), "plaintext");
      const auto entropy = makeSystemEntropy();
      const Bytes plaintext = hexOf(v.at("plaintext_hex"));
      const auto ours = sender.dhiesEncrypt(plaintext, recipient, *entropy);
      const auto again = ours.ok() ? recipient.dhiesDecrypt(*ours, sender) : ours.error();
      c.expect(again.ok() && equal(again->view(), plaintext), "our own message");
    } else {
      c.expect(!opened.ok(), "decrypted what must be refused");
    }
    report.add(c);
  }
}

void checkPostQuantum(const Json& file, Report& report) {
  for (const Json& v : file.at("identities")) {
    Case c{"identity " + textOf(v.at("did"))};
    c.notSupported = true;
    const auto secret = VaultysId::fromSecret(hexOf(v.at("secret_hex")));
    const auto id = VaultysId::fromId(hexOf(v.at("id_hex")));
    c.expect(!secret.ok() && secret.error().code == Errc::Unsupported, "the secret is not refused as unsupported");
    c.expect(!id.ok() && id.error().code == Errc::Unsupported, "the id is not refused as unsupported");
    report.add(c);
  }
}

}  // namespace vaultysclaw::conformance
