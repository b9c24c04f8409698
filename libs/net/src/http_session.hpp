// One accepted connection: HTTP/1.1 requests in turn, until it closes or becomes a WebSocket. Internal; includes Asio.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <unordered_set>

#include "net/http.hpp"
#include "stream.hpp"

namespace vaultysclaw::net {

class HttpSession;

// What a server's sessions share. Confined to the loop; outlives the Server while sessions end.
struct ServerState {
  ServerOptions options;
  std::shared_ptr<const ServerHandlers> handlers;
  std::shared_ptr<asio::ssl::context> tls;  // null: plain HTTP
  std::unordered_set<HttpSession*> sessions;
  bool stopped = false;
  // One per open connection, upgraded ones included; its use count says how many there are.
  std::shared_ptr<int> slots = std::make_shared<int>(0);
};

// Starts serving; the session keeps itself alive while operations are under way.
void startHttpSession(std::shared_ptr<ServerState> server, Socket socket);
// Closes every session; no handler is called any more.
void stopHttpSessions(ServerState& server);

}  // namespace vaultysclaw::net
