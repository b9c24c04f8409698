// What the file of agents' states is made of.
#pragma once

#include "sqlite/open_file.hpp"

namespace vaultysclaw::store::sqlite {

extern const Schema kAgentSchema;

}  // namespace vaultysclaw::store::sqlite
