// How exactly products of float32 matrices are computed where a device has a faster way. Of the process.
#pragma once

namespace native {

// Whether operands may be rounded to tf32 (10 bits behind the point, as float16 has, with the range of
// float32); sums are float32 in any case. Off at the start. From any thread; counts for what is queued
// afterwards.
void set_allow_tf32(bool on);
bool allow_tf32();

}  // namespace native
