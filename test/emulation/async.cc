#include "async.h"

#include <array>
#include <deque>
#include <map>

#include "device_facts.h"
#include "driver.h"
#include "tensor_map.h"

namespace emulation {
namespace {

constexpr int kTransactionLimit = (1 << 20) - 1;
constexpr int kRegisters = 65536;  // of a multiprocessor, all for one block

// The 64 bits of a barrier. `unused` is 0, so poisoned memory is no barrier.
struct BarrierWord {
  uint64_t count : 20, pending : 20, phase : 1, fenced : 1;
  int64_t transactions : 21;
  uint64_t unused : 1;
};
static_assert(sizeof(BarrierWord) == 8, "one word");

struct BarrierQueues {
  std::map<uint32_t, WaitQueue> by_offset;
};
struct InitialisedBarriers {
  std::vector<BarrierWord*> unfenced;
};

BarrierWord& word_at(Block& block, uint32_t offset, const char* what) {
  auto& word = *reinterpret_cast<BarrierWord*>(block.shared + offset);
  if (word.unused || word.count == 0) fail(what, ": no barrier has been initialised at byte ", offset);
  return word;
}

void end_phase_if_complete(Block& block, uint32_t offset, BarrierWord& word) {
  if (word.pending || word.transactions) return;
  word.phase ^= 1;
  word.pending = word.count;
  block.states.get<BarrierQueues>().by_offset[offset].wake_all();
}

void complete_bytes(Block& block, uint32_t offset, int bytes) {
  BarrierWord& word = word_at(block, offset, "bulk copy");
  if (!word.fenced) fail("bulk copy completes on the barrier at byte ", offset, " before fence_barrier_init");
  if (word.transactions - bytes < -kTransactionLimit) fail("barrier at byte ", offset, ": too many bytes");
  word.transactions -= bytes;
  end_phase_if_complete(block, offset, word);
}

struct AsyncView {
  std::vector<unsigned char> bytes;
};
struct SharedStore {
  uint32_t offset;
  size_t bytes;
};
struct SharedStores {  // of a thread since its last fence
  std::vector<SharedStore> unfenced;
};

// Calls f(shared offset, global address or null when outside, bytes) for pieces of 16 bytes of a box.
template <class F>
void walk_box(const TensorMapFields& map, uint32_t start, const int (&at)[3], F&& f) {
  const int64_t element = static_cast<int64_t>(map.strides[0]), row = map.box[0] * element;
  uint32_t offset = start;
  for (uint32_t z = 0; z < map.box[2]; ++z) {
    for (uint32_t y = 0; y < map.box[1]; ++y, offset += static_cast<uint32_t>(row)) {
      const int64_t gz = at[2] + static_cast<int64_t>(z), gy = at[1] + static_cast<int64_t>(y);
      const bool inside = gz >= 0 && gz < static_cast<int64_t>(map.sizes[2]) && gy >= 0 &&
                          gy < static_cast<int64_t>(map.sizes[1]);
      unsigned char* line = inside ? map.data + gz * static_cast<int64_t>(map.strides[2]) +
                                         gy * static_cast<int64_t>(map.strides[1])
                                   : nullptr;
      for (int64_t byte = 0; byte < row; byte += 16) {
        const auto place = static_cast<uint32_t>(swizzled(offset + static_cast<uint64_t>(byte), map.span));
        f(place, line, at[0] * element + byte, static_cast<int64_t>(map.sizes[0]) * element);
      }
    }
  }
}

// Bytes [from, from + 16) of a line of `size` bytes: the part that exists.
struct Piece {
  int64_t begin, end;
};
Piece piece_of(int64_t from, int64_t size) {
  return {from < 0 ? -from : 0, from + 16 > size ? size - from : 16};
}

struct BulkGroup {
  int unread = 0, unwritten = 0;
  WaitQueue queue;
};
struct BulkGroups {
  std::shared_ptr<BulkGroup> open;
  std::deque<std::shared_ptr<BulkGroup>> committed;
};

struct RegisterPool {
  std::map<int, int> of_group;
  int free = -1;
  WaitQueue queue;
};

}  // namespace

uint32_t shared_barrier_offset(const void* barrier, const char* what) {
  return shared_offset(barrier, 8, 8, what);
}

void shared_barrier_init(void* barrier, int count) {
  if (capability().number < 90) fail("barrier_init on a device before sm_90");
  shared_barrier_offset(barrier, "barrier_init");
  if (count < 1 || count > kTransactionLimit) fail("barrier_init for ", count, " arrivals");
  auto& word = *static_cast<BarrierWord*>(barrier);
  word = {static_cast<uint64_t>(count), static_cast<uint64_t>(count), 0, 0, 0, 0};
  thread_state<InitialisedBarriers>().unfenced.push_back(&word);
}

void shared_barrier_fence() {
  auto& mine = thread_state<InitialisedBarriers>().unfenced;
  for (BarrierWord* word : mine) word->fenced = 1;
  mine.clear();
}

void shared_barrier_arrive(Block& block, uint32_t offset, bool remote) {
  BarrierWord& word = word_at(block, offset, "barrier_arrive");
  if (remote && !word.fenced) fail("barrier_arrive from another block before fence_barrier_init");
  if (word.pending == 0)
    fail("barrier_arrive at byte ", offset, ": all ", word.count, " arrivals of the phase are in");
  --word.pending;
  end_phase_if_complete(block, offset, word);
}

void shared_barrier_expect(Block& block, uint32_t offset, uint32_t bytes) {
  BarrierWord& word = word_at(block, offset, "barrier_arrive_expect");
  if (word.transactions + static_cast<int64_t>(bytes) > kTransactionLimit)
    fail("barrier expects too many bytes");
  word.transactions += static_cast<int>(bytes);
}

bool shared_barrier_passed(const void* barrier, uint32_t parity, const char* what) {
  const uint32_t offset = shared_barrier_offset(barrier, what);
  if (parity > 1) fail(what, " for parity ", parity);
  return word_at(current_block(), offset, what).phase != parity;
}

void shared_barrier_wait(void* barrier, uint32_t parity, const char* what, Site site) {
  const uint32_t offset = shared_barrier_offset(barrier, what);
  Block& block = current_block();
  if (parity > 1) fail(what, " for parity ", parity);
  while (word_at(block, offset, what).phase == parity) {
    block.states.get<BarrierQueues>().by_offset[offset].wait(what, site);
  }
}

Block& cluster_block(int rank, const char* what) {
  Cluster& cluster = *current_block().cluster;
  if (rank < 0 || rank >= static_cast<int>(cluster.blocks.size()))
    fail(what, ": the cluster has no block ", rank);
  Block& block = *cluster.blocks[static_cast<size_t>(rank)];
  if (block.alive == 0) fail(what, ": block ", rank, " of the cluster has ended");
  return block;
}

unsigned char* async_view(Block& block) {
  std::vector<unsigned char>& bytes = block.states.get<AsyncView>().bytes;
  if (bytes.empty()) bytes.assign(block.shared_bytes, 0xFF);
  return bytes.data();
}

void store_word(Block& block, uint32_t offset, int value, uint32_t barrier_offset) {
  std::memset(block.shared + offset, 0xFF, sizeof(value));
  background(&block, [=, &block] {
    std::memcpy(block.shared + offset, &value, sizeof(value));
    complete_bytes(block, barrier_offset, sizeof(value));
  });
}

void note_shared_store(const void* pointer, size_t bytes) {
  thread_state<SharedStores>().unfenced.push_back({shared_offset(pointer, bytes, bytes, "store"), bytes});
}

void fence_async_view() {
  Block& block = current_block();
  unsigned char* view = async_view(block);
  auto& mine = thread_state<SharedStores>().unfenced;
  for (const SharedStore& store : mine)
    std::memcpy(view + store.offset, block.shared + store.offset, store.bytes);
  mine.clear();
}

void bulk_load(void* shared, const CUtensorMap& map, const void* barrier, const int (&at)[3], uint32_t mask,
               const char* what) {
  check_previous_grid(what);
  const TensorMapFields fields = tensor_map_fields(map, what);
  const uint32_t bytes =
      static_cast<uint32_t>(fields.box[0] * fields.box[1] * fields.box[2] * fields.strides[0]);
  const uint32_t start = shared_offset(shared, bytes, 128, what);
  const uint32_t barrier_offset = shared_barrier_offset(barrier, what);
  const std::array<int, 3> place{at[0], at[1], at[2]};
  for (int rank = 0; mask >> rank; ++rank) {
    if (!(mask >> rank & 1)) continue;
    Block& target = cluster_block(rank, what);
    unsigned char* view = async_view(target);
    const int origin[3] = {place[0], place[1], place[2]};
    walk_box(fields, start, origin, [&](uint32_t offset, unsigned char*, int64_t, int64_t) {
      std::memset(target.shared + offset, 0xFF, 16);
      std::memset(view + offset, 0xFF, 16);
    });
    background(&target, [=, &target] {
      const int from[3] = {place[0], place[1], place[2]};
      walk_box(fields, start, from, [&](uint32_t offset, unsigned char* line, int64_t byte, int64_t size) {
        unsigned char data[16] = {};
        const Piece piece = piece_of(byte, line ? size : 0);
        if (line && piece.begin < piece.end) {
          const unsigned char* source = line + byte + piece.begin;
          const auto count = static_cast<size_t>(piece.end - piece.begin);
          if (!is_device_memory(source, count)) fail(what, " reads outside device memory");
          std::memcpy(data + piece.begin, source, count);
        }
        std::memcpy(target.shared + offset, data, 16);
        std::memcpy(view + offset, data, 16);
      });
      complete_bytes(target, barrier_offset, static_cast<int>(bytes));
    });
  }
}

void bulk_store(const CUtensorMap& map, const void* shared, const int (&at)[3], BulkStore kind,
                const char* what) {
  check_previous_grid(what);
  const TensorMapFields fields = tensor_map_fields(map, what);
  const uint32_t bytes =
      static_cast<uint32_t>(fields.box[0] * fields.box[1] * fields.box[2] * fields.strides[0]);
  const uint32_t start = shared_offset(shared, bytes, 128, what);
  GlobalProxies& proxies = thread_state<GlobalProxies>();
  if (proxies.acquired) fail(what, " after load_acquire without fence_async_global");
  proxies.wrote_in_bulk = true;
  if (kind == BulkStore::add && !fields.is_float) fail(what, " of a tensor that is not float32");
  BulkGroups& groups = thread_state<BulkGroups>();
  if (!groups.open) groups.open = std::make_shared<BulkGroup>();
  const std::shared_ptr<BulkGroup> group = groups.open;
  ++group->unread;
  ++group->unwritten;
  Block& block = current_block();
  const std::array<int, 3> place{at[0], at[1], at[2]};
  background(&block, [=, &block] {
    auto data = std::make_shared<std::vector<unsigned char>>();
    const int from[3] = {place[0], place[1], place[2]};
    const unsigned char* view = async_view(block);
    walk_box(fields, start, from, [&](uint32_t offset, unsigned char*, int64_t, int64_t) {
      data->insert(data->end(), view + offset, view + offset + 16);
    });
    --group->unread;
    group->queue.wake_all();
    background(nullptr, [=] {
      const unsigned char* next = data->data();
      const int to[3] = {place[0], place[1], place[2]};
      walk_box(fields, start, to, [&](uint32_t, unsigned char* line, int64_t byte, int64_t size) {
        const unsigned char* piece_data = next;
        next += 16;
        const Piece piece = piece_of(byte, line ? size : 0);
        if (!line || piece.begin >= piece.end) return;
        unsigned char* target = line + byte + piece.begin;
        const auto count = static_cast<size_t>(piece.end - piece.begin);
        if (!is_device_memory(target, count)) fail(what, " writes outside device memory");
        if (kind == BulkStore::write) {
          std::memcpy(target, piece_data + piece.begin, count);
          return;
        }
        for (size_t i = 0; i < count; i += 4) {
          float sum, addend;
          std::memcpy(&sum, target + i, 4);
          std::memcpy(&addend, piece_data + piece.begin + i, 4);
          sum += addend;
          std::memcpy(target + i, &sum, 4);
        }
      });
      --group->unwritten;
      group->queue.wake_all();
    });
  });
}

void bulk_commit_group() {
  BulkGroups& groups = thread_state<BulkGroups>();
  groups.committed.push_back(groups.open ? groups.open : std::make_shared<BulkGroup>());
  groups.open = nullptr;
}

void bulk_wait_groups(size_t pending, bool read_only, const char* what, Site site) {
  BulkGroups& groups = thread_state<BulkGroups>();
  for (size_t i = 0; i + pending < groups.committed.size(); ++i) {
    const std::shared_ptr<BulkGroup> group = groups.committed[i];
    while ((read_only ? group->unread : group->unwritten) > 0) group->queue.wait(what, site);
  }
  while (groups.committed.size() > pending && groups.committed.front()->unwritten == 0)
    groups.committed.pop_front();
}

void set_registers(int count, bool increase, Site site) {
  const char* what = increase ? "register_increase" : "register_decrease";
  if (count < 24 || count > 256 || count % 8) fail(what, " to ", count);
  int operand = count;
  bool done = false;
  exchange_warpgroup(what, site, operand, [&](int* const*) { done = true; });
  Block& block = current_block();
  RegisterPool& pool = block_state<RegisterPool>();
  if (pool.free < 0) {
    const int share = kRegisters / block.threads / 8 * 8;
    for (int group = 0; group < block.threads / 128; ++group) pool.of_group[group] = share;
    pool.free = 0;
  }
  if (done) {
    int& own = pool.of_group[current().thread / 128];
    if (increase ? count < own : count > own) fail(what, " from ", own, " to ", count);
    while (count - own > pool.free) pool.queue.wait(what, site);
    pool.free += own - count;
    own = count;
    pool.queue.wake_all();
  }
  int again = 0;
  exchange_warpgroup(what, site, again, [](int* const*) {});
}

}  // namespace emulation
