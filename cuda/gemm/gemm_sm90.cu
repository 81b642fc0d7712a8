// Host side of gemm_sm90: which products it takes, which tile, the tensor maps.
#include <algorithm>
#include <limits>

#include "common/clear.h"
#include "gemm/gemm_sm90.h"
#include "gemm/gemm_sm90_launch.h"
#include "gemm/split_k.h"
#include "gemm/tile_table.h"
#include "runtime/context.h"
#include "runtime/tensor_map.h"

namespace native::cuda {
namespace {

constexpr int kStepK = 64;

// Rates relative to each other, and what a tile costs beside its products, as depth of k: filling the
// pipeline and writing the result, which ping-pong hides under the other tile's products.
struct TileFacts {
  float rate;
  int overhead;
};
constexpr TileFacts kTileFacts[kSm90TileKinds] = {{0.96f, 48}, {1.0f, 192}, {1.0f, 256}, {0.8f, 128}};
static_assert(static_cast<int>(Sm90TileKind::cooperative_128x128) == kSm90TileKinds - 1,
              "facts in enum order");

bool float_result(const GemmArgs& args) { return args.c_dtype == DType::float32; }

// The box of an operand: 64 k of `extent` rows, or 64 rows (a panel) of `extent` k.
TensorMapShape operand_shape(const GemmArgs& args, const GemmOperand& operand, int64_t extent, int box_rows) {
  const bool by_k = operand.major == Major::k;
  return {by_k ? args.k : extent,
          by_k ? extent : args.k,
          operand.batch_stride ? args.batch : 1,
          operand.pitch,
          operand.batch_stride,
          64,
          box_rows};
}

// C and the matrices of its shape: panels of 64 rows of 128 bytes.
TensorMapShape result_shape(const GemmArgs& args) {
  const int columns = 128 / static_cast<int>(dtype_size(args.c_dtype));
  return {args.n, args.m, args.sum_batch ? 1 : args.batch, args.c_pitch, args.c_batch_stride, columns, 64};
}

bool epilogue_supported(const GemmArgs& args) {
  const GemmEpilogue& e = args.epilogue;
  if (float_result(args)) return !e.bias && !e.quick_gelu && !e.slope && !e.multiplier && !e.residual;
  const int matrices = (e.slope != nullptr) + (e.multiplier != nullptr) + (e.residual != nullptr);
  if (e.accumulate || e.row_sum || matrices > 1 || (e.slope && !e.quick_gelu)) return false;
  const auto addressable = [&](const void* matrix) {
    return !matrix || tensor_map_supports(matrix, args.c_dtype, result_shape(args));
  };
  return addressable(e.slope) && addressable(e.multiplier) && addressable(e.residual);
}

int64_t row_tiles(const GemmArgs& args, const Sm90Choice& choice) {  // of each block of a cluster
  return tiles_over(tiles_over(args.m, kSm90TileShapes[static_cast<int>(choice.tile)].m), choice.cluster);
}
int64_t column_tiles(const GemmArgs& args, const Sm90Choice& choice) {
  return tiles_over(args.n, kSm90TileShapes[static_cast<int>(choice.tile)].n);
}
// There is a kernel of one tile only for a transposed A with a 16-bit result.
bool one_tile(const GemmArgs& args) { return !float_result(args) && args.a.major == Major::mn; }
int64_t result_count(const GemmArgs& args) { return args.sum_batch ? 1 : args.batch; }
int64_t step_count(const GemmArgs& args) {
  return tiles_over(args.k, kStepK) * (args.sum_batch ? args.batch : 1);
}
int64_t work_count(const GemmArgs& args, const Sm90Choice& choice) {  // per cluster
  return row_tiles(args, choice) * column_tiles(args, choice) * result_count(args) * choice.slabs;
}

// A row of tiles reads all of B, from the cache if it fits half of it (A's rows and the results pass through
// the rest). If not, in bands of eight tiles about as many rows of A as of B are read by the clusters of a
// large device at a time. Float32 results are made from the same k of all operands at a time.
int64_t band(const GemmArgs& args, int64_t column_tiles) {
  const auto b_bytes = static_cast<size_t>(args.n * args.k * dtype_size(args.dtype));
  const bool fits = b_bytes <= current_context().cache_bytes() / 2;
  return float_result(args) || fits ? column_tiles : std::min<int64_t>(column_tiles, 8);
}

// Time in multiply-adds of one multiprocessor: the steps of the busiest cluster, and the sums of slabs.
double cost(const GemmArgs& args, const Sm90Choice& choice, int multiprocessors) {
  // From the moment that a slab of a tile has its turn to that of the next: its bytes leave the
  // multiprocessor, are in the cache, a flag says so, another one sees it. About 5000 clocks.
  constexpr double kTurn = 1e7;
  constexpr double kLaunch = 5e6;  // of one more kernel
  constexpr double kPerByte = 60;  // of the whole device while a byte comes from the cache
  const int kind = static_cast<int>(choice.tile);
  const Sm90TileShape shape = kSm90TileShapes[kind];
  const double depth = static_cast<double>(tiles_over(step_count(args), choice.slabs)) * kStepK;
  const int64_t clusters = multiprocessors / choice.cluster, works = work_count(args, choice);
  const double tile = shape.m * shape.n * (depth + kTileFacts[kind].overhead) / kTileFacts[kind].rate;
  const double tiles = static_cast<double>(tiles_over(works, clusters)) * tile;
  if (choice.slabs == 1) return tiles;
  if (choice.apart) {
    const double bytes = 4.0 * args.m * args.n * result_count(args) * (2 * choice.slabs + 1);
    return tiles + kLaunch + kPerByte * bytes / multiprocessors;
  }
  // Slabs of one tile that are computed at the same time end together, and all but one wait.
  const int64_t together = std::clamp<int64_t>(clusters * choice.slabs / works, 1, choice.slabs);
  return std::max(tiles + kTurn * (together - 1), tile + kTurn * choice.slabs);
}

// Whether there is such a kernel for products of this shape.
bool possible(const GemmArgs& args, const Sm90Choice& choice) {
  if (choice.cluster != 1 && choice.cluster != 2) return false;
  if (one_tile(args) && choice.tile != Sm90TileKind::cooperative_128x128) return false;
  if (choice.slabs == 1) return !choice.apart;
  return choice.slabs > 1 && float_result(args) && choice.slabs <= std::min<int64_t>(step_count(args), 256);
}

Sm90Aux aux_of(const GemmEpilogue& e) {
  if (e.slope) return Sm90Aux::slope;
  if (e.multiplier) return Sm90Aux::multiplier;
  return e.residual ? Sm90Aux::residual : Sm90Aux::none;
}

void launch(const GemmArgs& args, const Sm90Choice& choice, const Sm90Launch& launch) {
  if (float_result(args)) {
    launch_sm90_weight(launch, choice.tile, args.dtype);
  } else if (args.a.major == Major::mn) {
    launch_sm90_transposed(launch, args.b.major, args.dtype);
  } else if (args.b.major == Major::mn) {
    launch_sm90_input(launch, choice.tile, args.dtype);
  } else {
    launch_sm90_forward(launch, choice.tile, args.dtype);
  }
}

struct ResidentClusters : Memo<int, 4> {};

int ask_resident_clusters(const void* kernel, const LaunchShape& shape) {
  current_context().prepare_kernel(kernel, shape.shared_bytes);
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {static_cast<unsigned>(shape.cluster), 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(shape.cluster));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = shape.shared_bytes;
  config.attrs = &attribute;
  config.numAttrs = 1;
  int clusters = 0;
  check_cuda(cudaOccupancyMaxActiveClusters(&clusters, kernel, &config), "clusters that fit the device");
  // Where other processes or a partition leave too little of a card, a grid of none would compute nothing.
  CHECK(clusters > 0, "ERR_DEVICE", "the device has no room for a cluster of ", shape.cluster, " blocks");
  return clusters;
}

}  // namespace

bool gemm_sm90_supports(const GemmArgs& args) {
  if (args.dtype != DType::bfloat16 && args.dtype != DType::float16) return false;
  if (args.m < 1 || args.n < 1 || args.k < 1 || args.batch < 1) return false;
  if (float_result(args)) {
    if (args.a.major != Major::mn || args.b.major != Major::mn) return false;
  } else if (args.c_dtype != args.dtype) {
    return false;
  }
  const Sm90Choice smallest{Sm90TileKind::cooperative_128x128, 1, 1};
  constexpr int64_t kMost = std::numeric_limits<int>::max() / 256;  // of tiles and of steps: indices are int
  return tensor_map_supports(args.a.data, args.dtype, operand_shape(args, args.a, args.m, 1)) &&
         tensor_map_supports(args.b.data, args.dtype, operand_shape(args, args.b, args.n, 1)) &&
         tensor_map_supports(args.c, args.c_dtype, result_shape(args)) && epilogue_supported(args) &&
         work_count(args, smallest) <= kMost && step_count(args) <= kMost;
}

bool gemm_sm90_supports(const GemmArgs& args, const Sm90Choice& choice) {
  return gemm_sm90_supports(args) && possible(args, choice);
}

// The cheapest choice. Depends on nothing but what choose_sm90 makes its key of.
Sm90Choice search_sm90(const GemmArgs& args, int multiprocessors) {
  Sm90Choice best{Sm90TileKind::cooperative_128x128, 1, 1};
  double least = std::numeric_limits<double>::infinity();
  for (int kind = 0; kind < kSm90TileKinds; ++kind) {
    // Enough slabs for four rounds of every multiprocessor, of at least four steps.
    for (int slabs = 1; slabs == 1 || slabs <= step_count(args) / 4; ++slabs) {
      for (int cluster = 2; cluster >= 1; --cluster) {
        for (const bool apart : {false, true}) {
          const Sm90Choice choice{static_cast<Sm90TileKind>(kind), cluster, slabs, apart};
          if (!possible(args, choice)) continue;
          const double time = cost(args, choice, multiprocessors);
          if (time < least) least = time, best = choice;
        }
      }
      if (!float_result(args) ||
          work_count(args, {static_cast<Sm90TileKind>(kind), 1, slabs}) > 4 * multiprocessors) {
        break;
      }
    }
  }
  return best;
}

Sm90Choice choose_sm90(const GemmArgs& args) {
  Context& context = current_context();
  const Sm90Choices::Key key{args.m,        args.n, args.k, args.batch, args.sum_batch, float_result(args),
                             one_tile(args)};
  return context.remembered<Sm90Choices>().get(key,
                                               [&] { return search_sm90(args, context.multiprocessors()); });
}

void gemm_sm90(const GemmArgs& args, const Sm90Choice& choice) {
  CHECK(gemm_sm90_supports(args, choice), "ERR_INTERNAL", "gemm_sm90 cannot do these arguments like that");
  const Sm90TileShape tile = kSm90TileShapes[static_cast<int>(choice.tile)];
  const GemmEpilogue& e = args.epilogue;
  Sm90Params p{};
  p.m = static_cast<int>(args.m);
  p.n = static_cast<int>(args.n);
  p.row_tiles = static_cast<int>(row_tiles(args, choice));
  p.column_tiles = static_cast<int>(column_tiles(args, choice));
  p.band = static_cast<int>(band(args, p.column_tiles));
  p.batch = static_cast<int>(result_count(args));
  p.steps = static_cast<int>(tiles_over(args.k, kStepK));
  p.summed = args.sum_batch ? static_cast<int>(args.batch) : 1;
  p.slabs = choice.slabs;
  p.batched_a = args.a.batch_stride != 0;
  p.batched_b = args.b.batch_stride != 0;
  p.cluster = choice.cluster;
  p.alpha = e.alpha;
  p.bias = e.bias;
  p.quick_gelu = e.quick_gelu;
  p.aux = aux_of(e);
  p.accumulate = e.accumulate;
  p.row_sum = e.row_sum;
  p.accumulate_row_sum = e.accumulate_row_sum;
  p.tickets = current_context().shares_device() ? current_context().tickets() : nullptr;

  const int a_rows = args.a.major == Major::k ? tile.m : kStepK;
  const int b_rows = (args.b.major == Major::k ? tile.n : kStepK) / choice.cluster;
  const auto operand_map = [&](const GemmOperand& operand, int64_t extent, int box_rows) {
    return encode_tensor_map(operand.data, args.dtype, operand_shape(args, operand, extent, box_rows),
                             Swizzle::bytes_128);
  };
  const auto result_map = [&](const void* matrix) {
    return encode_tensor_map(matrix, args.c_dtype, result_shape(args), Swizzle::bytes_128);
  };
  Sm90Launch request{operand_map(args.a, args.m, a_rows), operand_map(args.b, args.n, b_rows), {}, {}, p};
  if (choice.apart) {
    const SlabScratch scratch(p.batch, p.slabs, args.m, args.n, e.row_sum != nullptr);
    const SlabSums sums = scratch.sums();
    TensorMapShape shape = result_shape(args);
    shape.matrices = int64_t{p.batch} * p.slabs;
    shape.pitch = sums.pitch;
    shape.matrix_stride = args.m * sums.pitch;
    request.c = request.aux = encode_tensor_map(sums.data, DType::float32, shape, Swizzle::bytes_128);
    // What is left of the epilogue is done where the slabs are added.
    request.params.apart = true;
    request.params.alpha = 1;
    request.params.accumulate = request.params.accumulate_row_sum = false;
    request.params.row_sum = sums.row_sums;
    launch(args, choice, request);
    return reduce_slabs(args, sums);
  }
  request.c = result_map(args.c);
  const void* other = e.slope ? e.slope : e.multiplier ? e.multiplier : e.residual;
  request.aux = other ? result_map(other) : request.c;
  if (choice.slabs == 1) return launch(args, choice, request);

  const size_t bytes = sizeof(int) * 2 * p.batch * p.row_tiles * p.cluster * p.column_tiles;
  const Scratch turns(bytes);
  clear_memory(turns.data<int>(), bytes);
  request.params.turns = turns.data<int>();
  launch(args, choice, request);
}

void gemm_sm90(const GemmArgs& args) { gemm_sm90(args, choose_sm90(args)); }

int resident_clusters(const void* kernel, const LaunchShape& shape) {
  Context& context = current_context();
  if (shape.cluster == 1) return context.multiprocessors();
  const ResidentClusters::Key key{reinterpret_cast<intptr_t>(kernel), shape.threads,
                                  static_cast<int64_t>(shape.shared_bytes), shape.cluster};
  const int fit =
      context.remembered<ResidentClusters>().get(key, [&] { return ask_resident_clusters(kernel, shape); });
  return std::min(fit, std::max(context.multiprocessors() / shape.cluster, 1));
}

}  // namespace native::cuda
