// Session descriptions and candidates: what is accepted is written so that it reads the same.
#include "base/assert.hpp"
#include "base/bytes.hpp"
#include "webrtc/sdp.hpp"

using namespace vaultysclaw;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = asText({data, size});
  for (const auto type : {webrtc::SdpType::Offer, webrtc::SdpType::Answer}) {
    const auto description = webrtc::parseSdp(type, text);
    if (!description.ok()) continue;
    const auto again = webrtc::parseSdp(type, webrtc::writeSdp(*description));
    VC_ASSERT(again.ok() && *again == *description, "a description changes when it is written");
  }
  const auto candidate = webrtc::parseCandidate(text);
  if (!candidate.ok()) return 0;
  const auto again = webrtc::parseCandidate(webrtc::writeCandidate(*candidate));
  VC_ASSERT(again.ok() && *again == *candidate, "a candidate changes when it is written");
  return 0;
}
