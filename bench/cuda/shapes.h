// The products of the models, at full size or cut down.
#pragma once

#include <cstdint>
#include <vector>

#include "timing.h"

namespace bench {

struct Model {
  const char* name;
  int64_t frames, tokens, width;  // frames of a whole batch
};
// Training steps.
inline std::vector<Model> models() {
  if (scale() == Scale::tiny) return {{"tiny", 3, 5, 64}};
  const int64_t part = scale() == Scale::quick ? 16 : 1;
  return {{"b32-8f-b64", 512 / part, 50, 768},
          {"b16-8f-b8", 64 / part, 197, 768},
          {"b16-8f-b32", 256 / part, 197, 768},
          {"l14-8f-b16", 128 / part, 257, 1024}};
}
// Inference of one video.
inline std::vector<Model> single_videos() {
  if (scale() == Scale::tiny) return {};
  return {{"b32-8f-b1", 8, 50, 768}, {"b16-8f-b1", 8, 197, 768}, {"l14-8f-b1", 8, 257, 1024}};
}

struct Layer {
  const char* name;
  int64_t in, out, extra;  // sizes in units of the width; extra rows per frame (the message row of qkv)
};
inline constexpr Layer kLayers[] = {{"qkv", 1, 3, 1}, {"out", 1, 1, 0}, {"fc1", 1, 4, 0}, {"fc2", 4, 1, 0}};

inline int64_t rows_of(const Model& model, const Layer& layer) {
  return model.frames * (model.tokens + layer.extra);
}

}  // namespace bench
