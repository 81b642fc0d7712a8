// Which vector instructions kernels of ours and of oneDNN use: those of the machine, or fewer when the
// environment variable ONEDNN_MAX_CPU_ISA says so (SSE41, AVX2, ...), which is how tests reach every path.
// Loops under SIMD_CLONES follow the machine alone.
#pragma once

#include <dnnl.hpp>

namespace native {

inline bool uses_isa(dnnl::cpu_isa isa) {
  static const int effective = static_cast<int>(dnnl::get_effective_cpu_isa());
  return (effective & static_cast<int>(isa)) == static_cast<int>(isa);
}

inline bool uses_avx() { return uses_isa(dnnl::cpu_isa::avx); }
inline bool uses_avx2() { return uses_isa(dnnl::cpu_isa::avx2); }
inline bool uses_avx512() { return uses_isa(dnnl::cpu_isa::avx512_core); }
inline bool uses_amx() { return uses_isa(dnnl::cpu_isa::avx512_core_amx); }

}  // namespace native
