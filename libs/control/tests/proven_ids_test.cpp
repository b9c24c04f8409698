#include "../src/proven_ids.hpp"

#include <gtest/gtest.h>

#include "base/fake_loop.hpp"

namespace vaultysclaw::control {
namespace {

using identity::IdVersion;
using identity::VaultysId;

class ProvenIdsTest : public ::testing::Test {
 protected:
  VaultysId machine() { return VaultysId::generate(identity::IdType::Machine, entropy_); }
  testing::FakeEntropy entropy_;
};

TEST_F(ProvenIdsTest, HasExactlyTheBytesThatWereAdded) {
  ProvenIds proven;
  const VaultysId one = machine();
  proven.add(one);
  EXPECT_TRUE(proven.has(one.id()));
  EXPECT_FALSE(proven.has(one.toVersion(IdVersion::V0).id()));
  EXPECT_FALSE(proven.has(machine().id()));
  for (std::size_t i = 0; i < one.id().size(); ++i) {
    Bytes changed = one.id();
    changed[i] ^= 1;
    EXPECT_FALSE(proven.has(changed)) << i;
  }
}

TEST_F(ProvenIdsTest, ForgetsTheOldest) {
  ProvenIds proven(2);
  const VaultysId one = machine(), two = machine(), three = machine();
  for (const VaultysId* id : {&one, &two, &one, &three}) proven.add(*id);
  EXPECT_FALSE(proven.has(one.id()));
  EXPECT_TRUE(proven.has(two.id()));
  EXPECT_TRUE(proven.has(three.id()));
}

}  // namespace
}  // namespace vaultysclaw::control
