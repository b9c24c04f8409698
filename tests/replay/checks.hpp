// What allowed differences must look like: the checks that the table of allowances is written with.
#pragma once

#include "allowances.hpp"

namespace vaultysclaw::replay {

Check is(const std::string& jsonText);  // exactly this
Check says(const std::string& text);    // exactly this text
Check anyText();                        // some text
Check inAnyOrder();                     // the recorded value, but for the order of members
Check missing();                        // ours has no such member
Check fresh();                          // an id that ours has not used before
Check paired();                         // an id that stands for the recorded one, here and everywhere
Check clock();                          // the time at which ours sent it, in the recorded form (text or number)
Check asAt(int seq);                    // what ours said in the same place at `seq`
Check inVersion1();                     // the recorded public id, written in version 1
Check ownNonce(std::size_t from, std::size_t to);  // these bytes are new, the rest as recorded
Check asStep1();                                   // what the STEP1 says that ours answers
Check ownSignature();                              // it holds: sign1, sign2 or the token's, whichever the path names
Check statement();                                 // metadata.pk1 of docs/protocol.md 7.1
// metadata.pk2 is this, and has in version 1 the members that docs/protocol.md 7.1 adds.
Check certificate(const std::string& jsonText);
Check wholeUptime();  // seconds since the agent process started, whole
Check positive();     // a whole number over 0
// The whole message: of this kind, with this payload; its id new, its time right, and nothing else in it.
Check whole(const std::string& kind, const std::string& payloadText);
// The whole message is an INIT or COMPLETE of our agent as docs/protocol.md 7.1 has it.
Check properHandshake(const std::string& kind);

}  // namespace vaultysclaw::replay
