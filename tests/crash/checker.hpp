// Compares the records of a crash run. Pure: the same evidence gives the same verdict.
#pragma once

#include <string>
#include <vector>

#include "records.hpp"

namespace vaultysclaw::crash {

// What must hold once callers are silent and every agent is connected again. Work may still be on its way when this is
// asked too early: the caller asks again until nothing is left or its patience ends.
//
// Promised: an id that an answer named is in the store, with the content that was asked for; one request has one
// intent, however often it was sent; a result that an answer had is the result in the store. Stored: every intent has
// ended, not as lost; its token verifies; a result is signed and verifies. Executed: at most one beginning for an id;
// success in the store exactly when a handler succeeded, with the handler's mark; what a handler began ends as its
// result or, when its process was killed, as interrupted. Chats: pieces in order, none missing, none twice, all of them
// before the end.
std::vector<Violation> check(const Evidence& evidence);

// Everything known about an intent or a chat, by time, for people.
std::string timeline(const Evidence& evidence, const Violation& violation);

}  // namespace vaultysclaw::crash
