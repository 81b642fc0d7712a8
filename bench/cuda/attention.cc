// Attention at the lengths of the models: patch tokens with a message key, causal text, message and
// integration tokens, and the prompt generator's cross attention.
#include "ops/attention.h"

#include "report.h"
#include "timing.h"

namespace bench {
namespace {

struct Self {
  int64_t batch, queries, keys, heads;
  bool causal;
};
std::vector<Self> self_shapes() {
  if (scale() == Scale::tiny) return {{1, 50, 51, 1, false}, {2, 7, 7, 2, true}};
  std::vector<Self> shapes = {{512, 50, 51, 12, false},     {256, 197, 198, 12, false},
                              {128, 257, 258, 16, false},   {16, 577, 578, 16, false},
                              {400, 77, 77, 8, true},       {64 * 12, 8, 8, 12, false},
                              {32 * 12, 16, 16, 12, false}, {16 * 12, 32, 32, 12, false}};
  for (Self& s : shapes) s.batch = by_scale(s.batch, (s.batch + 15) / 16, 1);
  return shapes;
}
struct Cross {
  int64_t batch, queries, keys, heads;
};
std::vector<Cross> cross_shapes() {
  if (scale() == Scale::tiny) return {{1, 20, 9, 1}};
  std::vector<Cross> shapes = {{32, 400, 49, 8}, {32, 400, 196, 8}, {16, 600, 256, 12}};
  for (Cross& s : shapes) s.batch = by_scale(s.batch, (s.batch + 15) / 16, 1);
  return shapes;
}

// The fraction of the peak for dense products that the kernels are expected to reach: at few keys most of a
// tile is padding and memory binds, head size 64 is bound by its exponentials.
double expected_fraction(int64_t keys, bool forward) {
  const double rate = keys < 128   ? (forward ? 90e12 : 95e12)
                      : keys < 228 ? (forward ? 330e12 : 240e12)
                      : keys < 400 ? (forward ? 400e12 : 260e12)
                                   : (forward ? 460e12 : 270e12);
  return rate / kH200.flops;
}

void self_attention(const Self& s, DType dtype) {
  const int64_t width = 64 * s.heads;
  const double qkv_bytes = 2.0 * s.batch * s.keys * 3 * width, out_bytes = 2.0 * s.batch * s.queries * width;
  const double product = 2.0 * s.batch * s.heads * s.queries * s.keys * 64 * (s.causal ? 0.5 : 1);
  const int sets = sets_beyond_cache(qkv_bytes);
  std::vector<Tensor> qkv, dout, out, log_sum;
  for (int i = 0; i < sets; ++i) {
    qkv.push_back(normal({s.batch, s.keys, 3 * width}, dtype));
    dout.push_back(normal({s.batch, s.queries, width}, dtype));
    auto [y, sum] = native::self_attention_forward(qkv[i], s.heads, s.queries, s.causal);
    out.push_back(y);
    log_sum.push_back(sum);
  }
  const std::vector<std::pair<std::string, int64_t>> sizes = {
      {"batch", s.batch}, {"queries", s.queries}, {"keys", s.keys}, {"heads", s.heads}, {"causal", s.causal}};
  const auto row = [&](const char* name, double flops, double bytes, double expected,
                       const std::function<void(int)>& run) {
    measure({"self", name, sizes, dtype, flops, bytes, 0, expected}, sets, run);
  };
  const auto forward = [&](int i) { native::self_attention_forward(qkv[i], s.heads, s.queries, s.causal); };
  const auto backward = [&](int i) {
    native::self_attention_backward(dout[i], qkv[i], out[i], log_sum[i], s.heads, s.queries, s.causal);
  };
  const double forward_bytes = qkv_bytes + out_bytes, backward_bytes = 2 * qkv_bytes + 2 * out_bytes;
  const double forward_time = predicted(2 * product, expected_fraction(s.keys, true), forward_bytes);
  const double backward_time = predicted(5 * product, expected_fraction(s.keys, false), backward_bytes);
  row("forward", 2 * product, forward_bytes, forward_time, forward);
  row("backward", 5 * product, backward_bytes, backward_time, backward);
  row("forward+backward", 7 * product, forward_bytes + backward_bytes, forward_time + backward_time,
      [&](int i) {
        forward(i);
        backward(i);
      });
}

void cross_attention(const Cross& s, DType dtype) {
  const int64_t width = 64 * s.heads;
  const Tensor q = normal({s.batch, s.queries, width}, dtype), k = normal({s.batch, s.keys, width}, dtype);
  const Tensor v = normal({s.batch, s.keys, width}, dtype), dout = normal({s.batch, s.queries, width}, dtype);
  const double product = 2.0 * s.batch * s.heads * s.queries * s.keys * 64;
  const double q_bytes = 2.0 * s.batch * s.queries * width, kv_bytes = 4.0 * s.batch * s.keys * width;
  auto [out, log_sum] = native::attention_forward(q, k, v, s.heads, false);
  const std::vector<std::pair<std::string, int64_t>> sizes = {
      {"batch", s.batch}, {"queries", s.queries}, {"keys", s.keys}, {"heads", s.heads}};
  const Tensor &result = out, &sums = log_sum;
  const auto row = [&](const char* name, bool is_forward, double flops, double bytes,
                       const std::function<void(int)>& run) {
    measure({"cross", name, sizes, dtype, flops, bytes, 0,
             predicted(flops, expected_fraction(s.keys, is_forward), bytes)},
            1, run);
  };
  row("forward", true, 2 * product, 2 * q_bytes + kv_bytes,
      [&](int) { native::attention_forward(q, k, v, s.heads, false); });
  row("backward", false, 5 * product, 4 * q_bytes + 2 * kv_bytes,
      [&](int) { native::attention_backward(dout, q, k, v, result, sums, s.heads, false); });
}

}  // namespace

void attention_suite() {
  for (const Self& s : self_shapes()) self_attention(s, DType::bfloat16);
  for (const Cross& s : cross_shapes()) cross_attention(s, DType::bfloat16);
}

}  // namespace bench
