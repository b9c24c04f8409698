// One connection on the engine's thread: ICE below DTLS below SCTP, and its channels. Internal.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "dtls.hpp"
#include "ice.hpp"
#include "peer_front.hpp"
#include "sctp.hpp"

namespace vaultysclaw::webrtc {

class PeerCore : public std::enable_shared_from_this<PeerCore> {
 public:
  PeerCore(EngineImpl& engine, PeerOptions options, std::shared_ptr<PeerLink> link)
      : engine_(engine), options_(std::move(options)), link_(std::move(link)) {}

  // Commands of the front.
  void start();
  void createOffer();
  void setRemote(const SessionDescription& description);
  void addRemoteCandidate(const Candidate& candidate);
  void open(ChannelKey key, const ChannelOpen& parameters, std::shared_ptr<ChannelShared> shared);
  void send(ChannelKey key, net::FrameKind kind, std::string data);
  void closeChannel(ChannelKey key);
  void resumeReading();
  void close();
  void abort();  // at once, and without a word to the front

  void tick();

  // For tests of hostile peers: puts a message on a stream as it is.
  void sendRaw(SctpMessage message);

 private:
  struct Channel {
    ChannelKey key{};
    ChannelOpen parameters;
    std::shared_ptr<ChannelShared> shared;
    std::optional<std::uint16_t> stream;  // known once the association is up
    std::deque<SctpMessage> early;        // what was sent before that
    bool open = false, resetSent = false;
  };

  void makeIce(IceRole role);
  SessionDescription describe(SdpType type, DtlsSetup setup) const;
  void applyRemote(const SessionDescription& description);
  void startDtls();
  void startSctp();
  void onSctpConnected();
  void onMessage(std::uint16_t stream, std::uint32_t ppid, std::string data);
  void onDcep(std::uint16_t stream, const std::string& data);
  void onStreamReset(std::uint16_t stream);
  void onAccepted(std::uint16_t stream, std::size_t counted);
  bool assignStream(Channel& channel);
  Channel* byStream(std::uint16_t stream);
  void emit(const Channel& channel, ChannelFront::Event event);
  void enqueue(const Channel& channel, SctpMessage message);
  void pollSctp();
  void finish(Status why);
  void tearDown();

  EngineImpl& engine_;
  PeerOptions options_;
  std::shared_ptr<PeerLink> link_;
  std::optional<DtlsIdentity> identity_;
  std::unique_ptr<IceTransport> ice_;
  std::unique_ptr<DtlsTransport> dtls_;
  std::unique_ptr<SctpTransport> sctp_;
  std::optional<SessionDescription> remote_;
  std::deque<Candidate> earlyCandidates_;
  std::size_t candidates_ = 0;
  DtlsRole role_ = DtlsRole::Server;
  std::map<ChannelKey, Channel> channels_;
  std::map<std::uint16_t, ChannelKey> streams_;
  std::uint32_t nextRemoteKey_ = 0x80000000;
  std::optional<SteadyTime> deadline_;  // of connecting, then of closing
  bool offering_ = false, connected_ = false, closing_ = false, finished_ = false, iceConnected_ = false;
  unsigned datagrams_ = 0;
};

}  // namespace vaultysclaw::webrtc
