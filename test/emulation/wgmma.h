// The products of a warpgroup, as late as the machine may run them: between commit and wait at random, at the
// latest when a thread waits. Operands are read, through the asynchronous view of shared memory or in the
// threads' registers, when a product runs, so whoever overwrites them too early spoils the result. The
// accumulators are NaN from the first product until the thread that holds them has waited for the last.
#pragma once

#include "scheduler.h"

namespace emulation {

struct WgmmaCall {
  float* d;              // this thread's n / 2 registers
  const uint32_t* left;  // this thread's four registers of A; null: A is in shared memory
  uint64_t a, b;
  bool accumulate;
  int n;
  bool a_by_mn, b_by_mn, half;  // half: float16, else bfloat16
};

// By all threads of all four warps, with the same operands but d.
void wgmma_issue(WgmmaCall call, Site site);
void wgmma_note_fence();
void wgmma_commit_group();
void wgmma_wait_groups(size_t pending, Site site);

}  // namespace emulation
