#include "environment.h"

#include <optional>

#include "bind.h"

namespace bindings {

struct Environment::Pending {
  Napi::Promise::Deferred deferred;
  Napi::Reference<Napi::Value> value;
  std::optional<native::Error> error;
};

Environment::Environment(Napi::Env env) : env_(env) {
  completions_ = Completions::New(env, "device completions", 0, 1, this);
  completions_.Unref(env);
}

// The channel has closed by itself by now, with the environment: to release it here would wait for a lock
// that Node 24 holds meanwhile.
Environment::~Environment() { error_class_.SuppressDestruct(); }

void Environment::install(Napi::Env env) {
  env.SetInstanceData<Environment>(new Environment(env));
  // Host buffers of this environment may be the target of queued copies: let the queues finish before they
  // go.
  env.AddCleanupHook(
      [] { native::for_each_open_backend([](native::DeviceBackend& device) { device.drain(); }); });
}

Environment& Environment::of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

Napi::Promise Environment::promise_after(native::DeviceBackend& device, Napi::Value value) {
  auto pending =
      new Pending{Napi::Promise::Deferred::New(env_), Napi::Reference<Napi::Value>(), std::nullopt};
  // Primitive values cannot be referenced; only undefined is passed besides buffers.
  if (value.IsObject()) pending->value = Napi::Reference<Napi::Value>::New(value, 1);
  if (pending_++ == 0) completions_.Ref(env_);
  device.fence([pending, completions = completions_](std::optional<native::Error> error) mutable {
    pending->error = std::move(error);
    completions.BlockingCall(pending);
  });
  return pending->deferred.Promise();
}

Napi::Value Environment::make_error(const native::Error& error) const {
  const auto code = Napi::String::New(env_, error.code()), message = Napi::String::New(env_, error.what());
  if (!error_class_.IsEmpty()) return error_class_.New({code, message});
  Napi::Error plain = Napi::Error::New(env_, error.what());
  plain.Set("code", code);
  return plain.Value();
}

void Environment::settle(Napi::Env env, Napi::Function, Environment* self, Pending* raw) {
  std::unique_ptr<Pending> pending(raw);
  if (env == nullptr) {  // the environment is going away: nobody waits any more
    pending->value.SuppressDestruct();
    return;
  }
  if (--self->pending_ == 0) self->completions_.Unref(env);
  if (pending->error) {
    pending->deferred.Reject(self->make_error(*pending->error));
  } else {
    pending->deferred.Resolve(pending->value.IsEmpty() ? env.Undefined() : pending->value.Value());
  }
}

}  // namespace bindings
