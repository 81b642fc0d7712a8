// The op table: one line per native function. lib/native/types.ts is generated from it (npm run gen:types).
#include "bind.h"
#include "ops/attention.h"
#include "ops/binary.h"
#include "ops/copy.h"
#include "ops/cross_entropy.h"
#include "ops/gather.h"
#include "ops/l2_normalize.h"
#include "ops/layer_norm.h"
#include "ops/layout.h"
#include "ops/linear.h"
#include "ops/matmul.h"
#include "ops/patch_embed.h"
#include "ops/pixels.h"
#include "ops/random.h"
#include "ops/reduce.h"
#include "ops/softmax.h"
#include "ops/tensor_list.h"
#include "ops/unary.h"

namespace bindings {

std::vector<Binding> op_bindings() {
  return {
      BIND(attention_forward, "q", "k", "v", "heads", "causal"),
      BIND(attention_backward, "dout", "q", "k", "v", "out", "log_sum", "heads", "causal"),
      BIND(self_attention_forward, "qkv", "heads", "queries", "causal"),
      BIND(self_attention_backward, "dout", "qkv", "out", "log_sum", "heads", "queries", "causal"),
      BIND(add, "a", "b"),
      BIND(binary, "op", "a", "b"),
      BIND(full, "shape", "value", "dtype", "device"),
      BIND(cast, "x", "dtype"),
      BIND(copy_into, "y", "x"),
      BIND(accumulate, "y", "x"),
      BIND(cross_entropy, "logits", "targets", "smoothing", "gradient"),
      BIND(embedding_forward, "ids", "table"),
      BIND(embedding_backward, "dy", "ids", "table_rows", "into"),
      BIND(gather_rows_forward, "x", "index"),
      BIND(gather_rows_backward, "dy", "index", "length"),
      BIND(l2_normalize_forward, "x", "eps"),
      BIND(l2_normalize_backward, "dy", "x", "norm", "eps"),
      BIND(layer_norm_forward, "x", "append", "weight", "bias", "eps"),
      BIND(layer_norm_backward, "dy", "x", "append", "weight", "mean", "rstd", "residual"),
      BIND(concatenate, "list", "axis"),
      BIND(slice, "x", "axis", "start", "end"),
      BIND(slice_backward, "dy", "shape", "axis", "start"),
      BIND(permute, "x", "axes"),
      BIND(expand, "x", "shape"),
      BIND(linear_forward, "x", "weight", "bias", "residual", "activation", "save_slope"),
      BIND(linear_backward_slope, "dy", "slope"),
      BIND(linear_backward_input, "du", "weight", "slope"),
      BIND(linear_backward_weight, "du", "x", "into", "bias", "bias_into"),
      BIND(linear_backward_bias, "du", "into"),
      BIND(matmul_forward, "a", "b", "transpose_a", "transpose_b", "alpha", "sum_batch"),
      BIND(patch_embed_rows, "images", "patch"),
      BIND(patch_embed_images, "rows", "height", "width", "patch"),
      BIND(pixels, "frames", "edits", "width", "height", "mean", "std", "dtype"),
      BIND(random_uniform, "shape", "low", "high", "seed", "stream", "device"),
      BIND(random_normal, "shape", "mean", "deviation", "seed", "stream", "device"),
      BIND(random_truncated_normal, "shape", "mean", "deviation", "low", "high", "seed", "stream", "device"),
      BIND(drop_path, "x", "rate", "samples", "seed", "stream", "offset"),
      BIND(reduce, "op", "x", "axes", "dtype"),
      BIND(sum_to, "x", "shape", "dtype"),
      BIND(argmax, "x", "axis"),
      BIND(softmax_forward, "x", "logarithm"),
      BIND(softmax_backward, "dy", "y", "logarithm"),
      BIND(grad_norm, "list"),
      BIND(scale_in_place, "list", "factor"),
      BIND(all_finite, "list"),
      BIND(adamw_step, "params", "grads", "exp_avg", "exp_avg_sq", "rows", "steps", "rates", "beta1", "beta2",
           "eps", "when", "copies"),
      BIND(unary_forward, "op", "x"),
      BIND(unary_backward, "op", "dy", "saved"),
  };
}

}  // namespace bindings
