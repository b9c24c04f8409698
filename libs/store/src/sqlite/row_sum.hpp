// Sums over rows, so that a damaged one is noticed when it is read and not believed.
//
// SQL computes and compares them: `row_sum('table', a, b, ...)` is a 64-bit number made of the values, their types and
// lengths (BLAKE2b). It notices damage; whoever can write to the file can make a sum that fits.
#pragma once

struct sqlite3;

namespace vaultysclaw::store::sqlite {

// Gives the connection the function. Returns SQLite's result code.
int registerRowSum(sqlite3* db);

}  // namespace vaultysclaw::store::sqlite
