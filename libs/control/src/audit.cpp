#include "audit.hpp"

#include <limits>
#include <tuple>

#include "base/msgpack.hpp"
#include "identity/hash.hpp"

namespace vaultysclaw::control {
namespace {

constexpr std::int64_t kRowsAtATime = 1000;

Bytes beforeTheFirst() {
  return Bytes(std::tuple_size_v<identity::Sha256>, 0);
}

}  // namespace

Bytes auditHash(const store::AuditRow& row) {
  using msgpack::Value;
  const msgpack::Array fields{Value(row.previousHash), Value::integer(row.seq), Value::integer(toUnixMillis(row.at)),
                              Value(row.actor),        Value(row.action),       Value(row.target),
                              Value(row.details)};
  return toBytes(identity::sha256(msgpack::encode(Value(fields))));
}

Status AuditLog::append(store::ControlWriter& writer, WallTime at, std::string actor, std::string action,
                        std::string target, std::string detailsJson) {
  VC_TRY_ASSIGN(const auto last, writer.lastAudit());
  store::AuditRow row{.seq = last ? last->seq + 1 : 1,
                      .at = at,
                      .actor = std::move(actor),
                      .action = std::move(action),
                      .target = std::move(target),
                      .details = std::move(detailsJson),
                      .previousHash = last ? last->hash : beforeTheFirst(),
                      .hash = {}};
  row.hash = auditHash(row);
  return writer.appendAudit(row);
}

Result<ControlPlane::AuditCheck> verifyChain(store::ControlReader& reader) {
  ControlPlane::AuditCheck check;
  Bytes previous = beforeTheFirst();
  for (std::int64_t expected = 1;;) {
    // From the smallest number there could be: rows before the first are broken too.
    const std::int64_t from = expected == 1 ? std::numeric_limits<std::int64_t>::min() : expected;
    VC_TRY_ASSIGN(const std::vector<store::AuditRow> rows, reader.auditRange(from, kRowsAtATime));
    for (const store::AuditRow& row : rows) {
      if (row.seq != expected || row.previousHash != previous || row.hash != auditHash(row)) {
        check.firstBroken = row.seq;
        return check;
      }
      previous = row.hash;
      ++expected;
      ++check.rows;
    }
    if (static_cast<std::int64_t>(rows.size()) < kRowsAtATime) return check;
  }
}

}  // namespace vaultysclaw::control
