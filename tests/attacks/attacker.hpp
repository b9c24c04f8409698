// The attackers: an agent, a control plane and a man in the middle that speak the wire in bytes of their own, follow
// the protocol as far as a test lets them, and then do what no honest party does. They share no state machine with the
// product. Confined to the executor of their connections (in tests: the test's thread).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bytes.hpp"
#include "net/memory_network.hpp"
#include "sealed_wire.hpp"

namespace vaultysclaw::attacks {

using testing::Direction;
using testing::MemoryNetwork;

struct Frame {
  net::FrameKind kind = net::FrameKind::Text;
  std::string data;
};

// What all features together are called, in the order in which lists are signed.
inline const std::vector<std::string> kAllFeatures = {"control-v2", "intent-v2", "result-ack", "seal",
                                                      "signed-results"};

// One end of a connection as an attacker holds it: what came, opened where it was sealed, and ways to send anything.
class Mouth {
 public:
  std::vector<Frame> frames;   // as they came
  std::vector<Json> heard;     // messages, opened if sealed
  bool unreadable = false;     // a sealed frame came that does not open
  bool heardEnd = false;       // a record with TAG_FINAL came
  bool unsealedAfter = false;  // a text frame came on the sealed connection
  std::optional<net::CloseReason> closed;
  std::optional<SealedWire> wire;

  bool open() const { return out_ != nullptr && !closed; }
  // As it is.
  void raw(net::FrameKind kind, std::string data);
  void rawText(std::string text) { raw(net::FrameKind::Text, std::move(text)); }
  // Sealed if the connection is.
  void say(const std::string& text);
  void say(std::string_view type, const Json& payload, const Json& more = Json::object()) {
    say(envelope(type, payload, more));
  }
  void hangUp() { link_.reset(), out_ = nullptr; }
  // Sends a close frame.
  void close(std::uint16_t code) {
    if (link_) link_->close(code, "");
  }

  std::size_t count(std::string_view type) const;
  // The payload of the last message of that type; null JSON when none came.
  Json last(std::string_view type) const;
  std::vector<Json> all(std::string_view type) const;
  std::vector<std::string> types() const;
  void forget() { frames.clear(), heard.clear(); }

 protected:
  ~Mouth() = default;
  void attach(std::unique_ptr<net::Connection> link);
  void hear(net::FrameKind kind, std::string_view data);
  virtual void react(const Json& message) = 0;

  std::function<void(Frame)> out_;

 private:
  std::unique_ptr<net::Connection> link_;
};

// In the order of the handshake: who stops does nothing later either.
enum class StopAt : std::uint8_t { BeforeRegister, BeforeInit, BeforeComplete, Nowhere };

// What makes a hostile agent differ from an honest one.
struct AgentPlan {
  std::string name = "mallory";
  std::vector<std::string> capabilities = {"text_generation"};
  std::optional<std::vector<std::string>> features = {};  // none: as an agent of the original
  IdVersion version = IdVersion::V1;
  bool metadata = true;
  StopAt stopAt = StopAt::Nowhere;
  std::function<void(Map&)> bendInit = {};
  std::function<void(Map&)> bendComplete = {};  // after it is signed
  std::optional<std::string> channel = {};      // in a reissue, instead of the connection's own
  bool answerReissue = true;
};

class HostileAgent final : public Mouth {
 public:
  HostileAgent(Clock& clock, Entropy& entropy, VaultysId self, AgentPlan p = {})
      : plan(std::move(p)), clock_(clock), entropy_(entropy), self_(std::move(self)) {}

  AgentPlan plan;
  const VaultysId& self() const { return self_; }
  Did did() const { return self_.didV1(); }

  void connect(MemoryNetwork& network, const std::string& url = "ws://cp:8080");
  // For another transport: feed() takes what arrives, `out` what is to be sent.
  void begin(std::function<void(Frame)> out);
  void feed(net::FrameKind kind, std::string_view data) { hear(kind, data); }

  bool connected() const { return open() && count("auth_complete") > 0; }
  void startHandshake(const std::string& sessionId);
  void challenge(const std::string& sessionId, const Map& handshake);
  // metadata.pk2 of the last STEP1.
  Map certificate() const;
  // A result of `intent` (an envelope that came), signed in our name: what `bend` does with the payload and the token's
  // body is what makes it a lie. A `signature` that bend sets or takes away stays so.
  std::string resultText(const Json& intent, const std::string& output,
                         const std::function<void(Json& payload, Map& body)>& bend = {}) const;
  void result(const Json& intent, const std::string& output,
              const std::function<void(Json& payload, Map& body)>& bend = {}) {
    say(resultText(intent, output, bend));
  }

  Map step1, complete;  // of the last handshake
  std::string sessionId;

 private:
  void react(const Json& message) override;
  void onStep1(const Json& payload);

  Clock& clock_;
  Entropy& entropy_;
  VaultysId self_;
  bool registered_ = false;
  std::optional<Map> init_;
  std::optional<DhKeys> keys_;
  std::unique_ptr<net::Dialer> dialer_;
  net::Pending dial_;
};

struct PlanePlan {
  std::vector<std::string> capabilities = {"text_generation", "api_call"};
  std::optional<std::vector<std::string>> features = {};
  bool known = true;                          // false: registration_pending in place of auth_complete
  bool answers = true;                        // false: nothing after auth_challenge
  bool completes = true;                      // false: nothing after COMPLETE
  std::function<void(Map&)> bendStep1 = {};   // before it is signed
  std::function<void(Map&)> bendSigned = {};  // after
  std::optional<Json> authComplete = {};      // its payload
};

class HostileControlPlane final : public Mouth {
 public:
  HostileControlPlane(Clock& clock, Entropy& entropy, VaultysId self, PlanePlan p = {})
      : plan(std::move(p)), clock_(clock), entropy_(entropy), self_(std::move(self)) {}

  PlanePlan plan;
  const VaultysId& self() const { return self_; }
  void becomes(VaultysId other) { self_ = std::move(other); }
  net::AcceptHandler acceptor();

  void welcome();  // auth_complete as planned
  void reissue();  // auth_challenge ""
  // An intent that is honest in every respect unless `bend` changes the token's body; hashed with intent-v2.
  std::string intent(const std::string& id, const std::string& action, const std::string& params,
                     const Json& payloadMore = Json::object(), const std::function<void(Map&)>& bend = {});
  std::string agentDid;
  Map init, complete;  // of the last handshake
  int connections = 0, handshakes = 0;

 private:
  void react(const Json& message) override;

  Clock& clock_;
  Entropy& entropy_;
  VaultysId self_;
  int sessions_ = 0;
  std::optional<DhKeys> keys_;
  std::optional<Map> step1_;
};

// Sits between an agent, which dials `url`, and the control plane at `target`; sees and changes every frame.
class Middle {
 public:
  Middle(MemoryNetwork& network, const std::string& url, std::string target);

  // Changes a frame on its way; false keeps it back.
  std::function<bool(Direction, Frame&)> onFrame;
  std::vector<std::pair<Direction, Frame>> seen;  // before the change
  int connections = 0;

  void inject(Direction direction, Frame frame);
  void cut();

  // onFrame of one who changes the handshake `step` of the connection's first handshake.
  static std::function<bool(Direction, Frame&)> bending(Step step, std::function<void(Map&)> bend);

 private:
  struct Pair {
    std::unique_ptr<net::Connection> agent, server;
    net::Pending dial;
    std::vector<Frame> early;  // from the agent, before the server was there
  };
  void accept(std::unique_ptr<net::Connection> agent);
  void pass(const std::shared_ptr<Pair>& pair, Direction direction, Frame frame);

  std::unique_ptr<net::Dialer> dialer_;
  std::string target_;
  std::shared_ptr<Pair> pair_;  // the newest
  std::vector<std::shared_ptr<Pair>> older_;
};

}  // namespace vaultysclaw::attacks
