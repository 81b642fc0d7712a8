// Where 16-byte chunks lie in shared memory so that eight rows of a matrix can be read, or written, at the
// same column without bank conflicts. The permutations are those of the bulk copy engine and of wgmma, so
// every kernel shares them.
#pragma once

namespace native::cuda {

// The place of the byte `offset` in a tile whose rows are `kSpan` bytes (128, 64 or 32) and which starts on
// 8 kSpan bytes: the chunk's number within the row is XORed with a number that the row gives. 128: bits 4-6
// ^= bits 7-9; 64: bits 4-5 ^= bits 7-8; 32: bit 4 ^= bit 7. Adding multiples of 8 kSpan commutes with it.
template <int kSpan>
__host__ __device__ constexpr int swizzle(int offset) {
  static_assert(kSpan == 128 || kSpan == 64 || kSpan == 32, "rows of one swizzle span");
  return offset ^ ((offset >> 3) & (kSpan - 16));
}

}  // namespace native::cuda
