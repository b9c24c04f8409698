#include "store/forgetful_disk.hpp"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <mutex>
#include <optional>

namespace vaultysclaw::store::testing {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kSector = 512;

struct Change {
  std::size_t offset = 0;           // or the size that a truncation leaves
  std::optional<std::string> data;  // absent: a truncation
};

void apply(std::string& content, const Change& change) {
  if (!change.data) return content.resize(change.offset);
  if (content.size() < change.offset + change.data->size()) content.resize(change.offset + change.data->size());
  content.replace(change.offset, change.data->size(), *change.data);
}

// Some of its sectors.
void applyTorn(std::string& content, const Change& change, std::mt19937_64& random) {
  if (!change.data) {
    if (random() % 2 == 0) apply(content, change);
    return;
  }
  const std::uint64_t survives = random() % 4;  // none, some, nearly all or all of them
  for (std::size_t at = 0; at < change.data->size();) {
    const std::size_t size = std::min(kSector - (change.offset + at) % kSector, change.data->size() - at);
    if (survives == 3 || (survives == 2 && random() % 8 != 0) || (survives == 1 && random() % 2 == 0))
      apply(content, {change.offset + at, change.data->substr(at, size)});
    at += size;
  }
}

struct Inode {
  std::string synced;
  std::vector<Change> unsynced;
  std::string current() const {
    std::string content = synced;
    for (const Change& change : unsynced) apply(content, change);
    return content;
  }
};
using Names = std::map<std::string, std::shared_ptr<Inode>>;

std::string contentOf(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

bool isSharedMemory(const std::string& name) {
  return name.ends_with("-shm");
}

}  // namespace

struct ForgetfulDisk::State {
  fs::path directory;
  std::mutex mutex;  // protects what follows
  Hook hook;
  Names names;
  std::vector<Names> history;  // what the directory was like, from its last sync to before its last change

  Fault ask(DiskOp op, const std::string& file) {
    Hook asked;
    {
      std::lock_guard lock(mutex);
      asked = hook;
    }
    return asked ? asked(op, file) : Fault::None;
  }

  std::shared_ptr<Inode> find(const std::string& name) {
    std::lock_guard lock(mutex);
    const auto found = names.find(name);
    return found == names.end() ? nullptr : found->second;
  }
  std::shared_ptr<Inode> findOrCreate(const std::string& name) {
    if (auto found = find(name)) return found;
    auto created = std::make_shared<Inode>();
    changeNames([&](Names& now) { now[name] = created; });
    return created;
  }
  template <class F>
  void changeNames(F&& change) {
    std::lock_guard lock(mutex);
    history.push_back(names);
    change(names);
  }
  void record(Inode& inode, Change change) {
    std::lock_guard lock(mutex);
    inode.unsynced.push_back(std::move(change));
  }
  void synced(Inode& inode) {
    std::lock_guard lock(mutex);
    inode.synced = inode.current();
    inode.unsynced.clear();
  }
  void lostAtSync(Inode& inode) {
    std::lock_guard lock(mutex);
    inode.unsynced.clear();
  }
  void directorySynced() {
    std::lock_guard lock(mutex);
    history.clear();
  }
};

namespace {

using State = ForgetfulDisk::State;

// ---- which disk a path belongs to

struct Place {
  std::shared_ptr<State> disk;
  std::string name;  // of the file; empty: the directory itself
};

std::mutex disksMutex;
std::vector<std::shared_ptr<State>> disks;

std::optional<Place> placeOf(const fs::path& path) {
  std::lock_guard lock(disksMutex);
  for (const auto& disk : disks) {
    if (path == disk->directory) return Place{disk, ""};
    if (path.parent_path() == disk->directory) return Place{disk, path.filename()};
  }
  return std::nullopt;
}

std::optional<Place> placeOf(int descriptor) {
  {
    std::lock_guard lock(disksMutex);
    if (disks.empty()) return std::nullopt;
  }
  std::array<char, 4096> target{};
  const ssize_t size =
      ::readlink(("/proc/self/fd/" + std::to_string(descriptor)).c_str(), target.data(), target.size());
  return size <= 0 ? std::nullopt : placeOf(fs::path(std::string(target.data(), static_cast<std::size_t>(size))));
}

// ---- the VFS

struct File {
  sqlite3_file base;
  sqlite3_file* real;  // lies behind this
  Place* place;        // null: not one of ours
  Inode* inode;
  std::shared_ptr<Inode>* keeps;
};
File& fileOf(sqlite3_file* file) {
  return *reinterpret_cast<File*>(file);
}
Fault ask(const File& file, DiskOp op) {
  return file.place == nullptr ? Fault::None : file.place->disk->ask(op, file.place->name);
}

sqlite3_vfs* realVfs() {
  static sqlite3_vfs* const vfs = sqlite3_vfs_find(nullptr);  // asked for before ours becomes the default
  return vfs;
}

int closeFile(sqlite3_file* handle) {
  File& file = fileOf(handle);
  const int rc = file.real->pMethods == nullptr ? SQLITE_OK : file.real->pMethods->xClose(file.real);
  delete file.place;
  delete file.keeps;
  return rc;
}
int readFile(sqlite3_file* handle, void* to, int size, sqlite3_int64 offset) {
  File& file = fileOf(handle);
  if (ask(file, DiskOp::Read) != Fault::None) return SQLITE_IOERR_READ;
  return file.real->pMethods->xRead(file.real, to, size, offset);
}
int writeFile(sqlite3_file* handle, const void* from, int size, sqlite3_int64 offset) {
  File& file = fileOf(handle);
  const Fault fault = ask(file, DiskOp::Write);
  if (fault == Fault::Full) return SQLITE_FULL;
  if (fault != Fault::None && fault != Fault::Short) return SQLITE_IOERR_WRITE;
  const int part = fault == Fault::Short ? size / 2 : size;
  const int rc = file.real->pMethods->xWrite(file.real, from, part, offset);
  if (rc == SQLITE_OK && file.inode != nullptr) {
    file.place->disk->record(*file.inode,
                             {static_cast<std::size_t>(offset),
                              std::string(static_cast<const char*>(from), static_cast<std::size_t>(part))});
  }
  return fault == Fault::Short ? SQLITE_FULL : rc;
}
int truncateFile(sqlite3_file* handle, sqlite3_int64 size) {
  File& file = fileOf(handle);
  if (ask(file, DiskOp::Truncate) != Fault::None) return SQLITE_IOERR_TRUNCATE;
  const int rc = file.real->pMethods->xTruncate(file.real, size);
  if (rc == SQLITE_OK && file.inode != nullptr)
    file.place->disk->record(*file.inode, {static_cast<std::size_t>(size), std::nullopt});
  return rc;
}
// Reaches fsync() or fdatasync() below.
int syncFile(sqlite3_file* handle, int flags) {
  return fileOf(handle).real->pMethods->xSync(fileOf(handle).real, flags);
}
int fileSize(sqlite3_file* handle, sqlite3_int64* size) {
  return fileOf(handle).real->pMethods->xFileSize(fileOf(handle).real, size);
}
int lockFile(sqlite3_file* handle, int level) {
  File& file = fileOf(handle);
  if (ask(file, DiskOp::Lock) != Fault::None) return SQLITE_IOERR_LOCK;
  return file.real->pMethods->xLock(file.real, level);
}
int unlockFile(sqlite3_file* handle, int level) {
  return fileOf(handle).real->pMethods->xUnlock(fileOf(handle).real, level);
}
int checkReserved(sqlite3_file* handle, int* reserved) {
  return fileOf(handle).real->pMethods->xCheckReservedLock(fileOf(handle).real, reserved);
}
int fileControl(sqlite3_file* handle, int op, void* argument) {
  return fileOf(handle).real->pMethods->xFileControl(fileOf(handle).real, op, argument);
}
int sectorSize(sqlite3_file* handle) {
  return fileOf(handle).real->pMethods->xSectorSize(fileOf(handle).real);
}
int characteristics(sqlite3_file* handle) {
  return fileOf(handle).real->pMethods->xDeviceCharacteristics(fileOf(handle).real);
}
int shmMap(sqlite3_file* handle, int region, int size, int extend, void volatile** memory) {
  File& file = fileOf(handle);
  if (ask(file, DiskOp::SharedMemory) != Fault::None) return SQLITE_IOERR_SHMMAP;
  return file.real->pMethods->xShmMap(file.real, region, size, extend, memory);
}
int shmLock(sqlite3_file* handle, int offset, int count, int flags) {
  File& file = fileOf(handle);
  if ((flags & SQLITE_SHM_LOCK) != 0 && ask(file, DiskOp::SharedMemory) != Fault::None) return SQLITE_IOERR_SHMLOCK;
  return file.real->pMethods->xShmLock(file.real, offset, count, flags);
}
void shmBarrier(sqlite3_file* handle) {
  fileOf(handle).real->pMethods->xShmBarrier(fileOf(handle).real);
}
int shmUnmap(sqlite3_file* handle, int remove) {
  return fileOf(handle).real->pMethods->xShmUnmap(fileOf(handle).real, remove);
}

// Version 2: without memory-mapped reads and writes, which could not be recorded.
constexpr sqlite3_io_methods kMethods{2,           closeFile,  readFile,        writeFile,  truncateFile,
                                      syncFile,    fileSize,   lockFile,        unlockFile, checkReserved,
                                      fileControl, sectorSize, characteristics, shmMap,     shmLock,
                                      shmBarrier,  shmUnmap,   nullptr,         nullptr};

int openFile(sqlite3_vfs*, sqlite3_filename name, sqlite3_file* handle, int flags, int* outFlags) {
  File& file = fileOf(handle);
  file.base.pMethods = nullptr;  // nothing to close when this fails
  file.real = reinterpret_cast<sqlite3_file*>(&file + 1);
  file.real->pMethods = nullptr;
  file.place = nullptr;
  file.inode = nullptr;
  file.keeps = nullptr;
  auto place = name == nullptr ? std::nullopt : placeOf(fs::path(name));
  if (place && place->disk->ask(DiskOp::Open, place->name) != Fault::None) return SQLITE_CANTOPEN;
  const int rc = realVfs()->xOpen(realVfs(), name, file.real, flags, outFlags);
  if (rc != SQLITE_OK) {
    if (file.real->pMethods != nullptr) file.real->pMethods->xClose(file.real);
    return rc;
  }
  file.base.pMethods = &kMethods;
  if (place) {
    file.keeps = new std::shared_ptr<Inode>(place->disk->findOrCreate(place->name));
    file.inode = file.keeps->get();
    file.place = new Place(std::move(*place));
  }
  return SQLITE_OK;
}

void registerVfs() {
  static sqlite3_vfs ours = [] {
    sqlite3_vfs vfs = *realVfs();
    vfs.szOsFile += static_cast<int>(sizeof(File));
    vfs.pNext = nullptr;
    vfs.zName = "forgetful";
    vfs.xOpen = openFile;
    return vfs;
  }();
  sqlite3_vfs_register(&ours, 1);
}

// ---- what the program itself asks the system for

// No real disk is waited for, anywhere: what these tests are about is this one.
int syncDescriptor(int descriptor) {
  const auto place = placeOf(descriptor);
  if (!place) return 0;
  const Fault fault = place->disk->ask(place->name.empty() ? DiskOp::DirectorySync : DiskOp::Sync, place->name);
  if (fault == Fault::None) {
    if (place->name.empty()) {
      place->disk->directorySynced();
    } else if (const auto inode = place->disk->find(place->name)) {
      place->disk->synced(*inode);
    }
    return 0;
  }
  if (const auto inode = place->disk->find(place->name); inode && fault == Fault::ForgetsWrites)
    place->disk->lostAtSync(*inode);
  errno = EIO;
  return -1;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int fsync(int descriptor) {
  return syncDescriptor(descriptor);
}
__attribute__((visibility("default"))) int fdatasync(int descriptor) {
  return syncDescriptor(descriptor);
}

__attribute__((visibility("default"))) int unlink(const char* path) noexcept {
  const auto place = placeOf(fs::path(path));
  if (place && place->disk->ask(DiskOp::Delete, place->name) != Fault::None) {
    errno = EIO;
    return -1;
  }
  const int rc = static_cast<int>(::syscall(SYS_unlinkat, AT_FDCWD, path, 0));
  if (rc == 0 && place) place->disk->changeNames([&](Names& names) { names.erase(place->name); });
  return rc;
}

__attribute__((visibility("default"))) int rename(const char* from, const char* to) noexcept {
  const auto place = placeOf(fs::path(from));
  if (place && place->disk->ask(DiskOp::Rename, place->name) != Fault::None) {
    errno = EIO;
    return -1;
  }
  const int rc = static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
  if (rc == 0 && place) {
    place->disk->changeNames([&](Names& names) {
      if (auto node = names.extract(place->name)) names[fs::path(to).filename()] = node.mapped();
    });
  }
  return rc;
}

}  // extern "C"

ForgetfulDisk::ForgetfulDisk(fs::path directory) : state_(std::make_shared<State>()) {
  registerVfs();
  state_->directory = fs::canonical(directory);
  for (const auto& entry : fs::directory_iterator(state_->directory)) {
    const std::string name = entry.path().filename();
    if (entry.is_regular_file() && !isSharedMemory(name))
      state_->names[name] = std::make_shared<Inode>(Inode{contentOf(entry.path()), {}});
  }
  std::lock_guard lock(disksMutex);
  disks.push_back(state_);
}

ForgetfulDisk::~ForgetfulDisk() {
  std::lock_guard lock(disksMutex);
  std::erase(disks, state_);
}

void ForgetfulDisk::onOperation(Hook hook) {
  std::lock_guard lock(state_->mutex);
  state_->hook = std::move(hook);
}

ForgetfulDisk::Image ForgetfulDisk::image(Loss loss, std::mt19937_64& random) const {
  std::lock_guard lock(state_->mutex);
  const auto& history = state_->history;
  const Names* names = &state_->names;
  if (loss == Loss::AllUnsynced && !history.empty()) names = &history.front();
  // File systems keep the order of such changes.
  if (loss == Loss::SomeUnsynced && !history.empty()) {
    if (const std::size_t changes = random() % (history.size() + 1); changes < history.size())
      names = &history[changes];
  }
  Image image;
  for (const auto& [name, inode] : *names) {
    std::string content = loss == Loss::NothingWritten ? inode->current() : inode->synced;
    if (loss == Loss::SomeUnsynced) {
      for (const Change& change : inode->unsynced) applyTorn(content, change, random);
    }
    image.emplace(name, std::move(content));
  }
  // The log's index is memory: whatever the file held at some moment may be found in it afterwards.
  for (const auto& entry : fs::directory_iterator(state_->directory)) {
    const std::string name = entry.path().filename();
    if (isSharedMemory(name) && (loss == Loss::NothingWritten || random() % 2 == 0))
      image.emplace(name, contentOf(entry.path()));
  }
  return image;
}

void ForgetfulDisk::write(const Image& image, const fs::path& directory) {
  for (const auto& [name, content] : image) {
    std::ofstream(directory / name, std::ios::binary | std::ios::trunc) << content;
  }
}

}  // namespace vaultysclaw::store::testing
