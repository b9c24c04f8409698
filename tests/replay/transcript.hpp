// The recorded conversations (tests/vectors/README.md), as a list of what happened.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/ports.hpp"
#include "identity/handshake_message.hpp"
#include "identity/vaultys_id.hpp"

namespace vaultysclaw::replay {

using json = nlohmann::ordered_json;  // signed bytes have an order

struct Entry {
  enum class Kind : std::uint8_t { Connected, Step, ToServer, ToAgent, ClosedByServer, ClosedByAgent };
  Kind kind;
  int seq;
  milliseconds at;  // since the start of the recording
  int connection;
  std::string step;  // of a Step: what the recording script did next
  // Of messages: an object, or a string when the text was no JSON. Of the end of a connection
  // {"type":"close","by":...,"code":...,"reason":...}; only the side that closed first has one.
  json message;
};

struct Transcript {
  std::string name;                   // "full", "rejected", "client_errors"
  identity::VaultysId server, agent;  // the recorded identities, with their secrets
  WallTime startedAt;
  std::vector<Entry> entries;

  const Entry& at(int seq) const { return entries.at(static_cast<std::size_t>(seq)); }
  // The entries after `seq` up to the next Step.
  std::vector<Entry> stepAfter(int seq) const;
};

// Throws when the file is not there or not a transcript.
Transcript loadTranscript(const std::string& name);

// ---- messages with their bytes opened ----

// "INIT", "STEP1" and "COMPLETE" for an auth_challenge that carries one; "text" for what is no JSON; else the type.
std::string kindOf(const json& message);
// With payload.data as the handshake's members and signature as {body, signature}; byte strings in hex. What cannot be
// read stays as it is.
json opened(const json& message);
Result<identity::HandshakeMessage> handshakeIn(const json& message);
std::string textOf(const json& message);  // as it went over the wire, but for spaces and the order of members

// ---- handshake messages made anew, because they sign a nonce or an identity of ours ----

// Whether sign1 holds; the recording has one client that spoils it.
bool initiatorSigned(const identity::HandshakeMessage& complete);
bool responderSigned(const identity::HandshakeMessage& message);
// The recorded agent's COMPLETE for a STEP1 of our control plane.
identity::HandshakeMessage completeFor(const identity::VaultysId& agent, identity::HandshakeMessage step1);
// The recorded server's STEP1 for an INIT of our agent, with the recorded nonce and statement.
identity::HandshakeMessage step1For(const identity::VaultysId& server, const identity::HandshakeMessage& init,
                                    const identity::HandshakeMessage& recorded);

}  // namespace vaultysclaw::replay
