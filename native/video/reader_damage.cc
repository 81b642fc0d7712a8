// The part of Reader that deals with frames that cannot be decoded.
#include <algorithm>

#include "reader.h"

namespace native::video {

// True when the decoder has filled in what it could not decode.
bool Reader::is_damaged() const {
  return frame_->decode_error_flags != 0 || (frame_->flags & AV_FRAME_FLAG_CORRUPT) != 0;
}

// After a start in the middle pictures may lack references for that alone: then only what is `certain`, an
// error in the bitstream, counts, and not what is shown before the start.
void Reader::note_damage(int32_t packet, bool certain) {
  if (packet < 0 || packet >= index_.packet_count()) return;
  const int32_t frame = index_.packet(packet).rank;
  if (frame < 0 || frame < index_.packet(run_start_).rank) return;
  if (certain || run_start_ == 0) passed_damage_.insert(frame);
}

// Decodes from the first packet up to a sound frame after `target`, and notes which frames are sound.
void Reader::survey(int32_t target, const Stop& stop) {
  if (target < surveyed_) return;
  sound_.assign(static_cast<size_t>(info_.frame_count), false);
  drain_after_ = -1;
  start_anew(stop);
  int32_t frame = -1;
  for (int32_t number; (number = next_picture({}, stop)) >= 0;) {
    frame = index_.packet(number).rank;
    if (frame < 0 || is_damaged()) continue;
    sound_[static_cast<size_t>(frame)] = true;
    if (frame > target) break;
  }
  surveyed_ = frame > target ? frame + 1 : info_.frame_count;
}

// -1 when all frames are damaged. `survey(target)` comes first.
int32_t Reader::nearest_sound(int32_t target) const {
  for (int32_t distance = 1; distance < info_.frame_count; ++distance) {
    for (const int32_t frame : {target - distance, target + distance}) {
      if (frame >= 0 && frame < surveyed_ && sound_[static_cast<size_t>(frame)]) return frame;
    }
  }
  return -1;
}

// Leaves the picture for `target` in frame_, as `on_error` says, and returns the number of its frame; -1 when
// it is left out.
int32_t Reader::picture_for(int32_t target, const std::vector<int32_t>& wanted, OnError on_error,
                            const Stop& stop) {
  const auto forget = [this] { next_packet_ = last_frame_ = -1; };  // start anew next time
  try {
    const bool damaged = target < surveyed_ && !sound_[static_cast<size_t>(target)];
    if (!damaged || on_error == OnError::kError) {
      try {
        decode_until(target, wanted, stop);
        return target;
      } catch (const Error& error) {
        if (on_error == OnError::kError || error.code() != "ERR_VIDEO_DECODE") throw;
      }
    }
    forget();
    survey(target, stop);
    forget();
    if (on_error == OnError::kSkip) return -1;
    const int32_t nearest = nearest_sound(target);
    CHECK(nearest >= 0, "ERR_VIDEO_DECODE", name(), ": none of its ", info_.frame_count,
          " frames can be decoded");
    decode_until(nearest, {nearest}, stop);
    return nearest;
  } catch (...) {
    failed_ = true;
    forget();
    throw;
  }
}

}  // namespace native::video
