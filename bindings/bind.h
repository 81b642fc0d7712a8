// From a C++ function to a JavaScript one. BIND(function, "parameter", ...) derives argument checks,
// conversions and the TypeScript signature from the C++ type; the exported name is the camelCase of the C++
// name. The only place where a C++ exception becomes a JavaScript error.
#pragma once

#include <napi.h>

#include <cmath>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace bindings {

using native::Tensor;

// Handles (bindings/tensor.cc): an external value that owns a Tensor until it is released or collected.
Napi::Value wrap(Napi::Env env, Tensor tensor);
const Tensor& unwrap(const Napi::Value& value, const char* parameter);

[[noreturn]] void throw_js(Napi::Env env, const native::Error& error);
std::string camel_case(const std::string& snake);

template <class T>
struct Convert;

template <>
struct Convert<Tensor> {
  static Tensor from(const Napi::Value& v, const char* name) { return unwrap(v, name); }
  static Napi::Value to(Napi::Env env, Tensor t) { return wrap(env, std::move(t)); }
  static std::string type() { return "NativeTensor"; }
};

template <>
struct Convert<double> {
  static double from(const Napi::Value& v, const char* name) {
    CHECK(v.IsNumber(), "ERR_ARGUMENT", name, " must be a number");
    return v.As<Napi::Number>().DoubleValue();
  }
  static Napi::Value to(Napi::Env env, double v) { return Napi::Number::New(env, v); }
  static std::string type() { return "number"; }
};

template <>
struct Convert<int64_t> {
  static int64_t from(const Napi::Value& v, const char* name) {
    const double number = Convert<double>::from(v, name);
    CHECK(std::trunc(number) == number && std::fabs(number) <= 9007199254740991.0, "ERR_ARGUMENT", name,
          " must be an integer, got ", number);
    return static_cast<int64_t>(number);
  }
  static Napi::Value to(Napi::Env env, int64_t v) { return Napi::Number::New(env, static_cast<double>(v)); }
  static std::string type() { return "number"; }
};

template <>
struct Convert<bool> {
  static bool from(const Napi::Value& v, const char* name) {
    CHECK(v.IsBoolean(), "ERR_ARGUMENT", name, " must be a boolean");
    return v.As<Napi::Boolean>().Value();
  }
  static Napi::Value to(Napi::Env env, bool v) { return Napi::Boolean::New(env, v); }
  static std::string type() { return "boolean"; }
};

template <>
struct Convert<std::string> {
  static std::string from(const Napi::Value& v, const char* name) {
    CHECK(v.IsString(), "ERR_ARGUMENT", name, " must be a string");
    return v.As<Napi::String>().Utf8Value();
  }
  static Napi::Value to(Napi::Env env, const std::string& v) { return Napi::String::New(env, v); }
  static std::string type() { return "string"; }
};

template <>
struct Convert<native::DType> {
  static native::DType from(const Napi::Value& v, const char* name) {
    return native::dtype_from_name(Convert<std::string>::from(v, name));
  }
  static Napi::Value to(Napi::Env env, native::DType v) {
    return Napi::String::New(env, native::dtype_name(v));
  }
  static std::string type() { return "DType"; }
};

template <>
struct Convert<native::DeviceType> {
  static native::DeviceType from(const Napi::Value& v, const char* name) {
    const std::string device = Convert<std::string>::from(v, name);
    CHECK(device == "cpu" || device == "cuda", "ERR_DEVICE", "unknown device '", device,
          "': use cpu or cuda");
    return device == "cpu" ? native::DeviceType::cpu : native::DeviceType::cuda;
  }
  static Napi::Value to(Napi::Env env, native::DeviceType v) {
    return Napi::String::New(env, native::device_name(v));
  }
  static std::string type() { return "DeviceType"; }
};

template <class T>
struct Convert<std::optional<T>> {
  static std::optional<T> from(const Napi::Value& v, const char* name) {
    if (v.IsNull() || v.IsUndefined()) return std::nullopt;
    return Convert<T>::from(v, name);
  }
  static Napi::Value to(Napi::Env env, std::optional<T> v) {
    return v ? Convert<T>::to(env, std::move(*v)) : env.Null();
  }
  static std::string type() { return Convert<T>::type() + " | null"; }
};

template <class T>
struct Convert<std::vector<T>> {
  static std::vector<T> from(const Napi::Value& v, const char* name) {
    CHECK(v.IsArray(), "ERR_ARGUMENT", name, " must be an array");
    const Napi::Array array = v.As<Napi::Array>();
    std::vector<T> items;
    items.reserve(array.Length());
    for (uint32_t i = 0; i < array.Length(); ++i) items.push_back(Convert<T>::from(array.Get(i), name));
    return items;
  }
  static Napi::Value to(Napi::Env env, std::vector<T> items) {
    Napi::Array array = Napi::Array::New(env, items.size());
    for (uint32_t i = 0; i < items.size(); ++i) array.Set(i, Convert<T>::to(env, std::move(items[i])));
    return array;
  }
  static std::string type() { return "readonly (" + Convert<T>::type() + ")[]"; }
};

template <class... T>
struct Convert<std::tuple<T...>> {
  static Napi::Value to(Napi::Env env, std::tuple<T...> items) {
    Napi::Array array = Napi::Array::New(env, sizeof...(T));
    uint32_t i = 0;
    std::apply([&](auto&&... item) { (array.Set(i++, Convert<T>::to(env, std::move(item))), ...); },
               std::move(items));
    return array;
  }
  static std::string type() {
    std::string text;
    ((text += (text.empty() ? "" : ", ") + Convert<T>::type()), ...);
    return "[" + text + "]";
  }
};

// Runs a body and turns what it throws, unless it is JavaScript's already, into a JavaScript error.
template <class Body>
Napi::Value guarded(const Napi::CallbackInfo& info, Body&& body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (const native::Error& error) {
    throw_js(info.Env(), error);
  } catch (const std::bad_alloc&) {
    throw_js(info.Env(), native::Error("ERR_OUT_OF_MEMORY", "out of memory"));
  } catch (const std::exception& error) {
    throw_js(info.Env(), native::Error("ERR_INTERNAL", error.what()));
  }
}

struct Binding {
  std::string name;       // camelCase
  std::string signature;  // "(x: NativeTensor, eps: number) => NativeTensor"
  Napi::Value (*call)(const Napi::CallbackInfo&);
};

template <auto function>
struct Bound;

template <class R, class... A, R (*function)(A...)>
struct Bound<function> {
  // Of the parameters, as the first environment gives them: another may be in a call when a later one comes.
  static const std::vector<std::string>& names(std::vector<std::string> given = {}) {
    static const std::vector<std::string> first = std::move(given);
    return first;
  }

  template <size_t... I>
  static Napi::Value invoke(const Napi::CallbackInfo& info, std::index_sequence<I...>) {
    const auto arguments = std::make_tuple(Convert<std::decay_t<A>>::from(info[I], names()[I].c_str())...);
    if constexpr (std::is_void_v<R>) {
      std::apply(function, arguments);
      return info.Env().Undefined();
    } else {
      return Convert<R>::to(info.Env(), std::apply(function, arguments));
    }
  }

  static Napi::Value call(const Napi::CallbackInfo& info) {
    return guarded(info, [&] { return invoke(info, std::index_sequence_for<A...>{}); });
  }

  static Binding make(const char* name, std::vector<std::string> parameters) {
    const std::vector<std::string>& own = names(std::move(parameters));
    std::vector<std::string> types{Convert<std::decay_t<A>>::type()...};
    std::string signature = "(";
    for (size_t i = 0; i < types.size(); ++i)
      signature += (i ? ", " : "") + camel_case(own.at(i)) + ": " + types[i];
    if constexpr (std::is_void_v<R>) {
      signature += ") => void";
    } else {
      signature += ") => " + Convert<R>::type();
    }
    return {camel_case(name), signature, &call};
  }
};

std::vector<Binding> op_bindings();                             // bindings/ops.cc
std::vector<Binding> tensor_bindings();                         // bindings/tensor.cc
std::vector<Binding> dist_bindings();                           // bindings/dist.cc
void export_tensor_async(Napi::Env env, Napi::Object exports);  // bindings/tensor.cc
void export_recording(Napi::Env env, Napi::Object exports);     // bindings/recording.cc

}  // namespace bindings

#define BIND(function, ...) ::bindings::Bound<&native::function>::make(#function, {__VA_ARGS__})
