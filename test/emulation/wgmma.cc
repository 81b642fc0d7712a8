#include "wgmma.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <limits>
#include <map>

#include "async.h"
#include "core/dtype.h"
#include "device_facts.h"

namespace emulation {
namespace {

constexpr int kRows = 64, kDepth = 16, kThreads = 128;

// Values of an accumulator while products on it are under way.
struct Accumulator {
  int n;
  std::vector<float> values;           // [kRows, n]
  std::array<float*, kThreads> homes;  // each thread's registers
  std::array<bool, kThreads> held{};   // the thread's part is here, and NaN there
  uint64_t last = 0;                   // the number of the last product on it
};

struct Product {
  WgmmaCall call;
  std::shared_ptr<Accumulator> sum;
};

struct ThreadProducts {
  bool fenced = false;          // since its registers were free for others
  uint64_t issued = 0;          // number of its last product
  bool open = false;            // products since the last commit
  std::deque<uint64_t> groups;  // the last product of each committed group that was not waited for
};

struct Group {
  uint64_t issued = 0, done = 0;  // numbers of products
  uint64_t committed = 0;         // those up to here may run
  std::deque<Product> waiting;
  std::map<float*, std::shared_ptr<Accumulator>> sums;  // by thread 0's registers
};
struct Groups {
  std::map<int, Group> by_warpgroup;
};

Group& group_of(Block& block, int warpgroup) { return block.states.get<Groups>().by_warpgroup[warpgroup]; }

// Row and column of register i of a thread of the warpgroup.
int row_of(int thread, int i) { return thread / 32 * 16 + thread % 32 / 4 + i % 4 / 2 * 8; }
int column_of(int thread, int i) { return i / 4 * 8 + thread % 4 * 2 + i % 2; }

// The address of an operand's element (mn, k) in shared memory.
struct Operand {
  uint32_t start, leading, stride;
  int swizzle;
  bool by_mn;

  Operand(uint64_t descriptor, bool by_mn) : by_mn(by_mn) {
    start = static_cast<uint32_t>(descriptor & 0x3FFF) << 4;
    leading = static_cast<uint32_t>(descriptor >> 16 & 0x3FFF) << 4;
    stride = static_cast<uint32_t>(descriptor >> 32 & 0x3FFF) << 4;
    swizzle = static_cast<int>(descriptor >> 62);
    if (descriptor >> 49 & 7) fail("wgmma: base offset is not 0");
    if (swizzle != 0 && swizzle != 1) fail("wgmma: the emulation knows swizzles none and 128 bytes");
  }

  uint32_t offset(uint32_t mn, uint32_t k) const {
    uint32_t address = start;
    if (swizzle == 0) {
      address += by_mn ? mn / 8 * stride + mn % 8 * 2 + k / 8 * leading + k % 8 * 16
                       : mn / 8 * stride + mn % 8 * 16 + k / 8 * leading + k % 8 * 2;
    } else {
      address += by_mn ? mn / 64 * leading + mn % 64 * 2 + k / 8 * stride + k % 8 * 128
                       : mn / 8 * stride + mn % 8 * 128 + 2 * k;
      address ^= address >> 3 & 0x70;
    }
    return address - static_cast<uint32_t>(kSharedReserved);
  }

  void read(Block& block, int rows, bool half, std::vector<float>& to) const {  // [k, rows]
    const unsigned char* view = async_view(block);
    to.resize(static_cast<size_t>(rows) * kDepth);
    for (int mn = 0; mn < rows; ++mn) {
      for (int k = 0; k < kDepth; ++k) {
        const uint32_t at = offset(static_cast<uint32_t>(mn), static_cast<uint32_t>(k));
        if (at + 2 > block.shared_bytes)
          fail("wgmma reads byte ", at, " of ", block.shared_bytes, " of shared memory");
        uint16_t bits;
        std::memcpy(&bits, view + at, 2);
        native::float16 narrow;
        native::bfloat16 wide;
        narrow.bits = wide.bits = bits;
        to[static_cast<size_t>(k * rows + mn)] = half ? static_cast<float>(narrow) : static_cast<float>(wide);
      }
    }
  }
};

__attribute__((optimize("O3"))) void multiply(int n, const float* a, const float* b, float* sums) {
  for (int row = 0; row < kRows; ++row) {
    float* __restrict__ to = sums + row * n;
    for (int k = 0; k < kDepth; ++k) {
      const float factor = a[k * kRows + row];
      const float* __restrict__ from = b + k * n;
      for (int column = 0; column < n; ++column) to[column] += factor * from[column];
    }
  }
}

void run_next(Block& block, Group& group) {
  Product product = std::move(group.waiting.front());
  group.waiting.pop_front();
  const WgmmaCall& call = product.call;
  static std::vector<float> a, b;
  Operand(call.a, call.a_by_mn).read(block, kRows, call.half, a);
  Operand(call.b, call.b_by_mn).read(block, call.n, call.half, b);
  if (!call.accumulate) std::fill(product.sum->values.begin(), product.sum->values.end(), 0.0f);
  multiply(call.n, a.data(), b.data(), product.sum->values.data());
  ++group.done;
}

void take_registers(Accumulator& sum, int thread) {
  if (sum.held[static_cast<size_t>(thread)]) return;
  sum.held[static_cast<size_t>(thread)] = true;
  float* home = sum.homes[static_cast<size_t>(thread)];
  for (int i = 0; i < sum.n / 2; ++i) {
    sum.values[static_cast<size_t>(row_of(thread, i) * sum.n + column_of(thread, i))] = home[i];
    home[i] = std::numeric_limits<float>::quiet_NaN();
  }
}

void give_registers(Accumulator& sum, int thread) {
  sum.held[static_cast<size_t>(thread)] = false;
  float* home = sum.homes[static_cast<size_t>(thread)];
  for (int i = 0; i < sum.n / 2; ++i) {
    home[i] = sum.values[static_cast<size_t>(row_of(thread, i) * sum.n + column_of(thread, i))];
  }
}

}  // namespace

void wgmma_issue(WgmmaCall call, Site site) {
  ThreadProducts& mine = thread_state<ThreadProducts>();
  if (!mine.fenced)
    fail("wgmma at ", site.file, ":", site.line, " without wgmma_fence since its registers were free");
  mine.open = true;
  ++mine.issued;
  exchange_warpgroup("wgmma", site, call, [&](WgmmaCall* const* threads) {
    Block& block = current_block();
    Group& group = group_of(block, current().thread / kThreads);
    for (int t = 0; t < kThreads; ++t) {
      if (threads[t]->a != threads[0]->a || threads[t]->b != threads[0]->b ||
          threads[t]->accumulate != threads[0]->accumulate) {
        fail("wgmma at ", site.file, ":", site.line, ": threads differ in their operands");
      }
    }
    std::shared_ptr<Accumulator>& sum = group.sums[threads[0]->d];
    if (!sum || sum->n != threads[0]->n) {
      sum = std::make_shared<Accumulator>();
      sum->n = threads[0]->n;
      sum->values.resize(static_cast<size_t>(kRows * sum->n));
      for (int t = 0; t < kThreads; ++t) sum->homes[static_cast<size_t>(t)] = threads[t]->d;
    }
    for (int t = 0; t < kThreads; ++t) {
      if (sum->homes[static_cast<size_t>(t)] != threads[t]->d)
        fail("wgmma: accumulators of threads do not belong together");
      take_registers(*sum, t);
    }
    sum->last = ++group.issued;
    group.waiting.push_back({*threads[0], sum});
  });
}

void wgmma_note_fence() { thread_state<ThreadProducts>().fenced = true; }

void wgmma_commit_group() {
  ThreadProducts& mine = thread_state<ThreadProducts>();
  mine.groups.push_back(mine.issued);
  mine.open = false;
  Block& block = current_block();
  const int warpgroup = current().thread / kThreads;
  Group& group = group_of(block, warpgroup);
  if (mine.issued <= group.committed) return;
  group.committed = mine.issued;
  // The block may have ended by then, and another may be in its place: there is nothing of its own to run.
  background(nullptr, [&block, warpgroup] {
    Group& running = group_of(block, warpgroup);
    while (!running.waiting.empty() && running.done < running.committed && random_word() % 8)
      run_next(block, running);
  });
}

void wgmma_wait_groups(size_t pending) {
  ThreadProducts& mine = thread_state<ThreadProducts>();
  if (mine.groups.size() <= pending) return;
  const uint64_t until = mine.groups[mine.groups.size() - 1 - pending];
  mine.groups.erase(mine.groups.begin(), mine.groups.end() - static_cast<ptrdiff_t>(pending));
  Block& block = current_block();
  Group& group = group_of(block, current().thread / kThreads);
  while (group.done < until) run_next(block, group);
  mine.fenced = false;
  for (auto& [home, sum] : group.sums) {
    const int thread = current().thread % kThreads;
    if (sum->held[static_cast<size_t>(thread)] && sum->last <= until) give_registers(*sum, thread);
  }
}

}  // namespace emulation
