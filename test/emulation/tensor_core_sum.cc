#include "tensor_core_sum.h"

#include <cstdint>
#include <cstring>

#include "device_facts.h"

namespace emulation {
namespace {

constexpr int kColumns = 8;  // that are added side by side
typedef float Floats __attribute__((vector_size(kColumns * 4)));
typedef int32_t Ints __attribute__((vector_size(kColumns * 4)));
typedef double Doubles __attribute__((vector_size(kColumns * 8)));
typedef int64_t Longs __attribute__((vector_size(kColumns * 8)));

constexpr int kNotFinite = 255;

// `terms` products and the sums so far. Cut off, all are whole multiples of 1 / scale, of less than 27 bits.
__attribute__((optimize("O3"), target_clones("avx2", "default"))) void add_terms(
    const float* left, int left_step, const float* right, int columns, int terms, int extra_bits,
    float* sums) {
  const auto product = [&](int k) {
    Floats row;
    std::memcpy(&row, right + k * columns, sizeof(row));
    return left[k * left_step] * row;
  };
  Floats sum;
  std::memcpy(&sum, sums, sizeof(sum));
  // Magnitudes are in the order of their bits, and what is no number is above all.
  Ints largest = reinterpret_cast<Ints>(sum) & 0x7FFFFFFF;
  for (int k = 0; k < terms; ++k) {
    const Ints magnitude = reinterpret_cast<Ints>(product(k)) & 0x7FFFFFFF;
    largest = magnitude > largest ? magnitude : largest;
  }
  Ints exponent = largest >> 23;
  const Ints infinite = exponent == kNotFinite;
  Floats plain = sum;  // where there is nothing to cut off
  for (int k = 0; k < terms; ++k) plain += product(k);
  const Ints smallest = 24 + extra_bits - Ints{};  // of those for which scale is a float32
  exponent = exponent > smallest ? exponent : smallest;
  const auto scale = reinterpret_cast<Floats>((127 + 127 + 23 + extra_bits - exponent) << 23);
  Ints total = __builtin_convertvector(sum * scale, Ints);
  for (int k = 0; k < terms; ++k) total += __builtin_convertvector(product(k) * scale, Ints);
  const Doubles exact = __builtin_convertvector(total, Doubles) / __builtin_convertvector(scale, Doubles);
  constexpr int64_t kBelowFloat = (int64_t{1} << 29) - 1;  // the bits that float32 does not hold
  sum = __builtin_convertvector(reinterpret_cast<Doubles>(reinterpret_cast<Longs>(exact) & ~kBelowFloat),
                                Floats);
  sum = infinite ? plain : sum;
  std::memcpy(sums, &sum, sizeof(sum));
}

}  // namespace

void add_products(const float* left, int left_step, const float* right, int columns, int depth, bool tf32,
                  float* sums) {
  const bool hopper = capability().number >= 90;
  const int terms = (hopper ? 16 : 8) / (tf32 ? 2 : 1), extra_bits = hopper ? 2 : 1;
  for (int k = 0; k < depth; k += terms) {
    for (int column = 0; column < columns; column += kColumns) {
      add_terms(left + k * left_step, left_step, right + k * columns + column, columns, terms, extra_bits,
                sums + column);
    }
  }
}

}  // namespace emulation
