// Which vector instructions kernels of ours and of oneDNN use: those of the machine, or fewer when the
// environment variable ONEDNN_MAX_CPU_ISA says so (SSE41, AVX2, ...), which is how tests reach every path.
// Loops under SIMD_CLONES follow the machine alone.
#pragma once

namespace native {

// None on other processors than x86-64.
bool uses_avx();
bool uses_avx2();
bool uses_avx512();
bool uses_amx();

#if defined(__x86_64__) && defined(__GNUC__)
// Whether the machine runs code for these levels. By features, for clang knows levels' names from 16 on only.
inline bool runs_x86_64_v3() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2");
}
inline bool runs_x86_64_v4() {
  return runs_x86_64_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#endif

}  // namespace native
