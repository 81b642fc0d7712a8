// What one JavaScript environment (the main thread or a worker thread) owns here: its worker pool, its
// unfinished promises and the class of its errors.
#pragma once

#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "../../native/data/worker_pool.h"
#include "../../native/video/stop.h"

namespace bindings {

// Makes the value of a promise, on the JavaScript thread, once the work is done.
using Result = std::function<Napi::Value(Napi::Env)>;

class Environment {
 public:
  explicit Environment(Napi::Env env);
  ~Environment();

  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

  // Runs `work` on a worker thread. `cancelled` is set when the environment ends; `kept` are objects that
  // must not be collected before the promise settles. Work that is blocked in a read beyond its deadline is
  // given up: its promise is rejected with ERR_VIDEO_TIMEOUT, and another thread takes the place of its own.
  Napi::Promise run(Napi::Env env, native::video::Flag cancelled, const std::vector<Napi::Object>& kept,
                    std::function<Result()> work);

  // The same for calls that run one after another, in the order they were made: those with the same `owner`,
  // which lives as long as the last `work`. A call that has to wait takes no thread. It is rejected with what
  // `check` throws, should that be before its turn: looked at every now and then and after look_soon().
  Napi::Promise run_in_turn(Napi::Env env, const void* owner, std::function<void()> check,
                            native::video::Flag cancelled, const std::vector<Napi::Object>& kept,
                            std::function<Result()> work);
  // What calls wait for or are told may have changed: a video was closed, a call aborted.
  void look_soon();

  // The JavaScript error for a C++ exception: an instance of the class given to setErrorClass, with its code.
  Napi::Value error(Napi::Env env, const std::exception_ptr& exception);
  void set_error_class(const Napi::Function& error_class) { error_class_ = Napi::Persistent(error_class); }

  native::data::WorkerPool& pool() { return pool_; }
  // Number of promises that have not settled; of those, that have not begun.
  size_t unfinished() const { return tasks_.size(); }
  size_t queued() const { return pool_.counts().queued + waiting_; }
  const std::shared_ptr<std::atomic<int>>& open_videos() { return open_videos_; }

  // Cancels everything and joins the worker threads; called when the environment or the process ends.
  void shut_down();

 private:
  struct Task;
  using Line = std::list<Task*>;
  bool hand_over(Task* task);
  void start_ticker();
  void leave_line(Napi::Env env, Task* task);
  static void settle(Napi::Env env, Napi::Function, Environment* self, Task* task);
  std::unique_ptr<Task> take(Napi::Env env, Task* task);
  void give_up_overdue(Napi::Env env);
  void reject_waiting(Napi::Env env);
  void give_up_blocked();
  void tick();
  using Channel = Napi::TypedThreadSafeFunction<Environment, Task, &Environment::settle>;

  native::data::WorkerPool pool_;
  // These are touched by the JavaScript thread only.
  std::unordered_map<Task*, std::unique_ptr<Task>> tasks_;
  std::unordered_map<const void*, Line> lines_;  // by owner: the call whose turn it is, and those behind it
  size_t waiting_ = 0;                           // calls that are not the first of their line
  bool looking_ = false;                         // look_soon() was called, and nobody has looked since
  Channel channel_;                              // from worker threads to the JavaScript thread
  Napi::FunctionReference error_class_;
  std::thread ticker_;  // asks the JavaScript thread now and then to look for overdue work
  std::mutex ticker_mutex_;
  std::condition_variable ticker_changed_;
  bool ticking_ = false, ended_ = false;
  std::shared_ptr<std::atomic<int>> open_videos_ = std::make_shared<std::atomic<int>>(0);
};

}  // namespace bindings
