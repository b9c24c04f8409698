// The headers traceparent and tracestate of W3C Trace Context (www.w3.org/TR/trace-context). Pure.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "net/http.hpp"
#include "protocol/messages.hpp"

namespace vaultysclaw::control::rest {

// What a request says about its trace, to be handed on as it stands. Tracing never makes a request fail: a traceparent
// that breaks a rule, or stands twice, is as good as none; so is, on its own, a tracestate that breaks one or has over
// 512 characters.
std::optional<protocol::TraceContext> traceContextOf(const net::HttpRequest& request);

// The values of all headers of that name, which is given in lower case, without the space around them.
std::vector<std::string_view> headersOf(const net::HttpRequest& request, std::string_view name);

}  // namespace vaultysclaw::control::rest
