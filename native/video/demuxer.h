// One video stream of a container, packet by packet. Only containers and codecs of an allow-list are opened,
// and nothing that a file names (playlists, references, other protocols) is ever followed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "byte_source.h"

extern "C" {
#include <libavformat/avformat.h>
}

namespace native::video {

// What becomes of a frame that cannot be decoded: the call fails, the frame is left out, or the nearest
// sound frame takes its place (of two equally near ones the earlier).
enum class OnError { kError, kSkip, kNearest };

struct Options {
  int threads = 1;                        // decoder threads
  int64_t max_pixels = int64_t{1} << 26;  // of one picture
  int stream = -1;                        // index in the container; -1: FFmpeg's choice of the best
  int64_t max_frames = int64_t{1} << 23;  // packets of the video
  int max_streams = 64;
  int64_t probe_bytes = 5'000'000;  // read at most this much to find the streams
  // Size of the pictures after rotation. One side, or the shorter one, gives the other in proportion; 0, 0, 0
  // is the size of the video.
  int width = 0, height = 0, short_side = 0;
  OnError on_error = OnError::kError;
};

// FFmpeg's words for an error number.
std::string error_text(int error);

class Demuxer {
 public:
  // Throws ERR_VIDEO_FORMAT, ERR_VIDEO_LIMIT, ERR_ARGUMENT (no such stream) and what ByteSource and Stop
  // throw.
  Demuxer(const Source& source, const Options& options, const Stop& stop);
  ~Demuxer();
  Demuxer(const Demuxer&) = delete;
  Demuxer& operator=(const Demuxer&) = delete;

  const std::string& name() const { return name_; }
  AVStream* stream() const { return format_->streams[stream_]; }
  const AVCodec* codec() const { return codec_; }
  AVRational guessed_frame_rate() const { return av_guess_frame_rate(format_, stream(), nullptr); }

  // Reads the stream's next packet; false at the end. Throws ERR_VIDEO_DECODE where the container is damaged,
  // and what `stop` and ByteSource::check_reads throw.
  bool read(AVPacket* packet, const Stop& stop);

  // Goes to a key frame at or before `timestamp` (stream time base); false when the container cannot.
  bool seek(int64_t timestamp, const Stop& stop);

  // Starts again at the first packet, by opening the container anew.
  void rewind(const Stop& stop);

  // FFmpeg's own way to find out about streams decodes some of their pictures, which takes longer than
  // opening and indexing together. It is left out where the container tells as much; this makes up for it,
  // and starts again at the first packet. False when nothing was left out.
  bool probe(const Stop& stop);

 private:
  void open(const Stop& stop);
  void close();
  void check(const Stop& stop) const;
  void note_sizes();
  void select_stream();
  bool header_suffices() const;
  bool first_packet_confirms_size(const Stop& stop);

  std::string name_;
  Options options_;
  ByteSource bytes_;
  AVIOContext* io_ = nullptr;
  AVFormatContext* format_ = nullptr;
  const AVCodec* codec_ = nullptr;
  int stream_ = -1;
  std::vector<int64_t> header_pixels_;  // by stream, 0 where the header says nothing
  AVPacket* first_ = nullptr;           // looked at already, and read next; or empty
  bool probes_ = false;                 // as FFmpeg does
};

}  // namespace native::video
