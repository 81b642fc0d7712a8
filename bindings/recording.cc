// Work that is recorded once and queued again by one call.
#include <memory>

#include "bind.h"

namespace bindings {
namespace {

constexpr napi_type_tag kRecordingTag = {0x2f6c1d0b6e3a4f19, 0x8d5b7c90e1f2a364};

using Handle = std::unique_ptr<native::Recording>;

Handle& handle_of(const Napi::Value& value) {
  napi_env env = value.Env();
  bool tagged = false;
  if (value.IsExternal()) napi_check_object_type_tag(env, value, &kRecordingTag, &tagged);
  CHECK(tagged, "ERR_ARGUMENT", "recording must be what endRecording returned");
  void* data = nullptr;
  napi_get_value_external(env, value, &data);
  return *static_cast<Handle*>(data);
}

// beginRecording(device, beside?)
Napi::Value begin_recording(const Napi::CallbackInfo& info) {
  return guarded(info, [&] {
    const auto device = Convert<native::DeviceType>::from(info[0], "device");
    native::Recording* beside = nullptr;
    if (!info[1].IsUndefined()) {
      beside = handle_of(info[1]).get();
      CHECK(beside, "ERR_DISPOSED", "beside is a recording that was disposed");
    }
    native::backend(device).begin_recording(beside);
    return info.Env().Undefined();
  });
}

// endRecording(device): a handle.
Napi::Value end_recording(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    auto handle = std::make_unique<Handle>(
        native::backend(Convert<native::DeviceType>::from(info[0], "device")).end_recording());
    napi_env env = info.Env();
    napi_value value;
    const auto finalize = [](napi_env, void* data, void*) { delete static_cast<Handle*>(data); };
    CHECK(napi_create_external(env, handle.get(), finalize, nullptr, &value) == napi_ok, "ERR_INTERNAL",
          "cannot create a recording handle");
    handle.release();
    napi_type_tag_object(env, value, &kRecordingTag);
    return Napi::Value(env, value);
  });
}

// replay(recording)
Napi::Value replay(const Napi::CallbackInfo& info) {
  return guarded(info, [&] {
    Handle& handle = handle_of(info[0]);
    CHECK(handle, "ERR_DISPOSED", "a recording was replayed after it was disposed");
    handle->replay();
    return info.Env().Undefined();
  });
}

// releaseRecording(recording): idempotent.
Napi::Value release_recording(const Napi::CallbackInfo& info) {
  return guarded(info, [&] {
    handle_of(info[0]).reset();
    return info.Env().Undefined();
  });
}

}  // namespace

void export_recording(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("beginRecording", begin_recording);
  add("endRecording", end_recording);
  add("replay", replay);
  add("releaseRecording", release_recording);
}

}  // namespace bindings
