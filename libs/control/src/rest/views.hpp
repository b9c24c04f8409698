// What the control plane knows, as JSON (docs/rest.md has every shape).
#pragma once

#include <string>

#include "base/json_writer.hpp"
#include "control/control_plane.hpp"
#include "control/logins.hpp"

namespace vaultysclaw::control::rest {

enum class Detail : bool { Row, Full };

void writeAgent(JsonWriter& w, const AgentView& agent);
void writeRegistration(JsonWriter& w, const store::RegistrationRow& row);
void writeIntent(JsonWriter& w, const ControlPlane::IntentView& intent, Detail detail);
void writeAudit(JsonWriter& w, const store::AuditRow& row);
void writeLimits(JsonWriter& w, const protocol::ResourceLimits& limits);

// Inside an object: the member `pagination`.
void writePagination(JsonWriter& w, std::int64_t total, store::Page page, std::size_t returned);

// The store keeps lists and limits as JSON texts; text that does not parse reads as empty.
std::vector<std::string> capabilitiesFrom(const std::string& json);
protocol::ResourceLimits limitsFrom(const std::string& json);

// Prometheus text format 0.0.4.
std::string metricsText(const Counters& counters, const LoginCounters& logins, const std::string& version,
                        double uptimeSeconds);

}  // namespace vaultysclaw::control::rest
