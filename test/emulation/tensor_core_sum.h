// How tensor cores add.
#pragma once

namespace emulation {

// sums[i] += the sum over k < depth of left[k * left_step] * right[k * columns + i], for i < columns, of
// which there are eights; depth is 16, in tf32 8. The products are exact (16-bit or tf32 operands). They are
// not rounded one by one: with the sum so far, 16 of them on Hopper and 8 before (half as many in tf32), they
// are cut off at the last bit of the largest of all, and two bits or one behind it, and so is what they come
// to (Fasi, Higham, Mikaitis and Pranesh, "Numerical behavior of NVIDIA tensor cores", 2021, and measurements
// of later devices in the same way).
void add_products(const float* left, int left_step, const float* right, int columns, int depth, bool tf32,
                  float* sums);

}  // namespace emulation
