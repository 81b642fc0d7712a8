#include "mutation.h"

#ifdef CUDA_EMULATION
#include "check.h"
#include "emulation.h"

namespace check {
namespace {

bool fails(const Trial& trial) {
  try {
    return !trial().empty();
  } catch (const std::exception&) {
    return true;
  }
}

}  // namespace

std::vector<std::string> unnoticed_sites(const std::string& part, const Trial& trial, int* calls, int seeds) {
  emulation::forget_sites();
  const std::string wrong = trial();
  CHECK_MESSAGE(wrong.empty(), "without a planted mistake: " << wrong);
  std::vector<std::string> unnoticed;
  *calls = 0;
  for (const emulation::SiteRecord& site : emulation::sites()) {
    if (site.file.find(part) == std::string::npos) continue;
    ++*calls;
    emulation::skip(site.file, site.line);
    bool noticed = false;
    for (int seed = 1; seed <= seeds && !noticed; ++seed) {
      emulation::set_seed(static_cast<uint64_t>(seed));
      noticed = fails(trial);
    }
    emulation::skip_nothing();
    const std::string file = site.file.substr(site.file.rfind('/') + 1);
    if (!noticed) unnoticed.push_back(native::concat(site.what, " at ", file, ":", site.line));
  }
  emulation::set_seed(1);
  return unnoticed;
}

std::vector<std::string> unnoticed_plants(const Trial& trial) {
  const std::string wrong = trial();
  CHECK_MESSAGE(wrong.empty(), "without a planted mistake: " << wrong);
  std::vector<std::string> unnoticed;
  emulation::plant(emulation::Plant::last_block_missing);
  if (!fails(trial)) unnoticed.push_back("the last block is missing");
  emulation::plant(emulation::Plant::last_thread_missing);
  if (!fails(trial)) unnoticed.push_back("the last thread of a block is missing");
  emulation::plant(emulation::Plant::nothing);
  return unnoticed;
}

}  // namespace check
#endif
