// What ControlReader asks, as functions over a connection: the readers and the writer share them.
#pragma once

#include "sqlite/audit_times.hpp"
#include "store/control_store.hpp"

namespace vaultysclaw::store::sqlite {

Result<std::optional<AgentRow>> findAgent(Database& db, const Did& did);
Result<std::vector<AgentRow>> listAgents(Database& db);
Result<std::optional<Bytes>> findPublicId(Database& db, const Did& did);
Result<std::optional<RegistrationRow>> findRegistration(Database& db, const RegistrationId& id);
Result<std::vector<RegistrationRow>> listPendingRegistrations(Database& db);
Result<Listing<RegistrationRow>> listRegistrations(Database& db, const std::optional<std::string>& status, Page page);
Result<std::optional<IntentRow>> findIntent(Database& db, const IntentId& id);
Result<Listing<IntentRow>> listIntents(Database& db, const IntentFilter& filter, Page page);
Result<std::optional<IntentRow>> findIntentByKey(Database& db, const std::string& requestedBy, const std::string& key);
Result<std::vector<IntentEventRow>> listIntentEvents(Database& db, const IntentId& id);
Result<std::vector<OpenIntent>> listOpenIntents(Database& db, const std::string& status, std::int64_t after,
                                                std::int64_t count);
// `times`: of the store, when the connection sees committed rows alone.
Result<Listing<AuditRow>> listAudit(Database& db, const AuditFilter& filter, Page page, AuditTimes* times);
Result<std::vector<AuditRow>> auditFrom(Database& db, std::int64_t firstSeq, std::int64_t count);
Result<std::optional<AuditRow>> findLastAudit(Database& db);
Result<std::vector<UserRow>> listUsers(Database& db);
Result<std::vector<ApiTokenRow>> listApiTokens(Database& db);
Result<std::vector<LoginRow>> listLogins(Database& db);
Result<std::vector<WorkspaceRow>> listWorkspaces(Database& db);
Result<std::vector<MemberRow>> listMembers(Database& db);
Result<std::vector<PlacementRow>> listPlacements(Database& db);
Result<std::vector<PolicyRow>> listPolicies(Database& db);
Result<std::vector<GrantRow>> listGrants(Database& db);
Result<std::vector<PeerGrantRow>> listPeerGrants(Database& db);
Result<std::optional<std::string>> findMeta(Database& db, const std::string& key);

// Implements ControlReader's part of `Interface` on one connection, which must outlive it.
template <class Interface>
class Reads : public Interface {
 public:
  explicit Reads(Database& db, AuditTimes* times = nullptr) : db_(db), times_(times) {}

  Result<std::optional<AgentRow>> agent(const Did& did) final { return findAgent(db_, did); }
  Result<std::vector<AgentRow>> agents() final { return listAgents(db_); }
  Result<std::optional<Bytes>> publicId(const Did& did) final { return findPublicId(db_, did); }
  Result<std::optional<RegistrationRow>> registration(const RegistrationId& id) final {
    return findRegistration(db_, id);
  }
  Result<std::vector<RegistrationRow>> pendingRegistrations() final { return listPendingRegistrations(db_); }
  Result<Listing<RegistrationRow>> registrations(std::optional<std::string> status, Page page) final {
    return listRegistrations(db_, status, page);
  }
  Result<std::optional<IntentRow>> intent(const IntentId& id) final { return findIntent(db_, id); }
  Result<Listing<IntentRow>> intents(const IntentFilter& filter, Page page) final {
    return listIntents(db_, filter, page);
  }
  Result<std::optional<IntentRow>> intentByKey(const std::string& requestedBy, const std::string& key) final {
    return findIntentByKey(db_, requestedBy, key);
  }
  Result<std::vector<IntentEventRow>> intentEvents(const IntentId& id) final { return listIntentEvents(db_, id); }
  Result<std::vector<OpenIntent>> openIntents(const std::string& status, std::int64_t after, std::int64_t count) final {
    return listOpenIntents(db_, status, after, count);
  }
  Result<Listing<AuditRow>> audit(const AuditFilter& filter, Page page) final {
    return listAudit(db_, filter, page, times_);
  }
  Result<std::vector<AuditRow>> auditRange(std::int64_t firstSeq, std::int64_t count) final {
    return auditFrom(db_, firstSeq, count);
  }
  Result<std::optional<AuditRow>> lastAudit() override { return findLastAudit(db_); }
  Result<std::vector<UserRow>> users() final { return listUsers(db_); }
  Result<std::vector<ApiTokenRow>> apiTokens() final { return listApiTokens(db_); }
  Result<std::vector<LoginRow>> logins() final { return listLogins(db_); }
  Result<std::vector<WorkspaceRow>> workspaces() final { return listWorkspaces(db_); }
  Result<std::vector<MemberRow>> members() final { return listMembers(db_); }
  Result<std::vector<PlacementRow>> placements() final { return listPlacements(db_); }
  Result<std::vector<PolicyRow>> policies() final { return listPolicies(db_); }
  Result<std::vector<GrantRow>> grants() final { return listGrants(db_); }
  Result<std::vector<PeerGrantRow>> peerGrants() final { return listPeerGrants(db_); }
  Result<std::optional<std::string>> meta(const std::string& key) final { return findMeta(db_, key); }

 protected:
  Database& db_;

 private:
  AuditTimes* const times_;
};

}  // namespace vaultysclaw::store::sqlite
