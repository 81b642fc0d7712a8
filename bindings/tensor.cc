// Tensor handles: creation from host memory, description, release, and reading back through promises.
#include <cstring>
#include <memory>

#include "bind.h"
#include "core/kernel.h"
#include "core/parallel.h"
#include "core/precision.h"
#include "core/queue.h"
#include "environment.h"
#include "ops/copy.h"

namespace bindings {
namespace {

// Handles are externals tagged with this, so that no other addon's external passes for a tensor.
constexpr napi_type_tag kTensorTag = {0x9d1f4a6be07c4c55, 0xa36b0f2d7d0e8c11};

struct Holder {
  Tensor tensor;
  int64_t reported = 0;  // bytes announced to the garbage collector
};

void finalize(napi_env env, void* data, void*) {
  Holder* holder = static_cast<Holder*>(data);
  int64_t total;
  if (holder->reported) napi_adjust_external_memory(env, -holder->reported, &total);
  delete holder;
}

Holder& holder_of(const Napi::Value& value, const char* parameter) {
  napi_env env = value.Env();
  bool tagged = false;
  if (value.IsExternal()) napi_check_object_type_tag(env, value, &kTensorTag, &tagged);
  CHECK(tagged, "ERR_ARGUMENT", parameter, " must be a tensor");
  void* data = nullptr;
  napi_get_value_external(env, value, &data);
  return *static_cast<Holder*>(data);
}

}  // namespace

Napi::Value wrap(Napi::Env env, Tensor tensor) {
  auto holder = std::make_unique<Holder>();
  const bool owner = tensor.storage().use_count() == 1;
  holder->reported = owner ? static_cast<int64_t>(tensor.storage()->bytes) : 0;
  holder->tensor = std::move(tensor);
  napi_value value;
  int64_t total;
  if (holder->reported) napi_adjust_external_memory(env, holder->reported, &total);
  CHECK(napi_create_external(env, holder.get(), finalize, nullptr, &value) == napi_ok, "ERR_INTERNAL",
        "cannot create a tensor handle");
  holder.release();
  napi_type_tag_object(env, value, &kTensorTag);
  return Napi::Value(env, value);
}

const Tensor& unwrap(const Napi::Value& value, const char* parameter) {
  const Holder& holder = holder_of(value, parameter);
  CHECK(holder.tensor.defined(), "ERR_DISPOSED", parameter, " was disposed");
  return holder.tensor;
}

namespace {

struct Bytes {
  const void* data;
  size_t size;
};

Bytes bytes_of(const Napi::Value& value) {
  if (value.IsTypedArray()) {
    // Not by way of array.ArrayBuffer(), which shared memory has none of.
    const auto array = value.As<Napi::TypedArray>();
    void* data = nullptr;
    const napi_status status =
        napi_get_typedarray_info(value.Env(), value, nullptr, nullptr, &data, nullptr, nullptr);
    CHECK(status == napi_ok, "ERR_ARGUMENT", "data is a typed array that cannot be read");
    return {data, array.ByteLength()};
  }
  CHECK(value.IsArrayBuffer(), "ERR_ARGUMENT", "data must be a typed array or an ArrayBuffer");
  auto buffer = value.As<Napi::ArrayBuffer>();
  return {buffer.Data(), buffer.ByteLength()};
}

// tensorFromHost(data, shape, dtype, device): copies host bytes into a new tensor.
Napi::Value tensor_from_host(const Napi::CallbackInfo& info) {
  return guarded(info, [&] {
    const auto shape = Convert<native::Shape>::from(info[1], "shape");
    const auto dtype = Convert<native::DType>::from(info[2], "dtype");
    const auto device = Convert<native::DeviceType>::from(info[3], "device");
    const Bytes bytes = bytes_of(info[0]);  // last: a getter among the sizes may take the memory away
    const size_t wanted = static_cast<size_t>(native::shape_numel(shape)) * native::dtype_size(dtype);
    CHECK(bytes.size == wanted, "ERR_SHAPE", "data has ", bytes.size, " bytes, but ",
          native::dtype_name(dtype), native::shape_string(shape), " takes ", wanted);
    Tensor tensor(std::make_shared<native::Storage>(device, wanted, true), shape, dtype);
    if (device == native::DeviceType::cpu) {
      if (wanted) std::memcpy(tensor.raw(), bytes.data, wanted);
    } else {
      native::backend(device).copy_from_host(tensor.raw(), bytes.data, wanted);
    }
    return wrap(info.Env(), std::move(tensor));
  });
}

// describe(handle): [dtype, device, ...shape].
Napi::Value describe(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Tensor& tensor = unwrap(info[0], "tensor");
    Napi::Array out = Napi::Array::New(info.Env(), 2 + tensor.ndim());
    out.Set(0u, native::dtype_name(tensor.dtype()));
    out.Set(1u, native::device_name(tensor.device()));
    for (int i = 0; i < tensor.ndim(); ++i)
      out.Set(static_cast<uint32_t>(2 + i), static_cast<double>(tensor.size(i)));
    return out;
  });
}

// release(handle): lets go of the storage now; the handle stays valid as an object but refers to nothing.
// Idempotent.
Napi::Value release(const Napi::CallbackInfo& info) {
  return guarded(info, [&] {
    Holder& holder = holder_of(info[0], "tensor");
    int64_t total;
    if (holder.reported) napi_adjust_external_memory(info.Env(), -holder.reported, &total);
    holder.reported = 0;
    holder.tensor = Tensor();
    return info.Env().Undefined();
  });
}

// read(handle): Promise<ArrayBuffer> with the tensor's bytes, once everything queued before has run.
Napi::Value read(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Tensor& tensor = unwrap(info[0], "tensor");
    const Napi::Env env = info.Env();
    Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, tensor.nbytes());
    auto& device = native::backend(tensor.device());
    if (tensor.nbytes()) device.copy_to_host(buffer.Data(), tensor.raw(), tensor.nbytes());
    return Environment::of(env).promise_after(device, buffer);
  });
}

// synchronize(device): Promise<undefined>, once everything queued before has run.
Napi::Value synchronize(const Napi::CallbackInfo& info) {
  return guarded(info, [&] {
    const auto device = Convert<native::DeviceType>::from(info[0], "device");
    return Environment::of(info.Env()).promise_after(native::backend(device), info.Env().Undefined());
  });
}

// memory(device): {liveTensors, liveBytes, peakBytes, reservedBytes}.
Napi::Value memory(const Napi::CallbackInfo& info) {
  return guarded(info, [&] {
    const auto stats = native::backend(Convert<native::DeviceType>::from(info[0], "device")).memory();
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("liveTensors", static_cast<double>(stats.live_tensors));
    out.Set("liveBytes", static_cast<double>(stats.live_bytes));
    out.Set("peakBytes", static_cast<double>(stats.peak_bytes));
    out.Set("reservedBytes", static_cast<double>(stats.reserved_bytes));
    return out;
  });
}

// takeProfile(device): [[op, calls, seconds], ...] since profiling began or the last call.
Napi::Value take_profile(const Napi::CallbackInfo& info) {
  return guarded(info, [&] {
    const auto times = native::backend(Convert<native::DeviceType>::from(info[0], "device")).take_profile();
    Napi::Array out = Napi::Array::New(info.Env(), times.size());
    for (uint32_t i = 0; i < times.size(); ++i) {
      Napi::Array row = Napi::Array::New(info.Env(), 3);
      row.Set(0u, times[i].name);
      row.Set(1u, static_cast<double>(times[i].calls));
      row.Set(2u, times[i].seconds);
      out.Set(i, row);
    }
    return out;
  });
}

// deviceReport(device): {built, unavailable, facts: {driver: "13.0", ...}}.
Napi::Value device_report(const Napi::CallbackInfo& info) {
  return guarded(info, [&] {
    const auto report = native::device_report(Convert<native::DeviceType>::from(info[0], "device"));
    Napi::Object out = Napi::Object::New(info.Env()), facts = Napi::Object::New(info.Env());
    for (const auto& [name, value] : report.facts) facts.Set(name, value);
    out.Set("built", report.built);
    out.Set("unavailable", report.unavailable);
    out.Set("facts", facts);
    return out;
  });
}

// kernels(): [[name, device], ...] of every filled slot.
Napi::Value kernels(const Napi::CallbackInfo& info) {
  const auto& records = native::kernel_records();
  Napi::Array out = Napi::Array::New(info.Env(), records.size());
  for (uint32_t i = 0; i < records.size(); ++i) {
    Napi::Array pair = Napi::Array::New(info.Env(), 2);
    pair.Set(0u, records[i].name);
    pair.Set(1u, native::device_name(records[i].device));
    out.Set(i, pair);
  }
  return out;
}

}  // namespace

void export_tensor_async(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("tensorFromHost", tensor_from_host);
  add("describe", describe);
  add("release", release);
  add("read", read);
  add("synchronize", synchronize);
  add("memory", memory);
  add("takeProfile", take_profile);
  add("deviceReport", device_report);
  add("kernels", kernels);
}

}  // namespace bindings

// Small functions over handles and devices that fit the table.
namespace native {

Tensor retain(const Tensor& x) { return x; }
// x itself when no other handle refers to its storage, else a copy: what may be changed in place. The two
// references that are always there are the caller's handle and this call's argument.
Tensor own(const Tensor& x) { return x.storage().use_count() <= 2 ? x : cast(x, x.dtype()); }
Tensor reshape(const Tensor& x, const Shape& shape) { return x.reshape(shape); }
Tensor rows(const Tensor& x, int64_t first, int64_t count) { return x.rows(first, count); }
Tensor empty_tensor(const Shape& shape, DType dtype, DeviceType device) {
  return empty(shape, dtype, device);
}
bool device_available(DeviceType device) { return device_report(device).unavailable.empty(); }
bool device_computes(DeviceType device, DType dtype) { return backend(device).computes(dtype); }
void empty_cache(DeviceType device) { backend(device).empty_cache(); }
void reset_peak_memory(DeviceType device) { backend(device).reset_peak(); }
void set_synchronous(DeviceType device, bool on) { backend(device).set_synchronous(on); }
void set_profiling(DeviceType device, bool on) { backend(device).set_profiling(on); }
void set_threads(int64_t count) {
  CHECK(count >= 1 && count <= 1024, "ERR_ARGUMENT", "count must be between 1 and 1024, got ", count);
  // The thread count is a property of the queue's own thread, where the kernels run.
  cpu_queue().submit({"set_threads", {}}, [count] { omp_set_num_threads(static_cast<int>(count)); });
}

}  // namespace native

namespace bindings {

std::vector<Binding> tensor_bindings() {
  return {
      BIND(retain, "x"),
      BIND(own, "x"),
      BIND(reshape, "x", "shape"),
      BIND(rows, "x", "first", "count"),
      BIND(empty_tensor, "shape", "dtype", "device"),
      BIND(device_available, "device"),
      BIND(device_computes, "device", "dtype"),
      BIND(select_device, "device", "index"),
      BIND(empty_cache, "device"),
      BIND(reset_peak_memory, "device"),
      BIND(set_synchronous, "device", "on"),
      BIND(set_profiling, "device", "on"),
      BIND(set_threads, "count"),
      BIND(set_allow_tf32, "on"),
      BIND(allow_tf32),
  };
}

}  // namespace bindings
