#include "dtls.hpp"

#include <openssl/err.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>

namespace vaultysclaw::webrtc {
namespace {

constexpr int kMaxRecordBytes = 16384;  // RFC 6347
constexpr int kRecordsPerDatagram = 64;

Error opensslError(const char* what) {
  std::array<char, 256> reason{};
  ERR_error_string_n(ERR_get_error(), reason.data(), reason.size());
  ERR_clear_error();
  return {Errc::Internal, std::string(what) + ": " + reason.data()};
}

bool digest(const X509* certificate, Fingerprint& out) {
  unsigned length = 0;
  return X509_digest(certificate, EVP_sha256(), out.data(), &length) == 1 && length == out.size();
}

// Whether the datagram consists of complete records, those of encrypted epochs long enough to be decrypted. OpenSSL
// ends the connection over a record that is shorter than its authentication tag: anybody who can send could do that.
bool wellFormed(BytesView datagram, std::size_t leastEncrypted) {
  constexpr std::size_t kHeader = 13;  // type, version, epoch, sequence number, length (RFC 6347 section 4.1)
  while (!datagram.empty()) {
    if (datagram.size() < kHeader) return false;
    const bool knownType = datagram[0] >= 20 && datagram[0] <= 23;
    const bool encrypted = datagram[3] != 0 || datagram[4] != 0;
    const std::size_t length = std::size_t{datagram[11]} << 8 | datagram[12];
    if (!knownType || datagram[1] != 0xfe || length > datagram.size() - kHeader) return false;
    if (encrypted && length < leastEncrypted) return false;
    datagram = datagram.subspan(kHeader + length);
  }
  return true;
}

// Explicit nonce and tag of the ciphers we take, and one byte.
std::size_t leastEncryptedBytes(const SSL* ssl) {
  const SSL_CIPHER* cipher = SSL_get_current_cipher(ssl);
  if (cipher == nullptr) cipher = SSL_get_pending_cipher(ssl);
  const bool explicitNonce = cipher == nullptr || SSL_CIPHER_get_cipher_nid(cipher) != NID_chacha20_poly1305;
  return explicitNonce ? 8 + 16 + 1 : 16 + 1;
}

}  // namespace

Result<DtlsIdentity> DtlsIdentity::make(Entropy& entropy, WallTime now) {
  DtlsIdentity identity;
  identity.key_.reset(EVP_EC_gen("P-256"));
  identity.certificate_.reset(X509_new());
  X509* certificate = identity.certificate_.get();
  if (identity.key_ == nullptr || certificate == nullptr) return opensslError("cannot make a key");
  std::array<std::uint8_t, 16> random{};
  entropy.fill(random);
  random[0] &= 0x7f;  // a serial number is positive
  BIGNUM* serial = BN_bin2bn(random.data(), static_cast<int>(random.size()), nullptr);
  bool ok = serial != nullptr && BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate)) != nullptr;
  BN_free(serial);
  // Nobody looks at names and times: the fingerprint counts. They are what browsers write.
  const std::time_t begin = static_cast<std::time_t>(toUnixMillis(now) / 1000) - 86'400;
  X509_NAME* name = X509_get_subject_name(certificate);
  ok = ok && X509_set_version(certificate, X509_VERSION_3) == 1 &&
       ASN1_TIME_set(X509_getm_notBefore(certificate), begin) != nullptr &&
       ASN1_TIME_set(X509_getm_notAfter(certificate), begin + 31 * 86'400) != nullptr &&
       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("WebRTC"), -1, -1,
                                  0) == 1 &&
       X509_set_issuer_name(certificate, name) == 1 && X509_set_pubkey(certificate, identity.key_.get()) == 1 &&
       X509_sign(certificate, identity.key_.get(), EVP_sha256()) > 0 && digest(certificate, identity.fingerprint_);
  if (!ok) return opensslError("cannot make a certificate");
  return identity;
}

const BIO_METHOD* DtlsTransport::bioMethod() {
  struct Method {
    Method() : method(BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "webrtc datagrams")) {
      BIO_meth_set_write(method, bioWrite);
      BIO_meth_set_read(method, bioRead);
      BIO_meth_set_ctrl(method, bioControl);
      BIO_meth_set_create(method, [](BIO* bio) {
        BIO_set_init(bio, 1);
        return 1;
      });
    }
    ~Method() { BIO_meth_free(method); }
    BIO_METHOD* method;
  };
  static const Method method;
  return method.method;
}

// One write is one datagram.
int DtlsTransport::bioWrite(BIO* bio, const char* data, int length) {
  auto* self = static_cast<DtlsTransport*>(BIO_get_data(bio));
  if (length > 0) self->callbacks_.send(asBytes({data, static_cast<std::size_t>(length)}));
  return length;
}

int DtlsTransport::bioRead(BIO* bio, char* out, int length) {
  auto* self = static_cast<DtlsTransport*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (self->incoming_.empty() || length <= 0) {
    BIO_set_retry_read(bio);
    return -1;
  }
  // What does not fit is cut off, as of a socket.
  const std::size_t n = std::min(self->incoming_.size(), static_cast<std::size_t>(length));
  std::copy_n(self->incoming_.begin(), n, reinterpret_cast<std::uint8_t*>(out));
  self->incoming_ = {};
  return static_cast<int>(n);
}

long DtlsTransport::bioControl(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

// Replaces the whole verification of chains: self-signed certificates have none.
int DtlsTransport::verify(X509_STORE_CTX* store, void* self) {
  auto* transport = static_cast<DtlsTransport*>(self);
  const X509* certificate = X509_STORE_CTX_get0_cert(store);
  Fingerprint actual{};
  if (certificate != nullptr && digest(certificate, actual) && constantTimeEqual(actual, transport->expected_))
    return 1;
  transport->wrongFingerprint_ = true;
  X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
  return 0;
}

Result<std::unique_ptr<DtlsTransport>> DtlsTransport::make(const DtlsIdentity& identity, DtlsRole role,
                                                           const Fingerprint& expected, Callbacks callbacks) {
  std::unique_ptr<DtlsTransport> transport(new DtlsTransport(expected, std::move(callbacks)));
  transport->context_.reset(SSL_CTX_new(DTLS_method()));
  SSL_CTX* context = transport->context_.get();
  if (context == nullptr) return opensslError("cannot make a DTLS context");
  SSL_CTX_set_options(
      context, SSL_OP_NO_QUERY_MTU | SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_cert_verify_callback(context, verify, transport.get());
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_max_cert_list(context, 16 * 1024);
  const bool ok = SSL_CTX_set_min_proto_version(context, DTLS1_2_VERSION) == 1 &&
                  SSL_CTX_set_max_proto_version(context, DTLS1_2_VERSION) == 1 &&
                  SSL_CTX_set_cipher_list(context,
                                          "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:"
                                          "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256") == 1 &&
                  SSL_CTX_set1_groups_list(context, "X25519:P-256") == 1 &&
                  SSL_CTX_use_certificate(context, identity.certificate_.get()) == 1 &&
                  SSL_CTX_use_PrivateKey(context, identity.key_.get()) == 1;
  if (!ok) return opensslError("cannot set DTLS up");
  transport->ssl_.reset(SSL_new(context));
  BIO* bio = BIO_new(bioMethod());
  if (transport->ssl_ == nullptr || bio == nullptr) {
    BIO_free(bio);
    return opensslError("cannot make a DTLS connection");
  }
  BIO_set_data(bio, transport.get());
  SSL* ssl = transport->ssl_.get();
  SSL_set_bio(ssl, bio, bio);
  SSL_set_mtu(ssl, static_cast<long>(kDatagramBytes));
  if (role == DtlsRole::Client)
    SSL_set_connect_state(ssl);
  else
    SSL_set_accept_state(ssl);
  return transport;
}

DtlsTransport::~DtlsTransport() = default;

void DtlsTransport::start() {
  if (state_ != State::New) return;
  state_ = State::Handshake;
  handshake();
}

void DtlsTransport::receive(BytesView datagram) {
  if (state_ == State::Ended || datagram.empty() || !wellFormed(datagram, leastEncryptedBytes(ssl_.get()))) return;
  if (state_ == State::New) start();
  if (state_ == State::Ended) return;
  incoming_ = datagram;
  if (state_ == State::Handshake) handshake();
  if (state_ == State::Connected) read();
  incoming_ = {};
}

void DtlsTransport::tick() {
  if (state_ != State::Handshake) return;
  ERR_clear_error();
  if (DTLSv1_handle_timeout(ssl_.get()) < 0) end(Error{Errc::DeadlineExceeded, "the DTLS handshake was not answered"});
}

void DtlsTransport::handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) {
    state_ = State::Connected;
    callbacks_.onConnected();
    return;
  }
  const int error = SSL_get_error(ssl_.get(), result);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return;
  if (wrongFingerprint_) {
    end(Error{Errc::Unauthenticated,
              "the other side's certificate is not the one that its description announced: somebody is in between"});
  } else {
    Error why = opensslError("the DTLS handshake failed");
    why.code = Errc::Unauthenticated;
    end(std::move(why));
  }
}

void DtlsTransport::read() {
  std::array<std::uint8_t, kMaxRecordBytes> buffer;
  for (int i = 0; i < kRecordsPerDatagram && state_ == State::Connected; ++i) {
    ERR_clear_error();
    const int n = SSL_read(ssl_.get(), buffer.data(), static_cast<int>(buffer.size()));
    if (n > 0) {
      callbacks_.onData(BytesView(buffer.data(), static_cast<std::size_t>(n)));
      continue;
    }
    const int error = SSL_get_error(ssl_.get(), n);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return;
    if (error == SSL_ERROR_ZERO_RETURN) return end({});
    return end(Error{Errc::ConnectionLost, "DTLS: the other side reported a failure"});
  }
}

bool DtlsTransport::send(BytesView data) {
  if (state_ != State::Connected || data.empty() || data.size() > kMaxRecordBytes) return false;
  ERR_clear_error();
  return SSL_write(ssl_.get(), data.data(), static_cast<int>(data.size())) > 0;
}

void DtlsTransport::shutdown() {
  if (state_ != State::Connected) return;
  state_ = State::Ended;
  ERR_clear_error();
  (void)SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

void DtlsTransport::end(Status why) {
  if (state_ == State::Ended) return;
  state_ = State::Ended;
  callbacks_.onEnd(why);
}

}  // namespace vaultysclaw::webrtc
