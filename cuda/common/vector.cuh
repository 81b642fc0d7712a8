// Runs of neighbouring elements that move between memory and registers in 16-byte accesses, or one by one
// where a view starts at an address that 16 does not divide: a kernel is written once over `width` elements
// and its launcher chooses the width.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <primitives/device.cuh>
#include <type_traits>

namespace native::cuda {

// Elements of T in 16 bytes.
template <class T>
inline constexpr int kVectorWidth = 16 / static_cast<int>(sizeof(T));

// `width` elements as they lie in memory: half the registers of floats when T has 16 bits. width x sizeof(T)
// is a multiple of 16, or 8 (where the other operand has 32 bits), or width is 1.
template <class T, int width>
struct Packed {
  static constexpr int kBytes = width * static_cast<int>(sizeof(T));
  using Word = std::conditional_t<sizeof(T) == 4, float4, std::conditional_t<kBytes == 8, uint2, uint4>>;
  static constexpr int kWords = kBytes / static_cast<int>(sizeof(Word));
  static_assert(kWords * static_cast<int>(sizeof(Word)) == kBytes, "vectors are whole words");
  Word words[kWords];
};
template <class T>
struct Packed<T, 1> {
  T value;
};

template <int width, class T>
__device__ __forceinline__ Packed<T, width> load_packed(const T* pointer) {
  Packed<T, width> packed;
  if constexpr (width == 1) {
    packed.value = *pointer;
  } else {
    using Word = typename Packed<T, width>::Word;
#pragma unroll
    for (int i = 0; i < Packed<T, width>::kWords; ++i)
      packed.words[i] = reinterpret_cast<const Word*>(pointer)[i];
  }
  return packed;
}

// The same for data that nobody reads again soon.
template <int width, class T>
__device__ __forceinline__ Packed<T, width> load_packed_streaming(const T* pointer) {
  if constexpr (width == 1) {
    return load_packed<width>(pointer);
  } else {
    using Word = typename Packed<T, width>::Word;
    Packed<T, width> packed;
#pragma unroll
    for (int i = 0; i < Packed<T, width>::kWords; ++i)
      packed.words[i] = load_streaming(reinterpret_cast<const Word*>(pointer) + i);
    return packed;
  }
}

template <class T, int width>
__device__ __forceinline__ void unpack(const Packed<T, width>& packed, float (&values)[width]) {
  if constexpr (width == 1) {
    values[0] = to_float(packed.value);
  } else if constexpr (std::is_same_v<T, float>) {
#pragma unroll
    for (int i = 0; i < packed.kWords; ++i) {
      values[4 * i] = packed.words[i].x;
      values[4 * i + 1] = packed.words[i].y;
      values[4 * i + 2] = packed.words[i].z;
      values[4 * i + 3] = packed.words[i].w;
    }
  } else if constexpr (Packed<T, width>::kBytes == 8) {
    const float2 low = unpack2<T>(packed.words[0].x), high = unpack2<T>(packed.words[0].y);
    values[0] = low.x;
    values[1] = low.y;
    values[2] = high.x;
    values[3] = high.y;
  } else {
#pragma unroll
    for (int i = 0; i < packed.kWords; ++i) {
      const uint32_t pairs[4] = {packed.words[i].x, packed.words[i].y, packed.words[i].z, packed.words[i].w};
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const float2 pair = unpack2<T>(pairs[k]);
        values[8 * i + 2 * k] = pair.x;
        values[8 * i + 2 * k + 1] = pair.y;
      }
    }
  }
}

template <class T, int width>
__device__ __forceinline__ Packed<T, width> pack(const float (&values)[width]) {
  Packed<T, width> packed;
  if constexpr (width == 1) {
    packed.value = from_float<T>(values[0]);
  } else if constexpr (std::is_same_v<T, float>) {
#pragma unroll
    for (int i = 0; i < packed.kWords; ++i) {
      packed.words[i] = {values[4 * i], values[4 * i + 1], values[4 * i + 2], values[4 * i + 3]};
    }
  } else if constexpr (Packed<T, width>::kBytes == 8) {
    packed.words[0] = {pack2<T>(values[0], values[1]), pack2<T>(values[2], values[3])};
  } else {
#pragma unroll
    for (int i = 0; i < packed.kWords; ++i) {
      packed.words[i] = {
          pack2<T>(values[8 * i], values[8 * i + 1]), pack2<T>(values[8 * i + 2], values[8 * i + 3]),
          pack2<T>(values[8 * i + 4], values[8 * i + 5]), pack2<T>(values[8 * i + 6], values[8 * i + 7])};
    }
  }
  return packed;
}

template <class T, int width>
__device__ __forceinline__ void store_packed(T* pointer, const Packed<T, width>& packed) {
  if constexpr (width == 1) {
    *pointer = packed.value;
  } else {
    using Word = typename Packed<T, width>::Word;
#pragma unroll
    for (int i = 0; i < Packed<T, width>::kWords; ++i)
      store_vector(reinterpret_cast<Word*>(pointer) + i, packed.words[i]);
  }
}

// values = pointer[0 .. width - 1] as float32, and back, rounded to nearest even.
template <class T, int width>
__device__ __forceinline__ void load_floats(const T* pointer, float (&values)[width]) {
  unpack(load_packed<width>(pointer), values);
}
template <class T, int width>
__device__ __forceinline__ void store_floats(T* pointer, const float (&values)[width]) {
  store_packed(pointer, pack<T>(values));
}

// Whether 16-byte accesses may start at every pointer. A null pointer, an operand that is absent, may.
inline bool aligned(std::initializer_list<const void*> pointers) {
  for (const void* pointer : pointers) {
    if (reinterpret_cast<uintptr_t>(pointer) % 16) return false;
  }
  return true;
}

// Calls f(width) with a compile-time width: the vector of T when `vectors`, else 1.
template <class T, class F>
void visit_width(bool vectors, F&& f) {
  if (vectors) {
    f(std::integral_constant<int, kVectorWidth<T>>{});
  } else {
    f(std::integral_constant<int, 1>{});
  }
}

// Blocks of `per_block` items that cover `items`.
inline unsigned blocks_for(int64_t items, int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

}  // namespace native::cuda
