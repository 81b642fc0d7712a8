// Every kind of kernel, tile, cluster and number of slabs at the products of the models: what
// bench/cuda/tile_table.mjs makes the measured table of. The row that the estimates would choose is marked.
#include <algorithm>
#include <optional>

#include "core/queue.h"
#include "gemm/gemm_choice.h"
#include "gemm/gemm_sm80.h"
#include "gemm/gemm_sm90.h"
#include "report.h"
#include "runtime/context.h"
#include "shapes.h"

namespace bench {
namespace {

using native::cuda::gemm_supports;
using native::cuda::GemmArgs;
using native::cuda::GemmChoice;
using native::cuda::Major;

constexpr const char* kSm90TileNames[native::cuda::kSm90TileKinds] = {"ping-pong 128x192", "128x256",
                                                                      "256x192", "128x128"};
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

std::string tile_name(const GemmChoice& choice) {
  if (choice.kernels == 90) return kSm90TileNames[choice.tile];
  const native::cuda::TileKind& tile = native::cuda::gemm_sm80_tiles()[static_cast<size_t>(choice.tile)];
  return native::concat("mma ", tile.m, "x", tile.n);
}

// What can be run and is worth a try: slabs give every multiprocessor up to four tiles; tiles that are small
// for this product are left out, and beside wgmma so are those of mma unless tiles are few.
std::vector<GemmChoice> choices(const GemmArgs& args) {
  const int multiprocessors = native::cuda::current_context().multiprocessors();
  const bool wgmma = native::cuda::current_context().capability() >= 90;
  const bool float_result = args.c_dtype == DType::float32;
  const int64_t square_tiles = native::cuda::tiles_over(args.m, 128) * native::cuda::tiles_over(args.n, 128);
  std::vector<GemmChoice> found;
  const auto add = [&](const GemmChoice& choice, int64_t m, int64_t n, int64_t depth) {
    const int64_t tiles = native::cuda::tiles_over(args.m, m) * native::cuda::tiles_over(args.n, n);
    const int64_t steps = native::cuda::tiles_over(args.k, depth);
    if (choice.slabs > 1 && (tiles * choice.slabs > 4 * multiprocessors || choice.slabs > steps / 4)) return;
    if (choice.slabs == 1 && m * n < 128 * 128 && tiles > 8 * multiprocessors) return;
    if (choice.kernels == 80 && wgmma && (float_result || square_tiles > multiprocessors)) return;
    if (gemm_supports(args, choice)) found.push_back(choice);
  };
  for (const int slabs : {1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 16, 22}) {
    for (int tile = 0; tile < native::cuda::kSm90TileKinds; ++tile) {
      const native::cuda::Sm90TileShape shape = native::cuda::kSm90TileShapes[tile];
      for (const int cluster : {1, 2}) {
        for (const bool apart : {false, true}) add({90, tile, cluster, slabs, apart}, shape.m, shape.n, 64);
      }
    }
    const auto& tiles = native::cuda::gemm_sm80_tiles();
    for (int tile = 0; tile < static_cast<int>(tiles.size()); ++tile) {
      const native::cuda::TileKind& shape = tiles[static_cast<size_t>(tile)];
      add({80, tile, 1, slabs}, shape.m, shape.n, shape.depth);
    }
  }
  // The estimates may choose what is left out here.
  const std::optional<GemmChoice> rule = native::cuda::estimated_gemm(args);
  if (rule && std::find(found.begin(), found.end(), *rule) == found.end()) found.push_back(*rule);
  return found;
}

double time_of(const GemmArgs& shape, const GemmChoice& choice, const std::vector<Tensor>& a,
               const std::vector<Tensor>& b, const Tensor& c) {
  return microseconds(
      static_cast<int>(a.size()),
      [&](int i) {
        GemmArgs args = shape;
        args.a.data = a[static_cast<size_t>(i)].raw();
        args.b.data = b[static_cast<size_t>(i)].raw();
        args.c = c.raw();
        native::backend(native::DeviceType::cuda).submit({"gemm", {}}, [args, choice] {
          native::cuda::run_gemm(args, choice);
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
  const std::optional<GemmChoice> rule = native::cuda::estimated_gemm(shape);
  const double flops = 2.0 * shape.m * shape.n * shape.k;
  for (const GemmChoice& choice : choices(shape)) {
    const bool chosen = rule == choice;
    report({suite,
            native::concat(kKindNames[static_cast<int>(kind)], " ", tile_name(choice), " cluster ",
                           choice.cluster, " slabs ", choice.slabs, choice.apart ? " apart" : "",
                           chosen ? " (rule)" : ""),
            {{"m", shape.m},
             {"n", shape.n},
             {"k", shape.k},
             {"kernels", choice.kernels},
             {"tile", choice.tile},
             {"cluster", choice.cluster},
             {"slabs", choice.slabs},
             {"apart", choice.apart}},
            kDType,
            flops,
            bytes,
            time_of(shape, choice, a, b, c),
            predicted_product(flops, bytes, shape.k, kind == Kind::weight)});
  }
}

}  // namespace

void gemm_sweep_suite() {
  const auto sweep_layers = [](const Model& model, Kind kind) {
    for (const Layer& layer : kLayers) {
      sweep(native::concat("sweep ", model.name, " ", layer.name), kind, rows_of(model, layer),
            layer.in * model.width, layer.out * model.width);
    }
  };
  for (const Model& model : models()) {
    for (const Kind kind : {Kind::forward, Kind::input, Kind::weight}) sweep_layers(model, kind);
  }
  for (const Model& model : single_videos()) sweep_layers(model, Kind::forward);
}

}  // namespace bench
