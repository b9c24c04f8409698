#include "http_client.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <cstdlib>

#include "net/io_loop.hpp"

namespace vaultysclaw::cli {
namespace {

constexpr long kConnectTimeoutMs = 10'000;
constexpr std::size_t kMaxAnswerBytes = std::size_t{64} << 20;
constexpr curl_off_t kMaxSilenceUs = 60'000'000;  // servers send a comment every 15 s
constexpr std::size_t kMaxEventBytes = std::size_t{32} << 20;

struct CurlGlobal {
  CurlGlobal() { curl_global_init(CURL_GLOBAL_DEFAULT); }
  ~CurlGlobal() { curl_global_cleanup(); }
};

struct Headers {
  ~Headers() { curl_slist_free_all(list); }
  void add(const std::string& line) { list = curl_slist_append(list, line.c_str()); }
  curl_slist* list = nullptr;
};

struct Transfer {
  CURL* curl = nullptr;
  std::string body;
  EventParser parser;
  std::function<bool(const ServerEvent&)> onEvent;
  std::function<bool()> stop;
  bool ended = false;  // by onEvent
  curl_off_t lastDataUs = 0;
  bool silent = false;

  curl_off_t elapsedUs() const {
    curl_off_t us = 0;
    curl_easy_getinfo(curl, CURLINFO_TOTAL_TIME_T, &us);
    return us;
  }
};

std::size_t onData(char* data, std::size_t, std::size_t size, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  long status = 0;
  curl_easy_getinfo(transfer.curl, CURLINFO_RESPONSE_CODE, &status);
  if (transfer.onEvent && status == 200) {
    transfer.lastDataUs = transfer.elapsedUs();
    transfer.ended = !transfer.parser.feed({data, size}, transfer.onEvent);
    return transfer.ended ? 0 : size;
  }
  if (transfer.body.size() + size > kMaxAnswerBytes) return 0;
  transfer.body.append(data, size);
  return size;
}

int onProgress(void* context, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& transfer = *static_cast<Transfer*>(context);
  if (transfer.onEvent && transfer.elapsedUs() - transfer.lastDataUs > kMaxSilenceUs) transfer.silent = true;
  return transfer.silent || (transfer.stop && transfer.stop()) ? 1 : 0;
}

// Loopback is never behind a proxy, whatever the environment says. Empty: leave the environment's list alone.
std::string withoutProxy() {
  std::string list;
  for (const char* name : {"no_proxy", "NO_PROXY"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && list.empty()) list = value;
  }
  if (list == "*") return {};
  return list + (list.empty() ? "" : ",") + "localhost,127.0.0.0/8,::1";
}

Error toError(CURLcode code, const char* details, const std::string& url) {
  const std::string what = details[0] != '\0' ? details : curl_easy_strerror(code);
  switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return {Errc::Unavailable, "cannot reach a control plane at " + url + ": " + what};
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return {Errc::InvalidArgument,
              "'" + url + "' is not a URL of a control plane: it must be http:// or https://, a host and a port"};
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CONNECT_ERROR:
      return {Errc::Unauthenticated, "no trusted TLS connection to " + url + ": " + what};
    case CURLE_OPERATION_TIMEDOUT:
      return {Errc::DeadlineExceeded, "no answer in time from " + url + ": " + what};
    case CURLE_ABORTED_BY_CALLBACK:
      return {Errc::Cancelled, "cancelled"};
    default:
      return {Errc::ConnectionLost, "the connection to " + url + " broke: " + what};
  }
}

}  // namespace

struct HttpClient::Impl {
  ClientOptions options;
  CURL* curl = nullptr;

  Result<ClientReply> perform(const std::string& method, const std::string& path, const std::string& body,
                              Transfer& transfer, long timeoutMs) {
    static const CurlGlobal global;
    if (curl == nullptr) curl = curl_easy_init();
    VC_ASSERT(curl != nullptr, "libcurl gives handles");
    curl_easy_reset(curl);  // keeps the connection, which the next request uses again
    transfer.curl = curl;
    char details[CURL_ERROR_SIZE] = "";
    Headers headers;
    headers.add(transfer.onEvent ? "Accept: text/event-stream" : "Accept: application/json");
    headers.add("Expect:");
    if (!body.empty()) headers.add("Content-Type: application/json");
    if (!options.token.empty()) headers.add("Authorization: Bearer " + options.token);
    const std::string url = options.url + path;
    curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method.c_str());
    if (!body.empty() || method == "POST") {
      curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
      curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.c_str());
    }
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.list);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &onData);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &onProgress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, details);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, kConnectTimeoutMs);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeoutMs);
    const std::string direct = withoutProxy();
    if (!direct.empty()) curl_easy_setopt(curl, CURLOPT_NOPROXY, direct.c_str());
    if (!options.caFile.empty()) curl_easy_setopt(curl, CURLOPT_CAINFO, options.caFile.c_str());

    const CURLcode code = curl_easy_perform(curl);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, nullptr);
    ClientReply reply;
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    reply.status = static_cast<int>(status);
    if (transfer.silent) return Error{Errc::DeadlineExceeded, "nothing has come from " + options.url + " for a minute"};
    if (code != CURLE_OK && !transfer.ended) return toError(code, details, options.url);
    reply.body = std::move(transfer.body);
    return reply;
  }
};

HttpClient::HttpClient(ClientOptions options) : impl_(std::make_unique<Impl>()) {
  while (!options.url.empty() && options.url.back() == '/') options.url.pop_back();
  impl_->options = std::move(options);
}

HttpClient::~HttpClient() {
  if (!impl_) return;
  if (impl_->curl != nullptr) curl_easy_cleanup(impl_->curl);
  wipe(impl_->options.token);
}

HttpClient::HttpClient(HttpClient&&) noexcept = default;

Result<ClientReply> HttpClient::request(const std::string& method, const std::string& path, const std::string& body,
                                        Duration timeout) {
  Transfer transfer;
  const auto ms = std::chrono::duration_cast<milliseconds>(timeout).count();
  return impl_->perform(method, path, body, transfer, static_cast<long>(ms));
}

Result<ClientReply> HttpClient::stream(const std::string& method, const std::string& path, const std::string& body,
                                       std::function<bool(const ServerEvent&)> onEvent, std::function<bool()> stop) {
  Transfer transfer;
  transfer.onEvent = std::move(onEvent);
  transfer.stop = std::move(stop);
  return impl_->perform(method, path, body, transfer, 0);
}

bool travelsInTheClear(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), &curl_url_cleanup);
  const auto part = [&](CURLUPart which) {
    char* text = nullptr;
    if (curl_url_get(parsed.get(), which, &text, 0) != CURLUE_OK) return std::string();
    const std::unique_ptr<char, decltype(&curl_free)> owner(text, &curl_free);
    return std::string(text);
  };
  // Guessing as a transfer does: a URL without a scheme is http.
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), CURLU_GUESS_SCHEME) != CURLUE_OK) return false;
  if (part(CURLUPART_SCHEME) != "http") return false;
  std::string host = part(CURLUPART_HOST);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return host != "localhost" && !net::isLoopbackAddress(host);
}

std::string percentEncode(std::string_view text) {
  constexpr std::string_view kUnreserved = "-._~";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       kUnreserved.find(c) != std::string_view::npos;
    if (plain) {
      out.push_back(c);
    } else {
      out += "%" + hexEncode(asBytes(std::string_view(&c, 1)));
    }
  }
  return out;
}

bool EventParser::feed(std::string_view bytes, const std::function<bool(const ServerEvent&)>& onEvent) {
  for (const char c : bytes) {
    if (c != '\n') {
      if (line_.size() < kMaxEventBytes) line_.push_back(c);
      continue;
    }
    if (!line_.empty() && line_.back() == '\r') line_.pop_back();
    std::string_view line = line_;
    if (line.empty()) {
      const bool more = !std::exchange(hasData_, false) || onEvent({data_, id_});
      data_.clear();
      id_.clear();
      if (!more) return false;
    } else if (line.starts_with("data:") && data_.size() < kMaxEventBytes) {
      line.remove_prefix(5);
      if (line.starts_with(' ')) line.remove_prefix(1);
      if (std::exchange(hasData_, true)) data_.push_back('\n');
      data_ += line;
    } else if (line.starts_with("id:") && line.size() < 64) {
      line.remove_prefix(3);
      if (line.starts_with(' ')) line.remove_prefix(1);
      id_ = line;
    }
    line_.clear();
  }
  return true;
}

}  // namespace vaultysclaw::cli
