// HTTP/1.1 heads as text: what a request line means, how an answer is written. Internal; pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "net/http.hpp"

namespace vaultysclaw::net {

// Splits and decodes a request target (origin or absolute form) into `path` and `query`. False when it is malformed.
bool parseTarget(std::string_view target, HttpRequest& out);

enum class Framing { Length, Chunked, UntilClose };

struct AnswerFrame {
  Framing framing = Framing::Length;
  std::size_t length = 0;  // of the body, for Framing::Length
  bool keepAlive = true;
  int httpMinor = 1;
};

// Status line, headers and the empty line. Headers that the server owns (Content-Length, Transfer-Encoding, Connection)
// are left out of `headers`; line breaks inside a name or value become spaces.
std::string answerHead(int status, const Headers& headers, const AnswerFrame& frame);

// 1xx, 204 and 304 have none.
bool mayHaveBody(int status);

std::string_view statusText(int status);

}  // namespace vaultysclaw::net
