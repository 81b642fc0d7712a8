// The primitives of cuda/primitives/wgmma.cuh for the host emulation.
#pragma once

#include <primitives/hopper.cuh>
#include <type_traits>

#include "wgmma.h"

namespace native::cuda {

template <class T, int N, bool kAByMn, bool kBByMn>
inline void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate, Site site = here()) {
  static_assert(N == 8 || N == 64 || N == 128 || N == 192 || N == 256, "sizes of cuda/primitives/wgmma.cuh");
  emulation::wgmma_issue({d, nullptr, a, b, accumulate, N, kAByMn, kBByMn, std::is_same_v<T, float16>}, site);
}

template <class T, int N, bool kBByMn>
inline void wgmma_from_registers(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate,
                                 Site site = here()) {
  static_assert(N == 16 || N == 64, "sizes of cuda/primitives/wgmma.cuh");
  emulation::wgmma_issue({d, a, 0, b, accumulate, N, false, kBByMn, std::is_same_v<T, float16>}, site);
}

template <int kCount>
inline void wgmma_settle(float (&)[kCount]) {}

}  // namespace native::cuda
