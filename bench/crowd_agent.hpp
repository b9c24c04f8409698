// One agent of the crowd: the agent's side of docs/protocol.md 4.1, 7.2 and 7.3, and nothing else. No state file and no
// threads of its own, so that thousands fit into a process and what is measured is the control plane.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/ports.hpp"
#include "identity/challenger.hpp"
#include "identity/seal.hpp"
#include "net/connection.hpp"
#include "protocol/messages.hpp"

namespace vaultysclaw::bench {

struct CrowdPorts {
  Executor& loop;
  Clock& clock;
  Entropy& entropy;
  net::Dialer& dialer;
};

// Confined to the loop. Owned by the crowd, which it must not outlive.
class CrowdAgent {
 public:
  struct Hooks {
    std::function<void()> onConnected;               // after each connect() that succeeds
    std::function<void(const std::string&)> onLost;  // instead, or later; the agent is then idle
  };
  CrowdAgent(CrowdPorts ports, std::string name, std::string url, Hooks hooks);

  // Dials and goes through the handshake; waits for an approval when the control plane does not know this agent.
  void connect();
  // Drops the connection, without a word. No hook is called.
  void disconnect();
  void sendHeartbeat();
  bool connected() const { return connected_; }

 private:
  void onDialed(Result<std::unique_ptr<net::Connection>> connection);
  void onFrame(net::FrameKind kind, std::string_view data);
  void onText(std::string_view text);
  void onChallenge(const protocol::AuthChallenge& challenge);
  Status startHandshake(const std::string& sessionId);
  Status answerStep1(const std::string& data);
  Status beginSealing();
  // Sealed once there is a channel.
  void send(protocol::Payload payload);
  void lose(const std::string& why);

  CrowdPorts ports_;
  const std::string name_, url_;
  Hooks hooks_;
  identity::VaultysId self_;
  net::Pending dialing_;
  std::unique_ptr<net::Connection> connection_;
  std::optional<identity::Initiator> initiator_;
  std::optional<identity::SealKeys> sealKeys_;  // of the first handshake, until it is complete
  std::optional<identity::SealedChannel> channel_;
  std::string sessionId_;
  bool registered_ = false;  // `register` is sent on this connection
  bool connected_ = false;
};

}  // namespace vaultysclaw::bench
