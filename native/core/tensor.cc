#include "core/tensor.h"

namespace native {

std::string shape_string(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  text += "]";
  return text;
}

int64_t shape_numel(const Shape& shape) {
  int64_t numel = 1;
  for (int64_t size : shape) {
    CHECK(size >= 0, "ERR_SHAPE", "negative size in shape ", shape_string(shape));
    CHECK(!__builtin_mul_overflow(numel, size, &numel) && numel < (int64_t{1} << 48), "ERR_SHAPE", "shape ",
          shape_string(shape), " has too many elements");
  }
  return numel;
}

Storage::Storage(DeviceType device, size_t bytes, bool host_writes)
    : device(device), bytes(bytes), data(backend(device).allocate(bytes, host_writes)) {}

Storage::~Storage() { backend(device).release(data, bytes); }

Tensor::Tensor(std::shared_ptr<Storage> storage, Shape shape, DType dtype, int64_t offset)
    : storage_(std::move(storage)),
      shape_(std::move(shape)),
      numel_(shape_numel(shape_)),
      offset_(offset),
      dtype_(dtype) {
  CHECK(offset_ >= 0 && static_cast<size_t>(offset_ + numel_) * dtype_size(dtype_) <= storage_->bytes,
        "ERR_SHAPE", "a tensor ", describe(), " does not fit its storage");
}

Tensor Tensor::reshape(Shape shape) const {
  CHECK(shape_numel(shape) == numel_, "ERR_SHAPE", "cannot reshape ", describe(), " to ",
        shape_string(shape));
  return Tensor(storage_, std::move(shape), dtype_, offset_);
}

Tensor Tensor::rows(int64_t first, int64_t count) const {
  CHECK(ndim() > 0 && first >= 0 && count >= 0 && first + count <= shape_[0], "ERR_SHAPE", "rows ", first,
        " to ", first + count, " are outside ", describe());
  Shape shape = shape_;
  const int64_t stride = shape_[0] ? numel_ / shape_[0] : 0;
  shape[0] = count;
  return Tensor(storage_, std::move(shape), dtype_, offset_ + first * stride);
}

// Not by way of a stream: every queued operation is described.
std::string Tensor::describe() const { return dtype_name(dtype_) + shape_string(shape_); }

Tensor empty(const Shape& shape, DType dtype, DeviceType device) {
  const size_t bytes = static_cast<size_t>(shape_numel(shape)) * dtype_size(dtype);
  return Tensor(std::make_shared<Storage>(device, bytes, false), shape, dtype);
}

}  // namespace native
