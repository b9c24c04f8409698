// MessagePack: whatever decodes is written back, and canonical bytes come out as they went in.
#include "base/assert.hpp"
#include "base/msgpack.hpp"

using namespace vaultysclaw;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const BytesView input(data, size);
  const auto decoded = msgpack::decode(input);
  const bool canonical = msgpack::isCanonical(input);
  if (!decoded.ok()) {
    VC_ASSERT(!canonical, "canonical bytes that do not decode");
    return 0;
  }
  const Bytes again = msgpack::encode(*decoded);
  VC_ASSERT(again.size() <= size, "the smallest form is longer");
  VC_ASSERT(!canonical || asText(again) == asText(input), "canonical bytes changed");
  const auto twice = msgpack::decode(again);
  VC_ASSERT(twice.ok() && msgpack::encode(*twice) == again, "writing is not stable");
  return 0;
}
