#include "gemm/measured_tiles.h"

#include <algorithm>
#include <optional>

#include "runtime/context.h"

namespace native::cuda {
namespace {

std::optional<ProductKind> kind_of(const GemmArgs& args) {
  if (args.batch != 1 || dtype_size(args.dtype) != 2) return std::nullopt;
  if (args.c_dtype != args.dtype) {
    const bool weight = args.a.major == Major::mn && args.b.major == Major::mn;
    return weight ? std::optional(ProductKind::weight) : std::nullopt;
  }
  if (args.a.major == Major::mn) return std::nullopt;
  return args.b.major == Major::k ? ProductKind::forward : ProductKind::input;
}

}  // namespace

std::vector<MeasuredTile>& measured_tiles() {
  static std::vector<MeasuredTile> table = {
#include "gemm/measured_tiles.inc"
  };
  return table;
}

const MeasuredTile* find_measured(const GemmArgs& args) {
  const std::vector<MeasuredTile>& table = measured_tiles();
  if (table.empty()) return nullptr;
  const std::optional<ProductKind> kind = kind_of(args);
  if (!kind) return nullptr;
  const int capability = current_context().capability();
  const int multiprocessors = current_context().multiprocessors();
  const auto found = std::find_if(table.begin(), table.end(), [&](const MeasuredTile& row) {
    return row.m == args.m && row.n == args.n && row.k == args.k && row.kind == *kind &&
           row.capability == capability && row.multiprocessors == multiprocessors;
  });
  return found == table.end() ? nullptr : &*found;
}

}  // namespace native::cuda
