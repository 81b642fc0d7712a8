// Gather and scatter-add: rows of every word size, repeated indices summed in their order, indices out of
// range.
#include "ops/gather.h"

#include "check.h"

using namespace check;

namespace {

Values rows_of(const Values& table, const Values& index, int64_t dim, int64_t block_rows) {
  Values y;
  for (size_t i = 0; i < index.size(); ++i) {
    const auto row = static_cast<ptrdiff_t>(index[i]) + static_cast<ptrdiff_t>(i) * block_rows;
    y.insert(y.end(), table.begin() + row * dim, table.begin() + (row + 1) * dim);
  }
  return y;
}

// float32 sums in the order of the indices, rounded to `dtype` at the end.
Values sums_of(Values table, const Values& dy, const Values& index, int64_t dim, DType dtype) {
  for (size_t i = 0; i < index.size(); ++i) {
    for (size_t c = 0; c < static_cast<size_t>(dim); ++c) {
      double& sum = table[static_cast<size_t>(index[i]) * static_cast<size_t>(dim) + c];
      sum = static_cast<float>(sum) + static_cast<float>(dy[i * static_cast<size_t>(dim) + c]);
    }
  }
  for (double& value : table) value = rounded(value, dtype);
  return table;
}

}  // namespace

TEST_CASE("embedding and gather_rows pick rows of any width") {
  for (DType dtype : {DType::float32, DType::bfloat16, DType::uint8, DType::int64}) {
    for (DType index_dtype : {DType::int32, DType::int64}) {
      for (int64_t dim : {1, 6, 64, 515}) {
        const Values table = integers(11 * dim, 1, 0, 120), ids = integers(19, 2, 0, 11);
        for (int64_t offset : {0, 1}) {
          const Tensor y = native::embedding_forward(to_device(ids, {19}, index_dtype, offset),
                                                     to_device(table, {11, dim}, dtype, offset));
          expect_equal("embedding", y, rows_of(table, ids, dim, 0));
        }
        const Values blocks = integers(3 * 5 * dim, 3, 0, 120), picked = {4, 0, 2};
        const Tensor y = native::gather_rows_forward(to_device(blocks, {3, 5, dim}, dtype),
                                                     to_device(picked, {3}, index_dtype));
        expect_equal("gather_rows", y, rows_of(blocks, picked, dim, 5));
      }
    }
  }
}

#ifndef CUDA_EMULATION
// 16 million threads, with which the emulation takes long.
TEST_CASE("gradients of rows that are longer than a grid is high") {
  const int64_t dim = int64_t{65536} * 32 + 1;  // 32 elements to a block
  Values dy(static_cast<size_t>(dim));
  for (size_t i = 0; i < dy.size(); ++i) dy[i] = static_cast<double>(i % 251);
  const Tensor gradient = to_device(dy, {1, dim}, DType::bfloat16);
  const Tensor table =
      native::embedding_backward(gradient, to_device({0}, {1}, DType::int64), 1, std::nullopt);
  expect_equal("a long row", table, dy);
}
#endif

TEST_CASE("embedding gradients are summed in the order of the ids, bit for bit") {
  for (DType dtype : kFloats) {
    for (DType table_dtype : kFloats) {
      for (int64_t dim : {7, 64, 264}) {
        Values ids = integers(150, 1, 0, 9);
        for (size_t i = 60; i < 140; ++i) ids[i] = 3;  // padding: one id again and again
        const Values dy = normal(150 * dim, 2, dtype), start = normal(11 * dim, 3, table_dtype);
        const Tensor gradient = to_device(dy, {150, dim}, dtype, dim % 2),
                     index = to_device(ids, {150}, DType::int64);
        const Tensor into = to_device(start, {11, dim}, table_dtype, dim % 2);
        native::embedding_backward(gradient, index, 11, into);
        expect_equal("added", into, sums_of(start, dy, ids, dim, table_dtype));
        if (table_dtype != DType::float32) continue;
        expect_equal("from zero", native::embedding_backward(gradient, index, 11, std::nullopt),
                     sums_of(Values(start.size(), 0.0), dy, ids, dim, DType::float32));
      }
    }
  }
}

TEST_CASE("gather_rows gradients: the picked row and zeros") {
  for (DType dtype : kFloats) {
    for (int64_t dim : {5, 64}) {
      const Values dy = normal(10 * dim, 1, dtype), picked = integers(10, 2, 0, 4);
      Values expected(static_cast<size_t>(10 * 4 * dim), 0.0);
      for (int64_t n = 0; n < 10; ++n) {
        const auto row = n * 4 + static_cast<int64_t>(picked[static_cast<size_t>(n)]);
        for (int64_t c = 0; c < dim; ++c) {
          expected[static_cast<size_t>(row * dim + c)] = dy[static_cast<size_t>(n * dim + c)];
        }
      }
      expect_equal("rows",
                   native::gather_rows_backward(to_device(dy, {10, dim}, dtype),
                                                to_device(picked, {10}, DType::int32), 4),
                   expected);
    }
  }
}

TEST_CASE("an index out of range fails at the fence; the other rows are right") {
  const Values table = normal(4 * 8, 1);
  const Tensor x = to_device(table, {4, 8}, DType::float32),
               dy = to_device(normal(24, 2), {3, 8}, DType::float32);
  for (double bad : {4.0, -1.0}) {
    const Tensor ids = to_device({0, bad, 3}, {3}, DType::int32);
    for (bool forward : {true, false}) {
      const std::string error = error_of([&] {
        forward ? native::embedding_forward(ids, x) : native::embedding_backward(dy, ids, 4, std::nullopt);
        fence();
      });
      CHECK(error.find("ERR_INDEX_RANGE") == 0);
      CHECK(error.find(bad < 0 ? "-1" : "4") != std::string::npos);
    }
  }
  expect_equal("after", native::embedding_forward(to_device({3}, {1}, DType::int32), x),
               Values(table.begin() + 24, table.end()));
}

TEST_CASE("no indices") {
  const Tensor none = poisoned({0}, DType::int64);
  CHECK(native::embedding_forward(none, poisoned({3, 4}, DType::float32)).numel() == 0);
  expect_equal("zeros", native::embedding_backward(poisoned({0, 4}, DType::float32), none, 3, std::nullopt),
               Values(12, 0.0));
}
