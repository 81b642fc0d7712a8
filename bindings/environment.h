// What the addon keeps per JavaScript environment (main thread or worker): the way back from a device's
// thread.
#pragma once

#include <napi.h>

#include <memory>

#include "core/device.h"

namespace bindings {

class Environment {
 public:
  static void install(Napi::Env env);
  static Environment& of(Napi::Env env);

  // A promise for `value` that settles when everything queued on `device` so far has run; it rejects with the
  // first error of the queue since the last such wait. Keeps the process alive while pending.
  Napi::Promise promise_after(native::DeviceBackend& device, Napi::Value value);

  // The JavaScript error for a native one: an instance of the class given to setErrorClass, with its `code`.
  Napi::Value make_error(const native::Error& error) const;
  void set_error_class(Napi::Function error_class) { error_class_ = Napi::Persistent(error_class); }

  ~Environment();

 private:
  struct Pending;
  explicit Environment(Napi::Env env);
  static void settle(Napi::Env env, Napi::Function, Environment* self, Pending* pending);
  using Completions = Napi::TypedThreadSafeFunction<Environment, Pending, settle>;

  Napi::Env env_;
  Completions completions_;
  Napi::FunctionReference error_class_;
  int pending_ = 0;
};

}  // namespace bindings
