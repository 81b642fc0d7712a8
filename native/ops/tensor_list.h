// Functions of a whole list of tensors in one queued task: what an optimizer does to parameters and
// gradients.
#pragma once

#include <memory>
#include <optional>

#include "core/kernel.h"

namespace native {

inline constexpr int64_t kListChunk =
    16384;  // elements; fixed, so that sums do not depend on the thread count

// A piece of one tensor of the list; the chunks are in list order.
struct ListChunk {
  void* data;
  int64_t count;
  DType dtype;  // a floating type
};

struct TensorListArgs {
  std::shared_ptr<const std::vector<ListChunk>> chunks;
  const float* factor;  // [] for scale_in_place
  float* sum;           // [] for grad_norm
  int32_t* finite;      // [] for all_finite
};

DECLARE_KERNEL(grad_norm, TensorListArgs);
DECLARE_KERNEL(scale_in_place, TensorListArgs);
DECLARE_KERNEL(all_finite, TensorListArgs);

// The Euclidean norm of all elements together, float32 scalar; squares are added in float64, in order.
Tensor grad_norm(const std::vector<Tensor>& list);

// Multiplies every element by the float32 scalar `factor`.
void scale_in_place(const std::vector<Tensor>& list, const Tensor& factor);

// int32 scalar: 1 when no element is NaN or infinite, else 0.
Tensor all_finite(const std::vector<Tensor>& list);

struct AdamwChunk {
  float* param;       // updated
  const void* grad;   // a floating type
  float* exp_avg;     // first moment, updated
  float* exp_avg_sq;  // second moment, updated
  void* copy;         // receives the parameter in 16 bits, or null
  int64_t count;
  int32_t tensor;  // its place in the list
  DType grad_dtype, copy_dtype;
};

struct AdamwArgs {
  std::shared_ptr<const std::vector<AdamwChunk>> chunks;
  std::shared_ptr<const std::vector<int64_t>> rows;  // of each tensor in steps and rates
  int64_t* steps;       // [rows], updates so far; those of the list are counted up
  const double* rates;  // [rows, 2], learning rate and weight decay
  const int32_t* when;  // [] or null; where it is 0 nothing changes
  double beta1, beta2;
  float eps;
};

// What an update of one tensor takes besides beta and eps.
struct AdamwFactors {
  float decay;            // 1 - lr * weight decay
  float step_size;        // lr / (1 - beta1^step)
  float root_correction;  // sqrt(1 - beta2^step)
};

DECLARE_KERNEL(adamw_step, AdamwArgs);

// One update of Adam with decoupled weight decay (Loshchilov and Hutter, 2019) in the order of
// torch.optim.AdamW: p *= 1 - lr wd; m, v; p -= lr / (1 - beta1^step) m / (sqrt(v) / sqrt(1 - beta2^step) +
// eps). Parameters and moments are float32, updated in place. All that differs from update to update is read
// on the device, so that a recorded update can be replayed: `steps`, int64 [R], how many updates each
// parameter has had; `rates`, int64 [R, 2], the bits of the float64 learning rate and weight decay (tensors
// hold no float64); `when`, int32 [], if it is given and 0, leaves everything as it is. rows[i] is the row of
// params[i] in both tables; no two parameters share one. copies[i], where it is given, is of the shape of
// params[i] in bfloat16 or float16 and receives the updated parameter, rounded to nearest even.
void adamw_step(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                const std::vector<Tensor>& exp_avg, const std::vector<Tensor>& exp_avg_sq,
                const std::vector<int64_t>& rows, const Tensor& steps, const Tensor& rates, double beta1,
                double beta2, double eps, const std::optional<Tensor>& when,
                const std::vector<std::optional<Tensor>>& copies);

}  // namespace native
