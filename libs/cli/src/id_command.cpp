#include "base/json_writer.hpp"
#include "commands.hpp"
#include "identity/identity_file.hpp"

namespace vaultysclaw::cli {
namespace {

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

}  // namespace vaultysclaw::cli
