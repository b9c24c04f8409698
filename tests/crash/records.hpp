// The three records that a crash run compares: what callers were promised, what the store holds, what agents executed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace vaultysclaw::crash {

// Something that somebody saw at a time; a violation prints those of its intent in order.
struct Sighting {
  std::int64_t at = 0;  // unix ms
  std::string what;
};

enum class Ask : std::uint8_t { Run, Send };
enum class Retry : std::uint8_t { Never, UntilAnswered };  // the latter with an idempotency key

// What one caller asked for and was told. `work` is a number that no two requests share; it travels in the params.
struct Promise {
  std::string work, did;
  Ask ask = Ask::Run;
  Retry retry = Retry::Never;
  bool waits = false;                 // with ttlSeconds
  bool mayEndCancelled = false;       // it was cancelled, or its caller's connection broke while it waited
  int attempts = 0;                   // of which all but the last got no answer, or one that said "not now"
  bool answered = false;              // the last attempt brought an answer
  int status = 0;                     // of that answer
  std::set<std::string> ids;          // that any answer named
  std::optional<std::string> result;  // of a 200: "success" or "failed"
  std::string mark, error, code;      // of a 200
  bool mustNotExist = false;          // another content under a used key: it must be refused
  std::vector<Sighting> seen = {};
};

// A row of the store, as REST shows it.
struct StoredIntent {
  std::string id, did, work, status, mark, error, code;
  std::optional<bool> signatureValid;  // nothing: there is no token, for it was never sent
  bool resultSigned = false;
  std::optional<bool> resultSignatureValid;
  std::string json;  // the whole row
};

enum class Outcome : std::uint8_t { None, Success, Failed, Stopped };

// One run of a handler, from the journal.
struct Execution {
  std::string id, work, agent, mark;
  int pid = 0;
  std::int64_t beganAt = 0, endedAt = 0;
  Outcome outcome = Outcome::None;
};

// A chat as its caller received it.
struct ChatRecord {
  std::string conversation, agent;
  int asked = 0;                      // pieces
  std::vector<std::string> received;  // in order, over all resumptions
  std::vector<std::int64_t> numbers;  // their `seq`, when the events had one
  bool resumable = false;             // its caller takes it up again when its stream breaks
  int resumptions = 0;
  bool begun = false;  // a first event came
  int refused = 0;     // the status of an answer that was no stream
  bool done = false;   // the last event came
  std::optional<std::string> error;
  bool stuck = false;  // neither pieces nor an end within the limit
  std::vector<Sighting> seen = {};
};

struct Evidence {
  std::map<std::string, Promise> promises;                 // by work
  std::map<std::string, StoredIntent> stored;              // by id
  std::map<std::string, std::vector<Execution>> executed;  // by id
  std::vector<ChatRecord> chats;
  std::set<int> killed;                           // process ids
  std::set<std::string> died;                     // names of processes that were killed while the chats ran
  std::map<std::string, std::string> didOfAgent;  // by name
  std::string injected = {};  // text of an error that is made on purpose; what did not run may have failed with it
};

enum class Fault : std::uint8_t { Lost, Duplicated, Stuck, Wrong };
const char* name(Fault fault);

struct Violation {
  Fault fault = Fault::Wrong;
  std::string id, work;  // what is known
  std::string what;
  bool operator==(const Violation&) const = default;
};

}  // namespace vaultysclaw::crash
