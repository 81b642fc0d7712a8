// Large blocks of host memory, cut best fit out of segments and joined with their free neighbours when they
// come back: memory of one size serves later blocks of other sizes. Segments are backed by huge pages where
// the system has them. Not thread-safe; the allocator holds its lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace native {

class Arena {
 public:
  // Bytes at a page's border out of memory that is idle at `ticket` (see release); null when the system has
  // no more.
  void* allocate(size_t bytes, uint64_t ticket);
  // `ticket`: the block is idle once this many tasks have completed.
  void release(void* data, uint64_t ticket);
  // Gives pages that are free, and idle at `ticket`, back to the system until at most `keep_bytes` are
  // resident.
  void trim(size_t keep_bytes, uint64_t ticket);

  // Of the memory that was handed out since the system last had it.
  size_t resident_bytes() const { return resident_bytes_; }

  // What a block of `bytes` takes.
  static size_t block_size(size_t bytes);

 private:
  struct Segment {
    char* data;
    size_t size;
    std::vector<bool> resident;  // by huge page
  };
  struct Range {
    size_t size;
    bool free;
    uint64_t ticket;  // while free
    std::list<Segment>::iterator segment;
  };
  using Ranges = std::map<char*, Range>;

  Ranges::iterator take_segment(size_t size);
  void make_resident(char* data, const Range& range);
  void give_back_pages(char* data, const Range& range, size_t keep_bytes);
  void mark_free(Ranges::iterator range, bool free);

  std::list<Segment> segments_;
  Ranges ranges_;                            // all, by address
  std::set<std::pair<size_t, char*>> free_;  // by size, then address
  size_t segment_bytes_ = 0, resident_bytes_ = 0;
};

}  // namespace native
