#include "report.hpp"

#include <cmath>
#include <cstdio>
#include <functional>
#include <optional>
#include <stdexcept>

#include "base/json_writer.hpp"

namespace vaultysclaw::bench {
namespace {

enum class Better : bool { Lower, Higher };

struct Row {
  const char* key;
  const char* title;
  double Figures::* value;
  const char* unit;
  int decimals;
  std::optional<double> target;
  Better better;
  const char* original;
};

constexpr std::optional<double> kNoTarget = std::nullopt;

const Row kRows[] = {
    {"sign_us", "one Ed25519 signature", &Figures::signUs, "us", 1, kNoTarget, Better::Lower, ""},
    {"verify_us", "one verification", &Figures::verifyUs, "us", 1, kNoTarget, Better::Lower, ""},
    {"fsync_ms", "one durable append", &Figures::fsyncMs, "ms", 3, kNoTarget, Better::Lower, ""},
    {"cp_cpu_us_per_intent", "control plane CPU per intent", &Figures::cpCpuUsPerIntent, "us", 0, 200, Better::Lower,
     "7700"},
    {"agent_cpu_us_per_intent", "agent CPU per intent", &Figures::agentCpuUsPerIntent, "us", 0, 150, Better::Lower,
     "2000"},
    {"cp_cpu_us_per_handshake", "control plane CPU per handshake", &Figures::cpCpuUsPerHandshake, "us", 0, 300,
     Better::Lower, "22000-34000"},
    {"intents_per_s", "intents per second, 64 in flight", &Figures::intentsPerSecond, "/s", 0, 4000, Better::Higher,
     "88-320"},
    {"latency_p50_ms", "one intent at a time, median", &Figures::latencyP50Ms, "ms", 2, kNoTarget, Better::Lower,
     "6-20"},
    {"latency_p99_ms", "one intent at a time, 99th percentile", &Figures::latencyP99Ms, "ms", 2, kNoTarget,
     Better::Lower, ""},
    {"agent_rss_mib", "echo agent, resident memory", &Figures::agentRssMib, "MiB", 1, 12, Better::Lower, "75-104"},
    {"agent_threads", "echo agent, threads", &Figures::agentThreads, "", 0, 5, Better::Lower, "11"},
    {"agent_start_ms", "echo agent, exec to connected", &Figures::agentStartMs, "ms", 0, 60, Better::Lower, "525-766"},
    {"cp_idle_rss_mib", "control plane, resident memory idle", &Figures::cpIdleRssMib, "MiB", 1, 30, Better::Lower,
     "129-214"},
    {"cp_rss_kib_per_agent", "control plane, memory per agent", &Figures::cpRssKibPerAgent, "KiB", 1, 14, Better::Lower,
     "21-64"},
    {"agents_connected", "... with so many agents connected", &Figures::agentsConnected, "", 0, kNoTarget,
     Better::Higher, ""},
};

// The one target that depends on the disk: six appends on the way and 0.4 ms.
std::optional<double> targetOf(const Row& row, const Figures& figures) {
  return row.value == &Figures::latencyP50Ms ? 6 * figures.fsyncMs + 0.4 : row.target;
}

std::string number(double value, int decimals) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

std::string padded(std::string text, std::size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

}  // namespace

std::string toJson(const Figures& figures) {
  JsonWriter w;
  w.beginObject();
  for (const Row& row : kRows) {
    const double value = figures.*row.value;
    if (!std::isfinite(value) || value <= 0) throw std::runtime_error(std::string(row.key) + " was not measured");
    w.member(row.key, std::round(value * 1000) / 1000);
  }
  w.member("handshakes_per_s", std::round(figures.handshakesPerSecond));
  w.member("intents_measured", figures.intentsMeasured);
  w.member("handshakes_measured", figures.handshakesMeasured);
  w.member("other_cpu_percent", std::round(figures.otherCpuPercent));
  w.member("cores", figures.cores);
  w.member("cpu_model", figures.cpuModel);
  w.member("mode", figures.mode);
  w.member("sealed", figures.sealed);
  w.endObject();
  return w.take();
}

std::string toTable(const Figures& figures, Colours colours) {
  const bool paint = colours == Colours::Yes;
  const std::string bold = paint ? "\x1b[1m" : "", green = paint ? "\x1b[32m" : "", red = paint ? "\x1b[31m" : "",
                    plain = paint ? "\x1b[0m" : "";
  std::string out;
  const auto line = [&](std::string title, std::string measured, std::string target, std::string original,
                        std::string unit, const std::string& colour) {
    title.resize(40, ' ');
    out += "  " + title + colour + padded(std::move(measured), 10) + plain + padded(std::move(target), 10) +
           padded(std::move(original), 14) + "  " + unit + "\n";
  };
  line("", "measured", "target", "original", "", bold);
  for (const Row& row : kRows) {
    const double value = figures.*row.value;
    if (value == 0) continue;  // not asked for
    const auto target = targetOf(row, figures);
    const bool met = target && (row.better == Better::Lower ? value <= *target : value >= *target);
    line(row.title, number(value, row.decimals), target ? number(*target, row.decimals) : "", row.original, row.unit,
         !target ? ""
         : met   ? green
                 : red);
  }
  out += "  " + figures.cpuModel + ", " + number(figures.cores, 0) + " cores, " + figures.mode + ", " +
         (figures.sealed ? "sealed" : "not sealed") + "; other processes used " + number(figures.otherCpuPercent, 0) +
         " % of the CPU during the load\n";
  return out;
}

}  // namespace vaultysclaw::bench
