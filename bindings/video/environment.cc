#include "environment.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <mutex>
#include <new>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

#include "../../native/video/decoder_pool.h"
#include "../../native/video/watch.h"

namespace bindings {
namespace {

constexpr size_t kQueueCapacity = 1 << 16;
constexpr auto kTick = std::chrono::milliseconds(200);  // how late a stalled read may be noticed

// All environments of the process. `process.exit` runs no cleanup hooks, so that the threads of those still
// alive are stopped when this is destroyed.
class Registry {
 public:
  static Registry& instance() {
    static Registry registry;
    return registry;
  }
  ~Registry() {
    for (Environment* environment : environments_) environment->shut_down();
  }
  void add(Environment* environment) {
    const std::lock_guard<std::mutex> lock(mutex_);
    environments_.insert(environment);
  }
  void remove(Environment* environment) {
    const std::lock_guard<std::mutex> lock(mutex_);
    environments_.erase(environment);
  }

 private:
  std::mutex mutex_;
  std::set<Environment*> environments_;
};

int default_workers() { return static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 256u)); }

}  // namespace

struct Environment::Task {
  explicit Task(Napi::Env env) : deferred(Napi::Promise::Deferred::New(env)) {}

  Napi::Promise::Deferred deferred;
  native::video::Flag cancelled;
  std::shared_ptr<native::video::Watch> watch = std::make_shared<native::video::Watch>();
  std::vector<Napi::ObjectReference> kept;
  std::function<Result()> work;
  // Of a call that runs in turn.
  const void* owner = nullptr;
  Line::iterator place;
  std::function<void()> check;
  Result result;
  std::exception_ptr exception;
};

Environment::Environment(Napi::Env env)
    : pool_(default_workers(), kQueueCapacity, native::video::close_idle_decoders) {
  channel_ = Channel::New(env, "video", 0, 1, this);
  channel_.Unref(env);  // only unfinished work keeps the process alive
  // Added after the channel's own hook, so it runs before it.
  env.AddCleanupHook([this] {
    Registry::instance().remove(this);
    shut_down();
  });
  Registry::instance().add(this);
}

Environment::~Environment() { error_class_.SuppressDestruct(); }

void Environment::shut_down() {
  for (const auto& [address, task] : tasks_) task->cancelled->store(true);
  {
    const std::lock_guard<std::mutex> lock(ticker_mutex_);
    ended_ = true;
    ticker_changed_.notify_all();
  }
  if (ticker_.joinable()) ticker_.join();
  give_up_blocked();
  pool_.stop();
  native::video::close_idle_decoders();
  // JavaScript is over: the references are the environment's to release.
  for (const auto& [address, task] : tasks_) {
    for (Napi::ObjectReference& reference : task->kept) reference.SuppressDestruct();
  }
  lines_.clear();
  waiting_ = 0;
  tasks_.clear();
}

Napi::Promise Environment::run(Napi::Env env, native::video::Flag cancelled,
                               const std::vector<Napi::Object>& kept, std::function<Result()> work) {
  return run_in_turn(env, nullptr, nullptr, std::move(cancelled), kept, std::move(work));
}

Napi::Promise Environment::run_in_turn(Napi::Env env, const void* owner, std::function<void()> check,
                                       native::video::Flag cancelled, const std::vector<Napi::Object>& kept,
                                       std::function<Result()> work) {
  const bool waits = owner != nullptr && lines_.count(owner) > 0;
  if (waits) check();  // also of what was aborted before it was asked for
  auto owned = std::make_unique<Task>(env);
  Task* const task = owned.get();
  task->cancelled = cancelled ? std::move(cancelled) : native::video::make_flag();
  for (const Napi::Object& object : kept) task->kept.push_back(Napi::Persistent(object));
  task->work = std::move(work);
  task->owner = owner;
  task->check = std::move(check);
  start_ticker();  // or throw before anything has begun
  // Those that wait here go to the pool later, which must have a place for them then.
  CHECK(queued() < kQueueCapacity && (waits || hand_over(task)), "ERR_ARGUMENT", "more than ", kQueueCapacity,
        " requests are waiting; await some of them first");
  if (owner != nullptr) {
    Line& line = lines_[owner];
    task->place = line.insert(line.end(), task);
    waiting_ += waits ? 1 : 0;
  }
  if (tasks_.empty()) {
    channel_.Ref(env);
    const std::lock_guard<std::mutex> lock(ticker_mutex_);
    ticking_ = true;
    ticker_changed_.notify_all();
  }
  tasks_.emplace(task, std::move(owned));
  return task->deferred.Promise();
}

// False when the pool takes nothing any more.
bool Environment::hand_over(Task* task) {
  return pool_.submit([this, task, watch = task->watch, work = std::move(task->work)]() mutable {
    const native::video::Watch::Scope scope(*watch);
    Result result;
    std::exception_ptr exception;
    try {
      result = work();
    } catch (...) {
      exception = std::current_exception();
    }
    work = nullptr;
    if (watch->given_up()) return false;  // neither the task nor this object may be there any more
    task->result = std::move(result);
    task->exception = exception;
    channel_.NonBlockingCall(task);
    return true;
  });
}

void Environment::start_ticker() {
  if (ticker_.joinable()) return;
  try {
    ticker_ = std::thread(&Environment::tick, this);
  } catch (const std::system_error&) {
    native::fail(
        "ERR_SYSTEM",
        "the system starts no thread that watches over reads; raise its limit (ulimit -u, or that of "
        "the container), or end what holds them");
  }
}

// When it was the turn of `task`, it is that of the next in line.
void Environment::leave_line(Napi::Env env, Task* task) {
  const auto found = lines_.find(task->owner);
  if (found == lines_.end()) return;
  Line& line = found->second;
  const bool first = task->place == line.begin();
  line.erase(task->place);
  if (line.empty()) {
    lines_.erase(found);
    return;
  }
  --waiting_;
  if (!first) return;
  Task* const next = line.front();
  try {
    hand_over(next);  // the pool has a place for it, or has stopped
  } catch (...) {     // but may have lost its last thread
    const auto exception = std::current_exception();
    take(env, next)->deferred.Reject(error(env, exception));
  }
}

void Environment::look_soon() {
  if (waiting_ == 0 || looking_) return;
  looking_ = channel_.NonBlockingCall(nullptr) == napi_ok;
}

// While there is work, the JavaScript thread looks at it every now and then: all that tasks hold is its own.
void Environment::tick() {
  std::unique_lock<std::mutex> lock(ticker_mutex_);
  while (!ended_) {
    ticker_changed_.wait(lock, [this] { return ended_ || ticking_; });
    if (!ticker_changed_.wait_for(lock, kTick, [this] { return ended_; })) channel_.NonBlockingCall(nullptr);
  }
}

std::unique_ptr<Environment::Task> Environment::take(Napi::Env env, Task* task) {
  const auto place = tasks_.find(task);
  if (place == tasks_.end()) return nullptr;
  std::unique_ptr<Task> owned = std::move(place->second);
  tasks_.erase(place);
  leave_line(env, task);
  if (tasks_.empty()) {
    channel_.Unref(env);
    const std::lock_guard<std::mutex> lock(ticker_mutex_);
    ticking_ = false;
  }
  return owned;
}

void Environment::give_up_overdue(Napi::Env env) {
  std::vector<Task*> overdue;
  for (const auto& [address, task] : tasks_) {
    if (task->watch->overdue() && task->watch->give_up()) overdue.push_back(address);
  }
  for (Task* const address : overdue) {
    const std::unique_ptr<Task> task = take(env, address);
    pool_.abandon(task->watch->thread());
    const native::Error stalled("ERR_VIDEO_TIMEOUT",
                                native::concat(task->watch->name(),
                                               ": a read has not returned within the deadline; does the disk "
                                               "or the server that it lies on still answer?"));
    task->deferred.Reject(error(env, std::make_exception_ptr(stalled)));
  }
}

void Environment::reject_waiting(Napi::Env env) {
  looking_ = false;
  if (waiting_ == 0) return;
  std::vector<std::pair<Task*, std::exception_ptr>> rejected;
  for (const auto& [owner, line] : lines_) {
    for (auto place = std::next(line.begin()); place != line.end(); ++place) {
      try {
        (*place)->check();
      } catch (...) {
        rejected.emplace_back(*place, std::current_exception());
      }
    }
  }
  for (const auto& [address, exception] : rejected) {
    const std::unique_ptr<Task> task = take(env, address);
    task->deferred.Reject(error(env, exception));
  }
}

// At the end nothing is waited for long: reads that have not returned by then will perhaps never do.
void Environment::give_up_blocked() {
  const auto blocked = [this] {
    return std::any_of(tasks_.begin(), tasks_.end(),
                       [](const auto& entry) { return entry.second->watch->blocked(); });
  };
  for (int waits = 0; waits < 100 && blocked(); ++waits)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  for (const auto& [address, task] : tasks_) {
    if (task->watch->give_up()) pool_.abandon(task->watch->thread());
  }
}

void Environment::settle(Napi::Env env, Napi::Function, Environment* self, Task* task) {
  if (static_cast<napi_env>(env) == nullptr) return;  // the environment ends, shut_down has released the task
  const Napi::HandleScope scope(env);
  if (task == nullptr) {
    self->give_up_overdue(env);
    self->pool_.start_missing();
    return self->reject_waiting(env);
  }
  const std::unique_ptr<Task> owned = self->take(env, task);
  if (!owned) return;
  try {
    if (task->exception) std::rethrow_exception(task->exception);
    task->deferred.Resolve(task->result(env));
  } catch (...) {  // by the work, or for want of memory for its result
    task->deferred.Reject(self->error(env, std::current_exception()));
  }
}

Napi::Value Environment::error(Napi::Env env, const std::exception_ptr& exception) {
  std::string code = "ERR_INTERNAL", message = "unknown failure of the video addon";
  try {
    std::rethrow_exception(exception);
  } catch (const Napi::Error& thrown) {
    return thrown.Value();  // by JavaScript code, a getter for example
  } catch (const native::Error& failure) {
    code = failure.code();
    message = failure.what();
  } catch (const std::bad_alloc&) {
    code = "ERR_OUT_OF_MEMORY";
    message = "out of memory in the video addon";
  } catch (const std::exception& failure) {
    message = failure.what();
  } catch (...) {
  }
  if (!error_class_.IsEmpty())
    return error_class_.New({Napi::String::New(env, code), Napi::String::New(env, message)});
  const Napi::Error plain = Napi::Error::New(env, message);
  plain.Value().Set("code", code);
  return plain.Value();
}

}  // namespace bindings
