// Decoders that go from one video to the next.
#pragma once

#include <cstddef>
#include <string>

extern "C" {
#include <libavcodec/avcodec.h>
}

namespace native::video {

// An open decoder. What it was opened with is its key.
struct Decoder {
  AVCodecContext* context = nullptr;
  std::string key;
  int reorder_depth = 0;  // has_b_frames after opening; it grows
};

// Opens a decoder with the settings of `context`, which is not open yet and becomes the decoder's. With
// `shared`, an idle one that was opened with the same settings takes its place. Returns FFmpeg's error
// number, 0 or more when it went well.
int open_decoder(AVCodecContext* context, const AVCodec* codec, bool shared, Decoder& decoder);

// Has a decoder forget the pictures it holds, by way of `frame`, which is empty then.
void flush_decoder(AVCodecContext* context, AVFrame* frame);

// Closes a decoder. With `shared` it is flushed and kept for the next video with its key, if there is room.
// Only decoders that a flush makes as new may be shared: see PlainStream.
void close_decoder(Decoder& decoder, bool shared, AVFrame* frame);

// Closes what is idle. Returns whether there was any.
bool close_idle_decoders();

// Of this process: how many were opened, taken over from another video, and are idle now.
struct DecoderCounts {
  size_t opened, reused, idle;
};
DecoderCounts decoder_counts();

}  // namespace native::video
