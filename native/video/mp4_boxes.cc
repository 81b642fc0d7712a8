#include "mp4_boxes.h"

#include <string.h>

#include <algorithm>
#include <array>

namespace native::video {
namespace {

constexpr int64_t kHarmless = 1 << 22;  // samples: 100 MB of entries
constexpr int kMaxDepth = 16;           // of boxes in boxes; real ones have 5

constexpr uint32_t type_of(const char (&name)[5]) {
  uint32_t type = 0;
  for (int i = 0; i < 4; ++i) type = type << 8 | static_cast<uint8_t>(name[i]);
  return type;
}

// Those that FFmpeg looks into for boxes of samples, wherever they stand; "meta" and "stsd" are others.
constexpr uint32_t kContainers[] = {
    type_of("moov"), type_of("trak"), type_of("mdia"), type_of("minf"), type_of("stbl"), type_of("moof"),
    type_of("traf"), type_of("edts"), type_of("dinf"), type_of("mvex"), type_of("udta"), type_of("tref"),
    type_of("sinf"), type_of("schi"), type_of("hoov"), type_of("ilst"), type_of("wave")};

class Boxes {
 public:
  Boxes(ByteSource& bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  // Goes through the boxes in [at, end) and those inside them.
  void walk(int64_t at, int64_t end, int depth) {
    std::array<uint8_t, 16> head;
    while (end - at >= 8 && read(at, head.data(), 8)) {
      uint64_t size = number(head.data(), 4), header = 8;
      const auto type = static_cast<uint32_t>(number(head.data() + 4, 4));
      if (size == 1) {
        if (!read(at, head.data(), 16)) return;
        size = number(head.data() + 8, 8);
        header = 16;
      }
      const auto left = static_cast<uint64_t>(end - at);
      if (size == 0 || size > left) size = left;
      if (size < header) return;
      const int64_t contents = at + static_cast<int64_t>(header);
      at += static_cast<int64_t>(size);
      if (type == type_of("trak") && !in_track_) {
        if (depth < kMaxDepth) walk_track(contents, at, depth + 1);
      } else if (std::find(std::begin(kContainers), std::end(kContainers), type) != std::end(kContainers)) {
        if (depth < kMaxDepth) walk(contents, at, depth + 1);
      } else if (type == type_of("meta")) {
        if (depth < kMaxDepth) walk(first_of_meta(contents, at), at, depth + 1);
      } else if (type == type_of("stsd")) {
        search(contents, at);
      } else {
        count(type, contents, at);
      }
    }
  }

 private:
  // What the boxes of one track count, or those outside of any: each edit shows the samples of its track.
  struct Counts {
    int64_t samples = 0, edits = 0, chunks = 0, longest_chunk = 0;

    // FFmpeg's entries for one edit. Sound of plain numbers has one for each 1024 of a chunk, whatever the
    // number of its samples.
    int64_t entries() const { return std::max(samples, chunks * ((longest_chunk + 1023) / 1024)); }
  };

  // Tracks within a track count as parts of it.
  void walk_track(int64_t at, int64_t end, int depth) {
    in_track_ = true;
    std::swap(counts_, others_);
    walk(at, end, depth);
    before_ += counts_.entries() * std::max<int64_t>(counts_.edits, 1);
    counts_ = {};
    std::swap(counts_, others_);
    in_track_ = false;
  }

  // FFmpeg begins where it finds "hdlr", since QuickTime and MP4 put it at different places.
  int64_t first_of_meta(int64_t at, int64_t end) {
    std::array<uint8_t, 4> word;
    for (; end - at >= 4 && read(at, word.data(), 4); at += 4) {
      if (number(word.data(), 4) == type_of("hdlr")) return at - 4;
    }
    return end;
  }

  // Descriptions of samples have boxes too, at places that depend on the codec.
  void search(int64_t at, int64_t end) {
    std::array<uint8_t, 4> word;
    for (; end - at >= 4 && read(at, word.data(), 4); ++at)
      count(static_cast<uint32_t>(number(word.data(), 4)), at + 4, end);
  }

  // Looks at the contents of a box, which ends at `end` or before.
  void count(uint32_t type, int64_t contents, int64_t end) {
    if (type == type_of("stsz") || type == type_of("stz2")) {
      counts_.samples += count_at(contents + 8);
    } else if (type == type_of("trun")) {
      counts_.samples += count_at(contents + 4);
    } else if (type == type_of("stco") || type == type_of("co64")) {
      counts_.chunks += count_at(contents + 4);
    } else if (type == type_of("stsc")) {
      constexpr int64_t kEntryBytes = 12;
      const int64_t first = contents + 8,
                    given = std::min(count_at(contents + 4), (end - first) / kEntryBytes);
      for (int64_t i = 0; i < given; ++i)
        counts_.longest_chunk = std::max(counts_.longest_chunk, count_at(first + i * kEntryBytes + 4));
    } else if (type == type_of("elst")) {
      constexpr int64_t kEditBytes = 12;
      const int64_t given = std::min(count_at(contents + 4), (end - contents) / kEditBytes);
      counts_.edits = std::min(counts_.edits + given, bytes_.size());
    } else if (type == type_of("cmov")) {
      // A few bytes may unfold to any count.
      fail("ERR_VIDEO_FORMAT", name_, ": its headers are compressed (cmov), which is not read; ",
           "ffmpeg -i FILE -c copy PLAIN.mov makes them plain without touching the pictures");
    }
    const int64_t left = std::max(kHarmless, bytes_.size()) - before_, entries = counts_.entries();
    CHECK(entries <= left / std::max<int64_t>(counts_.edits, 1), "ERR_VIDEO_LIMIT", name_,
          ": its headers count ", before_ + entries, " samples",
          counts_.edits > 1 ? concat(" in ", counts_.edits, " edits") : std::string(), ", but the file has ",
          bytes_.size(), " bytes; it is damaged, or made to take memory");
  }

  static uint64_t number(const uint8_t* bytes, int length) {
    uint64_t value = 0;
    for (int i = 0; i < length; ++i) value = value << 8 | bytes[i];
    return value;
  }

  int64_t count_at(int64_t at) {
    std::array<uint8_t, 4> field;
    return read(at, field.data(), 4) ? static_cast<int64_t>(number(field.data(), 4)) : 0;
  }

  // Headers lie close together, so that a window of the file is kept.
  bool read(int64_t at, uint8_t* to, int64_t count) {
    if (at < start_ || at + count > start_ + length_) {
      start_ = at;
      length_ = bytes_.read_at(at, window_.data(), static_cast<int>(window_.size()));
    }
    if (length_ < count) return false;
    memcpy(to, window_.data() + (at - start_), static_cast<size_t>(count));
    return true;
  }

  ByteSource& bytes_;
  const std::string& name_;
  Counts counts_, others_;  // of the track, or outside of tracks; and of the other while in one
  bool in_track_ = false;
  int64_t before_ = 0;  // entries of the tracks before
  std::array<uint8_t, 2048> window_;
  int64_t start_ = 0, length_ = 0;  // of the window
};

}  // namespace

void check_sample_counts(ByteSource& bytes, const std::string& name) {
  Boxes(bytes, name).walk(0, bytes.size(), 0);
}

}  // namespace native::video
