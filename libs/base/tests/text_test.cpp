// Bytes, UTF-8, identifiers, time, errors, JSON text, log text.
#include <gtest/gtest.h>

#include <set>

#include "base/bytes.hpp"
#include "base/fake_loop.hpp"
#include "base/ids.hpp"
#include "base/json_writer.hpp"
#include "base/log.hpp"
#include "base/ports.hpp"
#include "base/utf8.hpp"

namespace vaultysclaw {
namespace {

TEST(Hex, RoundTripsAndRefusesTheRest) {
  EXPECT_EQ(hexEncode(Bytes{0x00, 0xab, 0xff}), "00abff");
  EXPECT_EQ(*hexDecode("00ABff"), (Bytes{0x00, 0xab, 0xff}));
  EXPECT_TRUE(hexDecode("")->empty());
  for (const char* bad : {"0", "0g", "0x00", " 00", "00 "}) EXPECT_FALSE(hexDecode(bad).ok()) << bad;
}

TEST(Base64, RoundTripsEveryLength) {
  Bytes bytes;
  for (int i = 0; i < 300; ++i) {
    const std::string text = base64Encode(bytes);
    EXPECT_EQ(text.size() % 4, 0U);
    EXPECT_EQ(*base64Decode(text), bytes);
    bytes.push_back(static_cast<std::uint8_t>(i * 37));
  }
}

TEST(Base64, WritesTheExamplesOfRfc4648) {
  const std::pair<const char*, const char*> examples[] = {{"", ""},
                                                          {"f", "Zg=="},
                                                          {"fo", "Zm8="},
                                                          {"foo", "Zm9v"},
                                                          {"foob", "Zm9vYg=="},
                                                          {"fooba", "Zm9vYmE="},
                                                          {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : examples) EXPECT_EQ(base64Encode(asBytes(bytes)), text);
}

TEST(Base64, KnowsItsAlphabetAtEveryPlace) {
  const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const std::string text = alphabet + alphabet;
  const auto bytes = base64Decode(text);
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(base64Encode(*bytes), text);
  EXPECT_EQ(hexEncode(BytesView(*bytes).first(6)), "001083105187");
  const std::string skipped = "\n\r\t ", url = "-_";
  for (int c = 0; c < 256; ++c) {
    for (const std::size_t at : {0, 63, 64, 126}) {
      std::string changed = text;
      changed[at] = static_cast<char>(c);
      const bool member = (alphabet + url).find(static_cast<char>(c)) != std::string::npos;
      if (skipped.find(static_cast<char>(c)) != std::string::npos) continue;
      EXPECT_EQ(base64Decode(changed).ok(), member) << c << " at " << at;
    }
  }
}

TEST(Base64, AcceptsWhatJavaScriptWrites) {
  const Bytes bytes{0xfb, 0xff, 0xfe, 0x01};
  EXPECT_EQ(base64Encode(bytes), "+//+AQ==");
  for (const char* text : {"+//+AQ==", "+//+AQ", "-__-AQ", "-__-AQ==", "+//+\r\nAQ==\n", " +//+ AQ"}) {
    EXPECT_EQ(*base64Decode(text), bytes) << text;
  }
  for (const char* bad : {"A", "AQ===", "A*AA", "AQ=A", "=", "====", "AQ\x01", "AR=="}) {
    EXPECT_FALSE(base64Decode(bad).ok()) << bad;
  }
}

TEST(Bytes, ComparesInConstantTime) {
  EXPECT_TRUE(constantTimeEqual(Bytes{1, 2}, Bytes{1, 2}));
  EXPECT_FALSE(constantTimeEqual(Bytes{1, 2}, Bytes{1, 3}));
  EXPECT_FALSE(constantTimeEqual(Bytes{1, 2}, Bytes{1}));
  EXPECT_TRUE(constantTimeEqual({}, {}));
}

TEST(SecretArray, WipesWhatItMovesFrom) {
  SecretArray<4> a(std::array<std::uint8_t, 4>{1, 2, 3, 4});
  const SecretArray<4> b = std::move(a);
  EXPECT_EQ(b.view()[3], 4);
  EXPECT_EQ(a.view()[3], 0);  // NOLINT(bugprone-use-after-move): that is the point
}

TEST(Utf8, FollowsRfc3629) {
  for (const char* good : {"", "abc", "\xc3\xa9", "\xe2\x9c\x93", "\xf0\x9f\x90\x99", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(isValidUtf8(good)) << good;
  }
  for (const char* bad : {"\x80", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3", "\xe2\x9c", "\xc3(", "\xff"}) {
    EXPECT_FALSE(isValidUtf8(bad));
  }
}

TEST(Utf8, IsJudgedAlikeWhereverItStands) {
  const std::string ascii(40, 'a');
  for (std::size_t at = 0; at <= ascii.size(); ++at) {
    SCOPED_TRACE(at);
    EXPECT_TRUE(isValidUtf8(std::string(ascii).insert(at, "\xf0\x9f\x98\x80")));
    EXPECT_FALSE(isValidUtf8(std::string(ascii).insert(at, "\x80")));
    EXPECT_FALSE(isValidUtf8(std::string(ascii).insert(at, "\xf0\x9f\x98")));
  }
}

TEST(JsonWriter, EscapesWhereverItMust) {
  const auto written = [](std::string_view text) {
    JsonWriter w;
    w.value(text);
    return w.take();
  };
  EXPECT_EQ(written(""), R"("")");
  EXPECT_EQ(written("plain"), R"("plain")");
  EXPECT_EQ(written("\"a\\b\nc\rd\te\bf\fg\x01"), R"("\"a\\b\nc\rd\te\bf\fg\u0001")");
  EXPECT_EQ(written("\x1f\x7f/\xc3\xa9"), "\"\\u001f\x7f/\xc3\xa9\"");
}

TEST(Utf8, FindsTheTailThatMayBeCompleted) {
  const std::string text = "a\xf0\x9f\x90\x99";
  EXPECT_EQ(incompleteUtf8Tail(text), 0U);
  EXPECT_EQ(incompleteUtf8Tail(text.substr(0, 4)), 3U);
  EXPECT_EQ(incompleteUtf8Tail(text.substr(0, 3)), 2U);
  EXPECT_EQ(incompleteUtf8Tail(text.substr(0, 2)), 1U);
  EXPECT_EQ(incompleteUtf8Tail("a"), 0U);
  EXPECT_EQ(incompleteUtf8Tail("\xed\xa0"), 0U);  // a surrogate, never to become valid
  EXPECT_EQ(incompleteUtf8Tail("\x80\x80\x80"), 0U);
}

TEST(Ids, AcceptPrintableAsciiOnly) {
  EXPECT_TRUE(isValidWireId("a"));
  EXPECT_TRUE(isValidWireId(std::string(128, 'x')));
  EXPECT_FALSE(isValidWireId(""));
  EXPECT_FALSE(isValidWireId(std::string(129, 'x')));
  EXPECT_FALSE(isValidWireId("a\n"));
  EXPECT_FALSE(isValidWireId("\xc3\xa9"));
}

TEST(Ids, RecogniseDids) {
  EXPECT_TRUE(isValidDid("did:vaultys:00bf6368ccbabbc01017a92abb2e67c81126cbcb"));
  EXPECT_FALSE(isValidDid("did:vaultys:00BF6368ccbabbc01017a92abb2e67c81126cbcb"));
  EXPECT_FALSE(isValidDid("did:vaultys:00bf"));
  EXPECT_FALSE(isValidDid("did:other:00bf6368ccbabbc01017a92abb2e67c81126cbcb"));
}

TEST(Uuid, SortsByTimeAndDoesNotRepeat) {
  testing::FakeClock clock;
  testing::FakeEntropy entropy;
  std::set<std::string> seen;
  std::string last;
  for (int i = 0; i < 100; ++i) {
    const std::string id = newUuid(clock, entropy);
    EXPECT_EQ(id.size(), 36U);
    EXPECT_EQ(id[14], '7');
    EXPECT_NE(std::string("89ab").find(id[19]), std::string::npos);
    EXPECT_TRUE(seen.insert(id).second);
    EXPECT_LT(last, id);
    last = id;
    clock.advance(milliseconds(1));
  }
}

TEST(Time, WritesAndReadsIso8601) {
  EXPECT_EQ(toIso8601(fromUnixMillis(0)), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(toIso8601(fromUnixMillis(1'780'000'000'123)), "2026-05-28T20:26:40.123Z");
  EXPECT_EQ(toIso8601(fromUnixMillis(-1)), "1969-12-31T23:59:59.999Z");
  for (const std::int64_t ms : {0L, 951'782'400'000L, 1'709'164'800'001L, 253'402'300'799'999L}) {
    EXPECT_EQ(toUnixMillis(*fromIso8601(toIso8601(fromUnixMillis(ms)))), ms);
  }
  EXPECT_EQ(toUnixMillis(*fromIso8601("1970-01-01T01:00:00+01:00")), 0);
  EXPECT_EQ(toUnixMillis(*fromIso8601("1969-12-31T23:30:00.5-00:30")), 500);
  EXPECT_EQ(toUnixMillis(*fromIso8601("1970-01-01T00:00:00.123456789Z")), 123);
  for (const char* bad :
       {"", "1970-01-01", "1970-01-01T00:00:00", "1970-13-01T00:00:00Z", "1970-02-30T00:00:00Z", "1970-01-01T24:00:00Z",
        "1970-01-01T00:60:00Z", "1970-01-01T00:00:00.Z", "1970-01-01T00:00:00Zx", "1970-01-01T00:00:00+1:00",
        "1970-01-01T00:00:00.1234567890Z", "+970-01-01T00:00:00Z"}) {
    EXPECT_FALSE(fromIso8601(bad).ok()) << bad;
  }
}

TEST(Time, ReadsNoTruncation) {
  const std::string text = "2026-05-28T20:26:40.123+02:00";
  for (std::size_t n = 0; n < text.size(); ++n)
    EXPECT_FALSE(fromIso8601(std::string_view(text).substr(0, n)).ok()) << n;
}

TEST(Error, EveryCodeHasItsNames) {
  for (int i = 0; i <= static_cast<int>(Errc::Internal); ++i) {
    const auto code = static_cast<Errc>(i);
    EXPECT_FALSE(name(code).empty());
    EXPECT_FALSE(wireCode(code).empty());
    EXPECT_GE(httpStatus(code), 400);
  }
}

TEST(JsonWriter, WritesCommasAndEscapes) {
  JsonWriter w;
  w.beginObject().member("a", 1).member("text", "q\"\\\n\t\x01 é").key("list").beginArray();
  w.value(true).null().value(0.5).value(std::uint64_t{18446744073709551615U}).value(std::int64_t{-1}).endArray();
  w.key("raw").rawValue(R"({"x": 1})").key("empty").beginObject().endObject();
  w.memberIf("absent", std::optional<std::string>()).memberIf("present", std::optional<std::string>("y")).endObject();
  EXPECT_EQ(w.take(), R"({"a":1,"text":"q\"\\\n\t\u0001 é","list":[true,null,0.5,18446744073709551615,-1],)"
                      R"("raw":{"x": 1},"empty":{},"present":"y"})");
}

TEST(JsonWriter, RepairsBrokenTextAndNumbers) {
  JsonWriter w;
  w.beginArray()
      .value(std::string_view("a\xff\xc3\xa9\xc3"))
      .value(std::numeric_limits<double>::quiet_NaN())
      .endArray();
  EXPECT_EQ(w.take(), "[\"a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\",null]");
}

TEST(Log, MakesForeignTextPrintable) {
  EXPECT_EQ(printable("a\x1b[31m\nb"), "a?[31m?b");
  EXPECT_EQ(printable("\xff"), "?");
  EXPECT_EQ(printable("é✓"), "é✓");
  EXPECT_EQ(printable("ééé", 3), "é...");
}

}  // namespace
}  // namespace vaultysclaw
