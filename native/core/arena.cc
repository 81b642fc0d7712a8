#include "core/arena.h"

#include <sys/mman.h>

#include <algorithm>

#include "core/error.h"

namespace native {
namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kHugePage = 2 * kMiB;
constexpr size_t kStep = 4096;  // sizes and addresses of blocks
constexpr size_t kFirstSegment = 64 * kMiB;

size_t rounded(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

// Address space aligned to huge pages; null when there is none. Pages take memory once they are touched.
char* map_segment(size_t size) {
  void* mapped = mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* begin = static_cast<char*>(mapped);
  const size_t skipped = (kHugePage - reinterpret_cast<uintptr_t>(begin) % kHugePage) % kHugePage;
  if (skipped > 0) munmap(begin, skipped);
  munmap(begin + skipped + size, kHugePage - skipped);
#ifdef MADV_HUGEPAGE
  madvise(begin + skipped, size, MADV_HUGEPAGE);  // a system without them takes small ones
#endif
  return begin + skipped;
}

}  // namespace

size_t Arena::block_size(size_t bytes) { return rounded(std::max<size_t>(bytes, 1), kStep); }

void* Arena::allocate(size_t bytes, uint64_t ticket) {
  const size_t size = block_size(bytes);
  auto fit = free_.lower_bound({size, nullptr});
  while (fit != free_.end() && ranges_.at(fit->second).ticket > ticket) ++fit;
  const auto found = fit != free_.end() ? ranges_.find(fit->second) : take_segment(size);
  if (found == ranges_.end()) return nullptr;
  auto& [data, range] = *found;
  mark_free(found, false);
  if (range.size > size) {
    const Range rest{range.size - size, false, range.ticket, range.segment};
    range.size = size;
    mark_free(ranges_.emplace(data + size, rest).first, true);
  }
  make_resident(data, range);
  return data;
}

void Arena::release(void* data, uint64_t ticket) {
  auto range = ranges_.find(static_cast<char*>(data));
  CHECK(range != ranges_.end() && !range->second.free, "ERR_INTERNAL",
        "released host memory that is not in use");
  range->second.ticket = ticket;
  const auto joins = [&](Ranges::iterator left, Ranges::iterator right) {
    return left->second.free && right->second.free && left->second.segment == right->second.segment;
  };
  mark_free(range, true);
  const auto join = [&](Ranges::iterator left, Ranges::iterator right) {
    mark_free(left, false);
    mark_free(right, false);
    left->second.size += right->second.size;
    left->second.ticket = std::max(left->second.ticket, right->second.ticket);
    ranges_.erase(right);
    mark_free(left, true);
  };
  if (range != ranges_.begin() && joins(std::prev(range), range)) {
    range = std::prev(range);
    join(range, std::next(range));
  }
  if (std::next(range) != ranges_.end() && joins(range, std::next(range))) join(range, std::next(range));
}

// Each segment is as large as all before it together, so there are few: only within one are neighbours
// joined.
Arena::Ranges::iterator Arena::take_segment(size_t size) {
  const size_t least = rounded(size, kHugePage);
  size_t bytes = std::max({least, kFirstSegment, rounded(segment_bytes_, kHugePage)});
  char* data = map_segment(bytes);
  if (!data && bytes > least) data = map_segment(bytes = least);
  if (!data) return ranges_.end();
  segments_.push_back({data, bytes, std::vector<bool>(bytes / kHugePage)});
  segment_bytes_ += bytes;
  const auto range = ranges_.emplace(data, Range{bytes, false, 0, std::prev(segments_.end())}).first;
  mark_free(range, true);
  return range;
}

void Arena::mark_free(Ranges::iterator range, bool free) {
  range->second.free = free;
  const std::pair<size_t, char*> key{range->second.size, range->first};
  if (free)
    free_.insert(key);
  else
    free_.erase(key);
}

void Arena::make_resident(char* data, const Range& range) {
  Segment& segment = *range.segment;
  const auto begin = static_cast<size_t>(data - segment.data);
  for (size_t page = begin / kHugePage; page * kHugePage < begin + range.size; ++page) {
    if (segment.resident[page]) continue;
    segment.resident[page] = true;
    resident_bytes_ += kHugePage;
  }
}

// From the end, where a block that fits into less leaves the range alone.
void Arena::give_back_pages(char* data, const Range& range, size_t keep_bytes) {
  Segment& segment = *range.segment;
  const auto begin = static_cast<size_t>(data - segment.data);
  const size_t first = rounded(begin, kHugePage) / kHugePage;
  for (size_t page = (begin + range.size) / kHugePage; page > first && resident_bytes_ > keep_bytes; --page) {
    if (!segment.resident[page - 1]) continue;
    madvise(segment.data + (page - 1) * kHugePage, kHugePage, MADV_DONTNEED);
    segment.resident[page - 1] = false;
    resident_bytes_ -= kHugePage;
  }
}

void Arena::trim(size_t keep_bytes, uint64_t ticket) {
  const std::vector<std::pair<size_t, char*>> largest_first(free_.rbegin(), free_.rend());
  for (const auto& [size, data] : largest_first) {
    if (resident_bytes_ <= keep_bytes) return;
    const auto found = ranges_.find(data);
    const Range range = found->second;
    if (range.ticket > ticket) continue;
    give_back_pages(data, range, keep_bytes);
    const std::vector<bool>& resident = range.segment->resident;
    if (size < range.segment->size || std::find(resident.begin(), resident.end(), true) != resident.end())
      continue;
    munmap(data, size);
    mark_free(found, false);
    ranges_.erase(found);
    segment_bytes_ -= size;
    segments_.erase(range.segment);
  }
}

}  // namespace native
