// Connection over a WebSocket whose handshake is done; client and server alike. Internal; includes Beast.
#pragma once

#include <boost/beast/websocket/stream.hpp>
#include <memory>

#include "net/connection.hpp"
#include "stream.hpp"

namespace vaultysclaw::net {

// Without permessage-deflate: what travels is encrypted already, and compression before encryption leaks.
using WsStream = beast::websocket::stream<Stream, false>;

// Sets what both sides want before their handshake. `handshakeTimeout` bounds the handshake itself.
void prepareWebSocket(WsStream& ws, const ConnectionLimits& limits, Duration handshakeTimeout);

// On the loop.
std::unique_ptr<Connection> makeWsConnection(WsStream ws, PeerInfo peer, const ConnectionLimits& limits);

}  // namespace vaultysclaw::net
