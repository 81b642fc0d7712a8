// Reductions of [outer, length, inner] along `length`. Rows (inner = 1) are reduced by teams of threads,
// columns (inner > 1) by blocks that go down a tile of neighbouring columns. Long dimensions are cut into
// parts by their size alone; a second kernel combines the parts in order, groups of them first where there
// are many. Sums are float32 over at most 16 elements and float64 beyond. Floor: the bytes of x.
#include <algorithm>
#include <type_traits>

#include "common/dtype.h"
#include "common/strided.cuh"
#include "common/team.cuh"
#include "ops/reduce.h"

namespace native {
namespace {

using namespace cuda;

constexpr int64_t kPart = 16384;  // elements of a row that a team takes
constexpr int kMaxParts = 256;    // that are combined at once
constexpr int kRowsPerThread = 16;

struct Sum {
  using Value = double;
  using Op = Add;
  static constexpr float kIdentity = 0;
};
struct Maximum {
  using Value = float;
  using Op = LargestOrNan;
  static constexpr float kIdentity = -INFINITY;
};
struct Minimum {
  using Value = float;
  using Op = SmallestOrNan;
  static constexpr float kIdentity = INFINITY;
};

// Where results go: rounded into y, or kept whole as one of several parts.
template <class R>
struct Output {
  void* y;
  typename R::Value* parts;  // null when there is one part
  float scale;
  DType dtype;

  __device__ __forceinline__ void write(int64_t index, typename R::Value value) const {
    if (parts) {
      parts[index] = value;
      return;
    }
    const float result =
        std::is_same_v<R, Sum> ? static_cast<float>(value) * scale : static_cast<float>(value);
    if (dtype == DType::float32) {
      static_cast<float*>(y)[index] = result;
    } else if (dtype == DType::bfloat16) {
      static_cast<bfloat16*>(y)[index] = from_float<bfloat16>(result);
    } else {
      static_cast<float16*>(y)[index] = from_float<float16>(result);
    }
  }
};

// Team r of the grid takes elements part * part_length and following of row r / parts, part = r % parts.
template <class T, class R, int warps, int width>
__global__ void __launch_bounds__(kTeamThreads)
    reduce_rows_kernel(const T* x, const Output<R> output, int64_t teams, int64_t length, Divisor parts,
                       int64_t part_length) {
  wait_for_previous_grid();
  using Value = typename R::Value;
  constexpr int64_t kStep = Team<warps>::kThreads * width;
  const int64_t team = Team<warps>::row();
  if (team >= teams) return;
  int64_t part;
  const int64_t row = parts.divide(team, &part);
  const int64_t begin = part * part_length, end = begin + part_length < length ? begin + part_length : length;
  x += row * length;
  Value value = R::kIdentity;
#pragma unroll 4
  for (int64_t i = begin + Team<warps>::thread() * width; i < end; i += kStep) {
    float run[width];
    load_floats(x + i, run);
#pragma unroll
    for (int half = width / 2; half > 0; half /= 2) {
#pragma unroll
      for (int k = 0; k < half; ++k) run[k] = typename R::Op{}(run[k], run[k + half]);
    }
    value = typename R::Op{}(value, static_cast<Value>(run[0]));
  }
  value = Team<warps>::reduce(typename R::Op{}, value);
  if (Team<warps>::thread() == 0) output.write(team, value);
}

// A block takes one part of the length of a tile of columns: `lanes` lanes of a warp hold `width`
// neighbouring columns each, the other lanes and the warps take turns in the rows, 16 each. Results lie as
// [outer, parts, inner].
template <class T, class R, int width>
__global__ void __launch_bounds__(kTeamThreads)
    reduce_columns_kernel(const T* x, const Output<R> output, int64_t length, int64_t inner, int lanes,
                          Divisor tiles, Divisor parts) {
  wait_for_previous_grid();
  using Value = typename R::Value;
  struct Shared {
    float values[kTeamThreads][width];
  };
  const int thread = static_cast<int>(threadIdx.x), turn = thread / lanes, turns = kTeamThreads / lanes;
  int64_t tile, part;
  const int64_t group = tiles.divide(blockIdx.x, &tile);  // outer index * parts + part
  const int64_t outer = parts.divide(group, &part);
  const int64_t column = (tile * lanes + thread % lanes) * width;
  const int64_t first = part * turns * kRowsPerThread + turn;
  float values[width];
#pragma unroll
  for (int i = 0; i < width; ++i) values[i] = R::kIdentity;
  if (column < inner) {
    x += (outer * length + first) * inner + column;
#pragma unroll 4
    for (int k = 0; k < kRowsPerThread; ++k) {
      if (first + k * turns >= length) break;
      float row[width];
      load_floats(x + k * turns * inner, row);
#pragma unroll
      for (int i = 0; i < width; ++i) values[i] = typename R::Op{}(values[i], row[i]);
    }
  }
  Shared& shared = shared_memory<Shared>();
#pragma unroll
  for (int i = 0; i < width; ++i) shared.values[thread][i] = values[i];
  block_barrier();
  for (int i = thread; i < lanes * width && tile * lanes * width + i < inner; i += kTeamThreads) {
    Value value = R::kIdentity;
    for (int t = 0; t < turns; ++t) {
      value = typename R::Op{}(value, static_cast<Value>(shared.values[t * lanes + i / width][i % width]));
    }
    output.write(group * inner + tile * lanes * width + i, value);
  }
}

// y [outer, inner] from values [outer, parts, inner]: warp w of a block combines parts w, w + 8, ... of 32
// neighbouring results, then the warps are combined in order.
template <class R>
__global__ void __launch_bounds__(kTeamThreads)
    reduce_parts_kernel(const typename R::Value* values, const Output<R> output, int64_t results,
                        int64_t parts, Divisor inner) {
  wait_for_previous_grid();
  using Value = typename R::Value;
  struct Shared {
    Value values[kTeamWarps][kWarpSize];
  };
  Shared& shared = shared_memory<Shared>();
  const int warp = warp_index(), lane = lane_index();
  const int64_t result = static_cast<int64_t>(blockIdx.x) * kWarpSize + lane;
  Value value = R::kIdentity;
  if (result < results) {
    int64_t column;
    values += inner.divide(result, &column) * parts * inner.value() + column;
#pragma unroll 8
    for (int64_t part = warp; part < parts; part += kTeamWarps) {
      value = typename R::Op{}(value, values[part * inner.value()]);
    }
  }
  shared.values[warp][lane] = value;
  block_barrier();
  if (warp > 0 || result >= results) return;
#pragma unroll
  for (int w = 1; w < kTeamWarps; ++w) value = typename R::Op{}(value, shared.values[w][lane]);
  output.write(result, value);
}

template <class T, class R>
void reduce_rows(const ReduceArgs& a, int64_t parts, int64_t part_length, const Output<R>& output) {
  const int64_t teams = a.outer * parts;
  const bool vectors = a.length % kVectorWidth<T> == 0 && aligned({a.x});
  visit_width<T>(vectors, [&](auto width) {
    const auto run = [&](auto warps) {
      launch_kernel(reduce_rows_kernel<T, R, warps, width>, team_launch(teams, warps),
                    static_cast<const T*>(a.x), output, teams, a.length, Divisor(parts), part_length);
    };
    if (part_length <= 2048) {
      run(std::integral_constant<int, 1>{});
    } else {
      run(std::integral_constant<int, kTeamWarps>{});
    }
  });
}

template <class T, class R>
void reduce_columns(const ReduceArgs& a, int64_t parts, int lanes, int width, const Output<R>& output) {
  const int64_t tiles = (a.inner + lanes * width - 1) / (lanes * width);
  visit_width<T>(width > 1, [&](auto constant) {
    launch_kernel(reduce_columns_kernel<T, R, constant>,
                  LaunchShape{blocks_for(a.outer * parts * tiles, 1), kTeamThreads,
                              sizeof(float) * kTeamThreads * constant},
                  static_cast<const T*>(a.x), output, a.length, a.inner, lanes, Divisor(tiles),
                  Divisor(parts));
  });
}

// y [outer, inner] from values [outer, parts, inner].
template <class R>
void reduce_parts(const typename R::Value* values, const Output<R>& output, int64_t outer, int64_t parts,
                  int64_t inner) {
  launch_kernel(reduce_parts_kernel<R>,
                LaunchShape{blocks_for(outer * inner, kWarpSize), kTeamThreads,
                            sizeof(typename R::Value) * kTeamThreads},
                values, output, outer * inner, parts, Divisor(inner));
}

template <class T, class R>
void reduce_as(const ReduceArgs& a) {
  using Value = typename R::Value;
  int64_t parts, part_length = 0, group = 1;  // parts that are combined first
  int lanes = 0, width = 1;
  if (a.inner == 1) {
    parts = std::clamp<int64_t>((a.length + kPart - 1) / kPart, 1, kMaxParts);
    part_length = (a.length + parts * 8 - 1) / (parts * 8) * 8;  // whole vectors
  } else {
    if (a.inner % kVectorWidth<T> == 0 && aligned({a.x})) width = kVectorWidth<T>;
    for (lanes = 1; lanes < kWarpSize && lanes * width < a.inner;) lanes *= 2;
    const int64_t rows = kTeamThreads / lanes * kRowsPerThread;
    parts = std::max<int64_t>(1, (a.length + rows - 1) / rows);
    group = (parts + kMaxParts - 1) / kMaxParts;
    parts = (parts + group - 1) / group * group;  // the last ones may be empty
  }
  const int64_t groups = parts / group;
  const auto scratch_bytes = [&](int64_t count) {
    return static_cast<size_t>(a.outer * count * a.inner) * sizeof(Value);
  };
  Output<R> output{a.y, nullptr, a.scale, a.y_dtype}, first = output;
  const Scratch values(parts > 1 ? scratch_bytes(parts) : 0), sums(group > 1 ? scratch_bytes(groups) : 0);
  if (parts > 1) first.parts = values.data<Value>();
  if (a.inner == 1) {
    reduce_rows<T>(a, parts, part_length, first);
  } else {
    reduce_columns<T>(a, parts, lanes, width, first);
  }
  if (parts == 1) return;
  if (group > 1) {
    Output<R> second = output;
    second.parts = sums.data<Value>();
    reduce_parts<R>(first.parts, second, a.outer * groups, group, a.inner);
    first.parts = second.parts;
  }
  reduce_parts<R>(first.parts, output, a.outer, groups, a.inner);
}

void reduce_any(const ReduceArgs& a) {
  if (a.outer * a.inner == 0) return;
  visit_device_float(a.x_dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    switch (a.op) {
      case ReduceOp::sum:
        return reduce_as<T, Sum>(a);
      case ReduceOp::max:
        return reduce_as<T, Maximum>(a);
      case ReduceOp::min:
        return reduce_as<T, Minimum>(a);
    }
  });
}

// Whether (value, index) comes before (best, best_index): NaN before numbers, larger before smaller, then by
// index.
__device__ __forceinline__ bool precedes(float value, int index, float best, int best_index) {
  if (value != value || best != best) return value != value && (best == best || index < best_index);
  return value > best || (value == best && index < best_index);
}

// A warp per result. Lanes without an element hold -infinity at an index behind all.
template <class T>
__global__ void __launch_bounds__(kTeamThreads)
    argmax_rows_kernel(const T* x, int32_t* __restrict__ y, int64_t results, int length, Divisor inner) {
  wait_for_previous_grid();
  const int64_t result = Team<1>::row();
  if (result >= results) return;
  int64_t column;
  const int64_t outer = inner.divide(result, &column);
  x += outer * length * inner.value() + column;
  float best = -INFINITY;
  int best_index = length;
#pragma unroll 4
  for (int i = lane_index(); i < length; i += kWarpSize) {
    const float value = to_float(x[i * inner.value()]);
    if (precedes(value, i, best, best_index)) {
      best = value;
      best_index = i;
    }
  }
  for (int mask = kWarpSize / 2; mask > 0; mask /= 2) {
    const float value = shuffle_xor(best, mask);
    const int index = shuffle_xor(best_index, mask);
    if (precedes(value, index, best, best_index)) {
      best = value;
      best_index = index;
    }
  }
  if (lane_index() == 0) y[result] = best_index;
}

void find_largest(const ArgmaxArgs& a) {
  visit_device_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t results = a.outer * a.inner;
    if (results == 0) return;
    launch_kernel(argmax_rows_kernel<T>, team_launch(results, 1), static_cast<const T*>(a.x), a.y, results,
                  static_cast<int>(a.length), Divisor(a.inner));
  });
}

REGISTER_KERNEL(reduce, cuda, reduce_any);
REGISTER_KERNEL(argmax, cuda, find_largest);

}  // namespace
}  // namespace native
