#include "convert.h"

#include <cmath>

namespace bindings {
namespace {

constexpr int64_t kMaxInteger = int64_t{1} << 53;
constexpr int64_t kMaxSide = 1 << 15;

std::string shown(const Napi::Value& value) {
  if (value.IsEmpty() || value.IsUndefined()) return "undefined";
  if (value.IsString()) return "\"" + value.As<Napi::String>().Utf8Value() + "\"";
  if (value.IsNumber() || value.IsBoolean() || value.IsNull()) return value.ToString().Utf8Value();
  return value.IsArray() ? "an array" : value.IsFunction() ? "a function" : "an object";
}

double to_number(const Napi::Value& value, const std::string& what, double low, double high) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  CHECK(number >= low && number <= high, "ERR_ARGUMENT", what, " must be a number in ", low, "..", high,
        ", got ", shown(value));
  return number;
}

// An array or typed array as an object with a length in [low, high].
std::pair<Napi::Object, uint32_t> to_list(const Napi::Value& value, const std::string& what, int64_t low,
                                          int64_t high) {
  CHECK(value.IsArray() || value.IsTypedArray(), "ERR_ARGUMENT", what, " must be an array, got ",
        shown(value));
  const Napi::Object list = value.As<Napi::Object>();
  const int64_t length = to_integer(list.Get("length"), what + ".length", 0, kMaxInteger);
  const std::string wanted = low == high ? native::concat(low) : native::concat(low, "..", high);
  CHECK(length >= low && length <= high, "ERR_ARGUMENT", what, " must have ", wanted, " elements, got ",
        length);
  return {list, static_cast<uint32_t>(length)};
}

template <size_t N>
std::array<double, N> to_numbers(const Napi::Value& value, const std::string& what, double low, double high) {
  const auto [list, length] = to_list(value, what, N, N);
  std::array<double, N> numbers;
  for (uint32_t i = 0; i < length; ++i) numbers[i] = to_number(list.Get(i), what, low, high);
  return numbers;
}

template <size_t N>
std::array<int, N> to_integers(const Napi::Value& value, const std::string& what, int64_t low, int64_t high) {
  const auto [list, length] = to_list(value, what, N, N);
  std::array<int, N> numbers;
  for (uint32_t i = 0; i < length; ++i)
    numbers[i] = static_cast<int>(to_integer(list.Get(i), what, low, high));
  return numbers;
}

native::data::Jitter to_jitter(const Napi::Value& value) {
  const Napi::Object object = to_object(value, "plan.jitter[]");
  native::data::Jitter jitter;
  const auto [order, length] = to_list(object.Get("order"), "plan.jitter[].order", 0, 4);
  for (uint32_t i = 0; i < length; ++i) {
    jitter.order.push_back(static_cast<int>(to_integer(order.Get(i), "plan.jitter[].order[]", 0, 3)));
  }
  const auto factor = [&object](const char* key) {
    return static_cast<float>(to_number(object.Get(key), std::string("plan.jitter[].") + key, 0, 1e6));
  };
  jitter.brightness = factor("brightness");
  jitter.contrast = factor("contrast");
  jitter.saturation = factor("saturation");
  jitter.hue = to_number(object.Get("hue"), "plan.jitter[].hue", -0.5, 0.5);
  return jitter;
}

// Sets `target` when the object has the key.
template <class T>
void maybe_integer(const Napi::Object& object, const char* key, T& target, int64_t low, int64_t high) {
  const Napi::Value value = object.Get(key);
  if (!value.IsUndefined()) target = static_cast<T>(to_integer(value, key, low, high));
}

native::video::OnError to_on_error(const Napi::Value& value) {
  using native::video::OnError;
  if (value.IsUndefined()) return OnError::kError;
  const std::string rule = value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
  CHECK(rule == "error" || rule == "skip" || rule == "nearest", "ERR_ARGUMENT",
        "onError must be error, skip or nearest, got ", shown(value));
  return rule == "skip" ? OnError::kSkip : rule == "nearest" ? OnError::kNearest : OnError::kError;
}

}  // namespace

bool to_boolean(const Napi::Value& value, const std::string& what) {
  CHECK(value.IsBoolean(), "ERR_ARGUMENT", what, " must be true or false, got ", shown(value));
  return value.As<Napi::Boolean>().Value();
}

int64_t to_integer(const Napi::Value& value, const std::string& what, int64_t low, int64_t high) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  const bool good = number >= static_cast<double>(low) && number <= static_cast<double>(high) &&
                    number == std::floor(number);
  CHECK(good, "ERR_ARGUMENT", what, " must be an integer in ", low, "..", high, ", got ", shown(value));
  return static_cast<int64_t>(number);
}

Napi::Object to_object(const Napi::Value& value, const char* what) {
  CHECK(value.IsObject() && !value.IsFunction(), "ERR_ARGUMENT", what, " must be an object, got ",
        shown(value));
  return value.As<Napi::Object>();
}

std::string to_path(const Napi::Value& value, const char* what) {
  CHECK(value.IsString(), "ERR_ARGUMENT", what, " must be a path, got ", shown(value));
  const std::string path = value.As<Napi::String>().Utf8Value();
  CHECK(!path.empty() && path.find('\0') == std::string::npos, "ERR_ARGUMENT", what,
        " must be a path that is not empty and has no null character");
  return path;
}

Napi::TypedArray to_typed_array(const Napi::Value& value, napi_typedarray_type type, const char* what) {
  const char* names[] = {"Int8Array",    "Uint8Array",    "Uint8ClampedArray", "Int16Array",
                         "Uint16Array",  "Int32Array",    "Uint32Array",       "Float32Array",
                         "Float64Array", "BigInt64Array", "BigUint64Array"};
  CHECK(value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type, "ERR_ARGUMENT", what,
        " must be a ", names[type], ", got ", shown(value));
  return value.As<Napi::TypedArray>();
}

native::video::Source to_source(const Napi::Value& value) {
  const Napi::Object object = to_object(value, "source");
  native::video::Source source;
  const Napi::Value data = object.Get("data");
  if (!data.IsUndefined()) {
    const auto bytes = to_typed_array(data, napi_uint8_array, "source.data").As<Napi::Uint8Array>();
    source.data =
        std::make_shared<const std::vector<uint8_t>>(bytes.Data(), bytes.Data() + bytes.ByteLength());
    return source;
  }
  const Napi::Value fd = object.Get("fd");
  if (fd.IsUndefined()) {
    source.path = to_path(object.Get("path"), "source.path");
  } else {
    // Duplicated here and now: the caller may close its own while the work waits.
    source.file =
        native::video::Descriptor::duplicate(static_cast<int>(to_integer(fd, "source.fd", 0, INT32_MAX)));
  }
  maybe_integer(object, "offset", source.offset, 0, kMaxInteger);
  maybe_integer(object, "length", source.length, 0, kMaxInteger);
  return source;
}

native::video::Options to_options(const Napi::Value& value) {
  native::video::Options options;
  if (value.IsUndefined()) return options;
  const Napi::Object object = to_object(value, "options");
  maybe_integer(object, "threads", options.threads, 1, 64);
  maybe_integer(object, "maxPixels", options.max_pixels, 1, int64_t{1} << 30);
  maybe_integer(object, "maxFrames", options.max_frames, 1, int64_t{1} << 28);
  maybe_integer(object, "maxStreams", options.max_streams, 1, 1000);
  maybe_integer(object, "probeBytes", options.probe_bytes, 1 << 10, int64_t{1} << 30);
  maybe_integer(object, "stream", options.stream, 0, 1 << 16);
  maybe_integer(object, "width", options.width, 1, kMaxSide);
  maybe_integer(object, "height", options.height, 1, kMaxSide);
  maybe_integer(object, "shortSide", options.short_side, 1, kMaxSide);
  options.on_error = to_on_error(object.Get("onError"));
  return options;
}

int64_t to_deadline(const Napi::Value& value) {
  constexpr int64_t kDefault = 60'000, kLongest = int64_t{1} << 31;
  return value.IsUndefined() ? kDefault : to_integer(value, "deadlineMs", 1, kLongest);
}

native::video::EncodeOptions to_encode_options(const Napi::Value& value) {
  const Napi::Object object = to_object(value, "options");
  native::video::EncodeOptions options;
  options.width = static_cast<int>(to_integer(object.Get("width"), "width", 2, kMaxSide));
  options.height = static_cast<int>(to_integer(object.Get("height"), "height", 2, kMaxSide));
  options.fps = to_number(object.Get("fps"), "fps", 0.01, 1000);
  const Napi::Value codec = object.Get("codec");
  if (!codec.IsUndefined()) {
    CHECK(codec.IsString(), "ERR_ARGUMENT", "codec must be h264 or mpeg4, got ", shown(codec));
    options.codec = codec.As<Napi::String>().Utf8Value();
  }
  maybe_integer(object, "gop", options.gop, 1, 600);
  maybe_integer(object, "bFrames", options.b_frames, 0, 16);
  maybe_integer(object, "bitrate", options.bitrate, 1, int64_t{1} << 31);
  maybe_integer(object, "quality", options.quality, 1, 31);
  return options;
}

native::data::Plan to_plan(const Napi::Value& value) {
  const Napi::Object object = to_object(value, "plan");
  native::data::Plan plan;
  const auto [frames, frame_count] = to_list(object.Get("frames"), "plan.frames", 1, 1 << 16);
  for (uint32_t i = 0; i < frame_count; ++i) {
    plan.frames.push_back(static_cast<int32_t>(to_integer(frames.Get(i), "plan.frames[]", 0, INT32_MAX)));
  }
  const Napi::Value resize = object.Get("resize");
  if (!resize.IsNull()) plan.resize = to_integers<2>(resize, "plan.resize", 1, kMaxSide);
  const auto [crops, crop_count] = to_list(object.Get("crops"), "plan.crops", 1, 1 << 10);
  for (uint32_t i = 0; i < crop_count; ++i) {
    const auto box = to_integers<4>(crops.Get(i), "plan.crops[]", 0, kMaxSide);
    plan.crops.push_back({box[0], box[1], box[2], box[3]});
  }
  const Napi::Value size = object.Get("size");
  if (size.IsNumber()) {
    plan.width = plan.height = static_cast<int>(to_integer(size, "plan.size", 1, kMaxSide));
  } else {
    const auto sides = to_integers<2>(size, "plan.size", 1, kMaxSide);
    plan.width = sides[0];
    plan.height = sides[1];
  }
  plan.flip = to_boolean(object.Get("flip"), "plan.flip");
  plan.gray = to_boolean(object.Get("gray"), "plan.gray");
  const Napi::Value jitter = object.Get("jitter");
  if (!jitter.IsNull()) {
    const auto list = to_list(jitter, "plan.jitter", frame_count, frame_count).first;
    for (uint32_t i = 0; i < frame_count; ++i) plan.jitter.push_back(to_jitter(list.Get(i)));
  }
  plan.mean = to_numbers<3>(object.Get("mean"), "plan.mean", -1e6, 1e6);
  plan.std = to_numbers<3>(object.Get("std"), "plan.std", 1e-6, 1e6);
  return plan;
}

}  // namespace bindings
