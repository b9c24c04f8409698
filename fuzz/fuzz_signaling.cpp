// PeerJS signaling: messages and their payloads, which a server passes on and a client reads.
#include "base/assert.hpp"
#include "base/bytes.hpp"
#include "webrtc/signaling.hpp"

using namespace vaultysclaw;

namespace {

void payload(std::string_view text) {
  if (const auto offer = webrtc::decodeOffer(text); offer.ok()) {
    const auto again = webrtc::decodeOffer(webrtc::encodePayload(*offer));
    VC_ASSERT(again.ok() && again->description == offer->description && again->label == offer->label &&
                  again->metadata == offer->metadata,
              "an offer changes when it is written");
  }
  if (const auto answer = webrtc::decodeAnswer(text); answer.ok()) {
    const auto again = webrtc::decodeAnswer(webrtc::encodePayload(*answer));
    VC_ASSERT(again.ok() && again->description == answer->description, "an answer changes when it is written");
  }
  if (const auto candidate = webrtc::decodeCandidate(text); candidate.ok()) {
    const auto again = webrtc::decodeCandidate(webrtc::encodePayload(*candidate));
    VC_ASSERT(again.ok() && again->candidate == candidate->candidate, "a candidate changes when it is written");
  }
  (void)webrtc::errorText(text);
  (void)webrtc::connectionOf(text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = asText({data, size});
  payload(text);
  const auto message = webrtc::decodeSignal(text);
  if (!message.ok()) return 0;
  payload(message->payload);
  const std::string once = webrtc::encodeSignal(*message);
  if (once.size() > webrtc::kMaxSignalBytes) return 0;  // escapes can make it longer
  const auto again = webrtc::decodeSignal(once);
  VC_ASSERT(again.ok() && *again == *message, "a message changes when it is written");
  return 0;
}
