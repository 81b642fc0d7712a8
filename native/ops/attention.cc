#include "ops/attention.h"

#include "core/launch.h"
#include "ops/check.h"

namespace native {

DEFINE_KERNEL(attention_forward, AttentionArgs);
DEFINE_KERNEL(attention_backward, AttentionBackwardArgs);

namespace {

void check_operand(const Tensor& x, int64_t width, int64_t heads) {
  check_float("attention", "an operand", x);
  CHECK(x.ndim() == 3, "ERR_SHAPE", "attention: operands must be [N, L, D], got ", x.describe());
  CHECK(heads >= 1 && x.size(2) % (heads * width) == 0 && x.size(2) > 0, "ERR_SHAPE",
        "attention: the last dimension must be a positive multiple of ", width, " x ", heads, " heads, got ",
        x.describe());
  CHECK(x.size(1) >= 1, "ERR_SHAPE", "attention: sequences must not be empty, got ", x.describe());
}

// Pointers and sizes of separate operands; out and log_sum are left null.
AttentionArgs separate(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads, bool causal) {
  for (const Tensor* x : {&q, &k, &v}) check_operand(*x, 1, heads);
  CHECK(k.shape() == v.shape() && k.dtype() == v.dtype(), "ERR_SHAPE", "attention: k ", k.describe(),
        " and v ", v.describe(), " must be alike");
  CHECK(q.dtype() == k.dtype() && q.size(2) == k.size(2) && (q.size(0) == k.size(0) || q.size(0) == 1),
        "ERR_SHAPE", "attention: q must be [", k.size(0), " or 1, Lq, ", k.size(2), "] for k ", k.describe(),
        ", got ", q.describe());
  const int64_t dim = k.size(2);
  const bool shared = q.size(0) == 1 && k.size(0) != 1;
  return {q.raw(),   k.raw(),         v.raw(), shared ? 0 : q.size(1) * dim,
          dim,       k.size(1) * dim, dim,     nullptr,
          nullptr,   k.size(0),       heads,   q.size(1),
          k.size(1), dim / heads,     causal,  q.dtype()};
}

AttentionArgs packed(const Tensor& qkv, int64_t heads, int64_t queries, bool causal) {
  check_operand(qkv, 3, heads);
  CHECK(queries >= 1 && queries <= qkv.size(1), "ERR_ARGUMENT", "self_attention: queries must be 1 to ",
        qkv.size(1), ", got ", queries);
  const int64_t dim = qkv.size(2) / 3;
  const char* base = static_cast<const char*>(qkv.raw());
  const int64_t part = dim * static_cast<int64_t>(dtype_size(qkv.dtype()));
  const int64_t row = 3 * dim, batch = qkv.size(1) * row;
  return {base,    base + part, base + 2 * part, batch,   row,         batch,       row,    nullptr,
          nullptr, qkv.size(0), heads,           queries, qkv.size(1), dim / heads, causal, qkv.dtype()};
}

std::tuple<Tensor, Tensor> forward(AttentionArgs args, const Tensor& q, const Tensor& k, const Tensor& v) {
  Tensor out = empty({args.batch, args.queries, args.heads * args.head_size}, args.dtype, q.device());
  Tensor log_sum = empty({args.batch, args.heads, args.queries}, DType::float32, q.device());
  args.out = out.raw();
  args.log_sum = log_sum.data<float>();
  launch(attention_forward_kernel, args, {&q, &k, &v});
  return {out, log_sum};
}

void check_gradient(const AttentionArgs& args, const Tensor& dout, const Tensor& out, const Tensor& log_sum) {
  const Shape shape{args.batch, args.queries, args.heads * args.head_size};
  CHECK(dout.dtype() == args.dtype && dout.shape() == shape, "ERR_SHAPE", "attention: gradient ",
        dout.describe(), " does not belong to the operands");
  CHECK(out.dtype() == args.dtype && out.shape() == shape, "ERR_SHAPE", "attention: result ", out.describe(),
        " does not belong to the operands");
  CHECK(log_sum.dtype() == DType::float32 && log_sum.shape() == (Shape{args.batch, args.heads, args.queries}),
        "ERR_SHAPE", "attention: log_sum ", log_sum.describe(), " does not belong to the operands");
}

}  // namespace

std::tuple<Tensor, Tensor> attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads,
                                             bool causal) {
  return forward(separate(q, k, v, heads, causal), q, k, v);
}

std::tuple<Tensor, Tensor, Tensor> attention_backward(const Tensor& dout, const Tensor& q, const Tensor& k,
                                                      const Tensor& v, const Tensor& out,
                                                      const Tensor& log_sum, int64_t heads, bool causal) {
  AttentionArgs args = separate(q, k, v, heads, causal);
  check_gradient(args, dout, out, log_sum);
  args.out = out.raw();
  args.log_sum = log_sum.data<float>();
  Tensor dq = empty_like(q), dk = empty_like(k), dv = empty_like(v);
  launch(attention_backward_kernel,
         AttentionBackwardArgs{args, dout.raw(), dq.raw(), dk.raw(), dv.raw(), args.queries},
         {&dout, &q, &k, &v, &out, &log_sum});
  return {dq, dk, dv};
}

std::tuple<Tensor, Tensor> self_attention_forward(const Tensor& qkv, int64_t heads, int64_t queries,
                                                  bool causal) {
  return forward(packed(qkv, heads, queries, causal), qkv, qkv, qkv);
}

Tensor self_attention_backward(const Tensor& dout, const Tensor& qkv, const Tensor& out,
                               const Tensor& log_sum, int64_t heads, int64_t queries, bool causal) {
  AttentionArgs args = packed(qkv, heads, queries, causal);
  check_gradient(args, dout, out, log_sum);
  args.out = out.raw();
  args.log_sum = log_sum.data<float>();
  Tensor dqkv = empty_like(qkv);
  const int64_t part = qkv.size(2) / 3 * static_cast<int64_t>(dtype_size(qkv.dtype()));
  char* base = static_cast<char*>(dqkv.raw());
  launch(attention_backward_kernel,
         AttentionBackwardArgs{args, dout.raw(), base, base + part, base + 2 * part, qkv.size(1)},
         {&dout, &qkv, &out, &log_sum});
  return dqkv;
}

}  // namespace native
