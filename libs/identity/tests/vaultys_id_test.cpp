// VaultysId and identity files. Bytes are compared with the original's by tests/conformance.
#include "identity/vaultys_id.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "base/fake_loop.hpp"
#include "base/temporary_directory.hpp"
#include "identity/identity_file.hpp"

namespace vaultysclaw::identity {
namespace {

namespace fs = std::filesystem;

class VaultysIdTest : public ::testing::Test {
 protected:
  testing::FakeEntropy entropy_;
  VaultysId id_ = VaultysId::generate(IdType::Machine, entropy_);
  VaultysId other_ = VaultysId::generate(IdType::Person, entropy_);
};

TEST_F(VaultysIdTest, RoundTripsThroughSecretAndId) {
  const auto secret = VaultysId::fromSecret(id_.secret().view());
  ASSERT_TRUE(secret.ok());
  EXPECT_EQ(*secret, id_);
  EXPECT_TRUE(secret->hasSecret());
  const auto publicId = VaultysId::fromId(id_.id());
  ASSERT_TRUE(publicId.ok());
  EXPECT_EQ(publicId->did(), id_.did());
  EXPECT_FALSE(publicId->hasSecret());
  EXPECT_TRUE(isValidDid(id_.did().value));
  EXPECT_EQ(id_.toVersion(IdVersion::V0).didV1(), id_.did());
  EXPECT_NE(id_.toVersion(IdVersion::V0).did(), id_.did());
}

TEST_F(VaultysIdTest, VerifiesOwnSignaturesOnly) {
  const Bytes message{1, 2, 3};
  const Bytes signature = id_.sign(message);
  EXPECT_TRUE(id_.verify(message, signature));
  EXPECT_FALSE(other_.verify(message, signature));
  EXPECT_FALSE(id_.verifyV0(message, signature));
  EXPECT_TRUE(id_.verifyV0(message, id_.signV0(message)));
  EXPECT_FALSE(id_.toVersion(IdVersion::V0).verifyV0(message, id_.signV0(message))) << "the id is part of the digest";
  EXPECT_FALSE(id_.verify(message, BytesView(signature).first(63)));
  EXPECT_FALSE(id_.verify(message, {}));
}

TEST_F(VaultysIdTest, RefusesTruncationsAndOtherSpellings) {
  for (std::size_t n = 0; n < id_.id().size(); ++n) {
    EXPECT_FALSE(VaultysId::fromId(BytesView(id_.id()).first(n)).ok()) << n;
    EXPECT_FALSE(VaultysId::fromSecret(id_.secret().view().first(n)).ok()) << n;
  }
  // Flips either leave a key that is one, in a form that is written back the same, or are refused.
  for (std::size_t bit = 0; bit < id_.id().size() * 8; ++bit) {
    Bytes changed = id_.id();
    changed[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    const auto parsed = VaultysId::fromId(changed);
    if (parsed.ok()) {
      EXPECT_EQ(parsed->id(), changed) << bit;
      EXPECT_NE(parsed->did(), id_.did()) << bit;
    }
  }
}

TEST_F(VaultysIdTest, NamesWhatItDoesNotSupport) {
  Bytes fido = id_.id();
  fido[0] = 3;
  EXPECT_EQ(VaultysId::fromId(fido).error().code, Errc::Unsupported);
  fido[0] = 5;
  EXPECT_EQ(VaultysId::fromId(fido).error().code, Errc::Malformed);
  EXPECT_EQ(VaultysId::fromId(Bytes(2638)).error().code, Errc::Unsupported);
  EXPECT_EQ(VaultysId::fromId(Bytes(2670)).error().code, Errc::Unsupported);
  EXPECT_EQ(VaultysId::fromSecret(Bytes(73)).error().code, Errc::Unsupported);
  EXPECT_EQ(VaultysId::fromSecret(Bytes(84)).error().code, Errc::Unsupported);
}

TEST_F(VaultysIdTest, ReadsACheckedIdAsAnyOther) {
  const auto again = VaultysId::fromCheckedId(id_.id());
  EXPECT_EQ(again->did(), id_.did());
  EXPECT_TRUE(again->verify(asBytes("m"), id_.sign(asBytes("m"))));
  Bytes shorter = id_.id();
  shorter.pop_back();
  EXPECT_EQ(VaultysId::fromCheckedId(shorter).error().code, Errc::Malformed);
}

TEST_F(VaultysIdTest, RefusesKeysOfSmallOrder) {
  for (const std::size_t at : {9U, 45U}) {
    Bytes zero = id_.id();
    std::fill_n(zero.begin() + static_cast<std::ptrdiff_t>(at), 32, std::uint8_t{0});
    EXPECT_EQ(VaultysId::fromId(zero).error().code, Errc::InvalidArgument) << at;
    EXPECT_TRUE(VaultysId::fromCheckedId(zero).ok()) << "the one check that is left out";
  }
}

TEST_F(VaultysIdTest, EncryptsForOneRecipientFromOneSender) {
  const auto ciphertext = id_.dhiesEncrypt(asBytes("hello"), other_, entropy_);
  ASSERT_TRUE(ciphertext.ok());
  EXPECT_EQ(asText(other_.dhiesDecrypt(*ciphertext, id_)->view()), "hello");
  EXPECT_FALSE(id_.dhiesDecrypt(*ciphertext, id_).ok());
  EXPECT_FALSE(other_.dhiesDecrypt(*ciphertext, other_).ok());
  for (std::size_t i = 0; i < ciphertext->size(); ++i) {
    Bytes changed = *ciphertext;
    changed[i] ^= i == 55 ? 1 : 0x80;  // X25519 ignores the top bit of the ephemeral key's last byte
    EXPECT_FALSE(other_.dhiesDecrypt(changed, id_).ok()) << i;
    EXPECT_FALSE(other_.dhiesDecrypt(BytesView(*ciphertext).first(i), id_).ok()) << i;
  }
}

class IdentityFileTest : public VaultysIdTest {
 protected:
  Errc errorFor(std::string_view content) {
    EXPECT_TRUE(files_->writePrivate(path_, asBytes(content)).ok());
    const auto loaded = loadIdentity(*files_, path_);
    if (loaded.ok()) return Errc::Internal;
    EXPECT_NE(loaded.error().message.find(path_.string()), std::string::npos) << loaded.error().message;
    return loaded.error().code;
  }

  testing::TemporaryDirectory directory_;
  fs::path path_ = directory_ / "keys/agent.id";
  std::unique_ptr<FileStore> files_ = makeSystemFileStore();
};

TEST_F(IdentityFileTest, IsCreatedOnceAndPrivate) {
  const auto created = loadOrCreateIdentity(*files_, path_, entropy_);
  ASSERT_TRUE(created.ok()) << created.error().message;
  struct stat info{};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  const auto again = loadOrCreateIdentity(*files_, path_, entropy_);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(*again, *created);
  EXPECT_EQ(again->type(), IdType::Machine);
  EXPECT_EQ(saveNewIdentity(*files_, path_, id_).error().code, Errc::Conflict);
  EXPECT_EQ(*loadIdentity(*files_, path_), *created);
}

TEST_F(IdentityFileTest, TwoFirstStartsAgree) {
  std::vector<std::string> dids(6);
  std::vector<std::thread> starts;
  for (std::size_t i = 0; i < dids.size(); ++i) {
    starts.emplace_back([&, i] {
      testing::FakeEntropy own(100 + i);
      const auto identity = loadOrCreateIdentity(*files_, path_, own);
      if (identity.ok()) dids[i] = identity->did().value;
    });
  }
  for (auto& t : starts) t.join();
  for (const auto& did : dids) EXPECT_EQ(did, dids[0]);
  EXPECT_FALSE(dids[0].empty());
}

TEST_F(IdentityFileTest, IsRefusedWhenOthersMayReadIt) {
  ASSERT_TRUE(saveNewIdentity(*files_, path_, id_).ok());
  ASSERT_EQ(::chmod(path_.c_str(), 0644), 0);
  EXPECT_EQ(loadOrCreateIdentity(*files_, path_, entropy_).error().code, Errc::PolicyDenied);
}

TEST_F(IdentityFileTest, IsRefusedWhenTruncatedOrForeign) {
  const std::string good = base64Encode(id_.secret().view());
  EXPECT_EQ(errorFor(good), Errc::Internal);
  EXPECT_EQ(errorFor(good + "\r\n"), Errc::Internal);
  for (std::size_t n = 0; n < good.size(); n += 7) EXPECT_EQ(errorFor(good.substr(0, n)), Errc::Malformed) << n;
  EXPECT_EQ(errorFor(good + "\n" + good), Errc::Malformed);
  EXPECT_EQ(errorFor("-----BEGIN OPENSSH PRIVATE KEY-----"), Errc::Malformed);
  EXPECT_EQ(errorFor(base64Encode(id_.id())), Errc::Internal) << "ids and secrets have one form; keys look alike";
  EXPECT_EQ(errorFor(base64Encode(Bytes(73))), Errc::Unsupported);
  EXPECT_EQ(errorFor(base64Encode(Bytes(84))), Errc::Unsupported);
  EXPECT_EQ(errorFor(std::string(5000, 'A')), Errc::TooLarge);
  EXPECT_EQ(loadIdentity(*files_, directory_ / "none").error().code, Errc::NotFound);
}

}  // namespace
}  // namespace vaultysclaw::identity
