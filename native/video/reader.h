// Exact frames of one video by number, in any order.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "../core/image.h"
#include "decoder_pool.h"
#include "geometry.h"
#include "packet_index.h"
#include "rgb_converter.h"

extern "C" {
#include <libavcodec/avcodec.h>
}

namespace native::video {

struct Info {
  int frame_count, width, height;  // size after rotation and scaling
  double fps;
  int rotation;  // degrees clockwise
  std::string codec;
  double duration;  // seconds
  std::vector<int32_t> key_frames;
  std::vector<double> timestamps;  // seconds, one per frame
};

// Not for use by two threads at once.
class Reader {
 public:
  // Opens and indexes the video. Throws what Demuxer throws and ERR_VIDEO_EMPTY.
  Reader(const Source& source, const Options& options, const Stop& stop);
  ~Reader();

  const std::string& name() const { return demuxer_.name(); }
  const Info& info() const { return info_; }

  OnError on_error() const { return options_.on_error; }

  // Calls `use(slot, picture)` once for each of the `count` frame numbers, in the order of decoding; `slot`
  // is the place of the number in `frames`. Every needed group of pictures is decoded once, and only wanted
  // frames are converted. Returns the number of the frame that each slot got: another one than asked for
  // where kNearest replaced it, -1 where kSkip left it out. Throws ERR_FRAME_RANGE before any work,
  // ERR_VIDEO_DECODE for a damaged frame (kError) or when no frame is sound (kNearest), and what `stop`
  // throws.
  using Use = std::function<void(size_t slot, const ImageView& picture)>;
  std::vector<int32_t> visit(const int32_t* frames, size_t count, OnError on_error, const Stop& stop,
                             const Use& use);

  // The same with RGB bytes [count, height, width, 3] to `out` and the rule of the options. What is left out
  // is not written.
  std::vector<int32_t> read(const int32_t* frames, size_t count, uint8_t* out, const Stop& stop);

  // The frames, ascending, that the decoder rejected or had to make up on its way to others, so far. Pictures
  // behind one, up to the next key frame, may show traces of it.
  const std::set<int32_t>& passed_damage() const { return passed_damage_; }

 private:
  void open_codec();
  void close_codec();
  void find_frames(const Stop& stop);
  void fill_info();
  void release();
  bool decoder_is_sound() const;

  void start_at(int32_t packet, const Stop& stop);
  void start_anew(const Stop& stop);
  bool land_at_or_before(int32_t packet, const Stop& stop);
  bool read_packet(const Stop& stop);
  bool leaves_out_next() const;
  bool at_new_header() const;
  void give_header();
  void feed(const std::vector<int32_t>& wanted, const Stop& stop);
  int32_t next_picture(const std::vector<int32_t>& wanted, const Stop& stop);
  void plan_drain(int32_t target, const std::vector<int32_t>& wanted);
  void decode_until(int32_t target, const std::vector<int32_t>& wanted, const Stop& stop);

  // Calls `show(slots, count)` for each picture that is left in frame_, with the slots it belongs in.
  using Show = std::function<void(const size_t* slots, size_t count)>;
  std::vector<int32_t> go_through(const int32_t* frames, size_t count, OnError on_error, const Stop& stop,
                                  const Show& show);
  int32_t picture_for(int32_t target, const std::vector<int32_t>& wanted, OnError on_error, const Stop& stop);
  void survey(int32_t target, const Stop& stop);
  int32_t nearest_sound(int32_t target) const;
  bool is_damaged() const;
  void note_damage(int32_t packet, bool certain);

  Options options_;
  Demuxer demuxer_;
  PacketIndex index_;
  Info info_;
  Decoder decoder_;
  AVCodecContext* codec_ = nullptr;  // that of decoder_
  AVPacket* packet_ = nullptr;
  AVFrame* frame_ = nullptr;
  std::unique_ptr<RgbConverter> converter_;

  // Where decoding stands.
  int32_t run_start_ = 0;     // packet at which it began
  int32_t header_at_ = 0;     // packet with which the decoder got its header
  int32_t next_packet_ = -1;  // packet that is read and decoded next, -1: unknown
  int32_t last_frame_ = -1;   // frame delivered last
  bool held_ = false;         // packet_ holds packet `next_packet_` already
  bool draining_ = false;     // the decoder was told that the stream ended
  int32_t drain_after_ = -1;  // packet after which it is told so early, -1: none
  int32_t resume_at_ = -1;    // and the packet where decoding begins anew then
  bool ended_ = false;        // the decoder has delivered its last frame
  bool anew_ = false;         // it was opened for this run, which begins with the first packet
  bool based_ = false;        // this run began with a picture that refers to no others
  bool seekable_ = true;      // false once a seek has landed on a packet that could not be identified

  // Whether the decoder may go to another video: nothing failed in it, and all it was given is plain.
  std::unique_ptr<PlainStream> given_;
  bool failed_ = false;
  std::chrono::steady_clock::time_point used_;  // last

  std::set<int32_t> passed_damage_;
  bool decodes_all_ = false;  // nothing is left out any more, since damage was met

  // What `survey` found: which of the first `surveyed_` frames can be decoded.
  std::vector<bool> sound_;
  int32_t surveyed_ = 0;
};

}  // namespace native::video
