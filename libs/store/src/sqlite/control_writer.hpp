#pragma once

#include "sqlite/control_queries.hpp"
#include "sqlite/open_file.hpp"

namespace vaultysclaw::store::sqlite {

extern const Schema kControlSchema;

// ControlWriter on the writer's connection, within the transaction that its caller has open. Confined to the thread
// that runs the works.
class Writer final : public Reads<ControlWriter> {
 public:
  using Reads::Reads;

  // Something was rolled back: what was remembered of this connection's writes may not be there any more.
  void forget() { lastAudit_.reset(); }

  Result<std::optional<AuditRow>> lastAudit() override;

  Status putAgent(const AgentRow& row) override;
  Status deleteAgent(const Did& did) override;
  Status resetPin(const Did& did) override;
  Status touchAgent(const Did& did, WallTime seen) override;
  Status putRegistration(const RegistrationRow& row) override;
  Status insertIntent(const IntentRow& row) override;
  Status recordSend(const IntentId& id, const IntentSend& send) override;
  Status requeueIntent(const IntentId& id) override;
  Status addIntentEvent(const IntentId& id, const IntentEventRow& event) override;
  Status finishIntent(const IntentRow& row) override;
  Status appendAudit(const AuditRow& row) override;
  Status putUser(const UserRow& row) override;
  Status deleteUser(const UserId& id) override;
  Status deleteApiToken(const TokenId& id) override;
  Status putApiToken(const ApiTokenRow& row) override;
  Status putLogin(const LoginRow& row) override;
  Status deleteLogin(const LoginId& id) override;
  Status putWorkspace(const WorkspaceRow& row) override;
  Status deleteWorkspace(const WorkspaceId& id) override;
  Status putMember(const MemberRow& row) override;
  Status deleteMember(const MemberRow& row) override;
  Status putPlacement(const PlacementRow& row) override;
  Status deletePlacement(const PlacementRow& row) override;
  Status putPolicy(const PolicyRow& row) override;
  Status deletePolicy(const PolicyId& id) override;
  Status putGrant(const GrantRow& row) override;
  Status deleteGrant(const GrantId& id) override;
  Status putPeerGrant(const PeerGrantRow& row) override;
  Status deletePeerGrant(const PeerGrantId& id) override;
  Status putMeta(const std::string& key, std::string_view value) override;

 private:
  // Ok when one row was changed; else why none was.
  Status changedAgent(const Did& did, const Result<std::int64_t>& changed);
  Result<std::int64_t> numberFor(const char* sql, const IntentId& id);
  Status insertEvent(const IntentId& id, const IntentEventRow& event);
  // Why an intent that had to be open was not changed.
  Error notOpen(const IntentId& id);

  // Every audited act needs the row before it, and nobody else writes: it need not be read again.
  std::optional<AuditRow> lastAudit_;
};

}  // namespace vaultysclaw::store::sqlite
