// What the control plane knows, as JSON (docs/rest.md has every shape).
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "base/json_writer.hpp"
#include "control/control_plane.hpp"

namespace vaultysclaw::control::rest {

enum class Detail : bool { Row, Full };

void writeAgent(JsonWriter& w, const AgentView& agent);
void writeRegistration(JsonWriter& w, const store::RegistrationRow& row);
void writeIntent(JsonWriter& w, const ControlPlane::IntentView& intent, Detail detail);
void writeAudit(JsonWriter& w, const store::AuditRow& row);
void writeLimits(JsonWriter& w, const protocol::ResourceLimits& limits);

// Members of an object.
void writeTimeOrNull(JsonWriter& w, std::string_view name, const std::optional<WallTime>& value);
void writeSentTo(JsonWriter& w, const std::vector<Did>& agents);
template <class Ids>
void writeIds(JsonWriter& w, std::string_view name, const Ids& ids) {
  w.key(name).beginArray();
  for (const auto& id : ids) w.value(id.value);
  w.endArray();
}
void writePagination(JsonWriter& w, std::int64_t total, store::Page page, std::size_t returned);

// A page of what is in memory, as a whole answer. `write` writes a row. The list stands a second time under `alias`,
// when it is not empty: the original's clients look for it there.
template <class Row, class Write>
void writePage(JsonWriter& w, const std::vector<Row>& rows, store::Page page, std::string_view alias, Write write) {
  const auto total = static_cast<std::int64_t>(rows.size());
  const auto from = static_cast<std::size_t>(std::min(page.offset, total));
  const auto to = static_cast<std::size_t>(std::min(page.offset + page.limit, total));
  w.beginObject();
  for (const std::string_view name : {std::string_view("items"), alias}) {
    if (name.empty()) continue;
    w.key(name).beginArray();
    for (std::size_t i = from; i < to; ++i) write(rows[i]);
    w.endArray();
  }
  writePagination(w, total, page, to - from);
  w.endObject();
}
template <class Row, class Write>
void writePage(JsonWriter& w, const std::vector<Row>& rows, store::Page page, Write write) {
  writePage(w, rows, page, "", write);
}

// The store keeps lists and limits as JSON texts; text that does not parse reads as empty.
std::vector<std::string> capabilitiesFrom(const std::string& json);
protocol::ResourceLimits limitsFrom(const std::string& json);

// Prometheus text format 0.0.4.
std::string metricsText(const Counters& counters, const std::string& version, double uptimeSeconds);

}  // namespace vaultysclaw::control::rest
