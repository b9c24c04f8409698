// TLS settings of both sides, and what its failures mean in words. Internal; includes Asio and OpenSSL.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "net/http.hpp"
#include "stream.hpp"

namespace vaultysclaw::net {

// TLS 1.2 or later; the peer's certificate must lead to a root in `caFile`, or to one of the system's when empty.
Result<std::shared_ptr<asio::ssl::context>> makeClientTls(const std::string& caFile);
// The errors name the file.
Result<std::shared_ptr<asio::ssl::context>> makeServerTls(const TlsFiles& files);

// Sets the name that goes to the server (SNI) and must be in its certificate.
Status expectHost(Stream::Tls& tls, const std::string& host);
// Says why the handshake of expectHost's stream failed. `where` is host:port.
Error explainHandshake(Stream::Tls& tls, const error_code& ec, const std::string& where, const std::string& caFile);

}  // namespace vaultysclaw::net
