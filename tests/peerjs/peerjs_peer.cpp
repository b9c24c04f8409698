// Our side of the talk with the original PeerJS (README.md here). Values go to and fro on all addresses of this
// machine.
//
//   peerjs_peer server              a signaling server on a free port of loopback, which it prints
//   peerjs_peer echo PORT ID        sends back whatever comes
//   peerjs_peer dial PORT ID OTHER  sends values to OTHER, and ends with 0 when each came back
#include <csignal>
#include <cstdio>
#include <future>
#include <string>
#include <vector>

#include "net/io_loop.hpp"
#include "webrtc/peer_client.hpp"
#include "webrtc/peer_server.hpp"

using namespace vaultysclaw;
using namespace vaultysclaw::webrtc;
using msgpack::Array;
using msgpack::Map;
using msgpack::Value;

namespace {

void say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

struct Process {
  std::unique_ptr<Clock> clock = makeSystemClock();
  std::unique_ptr<Entropy> entropy = makeSystemEntropy();
  net::IoLoop loop;
  std::unique_ptr<net::Dialer> dialer = net::makeWebSocketDialer(loop);
};

// Until the process is told to end.
void waitForSignal(const sigset_t& signals) {
  int signal = 0;
  sigwait(&signals, &signal);
}

int serve(Process& process, const sigset_t& signals) {
  std::unique_ptr<PeerServer> server;
  process.loop.runBlocking(
      [&] { server = std::make_unique<PeerServer>(process.loop, *process.clock, *process.entropy); });
  net::ServerHandlers handlers;
  handlers.onRequest = [&](auto exchange) { server->handle(exchange); };
  handlers.onUpgrade = [&](const net::HttpRequest& request) { return server->welcome(request); };
  handlers.onUpgraded = [&](const net::HttpRequest& request, std::unique_ptr<net::Connection> connection) {
    server->accept(request, std::move(connection));
  };
  auto listener = net::listen(process.loop, {.limits = peerServerLimits()}, std::move(handlers));
  if (!listener.ok()) return say(listener.error().message), 2;
  say("port " + std::to_string((*listener)->port()));
  waitForSignal(signals);
  listener->reset();
  process.loop.runBlocking([&] { server.reset(); });
  return 0;
}

// Numbers compare by value: JavaScript does not keep their types.
bool same(const Value& a, const Value& b) {
  const auto number = [](const Value& v) -> std::optional<double> {
    if (const auto* u = std::get_if<std::uint64_t>(&v.data())) return static_cast<double>(*u);
    if (const auto* i = std::get_if<std::int64_t>(&v.data())) return static_cast<double>(*i);
    if (const auto* d = std::get_if<double>(&v.data())) return *d;
    return std::nullopt;
  };
  if (const auto x = number(a), y = number(b); x && y) return *x == *y;
  return a == b;
}

std::vector<Value> valuesFor(Serialization serialization) {
  if (serialization == Serialization::Raw) return {Value("text"), Value(Bytes{1, 2, 3}), Value(Bytes(200'000, 7))};
  Map map;
  map.emplace_back(Value("list"), Value(Array{Value("\xc5\xbe"), Value(0.1), Value(true), Value()}));
  std::vector<Value> values{Value(std::move(map)), Value("text"), Value::integer(-2'147'483'649),
                            Value::integer(-3'000'000'000), Value::unsignedInteger(1'000'000'000'000'000)};
  if (serialization != Serialization::Json) {
    values.emplace_back(Bytes(1'000'000, 9));
    values.emplace_back(std::string(50'000, 'z'));
  }
  return values;
}

// Our client, and one round trip of values after the other.
class Talker {
 public:
  Talker(Process& process, Engine& engine, const std::string& port, const std::string& id) {
    PeerClientOptions options;
    options.server = "ws://127.0.0.1:" + port + "/";
    options.id = PeerId(id);
    client_ = PeerClient::make(engine, process.loop, *process.dialer, *process.clock, *process.entropy, options,
                               {.onOpen = [this] { onOpen(); },
                                .onConnection = [this](auto connection) { echo(std::move(connection)); },
                                .onRefused = [this](const Error& why) { finish(why.message); }});
  }
  void dial(const std::string& other) { other_ = other; }
  // Empty when every value came back.
  std::string outcome() { return outcome_.get_future().get(); }

 private:
  void onOpen() {
    if (other_.empty()) return say("ready");
    next();
  }
  void echo(std::unique_ptr<DataConnection> connection) {
    DataConnection* raw = connection.get();
    connections_.push_back(std::move(connection));
    raw->start({.onData = [raw](const Value& value) {
      if (const Status status = raw->send(value); !status.ok()) say("cannot echo: " + status.error().message);
    }});
  }
  void next() {
    static constexpr Serialization kAll[] = {Serialization::Binary, Serialization::BinaryUtf8, Serialization::Json,
                                             Serialization::Raw};
    if (turn_ == 2 * std::size(kAll)) return finish("");
    const Serialization serialization = kAll[turn_ / 2];
    const Ordered reliable = turn_ % 2 == 0 ? Ordered::Yes : Ordered::No;
    ++turn_;
    waiting_ = valuesFor(serialization);
    auto connection = client_->connect(
        PeerId(other_), {.metadata = R"({"m":1})", .reliable = reliable, .serialization = serialization});
    if (!connection.ok()) return finish(connection.error().message);
    DataConnection* raw = connection->get();
    connections_.push_back(std::move(*connection));
    raw->start({.onOpen =
                    [this, raw] {
                      for (const Value& value : std::vector(waiting_)) {
                        if (const Status status = raw->send(value); !status.ok()) finish(status.error().message);
                      }
                    },
                .onData =
                    [this, raw](const Value& value) {
                      if (std::erase_if(waiting_, [&](const Value& v) { return same(v, value); }) != 1)
                        return finish("a value came back that was not sent");
                      if (waiting_.empty()) raw->close();
                    },
                .onClose =
                    [this](const Status& why) {
                      if (!why.ok()) return finish(why.error().message);
                      if (!waiting_.empty()) return finish("values did not come back");
                      next();
                    }});
  }
  void finish(const std::string& why) {
    if (!std::exchange(finished_, true)) outcome_.set_value(why);
  }

  std::unique_ptr<PeerClient> client_;
  std::vector<std::unique_ptr<DataConnection>> connections_;
  std::string other_;
  std::size_t turn_ = 0;
  std::vector<Value> waiting_;
  std::promise<std::string> outcome_;
  bool finished_ = false;
};

int talk(Process& process, const std::vector<std::string>& arguments, const sigset_t& signals) {
  auto engine = startEngine(*process.clock, *process.entropy);
  if (!engine.ok()) return say(engine.error().message), 2;
  std::unique_ptr<Talker> talker;
  process.loop.runBlocking([&] {
    talker = std::make_unique<Talker>(process, **engine, arguments[1], arguments[2]);
    if (arguments[0] == "dial") talker->dial(arguments[3]);
  });
  std::string problem;
  if (arguments[0] == "dial")
    problem = talker->outcome();
  else
    waitForSignal(signals);
  process.loop.runBlocking([&] { talker.reset(); });
  say(problem.empty() ? "all came back" : problem);
  return problem.empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  Process process;
  if (arguments.size() == 1 && arguments[0] == "server") return serve(process, signals);
  if ((arguments.size() == 3 && arguments[0] == "echo") || (arguments.size() == 4 && arguments[0] == "dial"))
    return talk(process, arguments, signals);
  say("usage: peerjs_peer server | echo PORT ID | dial PORT ID OTHER");
  return 2;
}
