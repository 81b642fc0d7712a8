// Every tile, cluster and number of slabs of gemm_sm90 at the products of the models' training steps: what
// the rates in cuda/gemm/gemm_sm90.cu are corrected by. The row that the rule would choose is marked.
#include <cstdio>

#include "core/queue.h"
#include "gemm/gemm_sm90.h"
#include "report.h"
#include "runtime/context.h"
#include "shapes.h"

namespace bench {
namespace {

using native::cuda::choose_sm90;
using native::cuda::gemm_sm90_supports;
using native::cuda::GemmArgs;
using native::cuda::Major;
using native::cuda::Sm90Choice;
using native::cuda::Sm90TileKind;

constexpr const char* kTileNames[native::cuda::kSm90TileKinds] = {"ping-pong 128x192", "128x256", "256x192",
                                                                  "128x128"};
constexpr DType kDType = DType::bfloat16;

// y = x Wᵀ, dx = dy W, dW = dyᵀ x for a linear layer.
enum class Kind { forward, input, weight };
constexpr const char* kKindNames[] = {"forward", "input", "weight"};

GemmArgs arguments(Kind kind, int64_t rows, int64_t in, int64_t out) {
  GemmArgs args{};
  args.batch = 1;
  args.dtype = args.c_dtype = kDType;
  if (kind == Kind::forward) {
    args.m = rows, args.n = out, args.k = in;
    args.a = {nullptr, Major::k, in};
    args.b = {nullptr, Major::k, in};
  } else if (kind == Kind::input) {
    args.m = rows, args.n = in, args.k = out;
    args.a = {nullptr, Major::k, out};
    args.b = {nullptr, Major::mn, in};
  } else {
    args.m = out, args.n = in, args.k = rows;
    args.a = {nullptr, Major::mn, out};
    args.b = {nullptr, Major::mn, in};
    args.c_dtype = DType::float32;
    args.epilogue.accumulate = true;
  }
  args.c_pitch = args.n;
  return args;
}

double time_of(const GemmArgs& shape, const Sm90Choice& choice, const std::vector<Tensor>& a,
               const std::vector<Tensor>& b, const Tensor& c) {
  return microseconds(
      static_cast<int>(a.size()),
      [&](int i) {
        GemmArgs args = shape;
        args.a.data = a[static_cast<size_t>(i)].raw();
        args.b.data = b[static_cast<size_t>(i)].raw();
        args.c = c.raw();
        native::backend(native::DeviceType::cuda).submit({"gemm_sm90", {}}, [args, choice] {
          native::cuda::gemm_sm90(args, choice);
        });
      },
      kSweep);
}

void sweep(const std::string& suite, Kind kind, int64_t rows, int64_t in, int64_t out) {
  const GemmArgs shape = arguments(kind, rows, in, out);
  const double bytes = 2.0 * (shape.m + shape.n) * shape.k +
                       static_cast<double>(native::dtype_size(shape.c_dtype)) * shape.m * shape.n;
  std::vector<Tensor> a, b;
  for (int i = 0; i < sets_beyond_cache(bytes); ++i) {
    a.push_back(normal({shape.m, shape.k}, kDType));
    b.push_back(normal({shape.n, shape.k}, kDType, 0.03));
  }
  const Tensor c = normal({shape.m, shape.n}, shape.c_dtype);
  const Sm90Choice rule = choose_sm90(shape);
  for (int tile = 0; tile < native::cuda::kSm90TileKinds; ++tile) {
    for (const int cluster : {1, 2}) {
      for (const int slabs : {1, 2, 3, 4, 6, 7, 8, 11, 12, 16, 22}) {
        const Sm90Choice choice{static_cast<Sm90TileKind>(tile), cluster, slabs};
        if (!gemm_sm90_supports(shape, choice)) continue;
        const bool chosen = choice.tile == rule.tile && cluster == rule.cluster && slabs == rule.slabs;
        const std::string name =
            native::concat(kKindNames[static_cast<int>(kind)], " ", kTileNames[tile], " cluster ", cluster,
                           " slabs ", slabs, chosen ? " (rule)" : "");
        report({suite,
                name,
                {{"m", shape.m}, {"n", shape.n}, {"k", shape.k}},
                kDType,
                2.0 * shape.m * shape.n * shape.k,
                bytes,
                time_of(shape, choice, a, b, c),
                predicted_product(2.0 * shape.m * shape.n * shape.k, bytes, shape.k, kind == Kind::weight)});
      }
    }
  }
}

}  // namespace

void gemm_sweep_suite() {
  if (native::cuda::current_context().capability() < 90) {
    std::fprintf(stderr,
                 "cuda_bench: the sweep is of the tiles for sm_90a, which this device does not run\n");
    return;
  }
  for (const Model& model : models()) {
    for (const Kind kind : {Kind::forward, Kind::input, Kind::weight}) {
      for (const Layer& layer : kLayers) {
        sweep(native::concat("sweep ", model.name, " ", layer.name), kind, rows_of(model, layer),
              layer.in * model.width, layer.out * model.width);
      }
    }
  }
}

}  // namespace bench
