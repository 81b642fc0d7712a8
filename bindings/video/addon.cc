// The decode addon: the functions of VideoAddon in lib/native/video.ts. Arguments are checked here and in
// convert.cc; the work is native/video and native/data, on the environment's worker threads.
#include <napi.h>

#include "../../native/video/decoder_pool.h"
#include "convert.h"
#include "environment.h"
#include "open_video.h"
#include "recording.h"

extern "C" {
#include <libavutil/log.h>
}

namespace bindings {
namespace {

using native::video::Flag;
using native::video::OnError;
using native::video::Reader;
using native::video::Stop;

constexpr int64_t kNoDeadline = Recording::kNoDeadline;
constexpr napi_type_tag kVideoTag = {0x3c5d1a8f5b0e4a61, 0x9a7e2f4c8d6b1053};
constexpr napi_type_tag kRecordingTag = {0x5af01d3c9e7b4286, 0xb1c84e06d72f953a};
constexpr napi_type_tag kCancelTag = {0x71e0b6c24fd84b3a, 0x84c9d05a6e1f7b28};

// A JavaScript object that owns a share of `value` until it is collected.
template <class T>
Napi::Object wrap(Napi::Env env, std::shared_ptr<T> value, const napi_type_tag& tag) {
  Napi::Object object = Napi::Object::New(env);
  object.TypeTag(&tag);
  auto held = std::make_unique<std::shared_ptr<T>>(std::move(value));
  const auto release = [](napi_env, void* data, void*) { delete static_cast<std::shared_ptr<T>*>(data); };
  const napi_status status = napi_wrap(env, object, held.get(), release, nullptr, nullptr);
  CHECK(status == napi_ok, "ERR_INTERNAL", "a handle could not be made");
  held.release();
  return object;
}

template <class T>
std::shared_ptr<T> unwrap(const Napi::Value& value, const napi_type_tag& tag, const char* what) {
  CHECK(value.IsObject() && value.As<Napi::Object>().CheckTypeTag(&tag), "ERR_ARGUMENT", what);
  void* data = nullptr;
  CHECK(napi_unwrap(value.Env(), value, &data) == napi_ok && data != nullptr, "ERR_ARGUMENT", what);
  return *static_cast<std::shared_ptr<T>*>(data);
}

std::shared_ptr<Video> to_video(const Napi::Value& value) {
  return unwrap<Video>(value, kVideoTag, "the first argument must be a video made by openVideo");
}

Flag to_cancel(const Napi::Value& value) {
  if (value.IsUndefined()) return native::video::make_flag();
  return unwrap<std::atomic<bool>>(value, kCancelTag, "cancel must be a token made by createCancelToken");
}

// Number of pictures [count, height, width, 3] in `frames`, which must be whole and at least one.
int to_picture_count(const Napi::Uint8Array& frames, int width, int height) {
  const size_t picture = static_cast<size_t>(width) * static_cast<size_t>(height) * 3,
               length = frames.ElementLength();
  const size_t count = length / picture;
  CHECK(count > 0 && count < (1u << 31) && count * picture == length, "ERR_ARGUMENT",
        "frames must hold whole pictures of ", width, " x ", height, " x 3 bytes and at least one, got ",
        length, " bytes");
  return static_cast<int>(count);
}

Napi::Value undefined(Napi::Env env) { return env.Undefined(); }

Napi::Int32Array to_int32_array(Napi::Env env, const std::vector<int32_t>& numbers) {
  auto array = Napi::Int32Array::New(env, numbers.size());
  std::copy(numbers.begin(), numbers.end(), array.Data());
  return array;
}

Napi::Value open_video(const Napi::CallbackInfo& info, Environment& environment) {
  const auto source = to_source(info[0]);
  const auto options = to_options(info[1]);
  const bool given = !info[1].IsUndefined();
  const int64_t deadline = to_deadline(given ? info[1].As<Napi::Object>().Get("deadlineMs") : info[1]);
  const Flag cancelled = to_cancel(info[2]);
  const auto counter = environment.open_videos();
  return environment.run(info.Env(), cancelled, {}, [=]() -> Result {
    auto reader = std::make_unique<Reader>(source, options, Stop(deadline, cancelled));
    const auto video = std::make_shared<Video>(std::move(reader), deadline, counter);
    return [video](Napi::Env env) { return wrap(env, video, kVideoTag); };
  });
}

Napi::Value video_info(const Napi::CallbackInfo& info, Environment&) {
  const auto video = to_video(info[0]);
  video->check_open();
  const native::video::Info& facts = video->info();
  Napi::Object result = Napi::Object::New(info.Env());
  result["frameCount"] = facts.frame_count;
  result["width"] = facts.width;
  result["height"] = facts.height;
  result["fps"] = facts.fps;
  result["rotation"] = facts.rotation;
  result["codec"] = facts.codec;
  result["durationSeconds"] = facts.duration;
  result["keyFrames"] = to_int32_array(info.Env(), facts.key_frames);
  auto times = Napi::Float64Array::New(info.Env(), facts.timestamps.size());
  std::copy(facts.timestamps.begin(), facts.timestamps.end(), times.Data());
  result["timestamps"] = times;
  return result;
}

// Returns the number of the frame shown in each place.
using Read = std::function<std::vector<int32_t>(Reader&, const Stop&)>;

// Reads into `out` when the calls before on the same video are done. A deadline of its own says when a call
// must be done, waiting included; that of the video, how long a call may take alone.
Napi::Value read_in_turn(Napi::Env env, Environment& environment, const std::shared_ptr<Video>& video,
                         const Napi::TypedArray& out, const Napi::Value& deadline, const Napi::Value& cancel,
                         const Read& read) {
  const Flag cancelled = to_cancel(cancel);
  const bool own = !deadline.IsUndefined();
  const Stop since_asked = video->stop(own ? to_deadline(deadline) : kNoDeadline, cancelled);
  const auto check = [since_asked, video] { since_asked.check(video->name()); };
  return environment.run_in_turn(env, video.get(), check, cancelled, {out}, [=]() -> Result {
    std::vector<int32_t> shown;
    video->with_reader([&](Reader& reader) {
      const Stop stop = own ? since_asked : video->stop(video->deadline_ms(), cancelled);
      stop.check(video->name());
      shown = read(reader, stop);
    });
    return [shown](Napi::Env env) { return to_int32_array(env, shown); };
  });
}

Napi::Value read_frames(const Napi::CallbackInfo& info, Environment& environment) {
  const auto video = to_video(info[0]);
  const auto indices = to_typed_array(info[1], napi_int32_array, "indices").As<Napi::Int32Array>();
  auto out = to_typed_array(info[2], napi_uint8_array, "out").As<Napi::Uint8Array>();
  const native::video::Info& facts = video->info();
  const size_t needed =
      indices.ElementLength() * 3 * static_cast<size_t>(facts.width) * static_cast<size_t>(facts.height);
  CHECK(out.ElementLength() == needed, "ERR_ARGUMENT", "out must have ", needed, " elements (",
        indices.ElementLength(), " frames of ", facts.width, " x ", facts.height, "), got ",
        out.ElementLength());
  const std::vector<int32_t> frames(indices.Data(), indices.Data() + indices.ElementLength());
  uint8_t* const target = out.Data();
  const Read read = [frames, target](Reader& reader, const Stop& stop) {
    return reader.read(frames.data(), frames.size(), target, stop);
  };
  return read_in_turn(info.Env(), environment, video, out, info[3], info[4], read);
}

Napi::Value video_damage(const Napi::CallbackInfo& info, Environment&) {
  return to_int32_array(info.Env(), to_video(info[0])->damage());
}

// Where a plan writes: one of the two is set.
struct PlanOutput {
  Napi::TypedArray array;
  float* floats;
  uint8_t* bytes;

  void execute(const native::data::Plan& plan, const native::data::FrameSource& source) const {
    floats ? native::data::execute(plan, source, floats) : native::data::execute(plan, source, bytes);
  }
};

PlanOutput to_plan_output(const native::data::Plan& plan, const Napi::Value& value,
                          const Napi::Value& offset) {
  const bool as_bytes =
      value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array;
  auto array = to_typed_array(value, as_bytes ? napi_uint8_array : napi_float32_array, "out");
  const size_t length = array.ElementLength(), needed = plan.element_count();
  const size_t start = offset.IsUndefined()
                           ? 0
                           : static_cast<size_t>(to_integer(offset, "elementOffset", 0, int64_t{1} << 53));
  CHECK(start <= length && needed <= length - start, "ERR_ARGUMENT", "out has ", length,
        " elements, but the plan writes ", needed, " from element ", start);
  if (as_bytes) return {array, nullptr, array.As<Napi::Uint8Array>().Data() + start};
  return {array, array.As<Napi::Float32Array>().Data() + start, nullptr};
}

Napi::Value run_plan(const Napi::CallbackInfo& info, Environment& environment) {
  const auto video = to_video(info[0]);
  const auto plan = to_plan(info[1]);
  const PlanOutput out = to_plan_output(plan, info[2], info[3]);
  const Read read = [plan, out](Reader& reader, const Stop& stop) {
    // A plan has a place for every frame, so that none can be left out.
    const auto rule = reader.on_error() == OnError::kSkip ? OnError::kError : reader.on_error();
    std::vector<int32_t> shown;
    const auto visit = [&](const std::vector<int32_t>& frames, const Reader::Use& use) {
      shown = reader.visit(frames.data(), frames.size(), rule, stop, use);
    };
    out.execute(plan, {reader.name(), reader.info().width, reader.info().height, visit});
    return shown;
  };
  return read_in_turn(info.Env(), environment, video, out.array, info[4], info[5], read);
}

Napi::Value run_plan_on_frames(const Napi::CallbackInfo& info, Environment& environment) {
  constexpr int64_t kMaxSide = 1 << 15;
  const int width = static_cast<int>(to_integer(info[1], "width", 1, kMaxSide));
  const int height = static_cast<int>(to_integer(info[2], "height", 1, kMaxSide));
  const auto plan = to_plan(info[3]);  // before any address is taken: a getter in it may move memory away
  const auto frames = to_typed_array(info[0], napi_uint8_array, "frames").As<Napi::Uint8Array>();
  const PlanOutput out = to_plan_output(plan, info[4], info[5]);
  const int count = to_picture_count(frames, width, height);
  const uint8_t* const pixels = frames.Data();
  return environment.run(info.Env(), nullptr, {frames, out.array}, [=]() -> Result {
    out.execute(plan, native::data::frames_in_memory(pixels, count, width, height));
    return undefined;
  });
}

Napi::Value close_video(const Napi::CallbackInfo& info, Environment& environment) {
  to_video(info[0])->close();
  environment.look_soon();
  return info.Env().Undefined();
}

Napi::Value encoded(Napi::Env env, const std::string& codec, int64_t frame_count) {
  Napi::Object result = Napi::Object::New(env);
  result["codec"] = codec;
  result["frameCount"] = static_cast<double>(frame_count);
  return result;
}

Napi::Value encode_video(const Napi::CallbackInfo& info, Environment& environment) {
  const std::string path = to_path(info[0], "path");
  const auto options = to_encode_options(info[1]);
  const auto frames = to_typed_array(info[2], napi_uint8_array, "frames").As<Napi::Uint8Array>();
  const Flag cancelled = to_cancel(info[3]);
  const int count = to_picture_count(frames, options.width, options.height);
  const uint8_t* const pixels = frames.Data();
  return environment.run(info.Env(), cancelled, {frames}, [=]() -> Result {
    native::video::Encoder encoder(path, options);
    encoder.write(pixels, count, Stop(kNoDeadline, cancelled));
    const std::string codec = encoder.finish();
    return [codec, count](Napi::Env env) { return encoded(env, codec, count); };
  });
}

std::shared_ptr<Recording> to_recording(const Napi::Value& value) {
  return unwrap<Recording>(value, kRecordingTag, "the first argument must be a file made by openEncoder");
}

Napi::Value open_encoder(const Napi::CallbackInfo& info, Environment& environment) {
  const std::string path = to_path(info[0], "path");
  const auto options = to_encode_options(info[1]);
  return environment.run(info.Env(), nullptr, {}, [=]() -> Result {
    auto encoder = std::make_unique<native::video::Encoder>(path, options);
    const auto recording = std::make_shared<Recording>(std::move(encoder), options.width, options.height);
    return [recording](Napi::Env env) { return wrap(env, recording, kRecordingTag); };
  });
}

Napi::Value write_frames(const Napi::CallbackInfo& info, Environment& environment) {
  const auto recording = to_recording(info[0]);
  const auto frames = to_typed_array(info[1], napi_uint8_array, "frames").As<Napi::Uint8Array>();
  const Flag cancelled = to_cancel(info[2]);
  const int count = to_picture_count(frames, recording->width(), recording->height());
  const uint8_t* const pixels = frames.Data();
  const auto turn = recording->take_turn();
  return environment.run(info.Env(), cancelled, {frames}, [=]() -> Result {
    recording->use(turn, cancelled, [&](native::video::Encoder& encoder, const Stop& stop) {
      encoder.write(pixels, count, stop);
    });
    return undefined;
  });
}

Napi::Value finish_encoder(const Napi::CallbackInfo& info, Environment& environment) {
  const auto recording = to_recording(info[0]);
  const auto turn = recording->take_turn();
  return environment.run(info.Env(), nullptr, {}, [=]() -> Result {
    std::string codec;
    int64_t count = 0;
    recording->use(turn, nullptr, [&](native::video::Encoder& encoder, const Stop&) {
      codec = encoder.finish();
      count = encoder.frame_count();
    });
    recording->close();
    return [codec, count](Napi::Env env) { return encoded(env, codec, count); };
  });
}

Napi::Value close_encoder(const Napi::CallbackInfo& info, Environment&) {
  to_recording(info[0])->close();
  return info.Env().Undefined();
}

Napi::Value create_cancel_token(const Napi::CallbackInfo& info, Environment&) {
  return wrap(info.Env(), native::video::make_flag(), kCancelTag);
}

Napi::Value cancel(const Napi::CallbackInfo& info, Environment& environment) {
  CHECK(!info[0].IsUndefined(), "ERR_ARGUMENT", "cancel needs a token made by createCancelToken");
  to_cancel(info[0])->store(true);
  environment.look_soon();
  return info.Env().Undefined();
}

Napi::Value set_worker_count(const Napi::CallbackInfo& info, Environment& environment) {
  const int count = static_cast<int>(to_integer(info[0], "count", 1, 1024));
  environment.pool().set_workers(count, !info[1].IsUndefined() && to_boolean(info[1], "background"));
  return info.Env().Undefined();
}

Napi::Value counters(const Napi::CallbackInfo& info, Environment& environment) {
  const size_t queued = environment.queued();
  Napi::Object result = Napi::Object::New(info.Env());
  result["openVideos"] = environment.open_videos()->load();
  result["queued"] = static_cast<double>(queued);
  // Until its promise settles: the worker that did it may not have noted its end yet.
  result["running"] = static_cast<double>(environment.unfinished() - queued);
  result["workers"] = environment.pool().counts().workers;
  const native::video::DecoderCounts decoders = native::video::decoder_counts();
  result["decodersOpened"] = static_cast<double>(decoders.opened);
  result["decodersReused"] = static_cast<double>(decoders.reused);
  result["decodersIdle"] = static_cast<double>(decoders.idle);
  return result;
}

Napi::Value set_error_class(const Napi::CallbackInfo& info, Environment& environment) {
  CHECK(info[0].IsFunction(), "ERR_ARGUMENT", "setErrorClass needs a class made with (code, message)");
  environment.set_error_class(info[0].As<Napi::Function>());
  return info.Env().Undefined();
}

using Entry = Napi::Value (*)(const Napi::CallbackInfo&, Environment&);

// The only places where C++ exceptions become JavaScript errors: thrown, or as a rejected promise.
template <Entry entry>
Napi::Value throwing(const Napi::CallbackInfo& info) {
  Environment& environment = Environment::of(info.Env());
  try {
    return entry(info, environment);
  } catch (...) {
    napi_throw(info.Env(), environment.error(info.Env(), std::current_exception()));
    return Napi::Value();
  }
}

template <Entry entry>
Napi::Value promising(const Napi::CallbackInfo& info) {
  Environment& environment = Environment::of(info.Env());
  try {
    return entry(info, environment);
  } catch (...) {
    const auto deferred = Napi::Promise::Deferred::New(info.Env());
    deferred.Reject(environment.error(info.Env(), std::current_exception()));
    return deferred.Promise();
  }
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  av_log_set_level(AV_LOG_QUIET);  // what matters comes back as errors
  env.SetInstanceData(new Environment(env));
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("openVideo", promising<open_video>);
  add("videoInfo", throwing<video_info>);
  add("videoDamage", throwing<video_damage>);
  add("readFrames", promising<read_frames>);
  add("runPlan", promising<run_plan>);
  add("runPlanOnFrames", promising<run_plan_on_frames>);
  add("closeVideo", throwing<close_video>);
  add("encodeVideo", promising<encode_video>);
  add("openEncoder", promising<open_encoder>);
  add("writeFrames", promising<write_frames>);
  add("finishEncoder", promising<finish_encoder>);
  add("closeEncoder", throwing<close_encoder>);
  add("createCancelToken", throwing<create_cancel_token>);
  add("cancel", throwing<cancel>);
  add("setWorkerCount", throwing<set_worker_count>);
  add("counters", throwing<counters>);
  add("setErrorClass", throwing<set_error_class>);
  return exports;
}

}  // namespace

NODE_API_MODULE(video, initialize)

}  // namespace bindings
