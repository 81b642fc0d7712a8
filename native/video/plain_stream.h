// Which streams leave nothing of theirs in a decoder.
#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
}

namespace native::video {

// A stream is plain when its pictures depend on nothing but its header and its slices, from each key frame
// on, so that a decoder that decodes one cannot tell it from another with the same header once it is flushed:
// H.264 in packets with lengths, with one parameter set of sequences, for whole frames, in the header and
// none in the stream, whose key frames all reset the decoder. Beside slices there may be x264's note of its
// version, which decoders remember: what they do differently for old ones is out of reach here.
class PlainStream {
 public:
  explicit PlainStream(const AVCodecParameters& parameters);

  // Looks at a packet, the stream's first or any later one.
  void look(const AVPacket& packet);

  // Whether it has been plain so far.
  bool plain() const { return plain_; }

 private:
  bool plain_;
  bool begun_ = false;
};

}  // namespace native::video
