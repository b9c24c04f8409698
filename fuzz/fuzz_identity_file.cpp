// Identity files: what is accepted is written back as the same identity.
#include "base/assert.hpp"
#include "identity/identity_file.hpp"

using namespace vaultysclaw;
using namespace vaultysclaw::identity;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto identity = parseIdentityFile({data, size});
  if (!identity.ok()) return 0;
  const auto again = VaultysId::fromSecret(identity->secret().view());
  VC_ASSERT(again.ok() && *again == *identity, "an identity that does not survive being written");
  return 0;
}
