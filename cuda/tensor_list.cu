// Functions of a whole list of tensors, each in one launch over its chunks (and one more that combines them,
// or, for AdamW, computes what the elements of a tensor share): a block per chunk of at most 16,384 elements.
// Floors per element: grad_norm and all_finite s bytes, scale_in_place 2 s, AdamW 28 bytes (26 with a 16-bit
// gradient, 2 more with a 16-bit copy) and about 15 operations.
#include "common/dtype.h"
#include "common/team.cuh"
#include "ops/tensor_list.h"

namespace native {
namespace {

using namespace cuda;

constexpr int kVectors = 4;  // in flight per thread

__device__ __forceinline__ bool starts_word(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

// Calls f(value) for this thread's elements of the chunk, in order; with `writes`, value is what f returns.
template <int width, bool writes, class T, class F>
__device__ __forceinline__ void map_run(T* data, int64_t count, F f) {
  constexpr int64_t kStep = kTeamThreads * width;
  const int64_t whole = count / width * width;
  for (int64_t start = threadIdx.x * width; start < whole; start += kVectors * kStep) {
    Packed<T, width> packed[kVectors];
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
      if (start + k * kStep < whole) packed[k] = load_packed<width>(data + start + k * kStep);
    }
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
      if (start + k * kStep >= whole) continue;
      float values[width];
      unpack(packed[k], values);
#pragma unroll
      for (int i = 0; i < width; ++i) {
        const float result = f(values[i]);
        if (writes) values[i] = result;
      }
      if (writes) store_floats(data + start + k * kStep, values);
    }
  }
  const int64_t last = whole + threadIdx.x;  // what is left is less than a vector
  if (last < count) {
    const float result = f(to_float(data[last]));
    if (writes) data[last] = from_float<T>(result);
  }
}

template <bool writes, class T, class F>
__device__ __forceinline__ void map_elements(T* data, int64_t count, F f) {
  if (starts_word(data)) {
    map_run<kVectorWidth<T>, writes>(data, count, f);
  } else {
    map_run<1, writes>(data, count, f);
  }
}

template <bool writes, class F>
__device__ __forceinline__ void map_chunk(const ListChunk& chunk, F f) {
  void* data = global_pointer(chunk.data);
  if (chunk.dtype == DType::float32) {
    map_elements<writes>(static_cast<float*>(data), chunk.count, f);
  } else if (chunk.dtype == DType::bfloat16) {
    map_elements<writes>(static_cast<bfloat16*>(data), chunk.count, f);
  } else {
    map_elements<writes>(static_cast<float16*>(data), chunk.count, f);
  }
}

// squares[chunk] = the sum of the chunk's squares in float64.
__global__ void __launch_bounds__(kTeamThreads)
    chunk_squares_kernel(const ListChunk* chunks, double* __restrict__ squares) {
  wait_for_previous_grid();
  double sum = 0;
  map_chunk<false>(chunks[blockIdx.x], [&](float x) {
    sum += static_cast<double>(x) * static_cast<double>(x);
    return x;
  });
  sum = Team<kTeamWarps>::reduce(Add{}, sum);
  if (threadIdx.x == 0) squares[blockIdx.x] = sum;
}

// norm = sqrt(sum of squares [count]): thread t adds squares t, t + 256, ..., then the threads in order.
__global__ void __launch_bounds__(kTeamThreads)
    norm_kernel(const double* squares, int64_t count, float* __restrict__ norm) {
  wait_for_previous_grid();
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kTeamThreads) sum += squares[i];
  sum = Team<kTeamWarps>::reduce(Add{}, sum);
  if (threadIdx.x == 0) *norm = static_cast<float>(sqrt(sum));
}

__global__ void __launch_bounds__(kWarpSize) assume_finite_kernel(int32_t* finite) {
  wait_for_previous_grid();
  if (threadIdx.x == 0) *finite = 1;
}

// finite = 0 where an element is not; all who write, write the same.
__global__ void __launch_bounds__(kTeamThreads)
    find_not_finite_kernel(const ListChunk* chunks, int32_t* __restrict__ finite) {
  wait_for_previous_grid();
  bool found = false;
  map_chunk<false>(chunks[blockIdx.x], [&](float x) {
    found |= x - x != 0.0f;
    return x;
  });
  if (found) *finite = 0;
}

__global__ void __launch_bounds__(kTeamThreads)
    scale_chunks_kernel(const ListChunk* chunks, const float* factor) {
  wait_for_previous_grid();
  const float scale = *factor;
  map_chunk<true>(chunks[blockIdx.x], [scale](float x) { return x * scale; });
}

struct AdamwRates {
  float first, beta2, second, eps;
};

// By squaring, because the library's pow() is a call. The relative error is at most `exponent` roundings of
// float64, so that of 1 - power stays far below one of float32.
__device__ __forceinline__ double power(double base, int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1) result = rounded_product(result, base);
    base = rounded_product(base, base);
  }
  return result;
}

// factors[i] and the step of tensor i of the list; in float64 as on the CPU, with powers that may differ in
// their last bits.
__global__ void __launch_bounds__(kTeamThreads)
    adamw_factors_kernel(const int64_t* rows, int64_t count, int64_t* __restrict__ steps, const double* rates,
                         const int32_t* when, double beta1, double beta2,
                         AdamwFactors* __restrict__ factors) {
  wait_for_previous_grid();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kTeamThreads + threadIdx.x;
  if (i >= count || (when && *when == 0)) return;
  const int64_t row = rows[i];
  const int64_t step = ++steps[row];
  const double rate = rates[2 * row];
  factors[i] = {static_cast<float>(1 - rounded_product(rate, rates[2 * row + 1])),
                static_cast<float>(rate / (1 - power(beta1, step))),
                static_cast<float>(sqrt(1 - power(beta2, step)))};
}

// In the order of native/cpu/tensor_list.cc. Four elements at a time (2 vectors of each operand in flight),
// or one.
template <class T, int width>
__device__ __forceinline__ void adamw_run(const AdamwChunk& chunk, const AdamwRates& rates,
                                          const AdamwFactors& factors, int64_t begin, int64_t end) {
  constexpr int64_t kStep = kTeamThreads * width;
  constexpr int kPairs = 2;
  for (int64_t start = begin + threadIdx.x * width; start < end; start += kPairs * kStep) {
    Packed<float, width> p_raw[kPairs], m_raw[kPairs], v_raw[kPairs];
    Packed<T, width> g_raw[kPairs];
#pragma unroll
    for (int k = 0; k < kPairs; ++k) {
      const int64_t i = start + k * kStep;
      if (i >= end) continue;
      p_raw[k] = load_packed_streaming<width>(chunk.param + i);
      m_raw[k] = load_packed_streaming<width>(chunk.exp_avg + i);
      v_raw[k] = load_packed_streaming<width>(chunk.exp_avg_sq + i);
      g_raw[k] = load_packed_streaming<width>(static_cast<const T*>(chunk.grad) + i);
    }
#pragma unroll
    for (int k = 0; k < kPairs; ++k) {
      if (start + k * kStep >= end) continue;
      float p[width], m[width], v[width], g[width];
      unpack(p_raw[k], p);
      unpack(m_raw[k], m);
      unpack(v_raw[k], v);
      unpack(g_raw[k], g);
#pragma unroll
      for (int i = 0; i < width; ++i) {
        m[i] += (g[i] - m[i]) * rates.first;
        v[i] = v[i] * rates.beta2 + g[i] * g[i] * rates.second;
        p[i] = p[i] * factors.decay -
               factors.step_size * (m[i] / (sqrtf(v[i]) / factors.root_correction + rates.eps));
      }
      store_floats(chunk.param + start + k * kStep, p);
      store_floats(chunk.exp_avg + start + k * kStep, m);
      store_floats(chunk.exp_avg_sq + start + k * kStep, v);
      if (chunk.copy == nullptr) continue;
      if (chunk.copy_dtype == DType::bfloat16) {
        store_floats(static_cast<bfloat16*>(chunk.copy) + start + k * kStep, p);
      } else {
        store_floats(static_cast<float16*>(chunk.copy) + start + k * kStep, p);
      }
    }
  }
}

template <class T>
__device__ __forceinline__ void adamw_chunk(const AdamwChunk& chunk, const AdamwRates& rates,
                                            const AdamwFactors& factors) {
  const bool vectors = starts_word(chunk.param) && starts_word(chunk.exp_avg) &&
                       starts_word(chunk.exp_avg_sq) &&
                       reinterpret_cast<uintptr_t>(chunk.grad) % (4 * sizeof(T)) == 0 &&
                       reinterpret_cast<uintptr_t>(chunk.copy) % 8 == 0;
  const int64_t whole = vectors ? chunk.count / 4 * 4 : 0;
  adamw_run<T, 4>(chunk, rates, factors, 0, whole);
  adamw_run<T, 1>(chunk, rates, factors, whole, chunk.count);
}

__global__ void __launch_bounds__(kTeamThreads)
    adamw_chunks_kernel(const AdamwChunk* chunks, const AdamwFactors* list, const int32_t* when,
                        const AdamwRates rates) {
  wait_for_previous_grid();
  if (when && *when == 0) return;
  AdamwChunk chunk = chunks[blockIdx.x];
  const AdamwFactors factors = list[chunk.tensor];
  chunk.param = global_pointer(chunk.param);
  chunk.grad = global_pointer(chunk.grad);
  chunk.exp_avg = global_pointer(chunk.exp_avg);
  chunk.exp_avg_sq = global_pointer(chunk.exp_avg_sq);
  if (chunk.copy) chunk.copy = global_pointer(chunk.copy);
  if (chunk.grad_dtype == DType::float32) {
    adamw_chunk<float>(chunk, rates, factors);
  } else if (chunk.grad_dtype == DType::bfloat16) {
    adamw_chunk<bfloat16>(chunk, rates, factors);
  } else {
    adamw_chunk<float16>(chunk, rates, factors);
  }
}

void grad_norm(const TensorListArgs& a) {
  const Upload chunks(*a.chunks);
  const size_t count = a.chunks->size();
  const Scratch squares(count * sizeof(double));
  launch_kernel(chunk_squares_kernel, team_launch(static_cast<int64_t>(count), kTeamWarps),
                chunks.data<ListChunk>(), squares.data<double>());
  launch_kernel(norm_kernel, team_launch(1, kTeamWarps), squares.data<double>(), static_cast<int64_t>(count),
                a.sum);
}

void all_finite(const TensorListArgs& a) {
  const Upload chunks(*a.chunks);
  launch_kernel(assume_finite_kernel, LaunchShape{1, kWarpSize}, a.finite);
  launch_kernel(find_not_finite_kernel, team_launch(static_cast<int64_t>(a.chunks->size()), kTeamWarps),
                chunks.data<ListChunk>(), a.finite);
}

void scale_in_place(const TensorListArgs& a) {
  const Upload chunks(*a.chunks);
  launch_kernel(scale_chunks_kernel, team_launch(static_cast<int64_t>(a.chunks->size()), kTeamWarps),
                chunks.data<ListChunk>(), a.factor);
}

void adamw_step(const AdamwArgs& a) {
  const Upload chunks(*a.chunks), rows(*a.rows);
  const int64_t count = static_cast<int64_t>(a.rows->size());
  const Scratch factors(a.rows->size() * sizeof(AdamwFactors));
  launch_kernel(adamw_factors_kernel, LaunchShape{blocks_for(count, kTeamThreads), kTeamThreads},
                rows.data<int64_t>(), count, a.steps, a.rates, a.when, a.beta1, a.beta2,
                factors.data<AdamwFactors>());
  launch_kernel(adamw_chunks_kernel, team_launch(static_cast<int64_t>(a.chunks->size()), kTeamWarps),
                chunks.data<AdamwChunk>(), factors.data<AdamwFactors>(), a.when,
                AdamwRates{static_cast<float>(1 - a.beta1), static_cast<float>(a.beta2),
                           static_cast<float>(1 - a.beta2), a.eps});
}

REGISTER_KERNEL(grad_norm, cuda, grad_norm);
REGISTER_KERNEL(all_finite, cuda, all_finite);
REGISTER_KERNEL(scale_in_place, cuda, scale_in_place);
REGISTER_KERNEL(adamw_step, cuda, adamw_step);

}  // namespace
}  // namespace native
