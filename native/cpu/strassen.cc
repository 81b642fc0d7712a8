#include "cpu/strassen.h"

#include <array>
#include <cstddef>

namespace native {
namespace {

constexpr Part k11{0, 0, false}, k12{0, 1, false}, k21{1, 0, false}, k22{1, 1, false};

constexpr Part minus(Part part) { return {part.row, part.column, true}; }
constexpr Parts only(Part x) { return {{x}, 1}; }
constexpr Parts both(Part x, Part y) { return {{x, y}, 2}; }

const std::vector<Step> kQuarters = {
    {both(k21, k22), only(k11), both(k21, minus(k22))},  //
    {both(k21, minus(k11)), both(k11, k12), only(k22)},  //
    {only(k11), both(k12, minus(k22)), both(k12, k22)},  //
    {both(k11, k12), only(k22), both(minus(k11), k12)},  //
    {both(k12, minus(k22)), both(k21, k22), only(k11)},  //
    {only(k22), both(k21, minus(k11)), both(k11, k21)},  //
    {both(k11, k22), both(k11, k22), both(k11, k22)},    //
};

// The parts `inner` of each of the parts `outer`.
Parts within(const Parts& outer, const Parts& inner) {
  Parts parts{{}, 0};
  for (const Part& o : outer) {
    for (const Part& i : inner) {
      parts.each[parts.count++] = {static_cast<int8_t>(2 * o.row + i.row),
                                   static_cast<int8_t>(2 * o.column + i.column), o.negative != i.negative};
    }
  }
  return parts;
}

std::vector<Step> steps_within(const std::vector<Step>& outer, const std::vector<Step>& inner) {
  std::vector<Step> steps;
  for (const Step& o : outer) {
    for (const Step& i : inner) steps.push_back({within(o.a, i.a), within(o.b, i.b), within(o.c, i.c)});
  }
  return steps;
}

template <class Steps, class Mark>
void mark_once(Steps begin, Steps end, const Mark& mark) {
  bool seen[1 << kStrassenLevels][1 << kStrassenLevels] = {};
  for (auto step = begin; step != end; ++step) {
    for (int i = 0; i < step->c.count; ++i) {
      Part& part = step->c.each[i];
      bool& known = seen[part.row][part.column];
      if (!known) mark(part);
      known = true;
    }
  }
}

std::vector<Step> marked(std::vector<Step> steps) {
  mark_once(steps.begin(), steps.end(), [](Part& part) { part.is_first = true; });
  mark_once(steps.rbegin(), steps.rend(), [](Part& part) { part.is_last = true; });
  return steps;
}

}  // namespace

const std::vector<Step>& strassen_steps(int level) {
  static const std::array<std::vector<Step>, kStrassenLevels + 1> steps{
      marked({{only(k11), only(k11), only(k11)}}), marked(kQuarters),
      marked(steps_within(kQuarters, kQuarters))};
  return steps[static_cast<size_t>(level)];
}

}  // namespace native
