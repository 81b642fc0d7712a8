// Copies of strided blocks, which every change of layout is made of.
#pragma once

#include "ops/layout.h"

namespace native::cuda {

// Queues args' copy (after clearing, where asked) on the current stream.
void copy_strided(const StridedCopyArgs& args);

}  // namespace native::cuda
