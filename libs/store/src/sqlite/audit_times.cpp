#include "sqlite/audit_times.hpp"

#include <algorithm>

namespace vaultysclaw::store::sqlite {
namespace {

constexpr std::int64_t kRowsPerBlock = 1024;  // block 0 has the numbers 1 to 1024

}  // namespace

// Rows are never changed or removed, so a full block stays as it was read.
Status AuditTimes::readNewBlocks(Database& db) {
  VC_TRY_ASSIGN(const std::int64_t newest, db.number("SELECT max(seq) FROM audit"));
  const std::int64_t full = newest / kRowsPerBlock;
  const auto known = static_cast<std::int64_t>(blocks_.size());
  if (full <= known) return {};
  VC_TRY_ASSIGN(Statement rows, db.query("SELECT seq, at FROM audit WHERE seq > ? AND seq <= ? ORDER BY seq",
                                         known * kRowsPerBlock, full * kRowsPerBlock));
  std::vector<Block> blocks(static_cast<std::size_t>(full - known));
  for (;;) {
    VC_TRY_ASSIGN(const bool found, rows.step());
    if (!found) break;
    Block& block = blocks[static_cast<std::size_t>((rows.integer() - 1) / kRowsPerBlock - known)];
    const std::int64_t at = rows.integer();
    block.earliest = std::min(block.earliest, at);
    block.latest = std::max(block.latest, at);
  }
  blocks_.insert(blocks_.end(), blocks.begin(), blocks.end());
  return {};
}

Result<AuditRange> AuditTimes::range(Database& db, std::optional<WallTime> since, std::optional<WallTime> until) {
  AuditRange range;
  if (!since && !until) return range;
  std::lock_guard lock(mutex_);
  VC_TRY(readNewBlocks(db));
  const auto mayHave = [&](const Block& block) {
    return (!since || block.latest >= toUnixMillis(*since)) && (!until || block.earliest < toUnixMillis(*until));
  };
  const auto count = static_cast<std::int64_t>(blocks_.size());
  std::int64_t from = 0;
  while (from < count && !mayHave(blocks_[static_cast<std::size_t>(from)])) ++from;
  if (from > 0) range.first = from * kRowsPerBlock + 1;
  // Behind the full blocks any row may be of that time.
  VC_TRY_ASSIGN(Statement rest,
                db.query("SELECT EXISTS (SELECT 1 FROM audit WHERE seq > ?1 AND at >= ?2 AND at < ?3)",
                         count * kRowsPerBlock, since ? toUnixMillis(*since) : std::numeric_limits<std::int64_t>::min(),
                         until ? toUnixMillis(*until) : std::numeric_limits<std::int64_t>::max()));
  VC_TRY(rest.step());
  if (rest.integer() != 0) return range;
  std::int64_t to = count;
  while (to > from && !mayHave(blocks_[static_cast<std::size_t>(to - 1)])) --to;
  range.last = to * kRowsPerBlock;
  return range;
}

}  // namespace vaultysclaw::store::sqlite
