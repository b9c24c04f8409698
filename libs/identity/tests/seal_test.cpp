#include "identity/seal.hpp"

#include <gtest/gtest.h>

#include "base/fake_loop.hpp"

namespace vaultysclaw::identity {
namespace {

SealKeys keysFrom(std::uint8_t first) {
  SecretArray<32> secret;
  for (std::size_t i = 0; i < 32; ++i) secret.data()[i] = static_cast<std::uint8_t>(first + i);
  return SealKeys::fromSecret(std::move(secret));
}

class FixedEntropy final : public Entropy {
 public:
  explicit FixedEntropy(Bytes bytes) : bytes_(std::move(bytes)) {}
  void fill(std::span<std::uint8_t> out) override {
    ASSERT_EQ(out.size(), bytes_.size());
    std::copy(bytes_.begin(), bytes_.end(), out.begin());
  }

 private:
  Bytes bytes_;
};

const BytesView kSigned = asBytes("unsigned challenge bytes");

class SealTest : public ::testing::Test {
 protected:
  void connect(std::uint64_t rekeyEvery = 65536) {
    SealKeys i = keysFrom(0x00);
    SealKeys r = keysFrom(0x20);
    const std::string dhI = i.dh();
    initiator_.emplace(std::move(*i.derive(SealRole::Initiator, kSigned, r.dh(), entropy_, rekeyEvery)));
    responder_.emplace(std::move(*r.derive(SealRole::Responder, kSigned, dhI, entropy_, rekeyEvery)));
  }
  testing::FakeEntropy entropy_;
  std::optional<SealedChannel> initiator_, responder_;
};

// The values of docs/protocol.md, section 7.8 (vector for 7.3).
TEST_F(SealTest, ReproducesTheDocumentedVector) {
  SealKeys i = keysFrom(0x00);
  SealKeys r = keysFrom(0x20);
  EXPECT_EQ(i.dh(), "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f");
  EXPECT_EQ(r.dh(), "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254");
  FixedEntropy header(*hexDecode("7a795fa36f50e5d10a90159b0b80850e1c44054f9c061c05"));
  const std::string dhI = i.dh();
  auto initiator = i.derive(SealRole::Initiator, kSigned, r.dh(), header);
  auto responder = r.derive(SealRole::Responder, kSigned, dhI, header, 2);  // so that the second message rekeys
  ASSERT_TRUE(initiator.ok() && responder.ok());
  for (const auto* channel : {&*initiator, &*responder}) {
    EXPECT_EQ(channel->channel(), "63cc1e885194505c37ece23c215ad87db0b0d4202642fa766d5f5ae2b6d14d53");
  }
  const Bytes first = *responder->seal(R"({"type":"auth_complete"})");
  const Bytes second = *responder->seal(R"({"type":"pong"})");
  const Bytes last = *responder->final();
  EXPECT_EQ(
      hexEncode(first),
      "7a795fa36f50e5d10a90159b0b80850e1c44054f9c061c05d829fee1659e8c19fe742bd2fefa57fd1e10793396f545526a78b53d570c18"
      "04e59198fa79101672c1");
  EXPECT_EQ(hexEncode(second), "eaee53596ae5953b12e08409376c4bccbfc007333c9e8b1a28ce33a8da413d4f");
  EXPECT_EQ(hexEncode(last), "1d44cae8540c9284133387ef826b3c6eb4");
  EXPECT_EQ(initiator->open(first)->text, R"({"type":"auth_complete"})");
  EXPECT_EQ(initiator->open(second)->text, R"({"type":"pong"})");
  EXPECT_TRUE(initiator->open(last)->end);
  EXPECT_EQ(initiator->open(last).error().code, Errc::Conflict);
}

TEST_F(SealTest, CarriesMessagesBothWays) {
  connect();
  EXPECT_EQ(initiator_->channel(), responder_->channel());
  for (const std::string& text : {std::string("one"), std::string(), std::string(100'000, 'x')}) {
    EXPECT_EQ(responder_->open(*initiator_->seal(text))->text, text);
    EXPECT_EQ(initiator_->open(*responder_->seal(text))->text, text);
  }
}

TEST_F(SealTest, RekeysAndGoesOn) {
  connect(3);
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(responder_->open(*initiator_->seal(std::to_string(i)))->text, std::to_string(i));
}

TEST_F(SealTest, RekeysAtTheDocumentedRecord) {
  connect();
  for (int i = 0; i < 65'537; ++i) {
    const Bytes record = *initiator_->seal("x");
    const auto opened = responder_->open(record);
    ASSERT_TRUE(opened.ok()) << i;
  }
}

TEST_F(SealTest, RefusesWhatWasChangedLostRepeatedOrReflected) {
  connect();
  const Bytes first = *initiator_->seal("first");
  const Bytes second = *initiator_->seal("second");
  for (std::size_t bit = 0; bit < first.size() * 8; ++bit) {
    connect();
    Bytes changed = *initiator_->seal("first");
    changed[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    ASSERT_FALSE(responder_->open(changed).ok()) << bit;
    ASSERT_EQ(responder_->open(*initiator_->seal("next")).error().code, Errc::Conflict) << "dead after an error";
  }
  for (std::size_t n = 0; n < first.size(); ++n) {
    connect();
    ASSERT_FALSE(responder_->open(BytesView(first).first(n)).ok()) << n;
  }
  connect();
  const Bytes one = *initiator_->seal("one");
  const Bytes two = *initiator_->seal("two");
  EXPECT_TRUE(responder_->open(one).ok());
  EXPECT_TRUE(responder_->open(two).ok());
  EXPECT_FALSE(responder_->open(two).ok());
  connect();
  EXPECT_FALSE(responder_->open(second).ok()) << "the first record was lost";
  connect();
  EXPECT_FALSE(initiator_->open(*initiator_->seal("mine")).ok());
}

TEST_F(SealTest, EndsOnce) {
  connect();
  EXPECT_TRUE(responder_->open(*initiator_->final())->end);
  EXPECT_EQ(initiator_->final().error().code, Errc::Conflict);
  EXPECT_EQ(initiator_->seal("late").error().code, Errc::Conflict);
  EXPECT_EQ(initiator_->open(*responder_->seal("still"))->text, "still") << "the other direction goes on";
}

TEST_F(SealTest, DifferentTranscriptsDoNotMeet) {
  SealKeys i = keysFrom(0x00);
  SealKeys r = keysFrom(0x20);
  const std::string dhI = i.dh();
  auto a = i.derive(SealRole::Initiator, asBytes("one"), r.dh(), entropy_);
  auto b = r.derive(SealRole::Responder, asBytes("two"), dhI, entropy_);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_NE(a->channel(), b->channel());
  EXPECT_FALSE(b->open(*a->seal("x")).ok());
}

TEST_F(SealTest, RefusesKeysThatCannotBeUsed) {
  const std::string good = keysFrom(0x20).dh();
  std::string upper = good;
  upper[4] = 'D';
  for (const std::string& bad : {std::string(), good.substr(1), good + "0", upper, std::string(64, 'g')}) {
    EXPECT_EQ(keysFrom(0).derive(SealRole::Initiator, kSigned, bad, entropy_).error().code, Errc::Malformed) << bad;
  }
  EXPECT_EQ(keysFrom(0).derive(SealRole::Initiator, kSigned, std::string(64, '0'), entropy_).error().code,
            Errc::InvalidArgument);
  SealKeys once = keysFrom(0);
  ASSERT_TRUE(once.derive(SealRole::Initiator, kSigned, good, entropy_).ok());
  EXPECT_EQ(once.derive(SealRole::Initiator, kSigned, good, entropy_).error().code, Errc::Conflict);
  EXPECT_NE(SealKeys::generate(entropy_).dh(), SealKeys::generate(entropy_).dh());
}

}  // namespace
}  // namespace vaultysclaw::identity
