// What every part of the control plane shares.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "control/control_plane.hpp"
#include "proven_ids.hpp"

namespace vaultysclaw::control {

// Owned by the hub; its parts hold references. Confined to the loop, but for `ports`, `self` and what is shared.
struct Context {
  ControlPorts ports;
  ControlOptions options;
  identity::VaultysId self;
  Counters counters;
  std::shared_ptr<ProvenIds> provenIds = std::make_shared<ProvenIds>();  // shared with workers
  std::shared_ptr<char> alive = std::make_shared<char>();

  std::string newId() const { return newUuid(ports.clock, ports.entropy); }
  WallTime now() const { return ports.clock.now(); }

  // Wraps a callback that comes back to the loop later: it does nothing once the hub is gone. Call and destroy the
  // wrapper on the loop only.
  template <class F>
  auto ifAlive(F f) const {
    return [weak = std::weak_ptr<char>(alive), f = std::move(f)](auto&&... args) mutable {
      if (auto live = weak.lock()) f(std::forward<decltype(args)>(args)...);
    };
  }

  // Answers a caller on a later turn of the loop.
  template <class T>
  void replyLater(Reply<T> reply, Result<T> result) const {
    if (!reply) return;
    auto task = [reply = std::move(reply), held = std::make_shared<Result<T>>(std::move(result))] {
      reply(std::move(*held));
    };
    ports.loop.post(std::move(task));
  }

  // Runs `query` on a worker against a snapshot of the store, then answers on the loop. Busy when workers are full.
  template <class T>
  void readLater(std::function<Result<T>(store::ControlReader&)> query, Reply<T> reply) const;
};

inline const Error& shuttingDown() {
  static const Error error{Errc::Interrupted, "the control plane is shutting down"};
  return error;
}

template <class T>
void Context::readLater(std::function<Result<T>(store::ControlReader&)> query, Reply<T> replyTo) const {
  auto& loop = ports.loop;
  auto& database = ports.store;
  // The box travels through a worker; its content is moved out, run and destroyed on the loop.
  auto box = std::make_shared<Reply<T>>(std::move(replyTo));
  auto task = [&loop, &database, query = std::move(query), box] {
    auto result = std::make_shared<Result<T>>(Error{Errc::Internal, "the query did not run"});
    const Status status = database.readBlocking([&](store::ControlReader& reader) -> Status {
      *result = query(reader);
      return {};
    });
    if (!status) *result = status.error();
    loop.post([box, result] {
      const Reply<T> reply = std::move(*box);
      reply(std::move(*result));
    });
  };
  if (!ports.workers.submit(std::move(task))) {
    replyLater<T>(std::move(*box), Error{Errc::Busy, "the control plane is overloaded; try again later"});
  }
}

}  // namespace vaultysclaw::control
