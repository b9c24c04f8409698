#include "tls.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <boost/asio/ip/address.hpp>
#include <filesystem>

namespace vaultysclaw::net {

namespace {

void setCommon(asio::ssl::context& context) {
  SSL_CTX* ctx = context.native_handle();
  SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
  SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
}

// Nothing may ask for a password on the terminal of a service.
int refusePassword(char*, int, int, void*) {
  return -1;
}

Error fileError(const std::string& file, const std::string& what, const error_code& ec) {
  std::error_code exists;
  if (!std::filesystem::exists(file, exists))
    return {Errc::InvalidArgument, what + " " + file + " does not exist or cannot be reached"};
  return {Errc::InvalidArgument, "cannot use " + what + " " + file + ": " + ec.message()};
}

// What the macro SSL_set_tlsext_host_name does, without its C cast.
bool setServerName(SSL* ssl, const std::string& host) {
  return SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, const_cast<char*>(host.c_str())) == 1;
}

bool isAddress(const std::string& host) {
  error_code ec;
  (void)asio::ip::make_address(host, ec);
  return !ec;
}

}  // namespace

Result<std::shared_ptr<asio::ssl::context>> makeClientTls(const std::string& caFile) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
  setCommon(*context);
  context->set_verify_mode(asio::ssl::verify_peer);
  error_code ec;
  if (caFile.empty()) {
    context->set_default_verify_paths(ec);
    if (ec) return Error{Errc::Io, "cannot load the system's root certificates: " + ec.message() + "; set a CA file"};
  } else {
    context->load_verify_file(caFile, ec);
    if (ec) return fileError(caFile, "the CA file", ec);
  }
  return context;
}

Result<std::shared_ptr<asio::ssl::context>> makeServerTls(const TlsFiles& files) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  setCommon(*context);
  SSL_CTX_set_default_passwd_cb(context->native_handle(), refusePassword);
  error_code ec;
  context->use_certificate_chain_file(files.certificateFile, ec);
  if (ec) return fileError(files.certificateFile, "the certificate file", ec);
  context->use_private_key_file(files.keyFile, asio::ssl::context::pem, ec);
  if (ec) {
    Error error = fileError(files.keyFile, "the key file", ec);
    error.message += " (it must be an unencrypted PEM key that belongs to " + files.certificateFile + ")";
    return error;
  }
  if (SSL_CTX_check_private_key(context->native_handle()) != 1) {
    ERR_clear_error();
    return Error{Errc::InvalidArgument,
                 "the key file " + files.keyFile + " does not belong to the certificate in " + files.certificateFile};
  }
  return context;
}

Status expectHost(Stream::Tls& tls, const std::string& host) {
  SSL* ssl = tls.native_handle();
  X509_VERIFY_PARAM* param = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  const bool address = isAddress(host);
  const int ok = address
                     ? X509_VERIFY_PARAM_set1_ip_asc(param, host.c_str())
                     : X509_VERIFY_PARAM_set1_host(param, host.c_str(), host.size()) != 0 && setServerName(ssl, host);
  if (ok != 1) {
    ERR_clear_error();
    return Error{Errc::InvalidArgument, "\"" + host + "\" cannot be the name of a TLS server"};
  }
  return {};
}

Error explainHandshake(Stream::Tls& tls, const error_code& ec, const std::string& where, const std::string& caFile) {
  const long result = SSL_get_verify_result(tls.native_handle());
  const std::string reason = X509_verify_cert_error_string(result);
  switch (result) {
    case X509_V_OK:
      break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return {Errc::Unauthenticated, where + " showed a TLS certificate for another name (" + reason +
                                         "): use the name that is in the certificate, or have it issued for this one"};
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return {Errc::Unauthenticated, where + " showed a TLS certificate that is not valid now (" + reason +
                                         "): renew it, or set this machine's clock"};
    default:
      return {Errc::Unauthenticated,
              where + " showed a TLS certificate that is not trusted (" + reason +
                  "): set the CA file to the PEM file of " + "its issuer" +
                  (caFile.empty() ? "; the system's roots do not hold it" : "; " + caFile + " does not hold it")};
  }
  if (ec.category() == asio::error::get_ssl_category() &&
      ERR_GET_REASON(static_cast<unsigned long>(ec.value())) == SSL_R_WRONG_VERSION_NUMBER)
    return {Errc::Unavailable,
            where + " does not speak TLS: if it serves plain WebSocket, use ws:// instead of wss://"};
  return {Errc::Unavailable, "the TLS handshake with " + where + " failed: " + ec.message() +
                                 "; check that the port serves TLS 1.2 or later"};
}

}  // namespace vaultysclaw::net
