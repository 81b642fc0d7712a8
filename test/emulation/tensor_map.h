// What an emulated CUtensorMap holds.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace emulation {

// A tensor of rank 3, innermost dimension first, and the box that one copy moves.
struct TensorMapFields {
  uint64_t magic;
  unsigned char* data;
  uint64_t sizes[3];    // elements
  uint64_t strides[3];  // bytes; strides[0] is the element's size
  uint32_t box[3];      // elements
  uint16_t span;        // bytes that the swizzle permutes: 128, 64, 32; 0: none
  bool is_float;        // float32
};
static_assert(sizeof(TensorMapFields) <= sizeof(CUtensorMap), "fits its place");

// Fails unless the encoder made this map.
TensorMapFields tensor_map_fields(const CUtensorMap& map, const char* what);

// Byte address -> where a copy with that swizzle puts, or finds, its bytes.
constexpr uint64_t swizzled(uint64_t address, int span) {
  return address ^ ((address >> 3) & (span ? span - 16 : 0));
}

}  // namespace emulation
