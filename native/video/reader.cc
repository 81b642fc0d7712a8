#include "reader.h"

#include <string.h>

#include <algorithm>
#include <numeric>

extern "C" {
#include <libavutil/log.h>
}

namespace native::video {
namespace {

constexpr int kMaxErrors = 64;  // of the decoder in a row, without a frame or a wish for more data

// Codecs of which pictures are kept back or left out here. (MPEG-4 files may hold two frames in one packet.)
bool reorders(const AVCodecContext& codec) {
  return codec.codec_id == AV_CODEC_ID_H264 || codec.codec_id == AV_CODEC_ID_HEVC;
}

// Whether decoding could begin with this picture, as far as decoders tell.
bool may_be_first(const AVFrame& frame) {
  return frame.pict_type == AV_PICTURE_TYPE_I || frame.pict_type == AV_PICTURE_TYPE_NONE;
}

}  // namespace

Reader::Reader(const Source& source, const Options& options, const Stop& stop)
    : options_(options), demuxer_(source, options, stop) {
  try {
    packet_ = av_packet_alloc();
    frame_ = av_frame_alloc();
    CHECK(packet_ && frame_, "ERR_OUT_OF_MEMORY", name(), ": no memory for a decoder");
    index_ = PacketIndex::scan(demuxer_, options_.max_frames, stop);
    if (!index_.times_tell_order() && demuxer_.probe(stop))
      index_ = PacketIndex::scan(demuxer_, options_.max_frames, stop);
    open_codec();
    if (!index_.times_tell_order()) find_frames(stop);
    CHECK(index_.frame_count() > 0, "ERR_VIDEO_EMPTY", name(), ": the video has no frames");
    fill_info();
  } catch (...) {
    release();
    throw;
  }
}

Reader::~Reader() { release(); }

void Reader::release() {
  close_codec();
  av_packet_free(&packet_);
  av_frame_free(&frame_);
}

void Reader::close_codec() {
  codec_ = nullptr;
  close_decoder(decoder_, decoder_is_sound(), frame_);
  given_.reset();
}

void Reader::open_codec() {
  close_codec();
  AVCodecContext* context = avcodec_alloc_context3(nullptr);
  CHECK(context != nullptr, "ERR_OUT_OF_MEMORY", name(), ": no memory for a decoder");
  int result = avcodec_parameters_to_context(context, demuxer_.stream()->codecpar);
  if (index_.times_tell_order() && context->codec_id == AV_CODEC_ID_H264) {
    context->has_b_frames = std::min(std::max(context->has_b_frames, index_.reorder_depth()), 16);
  }
  context->thread_count = options_.threads;
  context->max_pixels = options_.max_pixels;
  context->pkt_timebase = demuxer_.stream()->time_base;
  context->flags |= AV_CODEC_FLAG_UNALIGNED;  // what is cropped at the left is cropped to the pixel
#ifndef __x86_64__
  context->idct_algo = FF_IDCT_SIMPLE;  // that of NEON rounds otherwise
#endif
  // Decoders with threads have a copy of their state in each.
  const bool shared = index_.plain() && index_.times_tell_order() && options_.threads == 1;
  if (shared) given_ = std::make_unique<PlainStream>(*demuxer_.stream()->codecpar);
  decoder_.context = context;  // freed with the reader
  if (result >= 0) result = open_decoder(context, demuxer_.codec(), shared, decoder_);
  used_ = std::chrono::steady_clock::now();
  failed_ = result < 0;
  CHECK(result >= 0, "ERR_VIDEO_FORMAT", name(), ": the ", demuxer_.codec()->name,
        " decoder cannot read the stream (", error_text(result), ")");
  codec_ = decoder_.context;
}

// A decoder that has rested is not worth keeping: idle ones are closed in pauses, and this may be one.
bool Reader::decoder_is_sound() const {
  const auto rested = std::chrono::steady_clock::now() - used_;
  return given_ && given_->plain() && !failed_ && rested < std::chrono::milliseconds(100);
}

void Reader::fill_info() {
  const AVStream* stream = demuxer_.stream();
  const Orientation orientation = orientation_of(stream);
  const Size stored{stream->codecpar->width, stream->codecpar->height};
  const Size shown = output_size(stored.turned(orientation.sideways()), options_, name());
  const Size scaled = shown.turned(orientation.sideways());
  converter_ =
      std::make_unique<RgbConverter>(scaled.width, scaled.height, orientation.rotation, orientation.flip);
  info_.frame_count = index_.frame_count();
  info_.width = shown.width;
  info_.height = shown.height;
  info_.rotation = orientation.rotation;
  info_.codec = avcodec_get_name(stream->codecpar->codec_id);
  AVRational rate = stream->avg_frame_rate;
  if (rate.num <= 0 || rate.den <= 0) rate = demuxer_.guessed_frame_rate();
  info_.fps = rate.num > 0 && rate.den > 0 ? av_q2d(rate) : 25;
  const double unit = av_q2d(stream->time_base);
  const std::vector<int64_t> times = index_.frame_times();
  // Where packets are not frames, a rate that counts packets is not that of frames: AVI gives H.264 twice
  // its.
  if (!index_.times_tell_order() && times.size() > 1 && times.back() > times.front()) {
    const auto steps = static_cast<double>(times.size() - 1);
    info_.fps = steps * stream->time_base.den /
                (static_cast<double>(times.back() - times.front()) * stream->time_base.num);
  }
  for (int32_t frame = 0; frame < info_.frame_count; ++frame) {
    if (index_.packet(index_.packet_of(frame)).key) info_.key_frames.push_back(frame);
    info_.timestamps.push_back(times.empty() ? frame / info_.fps
                                             : static_cast<double>(times[static_cast<size_t>(frame)]) * unit);
  }
  info_.duration = info_.timestamps.back() - info_.timestamps.front() + 1 / info_.fps;
}

// The slow and certain way: decode everything and see which packets give pictures, and in which order.
void Reader::find_frames(const Stop& stop) {
  std::vector<int32_t> packets;
  std::vector<bool> seen(static_cast<size_t>(index_.packet_count()));
  start_at(0, stop);
  for (int32_t number; (number = next_picture({}, stop)) >= 0;) {
    if (!seen[static_cast<size_t>(number)]) packets.push_back(number);
    seen[static_cast<size_t>(number)] = true;
  }
  index_.set_frames(packets);
}

bool Reader::read_packet(const Stop& stop) {
  if (held_) return true;
  held_ = demuxer_.read(packet_, stop) && next_packet_ < index_.packet_count();
  return held_;
}

// Brings the demuxer to packet `target` or one before it, through the container's own index.
bool Reader::land_at_or_before(int32_t target, const Stop& stop) {
  const PacketEntry& entry = index_.packet(target);
  for (const int64_t time : {entry.pts, entry.dts}) {
    if (!seekable_ || time == AV_NOPTS_VALUE || !demuxer_.seek(time, stop)) continue;
    if (!demuxer_.read(packet_, stop)) continue;
    next_packet_ = index_.find(*packet_);
    held_ = true;
    seekable_ = next_packet_ >= 0;
    if (seekable_ && next_packet_ <= target) return true;
    av_packet_unref(packet_);
    held_ = false;
  }
  return false;
}

// A flush does not empty a decoder: that of MPEG-4 may leave out what it would have shown before.
void Reader::start_anew(const Stop& stop) {
  open_codec();
  start_at(0, stop);
  anew_ = true;
}

void Reader::start_at(int32_t target, const Stop& stop) {
  if (codec_ == nullptr || index_.header_at(0) != nullptr) {
    open_codec();
  } else {
    flush_decoder(codec_, frame_);
  }
  header_at_ = target;
  draining_ = ended_ = anew_ = false;
  last_frame_ = -1;
  run_start_ = target;
  // Containers may call key frames what are none. That of H.264 shows nothing before a picture to begin with;
  // other decoders make up what is referred to.
  based_ = target == 0 || codec_->codec_id == AV_CODEC_ID_H264;
  const bool ahead = next_packet_ >= 0 && next_packet_ <= target && index_.key_before(target) <= next_packet_;
  if (!ahead) {
    av_packet_unref(packet_);
    held_ = false;
    next_packet_ = -1;
    if (!land_at_or_before(target, stop)) {
      demuxer_.rewind(stop);
      next_packet_ = 0;
    }
  }
  for (; next_packet_ < target; ++next_packet_) {
    CHECK(read_packet(stop), "ERR_VIDEO_DECODE", name(), ": the file changed while it was read");
    av_packet_unref(packet_);
    held_ = false;
  }
}

// Hands the next packet to the decoder, numbered by its place in the file, or tells it that the stream has
// ended: where it has, and where a new run begins anyway.
void Reader::feed(const std::vector<int32_t>& wanted, const Stop& stop) {
  if (leaves_out_next() || at_new_header() || !read_packet(stop)) {
    avcodec_send_packet(codec_, nullptr);
    draining_ = true;
    return;
  }
  held_ = false;
  const int32_t number = next_packet_++;
  if (number == header_at_) give_header();
  const int32_t frame = index_.packet(number).rank;
  packet_->pts = number;
  packet_->dts = AV_NOPTS_VALUE;
  // What is neither wanted nor referred to need not be decoded at all. (What comes after all that is wanted
  // may be what the next call wants.)
  const bool needed = !reorders(*codec_) || decodes_all_ || wanted.empty() || frame > wanted.back() ||
                      std::binary_search(wanted.begin(), wanted.end(), frame);
  codec_->skip_frame = needed ? AVDISCARD_DEFAULT : AVDISCARD_NONREF;
  // A damaged packet gives no picture, which is noticed where the picture is wanted. An empty one would mean
  // the end.
  if (given_) given_->look(*packet_);
  const int result = packet_->size > 0 ? avcodec_send_packet(codec_, packet_) : 0;
  failed_ = failed_ || result < 0;
  if (result == AVERROR_INVALIDDATA) note_damage(number, true);
  av_packet_unref(packet_);
}

// A decoder keeps what the next header does not say, the range of colours for one. So each gets a new one,
// and pictures are the same wherever decoding began.
bool Reader::at_new_header() const { return next_packet_ != header_at_ && index_.begins_anew(next_packet_); }

void Reader::give_header() {
  const std::vector<uint8_t>* const header = index_.header_at(header_at_);
  if (header == nullptr) return;
  uint8_t* const to = av_packet_new_side_data(packet_, AV_PKT_DATA_NEW_EXTRADATA, header->size());
  CHECK(to != nullptr, "ERR_OUT_OF_MEMORY", name(), ": no memory for a header");
  std::copy(header->begin(), header->end(), to);
}

// Decodes up to the next picture, left in frame_. Returns the number of its packet, or -1 at the end.
int32_t Reader::next_picture(const std::vector<int32_t>& wanted, const Stop& stop) {
  for (int errors = 0; !ended_;) {
    stop.check(name());
    const int result = avcodec_receive_frame(codec_, frame_);
    failed_ = failed_ || (result < 0 && result != AVERROR(EAGAIN) && result != AVERROR_EOF) ||
              (result == 0 && is_damaged());
    if (result == 0) {
      const int64_t number = frame_->pts;
      if (number < 0 || number >= index_.packet_count()) continue;
      based_ = based_ || (number == run_start_ && may_be_first(*frame_));
      constexpr int kBitstream = FF_DECODE_ERROR_INVALID_BITSTREAM | FF_DECODE_ERROR_DECODE_SLICES;
      if (is_damaged())
        note_damage(static_cast<int32_t>(number), (frame_->decode_error_flags & kBitstream) != 0);
      return static_cast<int32_t>(number);
    } else if (result == AVERROR(EAGAIN) && !draining_) {
      feed(wanted, stop);
      errors = 0;
    } else if (result == AVERROR_EOF && !leaves_out_next() && at_new_header()) {
      open_codec();
      header_at_ = next_packet_;
      draining_ = false;
    } else if (result == AVERROR_EOF || ++errors > kMaxErrors) {
      ended_ = true;
    } else if (result == AVERROR_INVALIDDATA) {
      note_damage(next_packet_ - 1, true);
    }
  }
  return -1;
}

// A decoder gives a picture only when it has seen what follows it. Where decoding begins anew after `target`
// anyway, it need not decode that.
void Reader::plan_drain(int32_t target, const std::vector<int32_t>& wanted) {
  const auto next = std::upper_bound(wanted.begin(), wanted.end(), target);
  drain_after_ =
      reorders(*codec_) && !decodes_all_ && next != wanted.end() ? index_.last_packet_of(target) : -1;
  resume_at_ = next == wanted.end() ? -1 : index_.start_for(*next);
}

bool Reader::leaves_out_next() const {
  return drain_after_ >= 0 && next_packet_ > drain_after_ && next_packet_ < resume_at_;
}

void Reader::decode_until(int32_t target, const std::vector<int32_t>& wanted, const Stop& stop) {
  if (target == last_frame_) return;
  const int32_t start = index_.start_for(target);
  const bool drained_early = draining_ && next_packet_ < index_.packet_count();
  if (next_packet_ < 0 || ended_ || drained_early || target <= last_frame_ || start > next_packet_) {
    start_at(start, stop);
  }
  plan_drain(target, wanted);
  for (int attempt = 0;;) {
    const int32_t number = next_picture(wanted, stop);
    if (!decodes_all_ && !passed_damage_.empty()) {
      // What a decoder makes up depends on what it decoded before: from here on everything, as FFmpeg does.
      decodes_all_ = true;
      drain_after_ = -1;
      start_at(run_start_, stop);
      continue;
    }
    last_frame_ = number < 0 ? info_.frame_count : std::max(last_frame_, index_.packet(number).rank);
    const bool found = number >= 0 && index_.packet(number).rank == target;
    if (found && !is_damaged() && based_) return;
    if (last_frame_ < target) continue;
    // The decoder went past it or had to make up parts of it. It may have needed an earlier start; only what
    // a new one fails at from the beginning is damaged.
    if (anew_) {
      const double time = info_.timestamps[static_cast<size_t>(target)];
      fail("ERR_VIDEO_DECODE", name(), ": frame ", target, " of ", info_.frame_count, " (at ", time,
           " s) cannot be decoded; the video is damaged or truncated there");
    }
    drain_after_ = -1;
    const int32_t earlier = attempt++ == 0 ? index_.key_before(run_start_) : 0;
    earlier > 0 ? start_at(earlier, stop) : start_anew(stop);
  }
}

std::vector<int32_t> Reader::go_through(const int32_t* frames, size_t count, OnError on_error,
                                        const Stop& stop, const Show& show) {
  for (size_t i = 0; i < count; ++i) {
    CHECK(frames[i] >= 0 && frames[i] < info_.frame_count, "ERR_FRAME_RANGE", name(), ": frame ", frames[i],
          " does not exist; the video has frames 0 to ", info_.frame_count - 1);
  }
  std::vector<size_t> slots(count);
  std::iota(slots.begin(), slots.end(), size_t{0});
  std::stable_sort(slots.begin(), slots.end(),
                   [frames](size_t a, size_t b) { return frames[a] < frames[b]; });
  std::vector<int32_t> wanted(frames, frames + count);
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  std::vector<int32_t> shown(count, -1);
  size_t place = 0;
  for (const int32_t target : wanted) {
    const int32_t frame = picture_for(target, wanted, on_error, stop);
    const size_t first = place;
    for (; place < count && frames[slots[place]] == target; ++place) shown[slots[place]] = frame;
    if (frame >= 0) show(slots.data() + first, place - first);
  }
  used_ = std::chrono::steady_clock::now();
  return shown;
}

std::vector<int32_t> Reader::visit(const int32_t* frames, size_t count, OnError on_error, const Stop& stop,
                                   const Use& use) {
  return go_through(frames, count, on_error, stop, [&](const size_t* slots, size_t slot_count) {
    const ImageView picture = converter_->convert(*frame_);
    for (size_t i = 0; i < slot_count; ++i) use(slots[i], picture);
  });
}

std::vector<int32_t> Reader::read(const int32_t* frames, size_t count, uint8_t* out, const Stop& stop) {
  const size_t bytes = static_cast<size_t>(info_.width) * static_cast<size_t>(info_.height) * 3;
  return go_through(frames, count, on_error(), stop, [&](const size_t* slots, size_t slot_count) {
    uint8_t* const first = out + slots[0] * bytes;
    converter_->convert(*frame_, first);
    for (size_t i = 1; i < slot_count; ++i) memcpy(out + slots[i] * bytes, first, bytes);
  });
}

}  // namespace native::video
