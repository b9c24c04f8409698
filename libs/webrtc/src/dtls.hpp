// DTLS 1.2 over any datagrams (RFC 8827): who the other side is follows from the fingerprint of its certificate alone.
// Internal; confined to the engine's thread.
#pragma once

#include <openssl/ssl.h>

#include <functional>
#include <memory>

#include "base/bytes.hpp"
#include "base/ports.hpp"
#include "webrtc/sdp.hpp"

namespace vaultysclaw::webrtc {

// A fresh P-256 key and a certificate signed with it, for one connection.
class DtlsIdentity {
 public:
  static Result<DtlsIdentity> make(Entropy& entropy, WallTime now);
  const Fingerprint& fingerprint() const { return fingerprint_; }

 private:
  friend class DtlsTransport;
  struct FreeKey {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  };
  struct FreeCertificate {
    void operator()(X509* certificate) const { X509_free(certificate); }
  };
  std::unique_ptr<EVP_PKEY, FreeKey> key_;
  std::unique_ptr<X509, FreeCertificate> certificate_;
  Fingerprint fingerprint_{};
};

enum class DtlsRole : std::uint8_t { Client, Server };

// One DTLS connection. Callbacks run within receive(), start() and tick(), and must not destroy the transport.
class DtlsTransport {
 public:
  struct Callbacks {
    std::function<void(BytesView)> send = {};       // one datagram, at most kDatagramBytes of them for a handshake
    std::function<void()> onConnected = {};         // the other side has the fingerprint that was expected
    std::function<void(BytesView)> onData = {};     // one decrypted record
    std::function<void(const Status&)> onEnd = {};  // once; ok: the other side closed
  };
  static constexpr std::size_t kDatagramBytes = 1200;

  static Result<std::unique_ptr<DtlsTransport>> make(const DtlsIdentity& identity, DtlsRole role,
                                                     const Fingerprint& expected, Callbacks callbacks);
  ~DtlsTransport();
  DtlsTransport(const DtlsTransport&) = delete;
  DtlsTransport& operator=(const DtlsTransport&) = delete;

  void start();
  // Whatever came from the path; what is no DTLS, or was changed on the way, is dropped.
  void receive(BytesView datagram);
  // Retransmits parts of the handshake that got lost. Call it every few ms until connected.
  void tick();
  // False before the handshake is complete, and after the end.
  bool send(BytesView data);
  // Tells the other side that this is the end.
  void shutdown();
  bool connected() const { return state_ == State::Connected; }

 private:
  enum class State : std::uint8_t { New, Handshake, Connected, Ended };
  DtlsTransport(const Fingerprint& expected, Callbacks callbacks)
      : expected_(expected), callbacks_(std::move(callbacks)) {}
  static int verify(X509_STORE_CTX* store, void* self);
  static int bioWrite(BIO* bio, const char* data, int length);
  static int bioRead(BIO* bio, char* out, int length);
  static long bioControl(BIO* bio, int command, long number, void* pointer);
  static const BIO_METHOD* bioMethod();
  void handshake();
  void read();
  void end(Status why);

  struct FreeContext {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  };
  struct FreeSsl {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  Fingerprint expected_;
  Callbacks callbacks_;
  std::unique_ptr<SSL_CTX, FreeContext> context_;
  std::unique_ptr<SSL, FreeSsl> ssl_;
  State state_ = State::New;
  BytesView incoming_;  // the datagram that OpenSSL may read now
  bool wrongFingerprint_ = false;
};

}  // namespace vaultysclaw::webrtc
