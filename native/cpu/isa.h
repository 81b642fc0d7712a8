// Which vector instructions kernels of ours and of oneDNN use: those of the machine, or fewer when the
// environment variable ONEDNN_MAX_CPU_ISA says so (SSE41, AVX2, ...), which is how tests reach every path.
// Loops under SIMD_CLONES follow the machine alone.
#pragma once

#include <dnnl.hpp>

namespace native {

// On other processors than x86-64, oneDNN's numbers for their own instruction sets look like some of these.
inline bool uses_isa(dnnl::cpu_isa isa) {
#ifdef __x86_64__
  static const int effective = static_cast<int>(dnnl::get_effective_cpu_isa());
  return (effective & static_cast<int>(isa)) == static_cast<int>(isa);
#else
  static_cast<void>(isa);
  return false;
#endif
}

inline bool uses_avx() { return uses_isa(dnnl::cpu_isa::avx); }
inline bool uses_avx2() { return uses_isa(dnnl::cpu_isa::avx2); }
inline bool uses_avx512() { return uses_isa(dnnl::cpu_isa::avx512_core); }
inline bool uses_amx() { return uses_isa(dnnl::cpu_isa::avx512_core_amx); }

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
