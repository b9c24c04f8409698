#include "soak_record.hpp"

#include <algorithm>
#include <fstream>
#include <functional>
#include <iomanip>
#include <map>
#include <sstream>
#include <stdexcept>

namespace vaultysclaw::crash {
namespace {

constexpr std::size_t kFewestSamples = 9;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> out;
  std::istringstream in(line);
  for (std::string field; std::getline(in, field, ',');) out.push_back(field);
  return out;
}

using Samples = std::vector<SoakSample>;

Samples longestRun(const Samples& all) {
  std::map<int, Samples> runs;
  for (const auto& sample : all) runs[sample.run].push_back(sample);
  const auto longest = std::max_element(runs.begin(), runs.end(),
                                        [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); });
  return longest == runs.end() ? Samples{} : longest->second;
}

}  // namespace

void appendSample(const std::filesystem::path& file, const SoakSample& sample) {
  const bool fresh = !std::filesystem::exists(file);
  std::ofstream out(file, std::ios::app);
  if (fresh) {
    out << "minutes,run,done,errors,cpu_percent,store_mib";
    for (const auto& p : sample.processes)
      out << ',' << p.name << "_rss_mib," << p.name << "_descriptors," << p.name << "_threads";
    out << '\n';
  }
  out << std::fixed << std::setprecision(4) << sample.minutes << std::setprecision(2) << ',' << sample.run << ','
      << sample.done << ',' << sample.errors << ',' << sample.cpu << ',' << sample.storeMib;
  for (const auto& p : sample.processes) out << ',' << p.residentMib << ',' << p.descriptors << ',' << p.threads;
  out << std::endl;
  if (!out) throw std::runtime_error("cannot write " + file.string());
}

std::vector<SoakSample> readSamples(const std::filesystem::path& file) {
  constexpr std::size_t kFixed = 6, kEach = 3;
  std::vector<SoakSample> out;
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  const auto head = split(line);
  while (std::getline(in, line)) {
    const auto fields = split(line);
    if (in.eof() || fields.size() != head.size()) continue;  // the end of a run that was cut off
    SoakSample sample;
    sample.minutes = std::stod(fields[0]);
    sample.run = std::stoi(fields[1]);
    sample.done = std::stoull(fields[2]);
    sample.errors = std::stoull(fields[3]);
    sample.cpu = std::stod(fields[4]);
    sample.storeMib = std::stod(fields[5]);
    for (std::size_t i = kFixed; i + kEach <= fields.size(); i += kEach) {
      const std::string name = head[i].substr(0, head[i].rfind("_rss_mib"));
      sample.processes.push_back({name, std::stod(fields[i]), std::stoi(fields[i + 1]), std::stoi(fields[i + 2])});
    }
    out.push_back(std::move(sample));
  }
  return out;
}

SoakVerdict judge(const std::vector<SoakSample>& all) {
  SoakVerdict verdict;
  std::ostringstream text;
  text << std::fixed << std::setprecision(1);
  const Samples samples = longestRun(all);
  if (samples.size() < kFewestSamples) {
    verdict.text = "  too short for a verdict: " + std::to_string(samples.size()) + " samples without a restart\n";
    return verdict;
  }
  const std::size_t third = samples.size() / 3, last = samples.size() - third;
  verdict.level = true;
  text << "  " << std::left << std::setw(16) << "process" << std::setw(14) << "what" << std::right << std::setw(13)
       << "middle third" << std::setw(12) << "last third" << "\n";
  struct Measure {
    const char* name;
    double slack;
    std::function<double(const ProcessSample&)> of;
  };
  const Measure measures[] = {{"memory, MiB", 2, [](const ProcessSample& p) { return p.residentMib; }},
                              {"descriptors", 2, [](const ProcessSample& p) { return double(p.descriptors); }},
                              {"threads", 1, [](const ProcessSample& p) { return double(p.threads); }}};
  for (std::size_t i = 0; i < samples[0].processes.size(); ++i) {
    for (const auto& measure : measures) {
      std::vector<double> middle, late;
      for (std::size_t k = last - third; k < last; ++k) middle.push_back(measure.of(samples[k].processes[i]));
      for (std::size_t k = last; k < samples.size(); ++k) late.push_back(measure.of(samples[k].processes[i]));
      const double before = median(middle), after = median(late);
      const bool level = after - before <= std::max(measure.slack, before * 0.05);
      verdict.level = verdict.level && level;
      text << "  " << std::left << std::setw(16) << samples[0].processes[i].name << std::setw(14) << measure.name
           << std::right << std::setw(13) << before << std::setw(12) << after << (level ? "" : "  GROWS") << "\n";
    }
  }
  const int restarts = all.back().run - 1;
  text << "  " << (verdict.level ? "level" : "NOT LEVEL") << " over "
       << samples.back().minutes - samples.front().minutes << " minutes without a restart";
  if (restarts > 0) text << " (the longest stretch; the processes were started anew " << restarts << " times)";
  text << "\n  " << all.back().minutes << " minutes of soaking, " << all.back().done << " requests, "
       << all.back().errors << " errors\n";
  verdict.text = text.str();
  return verdict;
}

}  // namespace vaultysclaw::crash
