// The settings and records of emulation.h.
#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>

#include "device_facts.h"
#include "grid.h"

namespace emulation {
namespace {

struct Record {
  Site site{};
  const char* what = nullptr;
  uint64_t calls = 0;
  bool skip = false;
};

std::mutex g_mutex;  // held by grids only when they meet a site for the first time
auto& g_skipped = *new std::vector<std::pair<std::string, int>>;  // never destroyed: grids may outlive main
auto& g_records = *new std::map<std::pair<const char*, int>, Record>;
std::atomic<uint64_t> g_version{1};  // of the settings: cached records of an older one are void
std::atomic<Plant> g_plant{Plant::nothing};

uint64_t first_seed() {
  const char* seed = std::getenv("EMULATION_SEED");
  return seed ? std::strtoull(seed, nullptr, 10) : 1;
}
std::atomic<uint64_t> g_seed{first_seed()}, g_launch{0};

int first_left() {
  const char* count = std::getenv("EMULATION_MPS");
  return count ? std::atoi(count) : 0;
}
std::atomic<int> g_left{first_left()};

// A short way from a site to its record.
struct CacheEntry {
  uint64_t version = 0;
  Site site{};
  Record* record = nullptr;
};
CacheEntry g_cache[256];

}  // namespace

Statistics g_statistics;

bool site_is_skipped(const char* what, Site site) {
  CacheEntry& entry =
      g_cache[(static_cast<size_t>(site.line) * 31 + (reinterpret_cast<size_t>(site.file) >> 3)) & 255];
  if (entry.version != g_version || entry.site.file != site.file || entry.site.line != site.line) {
    std::lock_guard<std::mutex> lock(g_mutex);
    Record& record = g_records[{site.file, site.line}];
    record.site = site;
    record.what = what;
    record.skip = false;
    for (const auto& [file, line] : g_skipped) record.skip |= line == site.line && file == site.file;
    entry = {g_version, site, &record};
  }
  ++entry.record->calls;
  return entry.record->skip;
}

void set_seed(uint64_t seed) {
  g_seed = seed;
  g_launch = 0;
}

uint64_t launch_seed() {
  // Two rounds of a mixing function (splitmix64), so that neighbouring seeds and launches differ in all bits.
  uint64_t x = g_seed * 0x9E3779B97F4A7C15ull + ++g_launch * 0xD1B54A32D192ED03ull;
  for (int round = 0; round < 2; ++round) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  }
  return x | 1;
}

std::vector<SiteRecord> sites() {
  std::lock_guard<std::mutex> lock(g_mutex);
  std::map<std::pair<std::string, int>, SiteRecord> merged;  // one file's name may lie at several addresses
  for (const auto& [key, record] : g_records) {
    SiteRecord& site = merged[{record.site.file, record.site.line}];
    site = {record.site.file, record.site.line, record.what, site.calls + record.calls};
  }
  std::vector<SiteRecord> result;
  for (auto& [key, site] : merged) {
    if (site.calls) result.push_back(std::move(site));
  }
  return result;
}

void forget_sites() {
  std::lock_guard<std::mutex> lock(g_mutex);
  g_records.clear();
  ++g_version;
}

void skip(const std::string& file, int line) {
  std::lock_guard<std::mutex> lock(g_mutex);
  g_skipped.emplace_back(file, line);
  ++g_version;
}

void skip_nothing() {
  std::lock_guard<std::mutex> lock(g_mutex);
  g_skipped.clear();
  ++g_version;
}

void plant(Plant mistake) { g_plant = mistake; }
Plant planted() { return g_plant; }

void leave_multiprocessors(int count) { g_left = count; }
int left_multiprocessors() {
  const int left = g_left;
  return left > 0 ? left : kMultiprocessors;
}

Statistics statistics() { return g_statistics; }
void reset_statistics() { g_statistics = {}; }

}  // namespace emulation
