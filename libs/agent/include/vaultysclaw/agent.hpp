// Everything needed to write an agent. See examples/echo.
#pragma once

#include "vaultysclaw/base_agent_runtime.hpp"
#include "vaultysclaw/call_context.hpp"
#include "vaultysclaw/chat_sink.hpp"
#include "vaultysclaw/error.hpp"
#include "vaultysclaw/events.hpp"
#include "vaultysclaw/peer_manager.hpp"
#include "vaultysclaw/runtime.hpp"
#include "vaultysclaw/runtime_config.hpp"
#include "vaultysclaw/types.hpp"
#include "vaultysclaw/verify.hpp"
#include "vaultysclaw/wait_for_shutdown.hpp"

namespace vc = vaultysclaw;
