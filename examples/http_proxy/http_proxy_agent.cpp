// An agent that forwards every intent as an HTTP request to an API: POST <api-base>/<action> with the params as JSON;
// chats go to POST <api-base>/chat as {"message": "..."} and come back as {"reply": "..."}.
//
//   http_proxy_agent [--api-base URL] [--capability NAME]...
//
// Environment: CONTROL_PLANE_URL, CONTROL_PLANE_WS_URL, AGENT_NAME, VAULTYS_ID_PATH (defaults: http://localhost:3000,
// derived, http-proxy, ./.vaultys/proxy.id).
#include <curl/curl.h>

#include <cstdlib>
#include <exception>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vaultysclaw/agent.hpp>
#include <vector>

namespace {

constexpr std::size_t kMaxAnswer = std::size_t{8} << 20;

struct Exchange {
  std::string answer;
  vc::CallContext& call;
};

std::size_t onBody(char* data, std::size_t size, std::size_t count, void* context) {
  auto& exchange = *static_cast<Exchange*>(context);
  if (exchange.answer.size() + size * count > kMaxAnswer) return 0;  // curl ends the transfer
  exchange.answer.append(data, size * count);
  return size * count;
}

// Called about once a second: ends the transfer when nobody wants the answer any more.
int onProgress(void* context, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<Exchange*>(context)->call.stopRequested() ? 1 : 0;
}

// One path segment: an action must not walk out of the API.
std::string escaped(std::string_view segment) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : segment) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    if (plain) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

}  // namespace

class HttpProxyAgent : public vc::BaseAgentRuntime {
 public:
  HttpProxyAgent(vc::AgentRuntimeConfig config, std::string apiBase)
      : BaseAgentRuntime(std::move(config)), apiBase_(std::move(apiBase)) {}

  vc::Json executeIntent(std::string_view action, const vc::Json& params, vc::CallContext& call) override {
    return post(escaped(action), params, call);
  }

  void executeChat(std::span<const vc::ChatMessage> messages, std::string_view /*conversationId*/, vc::ChatSink& out,
                   vc::CallContext& call) override {
    vc::Json question = nullptr;
    for (const auto& message : messages) {
      if (message.role == "user") question = message.content;
    }
    out.send(post("chat", {{"message", question}}, call).at("reply").get<std::string>());
  }

 private:
  vc::Json post(const std::string& path, const vc::Json& body, vc::CallContext& call) {
    const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), &curl_easy_cleanup);
    const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(
        curl_slist_append(nullptr, "Content-Type: application/json"), &curl_slist_free_all);
    if (!curl || !headers) throw std::runtime_error("out of memory");
    const std::string url = apiBase_ + "/" + path;
    const std::string text = body.dump();
    Exchange exchange{{}, call};
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(call.deadline() - std::chrono::steady_clock::now());
    curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, text.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(text.size()));
    curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &onBody);
    curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &exchange);
    curl_easy_setopt(curl.get(), CURLOPT_XFERINFOFUNCTION, &onProgress);
    curl_easy_setopt(curl.get(), CURLOPT_XFERINFODATA, &exchange);
    curl_easy_setopt(curl.get(), CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(std::max<std::int64_t>(left.count(), 1)));
    const CURLcode code = curl_easy_perform(curl.get());
    call.throwIfStopped();
    if (code != CURLE_OK) throw std::runtime_error(url + ": " + curl_easy_strerror(code));
    long status = 0;
    curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 || status > 299)
      throw std::runtime_error("API error " + std::to_string(status) + ": " + exchange.answer.substr(0, 1000));
    return vc::Json::parse(exchange.answer);
  }

  const std::string apiBase_;
};

namespace {

std::string environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

int run(int argc, char** argv) {
  std::string apiBase = "https://api.example.com";
  std::vector<std::string> capabilities;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (i + 1 < argc && option == "--api-base") {
      apiBase = argv[++i];
    } else if (i + 1 < argc && option == "--capability") {
      capabilities.emplace_back(argv[++i]);
    } else {
      std::cerr << "usage: http_proxy_agent [--api-base URL] [--capability NAME]...\n";
      return 2;
    }
  }
  if (capabilities.empty()) capabilities = {"agent_communication"};
  while (!apiBase.empty() && apiBase.back() == '/') apiBase.pop_back();

  vc::Agent<HttpProxyAgent> agent{{.name = environment("AGENT_NAME", "http-proxy"),
                                   .controlPlaneUrl = environment("CONTROL_PLANE_URL", "http://localhost:3000"),
                                   .controlPlaneWsUrl = environment("CONTROL_PLANE_WS_URL", ""),
                                   .vaultysIdPath = environment("VAULTYS_ID_PATH", "./.vaultys/proxy.id"),
                                   .requestedCapabilities = capabilities},
                                  apiBase};
  const auto logs =
      agent.on<vc::LogEntry>([](const vc::LogEntry& e) { std::cerr << '[' << e.level << "] " << e.message << '\n'; });
  const auto statuses = agent.on<vc::StatusChanged>([](const vc::StatusChanged& e) {
    std::cerr << "status → " << e.status << '\n';
    if (e.status == vc::AgentStatus::Stopped) vc::requestShutdown();
  });
  agent.start();
  vc::waitForShutdownSignal();
  agent.stop();  // the destructor would do it too, but after the listeners are gone
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  curl_global_init(CURL_GLOBAL_DEFAULT);  // before any thread exists
  int code = 1;
  try {
    code = run(argc, argv);
  } catch (const std::exception& e) {
    std::cerr << "http-proxy: " << e.what() << '\n';
  }
  curl_global_cleanup();
  return code;
}
