#include "identity/hash.hpp"

#include <gtest/gtest.h>

namespace vaultysclaw::identity {
namespace {

// The one-block examples of FIPS 180-2.
TEST(Hash, KnowsItsExamples) {
  const BytesView abc = asBytes("abc");
  EXPECT_EQ(hexEncode(sha224({abc})), "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7");
  EXPECT_EQ(hexEncode(sha256(abc)), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hexEncode(sha512({abc})),
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
}

TEST(Hash, PartsCountAsJoined) {
  const Bytes whole(300, 0x5a);
  const Sha256 expected256 = sha256(whole);
  const Sha512 expected512 = sha512({whole});
  for (const std::size_t cut : {0, 1, 63, 64, 65, 127, 128, 129, 299, 300}) {
    SCOPED_TRACE(cut);
    const BytesView first = BytesView(whole).first(cut), rest = BytesView(whole).subspan(cut);
    EXPECT_EQ(sha256({first, rest}), expected256);
    EXPECT_EQ(sha512({first, {}, rest}), expected512);
  }
}

}  // namespace
}  // namespace vaultysclaw::identity
