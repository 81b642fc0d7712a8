// JavaScript arguments to the structures of the C++ core. Every function throws native::Error ERR_ARGUMENT,
// naming the argument, what it must be and what came.
#pragma once

#include <napi.h>

#include <string>

#include "../../native/data/plan.h"
#include "../../native/video/encoder.h"
#include "../../native/video/reader.h"

namespace bindings {

// Copies bytes given in memory, so that the caller may change or transfer them.
native::video::Source to_source(const Napi::Value& value);
native::video::Options to_options(const Napi::Value& value);
// Milliseconds; 60000 when undefined.
int64_t to_deadline(const Napi::Value& value);
native::video::EncodeOptions to_encode_options(const Napi::Value& value);
native::data::Plan to_plan(const Napi::Value& value);

std::string to_path(const Napi::Value& value, const char* what);
Napi::Object to_object(const Napi::Value& value, const char* what);
bool to_boolean(const Napi::Value& value, const std::string& what);
// An integer in [low, high].
int64_t to_integer(const Napi::Value& value, const std::string& what, int64_t low, int64_t high);
Napi::TypedArray to_typed_array(const Napi::Value& value, napi_typedarray_type type, const char* what);

}  // namespace bindings
