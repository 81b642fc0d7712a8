// libswscale's contexts, which convert colours and scale in one pass.
#pragma once

extern "C" {
#include <libswscale/swscale.h>
}

namespace native::video {

// All that a context depends on. Format, colour space and range are numbers of FFmpeg's enums.
struct ScalerSettings {
  int source_width, source_height, source_format, source_space, source_range;
  int width, height;  // of the result, RGB24

  bool operator==(const ScalerSettings& other) const {
    return source_width == other.source_width && source_height == other.source_height &&
           source_format == other.source_format && source_space == other.source_space &&
           source_range == other.source_range && width == other.width && height == other.height;
  }
};

// libswscale's coefficients for the number of a colour space: those of BT.601 where it has none for YUV.
const int* coefficients_of(int space);

// A context with these settings, valid until the thread's next call. Each thread keeps the few it used last,
// for whatever file comes next: a whole picture converted by one depends on nothing converted before. Throws
// ERR_VIDEO_DECODE for a pixel format that cannot be converted.
SwsContext* scaler_for(const ScalerSettings& settings);

}  // namespace native::video
