// DCEP: what is accepted is written so that it reads the same.
#include "base/assert.hpp"
#include "webrtc/dcep.hpp"

using namespace vaultysclaw;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto message = webrtc::decodeDcep({data, size});
  if (!message.ok()) return 0;
  const auto wire = webrtc::encodeDcep(*message);
  VC_ASSERT(wire.ok() && wire->size() == size, "a message that cannot be written");
  const auto again = webrtc::decodeDcep(*wire);
  VC_ASSERT(again.ok() && *again == *message, "a message changes when it is written");
  return 0;
}
