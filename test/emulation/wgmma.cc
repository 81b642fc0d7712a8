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
#include "tensor_core_sum.h"

namespace emulation {
namespace {

constexpr int kRows = 64, kDepth = 16, kThreads = 128, kWarps = 4;

// Values of an accumulator while products on it are under way.
struct Accumulator {
  int n;
  std::vector<float> values;            // [kRows, n]
  std::array<float*, kThreads> homes;   // each thread's registers
  std::array<uint64_t, kWarps> last{};  // the number of the last product on each warp's rows
};

// A product that some warps of the group have issued.
struct Product {
  WgmmaCall call{};
  Site site{};
  int warps = 0;
  std::array<float*, kThreads> homes;
  std::array<const uint32_t*, kThreads> left;      // registers of A
  std::array<std::vector<float>, kThreads> taken;  // registers that were at home before
};

struct ThreadProducts {
  bool fenced = false;              // since its registers were free for others
  uint64_t issued = 0;              // number of its last product
  std::deque<uint64_t> groups;      // the last product of each committed group that was not waited for
  std::map<float*, uint64_t> away;  // registers that are NaN here: the last product on them
};

struct Group {
  std::array<uint64_t, kWarps> done{};  // number of the last product that has run, on each warp's rows
  uint64_t committed = 0;               // products up to this one may run
  std::map<uint64_t, Product> issued;
  std::map<float*, std::shared_ptr<Accumulator>> sums;  // by thread 0's registers
  WaitQueue queue;
};
struct Groups {
  std::map<int, Group> by_warpgroup;
};

Group& group_of(Block& block, int warpgroup) { return block.states.get<Groups>().by_warpgroup[warpgroup]; }

// Row and column of register i of a thread of the warpgroup.
int row_of(int thread, int i) { return thread / 32 * 16 + thread % 32 / 4 + i % 4 / 2 * 8; }
int column_of(int thread, int i) { return i / 4 * 8 + thread % 4 * 2 + i % 2; }

float number_of(uint16_t bits, bool half) {
  native::float16 narrow;
  native::bfloat16 wide;
  narrow.bits = wide.bits = bits;
  return half ? static_cast<float>(narrow) : static_cast<float>(wide);
}

// A from the threads' registers, [k, rows].
void read_left(const std::array<const uint32_t*, kThreads>& left, bool half, std::vector<float>& to) {
  to.resize(size_t{kRows} * kDepth);
  for (int thread = 0; thread < kThreads; ++thread) {
    for (int i = 0; i < 8; ++i) {  // elements of four registers
      const int row = thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8;
      const int k = thread % 4 * 2 + i % 2 + i / 4 * 8;
      const uint32_t word = left[static_cast<size_t>(thread)][i / 2];
      to[static_cast<size_t>(k * kRows + row)] =
          number_of(static_cast<uint16_t>(i % 2 ? word >> 16 : word), half);
    }
  }
}

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
    // The machine takes the pattern's place from the address, which holds without a base offset only so.
    if (swizzle == 1 && start % 1024 >= 128) fail("wgmma: a swizzled tile does not start on 1024 bytes");
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
        to[static_cast<size_t>(k * rows + mn)] = number_of(bits, half);
      }
    }
  }
};

bool next_is_complete(const Group& group, int warp) {
  const auto next = group.issued.find(group.done[static_cast<size_t>(warp)] + 1);
  return next != group.issued.end() && next->second.warps == kWarps;
}

// Runs the next product on the rows of warps first .. last - 1, which have come equally far.
void run_next(Block& block, Group& group, int first, int last) {
  const uint64_t number = group.done[static_cast<size_t>(first)] + 1;
  const Product& product = group.issued.at(number);
  const WgmmaCall& call = product.call;
  std::shared_ptr<Accumulator>& sum = group.sums[product.homes[0]];
  if (!sum || sum->n != call.n) {
    sum = std::make_shared<Accumulator>();
    sum->n = call.n;
    sum->values.resize(static_cast<size_t>(kRows * call.n));
    sum->homes = product.homes;
  }
  if (sum->homes != product.homes) fail("wgmma: the accumulators of its threads do not belong together");
  for (int t = 32 * first; t < 32 * last; ++t) {
    const std::vector<float>& taken = product.taken[static_cast<size_t>(t)];
    for (size_t i = 0; i < taken.size(); ++i) {
      sum->values[static_cast<size_t>(row_of(t, static_cast<int>(i)) * call.n +
                                      column_of(t, static_cast<int>(i)))] = taken[i];
    }
  }
  static std::vector<float> a, b;
  if (call.left) {
    read_left(product.left, call.half, a);
  } else {
    Operand(call.a, call.a_by_mn).read(block, kRows, call.half, a);
  }
  Operand(call.b, call.b_by_mn).read(block, call.n, call.half, b);
  constexpr int kWarpRows = kRows / kWarps;
  float* const sums = sum->values.data() + first * kWarpRows * call.n;
  const int rows = (last - first) * kWarpRows;
  if (!call.accumulate) std::fill(sums, sums + rows * call.n, 0.0f);
  for (int row = 0; row < rows; ++row) {
    add_products(a.data() + first * kWarpRows + row, kRows, b.data(), call.n, kDepth, false,
                 sums + row * call.n);
  }
  for (int warp = first; warp < last; ++warp)
    sum->last[static_cast<size_t>(warp)] = group.done[static_cast<size_t>(warp)] = number;
  if (*std::min_element(group.done.begin(), group.done.end()) == number) group.issued.erase(number);
}

// Runs the next product of a warp: as a rule on all rows, sometimes on that warp's alone, since a wait is for
// the products of the threads that wait.
void run_next(Block& block, Group& group, int warp) {
  const bool level = std::count(group.done.begin(), group.done.end(), group.done[0]) == kWarps;
  level&& random_word() % 4 ? run_next(block, group, 0, kWarps) : run_next(block, group, warp, warp + 1);
}

// Adds a thread's part to a product.
void join(Product& product, const WgmmaCall& call, const WgmmaCall& first, int thread, ThreadProducts& mine) {
  if (call.a != first.a || call.b != first.b || call.accumulate != first.accumulate || call.n != first.n) {
    fail("wgmma at ", product.site.file, ":", product.site.line, ": threads differ in their operands");
  }
  product.homes[static_cast<size_t>(thread)] = call.d;
  product.left[static_cast<size_t>(thread)] = call.left;
  if (mine.away.count(call.d) == 0) {
    product.taken[static_cast<size_t>(thread)].assign(call.d, call.d + call.n / 2);
    std::fill(call.d, call.d + call.n / 2, std::numeric_limits<float>::quiet_NaN());
  }
  mine.away[call.d] = mine.issued;
}

}  // namespace

// The warps of a group need not be in step: a product can run when all have issued it.
void wgmma_issue(WgmmaCall call, Site site) {
  ThreadProducts& own = thread_state<ThreadProducts>();
  if (!own.fenced)
    fail("wgmma at ", site.file, ":", site.line, " without wgmma_fence since its registers were free");
  ++own.issued;
  struct Part {
    WgmmaCall* call;
    ThreadProducts* products;
  } part{&call, &own};
  exchange_warp("wgmma", site, part, [&](Part* const* lanes) {
    Block& block = current_block();
    Group& group = group_of(block, current().thread / kThreads);
    const bool first = group.issued.count(own.issued) == 0;
    Product& product = group.issued[own.issued];
    if (first) {
      product.call = call;
      product.site = site;
    } else if (!same_site(product.site, site)) {
      fail("wgmma at ", site.file, ":", site.line, " while another warp of the group is at ",
           product.site.file, ":", product.site.line);
    }
    const int thread = current().thread % kThreads / 32 * 32;
    for (int l = 0; l < 32; ++l)
      join(product, *lanes[l]->call, product.call, thread + l, *lanes[l]->products);
    if (++product.warps == kWarps) group.queue.wake_all();
  });
}

void wgmma_note_fence() { thread_state<ThreadProducts>().fenced = true; }

void wgmma_commit_group() {
  ThreadProducts& mine = thread_state<ThreadProducts>();
  mine.groups.push_back(mine.issued);
  Block& block = current_block();
  const int warpgroup = current().thread / kThreads;
  Group& group = group_of(block, warpgroup);
  if (mine.issued <= group.committed) return;
  group.committed = mine.issued;
  // The block may have ended by then, and another may be in its place: there is nothing of its own to run.
  background(nullptr, [&block, warpgroup] {
    Group& running = group_of(block, warpgroup);
    for (int warp = 0; random_word() % 8; warp = static_cast<int>(random_word() % kWarps)) {
      if (!next_is_complete(running, warp) || running.done[static_cast<size_t>(warp)] >= running.committed)
        break;
      run_next(block, running, warp);
    }
  });
}

void wgmma_wait_groups(size_t pending, Site site) {
  ThreadProducts& mine = thread_state<ThreadProducts>();
  if (mine.groups.size() <= pending) return;
  const uint64_t until = mine.groups[mine.groups.size() - 1 - pending];
  mine.groups.erase(mine.groups.begin(), mine.groups.end() - static_cast<ptrdiff_t>(pending));
  Block& block = current_block();
  Group& group = group_of(block, current().thread / kThreads);
  const int warp = current().thread % kThreads / 32;
  while (group.done[static_cast<size_t>(warp)] < until) {
    if (next_is_complete(group, warp)) {
      run_next(block, group, warp);
    } else {
      group.queue.wait("wgmma_wait", site);
    }
  }
  mine.fenced = false;
  const int thread = current().thread % kThreads;
  for (auto& [first_home, sum] : group.sums) {
    float* home = sum->homes[static_cast<size_t>(thread)];
    const auto away = mine.away.find(home);
    if (away == mine.away.end() || away->second > until ||
        away->second != sum->last[static_cast<size_t>(warp)])
      continue;
    for (int i = 0; i < sum->n / 2; ++i) {
      home[i] = sum->values[static_cast<size_t>(row_of(thread, i) * sum->n + column_of(thread, i))];
    }
    mine.away.erase(away);
  }
}

}  // namespace emulation
