#include "sqlite/row_sum.hpp"

#include <sodium.h>
#include <sqlite3.h>

#include <array>
#include <cstdint>

namespace vaultysclaw::store::sqlite {
namespace {

std::array<unsigned char, 8> bigEndian(std::uint64_t number) {
  std::array<unsigned char, 8> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<unsigned char>(number >> (56 - 8 * i));
  return bytes;
}

// Each value as its type, its length or number in eight bytes, and its bytes.
void rowSum(sqlite3_context* context, int count, sqlite3_value** values) {
  crypto_generichash_state state;
  crypto_generichash_init(&state, nullptr, 0, crypto_generichash_BYTES_MIN);
  for (int i = 0; i < count; ++i) {
    const auto type = static_cast<unsigned char>(sqlite3_value_type(values[i]));
    const void* data = nullptr;
    std::uint64_t number = 0;
    bool readable = true;
    switch (type) {
      case SQLITE_INTEGER:
        number = static_cast<std::uint64_t>(sqlite3_value_int64(values[i]));
        break;
      case SQLITE_NULL:
        break;
      default:
        data = type == SQLITE_BLOB ? sqlite3_value_blob(values[i]) : sqlite3_value_text(values[i]);
        number = static_cast<std::uint64_t>(sqlite3_value_bytes(values[i]));
        readable = data != nullptr || (type == SQLITE_BLOB && number == 0);
        break;
    }
    if (!readable) return sqlite3_result_error_nomem(context);
    crypto_generichash_update(&state, &type, 1);
    crypto_generichash_update(&state, bigEndian(number).data(), 8);
    if (data != nullptr) crypto_generichash_update(&state, static_cast<const unsigned char*>(data), number);
  }
  std::array<unsigned char, crypto_generichash_BYTES_MIN> sum{};
  crypto_generichash_final(&state, sum.data(), sum.size());
  std::uint64_t first = 0;
  for (int i = 0; i < 8; ++i) first = first << 8 | sum[static_cast<std::size_t>(i)];
  sqlite3_result_int64(context, static_cast<std::int64_t>(first));
}

}  // namespace

int registerRowSum(sqlite3* db) {
  if (sodium_init() < 0) return SQLITE_ERROR;  // it chooses the hash's fastest code for this machine
  // For statements of ours alone, not for what a foreign file's schema may hold.
  return sqlite3_create_function_v2(db, "row_sum", -1, SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY, nullptr,
                                    rowSum, nullptr, nullptr, nullptr);
}

}  // namespace vaultysclaw::store::sqlite
