// Reading rows of the control plane's tables, and what is done about those that are damaged.
#pragma once

#include <utility>
#include <vector>

#include "sqlite/database.hpp"
#include "store/control_store.hpp"

namespace vaultysclaw::store::sqlite {

// How a damaged row is named.
inline std::string keyOf(const AgentRow& row) {
  return row.did.value;
}
inline std::string keyOf(const RegistrationRow& row) {
  return row.id.value;
}
inline std::string keyOf(const IntentRow& row) {
  return row.id.value;
}
inline std::string keyOf(const OpenIntent& open) {
  return open.row.id.value;
}
inline std::string keyOf(const IntentEventRow& row) {
  return row.event + " of " + toIso8601(row.at);
}
inline std::string keyOf(const AuditRow& row) {
  return std::to_string(row.seq);
}
inline std::string keyOf(const UserRow& row) {
  return row.id.value;
}
inline std::string keyOf(const ApiTokenRow& row) {
  return row.id.value;
}

inline std::string keyOf(const LoginRow& row) {
  return row.id.value;
}
inline std::string keyOf(const WorkspaceRow& row) {
  return row.id.value;
}
inline std::string keyOf(const MemberRow& row) {
  return row.user.value + " of " + row.workspace.value;
}
inline std::string keyOf(const PlacementRow& row) {
  return row.agent.value + " of " + row.workspace.value;
}
inline std::string keyOf(const PolicyRow& row) {
  return row.id.value;
}
inline std::string keyOf(const GrantRow& row) {
  return row.id.value;
}
inline std::string keyOf(const PeerGrantRow& row) {
  return row.id.value;
}

// Without the rows that are damaged.
template <class Row>
Result<std::vector<Row>> all(Database& db, const char* table, Result<Statement> statement, Row (*read)(Statement&)) {
  if (!statement.ok()) return statement.error();
  std::vector<Row> rows;
  for (;;) {
    VC_TRY_ASSIGN(const bool found, statement->step());
    if (!found) return rows;
    Row row = read(*statement);
    VC_TRY_ASSIGN(const bool intact, statement->intact());
    if (intact)
      rows.push_back(std::move(row));
    else
      db.leftOut(table, keyOf(row));
  }
}

// Malformed when it is damaged.
template <class Row>
Result<std::optional<Row>> first(Database& db, const char* table, Result<Statement> statement,
                                 Row (*read)(Statement&)) {
  if (!statement.ok()) return statement.error();
  VC_TRY_ASSIGN(const bool found, statement->step());
  if (!found) return std::optional<Row>();
  Row row = read(*statement);
  VC_TRY_ASSIGN(const bool intact, statement->intact());
  if (!intact) return db.damaged(table, keyOf(row));
  return std::optional<Row>(std::move(row));
}

}  // namespace vaultysclaw::store::sqlite
