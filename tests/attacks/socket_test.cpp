// Peers that are slow on purpose, over real sockets: they never read, or send one byte at a time, before and after
// they have proved who they are. An honest agent works on beside them.
#include <future>
#include <thread>

#include "base/temporary_directory.hpp"
#include "control/control_plane.hpp"
#include "net/io_loop.hpp"
#include "raw_socket.hpp"
#include "vaultysclaw/runtime.hpp"
#include "world.hpp"

namespace vaultysclaw::attacks {
namespace {

constexpr auto kPatience = seconds(60);

class SlowPeers : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.handshakeTimeout = seconds(3);
    options_.heartbeatTimeout = seconds(3);
    auto opened = store::openControlStore({dir_.file("control.db"), store::WriterThread::Yes});
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    store_ = std::move(*opened);
    onLoop([&] {
      auto made =
          control::ControlPlane::create({loop_, *workers_, *clock_, *entropy_, *store_, nullLogger()}, self_, options_);
      ASSERT_TRUE(made.ok());
      plane_ = std::move(*made);
    });
    net::ServerHandlers handlers;
    handlers.onUpgrade = [](const net::HttpRequest&) { return std::optional<net::HttpResponse>(); };
    handlers.onWebSocket = [this](std::unique_ptr<net::Connection> c) { plane_->accept(std::move(c)); };
    net::ServerOptions server;
    server.headerTimeout = seconds(2);
    auto listening = net::listen(loop_, server, std::move(handlers));
    ASSERT_TRUE(listening.ok()) << listening.error().message;
    server_ = std::move(*listening);

    AgentRuntimeConfig config;
    config.name = "honest";
    config.controlPlaneUrl = "http://127.0.0.1:3000";
    config.controlPlaneWsUrl = "ws://127.0.0.1:" + std::to_string(server_->port());
    config.vaultysIdPath = dir_.file("honest.id");
    config.requestedCapabilities = {"text_generation"};
    config.heartbeatInterval = milliseconds(500);
    honest_ = std::make_unique<Agent<Victim>>(config);
    honest_->start();
    ASSERT_TRUE(honest_->waitFor(AgentStatus::PendingApproval, kPatience));
    approve(honest_->getDid());
    ASSERT_TRUE(honest_->waitFor(AgentStatus::Connected, kPatience));
  }
  void TearDown() override {
    honest_.reset();
    onLoop([&] {
      server_.reset();
      plane_.reset();
    });
    workers_.reset();
    store_.reset();
  }
  void onLoop(const std::function<void()>& f) { loop_.runBlocking(f); }
  // Calls `ask` on the loop and waits for its reply.
  template <class T>
  Result<T> reply(const std::function<void(control::Reply<T>)>& ask) {
    auto promise = std::make_shared<std::promise<Result<T>>>();
    auto future = promise->get_future();
    onLoop([&] { ask([promise](Result<T> r) { promise->set_value(std::move(r)); }); });
    if (future.wait_for(kPatience) != std::future_status::ready) return Error{Errc::Internal, "no reply"};
    return future.get();
  }
  void approve(const std::string& did) {
    const auto rows = reply<store::Listing<store::RegistrationRow>>(
        [&](auto r) { plane_->registrations("pending", {}, std::move(r)); });
    ASSERT_TRUE(rows.ok());
    for (const auto& row : rows->items) {
      if (row.did.value != did) continue;
      ASSERT_TRUE(reply<store::AgentRow>([&](auto r) { plane_->approve(row.id, {}, std::move(r)); }).ok());
      return;
    }
    FAIL() << "no registration of " << did;
  }
  // At once or, on a machine under load, after a reconnect.
  bool honestWorks() {
    control::RunRequest request;
    request.did = Did(honest_->getDid());
    request.action = "text_generation";
    for (int i = 0; i < 10 && honest_->waitFor(AgentStatus::Connected, kPatience); ++i) {
      const auto r = reply<control::RunResult>([&](auto done) { plane_->run(request, std::move(done)); });
      if (r.ok() && r->status == "success") return true;
    }
    return false;
  }
  bool isConnected(const Did& did) {
    bool out = false;
    onLoop([&] {
      const auto view = plane_->agent(did);
      out = view && view->status == control::AgentStatus::Connected;
    });
    return out;
  }
  // An approved agent on a socket of its own; `socket` must outlive it.
  std::unique_ptr<HostileAgent> insider(RawSocket& socket) {
    auto agent =
        std::make_unique<HostileAgent>(*clock_, *entropy_, VaultysId::generate(identity::IdType::Machine, *entropy_));
    EXPECT_TRUE(socket.upgrade());
    agent->begin([&socket](Frame frame) {
      socket.send(RawSocket::frame(frame.kind == net::FrameKind::Text ? 1 : 2, frame.data));
    });
    const auto until = [&](const char* type) {
      while (agent->count(type) == 0) {
        auto frame = socket.read();
        if (!frame) return ADD_FAILURE() << "closed before " << type, false;
        if (frame->first == 1 || frame->first == 2)
          agent->feed(frame->first == 1 ? net::FrameKind::Text : net::FrameKind::Binary, frame->second);
      }
      return true;
    };
    if (!until("registration_pending")) return agent;
    approve(agent->did().value);
    until("auth_complete");
    return agent;
  }
  // One byte of `data` after the other, until the other side has had enough; false then.
  static bool dribble(RawSocket& socket, std::string_view data) {
    for (const char c : data) {
      if (!socket.send(std::string_view(&c, 1))) return false;
      while (socket.readable(20)) {
        const auto frame = socket.read();
        if (!frame || frame->first == 8) return false;
      }
    }
    return true;
  }

  testing::TemporaryDirectory dir_;
  std::unique_ptr<Clock> clock_ = makeSystemClock();
  std::unique_ptr<Entropy> entropy_ = makeSystemEntropy();
  std::unique_ptr<Workers> workers_ = makeThreadPool("attack", 2, 1000);
  net::IoLoop loop_{"attack"};
  VaultysId self_ = VaultysId::generate(identity::IdType::Machine, *entropy_);
  control::ControlOptions options_;
  std::unique_ptr<store::ControlStore> store_;
  std::unique_ptr<control::ControlPlane> plane_;
  std::unique_ptr<net::Server> server_;
  std::unique_ptr<Agent<Victim>> honest_;
};

TEST_F(SlowPeers, WhoNeverReadsIsClosedWhenItsQueueIsFull) {
  RawSocket socket = RawSocket::connect(server_->port(), "127.0.0.1", 4096);
  auto agent = insider(socket);
  // Intents as large as they may be, and nobody reads them: 32 MiB are kept, not more.
  control::RunRequest request;
  request.did = agent->did();
  request.action = "text_generation";
  request.params.text = "\"" + std::string(10 << 20, 'x') + "\"";
  int sent = 0;
  for (; sent < 20 && isConnected(agent->did()); ++sent) {
    if (!reply<control::SentIntent>([&](auto done) { plane_->send(request, std::move(done)); }).ok()) break;
  }
  EXPECT_LT(sent, 6) << "more than 60 MiB were kept for a peer that does not read";
  EXPECT_FALSE(isConnected(agent->did()));
  EXPECT_TRUE(honestWorks());
}

TEST_F(SlowPeers, WhoSendsOneByteAtATimeMeetsTheDeadlines) {
  const std::string head = "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: " + std::string(8000, 'x');
  const std::string hello =
      RawSocket::frame(1, envelope("register", {{"name", "slow"}, {"version", std::string(8000, 'x')}}));
  const std::string heartbeat =
      RawSocket::frame(1, envelope("heartbeat", {{"name", std::string(100, 'x')}, {"pad", std::string(8000, 'x')}}));
  RawSocket request = RawSocket::connect(server_->port());
  RawSocket stranger = RawSocket::connect(server_->port());
  ASSERT_TRUE(stranger.upgrade());
  ASSERT_TRUE(stranger.read()) << "auth_challenge";
  RawSocket inside = RawSocket::connect(server_->port());
  auto agent = insider(inside);
  while (inside.readable()) ASSERT_TRUE(inside.read());

  // All three at once; each is ended by a deadline, long before it is through.
  std::vector<std::thread> threads;
  std::array<bool, 3> through{};
  threads.emplace_back([&] { through[0] = dribble(request, head); });
  threads.emplace_back([&] { through[1] = dribble(stranger, hello); });
  threads.emplace_back([&] { through[2] = dribble(inside, heartbeat); });
  EXPECT_TRUE(honestWorks());
  for (auto& t : threads) t.join();
  EXPECT_FALSE(through[0] || through[1] || through[2]);
  EXPECT_FALSE(isConnected(agent->did()));
  EXPECT_TRUE(honestWorks());
}

}  // namespace
}  // namespace vaultysclaw::attacks
