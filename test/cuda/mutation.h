// Shows that tests notice mistakes in kernels: barriers left out, bounds that are off by one. On the emulated
// device only, which can plant them when a kernel runs.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace check {

// Runs kernels and says what is wrong with their results; empty when all is well. May throw instead.
using Trial = std::function<std::string()>;

// Which calls of barriers, fences and waits in files whose path contains `part` can be left out, one at a
// time, without the trial failing in any of `seeds` orders of the threads: "block_barrier at softmax.cu:41".
// `calls` receives how many different ones there are.
std::vector<std::string> unnoticed_sites(const std::string& part, const Trial& trial, int* calls,
                                         int seeds = 6);

// Which of the mistakes of a launch the trial passes with: "the last block is missing".
std::vector<std::string> unnoticed_plants(const Trial& trial);

}  // namespace check
