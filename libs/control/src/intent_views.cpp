// Stored intents, read and verified again.
#include "intents.hpp"
#include "results.hpp"
#include "sending.hpp"

namespace vaultysclaw::control {
namespace {

ControlPlane::IntentView viewOf(store::IntentRow row, const std::vector<store::IntentEventRow>& events,
                                const identity::VaultysId& self, const std::optional<identity::VaultysId>& agent) {
  ControlPlane::IntentView view;
  const StoredProof proof = proofOf(row, events, self, agent ? &*agent : nullptr);
  view.signatureValid = proof.intent;
  view.resultSignatureValid = proof.result;
  view.row = std::move(row);
  return view;
}

}  // namespace

void Intents::list(store::IntentFilter filter, store::Page page,
                   Reply<store::Listing<ControlPlane::IntentView>> reply) {
  using Views = store::Listing<ControlPlane::IntentView>;
  context_.readLater<Views>(
      [filter = std::move(filter), page, self = context_.self](store::ControlReader& reader) -> Result<Views> {
        VC_TRY_ASSIGN(auto rows, reader.intents(filter, page));
        Views views;
        views.total = rows.total;
        std::map<Did, std::optional<identity::VaultysId>> agents;
        for (auto& row : rows.items) {
          auto& agent = agents[row.did];
          if (row.resultToken && !agent) {
            VC_TRY_ASSIGN(agent, identityOf(reader, row.did));
          }
          std::vector<store::IntentEventRow> events;
          if (row.resultToken && row.sends > 1) {
            VC_TRY_ASSIGN(events, reader.intentEvents(row.id));
          }
          views.items.push_back(viewOf(std::move(row), events, self, agent));
        }
        return views;
      },
      std::move(reply));
}

void Intents::read(const IntentId& id, ControlPlane::IntentsOf whose, Reply<ControlPlane::IntentView> reply) {
  context_.readLater<ControlPlane::IntentView>(
      [id, whose = std::move(whose),
       self = context_.self](store::ControlReader& reader) -> Result<ControlPlane::IntentView> {
        VC_TRY_ASSIGN(auto row, reader.intent(id));
        if (!row || (whose && !whose->owns(row->requestedBy, row->createdAt))) return noIntent(id);
        std::optional<identity::VaultysId> agent;
        if (row->resultToken) {
          VC_TRY_ASSIGN(agent, identityOf(reader, row->did));
        }
        VC_TRY_ASSIGN(const auto events, reader.intentEvents(id));
        auto view = viewOf(std::move(*row), events, self, agent);
        view.history = historyOf(view.row, events);
        if (!view.row.token.empty()) view.tokens.push_back(view.row.token);
        for (const auto& event : events) {
          if (event.token) view.tokens.push_back(*event.token);
        }
        return view;
      },
      std::move(reply));
}

}  // namespace vaultysclaw::control
