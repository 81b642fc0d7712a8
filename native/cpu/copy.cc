// Fill, cast and accumulate: elementwise passes over memory.
#include "ops/copy.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/parallel.h"
#include "cpu/simd.h"
#include "cpu/vector_math.h"

namespace native {
namespace {

constexpr int64_t kGrain =
    1 << 15;  // elements per thread below which a second thread costs more than it saves

template <class To, class From>
To convert(From value) {
  if constexpr (std::is_same_v<From, bfloat16> || std::is_same_v<From, float16>) {
    return convert<To>(static_cast<float>(value));
  } else if constexpr (std::is_same_v<From, float> && std::is_integral_v<To>) {
    return to_integer<To>(value);
  } else {
    return static_cast<To>(value);
  }
}

template <class To, class From>
SIMD_CLONES void cast_range(const From* x, To* y, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    if constexpr (std::is_same_v<To, bfloat16>) {
      store(y + i, static_cast<float>(x[i]));
    } else {
      y[i] = convert<To>(x[i]);
    }
  }
}

template <class To, class From>
SIMD_CLONES void accumulate_range(const From* x, To* y, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) store(y + i, static_cast<float>(y[i]) + static_cast<float>(x[i]));
}

void fill_kernel_cpu(const FillArgs& a) {
  visit_any(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    T value;
    if constexpr (std::is_integral_v<T>) {
      value = static_cast<T>(a.value);
    } else {
      value = T(static_cast<float>(a.value));
    }
    parallel_for(a.numel, kGrain, [&](int64_t begin, int64_t end) {
      std::fill(static_cast<T*>(a.y) + begin, static_cast<T*>(a.y) + end, value);
    });
  });
}

void cast_kernel_cpu(const CastArgs& a) {
  if (a.from == a.to) {
    const size_t size = dtype_size(a.from);
    parallel_for(a.numel, kGrain, [&](int64_t begin, int64_t end) {
      std::memcpy(static_cast<char*>(a.y) + begin * size, static_cast<const char*>(a.x) + begin * size,
                  (end - begin) * size);
    });
    return;
  }
  visit_any(a.from, [&](auto from) {
    visit_any(a.to, [&](auto to) {
      using From = typename decltype(from)::type;
      using To = typename decltype(to)::type;
      parallel_for(a.numel, kGrain, [&](int64_t begin, int64_t end) {
        cast_range(static_cast<const From*>(a.x) + begin, static_cast<To*>(a.y) + begin, end - begin);
      });
    });
  });
}

void accumulate_kernel_cpu(const AccumulateArgs& a) {
  visit_float(a.y_dtype, [&](auto y_tag) {
    visit_float(a.x_dtype, [&](auto x_tag) {
      using Y = typename decltype(y_tag)::type;
      using X = typename decltype(x_tag)::type;
      parallel_for(a.numel, kGrain, [&](int64_t begin, int64_t end) {
        accumulate_range(static_cast<const X*>(a.x) + begin, static_cast<Y*>(a.y) + begin, end - begin);
      });
    });
  });
}

REGISTER_KERNEL(fill, cpu, fill_kernel_cpu);
REGISTER_KERNEL(cast, cpu, cast_kernel_cpu);
REGISTER_KERNEL(accumulate, cpu, accumulate_kernel_cpu);

}  // namespace
}  // namespace native
