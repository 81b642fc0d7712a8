// Integer and floating-point instructions, comparisons, selections and moves (PTX ISA, "Integer Arithmetic",
// "Floating Point", "Comparison and Selection", "Logic and Shift", "Data Movement").
#include <cfenv>
#include <cmath>

#include "program.h"
#include "types.h"

namespace emulation::ptx {
namespace {

// Integers wrap: their sums are taken of unsigned numbers, wide enough not to become signed ones.
template <class T>
using Wide =
    std::conditional_t<!std::is_integral_v<T>, T, std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>>;

struct Add {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(static_cast<Wide<T>>(a) + static_cast<Wide<T>>(b));
  }
};
struct Subtract {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(static_cast<Wide<T>>(a) - static_cast<Wide<T>>(b));
  }
};
struct Multiply {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(static_cast<Wide<T>>(a) * static_cast<Wide<T>>(b));
  }
};
struct MultiplyHigh {
  template <class T>
  T operator()(T a, T b) const {
    using Product = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
    return static_cast<T>(static_cast<Product>(a) * static_cast<Product>(b) >> 8 * sizeof(T));
  }
};
// Nothing traps: a quotient by zero is all ones, the remainder the dividend.
struct Divide {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      if (b == 0) return static_cast<T>(~T{0});
      if (std::is_signed_v<T> && b == static_cast<T>(-1)) return Subtract{}(T{0}, a);
    }
    return static_cast<T>(a / b);
  }
};
struct Remainder {
  template <class T>
  T operator()(T a, T b) const {
    if (b == 0) return a;
    if (std::is_signed_v<T> && b == static_cast<T>(-1)) return 0;
    return static_cast<T>(a % b);
  }
};
// Of a number and a NaN, the number.
struct Minimum {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) return a < b ? a : b;
    if (a == b) return std::signbit(a) ? a : b;  // -0 is below +0
    return std::isnan(b) || a < b ? a : b;
  }
};
struct Maximum {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) return a > b ? a : b;
    if (a == b) return std::signbit(a) ? b : a;
    return std::isnan(b) || a > b ? a : b;
  }
};
struct And {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a & b);
  }
};
struct Or {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a | b);
  }
};
struct Xor {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a ^ b);
  }
};
struct Negate {
  template <class T>
  T operator()(T a) const {
    if constexpr (std::is_integral_v<T>) return Subtract{}(T{0}, a);
    return -a;
  }
};
struct Absolute {
  template <class T>
  T operator()(T a) const {
    if constexpr (std::is_integral_v<T>) return a < 0 ? Subtract{}(T{0}, a) : a;
    return std::fabs(a);
  }
};
struct Not {
  bool operator()(bool a) const { return !a; }
  template <class T>
  T operator()(T a) const {
    return static_cast<T>(~a);
  }
};
struct Copy {
  template <class T>
  T operator()(T a) const {
    return a;
  }
};
struct SquareRoot {
  template <class T>
  T operator()(T a) const {
    return std::sqrt(a);
  }
};
struct Reciprocal {
  template <class T>
  T operator()(T a) const {
    return T{1} / a;
  }
};
// Of the next ones the results of 32 bits, with the error that the instruction may have left out, and 0 for
// what is below the normal numbers.
struct ReciprocalApprox {
  float operator()(float a) const { return flushed(1.0f / flushed(a)); }
};
struct Exp2Approx {
  float operator()(float a) const { return flushed(std::exp2(flushed(a))); }
};
// Good for 11 bits.
struct TanhApprox {
  float operator()(float a) const {
    return __builtin_bit_cast(float, (__builtin_bit_cast(uint32_t, std::tanh(a)) + 0x800u) & ~0xFFFu);
  }
};
// The upper half of the reciprocal; the lower is 0.
struct ReciprocalApproxDouble {
  double operator()(double a) const {
    return __builtin_bit_cast(double, __builtin_bit_cast(uint64_t, 1.0 / a) & 0xFFFFFFFF00000000u);
  }
};

template <class T, class F>
void unary(Frame& f, const Instruction& i) {
  f.set<T>(i.o[0], F{}(f.get<T>(i.o[1])));
}
template <class T, class F>
void binary(Frame& f, const Instruction& i) {
  f.set<T>(i.o[0], F{}(f.get<T>(i.o[1]), f.get<T>(i.o[2])));
}

template <class F, int kKinds>
Execute unary_of(std::string_view type) {
  return select<kKinds>(type, [](auto t) -> Execute { return unary<decltype(t), F>; });
}
template <class F, int kKinds>
Execute binary_of(std::string_view type) {
  return select<kKinds>(type, [](auto t) -> Execute { return binary<decltype(t), F>; });
}

template <class T>
void multiply_wide(Frame& f, const Instruction& i) {
  using Product =
      std::conditional_t<sizeof(T) == 2, std::conditional_t<std::is_signed_v<T>, int32_t, uint32_t>,
                         std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>;
  f.set<Product>(i.o[0], static_cast<Product>(f.get<T>(i.o[1])) * static_cast<Product>(f.get<T>(i.o[2])));
}
template <class T>
void multiply_add(Frame& f, const Instruction& i) {
  f.set<T>(i.o[0], Add{}(Multiply{}(f.get<T>(i.o[1]), f.get<T>(i.o[2])), f.get<T>(i.o[3])));
}
template <class T>
void fused(Frame& f, const Instruction& i) {
  f.set<T>(i.o[0], std::fma(f.get<T>(i.o[1]), f.get<T>(i.o[2]), f.get<T>(i.o[3])));
}

// Rounded towards minus infinity.
template <class F>
float downwards(F&& result) {
  const int mode = std::fegetround();
  std::fesetround(FE_DOWNWARD);
  const float value = result();
  std::fesetround(mode);
  return value;
}
void fused_down(Frame& f, const Instruction& i) {
  volatile float a = f.get<float>(i.o[1]), b = f.get<float>(i.o[2]), c = f.get<float>(i.o[3]);
  f.set<float>(i.o[0], downwards([&] {
                 volatile float value = std::fma(a, b, c);
                 return value;
               }));
}
void add_down(Frame& f, const Instruction& i) {
  volatile float a = f.get<float>(i.o[1]), b = f.get<float>(i.o[2]);
  f.set<float>(i.o[0], downwards([&] {
                 volatile float value = a + b;
                 return value;
               }));
}

// Shifts by the width or more leave nothing, or the sign.
template <class T>
void shift_left(Frame& f, const Instruction& i) {
  const uint32_t count = f.get<uint32_t>(i.o[2]);
  f.set<T>(i.o[0], count < 8 * sizeof(T) ? static_cast<T>(f.get<T>(i.o[1]) << count) : T{0});
}
template <class T>
void shift_right(Frame& f, const Instruction& i) {
  const uint32_t count = f.get<uint32_t>(i.o[2]);
  const T value = f.get<T>(i.o[1]);
  f.set<T>(i.o[0],
           count < 8 * sizeof(T) ? static_cast<T>(value >> count) : static_cast<T>(value < 0 ? -1 : 0));
}
// The lower word of (b:a) >> count.
void shift_pair(Frame& f, const Instruction& i) {
  const uint64_t both = static_cast<uint64_t>(f.get<uint32_t>(i.o[2])) << 32 | f.get<uint32_t>(i.o[1]);
  f.set<uint32_t>(i.o[0], static_cast<uint32_t>(both >> (f.get<uint32_t>(i.o[3]) & 31)));
}
// The lowest `count` bits of a at `place` of b.
template <class T>
void insert_bits(Frame& f, const Instruction& i) {
  const uint32_t place = f.get<uint32_t>(i.o[3]) & 0xFF, count = f.get<uint32_t>(i.o[4]) & 0xFF;
  constexpr uint32_t kWidth = 8 * sizeof(T);
  T mask = 0;
  for (uint32_t bit = place; bit < place + count && bit < kWidth; ++bit) mask |= T{1} << bit;
  const T a = place < kWidth ? f.get<T>(i.o[1]) << place : T{0};
  f.set<T>(i.o[0], (a & mask) | (f.get<T>(i.o[2]) & ~mask));
}
// Digit n of the selector chooses the byte of b:a for byte n; its bit 3 asks for copies of that byte's sign.
void permute_bytes(Frame& f, const Instruction& i) {
  const uint64_t both = static_cast<uint64_t>(f.get<uint32_t>(i.o[2])) << 32 | f.get<uint32_t>(i.o[1]);
  const uint32_t selector = f.get<uint32_t>(i.o[3]);
  uint32_t result = 0;
  for (int n = 0; n < 4; ++n) {
    const uint32_t digit = selector >> 4 * n & 0xF;
    const auto byte = static_cast<uint8_t>(both >> 8 * (digit & 7));
    const auto chosen = static_cast<uint8_t>(digit & 8 ? (byte & 0x80 ? 0xFF : 0) : byte);
    result |= static_cast<uint32_t>(chosen) << 8 * n;
  }
  f.set<uint32_t>(i.o[0], result);
}
// c + the two 16-bit halves of a times two bytes of b: the lower two, or the upper two.
template <int kFirst>
void dot_two(Frame& f, const Instruction& i) {
  const uint32_t a = f.get<uint32_t>(i.o[1]), b = f.get<uint32_t>(i.o[2]) >> 8 * kFirst;
  f.set<uint32_t>(i.o[0], f.get<uint32_t>(i.o[3]) + (a & 0xFFFF) * (b & 0xFF) + (a >> 16) * (b >> 8 & 0xFF));
}
// The sign of a, the rest of b.
void copy_sign(Frame& f, const Instruction& i) {
  f.set<float>(i.o[0], std::copysign(f.get<float>(i.o[2]), f.get<float>(i.o[1])));
}

template <class T>
void select_value(Frame& f, const Instruction& i) {
  f.set<T>(i.o[0], f.get<T>(f.get<bool>(i.o[3]) ? i.o[1] : i.o[2]));
}

// Comparisons are false where an operand is NaN, those of names that end in u true.
template <class T, class F>
void compare(Frame& f, const Instruction& i) {
  f.set<bool>(i.o[0], F{}(f.get<T>(i.o[1]), f.get<T>(i.o[2])));
}
#define COMPARISON(name, ordered)                         \
  struct name {                                           \
    template <class T>                                    \
    bool operator()(T a, T b) const {                     \
      return ordered;                                     \
    }                                                     \
  };                                                      \
  struct name##OrNan {                                    \
    template <class T>                                    \
    bool operator()(T a, T b) const {                     \
      return std::isnan(a) || std::isnan(b) || (ordered); \
    }                                                     \
  };
COMPARISON(Equal, a == b)
COMPARISON(Unequal, a<b || a> b)
COMPARISON(Less, a < b)
COMPARISON(LessOrEqual, a <= b)
COMPARISON(Greater, a > b)
COMPARISON(GreaterOrEqual, a >= b)
#undef COMPARISON
struct Nan {
  template <class T>
  bool operator()(T a, T b) const {
    return std::isnan(a) || std::isnan(b);
  }
};
struct Number {
  template <class T>
  bool operator()(T a, T b) const {
    return !std::isnan(a) && !std::isnan(b);
  }
};

template <class F, int kKinds>
Execute compare_of(std::string_view type) {
  return select<kKinds>(type, [](auto t) -> Execute { return compare<decltype(t), F>; });
}
Execute comparison(std::string_view how, std::string_view type) {
  if (how == "eq") return compare_of<Equal, kAll>(type);
  if (how == "ne") return compare_of<Unequal, kAll>(type);
  if (how == "lt") return compare_of<Less, kAll>(type);
  if (how == "le") return compare_of<LessOrEqual, kAll>(type);
  if (how == "gt") return compare_of<Greater, kAll>(type);
  if (how == "ge") return compare_of<GreaterOrEqual, kAll>(type);
  if (how == "equ") return compare_of<EqualOrNan, kFloats>(type);
  if (how == "neu") return compare_of<UnequalOrNan, kFloats>(type);
  if (how == "ltu") return compare_of<LessOrNan, kFloats>(type);
  if (how == "leu") return compare_of<LessOrEqualOrNan, kFloats>(type);
  if (how == "gtu") return compare_of<GreaterOrNan, kFloats>(type);
  if (how == "geu") return compare_of<GreaterOrEqualOrNan, kFloats>(type);
  if (how == "nan") return compare_of<Nan, kFloats>(type);
  if (how == "num") return compare_of<Number, kFloats>(type);
  return nullptr;
}

// One register from two, the lower half first, and two from one.
template <class Half>
void pack(Frame& f, const Instruction& i) {
  f.set<uint64_t>(i.o[0],
                  static_cast<uint64_t>(f.get<Half>(i.o[2])) << 8 * sizeof(Half) | f.get<Half>(i.o[1]));
}
template <class Half>
void unpack(Frame& f, const Instruction& i) {
  const auto whole = f.get<uint64_t>(i.o[2]);
  f.set<Half>(i.o[0], static_cast<Half>(whole));
  f.set<Half>(i.o[1], static_cast<Half>(whole >> 8 * sizeof(Half)));
}

Execute floating(const Opcode& opcode) {
  const std::string_view name = opcode.name, modifiers = opcode.modifiers, type = opcode.type;
  const bool nearest = modifiers == "rn", plain = modifiers.empty();
  if (name == "add")
    return nearest || plain              ? binary_of<Add, kFloats>(type)
           : opcode.text == "add.rm.f32" ? add_down
                                         : nullptr;
  if (name == "sub" && (nearest || plain)) return binary_of<Subtract, kFloats>(type);
  if (name == "mul" && (nearest || plain)) return binary_of<Multiply, kFloats>(type);
  if (name == "div" && nearest) return binary_of<Divide, kFloats>(type);
  if (name == "min" && plain) return binary_of<Minimum, kFloats>(type);
  if (name == "max" && plain) return binary_of<Maximum, kFloats>(type);
  if (name == "neg" && plain) return unary_of<Negate, kFloats>(type);
  if (name == "abs" && plain) return unary_of<Absolute, kFloats>(type);
  if (name == "sqrt" && nearest) return unary_of<SquareRoot, kFloats>(type);
  if (name == "rcp" && nearest) return unary_of<Reciprocal, kFloats>(type);
  if (name == "fma" && nearest)
    return select<kFloats>(type, [](auto t) -> Execute { return fused<decltype(t)>; });
  if (opcode.text == "fma.rm.f32") return fused_down;
  if (opcode.text == "rcp.approx.ftz.f32") return unary<float, ReciprocalApprox>;
  if (opcode.text == "rcp.approx.ftz.f64") return unary<double, ReciprocalApproxDouble>;
  if (opcode.text == "ex2.approx.ftz.f32") return unary<float, Exp2Approx>;
  if (opcode.text == "tanh.approx.f32") return unary<float, TanhApprox>;
  if (opcode.text == "copysign.f32") return copy_sign;
  return nullptr;
}

Execute integer(const Opcode& opcode) {
  const std::string_view name = opcode.name, modifiers = opcode.modifiers, type = opcode.type;
  if (name == "mul" && modifiers == "lo") return binary_of<Multiply, kIntegers>(type);
  if (name == "mul" && modifiers == "hi") return binary_of<MultiplyHigh, kIntegers>(type);
  if (name == "mul" && modifiers == "wide") {
    if (type == "u16") return multiply_wide<uint16_t>;
    if (type == "u32") return multiply_wide<uint32_t>;
    if (type == "s16") return multiply_wide<int16_t>;
    if (type == "s32") return multiply_wide<int32_t>;
  }
  if (name == "mad" && modifiers == "lo")
    return select<kIntegers>(type, [](auto t) -> Execute { return multiply_add<decltype(t)>; });
  if (opcode.text == "shf.r.wrap.b32") return shift_pair;
  if (opcode.text == "dp2a.lo.u32.u32") return dot_two<0>;
  if (opcode.text == "dp2a.hi.u32.u32") return dot_two<2>;
  if (!modifiers.empty()) return nullptr;
  if (name == "add") return binary_of<Add, kIntegers>(type);
  if (name == "sub") return binary_of<Subtract, kIntegers>(type);
  if (name == "div") return binary_of<Divide, kIntegers>(type);
  if (name == "rem") return binary_of<Remainder, kIntegers>(type);
  if (name == "min") return binary_of<Minimum, kIntegers>(type);
  if (name == "max") return binary_of<Maximum, kIntegers>(type);
  if (name == "neg") return unary_of<Negate, kIntegers>(type);
  if (name == "abs") return unary_of<Absolute, kIntegers>(type);
  if (name == "shl") return select<kBits>(type, [](auto t) -> Execute { return shift_left<decltype(t)>; });
  if (name == "shr")
    return select<kIntegers | kBits>(type, [](auto t) -> Execute { return shift_right<decltype(t)>; });
  if (opcode.text == "bfi.b32") return insert_bits<uint32_t>;
  if (opcode.text == "bfi.b64") return insert_bits<uint64_t>;
  if (opcode.text == "prmt.b32") return permute_bytes;
  return nullptr;
}

Execute logic(const Opcode& opcode) {
  const std::string_view name = opcode.name, type = opcode.type;
  if (!opcode.modifiers.empty()) return nullptr;
  if (type == "pred") {
    if (name == "and") return binary<bool, And>;
    if (name == "or") return binary<bool, Or>;
    if (name == "xor") return binary<bool, Xor>;
    if (name == "not") return unary<bool, Not>;
    if (name == "mov") return unary<bool, Copy>;
  }
  if (name == "and") return binary_of<And, kBits>(type);
  if (name == "or") return binary_of<Or, kBits>(type);
  if (name == "xor") return binary_of<Xor, kBits>(type);
  if (name == "not") return unary_of<Not, kBits>(type);
  if (name == "mov") return unary_of<Copy, kAll>(type);
  if (name == "selp") return select<kAll>(type, [](auto t) -> Execute { return select_value<decltype(t)>; });
  return nullptr;
}

}  // namespace

Execute halves(const Opcode& opcode, size_t results) {
  if (opcode.text == "mov.b32") return results == 1 ? pack<uint16_t> : unpack<uint16_t>;
  if (opcode.text == "mov.b64") return results == 1 ? pack<uint32_t> : unpack<uint32_t>;
  return nullptr;
}

Execute arithmetic(const Opcode& opcode) {
  if (opcode.name == "setp") return comparison(opcode.modifiers, opcode.type);
  for (Execute (*part)(const Opcode&) : {floating, integer, logic}) {
    if (const Execute found = part(opcode)) return found;
  }
  return nullptr;
}

}  // namespace emulation::ptx
