// Attention on the device against plain loops in float64: both implementations, every layout, lengths around
// the edges of tiles, blocks and passes.
#include "attention.h"

#include "attention_reference.h"
#include "runtime/context.h"

#ifdef CUDA_EMULATION
#include "emulation.h"
#endif

using namespace check;
using namespace attention_test;
using native::AttentionArgs;

namespace {

// How operands lie in memory: apart, or as rows [q, k, v] of one tensor; `unaligned`: apart, at an odd
// element; `unaligned_dout`: that alone.
enum class Layout { separate, packed, unaligned, unaligned_dout };

// How the forward pass runs: as attention.cu chooses, or in one of the ways.
enum class Way { chosen, tensor_cores, sm90 };

struct Case {
  Sizes sizes;
  Layout layout = Layout::separate;
  double scale = 1;  // of the random operands
  Way way = Way::chosen;
};

std::string name_of(const Case& c, DType dtype) {
  const Sizes& s = c.sizes;
  return native::concat(native::dtype_name(dtype), " [", s.batch, " x ", s.heads, " heads, ", s.queries,
                        " -> ", s.keys, ", ", s.head_size, "]", s.causal ? " causal" : "",
                        s.shared_queries ? " shared queries" : "", " layout ", static_cast<int>(c.layout),
                        " way ", static_cast<int>(c.way));
}

Operands operands_of(const Case& c, DType dtype) {
  const Sizes& s = c.sizes;
  const int64_t dim = s.heads * s.head_size, sets = s.shared_queries ? 1 : s.batch;
  return {normal(sets * s.queries * dim, 1, dtype, c.scale),
          normal(s.batch * s.keys * dim, 2, dtype, c.scale),
          normal(s.batch * s.keys * dim, 3, dtype, c.scale),
          normal(s.batch * s.queries * dim, 4, dtype, c.scale)};
}

// Columns column .. column + width - 1 of the first `rows` rows of every sequence of x [sequences, all rows,
// columns].
Values part_of(const Values& x, int64_t all_rows, int64_t columns, int64_t rows, int64_t column,
               int64_t width) {
  Values part;
  for (size_t i = 0; i < x.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    const int64_t c = at % columns - column;
    if (c >= 0 && c < width && at / columns % all_rows < rows) part.push_back(x[i]);
  }
  return part;
}

// q, k, v of sequences side by side; rows that do not ask have the query 0.5.
Values pack(const Sizes& s, const Operands& x) {
  const int64_t dim = s.heads * s.head_size;
  Values packed;
  for (int64_t row = 0; row < s.batch * s.keys; ++row) {
    const int64_t n = row / s.keys, i = row % s.keys;
    const auto add = [&](const Values& values, int64_t from) {
      packed.insert(packed.end(), values.begin() + from * dim, values.begin() + (from + 1) * dim);
    };
    i < s.queries ? add(x.q, n * s.queries + i) : (void)packed.insert(packed.end(), dim, 0.5);
    add(x.k, row);
    add(x.v, row);
  }
  return packed;
}

// Runs forward and backward on the device.
Results run(const Case& c, const Operands& x, DType dtype) {
  const Sizes& s = c.sizes;
  const int64_t dim = s.heads * s.head_size, sets = s.shared_queries ? 1 : s.batch;
  const bool packed = c.layout == Layout::packed;
  const int64_t offset = c.layout == Layout::unaligned ? 3 : 0, row = packed ? 3 * dim : dim;
  const int64_t q_rows = packed ? s.keys : s.queries;
  const Shape q_shape = {sets, q_rows, row}, kv_shape = {s.batch, s.keys, row};
  const Shape out_shape = {s.batch, s.queries, dim};
  const Tensor q = to_device(packed ? pack(s, x) : x.q, q_shape, dtype, offset);
  const Tensor k = packed ? q : to_device(x.k, kv_shape, dtype, offset);
  const Tensor v = packed ? q : to_device(x.v, kv_shape, dtype, offset);
  const Tensor dq = poisoned(q_shape, dtype, offset);
  const Tensor dk = packed ? dq : poisoned(kv_shape, dtype, offset);
  const Tensor dv = packed ? dq : poisoned(kv_shape, dtype, offset);
  const int64_t dout_offset = c.layout == Layout::unaligned_dout ? 3 : offset;
  const Tensor dout = to_device(x.dout, out_shape, dtype, dout_offset),
               out = poisoned(out_shape, dtype, offset);
  const Tensor log_sum = poisoned({s.batch, s.heads, s.queries}, DType::float32);
  const auto at = [&](const Tensor& tensor, int64_t part) -> void* {
    return static_cast<char*>(tensor.raw()) + (packed ? part * dim * native::dtype_size(dtype) : 0);
  };
  const int64_t q_batch = s.shared_queries ? 0 : q_rows * row, kv_batch = s.keys * row;
  const AttentionArgs args{
      at(q, 0), at(k, 1), at(v, 2),  q_batch, row,         kv_batch, row,  out.raw(), log_sum.data<float>(),
      s.batch,  s.heads,  s.queries, s.keys,  s.head_size, s.causal, dtype};
  if (c.way == Way::chosen) {
    native::launch(native::attention_forward_kernel, args, {&q, &k, &v});
  } else {
    native::backend(native::DeviceType::cuda).submit({"attention", {}}, [&] {
      c.way == Way::sm90 ? native::cuda::attention_forward_sm90(args)
                         : native::cuda::attention_forward_tensor_cores(args);
    });
  }
  native::launch(native::attention_backward_kernel,
                 native::AttentionBackwardArgs{args, dout.raw(), at(dq, 0), at(dk, 1), at(dv, 2), q_rows},
                 {&dout, &q, &k, &v});
  const Values all_dq = to_host(dq);
  for (int64_t idle = 0; packed && idle < s.batch; ++idle) {
    for (int64_t i = s.queries; i < s.keys; ++i) {
      for (int64_t d = 0; d < dim; ++d) {
        if (all_dq[(idle * s.keys + i) * row + d] != 0) native::fail("TEST", "dq is not 0 where nobody asks");
      }
    }
  }
  return {to_host(out), to_host(log_sum), part_of(all_dq, q_rows, row, s.queries, 0, dim),
          part_of(to_host(dk), s.keys, row, s.keys, packed ? dim : 0, dim),
          part_of(to_host(dv), s.keys, row, s.keys, packed ? 2 * dim : 0, dim)};
}

double largest_difference(const Values& a, const Values& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

// What is wrong with the device's results: empty if nothing. An error may be twice that of the plain
// implementation in the same precision, and one rounding of the largest number where that happens to be
// exact.
std::string faults(const Case& c, DType dtype) {
  const Operands x = operands_of(c, dtype);
  const Results truth = reference<double>(c.sizes, x, [](double value) { return value; });
  const Results plain =
      reference<float>(c.sizes, x, [&](float value) { return static_cast<float>(rounded(value, dtype)); });
  const Results actual = run(c, x, dtype);
  std::string wrong;
  const auto compare = [&](const char* name, Values Results::*member, double unit, double floor = 0) {
    double largest = floor;
    for (const double value : truth.*member) largest = std::max(largest, std::abs(value));
    const double allowed = 2 * largest_difference(plain.*member, truth.*member) + unit * largest;
    const std::string text = difference(actual.*member, truth.*member, allowed);
    if (!text.empty()) wrong += native::concat(name, ": ", text, "; ");
  };
  // The backward takes weights from log_sum, which is rounded to float32.
  double largest_sum = 1;
  for (const double value : truth.log_sum) largest_sum = std::max(largest_sum, std::abs(value));
  const double unit = unit_roundoff(dtype), again = unit + 0x1p-24 * largest_sum;
  compare("out", &Results::out, unit);
  compare("log_sum", &Results::log_sum, 0x1p-20);
  // dq and dk may cancel to nothing: what is left then is rounding of float32 sums of numbers like these.
  compare("dq", &Results::dq, again, 8 * c.scale);
  compare("dk", &Results::dk, again, 8 * c.scale);
  compare("dv", &Results::dv, again);
  return wrong;
}

constexpr DType kHalfTypes[] = {DType::bfloat16, DType::float16};

void expect_right(const Case& c, DType dtype) {
  const std::string wrong = faults(c, dtype);
  CHECK_MESSAGE(wrong.empty(), name_of(c, dtype) << ": " << wrong);
}

}  // namespace

TEST_CASE("attention at lengths around the edges of tiles") {
  for (const int64_t length : {1, 7, 8, 9, 16, 17, 31, 32, 33, 49, 50, 52, 64, 65}) {
    for (const DType dtype : kFloats) expect_right({{2, 1, length, length, 64}, Layout::packed}, dtype);
  }
}

TEST_CASE("attention at the models' lengths, a message key beside the queries") {
  for (const int64_t keys : {51, 198, 258, 578}) {
    expect_right({{1, keys < 258 ? 2 : 1, keys - 1, keys, 64}, Layout::packed}, DType::bfloat16);
    if (keys < 578) expect_right({{1, 1, keys - 1, keys, 64}, Layout::packed}, DType::float16);
    if (keys < 258) expect_right({{1, 1, keys - 1, keys, 64}, Layout::packed}, DType::float32);
  }
}

TEST_CASE("attention by mma.sync at lengths that a warpgroup takes on sm_90") {
  for (const int64_t keys : {198, 258}) {
    for (const DType dtype : kHalfTypes)
      expect_right({{1, 1, keys - 1, keys, 64}, Layout::packed, 1, Way::tensor_cores}, dtype);
  }
  expect_right({{2, 1, 70, 130, 64}, Layout::separate, 6, Way::tensor_cores}, DType::bfloat16);
}

TEST_CASE("attention by a warpgroup: lengths around blocks of queries, of keys and the ring of stages") {
  const Way way = Way::sm90;
  for (const int64_t keys : {17, 63, 64, 65, 80, 81, 128, 129, 144, 145, 192, 197, 256, 258, 321}) {
    const int64_t queries = keys % 3 == 0 ? 64 : keys % 3 == 1 ? 63 : 65;
    for (const DType dtype : kHalfTypes)
      expect_right({{1, 2, queries, keys, 64}, Layout::separate, 1, way}, dtype);
  }
  for (const DType dtype : kHalfTypes) {
    expect_right({{2, 3, 197, 198, 64}, Layout::packed, 1, way}, dtype);
    expect_right({{1, 1, 577, 578, 64}, Layout::packed, 1, way}, dtype);
    expect_right({{1, 2, 400, 196, 64}, Layout::separate, 1, way}, dtype);
    expect_right({{3, 1, 70, 140, 64, false, true}, Layout::separate, 1, way}, dtype);
    expect_right({{1, 1, 100, 150, 64}, Layout::separate, 6, way}, dtype);
  }
  expect_right({{1, 1, 400, 576, 64}, Layout::separate, 1, way}, DType::bfloat16);
  expect_right({{2, 1, 1, 200, 64}, Layout::separate, 1, way}, DType::bfloat16);
  // More than the thread blocks that stay.
  for (const int64_t keys : {17, 64, 80, 100, 200})
    expect_right({{7, 3, 130, keys, 64}, Layout::separate, 1, way},
                 keys % 3 ? DType::bfloat16 : DType::float16);
}

TEST_CASE("causal attention, also with fewer queries than keys and more") {
  for (const DType dtype : kFloats) {
    expect_right({{1, 2, 77, 77, 64, true}, Layout::packed}, dtype);
    expect_right({{1, 1, 20, 150, 64, true}, Layout::packed}, dtype);
    expect_right({{1, 1, 150, 40, 64, true}}, dtype);
    expect_right({{2, 1, 33, 33, 64, true}}, dtype);
  }
  expect_right({{1, 1, 300, 300, 64, true}}, DType::bfloat16);
  // Of several passes the later ones have keys that no query sees.
  for (const DType dtype : kHalfTypes) expect_right({{1, 1, 20, 300, 64, true}}, dtype);
}

TEST_CASE("cross attention, queries of their own or shared, whose gradient is the sum over the batch") {
  for (const DType dtype : kFloats) {
    expect_right({{2, 2, 70, 49, 64}}, dtype);
    expect_right({{3, 2, 70, 49, 64, false, true}}, dtype);
    expect_right({{1, 1, 9, 70, 64, false, true}}, dtype);
    expect_right({{3, 1, 40, 70, 64, true, true}}, dtype);
  }
  expect_right({{2, 1, 40, 300, 64, false, true}}, DType::bfloat16);
}

TEST_CASE("attention with heads of other sizes") {
  for (const int64_t size : {5, 8, 24, 65, 128}) {
    for (const DType dtype : kFloats) {
      expect_right({{2, 2, 18, 35, size}}, dtype);
      expect_right({{2, 2, 35, 35, size, true}, Layout::packed}, dtype);
      expect_right({{2, 2, 18, 35, size, false, true}, Layout::unaligned}, dtype);
    }
  }
  // Heads whose columns no four or two divide, in one part or two.
  for (const int64_t size : {2, 3, 6, 7, 67, 70}) {
    for (const DType dtype : kFloats) expect_right({{1, 2, 18, 35, size, true}}, dtype);
  }
  for (const DType dtype : kHalfTypes) {
    expect_right({{2, 2, 18, 35, 24, false, true}}, dtype);
    expect_right({{2, 1, 18, 300, 56, false, true}}, dtype);
  }
}

TEST_CASE("attention forward on tensor cores, backward in plain arithmetic, where only dout is unaligned") {
  for (const DType dtype : kHalfTypes) expect_right({{2, 2, 40, 70, 64}, Layout::unaligned_dout}, dtype);
}

TEST_CASE("attention with more heads than thread blocks that stay resident") {
  for (const DType dtype : kHalfTypes) {
    expect_right({{12, 3, 20, 20, 64}, Layout::packed}, dtype);
    expect_right({{7, 3, 33, 40, 64}}, dtype);
    expect_right({{3, 3, 40, 140, 64, true}}, dtype);
    expect_right({{5, 2, 10, 260, 64, false, true}}, dtype);
  }
}

TEST_CASE("attention with logits far apart") {
  for (const DType dtype : kFloats)
    expect_right({{1, 1, 100, 100, 64, false, false}, Layout::separate, 6}, dtype);
}

TEST_CASE("attention where logits are -infinity: of the first keys, of the others, of all") {
  const double inf = HUGE_VAL;
  const int64_t keys = 200, size = 64;
  for (const DType dtype : kFloats) {
    for (const Way way : {Way::chosen, Way::tensor_cores, Way::sm90}) {
      if (way != Way::chosen && dtype == DType::float32) continue;
      if (way == Way::sm90 && native::cuda::current_context().capability() < 90) continue;
      const Case c{{1, 1, 40, keys, size}, Layout::separate, 1, way};
      Operands x = operands_of(c, dtype);
      for (double& q : x.q) q = 1;
      const auto lose_keys = [&](int64_t first, int64_t end) {
        Operands lost = x;
        std::fill(lost.k.begin() + first * size, lost.k.begin() + end * size, -inf);
        return lost;
      };
      // As without these keys; the gradients have products of 0 and infinity, as plain loops have.
      const auto kept = [&](int64_t first, int64_t end) {
        Case fewer = c;
        fewer.way = Way::chosen;
        fewer.sizes.keys = end - first;
        const auto part = [&](const Values& values) {
          return Values(values.begin() + first * size, values.begin() + end * size);
        };
        const Operands operands{x.q, part(x.k), part(x.v), x.dout};
        return reference<double>(fewer.sizes, operands, [](double value) { return value; });
      };
      for (const auto& [first, end] : {std::pair<int64_t, int64_t>{130, keys}, {70, keys}, {0, 70}}) {
        const Results actual = run(c, first ? lose_keys(0, first) : lose_keys(end, keys), dtype);
        const Results expected = kept(first, end);
        INFO(name_of(c, dtype) << " keys " << first << " to " << end);
        const double allowed = std::max(4 * unit_roundoff(dtype), 0x1p-20);
        CHECK(difference(actual.out, expected.out, allowed) == "");
        CHECK(difference(actual.log_sum, expected.log_sum, 0x1p-16) == "");
      }
      const Results none = run(c, lose_keys(0, keys), dtype);
      for (const auto member : {&Results::out, &Results::dq, &Results::dk, &Results::dv}) {
        const Values& values = none.*member;
        CHECK(std::all_of(values.begin(), values.end(), [](double value) { return std::isnan(value); }));
      }
    }
  }
}

TEST_CASE("attention gives the same bits every time and whatever else is in the batch") {
  for (const DType dtype : kFloats) {
    const Case c{{3, 2, 70, 130, 64}};
    const Operands x = operands_of(c, dtype);
    const Results first = run(c, x, dtype), second = run(c, x, dtype);
    for (const auto member : {&Results::out, &Results::log_sum, &Results::dq, &Results::dk, &Results::dv}) {
      CHECK(difference(second.*member, first.*member, 0) == "");
    }
    // The last sequence alone.
    Case alone = c;
    alone.sizes.batch = 1;
    const auto last = [](const Values& values) {
      return Values(values.end() - values.size() / 3, values.end());
    };
    const Results single = run(alone, {last(x.q), last(x.k), last(x.v), last(x.dout)}, dtype);
    for (const auto member : {&Results::out, &Results::log_sum, &Results::dq, &Results::dk, &Results::dv}) {
      CHECK(difference(single.*member, last(first.*member), 0) == "");
    }
  }
}

#ifdef CUDA_EMULATION
TEST_CASE("attention's backward pass has all warps that fit where there is no room for two blocks") {
  const Tensor q = to_device(normal(40 * 64, 1), {1, 40, 64}, DType::bfloat16),
               kv = to_device(normal(258 * 64, 2), {1, 258, 64}, DType::bfloat16);
  const auto [out, log_sum] = native::attention_forward(q, kv, kv, 1, false);
  fence();
  emulation::reset_statistics();
  native::attention_backward(out, q, kv, kv, out, log_sum, 1, false);
  fence();
  // 258 keys are nine times 32: two passes of five warps in 99 KB, three of three elsewhere.
  const bool small = native::cuda::current_context().shared_bytes_limit() < 100 << 10;
  CHECK(emulation::statistics().launches == 1);
  CHECK(emulation::statistics().threads == (small ? 5 : 3) * 32);
}

TEST_CASE("attention's fragments meet no bank twice") {
  for (const DType dtype : kHalfTypes) {
    for (const Way way : {Way::tensor_cores, Way::sm90}) {
      const Case c{{1, 1, 80, 140, 64}, Layout::separate, 1, way};
      emulation::reset_statistics();
      run(c, operands_of(c, dtype), dtype);
      CHECK(emulation::statistics().bank_conflicts == 0);
    }
  }
}

// Every barrier and wait of the kernels is needed: without it some order of the threads gives a wrong result
// or a report. Returns how many there are.
int expect_all_needed(const std::vector<Case>& cases, const std::string& file, uint64_t seeds) {
  const auto is_right = [&](DType dtype, uint64_t seed) {
    emulation::set_seed(seed);
    try {
      for (const Case& c : cases) {
        if (!faults(c, dtype).empty()) return false;
      }
      return true;
    } catch (const std::exception&) {
      return false;
    }
  };
  emulation::forget_sites();
  CHECK(is_right(DType::bfloat16, 1));
  std::vector<emulation::SiteRecord> sites;
  for (const emulation::SiteRecord& site : emulation::sites()) {
    // The shuffles around the warp barrier make lanes of the emulation meet, though they order no memory.
    if (site.file.find(file) != std::string::npos && site.what != "warp_barrier") sites.push_back(site);
  }
  for (const emulation::SiteRecord& site : sites) {
    emulation::skip(site.file, site.line);
    bool found = false;
    for (uint64_t seed = 1; seed <= seeds && !found; ++seed) found = !is_right(DType::bfloat16, seed);
    emulation::skip_nothing();
    CHECK_MESSAGE(found, site.what << " at " << site.file << ":" << site.line << " could be left out");
  }
  emulation::set_seed(1);
  return static_cast<int>(sites.size());
}

TEST_CASE("attention without one of its barriers is found out") {
  CHECK(expect_all_needed({{{1, 1, 70, 130, 64}, Layout::separate, 1, Way::tensor_cores},
                           {{2, 1, 40, 300, 64}, Layout::separate, 1, Way::tensor_cores},
                           {{2, 1, 40, 70, 72}}},
                          "attention", 4) >= 8);
}

TEST_CASE("attention by a warpgroup without one of its barriers, fences or waits is found out") {
  CHECK(expect_all_needed({{{1, 1, 64, 64, 64}, Layout::separate, 1, Way::sm90},
                           {{1, 1, 64, 400, 64}, Layout::separate, 1, Way::sm90},
                           {{1, 1, 64, 328, 64}, Layout::separate, 1, Way::sm90},
                           {{6, 5, 64, 72, 64}, Layout::separate, 1, Way::sm90}},
                          "attention_sm90", 8) >= 12);
}
#endif
