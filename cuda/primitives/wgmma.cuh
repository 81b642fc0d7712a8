// The products of a warpgroup (sm_90a): d += A B with A [64, 16] and B [16, N] of 16-bit elements in shared
// memory and d float32 in the registers of the 128 threads. They run in the background: wgmma_fence() before,
// wgmma_commit() after, and nobody touches d or overwrites A and B until wgmma_wait() has returned for them.
//
// Thread t of the warpgroup (warp w = t / 32, lane l) holds d[4 j + i] = the element of row
// 16 w + l / 4 + 8 (i / 2) and column 8 j + 2 (l % 4) + i % 2.
#pragma once

#include <primitives/hopper.cuh>

namespace native::cuda {

// wgmma<T, N, a_by_mn, b_by_mn>(d, a, b, accumulate): d = A B (+ d when `accumulate`). `a` and `b` come from
// shared_descriptor; an operand is K-major, or MN-major where its flag says so. T is bfloat16 or float16, N
// is 8, 64, 128, 192 or 256.
template <class T, int N, bool kAByMn, bool kBByMn>
struct Wgmma;

template <class T, int N, bool kAByMn, bool kBByMn>
__device__ __forceinline__ void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate) {
  Wgmma<T, N, kAByMn, kBByMn>::run(d, a, b, accumulate);
}

// wgmma_from_registers<T, N, b_by_mn>(d, a, b, accumulate): the same with A in registers, K-major: thread t
// holds {row 16 w + l / 4, k 2 (l % 4) and + 1}, {row + 8}, {k + 8}, {row + 8, k + 8}, as for mma(). Nobody
// writes `a` until wgmma_wait() has returned. N is 16 or 64.
template <class T, int N, bool kBByMn>
struct WgmmaFromRegisters;

template <class T, int N, bool kBByMn>
__device__ __forceinline__ void wgmma_from_registers(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b,
                                                     bool accumulate) {
  WgmmaFromRegisters<T, N, kBByMn>::run(d, a, b, accumulate);
}

// Keeps the compiler from moving arithmetic on d across this point: after wgmma_wait, before d is used.
template <int kCount>
__device__ __forceinline__ void wgmma_settle(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// The operand lists of the instruction: %0 .. %(N/2 - 1) are d, the rest follows.
#define WGMMA_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define WGMMA_D8(i) WGMMA_D4(i), WGMMA_D4(i + 4)
#define WGMMA_D16(i) WGMMA_D4(i), WGMMA_D4(i + 4), WGMMA_D4(i + 8), WGMMA_D4(i + 12)
#define WGMMA_D32(i) WGMMA_D16(i), WGMMA_D16(i + 16)
#define WGMMA_D64(i) WGMMA_D32(i), WGMMA_D32(i + 32)
#define WGMMA_R4 "%0, %1, %2, %3"
#define WGMMA_R8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define WGMMA_R32                                                                                         \
  WGMMA_R4                                                                                                \
  ", %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, " \
  "%25, %26, %27, %28, %29, %30, %31"
#define WGMMA_R64                                                                                          \
  WGMMA_R32                                                                                                \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, " \
  "%52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define WGMMA_R96                                                                                          \
  WGMMA_R64                                                                                                \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, " \
  "%84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define WGMMA_R128                                                                                       \
  WGMMA_R96                                                                                              \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, " \
  "%113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

// A, B, S, TA and TB are the numbers of the operands after d: N / 2 and on.
#define DEFINE_WGMMA(T, TYPE, N, REGISTERS, A, B, S, TA, TB, ...)                                           \
  template <bool kAByMn, bool kBByMn>                                                                       \
  struct Wgmma<T, N, kAByMn, kBByMn> {                                                                      \
    __device__ __forceinline__ static void run(float (&d)[N / 2], uint64_t a, uint64_t b, int s) {          \
      asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %" #S                                              \
                   ", 0;\n\t"                                                                               \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" REGISTERS "}, %" #A \
                   ", %" #B ", p, 1, 1, %" #TA ", %" #TB ";\n\t}"                                           \
                   : __VA_ARGS__                                                                            \
                   : "l"(a), "l"(b), "r"(s), "n"(static_cast<int>(kAByMn)), "n"(static_cast<int>(kBByMn))); \
    }                                                                                                       \
  };
#define DEFINE_WGMMA_SIZES(T, TYPE)                                                       \
  DEFINE_WGMMA(T, TYPE, 8, WGMMA_R4, 4, 5, 6, 7, 8, WGMMA_D4(0))                          \
  DEFINE_WGMMA(T, TYPE, 64, WGMMA_R32, 32, 33, 34, 35, 36, WGMMA_D32(0))                  \
  DEFINE_WGMMA(T, TYPE, 128, WGMMA_R64, 64, 65, 66, 67, 68, WGMMA_D64(0))                 \
  DEFINE_WGMMA(T, TYPE, 192, WGMMA_R96, 96, 97, 98, 99, 100, WGMMA_D64(0), WGMMA_D32(64)) \
  DEFINE_WGMMA(T, TYPE, 256, WGMMA_R128, 128, 129, 130, 131, 132, WGMMA_D64(0), WGMMA_D64(64))

DEFINE_WGMMA_SIZES(bfloat16, "bf16")
DEFINE_WGMMA_SIZES(float16, "f16")

// A0 .. A3, B, S and TB likewise.
#define DEFINE_WGMMA_FROM_REGISTERS(T, TYPE, N, REGISTERS, A0, A1, A2, A3, B, S, TB, ...)             \
  template <bool kBByMn>                                                                              \
  struct WgmmaFromRegisters<T, N, kBByMn> {                                                           \
    __device__ __forceinline__ static void run(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, \
                                               int s) {                                               \
      asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %" #S                                        \
                   ", 0;\n\t"                                                                         \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" REGISTERS     \
                   "}, {%" #A0 ", %" #A1 ", %" #A2 ", %" #A3 "}, %" #B ", p, 1, 1, %" #TB ";\n\t}"    \
                   : __VA_ARGS__                                                                      \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(s),                      \
                     "n"(static_cast<int>(kBByMn)));                                                  \
    }                                                                                                 \
  };
#define DEFINE_WGMMA_FROM_REGISTERS_SIZES(T, TYPE)                                          \
  DEFINE_WGMMA_FROM_REGISTERS(T, TYPE, 16, WGMMA_R8, 8, 9, 10, 11, 12, 13, 14, WGMMA_D8(0)) \
  DEFINE_WGMMA_FROM_REGISTERS(T, TYPE, 64, WGMMA_R32, 32, 33, 34, 35, 36, 37, 38, WGMMA_D32(0))

DEFINE_WGMMA_FROM_REGISTERS_SIZES(bfloat16, "bf16")
DEFINE_WGMMA_FROM_REGISTERS_SIZES(float16, "f16")

#undef DEFINE_WGMMA_FROM_REGISTERS_SIZES
#undef DEFINE_WGMMA_FROM_REGISTERS
#undef DEFINE_WGMMA_SIZES
#undef DEFINE_WGMMA
#undef WGMMA_R128
#undef WGMMA_R96
#undef WGMMA_R64
#undef WGMMA_R32
#undef WGMMA_R8
#undef WGMMA_R4
#undef WGMMA_D64
#undef WGMMA_D32
#undef WGMMA_D16
#undef WGMMA_D8
#undef WGMMA_D4

}  // namespace native::cuda
