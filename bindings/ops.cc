// The op table: one line per native function. lib/native/types.ts is generated from it (npm run gen:types).
#include "bind.h"
#include "ops/copy.h"
#include "ops/layer_norm.h"

namespace bindings {

std::vector<Binding> op_bindings() {
  return {
      BIND(full, "shape", "value", "dtype", "device"),
      BIND(cast, "x", "dtype"),
      BIND(copy_into, "y", "x"),
      BIND(accumulate, "y", "x"),
      BIND(layer_norm_forward, "x", "append", "weight", "bias", "eps"),
      BIND(layer_norm_backward, "dy", "x", "append", "weight", "mean", "rstd", "residual"),
  };
}

}  // namespace bindings
