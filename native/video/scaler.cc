#include "scaler.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "../core/error.h"

extern "C" {
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
}

namespace native::video {
namespace {

constexpr size_t kKept = 4;  // contexts per thread, of 50 to 500 kB

struct Release {
  void operator()(SwsContext* context) const { sws_freeContext(context); }
};
using Context = std::unique_ptr<SwsContext, Release>;

Context make(const ScalerSettings& settings) {
  Context context(sws_alloc_context());
  CHECK(context, "ERR_OUT_OF_MEMORY", "no memory for a colour converter");
  const auto set = [&context](const char* name, int value) { av_opt_set_int(context.get(), name, value, 0); };
  // The settings of FFmpeg's scale filter: bicubic, chroma sited between two rows for planar 4:2:0.
  set("sws_flags", SWS_BICUBIC);
  set("srcw", settings.source_width);
  set("srch", settings.source_height);
  set("src_format", settings.source_format);
  set("dstw", settings.width);
  set("dsth", settings.height);
  set("dst_format", AV_PIX_FMT_RGB24);
  if (settings.source_format == AV_PIX_FMT_YUV420P) set("src_v_chr_pos", 128);
  if (sws_init_context(context.get(), nullptr, nullptr) < 0) {
    const char* format = av_get_pix_fmt_name(static_cast<AVPixelFormat>(settings.source_format));
    fail("ERR_VIDEO_DECODE", "pixel format ", format ? format : "unknown", " cannot be converted to RGB");
  }
  int *unused_source = nullptr, *unused_target = nullptr;
  int source_range = 0, target_range = 0, brightness = 0, contrast = 0, saturation = 0;
  sws_getColorspaceDetails(context.get(), &unused_source, &source_range, &unused_target, &target_range,
                           &brightness, &contrast, &saturation);
  if (settings.source_range != AVCOL_RANGE_UNSPECIFIED)
    source_range = settings.source_range == AVCOL_RANGE_JPEG;
  const int* coefficients = coefficients_of(settings.source_space);
  sws_setColorspaceDetails(context.get(), coefficients, source_range, coefficients, target_range, brightness,
                           contrast, saturation);
  return context;
}

struct Kept {
  ScalerSettings settings;
  Context context;
};

}  // namespace

// For RGB, which files of YUV are wrongly tagged as, libswscale itself has those of BT.709.
const int* coefficients_of(int space) {
  return sws_getCoefficients(space == AVCOL_SPC_RGB ? SWS_CS_DEFAULT : space);
}

SwsContext* scaler_for(const ScalerSettings& settings) {
  static thread_local std::vector<Kept> kept;  // the one used last comes first
  const auto found = std::find_if(kept.begin(), kept.end(),
                                  [&settings](const Kept& entry) { return entry.settings == settings; });
  if (found != kept.end()) {
    std::rotate(kept.begin(), found, found + 1);
  } else {
    Context context = make(settings);
    if (kept.size() == kKept) kept.pop_back();
    kept.insert(kept.begin(), Kept{settings, std::move(context)});
  }
  return kept.front().context.get();
}

}  // namespace native::video
