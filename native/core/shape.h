// The sizes of a tensor along its dimensions, outermost first.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace native {

using Shape = std::vector<int64_t>;

std::string shape_string(const Shape& shape);  // "[8, 77]"
int64_t shape_numel(const Shape& shape);  // throws ERR_SHAPE when a size is negative or the product overflows

}  // namespace native
