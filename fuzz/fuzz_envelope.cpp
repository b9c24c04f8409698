// Messages: what decodes must be writable, and say the same when it is read again.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/assert.hpp"
#include "base/bytes.hpp"
#include "protocol/codec.hpp"

using namespace vaultysclaw;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = asText({data, size});
  const auto value = protocol::validateJson(text);
  if (value) {
    const auto again = protocol::validateJson(value->text);
    VC_ASSERT(again.ok() && again->text == value->text, "a valid value is refused the second time");
  }

  const auto message = protocol::decode(text);
  if (!message) return 0;
  const std::string once = protocol::encode(*message);
  const auto again = protocol::decode(once, std::size_t{1} << 30);
  VC_ASSERT(again.ok(), "an encoded message does not decode");
  VC_ASSERT(again->payload.index() == message->payload.index(), "a message changes its type");
  VC_ASSERT(protocol::encode(*again) == once, "a message changes when it is written again");
  return 0;
}
