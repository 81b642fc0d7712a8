// Reads damaged clips. Mutation number n of a seed is always the same; built with AddressSanitizer and
// UndefinedBehaviorSanitizer, the process ends at the first fault, having named n.
//
//   fuzz_video SEED FIRST COUNT CLIP...
//
// Each mutation takes one of the clips, damages its bytes, and opens it, reads frames in several ways and
// runs a plan. A mutation must give frames or an error of the kinds that damaged input may give, in bounded
// time. Prints one JSON line with the number of each outcome.
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "../../native/core/random.h"
#include "../../native/data/plan.h"
#include "../../native/video/reader.h"

extern "C" {
#include <libavutil/log.h>
}

namespace {

using Bytes = std::vector<uint8_t>;
using native::video::OnError;
using native::video::Reader;
using native::video::Stop;
using Clock = std::chrono::steady_clock;

constexpr int64_t kDeadlineMs = 3000;  // of each call
constexpr int64_t kSlackMs = 20'000;   // beyond which a call that ignores its deadline is a hang
constexpr int64_t kMaxPixels = 1024 * 1024;

// Draws numbers of one mutation.
class Draws {
 public:
  Draws(uint64_t seed, uint64_t mutation) : philox_{seed, mutation} {}
  // Uniform in [0, bound).
  size_t below(size_t bound) { return bound == 0 ? 0 : static_cast<size_t>(next()) % bound; }

 private:
  uint64_t next() {
    const auto words = philox_(position_++);
    return (uint64_t{words[0]} << 32) | words[1];
  }
  native::Philox philox_;
  uint64_t position_ = 0;
};

// Where damage falls: anywhere, or in the first or last part, where containers keep their tables.
size_t place(Draws& draws, size_t size) {
  const size_t part = std::min<size_t>(size, 4096);
  switch (draws.below(3)) {
    case 0:
      return draws.below(part);
    case 1:
      return size - 1 - draws.below(part);
    default:
      return draws.below(size);
  }
}

void damage(Bytes& bytes, const Bytes& other, Draws& draws) {
  static constexpr uint8_t kEdges[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
  const size_t at = place(draws, bytes.size());
  const size_t length = 1 + draws.below(std::min<size_t>(bytes.size() - at, 1 + draws.below(2000)));
  const auto begin = bytes.begin() + static_cast<int64_t>(at), end = begin + static_cast<int64_t>(length);
  switch (draws.below(7)) {
    case 0:  // single bits
      for (size_t i = 0; i < 1 + draws.below(8); ++i) {
        bytes[place(draws, bytes.size())] ^= static_cast<uint8_t>(1u << draws.below(8));
      }
      break;
    case 1:  // a number at the edge of its range, as sizes and counts are
      for (size_t i = at; i < std::min(bytes.size(), at + 4); ++i) bytes[i] = kEdges[draws.below(5)];
      break;
    case 2:
      for (auto byte = begin; byte != end; ++byte) *byte = static_cast<uint8_t>(draws.below(256));
      break;
    case 3:
      std::fill(begin, end, kEdges[draws.below(5)]);
      break;
    case 4:
      bytes.erase(begin, end);
      break;
    case 5: {
      const Bytes piece(begin, end);
      const size_t to = draws.below(bytes.size());
      bytes.insert(bytes.begin() + static_cast<int64_t>(to), piece.begin(), piece.end());
      break;
    }
    default: {  // of another clip, or cut off
      const size_t from = draws.below(other.size());
      if (draws.below(3) == 0) bytes.resize(at + 1);
      const size_t count = std::min({length, other.size() - from, bytes.size() - std::min(at, bytes.size())});
      std::copy_n(other.begin() + static_cast<int64_t>(from), count,
                  bytes.begin() + static_cast<int64_t>(std::min(at, bytes.size())));
    }
  }
}

void read(Bytes bytes, Draws& draws) {
  native::video::Options options;
  options.max_pixels = kMaxPixels;
  options.on_error = static_cast<OnError>(draws.below(3));
  options.threads = 1 + static_cast<int>(draws.below(2));
  if (draws.below(3) == 0) options.short_side = 1 + static_cast<int>(draws.below(200));
  native::video::Source source;
  source.data = std::make_shared<const Bytes>(std::move(bytes));
  Reader reader(source, options, Stop(kDeadlineMs));
  const auto& info = reader.info();
  const size_t picture = static_cast<size_t>(info.width) * static_cast<size_t>(info.height) * 3;
  for (int call = 0; call < 3; ++call) {
    std::vector<int32_t> frames(1 + draws.below(4));
    for (int32_t& frame : frames)
      frame = static_cast<int32_t>(draws.below(static_cast<size_t>(info.frame_count)));
    Bytes out(frames.size() * picture);
    reader.read(frames.data(), frames.size(), out.data(), Stop(kDeadlineMs));
  }
  native::data::Plan plan;
  plan.frames = {0, info.frame_count - 1};
  plan.resize = {64, 48};
  plan.crops = {{3, 5, 40, 32}};
  plan.width = plan.height = 28;
  plan.flip = true;
  plan.jitter = {{{0, 1, 2, 3}, 1.2f, 0.8f, 1.1f, 0.05}, {{3, 2, 1, 0}, 0.7f, 1.3f, 0.9f, -0.1}};
  plan.mean = {123, 116, 103};
  plan.std = {58, 57, 57};
  std::vector<float> out(plan.element_count());
  const auto visit = [&](const std::vector<int32_t>& frames, const Reader::Use& use) {
    reader.visit(frames.data(), frames.size(), OnError::kNearest, Stop(kDeadlineMs), use);
  };
  native::data::execute(plan, {reader.name(), info.width, info.height, visit}, out.data());
}

// The code of the error that the mutation gave, or "frames".
std::string outcome_of(Bytes bytes, Draws& draws) {
  try {
    read(std::move(bytes), draws);
    return "frames";
  } catch (const native::Error& error) {
    return error.code();
  }
}

Bytes contents(const char* path) {
  std::ifstream file(path, std::ios::binary);
  Bytes bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!bytes.empty()) return bytes;
  fprintf(stderr, "fuzz_video: %s cannot be read\n", path);
  exit(2);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: fuzz_video SEED FIRST COUNT CLIP...\n");
    return 2;
  }
  av_log_set_level(AV_LOG_QUIET);
  const uint64_t seed = strtoull(argv[1], nullptr, 10), first = strtoull(argv[2], nullptr, 10),
                 count = strtoull(argv[3], nullptr, 10);
  std::vector<Bytes> clips;
  for (int i = 4; i < argc; ++i) clips.push_back(contents(argv[i]));
  std::map<std::string, int> outcomes;
  int64_t slowest = 0;
  for (uint64_t mutation = first; mutation < first + count; ++mutation) {
    fprintf(stderr, "mutation %llu\n", static_cast<unsigned long long>(mutation));
    Draws draws(seed, mutation);
    Bytes bytes = clips[mutation % clips.size()];
    for (size_t i = 0; i < 1 + draws.below(4) && !bytes.empty(); ++i)
      damage(bytes, clips[draws.below(clips.size())], draws);
    const auto start = Clock::now();
    const std::string outcome = outcome_of(std::move(bytes), draws);
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count();
    slowest = std::max<int64_t>(slowest, ms);
    const bool expected = outcome == "frames" || outcome.rfind("ERR_VIDEO_", 0) == 0;
    if (!expected || ms > 5 * kDeadlineMs + kSlackMs) {
      fprintf(stderr, "%s after %lld ms\n", outcome.c_str(), static_cast<long long>(ms));
      return 1;
    }
    ++outcomes[outcome];
  }
  printf("{\"slowestMs\": %lld", static_cast<long long>(slowest));
  for (const auto& [outcome, times] : outcomes) printf(", \"%s\": %d", outcome.c_str(), times);
  printf("}\n");
}
