// Weights that linear layers read again and again may be kept in the order their kernel wants, in the same
// memory. Nobody else notices: whoever asks a tensor for its address has the elements put back in order first
// (Tensor::raw).
#pragma once

#include "core/tensor.h"

namespace native {

// What a device knows of this. The functions that move run in its queue, on a whole weight [out, in], and do
// not fail.
struct WeightPacking {
  bool (*applies)(int64_t rows, int64_t out, int64_t in, DType dtype);  // to a product with x [rows, in]
  void (*pack)(void* weight, int64_t out, int64_t in);
  void (*unpack)(void* weight, int64_t out, int64_t in);
};

void register_weight_packing(DeviceType device, const WeightPacking& packing);

struct WeightAddress {
  const void* data;
  bool packed;
};

// Where a linear layer of `rows` rows, queued next, finds `weight` [out, in], and in which form. It is packed
// once several layers in a row have asked here and nobody has asked for it in order: a weight in training
// never is, for its gradient and its optimiser want it in order.
WeightAddress address_for_linear(const Tensor& weight, int64_t rows);

}  // namespace native
