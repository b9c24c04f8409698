#include "slow_lookup.hpp"

#include <dlfcn.h>
#include <netdb.h>

#include <condition_variable>
#include <mutex>
#include <string_view>

namespace {

struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  bool shut = false;
  bool entered = false;
};

Gate& gate() {
  static Gate g;
  return g;
}

}  // namespace

// Takes the place of the C library's in this program.
extern "C" int getaddrinfo(const char* name, const char* service, const addrinfo* hints, addrinfo** result) {
  const std::string_view host = name ? name : "";
  if (host == "slow.invalid") {
    Gate& g = gate();
    std::unique_lock lock(g.mutex);
    g.entered = true;
    g.changed.notify_all();
    g.changed.wait(lock, [&] { return !g.shut; });
  }
  if (host.ends_with(".invalid")) return EAI_NONAME;
  using Function = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
  static const auto real = reinterpret_cast<Function>(::dlsym(RTLD_NEXT, "getaddrinfo"));
  return real(name, service, hints, result);
}

namespace vaultysclaw::net {

SlowLookup::SlowLookup() {
  std::lock_guard lock(gate().mutex);
  gate().shut = true;
  gate().entered = false;
}

SlowLookup::~SlowLookup() {
  letGo();
}

void SlowLookup::waitUntilEntered() {
  std::unique_lock lock(gate().mutex);
  gate().changed.wait(lock, [] { return gate().entered; });
}

void SlowLookup::letGo() {
  std::lock_guard lock(gate().mutex);
  gate().shut = false;
  gate().changed.notify_all();
}

}  // namespace vaultysclaw::net
