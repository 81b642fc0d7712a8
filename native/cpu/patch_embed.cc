// Patches on the CPU: one copy per row of a patch, in either direction.
#include "ops/patch_embed.h"

#include <cstring>

#include "core/parallel.h"

namespace native {
namespace {

// Calls copy(image_bytes, row_bytes, count) for every run of `patch` elements.
template <class Copy>
void for_runs(const PatchEmbedArgs& a, const Copy& copy) {
  const int64_t down = a.height / a.patch, across = a.width / a.patch;
  const int64_t run = a.patch * a.element_size, row_size = a.channels * a.patch * run;
  parallel_for(a.batch * down, 1, [&](int64_t begin, int64_t end) {
    for (int64_t band = begin; band < end; ++band) {
      const int64_t image = band / down, top = band % down * a.patch;
      for (int64_t line = 0; line < a.channels * a.patch; ++line) {
        const int64_t channel = line / a.patch, y = top + line % a.patch;
        char* source = static_cast<char*>(a.images) +
                       ((image * a.channels + channel) * a.height + y) * a.width * a.element_size;
        char* target = static_cast<char*>(a.rows) + band * across * row_size + line * run;
        for (int64_t i = 0; i < across; ++i)
          copy(source + i * run, target + i * row_size, static_cast<size_t>(run));
      }
    }
  });
}

void to_rows(const PatchEmbedArgs& a) {
  for_runs(a, [](char* image, char* row, size_t size) { std::memcpy(row, image, size); });
}

void to_images(const PatchEmbedArgs& a) {
  for_runs(a, [](char* image, char* row, size_t size) { std::memcpy(image, row, size); });
}

REGISTER_KERNEL(patch_embed_rows, cpu, to_rows);
REGISTER_KERNEL(patch_embed_images, cpu, to_images);

}  // namespace
}  // namespace native
