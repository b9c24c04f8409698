#include "control_plane_command.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <thread>

#include "base/json_writer.hpp"
#include "control/rest_api.hpp"
#include "identity/identity_file.hpp"
#include "net/io_loop.hpp"
#include "spd_logger.hpp"
#include "store/control_store.hpp"

#ifndef VC_VERSION
#define VC_VERSION "0.0.0"
#endif

namespace vaultysclaw::cli {
namespace {

namespace fs = std::filesystem;

LogLevel levelFrom(const std::string& text) {
  for (const LogLevel level : {LogLevel::Debug, LogLevel::Info, LogLevel::Warn}) {
    if (name(level) == text) return level;
  }
  return LogLevel::Error;
}

// A shell's soft limit of 1,024 open files would be the limit of connected agents. Best effort: the server says so when
// it can accept no more.
void raiseOpenFiles() {
  constexpr rlim_t kWanted = 20'000;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= kWanted) return;
  limit.rlim_cur = std::min(kWanted, limit.rlim_max);
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

// SIGINT and SIGTERM wait in the kernel for wait(); threads made meanwhile inherit the mask.
class Signals {
 public:
  Signals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGINT);
    sigaddset(&set_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set_, &before_);
  }
  ~Signals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  int wait() const {
    int signal = 0;
    while (sigwait(&set_, &signal) != 0) {
    }
    return signal;
  }
  // From now on a signal does what it does by default: it ends the process.
  void release() const { pthread_sigmask(SIG_UNBLOCK, &set_, nullptr); }

 private:
  sigset_t set_{}, before_{};
};

// What serves, in the order it is made; taken down in reverse, what is confined to the loop on the loop.
class Service {
 public:
  Service(const ControlPlaneOptions& options, Logger& log)
      : options_(options),
        log_(log),
        clock_(makeSystemClock()),
        entropy_(makeSystemEntropy()),
        files_(makeSystemFileStore()) {}

  ~Service() {
    if (!loop_) return;
    loop_->runBlocking([this] {
      httpServer_.reset();
      wsServer_.reset();
      api_.reset();
      plane_.reset();
    });
    workers_.reset();  // what they still run posts to the loop, which must be there
    store_.reset();
  }
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  Status start() {
    const fs::path data(options_.data);
    std::error_code failed;
    if (fs::create_directories(data, failed)) fs::permissions(data, fs::perms::owner_all, failed);
    if (failed) return Error{Errc::Io, "cannot make the directory " + data.string() + ": " + failed.message()};
    VC_TRY_ASSIGN(auto self, identity::loadOrCreateIdentity(*files_, data / "control-plane.id", *entropy_));
    store::ControlStoreOptions storeOptions;
    storeOptions.path = data / "control.db";
    storeOptions.onDamagedRow = [this](const store::DamagedRow& row) {
      log_.error("store", "left out of a list: " + store::text(row));
    };
    VC_TRY_ASSIGN(store_, store::openControlStore(storeOptions));
    tokenFile_ = data / "api.token";
    VC_TRY(control::ensureApiToken(*store_, *files_, tokenFile_, *clock_, *entropy_));
    did_ = self.didV1().value;
    fingerprint_ = self.fingerprint();

    threads_ = std::max(2U, std::thread::hardware_concurrency());
    workers_ = makeThreadPool("vc-worker", threads_, 10'000);
    loop_ = std::make_unique<net::IoLoop>();
    Status made;
    loop_->runBlocking([&] { made = makeOnLoop(std::move(self)); });
    VC_TRY(made);
    return listen();
  }

  // Says no to new work, ends what is open, and waits until that is through.
  void drain() {
    loop_->runBlocking([this] { plane_->shutdown(); });
    const auto end = clock_->steady() + std::chrono::duration_cast<SteadyTime::duration>(
                                            std::chrono::duration<double>(options_.drainSeconds));
    control::Counters now;
    while (clock_->steady() < end) {
      loop_->runBlocking([&] { now = plane_->counters(); });
      if (now.openConnections == 0 && now.pendingIntents == 0 && now.activeChats == 0) return;
      std::this_thread::sleep_for(milliseconds(20));
    }
    log_.warn("main", "the time to drain is over; left open: " + std::to_string(now.openConnections) +
                          " connections, " + std::to_string(now.pendingIntents) + " intents, " +
                          std::to_string(now.activeChats) + " chats");
  }

  std::string scheme(const char* plain, const char* secure) const { return options_.tlsCert.empty() ? plain : secure; }
  std::string authority(std::uint16_t port) const {
    const bool six = options_.bind.find(':') != std::string::npos;
    return (six ? "[" + options_.bind + "]" : options_.bind) + ":" + std::to_string(port);
  }
  std::string readyJson() const {
    JsonWriter w;
    w.beginObject();
    w.member("httpPort", static_cast<int>(httpPort_));
    w.member("wsPort", static_cast<int>(wsPort_));
    w.member("did", did_);
    w.member("fingerprint", fingerprint_);
    w.member("tokenFile", fs::absolute(tokenFile_).lexically_normal().string());
    w.endObject();
    return w.take();
  }
  Status writeReadyFile() {
    if (options_.readyFile.empty()) return {};
    return files_->writePrivate(options_.readyFile, asBytes(readyJson() + "\n"));
  }
  void print(Context& context) const {
    const Painter& painter = context.painter();
    const auto line = [&](const char* label, const std::string& value) {
      std::string padded(label);
      padded.resize(14, ' ');
      context.out() << "  " << painter.paint(Style::Dim, padded) << value << '\n';
    };
    context.out() << painter.paint(Style::Bold, "VaultysClaw control plane ") << VC_VERSION << '\n';
    line("DID", did_);
    line("fingerprint", fingerprint_);
    line("REST", scheme("http://", "https://") + authority(httpPort_) + "/api");
    line("agents", scheme("ws://", "wss://") + authority(wsPort_) + " or " + scheme("ws://", "wss://") +
                       authority(httpPort_) + "/ws");
    line("API token", "in the file " + tokenFile_.string());
    context.out() << "Serving. Ctrl-C ends it." << std::endl;
  }

 private:
  Status makeOnLoop(identity::VaultysId self) {
    const control::ControlPorts ports{*loop_, *workers_, *clock_, *entropy_, *store_, log_};
    VC_TRY_ASSIGN(plane_, control::ControlPlane::create(ports, std::move(self)));
    control::RestOptions rest;
    rest.version = VC_VERSION;
    rest.allowedHosts = options_.allowedHosts;
    rest.allowedHosts.push_back(options_.bind);
    rest.tlsInFront = options_.tlsInFront ? control::TlsInFront::Yes : control::TlsInFront::No;
    // One worker stays for signatures, however many people log in.
    rest.logins.maxHashesAtOnce = std::min(rest.logins.maxHashesAtOnce, threads_ - 1);
    VC_TRY_ASSIGN(api_, control::makeRestApi(ports, *plane_, std::move(rest)));
    return {};
  }

  static std::optional<net::HttpResponse> refuse(int status, const char* text) {
    net::HttpResponse response;
    response.status = status;
    response.headers = {{"Content-Type", "text/plain; charset=utf-8"}};
    response.body = text;
    return response;
  }

  Status listen() {
    net::ServerOptions server;
    server.address = options_.bind;
    server.limits.pingInterval =
        std::chrono::duration_cast<Duration>(std::chrono::duration<double>(options_.pingSeconds));
    if (!options_.tlsCert.empty()) server.tls = net::TlsFiles{options_.tlsCert, options_.tlsKey};

    net::ServerHandlers http;
    http.onRequest = [this](std::shared_ptr<net::HttpExchange> exchange) { api_->handle(std::move(exchange)); };
    http.onUpgrade = [](const net::HttpRequest& request) {
      return request.path == "/ws" ? std::nullopt : refuse(404, "agents connect at /ws\n");
    };
    http.onWebSocket = [this](std::unique_ptr<net::Connection> connection) { plane_->accept(std::move(connection)); };
    http.onProblem = [this](std::string text) { log_.error("http", std::move(text)); };
    server.port = options_.httpPort;
    VC_TRY_ASSIGN(httpServer_, net::listen(*loop_, server, std::move(http)));

    net::ServerHandlers hub;
    hub.onRequest = [](std::shared_ptr<net::HttpExchange> exchange) {
      exchange->respond(*refuse(426, "this port is for agents, by WebSocket\n"));
    };
    hub.onUpgrade = [](const net::HttpRequest&) { return std::optional<net::HttpResponse>(); };
    hub.onWebSocket = [this](std::unique_ptr<net::Connection> connection) { plane_->accept(std::move(connection)); };
    hub.onProblem = [this](std::string text) { log_.error("ws", std::move(text)); };
    server.port = options_.wsPort;
    VC_TRY_ASSIGN(wsServer_, net::listen(*loop_, server, std::move(hub)));
    httpPort_ = httpServer_->port();
    wsPort_ = wsServer_->port();
    return {};
  }

  const ControlPlaneOptions& options_;
  Logger& log_;
  std::unique_ptr<Clock> clock_;
  std::unique_ptr<Entropy> entropy_;
  std::unique_ptr<FileStore> files_;
  std::unique_ptr<net::IoLoop> loop_;
  std::unique_ptr<store::ControlStore> store_;
  std::unique_ptr<Workers> workers_;
  std::unique_ptr<control::ControlPlane> plane_;
  std::unique_ptr<control::RestApi> api_;
  std::unique_ptr<net::Server> httpServer_, wsServer_;
  std::size_t threads_ = 2;
  fs::path tokenFile_;
  std::string did_, fingerprint_;
  std::uint16_t httpPort_ = 0, wsPort_ = 0;
};

}  // namespace

int serveControlPlane(Context& context, const ControlPlaneOptions& options) {
  if (options.tlsCert.empty() != options.tlsKey.empty()) {
    return context.fail(kUsage, "--tls-cert and --tls-key belong together: give both or none");
  }
  if (options.tlsCert.empty() && !net::isLoopbackAddress(options.bind) && !options.allowPlaintextBind) {
    return context.fail(kUsage,
                        "without TLS the API token and every request could be read on the way to " + options.bind,
                        "Give --tls-cert and --tls-key, or --allow-plaintext-bind when something in front does TLS.");
  }
  const Signals signals;
  const auto log =
      makeLogger(levelFrom(options.logLevel), options.logFormat == "json" ? LogFormat::JsonLines : LogFormat::Text);
  Service service(options, *log);
  raiseOpenFiles();
  if (auto started = service.start(); !started) {
    return context.fail(
        kFailed, "cannot start: " + started.error().message,
        started.error().code == Errc::Io ? "--data, --http-port, --ws-port and --bind choose others." : "");
  }
  if (auto written = service.writeReadyFile(); !written) return context.fail(kFailed, written.error().message);
  if (context.json()) {
    context.out() << service.readyJson() << std::endl;
  } else {
    service.print(context);
  }
  log->info("main", "serving");

  const int signal = signals.wait();
  log->info("main", std::string(signal == SIGINT ? "SIGINT" : "SIGTERM") +
                        ": ending what is open; a second signal ends at once");
  signals.release();
  service.drain();
  log->info("main", "stopped");
  return kOk;
}

}  // namespace vaultysclaw::cli
