#include "demuxer.h"

#include <string.h>

#include <algorithm>

#include "allow_list.h"
#include "mp4_boxes.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/avstring.h>
#include <libavutil/dict.h>
}

namespace native::video {
namespace {

// A read ends with AVERROR_EXIT when the stop is requested.
struct StopScope {
  StopScope(ByteSource& bytes, const Stop& stop) : bytes(bytes) { bytes.set_stop(&stop); }
  ~StopScope() { bytes.set_stop(nullptr); }
  ByteSource& bytes;
};

int refuse_open(AVFormatContext*, AVIOContext**, const char*, int, AVDictionary**) { return AVERROR(EPERM); }

int interrupted(void* bytes) { return static_cast<ByteSource*>(bytes)->stopped() ? 1 : 0; }

bool begins_as_mp4(ByteSource& bytes) {
  uint8_t head[8];
  return bytes.read_at(0, head, sizeof head) == sizeof head && memcmp(head + 4, "ftyp", 4) == 0;
}

// Options for FFmpeg's probe decoders, one dictionary per stream.
class StreamOptions {
 public:
  StreamOptions(unsigned count, int64_t max_pixels) : entries_(count, nullptr) {
    for (AVDictionary*& entry : entries_) {
      av_dict_set_int(&entry, "max_pixels", max_pixels, 0);
      av_dict_set_int(&entry, "threads", 1, 0);
    }
  }
  ~StreamOptions() {
    for (AVDictionary*& entry : entries_) av_dict_free(&entry);
  }
  AVDictionary** data() { return entries_.empty() ? nullptr : entries_.data(); }

 private:
  std::vector<AVDictionary*> entries_;
};

}  // namespace

std::string error_text(int error) {
  char text[AV_ERROR_MAX_STRING_SIZE] = {};
  av_strerror(error, text, sizeof text);
  return text;
}

Demuxer::Demuxer(const Source& source, const Options& options, const Stop& stop)
    : name_(source.name()), options_(options), bytes_(source, stop) {
  try {
    {
      const StopScope scope(bytes_, stop);
      check_sample_counts(bytes_, name_);
      check(stop);
    }
    open(stop);
  } catch (...) {
    close();
    throw;
  }
}

Demuxer::~Demuxer() { close(); }

void Demuxer::close() {
  av_packet_free(&first_);
  avformat_close_input(&format_);
  ByteSource::close_context(io_);
  io_ = nullptr;
}

void Demuxer::check(const Stop& stop) const {
  stop.check(name_);
  bytes_.check_reads();
}

void Demuxer::rewind(const Stop& stop) {
  close();
  open(stop);
}

bool Demuxer::probe(const Stop& stop) {
  if (probes_) return false;
  probes_ = true;
  rewind(stop);
  return true;
}

void Demuxer::open(const Stop& stop) {
  stop.check(name_);
  CHECK(bytes_.size() > 0, "ERR_VIDEO_FORMAT", name_, ": the file is empty");
  const StopScope scope(bytes_, stop);
  io_ = bytes_.open_context();
  format_ = avformat_alloc_context();
  CHECK(format_ != nullptr, "ERR_OUT_OF_MEMORY", name_, ": no memory to open the container");
  format_->pb = io_;
  format_->io_open = refuse_open;
  format_->interrupt_callback = {interrupted, &bytes_};
  AVDictionary* settings = nullptr;
  av_dict_set(&settings, "format_whitelist", allowed_formats().names.c_str(), 0);
  av_dict_set(&settings, "codec_whitelist", allowed_codecs().names.c_str(), 0);
  av_dict_set(&settings, "protocol_whitelist", "none", 0);
  av_dict_set_int(&settings, "max_streams", options_.max_streams, 0);
  av_dict_set_int(&settings, "probesize", options_.probe_bytes, 0);
  av_dict_set_int(&settings, "formatprobesize", 1 << 20, 0);
  av_dict_set_int(&settings, "enable_drefs", 0, 0);  // mov: no references to other files
  av_dict_set_int(&settings, "use_absolute_path", 0, 0);
  const int opened = avformat_open_input(&format_, "", nullptr, &settings);  // frees format_ on failure
  av_dict_free(&settings);
  check(stop);
  const auto& formats = allowed_formats().restriction;
  CHECK(opened != AVERROR_INVALIDDATA || formats || !begins_as_mp4(bytes_), "ERR_VIDEO_FORMAT", name_,
        ": begins as an MP4 file, but its index (moov) is not there or damaged; most have it at their end: ",
        "is the file cut off?");
  CHECK(opened >= 0, "ERR_VIDEO_FORMAT", name_, ": not a video file this package reads (", error_text(opened),
        "); containers: ",
        formats ? concat(*formats, " (NATIVE_VIDEO_FORMATS)")
                : "mp4, mov, mkv, webm, avi, mpeg-ts, mpeg-ps, ogg, flv, ivf");
  CHECK(format_->nb_streams <= static_cast<unsigned>(options_.max_streams), "ERR_VIDEO_LIMIT", name_,
        ": has ", format_->nb_streams, " streams, more than the limit of ", options_.max_streams);
  probes_ = probes_ || !header_suffices();
  if (!probes_) {
    select_stream();
    if (!first_packet_confirms_size(stop)) probe(stop);
    return;
  }
  note_sizes();
  StreamOptions per_stream(format_->nb_streams, options_.max_pixels);
  const int found = avformat_find_stream_info(format_, per_stream.data());
  check(stop);
  CHECK(found >= 0, "ERR_VIDEO_FORMAT", name_, ": no streams could be found (", error_text(found), ")");
  select_stream();
}

// True for files with one video, H.264 or HEVC, in MP4 or Matroska, when the header has all that is asked for
// later. (The decoders find out the rest from the stream, and the order of frames is known from their times.)
bool Demuxer::header_suffices() const {
  const char* container = format_->iformat->name;
  if (strstr(container, "mp4") == nullptr && strstr(container, "matroska") == nullptr) return false;
  const AVStream* video = nullptr;
  for (unsigned i = 0; i < format_->nb_streams; ++i) {
    if (format_->streams[i]->codecpar->codec_type != AVMEDIA_TYPE_VIDEO) continue;
    if (video != nullptr) return false;
    video = format_->streams[i];
  }
  if (video == nullptr) return false;
  const AVCodecParameters& parameters = *video->codecpar;
  return (parameters.codec_id == AV_CODEC_ID_H264 || parameters.codec_id == AV_CODEC_ID_HEVC) &&
         parameters.extradata_size > 0 && parameters.width > 0 && parameters.height > 0 &&
         video->avg_frame_rate.num > 0 && video->avg_frame_rate.den > 0;
}

// FFmpeg forgets a size that is above the limit of the decoder it probes with.
void Demuxer::note_sizes() {
  header_pixels_.clear();
  for (unsigned i = 0; i < format_->nb_streams; ++i) {
    const AVCodecParameters& parameters = *format_->streams[i]->codecpar;
    header_pixels_.push_back(int64_t{parameters.width} * parameters.height);
  }
}

// The header may give another size than the stream has.
bool Demuxer::first_packet_confirms_size(const Stop& stop) {
  std::unique_ptr<AVPacket, void (*)(AVPacket*)> packet(av_packet_alloc(),
                                                        [](AVPacket* p) { av_packet_free(&p); });
  const AVCodecParameters* parameters = stream()->codecpar;
  std::unique_ptr<AVCodecParserContext, void (*)(AVCodecParserContext*)> parser(
      av_parser_init(parameters->codec_id), av_parser_close);
  std::unique_ptr<AVCodecContext, void (*)(AVCodecContext*)> codec(
      avcodec_alloc_context3(nullptr), [](AVCodecContext* c) { avcodec_free_context(&c); });
  CHECK(packet && codec && avcodec_parameters_to_context(codec.get(), parameters) >= 0, "ERR_OUT_OF_MEMORY",
        name_, ": no memory for a parser");
  if (!parser || !read(packet.get(), stop)) return false;
  parser->flags |= PARSER_FLAG_COMPLETE_FRAMES;
  uint8_t* unused = nullptr;
  int unused_size = 0;
  av_parser_parse2(parser.get(), codec.get(), &unused, &unused_size, packet->data, packet->size, packet->pts,
                   packet->dts, packet->pos);
  first_ = packet.release();
  return parser->width == parameters->width && parser->height == parameters->height;
}

void Demuxer::select_stream() {
  if (options_.stream >= 0) {
    CHECK(static_cast<unsigned>(options_.stream) < format_->nb_streams &&
              format_->streams[options_.stream]->codecpar->codec_type == AVMEDIA_TYPE_VIDEO,
          "ERR_ARGUMENT", name_, ": stream ", options_.stream, " is not a video stream; the file has ",
          format_->nb_streams, " streams");
    stream_ = options_.stream;
  } else {
    stream_ = av_find_best_stream(format_, AVMEDIA_TYPE_VIDEO, -1, -1, nullptr, 0);
    CHECK(stream_ >= 0, "ERR_VIDEO_FORMAT", name_, ": has no video stream");
  }
  const AVCodecParameters* parameters = stream()->codecpar;
  codec_ = avcodec_find_decoder(parameters->codec_id);
  const AllowList& codecs = allowed_codecs();
  CHECK(codec_ != nullptr && av_match_list(codec_->name, codecs.names.c_str(), ','), "ERR_VIDEO_FORMAT",
        name_, ": codec ", avcodec_get_name(parameters->codec_id), " is not one this package decodes",
        codecs.restriction ? concat(" (NATIVE_VIDEO_CODECS allows: ", *codecs.restriction, ")") : "");
  const auto place = static_cast<size_t>(stream_);
  const int64_t in_header = place < header_pixels_.size() ? header_pixels_[place] : 0;
  const int64_t pixels = int64_t{parameters->width} * parameters->height;
  CHECK(std::max(pixels, in_header) <= options_.max_pixels, "ERR_VIDEO_LIMIT", name_, ": pictures of ",
        pixels > 0 ? concat(parameters->width, " x ", parameters->height) : concat(in_header),
        " pixels exceed the limit of ", options_.max_pixels, " pixels (maxPixels)");
  CHECK(parameters->width > 0 && parameters->height > 0, "ERR_VIDEO_FORMAT", name_,
        ": the size of the picture is unknown, or above the limit of ", options_.max_pixels,
        " pixels (maxPixels)");
  for (unsigned i = 0; i < format_->nb_streams; ++i) {
    if (static_cast<int>(i) != stream_) format_->streams[i]->discard = AVDISCARD_ALL;
  }
}

bool Demuxer::read(AVPacket* packet, const Stop& stop) {
  if (first_ != nullptr && first_->buf != nullptr) {
    av_packet_move_ref(packet, first_);
    return true;
  }
  const StopScope scope(bytes_, stop);
  for (;;) {
    const int result = av_read_frame(format_, packet);
    if (result < 0) stop.check(name_);
    bytes_.check_reads();
    if (result == AVERROR_EOF) return false;
    if (result == AVERROR(EAGAIN)) continue;
    if (result < 0) {
      fail("ERR_VIDEO_DECODE", name_, ": the file is damaged or truncated (", error_text(result), ")");
    }
    if (packet->stream_index == stream_) return true;
    av_packet_unref(packet);
  }
}

bool Demuxer::seek(int64_t timestamp, const Stop& stop) {
  if (first_ != nullptr) av_packet_unref(first_);
  io_->error = 0;  // of a read that was stopped or failed, of which seeking tells nothing to FFmpeg
  const StopScope scope(bytes_, stop);
  const int result = av_seek_frame(format_, stream_, timestamp, AVSEEK_FLAG_BACKWARD);
  check(stop);
  return result >= 0;
}

}  // namespace native::video
