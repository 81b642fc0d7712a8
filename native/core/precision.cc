#include "core/precision.h"

#include <atomic>

namespace native {
namespace {

std::atomic<bool> tf32{false};

}  // namespace

void set_allow_tf32(bool on) { tf32 = on; }
bool allow_tf32() { return tf32; }

}  // namespace native
