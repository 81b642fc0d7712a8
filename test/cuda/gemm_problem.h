// A matrix product with random operands, its result in float64, and the error that plain float32 loops make
// of it: what the implementations are held against.
#pragma once

#include "check.h"
#include "gemm/gemm.h"

namespace gemm_test {

using check::DType;
using check::Values;
using native::cuda::GemmArgs;
using native::cuda::Major;
using Run = std::function<void(const GemmArgs&)>;

struct Problem {
  int64_t m, n, k;
  DType dtype = DType::bfloat16;
  Major a = Major::k, b = Major::k;
  DType c_dtype = dtype;
  int64_t batch = 1;
  bool share_a = false, share_b = false, sum_batch = false;
  float alpha = 1;
  bool bias = false, quick_gelu = false, slope = false, multiplier = false, residual = false;
  bool accumulate = false, row_sum = false, accumulate_row_sum = false;
  int64_t gap_a = 0, gap_b = 0, gap_c = 0;  // elements between a row's end and the next row
  int64_t offset = 0;                       // elements from an aligned address to each array
  bool tf32 = false;                        // the plain loops round float32 operands of products to tf32

  std::string describe() const;
};

// With gaps that make the rows of A and B start on 16 bytes.
Problem aligned_rows(Problem problem);

// Runs the problem on the device through `run`, on the queue's thread, and compares C, the slope and the row
// sums: no error may exceed twice the largest one of the plain loops, or half a unit of the largest element.
// What lies between and around results must be as before. Returns what is wrong, or nothing.
std::string find_error(const Problem& problem, const Run& run, uint64_t seed = 1);

// CHECKs that find_error finds none.
void expect_correct(const Problem& problem, const Run& run);

// C, the slope and the row sums of one run as they lie in memory, to compare runs bit by bit.
Values result_of(const Problem& problem, const Run& run, uint64_t seed = 1);

}  // namespace gemm_test
