#include "net/io_loop.hpp"

#include <pthread.h>
#include <signal.h>

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/post.hpp>
#include <future>
#include <utility>

#include "io_loop_impl.hpp"

namespace vaultysclaw::net {

namespace asio = boost::asio;

namespace {

thread_local const IoLoop::Impl* currentLoop = nullptr;

struct TimerState {
  using AsioTimer = asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>,
                                               asio::io_context::executor_type>;
  TimerState(asio::io_context& context, Task t) : timer(context.get_executor()), task(std::move(t)) {}
  AsioTimer timer;
  Task task;
};

void run(IoLoop::Impl& impl, const std::string& name) {
  // Signals belong to the threads that main() chose for them.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());

  currentLoop = &impl;
  auto work = asio::make_work_guard(impl.context());
  impl.context().run();
  work.reset();
  {
    // Whoever stopped the context, or posted to it, has left it now.
    std::lock_guard lock(impl.mutex);
  }
  impl.context_.reset();
  currentLoop = nullptr;
}

}  // namespace

IoLoop::IoLoop(std::string threadName) : impl_(std::make_unique<Impl>()) {
  impl_->thread = std::thread([impl = impl_.get(), name = std::move(threadName)] { run(*impl, name); });
}

IoLoop::~IoLoop() {
  VC_ASSERT(!isCurrent(), "an IoLoop cannot be destroyed on its own thread");
  {
    std::lock_guard lock(impl_->mutex);
    impl_->closed = true;
    impl_->context().stop();
  }
  impl_->thread.join();
}

void IoLoop::post(Task task) {
  std::unique_lock lock(impl_->mutex, std::defer_lock);
  if (!isCurrent()) lock.lock();
  if (!impl_->closed) asio::post(impl_->context(), std::move(task));
}

Timer IoLoop::after(Duration delay, Task task) {
  VC_ASSERT(isCurrent(), "Executor::after is called on the executor only");
  if (impl_->closed) return {};
  auto state = std::make_shared<TimerState>(impl_->context(), std::move(task));
  state->timer.expires_after(std::max(delay, Duration(0)));
  state->timer.async_wait([state](const boost::system::error_code& ec) {
    // The task leaves the state first: it may destroy its own Timer.
    if (Task due = std::exchange(state->task, nullptr); due && !ec) due();
  });
  return Timer([weak = std::weak_ptr<TimerState>(state)] {
    if (auto pending = weak.lock()) {
      const Task dropped = std::exchange(pending->task, nullptr);
      pending->timer.cancel();
    }
  });
}

bool IoLoop::isCurrent() const {
  return currentLoop == impl_.get();
}

void IoLoop::runBlocking(const std::function<void()>& task) {
  VC_ASSERT(!isCurrent(), "runBlocking on the loop's own thread would wait for itself");
  const auto done = std::make_shared<std::promise<void>>();
  post([done, &task] {
    task();
    done->set_value();
  });
  done->get_future().wait();
}

bool isLoopbackAddress(std::string_view address) {
  if (address == "localhost") return true;
  boost::system::error_code ec;
  const auto ip = asio::ip::make_address(address, ec);
  if (ec) return false;
  if (ip.is_v6() && ip.to_v6().is_v4_mapped())
    return asio::ip::make_address_v4(asio::ip::v4_mapped, ip.to_v6()).is_loopback();
  return ip.is_loopback();
}

}  // namespace vaultysclaw::net
