// The harness of the CUDA tests: tensors on the device from float64 values, results back as float64, and a
// tolerance that is computed, not chosen. Every tensor made here lies between margins that nobody may write;
// reading a tensor checks them.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/launch.h"
#include "core/tensor.h"

// From here on CHECK is the test's, not the library's.
#undef CHECK
#include <doctest/doctest.h>

namespace check {

using native::DType;
using native::Shape;
using native::Tensor;
using Values = std::vector<double>;

inline constexpr DType kFloats[] = {DType::float32, DType::bfloat16, DType::float16};

// `values` rounded to `dtype`, as a tensor on the device. `offset` elements lie between the start of an
// aligned block and the tensor, so that an odd one makes a view that starts anywhere.
Tensor to_device(const Values& values, const Shape& shape, DType dtype, int64_t offset = 0);
// Full of 0xFF bytes: NaN, or -1. What results are written into.
Tensor poisoned(const Shape& shape, DType dtype, int64_t offset = 0);
// Waits for the device; throws native::Error when an operation failed, std::runtime_error when a margin was
// written.
Values to_host(const Tensor& x);
// Waits for the device and throws what failed.
void fence();

// Standard normal numbers by Philox, times `scale`, rounded to `dtype`.
Values normal(int64_t count, uint64_t seed, DType dtype = DType::float32, double scale = 1);
// Integers of low .. high - 1.
Values integers(int64_t count, uint64_t seed, int64_t low, int64_t high);
double rounded(double value, DType dtype);
// 2^-24, 2^-9, 2^-12: the largest relative error of one rounding.
double unit_roundoff(DType dtype);

// The float64 oracle: results from operands.
using Reference = std::function<Values(const std::vector<Values>&)>;

// How far the result of `dtype` may be off: `slack` times what one rounding of every operand does to the
// reference (the largest of a few random ones), and one rounding of the result. No implementation can promise
// less than half of it.
double allowed_error(const Reference& reference, const std::vector<Values>& operands, DType dtype,
                     double slack = 4);

// Empty when every element is within `allowed` of the expected one (NaN where NaN is expected); else a
// sentence about the worst.
std::string difference(const Values& actual, const Values& expected, double allowed);

// CHECKs that there is no difference.
void expect_close(const std::string& what, const Tensor& actual, const Values& expected, double allowed);
// CHECKs equality, of integers or of results that must have the same bits.
void expect_equal(const std::string& what, const Tensor& actual, const Values& expected);

// Calls f and returns the message of the native::Error it throws, with its code in front; empty if none.
std::string error_of(const std::function<void()>& f);

}  // namespace check
