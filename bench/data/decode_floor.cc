// What FFmpeg alone needs for 8 evenly spaced frames of a clip on one thread: opening it as every program
// does, and decoding just what has to be decoded (from the key frame before each wanted frame, without the
// pictures that nothing refers to), with no conversion. Prints milliseconds of processor time, the medians of
// REPEATS.
//
//   decode_floor REPEATS CLIP
extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
}
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr int kWanted = 8;

double now_ms() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

void check(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "decode_floor: %s failed\n", what);
  std::exit(1);
}

struct Clip {
  AVFormatContext* format = nullptr;
  AVCodecContext* codec = nullptr;
  int stream = -1;

  explicit Clip(const char* path) {
    check(avformat_open_input(&format, path, nullptr, nullptr) >= 0, "opening");
    check(avformat_find_stream_info(format, nullptr) >= 0, "finding streams");
    const AVCodec* decoder = nullptr;
    stream = av_find_best_stream(format, AVMEDIA_TYPE_VIDEO, -1, -1, &decoder, 0);
    check(stream >= 0, "finding the video");
    codec = avcodec_alloc_context3(decoder);
    check(avcodec_parameters_to_context(codec, format->streams[stream]->codecpar) >= 0, "parameters");
    codec->thread_count = 1;
    check(avcodec_open2(codec, decoder, nullptr) >= 0, "opening the decoder");
    for (unsigned i = 0; i < format->nb_streams; ++i) {
      if (static_cast<int>(i) != stream) format->streams[i]->discard = AVDISCARD_ALL;
    }
  }
  // The next packet of the video; those of other streams may have been read to find them.
  bool read(AVPacket* packet) const {
    do {
      av_packet_unref(packet);
      if (av_read_frame(format, packet) < 0) return false;
    } while (packet->stream_index != stream);
    return true;
  }
  ~Clip() {
    avcodec_free_context(&codec);
    avformat_close_input(&format);
  }
};

struct Packet {
  int64_t pts;
  bool key, wanted;
};

// The packets in the order of the file, those of the wanted frames marked.
std::vector<Packet> index_of(const char* path) {
  Clip clip(path);
  std::vector<Packet> packets;
  AVPacket* packet = av_packet_alloc();
  while (clip.read(packet)) {
    packets.push_back({packet->pts, (packet->flags & AV_PKT_FLAG_KEY) != 0, false});
  }
  av_packet_free(&packet);
  std::vector<int64_t> times;
  for (const Packet& entry : packets) times.push_back(entry.pts);
  std::sort(times.begin(), times.end());
  for (size_t k = 0; k < kWanted; ++k) {
    const int64_t time = times[(2 * k + 1) * times.size() / (2 * kWanted)];
    for (Packet& entry : packets) entry.wanted = entry.wanted || entry.pts == time;
  }
  return packets;
}

// Decodes the wanted pictures and returns how many came out.
int decode(Clip& clip, const std::vector<Packet>& packets) {
  AVPacket* packet = av_packet_alloc();
  AVFrame* frame = av_frame_alloc();
  int pictures = 0;
  const auto receive = [&] {
    while (avcodec_receive_frame(clip.codec, frame) == 0) {
      pictures += std::any_of(packets.begin(), packets.end(),
                              [&](const Packet& entry) { return entry.wanted && entry.pts == frame->pts; });
    }
  };
  size_t next = 0;  // packet that is read next
  for (size_t group = 0; group < packets.size();) {
    size_t end = group + 1, last = packets.size();
    while (end < packets.size() && !packets[end].key) ++end;
    for (size_t i = group; i < end; ++i) {
      if (packets[i].wanted) last = i;
    }
    if (last < packets.size()) {
      if (group != next) {
        check(av_seek_frame(clip.format, clip.stream, packets[group].pts, AVSEEK_FLAG_BACKWARD) >= 0, "seek");
        avcodec_flush_buffers(clip.codec);
        next = group;
      }
      for (; next <= last; ++next) {
        do {  // a seek may land on an earlier key frame
          check(clip.read(packet), "reading");
        } while (packet->pts != packets[next].pts);
        clip.codec->skip_frame = packets[next].wanted ? AVDISCARD_DEFAULT : AVDISCARD_NONREF;
        check(avcodec_send_packet(clip.codec, packet) >= 0, "decoding");
        receive();
      }
      if (next < packets.size()) {  // what follows belongs to another group, or to nobody
        avcodec_send_packet(clip.codec, nullptr);
        receive();
        avcodec_flush_buffers(clip.codec);
        next = packets.size();
      }
    }
    group = end;
  }
  avcodec_send_packet(clip.codec, nullptr);
  receive();
  av_frame_free(&frame);
  av_packet_free(&packet);
  return pictures;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  check(argc == 3, "usage: decode_floor REPEATS CLIP; that");
  av_log_set_level(AV_LOG_QUIET);
  const std::vector<Packet> packets = index_of(argv[2]);
  std::vector<double> opening, all;
  for (int repeat = 0; repeat <= std::atoi(argv[1]); ++repeat) {
    const double start = now_ms();
    Clip clip(argv[2]);
    const double opened = now_ms();
    const int pictures = decode(clip, packets);
    const double done = now_ms();
    check(pictures == kWanted, "decoding of all wanted frames");
    if (repeat == 0) continue;  // brings the file into memory
    opening.push_back(opened - start);
    all.push_back(done - start);
  }
  std::printf("{\"openMs\": %.3f, \"decodeMs\": %.3f}\n", median(opening), median(all));
}
