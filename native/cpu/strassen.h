// Strassen's algorithm (Numerische Mathematik 13, 1969) as a list of products: matrices in quarters are
// multiplied by seven products of quarters instead of eight, and in sixteenths, a level deeper, by 49 instead
// of 64.
#pragma once

#include <cstdint>
#include <vector>

namespace native {

// A part of a matrix that is divided into as many rows of parts as columns of parts.
struct Part {
  int8_t row, column;
  bool negative;                           // it is subtracted
  bool is_first = false, is_last = false;  // of c: no earlier or later step adds to it
};

// One to four parts; the sign of the first of a and of b is +, and the fourth's the product of those of the
// second and third.
struct Parts {
  Part each[4];
  int count;

  const Part* begin() const { return each; }
  const Part* end() const { return each + count; }
};

// (sum of parts of a) (sum of parts of b), which is added to each part of c.
struct Step {
  Parts a, b, c;
};

constexpr int kStrassenLevels = 2;

// 1, 7 or 49 steps with level 0, 1 or 2, over matrices in 2^level by 2^level parts. Steps that follow each
// other share parts.
const std::vector<Step>& strassen_steps(int level);

}  // namespace native
