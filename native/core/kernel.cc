#include "core/kernel.h"

namespace native {

std::vector<KernelRecord>& kernel_records() {
  static std::vector<KernelRecord> records;
  return records;
}

}  // namespace native
