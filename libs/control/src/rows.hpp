// The JSON columns of rows, and what a row grants. Pure.
#pragma once

#include <string>
#include <vector>

#include "base/msgpack.hpp"
#include "base/result.hpp"
#include "identity/features.hpp"
#include "identity/vaultys_id.hpp"
#include "policy/gate.hpp"
#include "store/control_store.hpp"

namespace vaultysclaw::control {

std::string capabilitiesToJson(const std::vector<std::string>& capabilities);
std::string limitsToJson(const protocol::ResourceLimits& limits);
// Malformed when the text is not what the functions above write: the row was damaged or changed by hand.
Result<std::vector<std::string>> capabilitiesFromJson(const std::string& text);
Result<protocol::ResourceLimits> limitsFromJson(const std::string& text);

Result<policy::Grant> grantOf(const store::AgentRow& row);
// A name for what the row grants: 16 hex digits, others for another grant.
std::string grantTag(const store::AgentRow& row);
void setGrant(store::AgentRow& row, const policy::Grant& grant);
// InvalidArgument: names too long, negative limits.
Status checkGrant(const policy::Grant& grant);

// Why a paused agent gets no work; it must be paused.
Error pausedError(const store::AgentRow& row);

bool hasLimits(const protocol::ResourceLimits& limits);

// metadata.pk2 (docs/protocol.md 4.1 and 7.1). Version 0 gets exactly what the original writes.
msgpack::Map certificateMetadata(const policy::Grant& grant, identity::IdVersion version);

// What an agent says about itself in metadata.pk1; absent members stay empty.
struct Statement {
  std::optional<std::string> name;
  std::optional<std::vector<std::string>> capabilities;
  identity::Features features;
  std::optional<std::string> dh, channel;
};
// Malformed for members of another type or over their limits.
Result<Statement> statementFrom(const msgpack::Value& metadata);

}  // namespace vaultysclaw::control
