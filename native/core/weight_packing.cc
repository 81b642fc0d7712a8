#include "core/weight_packing.h"

namespace native {
namespace {

// One forward pass for evaluation, or two of a checkpointed training step, are not worth it. At least two, so
// that an operand which shares the memory of the weight keeps it in order.
constexpr int kUsesBeforePacking = 3;

const WeightPacking* g_packings[kDeviceTypeCount] = {};

}  // namespace

void register_weight_packing(DeviceType device, const WeightPacking& packing) {
  g_packings[static_cast<int>(device)] = &packing;
}

WeightAddress address_for_linear(const Tensor& weight, int64_t rows) {
  Storage& storage = *weight.storage();
  const WeightPacking* packing = g_packings[static_cast<int>(weight.device())];
  const int64_t out = weight.size(0), in = weight.size(1);
  if (!packing || storage.bytes != weight.nbytes() || !packing->applies(rows, out, in, weight.dtype()))
    return {weight.raw(), false};
  return {storage.data, storage.pack_after(kUsesBeforePacking, {packing, out, in})};
}

bool Storage::pack_after(int uses, const PackedMatrix& wanted) {
  if (packed_.packing && (packed_.rows != wanted.rows || packed_.columns != wanted.columns)) unpack();
  if (packed_.packing) return true;
  if (++linear_uses_ < uses) return false;
  void* const weight = data;
  packed_ =
      wanted;  // first: a queue in synchronous mode may throw what failed before, and packs all the same
  backend(device).submit({"pack_weight", {}},
                         [weight, wanted] { wanted.packing->pack(weight, wanted.rows, wanted.columns); });
  return true;
}

void Storage::unpack() {
  const PackedMatrix present = packed_;
  void* const weight = data;
  packed_ = {};
  linear_uses_ = 0;
  backend(device).submit({"unpack_weight", {}}, [weight, present] {
    present.packing->unpack(weight, present.rows, present.columns);
  });
}

}  // namespace native
