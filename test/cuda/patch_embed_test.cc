// Patches: images to rows and back, for the patch sizes of the models and others, every element size.
#include "ops/patch_embed.h"

#include "check.h"

using namespace check;

TEST_CASE("images to rows of patches and back") {
  struct Case {
    int64_t batch, channels, height, width, patch;
  };
  const Case cases[] = {{2, 3, 32, 64, 16}, {1, 3, 64, 32, 32}, {2, 3, 28, 42, 14}, {3, 1, 6, 4, 2},
                        {2, 3, 5, 7, 1},    {1, 2, 9, 9, 9},    {0, 3, 4, 4, 2}};
  for (DType dtype : {DType::uint8, DType::bfloat16, DType::float32, DType::int64}) {
    for (const Case& c : cases) {
      const int64_t down = c.height / c.patch, across = c.width / c.patch,
                    size = c.channels * c.patch * c.patch;
      const Values images = integers(c.batch * c.channels * c.height * c.width, 1, 0, 120);
      Values rows(images.size());
      for (int64_t n = 0, i = 0; n < c.batch; ++n) {
        for (int64_t channel = 0; channel < c.channels; ++channel) {
          for (int64_t y = 0; y < c.height; ++y) {
            for (int64_t x = 0; x < c.width; ++x, ++i) {
              const int64_t row = (n * down + y / c.patch) * across + x / c.patch;
              const int64_t element = (channel * c.patch + y % c.patch) * c.patch + x % c.patch;
              rows[static_cast<size_t>(row * size + element)] = images[static_cast<size_t>(i)];
            }
          }
        }
      }
      for (int64_t offset : {0, 1}) {
        const std::string name =
            native::concat(native::dtype_name(dtype), " patch ", c.patch, " at ", offset);
        const Tensor x = to_device(images, {c.batch, c.channels, c.height, c.width}, dtype, offset);
        expect_equal(name + " to rows", native::patch_embed_rows(x, c.patch), rows);
        const Tensor r = to_device(rows, {c.batch, down * across, size}, dtype, offset);
        expect_equal(name + " to images", native::patch_embed_images(r, c.height, c.width, c.patch), images);
      }
    }
  }
}
