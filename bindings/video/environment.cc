#include "environment.h"

#include <algorithm>
#include <mutex>
#include <new>
#include <set>
#include <thread>

namespace bindings {
namespace {

constexpr size_t kQueueCapacity = 1 << 16;

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
  std::vector<Napi::ObjectReference> kept;
  std::function<Result()> work;
  Result result;
  std::exception_ptr exception;
};

Environment::Environment(Napi::Env env) : pool_(default_workers(), kQueueCapacity) {
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
  pool_.stop();
  // JavaScript is over: the references are the environment's to release.
  for (const auto& [address, task] : tasks_) {
    for (Napi::ObjectReference& reference : task->kept) reference.SuppressDestruct();
  }
  tasks_.clear();
}

Napi::Promise Environment::run(Napi::Env env, native::video::Flag cancelled,
                               const std::vector<Napi::Object>& kept, std::function<Result()> work) {
  auto owned = std::make_unique<Task>(env);
  Task* task = owned.get();
  task->cancelled = cancelled ? std::move(cancelled) : native::video::make_flag();
  for (const Napi::Object& object : kept) task->kept.push_back(Napi::Persistent(object));
  task->work = std::move(work);
  const Napi::Promise promise = task->deferred.Promise();
  const bool taken = pool_.submit([this, task] {
    try {
      task->result = task->work();
    } catch (...) {
      task->exception = std::current_exception();
    }
    task->work = nullptr;
    channel_.NonBlockingCall(task);
  });
  CHECK(taken, "ERR_ARGUMENT", "more than ", kQueueCapacity,
        " requests are waiting; await some of them first");
  if (tasks_.empty()) channel_.Ref(env);
  tasks_.emplace(task, std::move(owned));
  return promise;
}

void Environment::settle(Napi::Env env, Napi::Function, Environment* self, Task* task) {
  if (static_cast<napi_env>(env) == nullptr) return;  // the environment ends, shut_down has released the task
  const Napi::HandleScope scope(env);
  const auto place = self->tasks_.find(task);
  if (place == self->tasks_.end()) return;
  const std::unique_ptr<Task> owned = std::move(place->second);
  self->tasks_.erase(place);
  if (self->tasks_.empty()) self->channel_.Unref(env);
  if (task->exception) {
    task->deferred.Reject(self->error(env, task->exception));
  } else {
    task->deferred.Resolve(task->result(env));
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
