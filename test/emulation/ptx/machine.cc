// Instructions of more than one thread: barriers, exchange in a warp, tensor cores, asynchronous copies,
// clusters. Operands are taken apart here as the PTX ISA has them; what happens then is the emulated
// primitives'.
#include <primitives/wgmma.cuh>

#include "program.h"

namespace emulation::ptx {
namespace {

using native::bfloat16;
using native::float16;
namespace device = native::cuda;

[[noreturn]] void refuse(const Frame& f, const Instruction& i, const char* what) {
  fail(what, " at ", f.program.file, ":", i.line);
}

// Threads

void thread_x(Frame& f, const Instruction& i) { f.set<uint32_t>(i.o[0], threadIdx.x); }
void threads_x(Frame& f, const Instruction& i) { f.set<uint32_t>(i.o[0], blockDim.x); }
void block_x(Frame& f, const Instruction& i) { f.set<uint32_t>(i.o[0], blockIdx.x); }
void block_y(Frame& f, const Instruction& i) { f.set<uint32_t>(i.o[0], blockIdx.y); }
void block_z(Frame& f, const Instruction& i) { f.set<uint32_t>(i.o[0], blockIdx.z); }
void blocks_x(Frame& f, const Instruction& i) { f.set<uint32_t>(i.o[0], gridDim.x); }
void blocks_y(Frame& f, const Instruction& i) { f.set<uint32_t>(i.o[0], gridDim.y); }
void cluster_rank(Frame& f, const Instruction& i) { f.set<int>(i.o[0], device::cluster_rank()); }

void nothing(Frame&, const Instruction&) {}
void leave(Frame& f, const Instruction&) { f.returned = true; }

// Barriers

void barrier(Frame& f, const Instruction& i) {
  const int id = f.get<int>(i.o[0]);
  if (i.count == 2) return device::named_barrier(id, f.get<int>(i.o[1]), site_of(f, i));
  if (id != 0) refuse(f, i, "bar.sync of all threads at another barrier than 0");
  device::block_barrier(site_of(f, i));
}
void barrier_arrive(Frame& f, const Instruction& i) {
  device::named_barrier_arrive(f.get<int>(i.o[0]), f.get<int>(i.o[1]), site_of(f, i));
}
void check_all_lanes(const Frame& f, const Instruction& i, uint32_t slot) {
  if (f.get<uint32_t>(slot) != device::kFullWarp) refuse(f, i, "not all lanes of the warp are meant");
}
void warp_barrier(Frame& f, const Instruction& i) {
  check_all_lanes(f, i, i.o[0]);
  device::warp_barrier(site_of(f, i));
}
void wait_for_grid(Frame& f, const Instruction& i) { device::wait_for_previous_grid(site_of(f, i)); }
void cluster_barrier(Frame& f, const Instruction& i) { device::cluster_barrier(site_of(f, i)); }

// Warps

template <bool kButterfly>
void shuffle(Frame& f, const Instruction& i) {  // d|p, a, b, c, mask
  check_all_lanes(f, i, i.o[5]);
  if (f.get<uint32_t>(i.o[4]) != 31) refuse(f, i, "shuffle in a part of the warp");
  const int b = f.get<int>(i.o[3]);
  const int lane = kButterfly ? device::lane_index() ^ b : b;
  f.set<uint32_t>(i.o[0], device::shuffle(f.get<uint32_t>(i.o[2]), lane, site_of(f, i)));
  f.set<bool>(i.o[1], true);
}
void any(Frame& f, const Instruction& i) {
  check_all_lanes(f, i, i.o[2]);
  f.set<bool>(i.o[0], device::any_lane(f.get<bool>(i.o[1]), site_of(f, i)));
}
void ballot(Frame& f, const Instruction& i) {
  check_all_lanes(f, i, i.o[2]);
  f.set<uint32_t>(i.o[0], device::ballot(f.get<bool>(i.o[1]), site_of(f, i)));
}
void elect(Frame& f, const Instruction& i) {  // d|p, mask
  check_all_lanes(f, i, i.o[2]);
  f.set<bool>(i.o[1], device::elect_one(site_of(f, i)));
}

// Shared memory by its addresses; mapa puts 1 + the block's rank above the address in its window.

constexpr int kRankShift = 24;

template <class T = unsigned char>
T* shared_pointer(const Frame& f, uint32_t slot) {
  const auto address = f.get<uint32_t>(slot);
  const uint32_t in_window = address & ((1u << kRankShift) - 1);
  return reinterpret_cast<T*>(current_block().shared + in_window - kSharedReserved);
}
int rank_of(const Frame& f, const Instruction& i, uint32_t slot) {
  const int rank = static_cast<int>(f.get<uint32_t>(slot) >> kRankShift) - 1;
  if (rank < 0) refuse(f, i, "an address of the cluster's that mapa did not make");
  return rank;
}
void map_address(Frame& f, const Instruction& i) {
  f.set<uint32_t>(i.o[0], f.get<uint32_t>(i.o[1]) | (f.get<uint32_t>(i.o[2]) + 1) << kRankShift);
}

// Matrices

template <int kMatrices, bool kTransposed>
void load_matrices(Frame& f, const Instruction& i) {
  uint32_t r[kMatrices];
  device::load_matrices<kMatrices, kTransposed>(r, shared_pointer(f, i.o[kMatrices]), "ldmatrix",
                                                site_of(f, i));
  for (int n = 0; n < kMatrices; ++n) f.set<uint32_t>(i.o[n], r[n]);
}
void store_matrices(Frame& f, const Instruction& i) {
  uint32_t r[4];
  for (int n = 0; n < 4; ++n) r[n] = f.get<uint32_t>(i.o[1 + n]);
  device::store_matrix_x4(shared_pointer(f, i.o[0]), r, site_of(f, i));
}
template <class T>
void multiply(Frame& f, const Instruction& i) {  // d, a, b, c
  uint32_t a[4], b[2];
  float d[4];
  for (int n = 0; n < 4; ++n) {
    a[n] = f.get<uint32_t>(i.o[4 + n]);
    d[n] = f.get<float>(i.o[10 + n]);
  }
  for (int n = 0; n < 2; ++n) b[n] = f.get<uint32_t>(i.o[8 + n]);
  device::mma<T>(d, a, b, site_of(f, i));
  for (int n = 0; n < 4; ++n) f.set<float>(i.o[n], d[n]);
}

// At once: that the registers stay alone until the wait is what the assembler checks, and the emulation of
// the source. So the fences and groups of products are nothing here.
template <int N, bool kHalf>
void multiply_warpgroup(Frame& f, const Instruction& i) {
  const uint32_t* after = i.o + N / 2;
  const bool from_registers = i.count == N / 2 + 9;
  if (!from_registers && i.count != N / 2 + 7) refuse(f, i, "wgmma with other operands");
  WgmmaCall call{};
  call.d = f.sums;
  if (from_registers) {
    for (int n = 0; n < 4; ++n) f.left[n] = f.get<uint32_t>(*after++);
    call.left = f.left;
  } else {
    call.a = f.get<uint64_t>(*after++);
  }
  call.b = f.get<uint64_t>(*after++);
  call.accumulate = f.get<bool>(*after++);
  for (int n = 0; n < 2; ++n) {
    if (f.get<int>(*after++) != 1) refuse(f, i, "wgmma that negates");
  }
  if (!from_registers) call.a_by_mn = f.get<int>(*after++) != 0;
  call.b_by_mn = f.get<int>(*after) != 0;
  call.n = N;
  call.half = kHalf;
  for (int n = 0; n < N / 2; ++n) f.sums[n] = f.get<float>(i.o[n]);
  wgmma_note_fence();
  wgmma_issue(call, site_of(f, i));
  wgmma_commit_group();
  wgmma_wait_groups(0, site_of(f, i));
  for (int n = 0; n < N / 2; ++n) f.set<float>(i.o[n], f.sums[n]);
}

template <bool kIncrease>
void set_register_count(Frame& f, const Instruction& i) {
  set_registers(f.get<int>(i.o[0]), kIncrease, site_of(f, i));
}

// Copies

void copy_async(Frame& f, const Instruction& i) {  // [to], [from], 16, valid
  if (f.get<int>(i.o[2]) != 16) refuse(f, i, "cp.async of another size than 16");
  device::copy_async_16(shared_pointer(f, i.o[0]), f.get<const void*>(i.o[1]), f.get<int>(i.o[3]),
                        site_of(f, i));
}
void copy_commit(Frame& f, const Instruction& i) { device::copy_async_commit(site_of(f, i)); }
void copy_wait(Frame& f, const Instruction& i) {
  switch (f.get<int>(i.o[0])) {
    case 0:
      return device::copy_async_wait<0>(site_of(f, i));
    case 1:
      return device::copy_async_wait<1>(site_of(f, i));
    case 2:
      return device::copy_async_wait<2>(site_of(f, i));
    case 3:
      return device::copy_async_wait<3>(site_of(f, i));
    default:
      refuse(f, i, "cp.async.wait_group for more groups than the emulation knows");
  }
}

const CUtensorMap& tensor_map(const Frame& f, uint32_t slot) { return *f.get<const CUtensorMap*>(slot); }
device::Barrier& barrier_at(const Frame& f, uint32_t slot) {
  return *shared_pointer<device::Barrier>(f, slot);
}

template <bool kMulticast>
void bulk_load(Frame& f, const Instruction& i) {  // [to], [map, {x, y, z}], [barrier], mask
  const int at[3] = {f.get<int>(i.o[2]), f.get<int>(i.o[3]), f.get<int>(i.o[4])};
  void* to = shared_pointer(f, i.o[0]);
  device::Barrier& barrier = barrier_at(f, i.o[5]);
  if (kMulticast) {
    device::tma_load_multicast(to, tensor_map(f, i.o[1]), barrier, at[0], at[1], at[2],
                               f.get<uint16_t>(i.o[6]));
  } else {
    device::tma_load(to, tensor_map(f, i.o[1]), barrier, at[0], at[1], at[2]);
  }
}
template <BulkStore kKind>
void bulk_store(Frame& f, const Instruction& i) {  // [map, {x, y, z}], [from]
  const int at[3] = {f.get<int>(i.o[1]), f.get<int>(i.o[2]), f.get<int>(i.o[3])};
  emulation::bulk_store(tensor_map(f, i.o[0]), shared_pointer(f, i.o[4]), at, kKind, "cp.async.bulk.tensor");
}
void prefetch_box(Frame& f, const Instruction& i) {
  device::tma_prefetch_box(tensor_map(f, i.o[0]), f.get<int>(i.o[1]), f.get<int>(i.o[2]), f.get<int>(i.o[3]));
}
void prefetch_map(Frame& f, const Instruction& i) { device::tma_prefetch(tensor_map(f, i.o[0])); }
void bulk_commit(Frame& f, const Instruction& i) { device::bulk_commit(site_of(f, i)); }
template <bool kRead>
void bulk_wait(Frame& f, const Instruction& i) {
  bulk_wait_groups(f.get<uint32_t>(i.o[0]), kRead, "cp.async.bulk.wait_group", site_of(f, i));
}
void fence_shared(Frame& f, const Instruction& i) { device::fence_async_shared(site_of(f, i)); }
void fence_global(Frame& f, const Instruction& i) { device::fence_async_global(site_of(f, i)); }

// Barriers in shared memory

void init(Frame& f, const Instruction& i) { device::barrier_init(barrier_at(f, i.o[0]), f.get<int>(i.o[1])); }
void fence_init(Frame& f, const Instruction& i) { device::fence_barrier_init(site_of(f, i)); }
void arrive(Frame& f, const Instruction& i) {  // _, [barrier]
  device::barrier_arrive(barrier_at(f, i.o[1]), site_of(f, i));
}
void arrive_expect(Frame& f, const Instruction& i) {
  device::barrier_arrive_expect(barrier_at(f, i.o[1]), f.get<uint32_t>(i.o[2]), site_of(f, i));
}
void arrive_remote(Frame& f, const Instruction& i) {
  device::barrier_arrive_cluster(barrier_at(f, i.o[1]), rank_of(f, i, i.o[1]), site_of(f, i));
}
// The attempt that succeeds: those before it are not seen.
void wait(Frame& f, const Instruction& i) {  // p, [barrier], parity
  device::barrier_wait(barrier_at(f, i.o[1]), f.get<uint32_t>(i.o[2]), site_of(f, i));
  f.set<bool>(i.o[0], true);
}
void wait_remote(Frame& f, const Instruction& i) {
  device::barrier_wait_cluster(barrier_at(f, i.o[1]), f.get<uint32_t>(i.o[2]), site_of(f, i));
  f.set<bool>(i.o[0], true);
}
void passed(Frame& f, const Instruction& i) {
  f.set<bool>(i.o[0], device::barrier_passed(barrier_at(f, i.o[1]), f.get<uint32_t>(i.o[2])));
}
void store_async(Frame& f, const Instruction& i) {  // [place], value, [barrier]
  const int rank = rank_of(f, i, i.o[0]);
  if (rank_of(f, i, i.o[2]) != rank) refuse(f, i, "st.async with place and barrier in two blocks");
  device::store_async(shared_pointer<int>(f, i.o[0]), f.get<int>(i.o[1]), barrier_at(f, i.o[2]), rank);
}

template <bool kHalf>
Execute warpgroup_product(std::string_view shape) {
  if (shape == "m64n8k16") return multiply_warpgroup<8, kHalf>;
  if (shape == "m64n16k16") return multiply_warpgroup<16, kHalf>;
  if (shape == "m64n64k16") return multiply_warpgroup<64, kHalf>;
  if (shape == "m64n128k16") return multiply_warpgroup<128, kHalf>;
  if (shape == "m64n192k16") return multiply_warpgroup<192, kHalf>;
  if (shape == "m64n256k16") return multiply_warpgroup<256, kHalf>;
  return nullptr;
}

// wgmma.mma_async.sync.aligned.SHAPE.f32.TYPE.TYPE
Execute warpgroup_product(const Opcode& opcode) {
  constexpr std::string_view kStart = "wgmma.mma_async.sync.aligned.";
  std::string_view text = opcode.text;
  if (text.substr(0, kStart.size()) != kStart) return nullptr;
  text.remove_prefix(kStart.size());
  const std::string_view shape = text.substr(0, text.find('.')), types = text.substr(shape.size());
  if (types == ".f32.f16.f16") return warpgroup_product<true>(shape);
  if (types == ".f32.bf16.bf16") return warpgroup_product<false>(shape);
  return nullptr;
}

}  // namespace

Execute special(std::string_view name) {
  if (name == "%tid.x") return thread_x;
  if (name == "%ntid.x") return threads_x;
  if (name == "%ctaid.x") return block_x;
  if (name == "%ctaid.y") return block_y;
  if (name == "%ctaid.z") return block_z;
  if (name == "%nctaid.x") return blocks_x;
  if (name == "%nctaid.y") return blocks_y;
  if (name == "%cluster_ctarank") return cluster_rank;
  return nullptr;
}

Execute machine(const Opcode& opcode) {
  struct Known {
    std::string_view name;
    Execute execute;
  };
  static constexpr Known kKnown[] = {
      {"ret", leave},
      {"bar.sync", barrier},
      {"bar.arrive", barrier_arrive},
      {"bar.warp.sync", warp_barrier},
      {"griddepcontrol.wait", wait_for_grid},
      {"griddepcontrol.launch_dependents", nothing},
      {"barrier.cluster.arrive.release.aligned", nothing},  // the wait behind it does both
      {"barrier.cluster.wait.acquire.aligned", cluster_barrier},
      {"shfl.sync.idx.b32", shuffle<false>},
      {"shfl.sync.bfly.b32", shuffle<true>},
      {"vote.sync.any.pred", any},
      {"vote.sync.ballot.b32", ballot},
      {"elect.sync", elect},
      {"mapa.shared::cluster.u32", map_address},
      {"ldmatrix.sync.aligned.m8n8.x2.shared.b16", load_matrices<2, false>},
      {"ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16", load_matrices<2, true>},
      {"ldmatrix.sync.aligned.m8n8.x4.shared.b16", load_matrices<4, false>},
      {"ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", load_matrices<4, true>},
      {"stmatrix.sync.aligned.m8n8.x4.shared.b16", store_matrices},
      {"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", multiply<bfloat16>},
      {"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", multiply<float16>},
      {"mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", multiply<float>},
      {"wgmma.fence.sync.aligned", nothing},
      {"wgmma.commit_group.sync.aligned", nothing},
      {"wgmma.wait_group.sync.aligned", nothing},
      {"setmaxnreg.inc.sync.aligned.u32", set_register_count<true>},
      {"setmaxnreg.dec.sync.aligned.u32", set_register_count<false>},
      {"cp.async.cg.shared.global", copy_async},
      {"cp.async.commit_group", copy_commit},
      {"cp.async.wait_group", copy_wait},
      {"cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes", bulk_load<false>},
      {"cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster",
       bulk_load<true>},
      {"cp.async.bulk.tensor.3d.global.shared::cta.bulk_group", bulk_store<BulkStore::write>},
      {"cp.reduce.async.bulk.tensor.3d.global.shared::cta.add.bulk_group", bulk_store<BulkStore::add>},
      {"cp.async.bulk.prefetch.tensor.3d.L2.global.tile", prefetch_box},
      {"prefetch.tensormap", prefetch_map},
      {"cp.async.bulk.commit_group", bulk_commit},
      {"cp.async.bulk.wait_group", bulk_wait<false>},
      {"cp.async.bulk.wait_group.read", bulk_wait<true>},
      {"fence.proxy.async.shared::cta", fence_shared},
      {"fence.proxy.async.global", fence_global},
      {"fence.mbarrier_init.release.cluster", fence_init},
      {"mbarrier.init.shared::cta.b64", init},
      {"mbarrier.arrive.shared::cta.b64", arrive},
      {"mbarrier.arrive.expect_tx.shared::cta.b64", arrive_expect},
      {"mbarrier.arrive.shared::cluster.b64", arrive_remote},
      {"mbarrier.try_wait.parity.acquire.cta.shared::cta.b64", wait},
      {"mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64", wait_remote},
      {"mbarrier.test_wait.parity.acquire.cta.shared::cta.b64", passed},
      {"st.async.shared::cluster.mbarrier::complete_tx::bytes.b32", store_async},
  };
  for (const Known& known : kKnown) {
    if (known.name == opcode.text) return known.execute;
  }
  return warpgroup_product(opcode);
}

}  // namespace emulation::ptx
