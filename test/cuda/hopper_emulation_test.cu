// That the emulated sm_90a catches mistakes: kernels that make them, one each.
#ifdef CUDA_EMULATION
#include <primitives/launch.h>

#include <primitives/wgmma.cuh>

#include "check.h"
#include "core/queue.h"
#include "runtime/tensor_map.h"

using namespace native::cuda;
using native::bfloat16;
using native::DType;

namespace {

struct MistakeShared {
  alignas(1024) unsigned char tile[8192];
  Barrier barrier;
};

enum class Mistake {
  none,
  no_wgmma_fence,
  no_shared_fence,
  no_commit,
  no_wait,
  overwritten_operand,
  different_descriptors,
  base_offset,
  torn_tile,
  outside_shared,
};

// d [64, 8] = ones [64, 16] ones [16, 8].
__global__ void product_kernel(Mistake mistake, float* d) {
  auto& shared = shared_memory<MistakeShared>();
  const int thread = static_cast<int>(threadIdx.x);
  const auto fill = [&](float value) {
    for (int i = thread; i < 2048; i += 128) {
      store_shared(reinterpret_cast<uint32_t*>(shared.tile) + i, pack2<bfloat16>(value, value));
    }
    if (mistake != Mistake::no_shared_fence) fence_async_shared();
    block_barrier();
  };
  fill(1);
  float sum[4] = {0, 0, 0, 0};
  uint64_t a = shared_descriptor(shared.tile, 16, 1024, Swizzle::bytes_128);
  const uint64_t b = a;
  if (mistake == Mistake::different_descriptors && thread == 77) a += 2;
  if (mistake == Mistake::base_offset) a |= uint64_t{1} << 49;
  if (mistake == Mistake::torn_tile) a += 512 >> 4;
  if (mistake == Mistake::outside_shared) a += 4096 >> 4;
  if (mistake != Mistake::no_wgmma_fence) wgmma_fence();
  wgmma<bfloat16, 8, false, false>(sum, a, b, false);
  if (mistake != Mistake::no_commit) wgmma_commit();
  if (mistake == Mistake::overwritten_operand) fill(2);
  if (mistake != Mistake::no_wait) wgmma_wait<0>();
  for (int i = 0; i < 4; ++i) d[thread * 4 + i] = sum[i];
}

enum class BarrierMistake {
  none,
  not_initialised,
  not_fenced,
  second_arrival,
  wrong_bytes,
  registers,
  ends_early
};

__global__ void barrier_kernel(BarrierMistake mistake, const __grid_constant__ TensorMap map) {
  auto& shared = shared_memory<MistakeShared>();
  if (mistake == BarrierMistake::registers) {
    register_increase<248>();  // of 65536 / 384 rounded down: nobody gives any
    return;
  }
  if (threadIdx.x == 0 && mistake != BarrierMistake::not_initialised) {
    barrier_init(shared.barrier, 1);
    if (mistake != BarrierMistake::not_fenced) fence_barrier_init();
  }
  block_barrier();
  if (threadIdx.x > 0) return;
  barrier_arrive_expect(shared.barrier, mistake == BarrierMistake::wrong_bytes ? 4096 : 8192);
  if (mistake == BarrierMistake::second_arrival) barrier_arrive(shared.barrier);
  tma_load(shared.tile, map, shared.barrier, 0, 0, 0);
  barrier_wait(shared.barrier, 0);
  tma_store(map, shared.tile, 0, 0, 0);
  bulk_commit();
  if (mistake != BarrierMistake::ends_early) bulk_wait_read<0>();
}

// Arrives at the other block of the pair after it has ended.
__global__ void arrive_at_the_dead_kernel(int* flag) {
  auto& shared = shared_memory<MistakeShared>();
  if (threadIdx.x == 0) {
    barrier_init(shared.barrier, 1);
    fence_barrier_init();
  }
  cluster_barrier();
  if (cluster_rank() == 0) return;
  if (threadIdx.x == 0) {
    for (int i = 0; i < 20 && load_acquire(flag) != 1; ++i) {
    }
    barrier_arrive_cluster(shared.barrier, 0);
  }
}

std::string run(const std::function<void()>& launch) {
  return check::error_of([&] {
    native::backend(native::DeviceType::cuda).submit({"mistake", {}}, launch);
    check::fence();
  });
}

LaunchShape block_of(int threads) {
  LaunchShape shape;
  shape.overlap = false;
  shape.grid = dim3(1);
  shape.threads = threads;
  shape.shared_bytes = sizeof(MistakeShared);
  return shape;
}

}  // namespace

TEST_CASE("emulated wgmma catches mistakes") {
  const auto result = [&](Mistake mistake, std::string& error) {
    const check::Tensor d = check::poisoned({512}, DType::float32);
    error = run([&] { launch_kernel(product_kernel, block_of(128), mistake, static_cast<float*>(d.raw())); });
    return error.empty() ? check::to_host(d) : check::Values{};
  };
  std::string error;
  CHECK(result(Mistake::none, error) == check::Values(512, 16.0));
  CHECK(error == "");
  result(Mistake::no_wgmma_fence, error);
  CHECK(error.find("without wgmma_fence") != std::string::npos);
  result(Mistake::different_descriptors, error);
  CHECK(error.find("threads differ in their operands") != std::string::npos);
  result(Mistake::base_offset, error);
  CHECK(error.find("base offset is not 0") != std::string::npos);
  result(Mistake::torn_tile, error);
  CHECK(error.find("does not start on 1024 bytes") != std::string::npos);
  result(Mistake::outside_shared, error);
  CHECK(error.find("of shared memory") != std::string::npos);
  for (const Mistake mistake :
       {Mistake::no_shared_fence, Mistake::no_commit, Mistake::no_wait, Mistake::overwritten_operand}) {
    bool right = true;
    for (int attempt = 0; attempt < 10; ++attempt)
      right = right && result(mistake, error) == check::Values(512, 16.0);
    CHECK_MESSAGE(!right, native::concat("mistake ", static_cast<int>(mistake)));
  }
}

TEST_CASE("emulated barriers and copies catch mistakes") {
  const check::Tensor x = check::to_device(check::Values(4096, 1.0), {64, 64}, DType::bfloat16);
  const TensorMap map =
      encode_tensor_map(x.raw(), DType::bfloat16, {64, 64, 1, 64, 0, 64, 64}, Swizzle::bytes_128);
  const auto error = [&](BarrierMistake mistake) {
    return run([&] { launch_kernel(barrier_kernel, block_of(384), mistake, map); });
  };
  const auto says = [&](BarrierMistake mistake, const char* words) {
    std::string text;  // what takes long enough to be caught is random
    for (int attempt = 0; attempt < 20 && text.empty(); ++attempt) text = error(mistake);
    CHECK_MESSAGE(text.find(words) != std::string::npos, text);
  };
  CHECK(error(BarrierMistake::none) == "");
  says(BarrierMistake::not_initialised, "no barrier has been initialised");
  says(BarrierMistake::not_fenced, "before fence_barrier_init");
  says(BarrierMistake::second_arrival, "all 1 arrivals of the phase are in");
  says(BarrierMistake::wrong_bytes, "deadlock");
  says(BarrierMistake::registers, "deadlock");
  says(BarrierMistake::ends_early, "still use its shared memory");
}

TEST_CASE("emulated clusters: nobody may reach for a block that has ended") {
  const check::Tensor flag = check::to_device({0}, {1}, DType::int32);
  const std::string error = run([&] {
    LaunchShape shape = block_of(128);
    shape.grid = dim3(2);
    shape.cluster = 2;
    launch_kernel(arrive_at_the_dead_kernel, shape, static_cast<int*>(flag.raw()));
  });
  CHECK(error.find("has ended") != std::string::npos);
}
#endif
