// The emulated device itself: every mistake that it must find is made here once, by kernels of a few lines.
#ifdef CUDA_EMULATION
#include "emulation.h"

#include <primitives/launch.h>

#include <algorithm>
#include <limits>
#include <map>
#include <primitives/tensor_core.cuh>

#include "check.h"

using namespace check;
using namespace native::cuda;
using native::DeviceType;

namespace {

// Runs the kernel, most of which do not wait for the one in front, and returns the message of the error that
// the next fence tells, or nothing.
template <class Kernel, class... Arguments>
std::string run(Kernel kernel, LaunchShape shape, Arguments... arguments) {
  shape.overlap = false;
  return error_of([&] {
    native::backend(DeviceType::cuda).submit({"kernel", {}}, [=] {
      launch_kernel(kernel, shape, arguments...);
    });
    fence();
  });
}

bool says(const std::string& message, std::initializer_list<const char*> words) {
  return std::all_of(words.begin(), words.end(),
                     [&](const char* word) { return message.find(word) != std::string::npos; });
}
void check_says(const std::string& message, std::initializer_list<const char*> words) {
  CHECK_MESSAGE(says(message, words), "told: " << message);
}

Tensor ints(int64_t count) { return to_device(Values(static_cast<size_t>(count), 0), {count}, DType::int32); }

// y = x of the block backwards, through shared memory.
__global__ void reverse_kernel(const int* x, int* y) {
  int* shared = &shared_memory<int>();
  const int thread = static_cast<int>(threadIdx.x), last = static_cast<int>(blockDim.x) - 1;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.x;
  shared[thread] = x[first + thread];
  block_barrier();
  y[first + thread] = shared[last - thread];
}

bool reverses() {
  const Values values = integers(1024, 1, 0, 1000);
  const Tensor x = to_device(values, {1024}, DType::int32), y = poisoned({1024}, DType::int32);
  const std::string error = run(reverse_kernel, {dim3(4), 256, 1024}, x.data<int>(), y.data<int>());
  CHECK(error == "");
  Values expected = values;
  for (size_t block = 0; block < 4; ++block) {
    std::reverse(expected.begin() + 256 * block, expected.begin() + 256 * (block + 1));
  }
  return to_host(y) == expected;
}

__global__ void divergent_kernel(int* y) {
  if (lane_index() < 16) {
    *y = shuffle(1, 0);
  } else {
    *y = shuffle(2, 0);
  }
}

__global__ void half_a_warp_kernel(int* y) {
  if (lane_index() < 16) return;
  *y = shuffle(1, 16);
}

__global__ void nothing_kernel() {}

__global__ void two_barriers_kernel() {
  if (threadIdx.x < 64) {
    block_barrier();
  } else {
    named_barrier(3, 128);
  }
}

__global__ void torn_warp_kernel() {
  if (threadIdx.x % 2) {
    block_barrier();
  } else {
    block_barrier();
  }
}

__global__ void miscounted_barrier_kernel() { named_barrier(1, threadIdx.x < 32 ? 64 : 96); }

// Thread 0 alone arrives at a barrier for two warps.
__global__ void lonely_arrival_kernel() {
  if (threadIdx.x < 32) named_barrier_arrive(2, 64);
}

__global__ void store_at_kernel(int at) { (&shared_memory<unsigned char>())[at] = 0; }
__global__ void store_global_kernel(int* y, int64_t at) { y[at] = 1; }
__global__ void divide_kernel(int* y, int by) { *y = 7 / by; }
__global__ void big_struct_kernel() { shared_memory<int[65]>()[0] = 1; }
int deep(volatile int* y, int level) { return level == 0 ? *y : 1 + deep(y, level - 1) * (*y + 1); }
__global__ void recursive_kernel(int* y) { *y = deep(y, 1 << 20); }

__global__ void read_shared_kernel(float* y) { *y = shared_memory<float[16]>()[7]; }

__global__ void misaligned_matrix_kernel(uint32_t* y, int at) {
  uint32_t r[4];
  load_matrix_x4(r, &shared_memory<unsigned char>() + lane_index() * 16 + at);
  y[threadIdx.x] = r[0];
}

// Rows `pitch` bytes apart.
__global__ void pitched_matrix_kernel(uint32_t* y, int pitch) {
  uint32_t r[4];
  load_matrix_x4(r, &shared_memory<unsigned char>() + lane_index() * pitch);
  y[threadIdx.x] = r[0];
}

// Copies 16 bytes per thread through shared memory; `early`: before they are sure to be there.
__global__ void background_copy_kernel(const float4* x, float4* y, bool early) {
  float4* shared = &shared_memory<float4>();
  copy_async_16(shared + threadIdx.x, x + threadIdx.x);
  copy_async_commit();
  if (!early) copy_async_wait<0>();
  y[threadIdx.x] = shared[threadIdx.x];
}

__global__ void move_vector_kernel(const char* x, char* y, int bytes) {
  if (threadIdx.x > 0) return;
  if (bytes == 4) *reinterpret_cast<uint32_t*>(y) = *reinterpret_cast<const uint32_t*>(x);
  if (bytes == 8) *reinterpret_cast<uint2*>(y) = *reinterpret_cast<const uint2*>(x);
  if (bytes == 16) store_vector(reinterpret_cast<uint4*>(y), *reinterpret_cast<const uint4*>(x));
}

// Block b adds b to the sum when all blocks before it have.
__global__ void in_order_kernel(int* turn, int* order) {
  if (threadIdx.x == 0) {
    while (load_acquire(turn) != static_cast<int>(blockIdx.x)) {
    }
    order[blockIdx.x] = *turn;
    store_release(turn, *turn + 1);
  }
  block_barrier();
}

__global__ void count_kernel(int* counter, int* order) {
  if (threadIdx.x == 0) order[atomic_add(counter, 1)] = static_cast<int>(blockIdx.x);
}

enum class Early { nothing, load, store, atomic, copy, no_wait };
__global__ void early_kernel(const int* x, int* y, Early mistake) {
  int* shared = &shared_memory<int>();
  const int thread = static_cast<int>(threadIdx.x);
  shared[thread] = 0;
  if (mistake == Early::load) shared[thread] = x[thread];
  if (mistake == Early::store) y[thread] = 0;
  if (mistake == Early::atomic) atomic_add(y, 1);
  if (mistake == Early::copy) copy_async_16(shared + 4 * thread, x);
  block_barrier();
  if (mistake == Early::no_wait && thread == 63) return;
  wait_for_previous_grid();
  y[thread] = x[thread] + shared[thread];
}

__global__ void exchange_kernel(int* y) {
  const int lane = lane_index();
  y[lane] = shuffle(lane * lane, (lane + 5) % 32);
  y[32 + lane] = shuffle_xor(lane, 3);
  y[64 + lane] = static_cast<int>(ballot(lane % 3 == 0));
  y[96 + lane] = any_lane(lane == 9) ? 1 : any_lane(lane == 40);
  y[128 + lane] = warp_index();
}

// y [16, 8] = a [16, 16] b [16, 8] of T, with fragments loaded by ldmatrix: `b` by rows, `b_columns` by
// columns.
template <class T>
__global__ void product_kernel(const T* a, const T* b, const T* b_columns, float* y, float* y_columns) {
  struct Shared {
    T a[16][16], b[16][8], b_columns[8][16];
  };
  Shared& shared = shared_memory<Shared>();
  const int lane = lane_index();
  for (int i = lane; i < 256; i += 32) shared.a[i / 16][i % 16] = a[i];
  for (int i = lane; i < 128; i += 32) shared.b[i / 8][i % 8] = b[i];
  for (int i = lane; i < 128; i += 32) shared.b_columns[i / 16][i % 16] = b_columns[i];
  warp_barrier();
  uint32_t a_fragment[4], b_fragment[2];
  load_matrix_x4(a_fragment, &shared.a[lane % 16][lane / 16 * 8]);
  for (int columns = 0; columns < 2; ++columns) {
    if (columns) {
      load_matrix_x2(b_fragment, &shared.b_columns[lane % 8][lane / 8 % 2 * 8]);
    } else {
      load_matrix_x2_transposed(b_fragment, &shared.b[lane % 16][0]);
    }
    float d[4] = {1, 1, 1, 1};
    mma<T>(d, a_fragment, b_fragment);
    float* result = columns ? y_columns : y;
    for (int i = 0; i < 4; ++i) result[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
  }
}

template <class T>
void check_product(DType dtype) {
  const Values a = normal(256, 1, dtype), b = normal(128, 2, dtype);
  Values b_columns(128), expected(128, 1);
  for (size_t k = 0; k < 16; ++k) {
    for (size_t n = 0; n < 8; ++n) {
      b_columns[n * 16 + k] = b[k * 8 + n];
      for (size_t m = 0; m < 16; ++m) expected[m * 8 + n] += a[m * 16 + k] * b[k * 8 + n];
    }
  }
  const Tensor a_tensor = to_device(a, {16, 16}, dtype), b_tensor = to_device(b, {16, 8}, dtype),
               b_columns_tensor = to_device(b_columns, {8, 16}, dtype);
  const Tensor y = poisoned({16, 8}, DType::float32), y_columns = poisoned({16, 8}, DType::float32);
  CHECK(run(product_kernel<T>, {dim3(1), 32, 1024}, a_tensor.data<T>(), b_tensor.data<T>(),
            b_columns_tensor.data<T>(), y.data<float>(), y_columns.data<float>()) == "");
  expect_close("b by rows", y, expected, 1e-5);
  expect_close("b by columns", y_columns, expected, 1e-5);
}

}  // namespace

TEST_CASE("emulation: a missing barrier is a wrong result in most orders of the threads") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    emulation::set_seed(seed);
    CHECK(reverses());
  }
  emulation::forget_sites();
  reverses();
  const auto sites = emulation::sites();
  REQUIRE(sites.size() == 1);
  CHECK(sites[0].what == "block_barrier");
  CHECK(sites[0].calls == 1024);
  emulation::skip(sites[0].file, sites[0].line);
  int wrong = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    emulation::set_seed(seed);
    wrong += !reverses();
  }
  emulation::skip_nothing();
  CHECK(wrong >= 18);
  CHECK(reverses());
}

TEST_CASE("emulation: bounds that are off by one are wrong results") {
  for (const auto plant : {emulation::Plant::last_block_missing, emulation::Plant::last_thread_missing}) {
    emulation::plant(plant);
    CHECK_FALSE(reverses());
    emulation::plant(emulation::Plant::nothing);
    CHECK(reverses());
  }
}

TEST_CASE("emulation: lanes of a warp must meet at one call, all of them") {
  const Tensor y = ints(1);
  check_says(run(divergent_kernel, {dim3(1), 32}, y.data<int>()),
             {"divergent_kernel", "shuffle", "other lanes", "emulation_test.cc:"});
  check_says(run(half_a_warp_kernel, {dim3(1), 32}, y.data<int>()), {"half_a_warp_kernel", "return"});
  check_says(run(torn_warp_kernel, {dim3(1), 64}),
             {"torn_warp_kernel", "other lanes of the warp wait at a barrier"});
}

TEST_CASE("emulation: a deadlock is told with who waits where") {
  const std::string told = run(two_barriers_kernel, {dim3(2), 128});
  check_says(
      told, {"deadlock", "64 threads (0 .. 63) in block_barrier", "64 threads (64 .. 127) in named_barrier"});
  check_says(run(miscounted_barrier_kernel, {dim3(1), 128}), {"while others arrived there for"});
  check_says(run(lonely_arrival_kernel, {dim3(1), 64}), {"32 arrivals at barrier 2"});
}

TEST_CASE("emulation: blocks may wait for each other if all of them fit the device") {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    emulation::set_seed(seed);
    const Tensor turn = ints(1), order = ints(32);
    CHECK(run(in_order_kernel, {dim3(32), 256}, turn.data<int>(), order.data<int>()) == "");
    Values expected;
    for (int i = 0; i < 32; ++i) expected.push_back(i);
    expect_equal("turns", order, expected);
  }
  const Tensor turn = ints(1), order = ints(512);
  check_says(run(in_order_kernel, {dim3(512), 256}, turn.data<int>(), order.data<int>()),
             {"deadlock", "blocks have not started", "load_acquire"});
}

TEST_CASE("emulation: accesses outside of memory are errors") {
  const auto store = [](int at) { return run(store_at_kernel, {dim3(1), 32, 100}, at); };
  CHECK(store(99) == "");
  check_says(store(100), {"store_at_kernel", "beyond its 100 bytes of shared memory, at byte 100"});
  check_says(store(5000), {"access at byte 5000 of 100 bytes of shared memory"});
  check_says(store(-1), {"access at byte -1"});
  check_says(run(big_struct_kernel, {dim3(1), 32, 256}), {"260 bytes, but the launch gives 256"});
  const Tensor y = ints(4);
  check_says(run(store_global_kernel, {dim3(1), 32}, y.data<int>(), int64_t{1} << 40),
             {"no memory of the device", "block (0, 0, 0) thread"});
  check_says(run(divide_kernel, {dim3(1), 32}, y.data<int>(), 0), {"integer division"});
  check_says(run(recursive_kernel, {dim3(1), 32}, y.data<int>()), {"stack", "overflows"});
  CHECK(run(divide_kernel, {dim3(1), 32}, y.data<int>(), 2) == "");  // the device goes on
  CHECK(to_host(y)[0] == 3);
}

TEST_CASE("emulation: vectors lie at multiples of their size") {
  const Tensor x = ints(64), y = ints(64);
  for (const int step : {4, 8, 16}) {
    const auto move = [&](int from, int to) {
      const auto* source = reinterpret_cast<const char*>(x.data<int>()) + from;
      return run(move_vector_kernel, {dim3(1), 32}, source, reinterpret_cast<char*>(y.data<int>()) + to,
                 step);
    };
    CHECK(move(0, step) == "");
    check_says(move(step / 2, 0), {"move_vector_kernel", "no multiple of the size", "thread"});
    check_says(move(0, step / 2), {"move_vector_kernel", "no multiple of the size", "thread"});
  }
}

TEST_CASE("emulation: writing beside a tensor is found when it is read") {
  const Tensor y = ints(4);
  CHECK(run(store_global_kernel, {dim3(1), 32}, y.data<int>(), int64_t{4}) == "");
  CHECK_THROWS_WITH(to_host(y), "byte 16 of int32[4], outside of it, was written");
}

TEST_CASE("emulation: nothing starts out as zero") {
  const Tensor y = ints(1).reshape({1});
  const Tensor result = poisoned({1}, DType::float32);
  CHECK(run(read_shared_kernel, {dim3(1), 32, 64}, result.data<float>()) == "");
  CHECK(std::isnan(to_host(result)[0]));
  CHECK(std::isnan(to_host(native::empty({3}, DType::bfloat16, DeviceType::cuda))[2]));
}

TEST_CASE("emulation: matrices are loaded from aligned rows inside shared memory") {
  const Tensor y = ints(32);
  CHECK(run(misaligned_matrix_kernel, {dim3(1), 32, 512}, y.data<uint32_t>(), 0) == "");
  check_says(run(misaligned_matrix_kernel, {dim3(1), 32, 1024}, y.data<uint32_t>(), 8),
             {"load_matrix_x4", "not a multiple of 16"});
  check_says(run(misaligned_matrix_kernel, {dim3(1), 32, 512}, y.data<uint32_t>(), 16),
             {"load_matrix_x4", "outside the 512 bytes"});
}

TEST_CASE("emulation: bank conflicts are counted") {
  const Tensor y = ints(32);
  const std::map<int, uint64_t> extra_passes = {{16, 0}, {32, 4}, {64, 12}, {128, 28}, {80, 0}, {144, 0}};
  for (const auto& [pitch, expected] : extra_passes) {
    emulation::reset_statistics();
    CHECK(run(pitched_matrix_kernel, {dim3(1), 32, 32 * 144}, y.data<uint32_t>(), pitch) == "");
    CHECK_MESSAGE(emulation::statistics().bank_conflicts == expected, "rows " << pitch << " bytes apart");
    CHECK(emulation::statistics().launches == 1);
    CHECK(emulation::statistics().threads == 32);
  }
}

TEST_CASE("emulation: copies in the background are not there before they are waited for") {
  const Values values = normal(256, 1);
  const Tensor x = to_device(values, {256}, DType::float32), y = poisoned({256}, DType::float32);
  const LaunchShape shape{dim3(1), 64, 1024};
  CHECK(run(background_copy_kernel, shape, x.data<float4>(), y.data<float4>(), false) == "");
  expect_equal("copied", y, values);
  CHECK(run(background_copy_kernel, shape, x.data<float4>(), y.data<float4>(), true) == "");
  for (double value : to_host(y)) CHECK(std::isnan(value));
  check_says(run(background_copy_kernel, shape, reinterpret_cast<const float4*>(x.data<float>() + 1),
                 y.data<float4>(), false),
             {"copy_async_16"});
  char* block = nullptr;
  REQUIRE(cudaMalloc(&block, 512) == cudaSuccess);
  const auto* const end = reinterpret_cast<const float4*>(block + 512);
  check_says(run(background_copy_kernel, shape, end, y.data<float4>(), false),
             {"copy_async_16 reads outside device memory"});
  CHECK(cudaFree(block) == cudaSuccess);
}

TEST_CASE("emulation: a grid that may start early touches no global memory before it waits") {
  const Tensor x = ints(64), y = poisoned({64}, DType::int32);
  const auto run_early = [&](Early mistake) {
    return error_of([&] {
      native::backend(DeviceType::cuda).submit({"early", {}}, [&] {
        launch_kernel(early_kernel, {dim3(1), 64, 1024}, x.data<int>(), y.data<int>(), mistake);
      });
      fence();
    });
  };
  CHECK(run_early(Early::nothing) == "");
  check_says(run_early(Early::load),
             {"early_kernel", "access to global memory before wait_for_previous_grid"});
  check_says(run_early(Early::store), {"access to global memory before wait_for_previous_grid"});
  check_says(run_early(Early::atomic), {"access to global memory before wait_for_previous_grid"});
  check_says(run_early(Early::copy), {"copy_async_16 before wait_for_previous_grid"});
  check_says(run_early(Early::no_wait), {"returns without wait_for_previous_grid"});
  CHECK(run_early(Early::nothing) == "");  // the memory is there again
  CHECK(to_host(y) == Values(64, 0));
}

TEST_CASE("emulation: the order of blocks is the seed's") {
  const auto order = [](uint64_t seed) {
    emulation::set_seed(seed);
    const Tensor counter = ints(1), blocks = ints(64);
    CHECK(run(count_kernel, {dim3(64), 32}, counter.data<int>(), blocks.data<int>()) == "");
    return to_host(blocks);
  };
  const Values first = order(1);
  CHECK(order(1) == first);
  CHECK(order(2) != first);
  Values sorted = first;
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i < sorted.size(); ++i) CHECK(sorted[i] == static_cast<double>(i));
}

TEST_CASE("emulation: lanes exchange values") {
  const Tensor y = ints(160);
  CHECK(run(exchange_kernel, {dim3(1), 32}, y.data<int>()) == "");
  const Values values = to_host(y);
  unsigned thirds = 0;
  for (int lane = 0; lane < 32; lane += 3) thirds |= 1u << lane;
  for (size_t lane = 0; lane < 32; ++lane) {
    CHECK(values[lane] == static_cast<double>((lane + 5) % 32 * ((lane + 5) % 32)));
    CHECK(values[32 + lane] == static_cast<double>(lane ^ 3));
    CHECK(values[64 + lane] == static_cast<double>(static_cast<int>(thirds)));
    CHECK(values[96 + lane] == 1);
    CHECK(values[128 + lane] == 0);
  }
}

TEST_CASE("emulation: a tensor-core product") {
  check_product<native::bfloat16>(DType::bfloat16);
  check_product<native::float16>(DType::float16);
}

TEST_CASE("emulation: tensor cores cut off what they add, behind the last bit of the largest term") {
  cudaDeviceProp device{};
  REQUIRE(cudaGetDeviceProperties(&device, 0) == cudaSuccess);
  const float last = device.major >= 9 ? 0x1p-25f : 0x1p-24f;  // of what is kept beside 1
  const float infinity = std::numeric_limits<float>::infinity();
  const float terms[8] = {last, -last, last / 2, 1.5f * last, 0, infinity, 0x1p-120f, 0x1p100f};
  float left[16], right[16][8], sums[8] = {1, 1, 1, 1, -1, 1, 0, 0};
  for (int k = 0; k < 16; ++k) {
    left[k] = 1;
    for (int column = 0; column < 8; ++column) right[k][column] = k == 15 && column < 2 ? 0 : terms[column];
  }
  emulation::add_products(left, 1, right[0], 8, 16, false, sums);
  // 15 last bits are 3.75 of float32's on Hopper; before, 8 and 7 of them are 4 and 3.5.
  CHECK(sums[0] == 1 + (device.major >= 9 ? 3 : 7) * 0x1p-23f);
  CHECK(sums[1] == 1 - (device.major >= 9 ? 8 : 15) * 0x1p-24f);
  CHECK(sums[2] == 1);
  CHECK(sums[3] == 1 + 16 * last);
  CHECK(sums[4] == -1);
  CHECK(sums[5] == infinity);
  CHECK(sums[6] == 0x1p-116f);
  CHECK(sums[7] == 0x1p104f);
}

TEST_CASE("emulation: launches that the device would refuse are refused") {
  check_says(run(two_barriers_kernel, {dim3(1), 40}), {"ERR_DEVICE", "invalid configuration"});
  check_says(run(two_barriers_kernel, {dim3(1), 2048}), {"ERR_DEVICE", "invalid configuration"});
  check_says(run(two_barriers_kernel, {dim3(1, 70000), 128}), {"ERR_DEVICE", "invalid configuration"});
  check_says(run(two_barriers_kernel, {dim3(1), 128, 228 << 10}), {"ERR_DEVICE", "shared memory"});
  check_says(run(two_barriers_kernel, {dim3(3), 128, 0, 2}), {"ERR_DEVICE", "invalid configuration"});
}

// By EMULATION_CAPABILITY: an sm_86 has 99 KB of shared memory for a block, 100 for all, and 1536 threads.
TEST_CASE("emulation: a device holds what its capability does, and no more") {
  cudaDeviceProp device{};
  REQUIRE(cudaGetDeviceProperties(&device, 0) == cudaSuccess);
  const int capability = 10 * device.major + device.minor;
  const int allowed = static_cast<int>(device.sharedMemPerBlockOptin);
  const void* kernel = reinterpret_cast<const void*>(nothing_kernel);
  CHECK(allowed == (capability == 90 ? 227 : capability == 80 ? 163 : 99) << 10);
  CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, allowed) == cudaSuccess);
  CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, allowed + 1) ==
        cudaErrorInvalidValue);
  cudaGetLastError();
  int blocks = 0;
  REQUIRE(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, 1024, 0) == cudaSuccess);
  CHECK(blocks == (capability == 90 || capability == 80 ? 2 : 1));
  const bool refused = capability < 90;  // clusters, and grids that overlap
  CHECK((run(nothing_kernel, {dim3(2), 128, 0, 2}) != "") == refused);
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = config.blockDim = dim3(32);
  config.attrs = &attribute;
  config.numAttrs = 1;
  if (refused) CHECK(cudaLaunchKernelEx(&config, nothing_kernel) == cudaErrorNotSupported);
  cudaGetLastError();
}
#endif
