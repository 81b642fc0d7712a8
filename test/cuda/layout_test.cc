// Strided copies: every word size, rows, transpositions, broadcasts and clearing, all against plain indexing.
#include "ops/layout.h"

#include "check.h"

using namespace check;

namespace {

constexpr DType kSizes[] = {DType::uint8, DType::bfloat16, DType::float32, DType::int64};

Values numbers(int64_t count) { return integers(count, 1, 0, 120); }

// Calls f(index of an element, its position) for every element of a tensor of `shape`.
template <class F>
void for_positions(const Shape& shape, F f) {
  Shape position(shape.size(), 0);
  for (int64_t i = 0; i < native::shape_numel(shape); ++i) {
    f(i, position);
    for (size_t d = shape.size(); d-- > 0;) {
      if (++position[d] < shape[d]) break;
      position[d] = 0;
    }
  }
}

int64_t offset_of(const Shape& position, const Shape& strides) {
  int64_t offset = 0;
  for (size_t d = 0; d < position.size(); ++d) offset += position[d] * strides[d];
  return offset;
}

void check_permutation(const Shape& shape, const std::vector<int64_t>& axes, DType dtype, int64_t offset) {
  const Values x = numbers(native::shape_numel(shape));
  const Shape own = native::contiguous_strides(shape);
  Shape result, strides;
  for (int64_t axis : axes) {
    result.push_back(shape[static_cast<size_t>(axis)]);
    strides.push_back(own[static_cast<size_t>(axis)]);
  }
  Values expected(x.size());
  for_positions(result, [&](int64_t i, const Shape& position) {
    expected[static_cast<size_t>(i)] = x[static_cast<size_t>(offset_of(position, strides))];
  });
  const Tensor y = native::permute(to_device(x, shape, dtype, offset), axes);
  expect_equal(
      native::concat("permute ", native::dtype_name(dtype), native::shape_string(shape), " at ", offset), y,
      expected);
}

}  // namespace

TEST_CASE("permute: transpositions of whole and partial tiles, and moved rows") {
  for (DType dtype : kSizes) {
    check_permutation({64, 64}, {1, 0}, dtype, 0);
    check_permutation({65, 130}, {1, 0}, dtype, 1);
    check_permutation({3, 10, 70}, {0, 2, 1}, dtype, 0);
    check_permutation({3, 10, 70}, {2, 1, 0}, dtype, 0);
    check_permutation({2, 5, 3, 16}, {0, 2, 1, 3}, dtype, 0);  // heads split from tokens
    check_permutation({2, 5, 3, 7}, {0, 2, 1, 3}, dtype, 3);
    check_permutation({2, 3, 4, 5, 6, 7}, {5, 3, 1, 4, 2, 0}, dtype, 0);
    check_permutation({0, 4}, {1, 0}, dtype, 0);
    check_permutation({1}, {0}, dtype, 0);
  }
}

TEST_CASE("concatenate, slice and its derivative") {
  for (DType dtype : kSizes) {
    for (int64_t dim : {5, 16, 48}) {
      const Values a = numbers(3 * 4 * dim), b = numbers(3 * 2 * dim);
      Values joined, cut, padded;
      for (int64_t n = 0; n < 3; ++n) {
        joined.insert(joined.end(), a.begin() + n * 4 * dim, a.begin() + (n + 1) * 4 * dim);
        joined.insert(joined.end(), b.begin() + n * 2 * dim, b.begin() + (n + 1) * 2 * dim);
        cut.insert(cut.end(), a.begin() + (n * 4 + 1) * dim, a.begin() + (n * 4 + 3) * dim);
      }
      const Tensor x = to_device(a, {3, 4, dim}, dtype, dim % 2), z = to_device(b, {3, 2, dim}, dtype);
      expect_equal("concatenate", native::concatenate({x, z}, 1), joined);
      expect_equal("slice", native::slice(x, 1, 1, 3), cut);
      for (int64_t n = 0; n < 3; ++n) {
        padded.insert(padded.end(), static_cast<size_t>(3 * dim), 0.0);
        padded.insert(padded.end(), b.begin() + n * 2 * dim, b.begin() + (n + 1) * 2 * dim);
      }
      expect_equal("slice backward", native::slice_backward(z, {3, 5, dim}, 1, 3), padded);
      expect_equal("empty slice", native::slice_backward(native::slice(x, 1, 2, 2), {3, 4, dim}, 1, 2),
                   Values(a.size(), 0.0));
    }
  }
}

TEST_CASE("expand repeats along any dimension") {
  for (DType dtype : kSizes) {
    const Values x = numbers(6);
    Values inner, outer;
    for (double value : x) inner.insert(inner.end(), 9, value);
    for (int k = 0; k < 5; ++k) outer.insert(outer.end(), x.begin(), x.end());
    expect_equal("inner", native::expand(to_device(x, {6, 1}, dtype, 1), {6, 9}), inner);
    expect_equal("outer", native::expand(to_device(x, {6}, dtype), {5, 6}), outer);
  }
}

TEST_CASE("a copy into a view writes its elements and nothing else") {
  for (DType dtype : kSizes) {
    for (int64_t offset : {0, 1, 8}) {
      const Values x = numbers(7 * 16);
      const Tensor source = to_device(x, {7, 16}, dtype, offset), target = poisoned({7, 32}, dtype, offset);
      const auto size = static_cast<int>(native::dtype_size(dtype));
      native::launch(native::strided_copy_kernel,
                     native::StridedCopyArgs{source.raw(), target.raw(),
                                             native::strided_loop("copy", {7, 16}, {16, 1}, {32, 1}), 7 * 16,
                                             0, nullptr, size},
                     {&source});
      const Values y = to_host(target), blank = to_host(poisoned({7, 32}, dtype));
      Values expected = blank;
      for (size_t i = 0; i < x.size(); ++i) expected[i / 16 * 32 + i % 16] = x[i];
      CHECK(difference(y, expected, 0) == "");
    }
  }
}
