// Images to rows of patches and back: with these a convolution whose stride is its kernel size is a linear
// layer. Element (c, y, x) of patch (i, j) is element (c p + y) p + x of row i (width / p) + j.
#pragma once

#include "core/kernel.h"

namespace native {

struct PatchEmbedArgs {
  void* images;  // [batch, channels, height, width]
  void* rows;    // [batch, height / patch * width / patch, channels * patch * patch]
  int64_t batch, channels, height, width, patch;
  int64_t element_size;  // bytes
};

DECLARE_KERNEL(patch_embed_rows, PatchEmbedArgs);    // images to rows
DECLARE_KERNEL(patch_embed_images, PatchEmbedArgs);  // rows to images

// images [N, C, H, W] of any dtype, H and W multiples of patch. Returns rows [N, (H / p) (W / p), C p p].
Tensor patch_embed_rows(const Tensor& images, int64_t patch);

// The inverse, [N, C, height, width], which is also its derivative.
Tensor patch_embed_images(const Tensor& rows, int64_t height, int64_t width, int64_t patch);

}  // namespace native
