// The emulated driver's tensor map encoder: refuses what the driver refuses, and ranks other than 3.
#include "tensor_map.h"

#include <cstring>

#include "driver.h"
#include "scheduler.h"

namespace emulation {
namespace {

constexpr uint64_t kMagic = 0x74656E736F726D61;

int element_bytes(CUtensorMapDataType type) {
  switch (type) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT8:
      return 1;
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16:
      return 2;
    case CU_TENSOR_MAP_DATA_TYPE_UINT32:
    case CU_TENSOR_MAP_DATA_TYPE_INT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
      return 4;
    default:
      return 8;
  }
}

CUresult encode(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* address,
                const cuuint64_t* sizes, const cuuint64_t* strides, const cuuint32_t* box,
                const cuuint32_t* element_strides, CUtensorMapInterleave interleave,
                CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill) {
  static constexpr uint16_t kSpans[] = {0, 32, 64, 128};
  if (swizzle > CU_TENSOR_MAP_SWIZZLE_128B || promotion > CU_TENSOR_MAP_L2_PROMOTION_L2_256B)
    return CUDA_ERROR_INVALID_VALUE;
  TensorMapFields fields{};
  fields.magic = kMagic;
  fields.data = static_cast<unsigned char*>(address);
  fields.strides[0] = static_cast<uint64_t>(element_bytes(type));
  fields.span = kSpans[swizzle];
  fields.is_float = type == CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  bool valid = rank == 3 && reinterpret_cast<uintptr_t>(map) % 64 == 0 &&
               reinterpret_cast<uintptr_t>(address) % 16 == 0 &&
               interleave == CU_TENSOR_MAP_INTERLEAVE_NONE && fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
  for (cuuint32_t d = 0; valid && d < 3; ++d) {
    fields.sizes[d] = sizes[d];
    fields.box[d] = box[d];
    if (d > 0) fields.strides[d] = strides[d - 1];
    valid = sizes[d] >= 1 && sizes[d] <= uint64_t{1} << 32 && box[d] >= 1 && box[d] <= 256 &&
            element_strides[d] == 1 &&
            (d == 0 ||
             (fields.strides[d] % 16 == 0 && fields.strides[d] > 0 && fields.strides[d] < uint64_t{1} << 40));
  }
  // Of one row as well; and a distance is a multiple of the one before, as the documentation of the driver
  // has it.
  valid = valid && fields.strides[1] >= fields.sizes[0] * fields.strides[0] &&
          fields.strides[2] % fields.strides[1] == 0;
  const uint64_t row = fields.box[0] * fields.strides[0];
  valid = valid && row % 16 == 0 && (fields.span == 0 || row <= fields.span);
  if (!valid) return CUDA_ERROR_INVALID_VALUE;
  std::memset(map, 0, sizeof *map);
  std::memcpy(map, &fields, sizeof fields);
  return CUDA_SUCCESS;
}

const bool g_provided =
    (provide_driver_function("cuTensorMapEncodeTiled", reinterpret_cast<void*>(&encode)), true);

}  // namespace

TensorMapFields tensor_map_fields(const CUtensorMap& map, const char* what) {
  TensorMapFields fields;
  std::memcpy(&fields, &map, sizeof fields);
  if (!g_provided || fields.magic != kMagic) fail(what, " with something that is no tensor map");
  if (reinterpret_cast<uintptr_t>(&map) % 64)
    fail(what, " with a tensor map that is not aligned to 64 bytes");
  return fields;
}

}  // namespace emulation
