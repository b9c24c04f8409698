#include "soak_load.hpp"

#include <chrono>
#include <nlohmann/json.hpp>

#include "http_client.hpp"
#include "random.hpp"

namespace vaultysclaw::crash {
namespace {

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kCallLimit{60'000};
constexpr int kChatPieces = 8;

}  // namespace

SoakLoad::SoakLoad(SoakLoadPlan plan) : plan_(std::move(plan)) {
  for (int i = 0; i < plan_.callers; ++i) threads_.emplace_back([this, i] { call(i); });
}

SoakLoad::~SoakLoad() {
  ending_ = true;
  for (auto& thread : threads_) thread.join();
}

std::map<std::string, std::uint64_t> SoakLoad::problems() const {
  const std::lock_guard lock(mutex_);
  return problems_;
}

void SoakLoad::failed(const std::string& what) {
  ++errors_;
  const std::lock_guard lock(mutex_);
  ++problems_[what.substr(0, 200)];
}

void SoakLoad::call(int number) {
  const std::chrono::duration<double> interval(plan_.callers / plan_.perSecond);
  Random random(static_cast<std::uint64_t>(::time(nullptr)), static_cast<std::uint64_t>(number));
  harness::HttpClient client(plan_.port, plan_.token);
  auto next = Clock::now();
  for (std::uint64_t n = 0; !ending_; ++n) {
    std::this_thread::sleep_until(next);
    // Late requests are not made up for: the load is bounded, not the delay.
    next =
        std::max(next, Clock::now() - std::chrono::seconds(1)) + std::chrono::duration_cast<Clock::duration>(interval);
    const std::string& did = plan_.dids[static_cast<std::size_t>(random.below(static_cast<int>(plan_.dids.size())))];
    const Json params{{"n", std::to_string(number) + "-" + std::to_string(n)}, {"workMs", random.below(3)}};
    Json body{{"params", params}, {"action", "work"}};
    harness::HttpRequest request{.method = "POST", .path = "/api/agents/" + did + "/run", .limit = kCallLimit};
    const int kind = random.below(10);
    if (kind == 0) {
      request.path = "/api/chat";
      request.body = Json{{"did", did}, {"message", std::to_string(kChatPieces)}}.dump();
      int pieces = 0;
      const auto reply = client.stream(request, [&](const harness::ServerEvent& event) {
        if (event.data.find("\"chunk\"") != std::string::npos) ++pieces;
        return true;
      });
      if (!reply || reply->status != 200 || pieces != kChatPieces)
        failed("chat: " + (reply ? std::to_string(reply->status) + " " + reply->body : "no answer"));
    } else {
      if (kind < 3) {
        request.path = "/api/intents";
        body["did"] = did;
        request.headers["Idempotency-Key"] =
            std::to_string(std::chrono::system_clock::now().time_since_epoch().count()) + "-" + std::to_string(number);
      }
      request.body = body.dump();
      const auto reply = client.exchange(request);
      const bool good =
          reply && (reply->status == 202 ||
                    (reply->status == 200 && reply->body.find(R"("status":"success")") != std::string::npos));
      if (!good) failed("intent: " + (reply ? std::to_string(reply->status) + " " + reply->body : "no answer"));
    }
    ++done_;
  }
}

}  // namespace vaultysclaw::crash
