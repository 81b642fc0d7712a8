#include "geometry.h"

#include <math.h>

#include <algorithm>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/display.h>
}

namespace native::video {
namespace {

int in_proportion(int side, int of, int to) {
  const double scaled = static_cast<double>(side) * to / of + 0.5;
  return static_cast<int>(std::clamp(scaled, 1.0, 1e9));
}

// Streams had side data of their own before FFmpeg 6.1; it lies with the parameters of their codec since.
const uint8_t* side_data(const AVStream* stream, AVPacketSideDataType type) {
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 31, 102)
  const AVCodecParameters* parameters = stream->codecpar;
  const AVPacketSideData* found =
      av_packet_side_data_get(parameters->coded_side_data, parameters->nb_coded_side_data, type);
  return found ? found->data : nullptr;
#else
  return av_stream_get_side_data(stream, type, nullptr);
#endif
}

}  // namespace

Orientation orientation_of(const AVStream* stream) {
  const auto* matrix = reinterpret_cast<const int32_t*>(side_data(stream, AV_PKT_DATA_DISPLAYMATRIX));
  if (matrix == nullptr) return {};
  const double angle = -av_display_rotation_get(matrix);
  if (isnan(angle)) return {};
  const int rotation = ((static_cast<int>(lround(angle / 90)) * 90) % 360 + 360) % 360;
  switch (rotation) {
    case 90:
      return {90, matrix[3] > 0};
    case 180:
      return {180, (matrix[0] < 0) != (matrix[4] < 0)};
    case 270:
      return {270, matrix[3] < 0};
    default:
      return {0, matrix[4] < 0};
  }
}

Size output_size(const Size& upright, const Options& options, const std::string& name) {
  const int short_side = options.short_side;
  CHECK(short_side == 0 || (options.width == 0 && options.height == 0), "ERR_ARGUMENT", name,
        ": shortSide excludes width and height; give one or the other");
  Size size = upright;
  if (short_side > 0) {
    const int shorter = std::min(upright.width, upright.height);
    size = {in_proportion(upright.width, shorter, short_side),
            in_proportion(upright.height, shorter, short_side)};
  } else if (options.width > 0 || options.height > 0) {
    size.width =
        options.width > 0 ? options.width : in_proportion(upright.width, upright.height, options.height);
    size.height =
        options.height > 0 ? options.height : in_proportion(upright.height, upright.width, options.width);
  }
  CHECK(int64_t{size.width} * size.height <= options.max_pixels, "ERR_VIDEO_LIMIT", name, ": pictures of ",
        size.width, " x ", size.height, " pixels exceed the limit of ", options.max_pixels,
        " pixels (maxPixels)");
  return size;
}

}  // namespace native::video
