#include "cpu/isa.h"

#include <dnnl.hpp>

namespace native {
namespace {

// On other processors than x86-64, oneDNN's numbers for their own instruction sets look like some of these.
bool uses(dnnl::cpu_isa isa) {
#ifdef __x86_64__
  static const int effective = static_cast<int>(dnnl::get_effective_cpu_isa());
  return (effective & static_cast<int>(isa)) == static_cast<int>(isa);
#else
  static_cast<void>(isa);
  return false;
#endif
}

}  // namespace

bool uses_avx() { return uses(dnnl::cpu_isa::avx); }
bool uses_avx2() { return uses(dnnl::cpu_isa::avx2); }
bool uses_avx512() { return uses(dnnl::cpu_isa::avx512_core); }
bool uses_amx() { return uses(dnnl::cpu_isa::avx512_core_amx); }

}  // namespace native
