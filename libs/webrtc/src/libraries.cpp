#include "libraries.hpp"

#include <dlfcn.h>

#include <string>

namespace vaultysclaw::webrtc {
namespace {

// Opens one library and binds its functions; remembers the first thing that is missing.
class Loader {
 public:
  void open(const char* file) {
    if (!problem_.empty()) return;
    handle_ = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (handle_ == nullptr) fail(file);
  }
  template <class F>
  void bind(F*& slot, const char* name) {
    if (!problem_.empty()) return;
    slot = reinterpret_cast<F*>(dlsym(handle_, name));
    if (slot == nullptr) fail(name);
  }
  const std::string& problem() const { return problem_; }

 private:
  void fail(const char* what) {
    const char* why = dlerror();
    problem_ = why != nullptr ? why : what;
  }

  void* handle_ = nullptr;
  std::string problem_;
};

void bindGlib(Loader& loader, Libraries& l) {
  loader.open("libglib-2.0.so.0");
  loader.bind(l.mainContextNew, "g_main_context_new");
  loader.bind(l.mainContextUnref, "g_main_context_unref");
  loader.bind(l.mainContextIteration, "g_main_context_iteration");
  loader.bind(l.mainContextWakeup, "g_main_context_wakeup");
  loader.bind(l.mainContextPushThreadDefault, "g_main_context_push_thread_default");
  loader.bind(l.mainContextPopThreadDefault, "g_main_context_pop_thread_default");
  loader.bind(l.timeoutSourceNew, "g_timeout_source_new");
  loader.bind(l.sourceSetCallback, "g_source_set_callback");
  loader.bind(l.sourceAttach, "g_source_attach");
  loader.bind(l.sourceDestroy, "g_source_destroy");
  loader.bind(l.sourceUnref, "g_source_unref");
  loader.bind(l.free, "g_free");
  loader.bind(l.ptrArrayUnref, "g_ptr_array_unref");
  loader.open("libgobject-2.0.so.0");
  loader.bind(l.objectSet, "g_object_set");
  loader.bind(l.objectUnref, "g_object_unref");
  loader.bind(l.signalConnectData, "g_signal_connect_data");
  loader.bind(l.signalHandlersDisconnectMatched, "g_signal_handlers_disconnect_matched");
  loader.open("libgio-2.0.so.0");
  loader.bind(l.socketGetFd, "g_socket_get_fd");
}

void bindNice(Loader& loader, Libraries& l) {
  loader.open("libnice.so.10");
  loader.bind(l.niceAgentNewFull, "nice_agent_new_full");
  loader.bind(l.niceAgentAddLocalAddress, "nice_agent_add_local_address");
  loader.bind(l.niceAgentAddStream, "nice_agent_add_stream");
  loader.bind(l.niceAgentRemoveStream, "nice_agent_remove_stream");
  loader.bind(l.niceAgentSetRelayInfo, "nice_agent_set_relay_info");
  loader.bind(l.niceAgentGatherCandidates, "nice_agent_gather_candidates");
  loader.bind(l.niceAgentAttachRecv, "nice_agent_attach_recv");
  loader.bind(l.niceAgentSend, "nice_agent_send");
  loader.bind(l.niceAgentGetLocalCredentials, "nice_agent_get_local_credentials");
  loader.bind(l.niceAgentSetRemoteCredentials, "nice_agent_set_remote_credentials");
  loader.bind(l.niceAgentSetRemoteCandidates, "nice_agent_set_remote_candidates");
  loader.bind(l.niceAgentParseRemoteCandidateSdp, "nice_agent_parse_remote_candidate_sdp");
  loader.bind(l.niceAgentGenerateLocalCandidateSdp, "nice_agent_generate_local_candidate_sdp");
  loader.bind(l.niceCandidateFree, "nice_candidate_free");
  loader.bind(l.niceAgentGetSockets, "nice_agent_get_sockets");
  loader.bind(l.niceAddressNew, "nice_address_new");
  loader.bind(l.niceAddressFree, "nice_address_free");
  loader.bind(l.niceAddressSetFromString, "nice_address_set_from_string");
}

void bindSctp(Loader& loader, Libraries& l) {
  loader.open("libusrsctp.so.2");
  loader.bind(l.sctpInit, "usrsctp_init_nothreads");
  loader.bind(l.sctpRegisterAddress, "usrsctp_register_address");
  loader.bind(l.sctpDeregisterAddress, "usrsctp_deregister_address");
  loader.bind(l.sctpSocket, "usrsctp_socket");
  loader.bind(l.sctpClose, "usrsctp_close");
  loader.bind(l.sctpSetsockopt, "usrsctp_setsockopt");
  loader.bind(l.sctpSetNonBlocking, "usrsctp_set_non_blocking");
  loader.bind(l.sctpSetUpcall, "usrsctp_set_upcall");
  loader.bind(l.sctpBind, "usrsctp_bind");
  loader.bind(l.sctpConnect, "usrsctp_connect");
  loader.bind(l.sctpSendv, "usrsctp_sendv");
  loader.bind(l.sctpRecvv, "usrsctp_recvv");
  loader.bind(l.sctpConninput, "usrsctp_conninput");
  loader.bind(l.sctpHandleTimers, "usrsctp_handle_timers");
  loader.bind(l.sctpSysctlSetEcnEnable, "usrsctp_sysctl_set_sctp_ecn_enable");
  loader.bind(l.sctpSysctlSetAsconfEnable, "usrsctp_sysctl_set_sctp_asconf_enable");
  loader.bind(l.sctpSysctlSetAuthEnable, "usrsctp_sysctl_set_sctp_auth_enable");
  loader.bind(l.sctpSysctlSetBlackhole, "usrsctp_sysctl_set_sctp_blackhole");
}

struct Loaded {
  Loaded() {
    Loader loader;
    bindGlib(loader, libraries);
    bindNice(loader, libraries);
    bindSctp(loader, libraries);
    problem = loader.problem();
  }
  Libraries libraries{};
  std::string problem;
};

}  // namespace

Result<const Libraries*> loadLibraries() {
  // Never closed: usrsctp and GLib keep state for the life of the process.
  static const Loaded loaded;
  if (!loaded.problem.empty())
    return Error{Errc::Unsupported,
                 "WebRTC needs the packages libnice10 and libusrsctp2; install them (" + loaded.problem + ")"};
  return &loaded.libraries;
}

}  // namespace vaultysclaw::webrtc
