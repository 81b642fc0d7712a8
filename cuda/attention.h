// The ways in which attention runs on the device; attention.cu chooses between them.
#pragma once

#include "ops/attention.h"

namespace native::cuda {

// With tensor cores: bfloat16 or float16, head size a multiple of 8 up to 64 (64 is the one it is made for),
// every row on 16 bytes.
void attention_forward_tensor_cores(const AttentionArgs& args);
void attention_backward_tensor_cores(const AttentionBackwardArgs& args);

// Forward with the products of a warpgroup, sm_90a: as above where head size is 64 and nothing is masked,
// rows that TMA can address.
bool attention_forward_sm90_supports(const AttentionArgs& args);
void attention_forward_sm90(const AttentionArgs& args);

// In float32 arithmetic: any float dtype, head size and alignment.
void attention_forward_scalar(const AttentionArgs& args);
void attention_backward_scalar(const AttentionBackwardArgs& args);

}  // namespace native::cuda
