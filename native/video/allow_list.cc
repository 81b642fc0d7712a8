#include "allow_list.h"

#include <stdlib.h>

#include <sstream>

extern "C" {
#include <libavutil/avstring.h>
}

namespace native::video {
namespace {

// Playlists, concatenations, image sequences and devices are not among them.
constexpr char kFormats[] =
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,ogg,flv,ivf,h264,hevc,m4v,mpegvideo";
constexpr char kDecoders[] =
    "h264,hevc,vp8,vp9,libvpx,libvpx-vp9,libdav1d,libaom-av1,mpeg4,msmpeg4,msmpeg4v2,h263,mpeg1video,"
    "mpeg2video,mjpeg,theora,flv,prores";

template <class Keep>
AllowList allow_list(const char* known, const char* variable, const Keep& keep) {
  const char* const restriction = getenv(variable);
  if (restriction == nullptr) return {known, {}};
  AllowList list{"", restriction};
  std::istringstream words(known);
  for (std::string name; std::getline(words, name, ',');) {
    if (keep(name.c_str(), restriction)) list.names += (list.names.empty() ? "" : ",") + name;
  }
  // FFmpeg takes an empty list for none.
  if (list.names.empty()) list.names = "none";
  return list;
}

}  // namespace

const AllowList& allowed_formats() {
  static const AllowList list = allow_list(
      kFormats, "NATIVE_VIDEO_FORMATS",
      [](const char* name, const char* restriction) { return av_match_name(name, restriction) != 0; });
  return list;
}

const AllowList& allowed_codecs() {
  static const AllowList list =
      allow_list(kDecoders, "NATIVE_VIDEO_CODECS", [](const char* name, const char* restriction) {
        const AVCodec* const decoder = avcodec_find_decoder_by_name(name);
        return decoder != nullptr && av_match_name(avcodec_get_name(decoder->id), restriction) != 0;
      });
  return list;
}

}  // namespace native::video
