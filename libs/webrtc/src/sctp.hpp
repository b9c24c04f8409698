// An SCTP association over DTLS (RFC 8831), by usrsctp. Internal; confined to the engine's thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "base/bytes.hpp"
#include "base/ports.hpp"
#include "libraries.hpp"
#include "webrtc/dcep.hpp"

namespace vaultysclaw::webrtc {

// Payload protocol identifiers (RFC 8831 section 8).
namespace ppid {
inline constexpr std::uint32_t kDcep = 50, kText = 51, kBinary = 53, kTextEmpty = 56, kBinaryEmpty = 57;
}

// One message on its way out.
struct SctpMessage {
  std::uint16_t stream = 0;
  std::uint32_t ppid = 0;
  Ordered ordered = Ordered::Yes;
  Reliability reliability = Reliability::Full;
  std::uint32_t reliabilityParameter = 0;
  std::string data = {};
  std::size_t counted = 0;  // what the sender reckons for it; told in onAccepted
};

struct SctpOptions {
  std::uint16_t localPort = 5000;
  std::uint16_t remotePort = 5000;
  std::size_t maxMessageBytes = std::size_t{256} << 10;  // incoming
};

// One association. usrsctp calls back in the middle of its own work; then this only marks itself, and everything
// happens in poll(). Callbacks run within poll() and must not destroy the transport.
class SctpTransport {
 public:
  static constexpr std::uint16_t kStreams = 1024;
  struct Callbacks {
    std::function<void(BytesView)> sendPacket = {};  // at any time; must not call back in here
    std::function<void()> onConnected = {};
    std::function<void(std::uint16_t stream, std::uint32_t ppid, std::string data)> onMessage = {};
    std::function<void(std::uint16_t stream)> onStreamReset = {};                    // the other side ended its half
    std::function<void(std::uint16_t stream, std::size_t counted)> onAccepted = {};  // a message left the queue
    std::function<void(const Status&)> onEnd = {};                                   // once; ok: one side closed
  };
  // Sets usrsctp up, once for the process.
  static void setUp(const Libraries& libraries);
  static Result<std::unique_ptr<SctpTransport>> make(const Libraries& libraries, SctpOptions options,
                                                     Callbacks callbacks);
  ~SctpTransport();
  SctpTransport(const SctpTransport&) = delete;
  SctpTransport& operator=(const SctpTransport&) = delete;

  void connect();
  void receivePacket(BytesView packet);
  // Does what has become possible. After receivePacket(), send(), resume() and usrsctp's timers.
  void poll();
  // Queues the message; the caller bounds what it sends.
  void send(SctpMessage message);
  // Ends our half of a stream once everything sent on it is out.
  void resetStream(std::uint16_t stream);
  // Whether messages are taken out of usrsctp; while not, its window closes and the other side waits.
  void setReading(bool reading);
  // Ends the association once the other side has acknowledged everything queued; onEnd follows.
  void shutdown();
  bool connected() const { return connected_; }

 private:
  SctpTransport(const Libraries& libraries, SctpOptions options, Callbacks callbacks)
      : lib_(libraries), options_(options), callbacks_(std::move(callbacks)) {}
  Status open();
  static int output(void* address, void* buffer, std::size_t length, std::uint8_t tos, std::uint8_t setDf);
  static void upcall(SctpSocket* socket, void* address, int flags);
  void* address() const;
  void readMessages();
  void writeMessages();
  void applyResets();
  void notification(BytesView bytes);
  void end(Status why);
  template <class T>
  bool option(int name, const T& value);

  const Libraries& lib_;
  SctpOptions options_;
  Callbacks callbacks_;
  SctpSocket* socket_ = nullptr;
  std::uintptr_t number_ = 0;  // stands for the address of the other side; never a pointer
  std::deque<SctpMessage> queue_;
  std::deque<std::uint16_t> resets_;
  std::string partial_;
  bool connected_ = false, ended_ = false, reading_ = true, polling_ = false, shuttingDown_ = false;
  bool dry_ = true;  // the other side has acknowledged everything
};

}  // namespace vaultysclaw::webrtc
