// The primitives of sm_90a one by one: where TMA puts bytes, what a descriptor of wgmma reads, what stmatrix
// and TMA stores write, clusters. The first thing to run on a new device, and a test of the emulation, whose
// errors follow at the end.
#include <primitives/launch.h>

#include <primitives/wgmma.cuh>

#include "check.h"
#include "common/swizzle.cuh"
#include "core/queue.h"
#include "runtime/tensor_map.h"

using namespace native::cuda;
using check::Tensor;
using check::Values;
using native::bfloat16;
using native::DType;
using native::float16;

namespace {

constexpr int kBoxRows = 64, kBoxBytes = kBoxRows * 128;

struct BoxShared {
  alignas(1024) unsigned char box[kBoxBytes];
  Barrier full;
};

// The box at (x, y) of `map`, `bytes` long, as it lies in shared memory.
__global__ void __launch_bounds__(128)
    load_box_kernel(const __grid_constant__ TensorMap map, int x, int y, int bytes, uint16_t* out) {
#if HOPPER_CODE
  auto& shared = shared_memory<BoxShared>();
  if (threadIdx.x == 0) {
    barrier_init(shared.full, 1);
    fence_barrier_init();
  }
  block_barrier();
  if (threadIdx.x == 0) {
    barrier_arrive_expect(shared.full, static_cast<uint32_t>(bytes));
    tma_load(shared.box, map, shared.full, x, y, 0);
  }
  barrier_wait(shared.full, 0);
  for (int i = static_cast<int>(threadIdx.x); i < bytes / 2; i += 128) {
    out[i] = reinterpret_cast<const uint16_t*>(shared.box)[i];
  }
#endif
}

// Loads a box, stores it at another place; adds it instead when `add`.
__global__ void __launch_bounds__(128)
    move_box_kernel(const __grid_constant__ TensorMap from, const __grid_constant__ TensorMap to, int x,
                    int y, bool add) {
#if HOPPER_CODE
  auto& shared = shared_memory<BoxShared>();
  if (threadIdx.x == 0) {
    barrier_init(shared.full, 1);
    fence_barrier_init();
    barrier_arrive_expect(shared.full, kBoxBytes);
    tma_load(shared.box, from, shared.full, 0, 0, 0);
    barrier_wait(shared.full, 0);
    if (add) {
      tma_reduce_add(to, shared.box, x, y, 0);
    } else {
      tma_store(to, shared.box, x, y, 0);
    }
    bulk_commit();
    bulk_wait<0>();
  }
#endif
}

// out[k]: whether the phase that barrier_passed was asked for had ended: those of parity 1 and 0 of a fresh
// barrier, and both after one arrival.
__global__ void __launch_bounds__(128) passed_kernel(int* out) {
#if HOPPER_CODE
  auto& shared = shared_memory<BoxShared>();
  if (threadIdx.x == 0) {
    barrier_init(shared.full, 1);
    fence_barrier_init();
    out[0] = barrier_passed(shared.full, 1);
    out[1] = barrier_passed(shared.full, 0);
    barrier_arrive(shared.full);
    barrier_wait(shared.full, 0);
    out[2] = barrier_passed(shared.full, 1);
    out[3] = barrier_passed(shared.full, 0);
  }
#endif
}

// Every warp writes 16 rows of 64 elements with stmatrix, lane l of it the numbers 1000 w + 16 l + i; stored
// by TMA.
__global__ void __launch_bounds__(128) store_fragments_kernel(const __grid_constant__ TensorMap map) {
#if HOPPER_CODE
  auto& shared = shared_memory<BoxShared>();
  const int warp = warp_index(), lane = lane_index();
  for (int pair = 0; pair < 4; ++pair) {
    uint32_t registers[4];
    for (int i = 0; i < 4; ++i) {
      const auto first = static_cast<uint32_t>(1000 * warp + 16 * lane + 4 * pair + i);
      registers[i] = first | (first + 30000) << 16;
    }
    const int row = 16 * warp + (lane & 15), chunk = 2 * pair + (lane >> 4);
    store_matrix_x4(shared.box + swizzle<128>(row * 128 + chunk * 16), registers);
  }
  fence_async_shared();
  block_barrier();
  if (threadIdx.x == 0) {
    tma_store(map, shared.box, 0, 0, 0);
    bulk_commit();
    bulk_wait_read<0>();
  }
#endif
}

struct ProductShared {
  alignas(1024) unsigned char a[64 * 128];
  alignas(1024) unsigned char b[256 * 128];
};

#if HOPPER_CODE
// The four registers of A of a thread: 16 columns of the K-major image, swizzled in 128 bytes.
__device__ __forceinline__ void take_left(uint32_t (&left)[4], const unsigned char* image, int step) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = 0; i < 4; ++i) {
    const int row = thread / 32 * 16 + thread % 32 / 4 + i % 2 * 8,
              k = 16 * step + thread % 4 * 2 + i / 2 * 8;
    left[i] = *reinterpret_cast<const uint32_t*>(image + swizzle<128>(row * 128 + k * 2));
  }
}
#endif

// d [64, n] = the k16 step `step` of the operands whose images in shared memory are given, twice: d += d.
// With kRegisters A comes from registers.
template <class T, int kN, bool kAByMn, bool kBByMn, bool kRegisters>
__global__ void __launch_bounds__(128)
    product_kernel(const uint32_t* a, const uint32_t* b, int step, float* d) {
#if HOPPER_CODE
  auto& shared = shared_memory<ProductShared>();
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < 64 * 32; i += 128) store_shared(reinterpret_cast<uint32_t*>(shared.a) + i, a[i]);
  for (int i = thread; i < 256 * 32; i += 128) store_shared(reinterpret_cast<uint32_t*>(shared.b) + i, b[i]);
  fence_async_shared();
  block_barrier();
  float sum[kN / 2];
  const uint64_t a_step = static_cast<uint64_t>(step) * (kAByMn ? 128 : 2);
  const uint64_t b_step = static_cast<uint64_t>(step) * (kBByMn ? 128 : 2);
  uint32_t left[4];
  if constexpr (kRegisters) take_left(left, shared.a, step);
  wgmma_fence();
  for (int repeat = 0; repeat < 2; ++repeat) {
    const uint64_t b_operand = shared_descriptor(shared.b, 8192, 1024, Swizzle::bytes_128) + b_step;
    if constexpr (kRegisters) {
      wgmma_from_registers<T, kN, kBByMn>(sum, left, b_operand, repeat > 0);
    } else {
      wgmma<T, kN, kAByMn, kBByMn>(sum, shared_descriptor(shared.a, 8192, 1024, Swizzle::bytes_128) + a_step,
                                   b_operand, repeat > 0);
    }
  }
  wgmma_commit();
  wgmma_wait<0>();
  wgmma_settle(sum);
#pragma unroll
  for (int i = 0; i < kN / 2; ++i) {
    const int row = thread / 32 * 16 + thread % 32 / 4 + i % 4 / 2 * 8,
              column = i / 4 * 8 + thread % 4 * 2 + i % 2;
    d[row * kN + column] = sum[i];
  }
#endif
}

// Each block of a pair loads one half of the box for both, then writes what it has to its part of `out`.
__global__ void __launch_bounds__(128)
    share_box_kernel(const __grid_constant__ TensorMap half, uint16_t* out) {
#if HOPPER_CODE
  auto& shared = shared_memory<BoxShared>();
  const int rank = cluster_rank();
  if (threadIdx.x == 0) {
    barrier_init(shared.full, 2);  // one arrival of each block
    fence_barrier_init();
  }
  cluster_barrier();
  if (threadIdx.x == 0) {
    barrier_arrive_expect(shared.full, kBoxBytes);
    tma_load_multicast(shared.box + rank * kBoxBytes / 2, half, shared.full, 0, rank * kBoxRows / 2, 0, 3);
    barrier_arrive_cluster(shared.full, 1 - rank);
  }
  barrier_wait_cluster(shared.full, 0);
  for (int i = static_cast<int>(threadIdx.x); i < kBoxBytes / 2; i += 128) {
    out[rank * kBoxBytes / 2 + i] = reinterpret_cast<const uint16_t*>(shared.box)[i];
  }
  cluster_barrier();
#endif
}

// The first block of a cluster of two sends 5 and 7 through one word of every block, the second when both
// have read the first. out: [block, word].
__global__ void __launch_bounds__(32) send_words_kernel(int* out) {
#if HOPPER_CODE
  struct Words {
    int word;
    Barrier sent, read;
  };
  auto& shared = shared_memory<Words>();
  const int rank = cluster_rank();
  if (threadIdx.x == 0) {
    barrier_init(shared.sent, 1);
    barrier_init(shared.read, 2);
    fence_barrier_init();
  }
  cluster_barrier();
  if (threadIdx.x == 0) {
    for (uint32_t i = 0; i < 2; ++i) {
      barrier_arrive_expect(shared.sent, sizeof(int));
      if (rank == 0) {
        barrier_wait_cluster(shared.read, i ^ 1);
        for (int block = 0; block < 2; ++block) {
          store_async(&shared.word, 5 + 2 * static_cast<int>(i), shared.sent, block);
        }
      }
      barrier_wait_cluster(shared.sent, i);
      out[2 * rank + static_cast<int>(i)] = shared.word;
      barrier_arrive_cluster(shared.read, 0);
    }
  }
  cluster_barrier();
#endif
}

template <class F>
void on_device(F&& launch) {
  native::backend(native::DeviceType::cuda).submit({"primitive", {}}, launch);
  check::fence();
}

LaunchShape one_block(size_t shared_bytes) {
  LaunchShape shape;
  shape.overlap = false;
  shape.grid = dim3(1);
  shape.threads = 128;
  shape.shared_bytes = shared_bytes;
  return shape;
}

// 16-bit numbers as they are, in a tensor of an integer type of twice the size.
Tensor words(const std::vector<uint16_t>& numbers) {
  Values pairs;
  for (size_t i = 0; i < numbers.size(); i += 2) {
    pairs.push_back(static_cast<int32_t>(numbers[i] | static_cast<uint32_t>(numbers[i + 1]) << 16));
  }
  const auto count = static_cast<int64_t>(pairs.size());
  return check::to_device(pairs, {count}, DType::int32);
}
std::vector<uint16_t> read_words(const Tensor& x) {
  std::vector<uint16_t> numbers;
  for (const double value : check::to_host(x)) {
    const auto pair = static_cast<uint32_t>(static_cast<int32_t>(value));
    numbers.push_back(static_cast<uint16_t>(pair));
    numbers.push_back(static_cast<uint16_t>(pair >> 16));
  }
  return numbers;
}
std::vector<uint16_t> ramp(int count) {
  std::vector<uint16_t> numbers(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) numbers[static_cast<size_t>(i)] = static_cast<uint16_t>(i + 1);
  return numbers;
}
uint16_t* pointer(const Tensor& x) { return static_cast<uint16_t*>(x.raw()); }

// Where 16 bits of element (mn, k) lie in an operand of 64 k that is swizzled in 128 bytes.
size_t place(bool by_mn, int mn, int k) {
  const int offset = by_mn ? mn / 64 * 8192 + mn % 64 * 2 + k * 128 : mn * 128 + k * 2;
  return static_cast<size_t>(swizzle<128>(offset)) / 2;
}

template <class T, int kN, bool kAByMn, bool kBByMn, bool kRegisters = false>
void check_product(DType dtype) {
  constexpr int kDepth = 64;
  const Values a = check::normal(64 * kDepth, 1, dtype), b = check::normal(256 * kDepth, 2, dtype);
  std::vector<uint16_t> a_image(64 * 64), b_image(256 * 64);
  for (int k = 0; k < kDepth; ++k) {
    for (int m = 0; m < 64; ++m) {
      a_image[place(kAByMn, m, k)] = T(static_cast<float>(a[static_cast<size_t>(m * kDepth + k)])).bits;
    }
    for (int n = 0; n < 256; ++n) {
      b_image[place(kBByMn, n, k)] = T(static_cast<float>(b[static_cast<size_t>(n * kDepth + k)])).bits;
    }
  }
  const Tensor a_words = words(a_image), b_words = words(b_image);
  for (const int step : {0, 3}) {
    const Tensor d = check::poisoned({64, kN}, DType::float32);
    on_device([&] {
      launch_kernel(product_kernel<T, kN, kAByMn, kBByMn, kRegisters>, one_block(sizeof(ProductShared)),
                    static_cast<const uint32_t*>(a_words.raw()), static_cast<const uint32_t*>(b_words.raw()),
                    step, static_cast<float*>(d.raw()));
    });
    Values expected;
    for (int m = 0; m < 64; ++m) {
      for (int n = 0; n < kN; ++n) {
        double sum = 0;
        for (int k = 16 * step; k < 16 * step + 16; ++k) {
          sum += 2 * a[static_cast<size_t>(m * kDepth + k)] * b[static_cast<size_t>(n * kDepth + k)];
        }
        expected.push_back(sum);
      }
    }
    check::expect_close(native::concat("wgmma n ", kN, " step ", step, " by mn ", kAByMn, kBByMn), d,
                        expected, 1e-4);
  }
}

template <int kN>
void check_products() {
  check_product<bfloat16, kN, false, false>(DType::bfloat16);
  check_product<float16, kN, true, false>(DType::float16);
  if constexpr (kN >= 64) {  // by mn the smallest panel is 64 wide
    check_product<bfloat16, kN, false, true>(DType::bfloat16);
    check_product<float16, kN, true, true>(DType::float16);
  }
}

}  // namespace

TEST_CASE("TMA: a box lies in rows, permuted by the swizzle; what is outside the tensor is 0") {
  constexpr int kColumns = 72, kRows = 70;
  const Tensor x = words(ramp(kColumns * kRows));
  struct Layout {
    Swizzle swizzle;
    int columns;
  };
  const Layout layouts[] = {
      {Swizzle::bytes_128, 64}, {Swizzle::bytes_64, 32}, {Swizzle::bytes_32, 16}, {Swizzle::none, 64}};
  struct Corner {
    int left, top;
  };
  const Corner corners[] = {{0, 0}, {24, 8}, {-8, -3}, {40, 60}, {80, 0}};
  for (const Layout& chosen : layouts) {
    const Swizzle layout = chosen.swizzle;
    const int columns = chosen.columns;
    const int bytes = kBoxRows * columns * 2;
    for (const Corner& corner : corners) {
      const int left = corner.left, top = corner.top;
      const Tensor out = words(std::vector<uint16_t>(static_cast<size_t>(bytes) / 2));
      const TensorMap map = encode_tensor_map(x.raw(), DType::bfloat16,
                                              {kColumns, kRows, 1, kColumns, 0, columns, kBoxRows}, layout);
      on_device([&] {
        launch_kernel(load_box_kernel, one_block(sizeof(BoxShared)), map, left, top, bytes, pointer(out));
      });
      const std::vector<uint16_t> actual = read_words(out);
      int wrong = 0;
      for (int row = 0; row < kBoxRows; ++row) {
        for (int column = 0; column < columns; ++column) {
          const int offset = (row * columns + column) * 2;
          const int at = layout == Swizzle::bytes_128  ? swizzle<128>(offset)
                         : layout == Swizzle::bytes_64 ? swizzle<64>(offset)
                         : layout == Swizzle::bytes_32 ? swizzle<32>(offset)
                                                       : offset;
          const int r = top + row, c = left + column;
          const bool inside = r >= 0 && r < kRows && c >= 0 && c < kColumns;
          wrong += actual[static_cast<size_t>(at) / 2] != (inside ? r * kColumns + c + 1 : 0);
        }
      }
      CHECK_MESSAGE(wrong == 0,
                    native::concat("swizzle ", static_cast<int>(layout), " at ", left, ", ", top));
    }
  }
}

TEST_CASE("TMA: stores clip, reductions add") {
  const Values source = check::normal(64 * 32, 1), target = check::normal(70 * 40, 2);
  const Tensor from = check::to_device(source, {64, 32}, DType::float32);
  const TensorMap from_map =
      encode_tensor_map(from.raw(), DType::float32, {32, 64, 1, 32, 0, 32, 64}, Swizzle::bytes_128);
  for (const bool add : {false, true}) {
    const Tensor to = check::to_device(target, {70, 40}, DType::float32);
    const TensorMap to_map =
        encode_tensor_map(to.raw(), DType::float32, {40, 70, 1, 40, 0, 32, 64}, Swizzle::bytes_128);
    on_device(
        [&] { launch_kernel(move_box_kernel, one_block(sizeof(BoxShared)), from_map, to_map, 16, 10, add); });
    Values expected = target;
    for (size_t r = 10; r < 70; ++r) {
      for (size_t c = 16; c < 40; ++c) {
        const double moved = source[(r - 10) * 32 + c - 16];
        expected[r * 40 + c] = add ? check::rounded(expected[r * 40 + c] + moved, DType::float32) : moved;
      }
    }
    check::expect_equal(add ? "reduce" : "store", to, expected);
  }
}

TEST_CASE("TMA: whether a barrier's phase has ended can be asked without waiting") {
  const Tensor out = check::to_device(Values(4), {4}, DType::int32);
  on_device(
      [&] { launch_kernel(passed_kernel, one_block(sizeof(BoxShared)), static_cast<int*>(out.raw())); });
  check::expect_equal("passed", out, {1, 0, 0, 1});
}

TEST_CASE("stmatrix: fragments of the warps become rows") {
  const Tensor out = words(std::vector<uint16_t>(64 * 64));
  const TensorMap map =
      encode_tensor_map(out.raw(), DType::bfloat16, {64, 64, 1, 64, 0, 64, 64}, Swizzle::bytes_128);
  on_device([&] { launch_kernel(store_fragments_kernel, one_block(sizeof(BoxShared)), map); });
  const std::vector<uint16_t> actual = read_words(out);
  int wrong = 0;
  for (int row = 0; row < 64; ++row) {
    for (int column = 0; column < 64; ++column) {
      const int lane = row % 8 * 4 + column % 8 / 2, pair = column / 16;
      const int i = row % 16 / 8 + column % 16 / 8 * 2;
      const int number = 1000 * (row / 16) + 16 * lane + 4 * pair + i + (column % 2 ? 30000 : 0);
      wrong += actual[static_cast<size_t>(row * 64 + column)] != number;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("wgmma: descriptors, majors, steps of k and fragments of every size") {
  check_products<8>();
  check_products<64>();
  check_products<128>();
  check_products<192>();
  check_products<256>();
}

TEST_CASE("wgmma: A in registers") {
  check_product<bfloat16, 16, false, false, true>(DType::bfloat16);
  check_product<float16, 16, false, false, true>(DType::float16);
  check_product<bfloat16, 64, false, true, true>(DType::bfloat16);
  check_product<float16, 64, false, false, true>(DType::float16);
}

TEST_CASE("clusters: halves of a box for both blocks") {
  const Tensor x = words(ramp(64 * 64)), out = words(std::vector<uint16_t>(2 * 64 * 64));
  const TensorMap half =
      encode_tensor_map(x.raw(), DType::bfloat16, {64, 64, 1, 64, 0, 64, 32}, Swizzle::bytes_128);
  on_device([&] {
    LaunchShape shape = one_block(sizeof(BoxShared));
    shape.grid = dim3(2);
    shape.cluster = 2;
    launch_kernel(share_box_kernel, shape, half, pointer(out));
  });
  const std::vector<uint16_t> actual = read_words(out);
  int wrong = 0;
  for (int block = 0; block < 2; ++block) {
    for (int i = 0; i < 64 * 64; ++i) {
      wrong += actual[static_cast<size_t>(block * 64 * 64 + swizzle<128>(2 * i) / 2)] != i + 1;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("clusters: words for every block") {
  const Tensor out = words(std::vector<uint16_t>(8));
  on_device([&] {
    LaunchShape shape = one_block(64);
    shape.threads = 32;
    shape.grid = dim3(2);
    shape.cluster = 2;
    launch_kernel(send_words_kernel, shape, reinterpret_cast<int*>(pointer(out)));
  });
  CHECK(read_words(out) == std::vector<uint16_t>{5, 0, 7, 0, 5, 0, 7, 0});
}

TEST_CASE("tensor maps: what the engine cannot address is known before the driver refuses it") {
  const Tensor x = words(ramp(64 * 64));
  const TensorMapShape good{64, 64, 1, 64, 0, 64, 64};
  CHECK(tensor_map_supports(x.raw(), DType::bfloat16, good));
  CHECK(!tensor_map_supports(pointer(x) + 1, DType::bfloat16, good));
  TensorMapShape odd = good;
  odd.pitch = 68;  // no multiple of 16 bytes
  CHECK(!tensor_map_supports(x.raw(), DType::bfloat16, odd));
  CHECK(check::error_of([&] {
          encode_tensor_map(x.raw(), DType::bfloat16, odd, Swizzle::bytes_128);
        }).find("ERR_DEVICE") == 0);
  TensorMapShape overlapping = good;
  overlapping.pitch = 56;  // which a driver may take
  CHECK(!tensor_map_supports(x.raw(), DType::bfloat16, overlapping));
  // Of what there is one, the distance may be anything: the driver is told one that it takes.
  CHECK_NOTHROW(encode_tensor_map(x.raw(), DType::bfloat16, {64, 1, 1, 0, 0, 64, 64}, Swizzle::bytes_128));
  CHECK_NOTHROW(encode_tensor_map(x.raw(), DType::bfloat16, {64, 1, 8, 0, 64, 64, 64}, Swizzle::bytes_128));
  TensorMapShape wide = good;
  wide.box_columns = 128;  // more than a row of the swizzle
  CHECK(check::error_of([&] {
          encode_tensor_map(x.raw(), DType::bfloat16, wide, Swizzle::bytes_128);
        }).find("ERR_DEVICE") == 0);
}
