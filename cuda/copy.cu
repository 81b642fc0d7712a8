// Fill, cast and accumulate: passes over memory, one run of elements per thread, moved in 16-byte accesses
// where both ends allow it and element by element where a view starts in between.
//
// Floors for n elements: fill writes n s bytes, cast reads and writes n (s_from + s_to), accumulate n (2 s_y
// + s_x). At most one addition and one conversion per element: memory binds.
#include <primitives/launch.h>

#include <algorithm>
#include <cstring>
#include <primitives/device.cuh>
#include <type_traits>

#include "common/clear.h"
#include "common/dtype.h"
#include "common/vector.cuh"
#include "ops/copy.h"

namespace native {
namespace {

using namespace cuda;

constexpr int kThreads = 256;

template <class T>
inline constexpr bool kIsFloat = !std::is_integral_v<T>;

template <class To, class From>
__device__ __forceinline__ To convert(From value) {
  if constexpr (kIsFloat<To>) {
    return from_float<To>(to_float(value));
  } else if constexpr (kIsFloat<From>) {
    return to_integer<To>(to_float(value));
  } else {
    return static_cast<To>(value);
  }
}

// `width` neighbours in registers; width x sizeof(T) is a multiple of 16, or width is 1.
template <class T, int width>
struct Run {
  T values[width];

  __device__ __forceinline__ static Run load(const T* pointer) {
    Run run;
    if constexpr (width == 1) {
      run.values[0] = *pointer;
    } else {
      uint4 words[sizeof(Run) / 16];
#pragma unroll
      for (size_t i = 0; i < sizeof(Run) / 16; ++i) words[i] = reinterpret_cast<const uint4*>(pointer)[i];
      memcpy(&run, words, sizeof(Run));
    }
    return run;
  }
  __device__ __forceinline__ void store(T* pointer) const {
    if constexpr (width == 1) {
      *pointer = values[0];
    } else {
      uint4 words[sizeof(Run) / 16];
      memcpy(words, this, sizeof(Run));
#pragma unroll
      for (size_t i = 0; i < sizeof(Run) / 16; ++i)
        store_vector(reinterpret_cast<uint4*>(pointer) + i, words[i]);
    }
  }
};

__device__ __forceinline__ int64_t first_element(int width) {
  return (static_cast<int64_t>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x)) * width;
}

// y[0 .. count) = value, as bits.
template <class Word>
__global__ void __launch_bounds__(kThreads) fill_words_kernel(Word* y, Word value, int64_t count) {
  wait_for_previous_grid();
  constexpr int kWidth = 16 / static_cast<int>(sizeof(Word));
  // The elements in front of the first 16-byte boundary, then whole words, then the rest.
  const int64_t head = (16 - static_cast<int64_t>(reinterpret_cast<uintptr_t>(y) % 16)) % 16 / sizeof(Word);
  const int64_t i = head + first_element(kWidth);
  if (i == head) {
    for (int64_t k = 0; k < head && k < count; ++k) y[k] = value;
  }
  if (i + kWidth <= count) {
    Run<Word, kWidth> run;
#pragma unroll
    for (int k = 0; k < kWidth; ++k) run.values[k] = value;
    run.store(y + i);
  } else {
    for (int64_t k = i; k < count; ++k) y[k] = value;
  }
}

template <class To, class From, int width>
__global__ void __launch_bounds__(kThreads)
    cast_elements_kernel(const From* x, To* __restrict__ y, int64_t count) {
  wait_for_previous_grid();
  const int64_t i = first_element(width);
  if (i + width <= count) {
    const auto run = Run<From, width>::load(x + i);
    Run<To, width> converted;
#pragma unroll
    for (int k = 0; k < width; ++k) converted.values[k] = convert<To>(run.values[k]);
    converted.store(y + i);
  } else {
    for (int64_t k = i; k < count; ++k) y[k] = convert<To>(x[k]);
  }
}

template <class Y, class X, int width>
__global__ void __launch_bounds__(kThreads) accumulate_elements_kernel(const X* x, Y* y, int64_t count) {
  wait_for_previous_grid();
  const int64_t i = first_element(width);
  if (i + width <= count) {
    float sum[width], term[width];
    load_floats(y + i, sum);
    load_floats(x + i, term);
#pragma unroll
    for (int k = 0; k < width; ++k) sum[k] += term[k];
    store_floats(y + i, sum);
  } else {
    for (int64_t k = i; k < count; ++k) y[k] = from_float<Y>(to_float(y[k]) + to_float(x[k]));
  }
}

LaunchShape cover(int64_t count, int width) {
  return {dim3(blocks_for(count, int64_t{kThreads} * width)), kThreads};
}

void fill_kernel_cuda(const FillArgs& a) {
  visit_any(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using Word = std::conditional_t<
        sizeof(T) == 1, uint8_t,
        std::conditional_t<sizeof(T) == 2, uint16_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>>;
    T value;
    if constexpr (kIsFloat<T>) {
      value = T(static_cast<float>(a.value));
    } else {
      value = static_cast<T>(a.value);
    }
    Word word;
    std::memcpy(&word, &value, sizeof word);
    launch_kernel(fill_words_kernel<Word>, cover(a.numel, 16 / static_cast<int>(sizeof(Word))),
                  static_cast<Word*>(a.y), word, a.numel);
  });
}

void cast_kernel_cuda(const CastArgs& a) {
  if (a.from == a.to) {
    const size_t bytes = static_cast<size_t>(a.numel) * dtype_size(a.from);
    Context& context = current_context();
    check_cuda(cudaMemcpyAsync(a.y, a.x, bytes, cudaMemcpyDeviceToDevice, context.stream()), "copy");
    context.note_queued(false);
    return;
  }
  visit_any(a.from, [&](auto from) {
    visit_any(a.to, [&](auto to) {
      using From = typename decltype(from)::type;
      using To = typename decltype(to)::type;
      if constexpr (!std::is_same_v<From, To>) {
        constexpr int kWidth = std::max(kVectorWidth<From>, kVectorWidth<To>);
        const auto run = [&](auto width) {
          launch_kernel(cast_elements_kernel<To, From, width()>, cover(a.numel, width()),
                        static_cast<const From*>(a.x), static_cast<To*>(a.y), a.numel);
        };
        if (aligned({a.x, a.y})) {
          run(std::integral_constant<int, kWidth>{});
        } else {
          run(std::integral_constant<int, 1>{});
        }
      }
    });
  });
}

void accumulate_kernel_cuda(const AccumulateArgs& a) {
  visit_device_float(a.y_dtype, [&](auto y_tag) {
    visit_device_float(a.x_dtype, [&](auto x_tag) {
      using Y = typename decltype(y_tag)::type;
      using X = typename decltype(x_tag)::type;
      constexpr int kWidth = std::max(kVectorWidth<Y>, kVectorWidth<X>);
      const auto run = [&](auto width) {
        launch_kernel(accumulate_elements_kernel<Y, X, width()>, cover(a.numel, width()),
                      static_cast<const X*>(a.x), static_cast<Y*>(a.y), a.numel);
      };
      if (aligned({a.x, a.y})) {
        run(std::integral_constant<int, kWidth>{});
      } else {
        run(std::integral_constant<int, 1>{});
      }
    });
  });
}

REGISTER_KERNEL(fill, cuda, fill_kernel_cuda);
REGISTER_KERNEL(cast, cuda, cast_kernel_cuda);
REGISTER_KERNEL(accumulate, cuda, accumulate_kernel_cuda);

}  // namespace

void cuda::clear_memory(void* data, size_t bytes) {
  if (bytes == 0) return;
  launch_kernel(fill_words_kernel<uint8_t>, cover(static_cast<int64_t>(bytes), 16),
                static_cast<uint8_t*>(data), uint8_t{0}, static_cast<int64_t>(bytes));
}

}  // namespace native
