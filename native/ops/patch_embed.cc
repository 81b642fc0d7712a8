#include "ops/patch_embed.h"

#include "core/launch.h"

namespace native {

DEFINE_KERNEL(patch_embed_rows, PatchEmbedArgs);
DEFINE_KERNEL(patch_embed_images, PatchEmbedArgs);

namespace {

void check_size(int64_t height, int64_t width, int64_t patch) {
  // The bound keeps patch * patch from running over to 0.
  CHECK(patch >= 1 && patch <= (1 << 15) && height % patch == 0 && width % patch == 0, "ERR_SHAPE",
        "patch_embed: images of ", height, " x ", width, " do not divide into patches of ", patch, " x ",
        patch);
}

}  // namespace

Tensor patch_embed_rows(const Tensor& images, int64_t patch) {
  CHECK(images.ndim() == 4, "ERR_SHAPE", "patch_embed: images must be [N, C, H, W], got ", images.describe());
  const int64_t batch = images.size(0), channels = images.size(1), height = images.size(2),
                width = images.size(3);
  check_size(height, width, patch);
  Tensor rows = empty({batch, height / patch * (width / patch), channels * patch * patch}, images.dtype(),
                      images.device());
  launch(patch_embed_rows_kernel,
         PatchEmbedArgs{images.raw(), rows.raw(), batch, channels, height, width, patch,
                        static_cast<int64_t>(dtype_size(images.dtype()))},
         {&images});
  return rows;
}

Tensor patch_embed_images(const Tensor& rows, int64_t height, int64_t width, int64_t patch) {
  check_size(height, width, patch);
  CHECK(rows.ndim() == 3 && rows.size(1) == height / patch * (width / patch) &&
            rows.size(2) % (patch * patch) == 0,
        "ERR_SHAPE", "patch_embed: rows ", rows.describe(), " are not the patches of images of ", height,
        " x ", width);
  const int64_t batch = rows.size(0), channels = rows.size(2) / (patch * patch);
  Tensor images = empty({batch, channels, height, width}, rows.dtype(), rows.device());
  launch(patch_embed_images_kernel,
         PatchEmbedArgs{images.raw(), rows.raw(), batch, channels, height, width, patch,
                        static_cast<int64_t>(dtype_size(rows.dtype()))},
         {&rows});
  return images;
}

}  // namespace native
