// oneDNN primitives are compiled code for one shape and configuration, so they are kept, the latest 256 of
// them, together with the descriptions of their operands. Their scratch memory is one buffer per thread, as
// large as the largest asked.
#include "cpu/gemm.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <dnnl.hpp>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "cpu/amx_gemm.h"
#include "cpu/baseline_gemm.h"
#include "cpu/blocked_gemm.h"
#include "cpu/blocks.h"
#include "cpu/column_sum.h"
#include "cpu/epilogue.h"
#include "cpu/few_rows_gemm.h"
#include "cpu/float_rows.h"
#include "cpu/isa.h"

namespace native {
namespace {

constexpr size_t kCachedPrimitives = 256;

using Key = std::array<int64_t, 13>;

struct Product {
  dnnl::matmul primitive;
  std::unordered_map<int, dnnl::memory> arguments;
  size_t scratch_bytes = 0;
  uint64_t last_use = 0;
};

// What a thread keeps between products.
struct Workspace {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::map<Key, Product> products;
  uint64_t uses = 0;
  std::unique_ptr<void, Free> scratch;
  size_t scratch_bytes = 0;
};

Workspace& workspace() {
  thread_local Workspace workspace;
  return workspace;
}

dnnl::memory::data_type data_type(DType dtype) {
  return dtype == DType::float32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;
}

dnnl::memory::desc describe(int64_t batch, int64_t rows, int64_t columns, const GemmOperand& x, DType dtype) {
  if (batch == 1) return {{rows, columns}, data_type(dtype), dnnl::memory::dims{x.row, x.column}};
  const int64_t stride = x.batch ? x.batch : rows * columns;
  return {
      {x.batch ? batch : 1, rows, columns}, data_type(dtype), dnnl::memory::dims{stride, x.row, x.column}};
}

// The second operand of the i-th operation after the product.
int epilogue_argument(int i) { return DNNL_ARG_ATTR_MULTIPLE_POST_OP(i) | DNNL_ARG_SRC_1; }

int factor_argument(const GemmArgs& g) { return epilogue_argument(g.alpha != 1); }

int residual_argument(const GemmArgs& g) { return epilogue_argument((g.alpha != 1) + (g.factor != nullptr)); }

// oneDNN 3 describes and chooses a primitive in one step, and has no scale of its own for post-operations.
template <class... Operands>
dnnl::matmul::primitive_desc choose(const dnnl::engine& engine, const dnnl::primitive_attr& attributes,
                                    const Operands&... operands) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine, operands..., attributes};
#else
  return {dnnl::matmul::desc(operands...), attributes, engine};
#endif
}

void append_scaling(dnnl::post_ops& epilogue, float factor) {
#if DNNL_VERSION_MAJOR >= 3
  epilogue.append_eltwise(dnnl::algorithm::eltwise_linear, factor, 0);
#else
  epilogue.append_eltwise(1, dnnl::algorithm::eltwise_linear, factor, 0);
#endif
}

Product compile(const GemmArgs& g, const dnnl::engine& engine) {
  const GemmOperand c{g.c, g.m * g.n, g.n, 1};
  const auto a_desc = describe(g.batch, g.m, g.k, g.a, g.dtype),
             b_desc = describe(g.batch, g.k, g.n, g.b, g.dtype);
  const auto c_desc = describe(g.batch, g.m, g.n, c, g.result_dtype);
  dnnl::memory::dims bias_shape(g.batch == 1 ? 2 : 3, 1);
  bias_shape.back() = g.n;
  const dnnl::memory::dims bias_strides(bias_shape.size(), 1);
  const dnnl::memory::desc bias_desc(bias_shape, dnnl::memory::data_type::f32, bias_strides);

  dnnl::post_ops epilogue;
  if (g.alpha != 1) append_scaling(epilogue, g.alpha);
  if (g.factor) epilogue.append_binary(dnnl::algorithm::binary_mul, c_desc);
  if (g.residual) epilogue.append_binary(dnnl::algorithm::binary_add, c_desc);
  if (g.accumulate) epilogue.append_sum(1.0f);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attributes.set_post_ops(epilogue);

  const auto chosen = g.bias ? choose(engine, attributes, a_desc, b_desc, bias_desc, c_desc)
                             : choose(engine, attributes, a_desc, b_desc, c_desc);
  Product product;
  product.primitive = dnnl::matmul(chosen);
  const auto argument = [&](int index, const dnnl::memory::desc& d) {
    product.arguments.emplace(index, dnnl::memory(d, engine, nullptr));
  };
  argument(DNNL_ARG_SRC, a_desc);
  argument(DNNL_ARG_WEIGHTS, b_desc);
  argument(DNNL_ARG_DST, c_desc);
  argument(DNNL_ARG_SCRATCHPAD, chosen.scratchpad_desc());
  if (g.bias) argument(DNNL_ARG_BIAS, bias_desc);
  if (g.factor) argument(factor_argument(g), c_desc);
  if (g.residual) argument(residual_argument(g), c_desc);
  product.scratch_bytes = chosen.scratchpad_desc().get_size();
  return product;
}

Product& find_product(const GemmArgs& g, Workspace& own) {
  int32_t alpha_bits;
  std::memcpy(&alpha_bits, &g.alpha, 4);
  const int64_t flags = static_cast<int64_t>(g.dtype) | static_cast<int64_t>(g.result_dtype) << 4 |
                        int64_t{g.bias != nullptr} << 8 | int64_t{g.residual != nullptr} << 9 |
                        int64_t{g.factor != nullptr} << 10 | int64_t{g.accumulate} << 11;
  const Key key{g.batch,
                g.m,
                g.n,
                g.k,
                g.a.batch,
                g.a.row,
                g.a.column,
                g.b.batch,
                g.b.row,
                g.b.column,
                alpha_bits,
                flags,
                omp_get_max_threads()};
  auto found = own.products.find(key);
  if (found == own.products.end()) {
    if (own.products.size() >= kCachedPrimitives) {
      own.products.erase(std::min_element(
          own.products.begin(), own.products.end(),
          [](const auto& x, const auto& y) { return x.second.last_use < y.second.last_use; }));
    }
    found = own.products.emplace(key, compile(g, own.engine)).first;
  }
  found->second.last_use = ++own.uses;
  return found->second;
}

void* scratch(Workspace& own, size_t bytes) {
  if (bytes > own.scratch_bytes) {
    own.scratch.reset();
    own.scratch_bytes = 0;
    own.scratch.reset(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
    CHECK(own.scratch, "ERR_OUT_OF_MEMORY", "matrix product: no memory for ", bytes, " bytes of scratch");
    own.scratch_bytes = bytes;
  }
  return own.scratch.get();
}

void execute(const GemmArgs& g) {
  try {
    Workspace& own = workspace();
    Product& product = find_product(g, own);
    const auto set = [&](int index, const void* data) {
      product.arguments.at(index).set_data_handle(const_cast<void*>(data));
    };
    set(DNNL_ARG_SRC, g.a.data);
    set(DNNL_ARG_WEIGHTS, g.b.data);
    set(DNNL_ARG_DST, g.c);
    set(DNNL_ARG_SCRATCHPAD, scratch(own, product.scratch_bytes));
    if (g.bias) set(DNNL_ARG_BIAS, g.bias);
    if (g.factor) set(factor_argument(g), g.factor);
    if (g.residual) set(residual_argument(g), g.residual);
    product.primitive.execute(own.stream, product.arguments);
    own.stream.wait();
  } catch (const dnnl::error& error) {
    fail(error.status == dnnl_out_of_memory ? "ERR_OUT_OF_MEMORY" : "ERR_INTERNAL", "matrix product [",
         g.batch, ", ", g.m, ", ", g.k, "] x [", g.batch, ", ", g.k, ", ", g.n, "] in ", dtype_name(g.dtype),
         ": oneDNN: ", error.what());
  }
}

// Elements from the first to the last that an operand of `batch` matrices touches.
int64_t extent(const GemmOperand& x, int64_t batch, int64_t rows, int64_t columns) {
  return (x.batch ? x.batch * (batch - 1) : 0) + x.row * (rows - 1) + x.column * (columns - 1) + 1;
}

// bfloat16 numbers as float32, and float32 numbers on their way to bfloat16, in memory that a thread keeps.
class Wide {
 public:
  float* of_size(int64_t count) {
    if (count > size_) {
      size_ = 0;
      numbers_ = new_buffer<float>(count);
      size_ = count;
    }
    return numbers_.get();
  }

  float* of(const void* data, int64_t count) {
    float* const numbers = of_size(count);
    parallel_for(count, 1 << 14, [&](int64_t begin, int64_t end) {
      read_floats(data, DType::bfloat16, begin, end - begin, numbers + begin);
    });
    return numbers;
  }

 private:
  Buffer<float> numbers_;
  int64_t size_ = 0;
};

// oneDNN's own QuickGELU has no derivative beside it, and other last bits than ours: the activation is a pass
// over c, so that it is the same with and without a slope.
void execute_then_activate(const GemmArgs& g) {
  constexpr int64_t kElements = 8192;
  GemmArgs product = g;
  product.quick_gelu = false;
  product.slope = nullptr;
  product.factor = product.residual = nullptr;
  gemm(product);
  const int64_t count = g.batch * g.m * g.n;
  parallel_for((count + kElements - 1) / kElements, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      apply_epilogue({true, g.slope, g.factor, g.residual}, g.c, g.result_dtype,
                     {block * kElements, 1, std::min(kElements, count - block * kElements), 0});
    }
  });
}

// Below AVX-512 nothing multiplies bfloat16: the operands are widened and the result is rounded.
void execute_widened(const GemmArgs& g) {
  thread_local Wide a, b, c, factor, residual;
  GemmArgs wide = g;
  wide.dtype = wide.result_dtype = DType::float32;
  wide.a_sum = nullptr;  // has been taken
  wide.a.data = a.of(g.a.data, extent(g.a, g.batch, g.m, g.k));
  wide.b.data = b.of(g.b.data, extent(g.b, g.batch, g.k, g.n));
  if (g.result_dtype == DType::float32) return gemm(wide);
  const int64_t count = g.batch * g.m * g.n;
  float* const sums = c.of_size(count);
  wide.c = sums;
  if (g.factor) wide.factor = factor.of(g.factor, count);
  if (g.residual) wide.residual = residual.of(g.residual, count);
  gemm(wide);
  parallel_for(count, 1 << 14, [&](int64_t begin, int64_t end) {
    write_floats(sums + begin, g.c, DType::bfloat16, begin, end - begin);
  });
}

}  // namespace

void gemm(const GemmArgs& args) {
  const bool by_amx = amx_gemm_applies(args);
  if (args.a_sum && (by_amx || !blocked_gemm_applies(args))) {
    column_sum(args.a.data, args.dtype, args.k, args.m, args.a_sum, args.accumulate_a_sum);
  }
  if (args.batch == 0 || args.m == 0 || args.n == 0) return;
  if (args.k == 0) {
    // A sum of nothing: multiply by one column of zeros, so that the epilogue stays the same.
    GemmArgs empty = args;
    empty.batch = empty.k = 1;
    empty.a_sum = nullptr;
    empty.m *= args.batch;
    const std::vector<float> zeros(static_cast<size_t>(std::max(empty.m, empty.n)));
    empty.a = {zeros.data(), 0, 1, 1};
    empty.b = {zeros.data(), 0, args.n, 1};
    return gemm(empty);
  }
  if (by_amx) return amx_gemm(args);
  if (args.b_in_panels) return blocked_gemm(args);
  if (few_rows_gemm_applies(args)) return few_rows_gemm(args);
  if (blocked_gemm_applies(args)) return blocked_gemm(args);
  if (baseline_gemm_applies()) return baseline_gemm(args);
  if (args.quick_gelu) return execute_then_activate(args);
  if (args.dtype == DType::bfloat16 && !uses_avx512()) return execute_widened(args);
  execute(args);
}

}  // namespace native
