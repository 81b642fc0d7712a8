// Elements that are only moved travel as plain words of 1 to 16 bytes.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "core/dtype.h"

namespace native::cuda {

// The most bytes, up to 16, that divide every number that was or-ed into `all`: addresses, lengths, steps.
inline int widest_word(uint64_t all) {
  return static_cast<int>(std::min<uint64_t>(16, all ? all & -all : 16));
}

// Calls f(TypeTag<Word>{}) for the word of an element ...
template <class F>
void visit_element(int bytes, F&& f) {
  switch (bytes) {
    case 1:
      return f(TypeTag<uint8_t>{});
    case 2:
      return f(TypeTag<uint16_t>{});
    case 4:
      return f(TypeTag<uint32_t>{});
    default:
      return f(TypeTag<uint2>{});
  }
}
// ... or of 16 bytes.
template <class F>
void visit_word(int bytes, F&& f) {
  if (bytes == 16) return f(TypeTag<uint4>{});
  visit_element(bytes, f);
}

}  // namespace native::cuda
