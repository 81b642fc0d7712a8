// cvt (PTX ISA, "Data Movement and Conversion"): between integers, between floating-point numbers, and from
// one to the other.
#include <cmath>

#include "core/dtype.h"
#include "program.h"
#include "types.h"

namespace emulation::ptx {
namespace {

template <class To, class From>
void convert(Frame& f, const Instruction& i) {
  f.set<To>(i.o[0], static_cast<To>(f.get<From>(i.o[1])));
}

// What lies outside the range of the integers becomes the nearest of them, NaN becomes 0.
template <class To, class From>
void truncate(Frame& f, const Instruction& i) {
  const From value = std::trunc(f.get<From>(i.o[1]));
  constexpr To kLowest = std::numeric_limits<To>::min(), kHighest = std::numeric_limits<To>::max();
  To result = 0;
  if (value <= static_cast<From>(kLowest)) {
    result = kLowest;
  } else if (value >= static_cast<From>(kHighest)) {
    result = kHighest;
  } else if (!std::isnan(value)) {
    result = static_cast<To>(value);
  }
  f.set<To>(i.o[0], result);
}

template <float (*kMap)(float)>
void map_float(Frame& f, const Instruction& i) {
  f.set<float>(i.o[0], kMap(f.get<float>(i.o[1])));
}
float to_even(float a) { return std::nearbyint(a); }
float down(float a) { return std::floor(a); }
float towards_zero(float a) { return std::trunc(a); }
// Into [0, 1]; NaN becomes 0.
float saturated(float a) { return a > 0 ? std::fmin(a, 1.0f) : 0.0f; }

uint16_t narrow(float value, native::bfloat16) { return static_cast<native::bfloat16>(value).bits; }
uint16_t narrow(float value, native::float16) { return static_cast<native::float16>(value).bits; }

template <class T>
void to_half(Frame& f, const Instruction& i) {
  f.set<uint16_t>(i.o[0], narrow(f.get<float>(i.o[1]), T{}));
}
// The first source goes to the upper half.
template <class T>
void to_pair(Frame& f, const Instruction& i) {
  f.set<uint32_t>(i.o[0], static_cast<uint32_t>(narrow(f.get<float>(i.o[1]), T{})) << 16 |
                              narrow(f.get<float>(i.o[2]), T{}));
}
void from_half(Frame& f, const Instruction& i) {
  native::float16 value;
  value.bits = f.get<uint16_t>(i.o[1]);
  f.set<float>(i.o[0], static_cast<float>(value));
}
// To nearest, halves away from zero; NaN becomes one NaN.
void to_tf32(Frame& f, const Instruction& i) {
  const uint32_t bits = f.get<uint32_t>(i.o[1]);
  uint32_t result = (bits + 0x1000u) & ~0x1FFFu;
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) result = 0x7FFFFFFFu;
  if ((bits & 0x7FFFFFFFu) == 0x7F800000u) result = bits;
  f.set<uint32_t>(i.o[0], result);
}

}  // namespace

Execute conversion(const Opcode& opcode) {
  struct Known {
    std::string_view name;
    Execute execute;
  };
  static constexpr Known kKnown[] = {
      {"cvt.s16.s8", convert<int16_t, int8_t>},
      {"cvt.s32.s8", convert<int32_t, int8_t>},
      {"cvt.u16.u32", convert<uint16_t, uint32_t>},
      {"cvt.u32.u16", convert<uint32_t, uint16_t>},
      {"cvt.u32.u64", convert<uint32_t, uint64_t>},
      {"cvt.u64.u16", convert<uint64_t, uint16_t>},
      {"cvt.u64.u32", convert<uint64_t, uint32_t>},
      {"cvt.s64.s32", convert<int64_t, int32_t>},
      {"cvt.rn.f32.u16", convert<float, uint16_t>},
      {"cvt.rn.f32.s32", convert<float, int32_t>},
      {"cvt.rn.f32.u32", convert<float, uint32_t>},
      {"cvt.rn.f32.s64", convert<float, int64_t>},
      {"cvt.rn.f64.s32", convert<double, int32_t>},
      {"cvt.rn.f64.u32", convert<double, uint32_t>},
      {"cvt.rn.f64.s64", convert<double, int64_t>},
      {"cvt.f64.f32", convert<double, float>},
      {"cvt.rn.f32.f64", convert<float, double>},
      {"cvt.rzi.s32.f32", truncate<int32_t, float>},
      {"cvt.rzi.u32.f32", truncate<uint32_t, float>},
      {"cvt.rzi.s64.f32", truncate<int64_t, float>},
      {"cvt.rzi.s32.f64", truncate<int32_t, double>},
      {"cvt.rni.f32.f32", map_float<to_even>},
      {"cvt.rmi.f32.f32", map_float<down>},
      {"cvt.rzi.f32.f32", map_float<towards_zero>},
      {"cvt.sat.f32.f32", map_float<saturated>},
      {"cvt.f32.f16", from_half},
      {"cvt.rn.f16.f32", to_half<native::float16>},
      {"cvt.rn.bf16.f32", to_half<native::bfloat16>},
      {"cvt.rn.f16x2.f32", to_pair<native::float16>},
      {"cvt.rn.bf16x2.f32", to_pair<native::bfloat16>},
      {"cvt.rna.tf32.f32", to_tf32},
  };
  for (const Known& known : kKnown) {
    if (known.name == opcode.text) return known.execute;
  }
  return nullptr;
}

}  // namespace emulation::ptx
