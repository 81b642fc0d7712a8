// Images to rows of patches and back: the strided copy [N, C, H / p, p, W / p, p] <-> [N, H / p, W / p, C, p,
// p], whose innermost runs of p elements are contiguous on both sides. Floor: every byte read and written
// once.
#include <utility>

#include "common/strided_copy.h"
#include "ops/patch_embed.h"

namespace native {
namespace {

using namespace cuda;

void copy_patches(const PatchEmbedArgs& a, bool to_rows) {
  const int64_t p = a.patch, down = a.height / p, across = a.width / p;
  const Shape shape{a.batch, down, across, a.channels, p, p};
  const Shape images{a.channels * a.height * a.width, p * a.width, p, a.height * a.width, a.width, 1};
  const Shape rows = contiguous_strides(shape);
  copy_strided({to_rows ? a.images : a.rows, to_rows ? a.rows : a.images,
                to_rows ? strided_loop("patch_embed", shape, images, rows)
                        : strided_loop("patch_embed", shape, rows, images),
                shape_numel(shape), 0, nullptr, static_cast<int>(a.element_size)});
}

void rows(const PatchEmbedArgs& a) { copy_patches(a, true); }
void images(const PatchEmbedArgs& a) { copy_patches(a, false); }

REGISTER_KERNEL(patch_embed_rows, cuda, rows);
REGISTER_KERNEL(patch_embed_images, cuda, images);

}  // namespace
}  // namespace native
