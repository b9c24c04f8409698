// Certificates and handshake messages from a stranger. The first byte chooses the receiver; nothing unsigned may be
// accepted, and nothing refused may be answered.
#include <array>

#include "base/assert.hpp"
#include "identity/challenger.hpp"
#include "identity/seal.hpp"
#include "identity/tokens.hpp"

using namespace vaultysclaw;
using namespace vaultysclaw::identity;

namespace {

class Zeros final : public Entropy {
 public:
  void fill(std::span<std::uint8_t> out) override { std::fill(out.begin(), out.end(), std::uint8_t{7}); }
};

constexpr WallTime kNow = WallTime(milliseconds(1'780'000'000'000));

const VaultysId& self() {
  static const VaultysId id = VaultysId::fromEntropy(Bytes(32, 1), IdType::Machine);
  return id;
}

// A token whose body is the input, signed: what lies behind the signature is fuzzed too.
std::string signedOver(BytesView body) {
  Bytes token;
  for (int shift = 0; shift < 32; shift += 8) token.push_back(static_cast<std::uint8_t>(body.size() >> shift));
  append(token, body);
  append(token, self().sign(body));
  return base64Encode(token);
}

void verifyAll(std::string_view token) {
  (void)verifyIntentToken(token, self(), kNow);
  (void)verifyDelegationToken(token, self(), kNow);
  (void)verifyPeerGrantToken(token, self(), kNow);
  (void)verifyResultToken(token, self());
  (void)tokenBodyHash(token);
}

void asInit(BytesView input, Entropy& entropy) {
  Responder responder(self(), {.services = {"auth", "register", "agent"}, .allowVersion0 = {}}, entropy);
  const auto claim = responder.onInit(input, kNow);
  const auto step1 = responder.answer({{"capabilities", msgpack::Array{}}});
  VC_ASSERT(claim.ok() || !step1.ok(), "a refused INIT was answered");
  if (!claim.ok()) return;
  const auto message = decodeHandshake(input);
  VC_ASSERT(message.ok() && asText(encodeHandshake(*message)) == asText(input), "an INIT in another form was accepted");
  VC_ASSERT(message->protocol == "p2p", "another protocol was accepted");
  VC_ASSERT(!step1.ok() || decodeHandshake(*step1).ok(), "our STEP1 cannot be read");
  VC_ASSERT(!responder.onComplete(input, kNow).ok(), "INIT was taken for COMPLETE");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  Zeros entropy;
  const BytesView input = BytesView(data, size).subspan(1);
  switch (data[0] % 6) {
    case 0:
      asInit(input, entropy);
      break;
    case 1: {
      Initiator initiator(self(), {}, entropy, kNow);
      (void)initiator.onStep1(input, kNow);
      break;
    }
    case 2:
      verifyAll(asText(input));
      break;
    case 3:
      verifyAll(signedOver(input));
      break;
    case 4: {
      const auto id = VaultysId::fromId(input);
      VC_ASSERT(!id.ok() || asText(id->id()) == asText(input), "an id with two spellings");
      (void)clockOffset(input, kNow);
      break;
    }
    default: {
      static const std::string peer = SealKeys::fromSecret(SecretArray<32>(std::array<std::uint8_t, 32>{9})).dh();
      auto channel = SealKeys::generate(entropy).derive(SealRole::Responder, {}, peer, entropy);
      VC_ASSERT(channel.ok() && !channel->open(input).ok(), "a forged record opened");
    }
  }
  return 0;
}
