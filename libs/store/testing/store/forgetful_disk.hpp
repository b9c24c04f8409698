// A disk that can lose power. While one exists, what happens to the files of its directory is recorded: through a
// SQLite VFS that stands before the default one, and through fsync(), fdatasync(), rename() and unlink(), which this
// program defines itself, so that the code that calls them directly is seen too. Everything reaches the real files at
// once; image() tells what of it a loss of power at this moment would leave.
//
// The rules are those of POSIX at their strictest: what was written to a file is safe once the file was synced, and a
// name (new, changed or gone) once its directory was.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace vaultysclaw::store::testing {

enum class DiskOp : std::uint8_t {
  Open,
  Read,
  Write,
  Truncate,
  Sync,  // of a file
  DirectorySync,
  Delete,
  Rename,
  Lock,          // taken, not given back
  SharedMemory,  // the log's index: mapping and locking
};

// What the hook wants done in place of the operation.
enum class Fault : std::uint8_t {
  None,
  Error,         // nothing happens, and an I/O error is reported
  Full,          // Write: nothing is written, and the disk is full
  Short,         // Write: half of it is written, then the disk is full
  ForgetsWrites  // Sync: fails, and a later one that succeeds does not save what was written before this one
};

enum class Loss : std::uint8_t {
  AllUnsynced,    // only what was synced is left
  SomeUnsynced,   // also some of the rest, in sectors of 512 bytes that may come from either side of each write
  NothingWritten  // lost nothing: what SIGKILL leaves
};

// One test thread uses it; the files may be used by any.
class ForgetfulDisk {
 public:
  // Files that are there already count as synced.
  explicit ForgetfulDisk(std::filesystem::path directory);
  ~ForgetfulDisk();
  ForgetfulDisk(const ForgetfulDisk&) = delete;
  ForgetfulDisk& operator=(const ForgetfulDisk&) = delete;

  // Called before each operation on a file of the directory, with the file's name; must not use the store.
  using Hook = std::function<Fault(DiskOp, const std::string& file)>;
  void onOperation(Hook hook);

  using Image = std::map<std::string, std::string>;  // content by name
  Image image(Loss loss, std::mt19937_64& random) const;
  static void write(const Image& image, const std::filesystem::path& directory);

  struct State;  // for the functions that record

 private:
  std::shared_ptr<State> state_;
};

}  // namespace vaultysclaw::store::testing
