#include <filesystem>

#include "agent/trust.hpp"
#include "base/json_writer.hpp"
#include "commands.hpp"
#include "identity/identity_file.hpp"

namespace vaultysclaw::cli {
namespace {

namespace agent = vaultysclaw::detail;

int print(Context& context, const identity::VaultysId& id, const std::string& path) {
  const std::string did = id.didV1().value;
  const std::string fingerprint = id.fingerprint();
  if (context.json()) {
    JsonWriter w;
    w.beginObject();
    w.member("did", did);
    w.member("fingerprint", fingerprint);
    w.member("path", path);
    w.member("publicId", base64Encode(id.toVersion(identity::IdVersion::V1).id()));
    w.endObject();
    context.out() << w.take() << '\n';
    return kOk;
  }
  const Painter& painter = context.painter();
  context.out() << painter.paint(Style::Dim, "DID          ") << painter.paint(Style::Bold, did) << '\n'
                << painter.paint(Style::Dim, "fingerprint  ") << fingerprint << '\n'
                << painter.paint(Style::Dim, "file         ") << path << '\n';
  return kOk;
}

int printPin(Context& context, const std::optional<agent::Pin>& pin, const std::string& statePath) {
  if (context.json()) {
    JsonWriter w;
    w.beginObject();
    w.key("did");
    if (pin) {
      w.value(pin->did);
    } else {
      w.null();
    }
    w.key("features");
    w.beginArray();
    if (pin) {
      for (const auto& feature : pin->features.names()) w.value(feature);
    }
    w.endArray();
    w.member("path", statePath);
    w.endObject();
    context.out() << w.take() << '\n';
    return kOk;
  }
  if (!pin) {
    context.out() << "This agent trusts the first control plane that approves it.\n";
    return kOk;
  }
  const Painter& painter = context.painter();
  std::string features;
  for (const auto& feature : pin->features.names()) features += (features.empty() ? "" : ", ") + feature;
  context.out() << painter.paint(Style::Dim, "control plane  ") << painter.paint(Style::Bold, pin->did) << '\n'
                << painter.paint(Style::Dim, "it has listed  ") << (features.empty() ? "nothing yet" : features) << '\n'
                << painter.paint(Style::Dim, "file           ") << statePath << '\n';
  return kOk;
}

}  // namespace

int newIdentity(Context& context, const std::string& path) {
  const auto entropy = makeSystemEntropy();
  const auto files = makeSystemFileStore();
  const auto id = identity::VaultysId::generate(identity::IdType::Machine, *entropy);
  if (auto saved = identity::saveNewIdentity(*files, path, id); !saved) {
    return context.fail(
        kFailed, saved.error().message,
        saved.error().code == Errc::Conflict ? "'vaultysclaw id show " + path + "' shows the one that is there." : "");
  }
  return print(context, id, path);
}

int showIdentity(Context& context, const std::string& path) {
  const auto files = makeSystemFileStore();
  auto id = identity::loadIdentity(*files, path);
  if (!id) {
    return context.fail(kFailed, id.error().message,
                        id.error().code == Errc::NotFound ? "'vaultysclaw id new " + path + "' makes one." : "");
  }
  return print(context, *id, path);
}

int trustControlPlane(Context& context, const TrustOptions& options) {
  namespace fs = std::filesystem;
  const std::string statePath = options.statePath.empty() ? agent::defaultStatePath(options.path) : options.statePath;
  std::error_code ignored;
  if (!fs::exists(options.path, ignored))
    return context.fail(kFailed, "there is no identity file " + options.path,
                        "Name the file that the agent has as vaultysIdPath.");
  if (!options.did.empty() && !isValidDid(options.did))
    return context.fail(kUsage,
                        "'" + terminalText(options.did) +
                            "' is no DID: it must be did:vaultys: and 40 lower-case "
                            "hex digits",
                        "The control plane shows its DID when it starts.");
  const bool changes = options.reset || !options.did.empty();
  if (!changes && !fs::exists(statePath, ignored)) return printPin(context, std::nullopt, statePath);
  const auto files = makeSystemFileStore();
  auto identity = identity::loadIdentity(*files, options.path);
  if (!identity) return context.fail(kFailed, identity.error().message);
  auto state = store::openAgentState(statePath, identity->didV1());
  if (!state)
    return context.fail(
        kFailed, state.error().message,
        state.error().code == Errc::Conflict
            ? "Stop the agent first, and what shares its state file: while they run, it belongs to them alone."
            : "");
  Status changed;
  if (options.reset) changed = agent::trustNext(**state);
  if (!options.did.empty()) changed = agent::trustOnly(**state, Did(options.did));
  auto pin = changed ? agent::readPin(**state) : Result<std::optional<agent::Pin>>(changed.error());
  if (!pin) return context.fail(kFailed, statePath + ": " + pin.error().message);
  return printPin(context, *pin, statePath);
}

}  // namespace vaultysclaw::cli
