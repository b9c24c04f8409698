#include "ice.hpp"

#include <sys/socket.h>

#include "base/assert.hpp"
#include "text.hpp"

namespace vaultysclaw::webrtc {
namespace {

constexpr unsigned kComponent = 1;
constexpr int kTrue = 1, kFalse = 0;
constexpr int kMatchData = 1 << 4;       // G_SIGNAL_MATCH_DATA
constexpr int kReceiveBuffer = 2 << 20;  // bursts of a whole congestion window must fit

template <class F>
glib::Callback asCallback(F* function) {
  return reinterpret_cast<glib::Callback>(function);
}

}  // namespace

Result<std::unique_ptr<IceTransport>> IceTransport::make(const Libraries& libraries, glib::MainContext* context,
                                                         const PeerOptions& options, IceRole role,
                                                         Callbacks callbacks) {
  std::unique_ptr<IceTransport> transport(new IceTransport(libraries, std::move(callbacks)));
  VC_TRY(transport->setUp(context, options, role));
  return transport;
}

Status IceTransport::setUp(glib::MainContext* context, const PeerOptions& options, IceRole role) {
  agent_ = lib_.niceAgentNewFull(context, 0, glib::kIceTrickle | glib::kConsentFreshness);
  if (agent_ == nullptr) return Error{Errc::Internal, "ICE: cannot make an agent"};
  const char* end = nullptr;
  lib_.objectSet(agent_, "controlling-mode", role == IceRole::Controlling ? kTrue : kFalse, "upnp", kFalse, "ice-tcp",
                 kFalse, end);
  if (!options.stun.empty()) {
    const StunServer& stun = options.stun.front();
    if (!isIpAddress(stun.host) || stun.port == 0)
      return Error{Errc::InvalidArgument, "the STUN server is to be an IP address and a port"};
    lib_.objectSet(agent_, "stun-server", stun.host.c_str(), "stun-server-port", static_cast<unsigned>(stun.port), end);
  }
  for (const std::string& text : options.localAddresses) {
    const std::unique_ptr<glib::NiceAddress, void (*)(glib::NiceAddress*)> address(lib_.niceAddressNew(),
                                                                                   lib_.niceAddressFree);
    if (!isIpAddress(text) || lib_.niceAddressSetFromString(address.get(), text.c_str()) == kFalse ||
        lib_.niceAgentAddLocalAddress(agent_, address.get()) == kFalse)
      return Error{Errc::InvalidArgument, "a local address is to be an IP address"};
  }
  stream_ = lib_.niceAgentAddStream(agent_, 1);
  if (stream_ == 0) return Error{Errc::Internal, "ICE: cannot make a stream"};
  for (const TurnServer& turn : options.turn) {
    if (!isIpAddress(turn.host) || turn.port == 0)
      return Error{Errc::InvalidArgument, "a TURN server is to be an IP address and a port"};
    lib_.niceAgentSetRelayInfo(agent_, stream_, kComponent, turn.host.c_str(), turn.port, turn.user.c_str(),
                               turn.password.c_str(), glib::kRelayUdp);
  }
  lib_.signalConnectData(agent_, "new-candidate-full", asCallback(&IceTransport::onNewCandidate), this, nullptr, 0);
  lib_.signalConnectData(agent_, "component-state-changed", asCallback(&IceTransport::onState), this, nullptr, 0);
  lib_.niceAgentAttachRecv(agent_, stream_, kComponent, context, &IceTransport::onReceive, this);

  char* ufrag = nullptr;
  char* password = nullptr;
  if (lib_.niceAgentGetLocalCredentials(agent_, stream_, &ufrag, &password) == kFalse)
    return Error{Errc::Internal, "ICE: no credentials"};
  ufrag_ = ufrag;
  password_ = password;
  lib_.free(ufrag);
  lib_.free(password);
  return {};
}

IceTransport::~IceTransport() {
  if (agent_ == nullptr) return;
  // Work of the agent that goes on in the background keeps a reference: it must not find us.
  lib_.signalHandlersDisconnectMatched(agent_, kMatchData, 0, 0, nullptr, nullptr, this);
  if (stream_ != 0) {
    lib_.niceAgentAttachRecv(agent_, stream_, kComponent, nullptr, nullptr, nullptr);
    lib_.niceAgentRemoveStream(agent_, stream_);
  }
  lib_.objectUnref(agent_);
}

void IceTransport::gather() {
  if (lib_.niceAgentGatherCandidates(agent_, stream_) == kFalse) {
    callbacks_.onFailed();
    return;
  }
  widenSocketBuffers();
}

void IceTransport::widenSocketBuffers() {
  glib::PtrArray* sockets = lib_.niceAgentGetSockets(agent_, stream_, kComponent);
  if (sockets == nullptr) return;
  for (unsigned i = 0; i < sockets->length; ++i) {
    const int fd = lib_.socketGetFd(static_cast<glib::Socket*>(sockets->data[i]));
    // Less than asked for is what the system allows.
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer);
  }
  lib_.ptrArrayUnref(sockets);
}

void IceTransport::setRemoteCredentials(const std::string& ufrag, const std::string& password) {
  lib_.niceAgentSetRemoteCredentials(agent_, stream_, ufrag.c_str(), password.c_str());
}

void IceTransport::addRemoteCandidate(const Candidate& candidate) {
  if (candidate.hidesAddress() || candidate.transport != CandidateTransport::Udp || candidate.component != kComponent ||
      candidate.port == 0)
    return;
  // Written anew from what the strict parser took: libnice never sees foreign text.
  const std::string line = "a=" + writeCandidate(candidate);
  glib::NiceCandidate* parsed = lib_.niceAgentParseRemoteCandidateSdp(agent_, stream_, line.c_str());
  if (parsed == nullptr) return;
  const glib::SList list{parsed, nullptr};
  lib_.niceAgentSetRemoteCandidates(agent_, stream_, kComponent, &list);
  lib_.niceCandidateFree(parsed);
}

bool IceTransport::send(BytesView datagram) {
  return lib_.niceAgentSend(agent_, stream_, kComponent, static_cast<unsigned>(datagram.size()),
                            asText(datagram).data()) > 0;
}

void IceTransport::onNewCandidate(glib::NiceAgent* agent, glib::NiceCandidate* candidate, void* self) {
  auto* transport = static_cast<IceTransport*>(self);
  char* line = transport->lib_.niceAgentGenerateLocalCandidateSdp(agent, candidate);
  std::string text = line != nullptr ? line : "";
  transport->lib_.free(line);
  if (text.starts_with("a=")) text.erase(0, 2);
  if (const auto parsed = parseCandidate(text); parsed.ok()) transport->callbacks_.onCandidate(*parsed);
}

void IceTransport::onState(glib::NiceAgent*, unsigned, unsigned, unsigned state, void* self) {
  auto* transport = static_cast<IceTransport*>(self);
  if (state == glib::kConnected || state == glib::kReady) transport->callbacks_.onConnected();
  if (state == glib::kFailed) transport->callbacks_.onFailed();
}

void IceTransport::onReceive(glib::NiceAgent*, unsigned, unsigned, unsigned length, char* bytes, void* self) {
  static_cast<IceTransport*>(self)->callbacks_.onDatagram(asBytes({bytes, length}));
}

}  // namespace vaultysclaw::webrtc
