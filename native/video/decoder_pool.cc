#include "decoder_pool.h"

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

extern "C" {
#include <libavutil/imgutils.h>
}

namespace native::video {
namespace {

constexpr size_t kMaxIdle = 8;
constexpr int64_t kMaxIdleBytes = int64_t{64} << 20;

struct Pool {
  std::mutex mutex;
  std::vector<Decoder> idle;  // the one that has waited longest comes first
  size_t opened = 0, reused = 0;
};

// Never destroyed: a thread that was given up may outlive everything else.
Pool& pool() {
  static Pool* const pool = new Pool;
  return *pool;
}

// All that goes into opening, byte for byte. What is the same for all decoders of this package is left out.
std::string key_of(const AVCodecContext& context, const AVCodec* codec) {
  std::string key;
  const auto add = [&key](const auto& value) {
    key.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  add(codec);
  add(context.codec_tag);
  add(context.width);
  add(context.height);
  add(context.coded_width);
  add(context.coded_height);
  add(context.pix_fmt);
  add(context.bits_per_coded_sample);
  add(context.bits_per_raw_sample);
  add(context.profile);
  add(context.level);
  add(context.has_b_frames);
  add(context.sample_aspect_ratio);
  add(context.field_order);
  add(context.color_range);
  add(context.color_primaries);
  add(context.color_trc);
  add(context.colorspace);
  add(context.chroma_sample_location);
  add(context.thread_count);
  add(context.thread_type);
  add(context.max_pixels);
  add(context.flags);
  add(context.flags2);
  add(context.err_recognition);
  add(context.skip_loop_filter);
  add(context.skip_idct);
  if (context.extradata_size > 0)
    key.append(reinterpret_cast<const char*>(context.extradata), static_cast<size_t>(context.extradata_size));
  return key;
}

// The pictures that a flushed decoder holds on to, at most.
int64_t bytes_of(const AVCodecContext& context) {
  const int picture = av_image_get_buffer_size(context.pix_fmt, std::max(context.coded_width, context.width),
                                               std::max(context.coded_height, context.height), 64);
  return int64_t{std::max(picture, 0)} * (context.refs + context.has_b_frames + 3);
}

void free_all(std::vector<Decoder>& decoders) {
  for (Decoder& decoder : decoders) avcodec_free_context(&decoder.context);
}

}  // namespace

int open_decoder(AVCodecContext* context, const AVCodec* codec, bool shared, Decoder& decoder) {
  decoder = {context, key_of(*context, codec), 0};
  if (shared) {
    const std::lock_guard<std::mutex> lock(pool().mutex);
    std::vector<Decoder>& idle = pool().idle;
    const auto found = std::find_if(idle.begin(), idle.end(),
                                    [&decoder](const Decoder& entry) { return entry.key == decoder.key; });
    if (found != idle.end()) {
      found->context->pkt_timebase = context->pkt_timebase;
      avcodec_free_context(&decoder.context);
      decoder = std::move(*found);
      idle.erase(found);
      ++pool().reused;
      return 0;
    }
  }
  const int result = avcodec_open2(context, codec, nullptr);
  decoder.reorder_depth = context->has_b_frames;
  const std::lock_guard<std::mutex> lock(pool().mutex);
  if (result >= 0) ++pool().opened;
  return result;
}

// FFmpeg 7.1's HEVC decoder still gives pictures then that were ready before.
void flush_decoder(AVCodecContext* context, AVFrame* frame) {
  avcodec_flush_buffers(context);
  while (avcodec_receive_frame(context, frame) == 0) {
  }
  av_frame_unref(frame);
}

void close_decoder(Decoder& decoder, bool shared, AVFrame* frame) {
  AVCodecContext* const context = std::exchange(decoder.context, nullptr);
  if (context == nullptr) return;
  std::vector<Decoder> superfluous{Decoder{context, std::move(decoder.key), decoder.reorder_depth}};
  if (shared && bytes_of(*context) <= kMaxIdleBytes) {
    flush_decoder(context, frame);
    context->has_b_frames = decoder.reorder_depth;
    const std::lock_guard<std::mutex> lock(pool().mutex);
    std::vector<Decoder>& idle = pool().idle;
    idle.push_back(std::move(superfluous.front()));
    superfluous.clear();
    int64_t bytes = 0;
    for (const Decoder& entry : idle) bytes += bytes_of(*entry.context);
    while (idle.size() > kMaxIdle || bytes > kMaxIdleBytes) {
      bytes -= bytes_of(*idle.front().context);
      superfluous.push_back(std::move(idle.front()));
      idle.erase(idle.begin());
    }
  }
  free_all(superfluous);
}

bool close_idle_decoders() {
  std::vector<Decoder> idle;
  {
    const std::lock_guard<std::mutex> lock(pool().mutex);
    idle.swap(pool().idle);
  }
  free_all(idle);
  return !idle.empty();
}

DecoderCounts decoder_counts() {
  const std::lock_guard<std::mutex> lock(pool().mutex);
  return {pool().opened, pool().reused, pool().idle.size()};
}

}  // namespace native::video
