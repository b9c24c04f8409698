// The audit's hash chain: each row's hash covers the row before it, so that a changed, missing, inserted or reordered
// row shows. Rows cut off at the end do not show in the chain alone; compare with a copy of an earlier hash for that.
#pragma once

#include <string>
#include <string_view>

#include "control/control_plane.hpp"
#include "store/control_store.hpp"

namespace vaultysclaw::control {

// SHA-256 over the MessagePack array [previousHash, seq, at in Unix milliseconds, actor, action, target, details].
// `row.hash` plays no part.
Bytes auditHash(const store::AuditRow& row);

// Makes rows. Stateless: the store says what the last row is. Within the store's writer.
class AuditLog {
 public:
  // Numbers, chains and appends a row within the writer's transaction. The first row follows 32 zero bytes.
  Status append(store::ControlWriter& writer, WallTime at, std::string actor, std::string action, std::string target,
                std::string detailsJson);
};

// Checks all rows, a thousand at a time, on the reader's snapshot. Blocking, in time that grows with the rows; `rows`
// is how many fit before the first that does not, all of them when none is broken.
Result<ControlPlane::AuditCheck> verifyChain(store::ControlReader& reader);

}  // namespace vaultysclaw::control
