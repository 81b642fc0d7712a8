// The compute addon's entry: exports the tables and installs the per-environment data.
#include <cctype>

#include "bind.h"
#include "environment.h"

namespace bindings {

void throw_js(Napi::Env env, const native::Error& error) {
  throw Napi::Error(env, Environment::of(env).make_error(error));
}

std::string camel_case(const std::string& snake) {
  std::string name;
  for (size_t i = 0; i < snake.size(); ++i) {
    name += snake[i] == '_' ? static_cast<char>(std::toupper(snake[++i])) : snake[i];
  }
  return name;
}

static void set_error_class(const Napi::CallbackInfo& info) {
  if (info[0].IsFunction()) Environment::of(info.Env()).set_error_class(info[0].As<Napi::Function>());
}

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  Environment::install(env);
  Napi::Object signatures = Napi::Object::New(env);
  for (const auto& table : {op_bindings(), tensor_bindings(), dist_bindings()}) {
    for (const Binding& binding : table) {
      exports.Set(binding.name, Napi::Function::New(env, binding.call, binding.name));
      signatures.Set(binding.name, binding.signature);
    }
  }
  export_tensor_async(env, exports);
  export_recording(env, exports);
  exports.Set("signatures", signatures);
  exports.Set("setErrorClass", Napi::Function::New(env, set_error_class, "setErrorClass"));
  return exports;
}

NODE_API_MODULE(compute, init)

}  // namespace bindings
