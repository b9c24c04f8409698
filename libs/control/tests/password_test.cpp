#include "../src/password.hpp"

#include <gtest/gtest.h>

#include "base/fake_loop.hpp"

namespace vaultysclaw::control {
namespace {

using vaultysclaw::testing::FakeEntropy;

class Passwords : public ::testing::Test {
 protected:
  bool right(const std::string& stored, const std::string& password) {
    const auto matches = hashes.matches(stored, asBytes(password));
    EXPECT_TRUE(matches.ok());
    return matches.ok() && *matches;
  }
  std::string make(const std::string& password) {
    auto made = hashes.make(asBytes(password));
    EXPECT_TRUE(made.ok());
    return made.ok() ? *made : "";
  }
  FakeEntropy entropy;
  PasswordHashes hashes{{4, 1, 1}, entropy};
};

TEST_F(Passwords, MatchTheirHashAndNoOther) {
  const std::string one = make("brown teapot"), again = make("brown teapot");
  EXPECT_NE(one, again) << "salted";
  EXPECT_TRUE(right(one, "brown teapot"));
  EXPECT_TRUE(right(again, "brown teapot"));
  EXPECT_FALSE(right(one, "brown teapo"));
  EXPECT_FALSE(right(one, "brown teapot "));
  EXPECT_FALSE(right(one, "Brown teapot"));
  EXPECT_FALSE(right(one, ""));
  EXPECT_FALSE(right(hashes.unmatchable(), "brown teapot"));
  EXPECT_EQ(one.find("teapot"), std::string::npos);
}

TEST_F(Passwords, AreHashedByScrypt) {
  // As another implementation has it, Python's hashlib.scrypt(b"brown teapot", salt=b"0123456789abcdef", n=16, r=1,
  // p=1, dklen=32).
  EXPECT_TRUE(right("$scrypt$ln=4,r=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg==$OQkesGbyZ3VBxpUXnTEJimTiKnUNMpbh8UxkoDVbnOw=",
                    "brown teapot"));
  EXPECT_TRUE(right("$scrypt$ln=15,r=8,p=3$MDEyMzQ1Njc4OWFiY2RlZg==$o2ghmnnUuuwj4VyCiqjof4XdMetSIVjJHSOXnrda0nc=",
                    "brown teapot"));
}

TEST_F(Passwords, CostStandsInTheText) {
  FakeEntropy random;
  PasswordHashes later({5, 2, 2}, random);
  const std::string old = make("brown teapot");
  EXPECT_TRUE(old.starts_with("$scrypt$ln=4,r=1,p=1$")) << old;
  EXPECT_TRUE(*later.matches(old, asBytes("brown teapot")));
  EXPECT_TRUE(later.isOutdated(old));
  EXPECT_FALSE(hashes.isOutdated(old));
  const auto renewed = later.make(asBytes("brown teapot"));
  ASSERT_TRUE(renewed.ok());
  EXPECT_TRUE(right(*renewed, "brown teapot"));
  EXPECT_FALSE(later.isOutdated(*renewed));
  EXPECT_FALSE(hashes.isOutdated(*renewed)) << "never back to less";
}

TEST_F(Passwords, DefaultIsWhatOwaspRecommendsFor32MiB) {
  const PasswordCost cost;
  EXPECT_EQ(cost.logN, 15);
  EXPECT_EQ(cost.r, 8U);
  EXPECT_EQ(cost.p, 3U);
}

TEST_F(Passwords, TextsThatAreNoHashesMatchNothingAndCostTheSame) {
  const std::string good = make("brown teapot");
  const std::string salt = good.substr(good.rfind('$', good.rfind('$') - 1));
  std::uint64_t runs = hashes.runs();
  for (const std::string& bad :
       {std::string(), std::string("brown teapot"), std::string("$scrypt$"), std::string("$scrypt$ln=4,r=1,p=1$$"),
        "$scrypt$ln=0,r=1,p=1" + salt, "$scrypt$ln=63,r=8,p=1" + salt, "$scrypt$ln=18,r=16,p=1" + salt,
        "$scrypt$ln=4,r=0,p=1" + salt, "$scrypt$ln=4,r=1,p=0" + salt, "$scrypt$ln=4,r=1,p=99" + salt,
        "$scrypt$ln=-4,r=1,p=1" + salt, "$scrypt$ln=4,r=1" + salt, "$scrypt$ln=4 ,r=1,p=1" + salt,
        "$argon2$ln=4,r=1,p=1" + salt, good + "=", good.substr(0, good.size() - 4), good + "AAAA"}) {
    EXPECT_FALSE(right(bad, "brown teapot")) << bad;
    EXPECT_EQ(hashes.runs(), ++runs) << bad;
    EXPECT_FALSE(hashes.isOutdated(bad)) << bad;
  }
}

TEST_F(Passwords, ThatAreGuessedFirstAreRefused) {
  for (const char* bad : {"passwordpassword", "PASSWORD1234", "password2026!", "aaaaaaaaaaaa", "abababababab",
                          "123412341234", "123456789012", "987654321098", "abcdefghijkl", "vaultysclaw1",
                          "VaultysClaw2026!", "administrator", "letmeinletmein", "qwertyuiop12", "welcome12345!",
                          "correcthorsebatterystaple", "bobbobbob123", "1-bob-2-bob-3", "BOB123456bob"}) {
    EXPECT_TRUE(whatIsWrongWith(bad, "bob").has_value()) << bad;
  }
  for (const char* good : {"brown teapot", "bobsled in winter", "xkcd hat nie recht", "mypasswordisnothere",
                           "dsjkfh38fhs8", "            three words of a kind"}) {
    EXPECT_EQ(whatIsWrongWith(good, "bob"), std::nullopt) << good;
  }
  EXPECT_TRUE(whatIsWrongWith(std::string("brown teapot\0", 13), "bob").has_value()) << "the same as without the zero";
  EXPECT_EQ(whatIsWrongWith("abracadabrA!", "a"), std::nullopt) << "a name of one letter is in everything";
}

}  // namespace
}  // namespace vaultysclaw::control
