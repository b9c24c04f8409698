// Finding a way between two sides, by libnice. Internal; confined to the engine's thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/bytes.hpp"
#include "libraries.hpp"
#include "webrtc/peer_connection.hpp"

namespace vaultysclaw::webrtc {

enum class IceRole : bool { Controlled, Controlling };

// One ICE agent with one component. Callbacks must not destroy it.
class IceTransport {
 public:
  struct Callbacks {
    std::function<void(const Candidate&)> onCandidate = {};
    std::function<void()> onConnected = {};  // may come again
    std::function<void()> onFailed = {};
    std::function<void(BytesView)> onDatagram = {};
  };
  static Result<std::unique_ptr<IceTransport>> make(const Libraries& libraries, glib::MainContext* context,
                                                    const PeerOptions& options, IceRole role, Callbacks callbacks);
  ~IceTransport();
  IceTransport(const IceTransport&) = delete;
  IceTransport& operator=(const IceTransport&) = delete;

  const std::string& ufrag() const { return ufrag_; }
  const std::string& password() const { return password_; }
  // Candidates follow; those of the interfaces within the call.
  void gather();
  void setRemoteCredentials(const std::string& ufrag, const std::string& password);
  void addRemoteCandidate(const Candidate& candidate);
  // False when there is no way yet, or the socket is full: the datagram is lost, as on the way.
  bool send(BytesView datagram);

 private:
  IceTransport(const Libraries& libraries, Callbacks callbacks) : lib_(libraries), callbacks_(std::move(callbacks)) {}
  Status setUp(glib::MainContext* context, const PeerOptions& options, IceRole role);
  void widenSocketBuffers();
  static void onNewCandidate(glib::NiceAgent*, glib::NiceCandidate*, void* self);
  static void onState(glib::NiceAgent*, unsigned stream, unsigned component, unsigned state, void* self);
  static void onReceive(glib::NiceAgent*, unsigned stream, unsigned component, unsigned length, char* bytes,
                        void* self);

  const Libraries& lib_;
  Callbacks callbacks_;
  glib::NiceAgent* agent_ = nullptr;
  unsigned stream_ = 0;
  std::string ufrag_, password_;
};

}  // namespace vaultysclaw::webrtc
