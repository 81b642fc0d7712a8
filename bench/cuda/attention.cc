// Attention at the lengths of the models: patch tokens with a message key, causal text, message and
// integration tokens, and the prompt generator's cross attention.
#include "ops/attention.h"

#include "timing.h"

namespace bench {
namespace {

struct Self {
  int64_t batch, queries, keys, heads;
  bool causal;
};
constexpr Self kSelf[] = {{512, 50, 51, 12, false},     {256, 197, 198, 12, false},
                          {128, 257, 258, 16, false},   {16, 577, 578, 16, false},
                          {400, 77, 77, 8, true},       {64 * 12, 8, 8, 12, false},
                          {32 * 12, 16, 16, 12, false}, {16 * 12, 32, 32, 12, false}};
struct Cross {
  int64_t batch, queries, keys, heads;
};
constexpr Cross kCross[] = {{32, 400, 49, 8}, {32, 400, 196, 8}, {16, 600, 256, 12}};

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
  const double forward = microseconds(
      sets, [&](int i) { native::self_attention_forward(qkv[i], s.heads, s.queries, s.causal); });
  report({"self", "forward", sizes, dtype, 2 * product, qkv_bytes + out_bytes, forward});
  const double backward = microseconds(sets, [&](int i) {
    native::self_attention_backward(dout[i], qkv[i], out[i], log_sum[i], s.heads, s.queries, s.causal);
  });
  report({"self", "backward", sizes, dtype, 5 * product, 2 * qkv_bytes + 2 * out_bytes, backward});
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
  report({"cross", "forward", sizes, dtype, 2 * product, 2 * q_bytes + kv_bytes,
          microseconds(1, [&](int) { native::attention_forward(q, k, v, s.heads, false); })});
  const Tensor& result = out;
  const Tensor& sums = log_sum;
  report({"cross", "backward", sizes, dtype, 5 * product, 4 * q_bytes + 2 * kv_bytes,
          microseconds(
              1, [&](int) { native::attention_backward(dout, q, k, v, result, sums, s.heads, false); })});
}

}  // namespace

void attention_suite(bool quick) {
  for (Self s : kSelf) {
    if (quick) s.batch = (s.batch + 31) / 32;
    self_attention(s, DType::bfloat16);
  }
  for (Cross s : kCross) {
    if (quick) s.batch = (s.batch + 31) / 32;
    cross_attention(s, DType::bfloat16);
  }
}

}  // namespace bench
