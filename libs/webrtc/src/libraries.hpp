// libnice, usrsctp and GLib, opened on first use: a process that never opens a WebRTC connection does not load them,
// and does not need them installed. Internal. Everything is called from the engine's thread alone.
#pragma once

#include <usrsctp.h>

#include <cstddef>

#include "base/result.hpp"

namespace vaultysclaw::webrtc {

// The C interfaces of GLib 2.74 and libnice 0.1.21 as far as they are used, with opaque types: their headers bring a
// desktop's worth of packages.
namespace glib {

struct MainContext;
struct Source;
struct NiceAgent;
struct NiceCandidate;
struct NiceAddress;
struct Socket;
struct SList {
  void* data;
  SList* next;
};
struct PtrArray {
  void** data;
  unsigned length;
};
using Callback = void (*)();
using SourceFunc = int (*)(void*);
using ReceiveFunc = void (*)(NiceAgent*, unsigned stream, unsigned component, unsigned length, char* bytes, void* user);

inline constexpr int kIceTrickle = 1 << 3, kConsentFreshness = 1 << 5;  // NiceAgentOption
inline constexpr int kRelayUdp = 0;                                     // NiceRelayType
// NiceComponentState
inline constexpr unsigned kConnected = 3, kReady = 4, kFailed = 5;

}  // namespace glib

using SctpSocket = struct ::socket;  // beside a function of that name

struct Libraries {
  // libglib-2.0.so.0
  glib::MainContext* (*mainContextNew)();
  void (*mainContextUnref)(glib::MainContext*);
  int (*mainContextIteration)(glib::MainContext*, int mayBlock);
  void (*mainContextWakeup)(glib::MainContext*);
  void (*mainContextPushThreadDefault)(glib::MainContext*);
  void (*mainContextPopThreadDefault)(glib::MainContext*);
  glib::Source* (*timeoutSourceNew)(unsigned milliseconds);
  void (*sourceSetCallback)(glib::Source*, glib::SourceFunc, void*, void (*notify)(void*));
  unsigned (*sourceAttach)(glib::Source*, glib::MainContext*);
  void (*sourceDestroy)(glib::Source*);
  void (*sourceUnref)(glib::Source*);
  void (*free)(void*);
  void (*ptrArrayUnref)(glib::PtrArray*);
  // libgobject-2.0.so.0, libgio-2.0.so.0
  void (*objectSet)(void* object, const char* first, ...);
  void (*objectUnref)(void*);
  unsigned long (*signalConnectData)(void*, const char*, glib::Callback, void* data, void (*destroy)(void*, void*),
                                     int flags);
  unsigned (*signalHandlersDisconnectMatched)(void*, int mask, unsigned id, unsigned detail, void* closure, void* func,
                                              void* data);
  int (*socketGetFd)(glib::Socket*);
  // libnice.so.10
  glib::NiceAgent* (*niceAgentNewFull)(glib::MainContext*, int compatibility, int options);
  int (*niceAgentAddLocalAddress)(glib::NiceAgent*, glib::NiceAddress*);
  unsigned (*niceAgentAddStream)(glib::NiceAgent*, unsigned components);
  void (*niceAgentRemoveStream)(glib::NiceAgent*, unsigned stream);
  int (*niceAgentSetRelayInfo)(glib::NiceAgent*, unsigned stream, unsigned component, const char* ip, unsigned port,
                               const char* user, const char* password, int type);
  int (*niceAgentGatherCandidates)(glib::NiceAgent*, unsigned stream);
  int (*niceAgentAttachRecv)(glib::NiceAgent*, unsigned stream, unsigned component, glib::MainContext*,
                             glib::ReceiveFunc, void*);
  int (*niceAgentSend)(glib::NiceAgent*, unsigned stream, unsigned component, unsigned length, const char*);
  int (*niceAgentGetLocalCredentials)(glib::NiceAgent*, unsigned stream, char** ufrag, char** password);
  int (*niceAgentSetRemoteCredentials)(glib::NiceAgent*, unsigned stream, const char* ufrag, const char* password);
  int (*niceAgentSetRemoteCandidates)(glib::NiceAgent*, unsigned stream, unsigned component, const glib::SList*);
  glib::NiceCandidate* (*niceAgentParseRemoteCandidateSdp)(glib::NiceAgent*, unsigned stream, const char*);
  char* (*niceAgentGenerateLocalCandidateSdp)(glib::NiceAgent*, glib::NiceCandidate*);
  void (*niceCandidateFree)(glib::NiceCandidate*);
  glib::PtrArray* (*niceAgentGetSockets)(glib::NiceAgent*, unsigned stream, unsigned component);
  glib::NiceAddress* (*niceAddressNew)();
  void (*niceAddressFree)(glib::NiceAddress*);
  int (*niceAddressSetFromString)(glib::NiceAddress*, const char*);
  // libusrsctp.so.2
  decltype(&::usrsctp_init_nothreads) sctpInit;
  decltype(&::usrsctp_register_address) sctpRegisterAddress;
  decltype(&::usrsctp_deregister_address) sctpDeregisterAddress;
  decltype(&::usrsctp_socket) sctpSocket;
  decltype(&::usrsctp_close) sctpClose;
  decltype(&::usrsctp_setsockopt) sctpSetsockopt;
  decltype(&::usrsctp_set_non_blocking) sctpSetNonBlocking;
  decltype(&::usrsctp_set_upcall) sctpSetUpcall;
  decltype(&::usrsctp_bind) sctpBind;
  decltype(&::usrsctp_connect) sctpConnect;
  decltype(&::usrsctp_sendv) sctpSendv;
  decltype(&::usrsctp_recvv) sctpRecvv;
  decltype(&::usrsctp_conninput) sctpConninput;
  decltype(&::usrsctp_handle_timers) sctpHandleTimers;
  int (*sctpSysctlSetEcnEnable)(unsigned);
  int (*sctpSysctlSetAsconfEnable)(unsigned);
  int (*sctpSysctlSetAuthEnable)(unsigned);
  int (*sctpSysctlSetBlackhole)(unsigned);
};

// Opens them, once for the life of the process. Blocking: reads files. Any thread. Unsupported when a library or one of
// its functions is missing: the message names the packages to install.
Result<const Libraries*> loadLibraries();

}  // namespace vaultysclaw::webrtc
