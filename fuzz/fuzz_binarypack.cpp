// BinaryPack and PeerJS's chunks of it: what decodes and can be written comes back the same, and bounds hold.
#include "base/assert.hpp"
#include "webrtc/chunks.hpp"

using namespace vaultysclaw;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const BytesView input(data, size);
  if (const auto value = webrtc::binarypack::unpack(input); value.ok()) {
    if (const auto once = webrtc::binarypack::pack(*value); once.ok()) {
      const auto again = webrtc::binarypack::unpack(*once);
      VC_ASSERT(again.ok(), "written bytes do not decode");
      const auto twice = webrtc::binarypack::pack(*again);
      VC_ASSERT(twice.ok() && *twice == *once, "writing is not stable");
    }
  }

  // The input as a series of messages, each behind two bytes that give its length.
  const webrtc::ChunkLimits limits{.maxMessageBytes = 100'000, .maxPendingBytes = 200'000, .maxPending = 8};
  webrtc::ChunkReader reader(limits);
  for (BytesView rest = input; rest.size() >= 2;) {
    const std::size_t n = std::min<std::size_t>(rest.size() - 2, std::size_t{rest[0]} << 8 | rest[1]);
    const auto read = reader.read(rest.subspan(2, n), SteadyTime());
    VC_ASSERT(reader.pendingBytes() <= limits.maxPendingBytes && reader.pendingMessages() <= limits.maxPending,
              "more is kept than allowed");
    if (!read.ok()) break;
    rest = rest.subspan(2 + n);
  }
  return 0;
}
