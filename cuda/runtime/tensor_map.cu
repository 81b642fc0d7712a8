#include <cuda.h>
#include <cudaTypedefs.h>

#include "runtime/context.h"
#include "runtime/tensor_map.h"

namespace native::cuda {
namespace {

// The driver's encoder, found at run time: nothing links against the driver.
PFN_cuTensorMapEncodeTiled_v12000 find_encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  check_cuda(
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
      "tensor map encoder");
  CHECK(found == cudaDriverEntryPointSuccess && function, "ERR_DEVICE",
        "the driver has no cuTensorMapEncodeTiled: install one for CUDA 12.0 or later");
  return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
}

CUtensorMapDataType element_type(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
    case DType::bfloat16:
      return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    case DType::float16:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    default:
      fail("ERR_DTYPE", "tensor map of ", dtype_name(dtype), ": expected float32, bfloat16 or float16");
  }
}

CUtensorMapSwizzle map_swizzle(Swizzle swizzle) {
  switch (swizzle) {
    case Swizzle::bytes_128:
      return CU_TENSOR_MAP_SWIZZLE_128B;
    case Swizzle::bytes_64:
      return CU_TENSOR_MAP_SWIZZLE_64B;
    case Swizzle::bytes_32:
      return CU_TENSOR_MAP_SWIZZLE_32B;
    case Swizzle::none:
      break;
  }
  return CU_TENSOR_MAP_SWIZZLE_NONE;
}

}  // namespace

bool tensor_map_supports(const void* data, DType dtype, const TensorMapShape& shape) {
  const int64_t size = static_cast<int64_t>(dtype_size(dtype));
  const auto distance = [&](int64_t elements, int64_t count) {
    return count == 1 || (elements > 0 && elements * size % 16 == 0 && elements * size < int64_t{1} << 40);
  };
  const auto extent = [](int64_t count) { return count >= 1 && count < int64_t{1} << 31; };
  // The documentation of the driver has each distance a multiple of the one before.
  const auto multiple = [&] {
    return shape.rows == 1 ? shape.matrix_stride >= shape.columns : shape.matrix_stride % shape.pitch == 0;
  };
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && extent(shape.columns) && extent(shape.rows) &&
         extent(shape.matrices) && distance(shape.pitch, shape.rows) &&
         (shape.rows == 1 || shape.pitch >= shape.columns) && distance(shape.matrix_stride, shape.matrices) &&
         (shape.matrices == 1 || multiple());
}

TensorMap encode_tensor_map(const void* data, DType dtype, const TensorMapShape& shape, Swizzle swizzle) {
  static const PFN_cuTensorMapEncodeTiled_v12000 encode = find_encoder();
  const uint64_t size = dtype_size(dtype);
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(shape.columns), static_cast<cuuint64_t>(shape.rows),
                              static_cast<cuuint64_t>(shape.matrices)};
  // The distance between rows, or matrices, of which there is one is never used, but must be valid: no
  // shorter than what it steps over, and that between matrices a multiple of that between rows.
  const cuuint64_t row_bytes = (shape.columns * size + 15) / 16 * 16;
  const cuuint64_t matrix_bytes = shape.matrix_stride * size;
  const cuuint64_t pitch_bytes = shape.rows > 1       ? shape.pitch * size
                                 : shape.matrices > 1 ? matrix_bytes
                                                      : row_bytes;
  const cuuint64_t strides[] = {pitch_bytes, shape.matrices > 1 ? matrix_bytes : pitch_bytes * shape.rows};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(shape.box_columns),
                            static_cast<cuuint32_t>(shape.box_rows), 1};
  const cuuint32_t every[] = {1, 1, 1};
  // Not made where the caller wants it: a place that GCC reserves for a result may miss its alignment,
  // without which the driver refuses.
  struct {
    TensorMap map;
  } made;
  const CUresult status = encode(&made.map, element_type(dtype), 3, const_cast<void*>(data), sizes, strides,
                                 box, every, CU_TENSOR_MAP_INTERLEAVE_NONE, map_swizzle(swizzle),
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  CHECK(status == CUDA_SUCCESS, "ERR_DEVICE", "the driver refused a tensor map (", static_cast<int>(status),
        "): ", dtype_name(dtype), " [", shape.matrices, ", ", shape.rows, ", ", shape.columns,
        "] with distances ", shape.matrix_stride, " and ", shape.pitch, ", box [", shape.box_rows, ", ",
        shape.box_columns, "]");
  return made.map;
}

}  // namespace native::cuda
