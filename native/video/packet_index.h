// Which packet holds which frame. Frame i of a video is the i-th in presentation order: the rank of its
// packet's presentation time among the packets that are shown (decord's rule).
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "demuxer.h"
#include "plain_stream.h"

namespace native::video {

struct PacketEntry {
  int64_t pts, dts, position;  // AV_NOPTS_VALUE or -1 where the container does not say
  bool key;                    // decoding can start here
  bool shown;                  // false: decoded only to refer to, or cut away by an edit list
  bool second_field;           // the other rows of the picture that the packet before began
  int32_t rank;                // number of the frame that it is, or is part of; -1 when not shown
};

class PacketIndex {
 public:
  PacketIndex() = default;
  PacketIndex(PacketIndex&&) = default;  // and no copy, whose headers would be the original's
  PacketIndex& operator=(PacketIndex&&) = default;

  // Reads every packet of the stream once, without decoding. The demuxer is at its end afterwards. Throws
  // ERR_VIDEO_LIMIT for more than `max_packets`, and what Demuxer::read throws.
  static PacketIndex scan(Demuxer& demuxer, int64_t max_packets, const Stop& stop);

  // Whether the stream may share a decoder with others that have the same header.
  bool plain() const { return plain_; }

  int32_t packet_count() const { return static_cast<int32_t>(packets_.size()); }
  int32_t frame_count() const { return static_cast<int32_t>(by_rank_.size()); }
  const PacketEntry& packet(int32_t number) const { return packets_[static_cast<size_t>(number)]; }
  int32_t packet_of(int32_t frame) const { return by_rank_[static_cast<size_t>(frame)]; }
  // The last packet of a frame: of two fields, the second.
  int32_t last_packet_of(int32_t frame) const;

  // False when times are missing, repeated, or start before the first key frame, so that only decoding the
  // whole stream tells which frames there are; then `set_frames` gives the packets of the frames in the order
  // decoded.
  bool times_tell_order() const { return times_tell_order_; }
  void set_frames(const std::vector<int32_t>& packets);

  // When each frame is shown, in the stream's time base, never going back; empty where the container does not
  // say.
  std::vector<int64_t> frame_times() const;

  // The header that holds from packet `number` on, which a seek may pass by. Null where all packets have the
  // stream's.
  const std::vector<uint8_t>* header_at(int32_t number) const;
  // Whether another header begins to hold with it, and nothing refers to what was before.
  bool begins_anew(int32_t number) const;

  // How many pictures, at most, are decoded before one that is shown earlier: those that a decoder has to
  // keep back to give them in order. For use when times tell the order.
  int reorder_depth() const;

  // Packet from which decoding has to start to reach `frame`: the last key packet that is neither decoded nor
  // shown after it (a frame shown before its key frame refers to the group of pictures before).
  int32_t start_for(int32_t frame) const;
  // The key packet before packet `number`, or 0.
  int32_t key_before(int32_t number) const;

  // The number of a packet that was read after a seek, or -1 when it cannot be told.
  int32_t find(const AVPacket& packet) const;

 private:
  void note_header(const AVPacket& packet, const AVCodecParameters& stream);
  void order_by_position();
  void rank_by_time();

  std::vector<PacketEntry> packets_;  // in the order of the file
  std::vector<int32_t> by_rank_;      // frame -> packet
  std::vector<int32_t> keys_;         // packet numbers, ascending
  std::vector<int32_t> by_position_;  // packet numbers by place in the file; empty where it does not tell
  std::set<std::vector<uint8_t>> headers_;  // each once, however often they change; none if it is always one
  std::map<int32_t, const std::vector<uint8_t>*> header_from_;  // by the packet that each begins with
  bool times_tell_order_ = true;
  bool plain_ = false;
};

}  // namespace native::video
