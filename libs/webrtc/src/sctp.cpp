#include "sctp.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <vector>

namespace vaultysclaw::webrtc {
namespace {

constexpr unsigned kPathMtu = 1163;   // a DTLS record of it fits into 1200 bytes
constexpr int kSendBuffer = 2 << 20;  // above the largest message: usrsctp takes whole ones only
constexpr int kReceiveBuffer = 1 << 20;
constexpr std::size_t kReadBytes = 64 << 10;
constexpr int kMaxReadsPerPoll = 512;
constexpr std::array<std::uint16_t, 4> kEvents{SCTP_ASSOC_CHANGE, SCTP_STREAM_RESET_EVENT, SCTP_SHUTDOWN_EVENT,
                                               SCTP_SENDER_DRY_EVENT};

// usrsctp knows a transport by a number that is never used again: one that is gone is not found, and what usrsctp puts
// into its cookies is no address of ours. Confined to the engine's thread.
std::map<std::uintptr_t, SctpTransport*>& transports() {
  static std::map<std::uintptr_t, SctpTransport*> all;
  return all;
}
std::uintptr_t nextNumber() {
  static std::uintptr_t last = 0;
  return ++last;
}
SctpTransport* find(void* address) {
  const auto at = transports().find(reinterpret_cast<std::uintptr_t>(address));
  return at != transports().end() ? at->second : nullptr;
}

sockaddr_conn connAddress(void* address, std::uint16_t port) {
  sockaddr_conn out{};
  out.sconn_family = AF_CONN;
  out.sconn_port = htons(port);
  out.sconn_addr = address;
  return out;
}

}  // namespace

void SctpTransport::setUp(const Libraries& lib) {
  static bool done = false;
  if (std::exchange(done, true)) return;
  lib.sctpInit(0, &SctpTransport::output, nullptr);
  lib.sctpSysctlSetEcnEnable(0);
  lib.sctpSysctlSetAsconfEnable(0);
  lib.sctpSysctlSetAuthEnable(0);
  lib.sctpSysctlSetBlackhole(2);  // packets without an association are not answered
}

Result<std::unique_ptr<SctpTransport>> SctpTransport::make(const Libraries& libraries, SctpOptions options,
                                                           Callbacks callbacks) {
  std::unique_ptr<SctpTransport> transport(new SctpTransport(libraries, options, std::move(callbacks)));
  VC_TRY(transport->open());
  return transport;
}

void* SctpTransport::address() const {
  return reinterpret_cast<void*>(number_);
}

template <class T>
bool SctpTransport::option(int name, const T& value) {
  return lib_.sctpSetsockopt(socket_, IPPROTO_SCTP, name, &value, sizeof value) == 0;
}

Status SctpTransport::open() {
  number_ = nextNumber();
  transports()[number_] = this;
  lib_.sctpRegisterAddress(address());
  socket_ = lib_.sctpSocket(AF_CONN, SOCK_STREAM, IPPROTO_SCTP, nullptr, nullptr, 0, nullptr);
  if (socket_ == nullptr) return Error{Errc::Internal, "SCTP: cannot make a socket"};
  const linger abort{1, 0};  // closing ends the association at once
  bool ok = lib_.sctpSetNonBlocking(socket_, 1) == 0 &&
            lib_.sctpSetsockopt(socket_, SOL_SOCKET, SO_LINGER, &abort, sizeof abort) == 0 &&
            lib_.sctpSetsockopt(socket_, SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof kSendBuffer) == 0 &&
            lib_.sctpSetsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer) == 0;
  const int on = 1;
  ok = ok && option(SCTP_NODELAY, on) && option(SCTP_RECVRCVINFO, on);
  sctp_assoc_value resets{};
  resets.assoc_id = SCTP_ALL_ASSOC;
  resets.assoc_value = SCTP_ENABLE_RESET_STREAM_REQ;
  ok = ok && option(SCTP_ENABLE_STREAM_RESET, resets);
  for (const std::uint16_t type : kEvents) {
    sctp_event event{};
    event.se_assoc_id = SCTP_ALL_ASSOC;
    event.se_type = type;
    event.se_on = 1;
    ok = ok && option(SCTP_EVENT, event);
  }
  sctp_initmsg init{};
  init.sinit_num_ostreams = kStreams;
  init.sinit_max_instreams = kStreams;
  ok = ok && option(SCTP_INITMSG, init);
  sctp_paddrparams path{};
  path.spp_flags = SPP_PMTUD_DISABLE | SPP_HB_ENABLE;
  path.spp_pathmtu = kPathMtu;
  ok = ok && option(SCTP_PEER_ADDR_PARAMS, path);
  sockaddr_conn local = connAddress(address(), options_.localPort);
  ok = ok && lib_.sctpBind(socket_, reinterpret_cast<sockaddr*>(&local), sizeof local) == 0 &&
       lib_.sctpSetUpcall(socket_, &SctpTransport::upcall, address()) == 0;
  return ok ? Status() : Status(Error{Errc::Internal, "SCTP: cannot set the socket up"});
}

SctpTransport::~SctpTransport() {
  if (socket_ != nullptr) {
    lib_.sctpSetUpcall(socket_, nullptr, nullptr);
    lib_.sctpClose(socket_);
  }
  lib_.sctpDeregisterAddress(address());
  transports().erase(number_);
}

int SctpTransport::output(void* address, void* buffer, std::size_t length, std::uint8_t, std::uint8_t) {
  if (SctpTransport* transport = find(address))
    transport->callbacks_.sendPacket({static_cast<const std::uint8_t*>(buffer), length});
  return 0;
}

// In the middle of usrsctp's work: whoever called it polls afterwards.
void SctpTransport::upcall(SctpSocket*, void*, int) {}

void SctpTransport::connect() {
  sockaddr_conn remote = connAddress(address(), options_.remotePort);
  if (lib_.sctpConnect(socket_, reinterpret_cast<sockaddr*>(&remote), sizeof remote) != 0 && errno != EINPROGRESS)
    end(Error{Errc::Internal, "SCTP: cannot connect"});
}

void SctpTransport::receivePacket(BytesView packet) {
  if (!ended_) lib_.sctpConninput(address(), packet.data(), packet.size(), 0);
}

void SctpTransport::poll() {
  if (ended_ || polling_) return;
  polling_ = true;
  readMessages();
  if (!ended_) writeMessages();
  if (!ended_) applyResets();
  // Then closing the socket aborts the association, as browsers do: libwebrtc leaves SCTP's own shutdown unanswered.
  if (!ended_ && shuttingDown_ && queue_.empty() && dry_) end({});
  polling_ = false;
}

void SctpTransport::readMessages() {
  thread_local std::vector<std::uint8_t> buffer(kReadBytes);
  for (int i = 0; i < kMaxReadsPerPoll && reading_ && !ended_; ++i) {
    sctp_rcvinfo info{};
    socklen_t infoLength = sizeof info;
    unsigned infoType = SCTP_RECVV_NOINFO;
    int flags = 0;
    socklen_t fromLength = 0;
    const auto n = lib_.sctpRecvv(socket_, buffer.data(), buffer.size(), nullptr, &fromLength, &info, &infoLength,
                                  &infoType, &flags);
    if (n < 0) return;
    if (n == 0) return end({});
    const BytesView bytes = BytesView(buffer).first(static_cast<std::size_t>(n));
    if ((flags & MSG_NOTIFICATION) != 0) {
      notification(bytes);
      continue;
    }
    if (partial_.size() + bytes.size() > options_.maxMessageBytes)
      return end(Error{Errc::TooLarge, "the other side sent a message longer than was announced to it"});
    partial_.append(asText(bytes));
    if ((flags & MSG_EOR) == 0) continue;
    std::string whole;
    whole.swap(partial_);
    if (infoType == SCTP_RECVV_RCVINFO) callbacks_.onMessage(info.rcv_sid, ntohl(info.rcv_ppid), std::move(whole));
  }
}

void SctpTransport::notification(BytesView bytes) {
  const auto read = [&](auto& out) {
    const std::size_t n = std::min(bytes.size(), sizeof out);
    std::memcpy(&out, bytes.data(), n);
    return n == sizeof out;
  };
  std::uint16_t type = 0;
  if (!read(type)) return;
  if (type == SCTP_ASSOC_CHANGE) {
    sctp_assoc_change change{};
    if (!read(change)) return;
    if (change.sac_state == SCTP_COMM_UP && !connected_) {
      connected_ = true;
      callbacks_.onConnected();
    } else if (change.sac_state == SCTP_SHUTDOWN_COMP) {
      end({});
    } else if (change.sac_state == SCTP_COMM_LOST) {
      // An abort of the other side comes with its chunk; browsers close so.
      const bool aborted = bytes.size() > sizeof change;
      end(aborted ? Status() : Status(Error{Errc::ConnectionLost, "the other side no longer answers"}));
    } else if (change.sac_state == SCTP_CANT_STR_ASSOC) {
      end(Error{Errc::ConnectionLost, "the other side does not begin an SCTP association"});
    }
  } else if (type == SCTP_SENDER_DRY_EVENT) {
    dry_ = true;
  } else if (type == SCTP_STREAM_RESET_EVENT) {
    sctp_stream_reset_event event{};
    const std::size_t header = offsetof(sctp_stream_reset_event, strreset_stream_list);
    if (bytes.size() < header) return;
    std::memcpy(&event, bytes.data(), header);
    if ((event.strreset_flags & SCTP_STREAM_RESET_INCOMING_SSN) == 0) return;
    for (std::size_t at = header; at + 2 <= bytes.size() && !ended_; at += 2) {
      std::uint16_t stream = 0;
      std::memcpy(&stream, bytes.data() + at, sizeof stream);
      callbacks_.onStreamReset(stream);
    }
  }
}

void SctpTransport::send(SctpMessage message) {
  if (!ended_) queue_.push_back(std::move(message));
}

void SctpTransport::writeMessages() {
  while (connected_ && !queue_.empty()) {
    const SctpMessage& m = queue_.front();
    sctp_sendv_spa spa{};
    spa.sendv_flags = SCTP_SEND_SNDINFO_VALID;
    spa.sendv_sndinfo.snd_sid = m.stream;
    spa.sendv_sndinfo.snd_ppid = htonl(m.ppid);
    spa.sendv_sndinfo.snd_flags = SCTP_EOR;
    if (m.ordered == Ordered::No) spa.sendv_sndinfo.snd_flags |= SCTP_UNORDERED;
    if (m.reliability != Reliability::Full) {
      spa.sendv_flags |= SCTP_SEND_PRINFO_VALID;
      spa.sendv_prinfo.pr_policy = m.reliability == Reliability::Retransmits ? SCTP_PR_SCTP_RTX : SCTP_PR_SCTP_TTL;
      spa.sendv_prinfo.pr_value = m.reliabilityParameter;
    }
    const auto n =
        lib_.sctpSendv(socket_, m.data.data(), m.data.size(), nullptr, 0, &spa, sizeof spa, SCTP_SENDV_SPA, 0);
    if (n < 0 && (errno == EWOULDBLOCK || errno == EAGAIN)) return;
    if (n < 0) return end(Error{Errc::ConnectionLost, "SCTP: a message cannot be sent"});
    dry_ = false;
    const std::uint16_t stream = m.stream;
    const std::size_t counted = m.counted;
    queue_.pop_front();
    callbacks_.onAccepted(stream, counted);
  }
}

void SctpTransport::resetStream(std::uint16_t stream) {
  resets_.push_back(stream);
}

// usrsctp sends a reset after what was given to it before; what we still hold must go first. One at a time is under
// way.
void SctpTransport::applyResets() {
  while (connected_ && queue_.empty() && !resets_.empty()) {
    std::array<std::uint8_t, sizeof(sctp_reset_streams) + sizeof(std::uint16_t)> raw{};
    sctp_reset_streams header{};
    header.srs_assoc_id = SCTP_ALL_ASSOC;
    header.srs_flags = SCTP_STREAM_RESET_OUTGOING;
    header.srs_number_streams = 1;
    const std::uint16_t stream = resets_.front();
    std::memcpy(raw.data(), &header, sizeof header);
    std::memcpy(raw.data() + offsetof(sctp_reset_streams, srs_stream_list), &stream, sizeof stream);
    const std::size_t length = offsetof(sctp_reset_streams, srs_stream_list) + sizeof stream;
    if (lib_.sctpSetsockopt(socket_, IPPROTO_SCTP, SCTP_RESET_STREAMS, raw.data(), static_cast<socklen_t>(length)) != 0)
      return;  // EALREADY: one is under way; the next poll tries again
    resets_.pop_front();
  }
}

void SctpTransport::setReading(bool reading) {
  reading_ = reading;
}

void SctpTransport::shutdown() {
  shuttingDown_ = true;
}

void SctpTransport::end(Status why) {
  if (std::exchange(ended_, true)) return;
  queue_.clear();
  callbacks_.onEnd(why);
}

}  // namespace vaultysclaw::webrtc
