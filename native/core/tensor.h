// A tensor: shared storage, an element offset, a shape and a dtype. Always contiguous and row-major; no
// arithmetic.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "core/shape.h"

namespace native {

struct WeightPacking;  // core/weight_packing.h

// A matrix as a WeightPacking keeps it, or none.
struct PackedMatrix {
  const WeightPacking* packing = nullptr;
  int64_t rows = 0, columns = 0;
};

class Storage {
 public:
  Storage(DeviceType device, size_t bytes, bool host_writes);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  const DeviceType device;
  const size_t bytes;
  void* const data;

  // Queues what puts the elements back in order, if they are not.
  void want_order() {
    linear_uses_ = 0;
    if (packed_.packing) unpack();
  }
  // Counts a use by a linear layer. From the `uses`-th since somebody wanted the order, the elements are
  // packed (queued here at first); returns whether they are.
  bool pack_after(int uses, const PackedMatrix& wanted);

 private:
  void unpack();

  PackedMatrix packed_;  // once everything queued has run
  int linear_uses_ = 0;
};

class Tensor {
 public:
  Tensor() = default;
  Tensor(std::shared_ptr<Storage> storage, Shape shape, DType dtype, int64_t offset = 0);

  const Shape& shape() const { return shape_; }
  int64_t size(int dim) const { return shape_[dim < 0 ? shape_.size() + dim : dim]; }
  int ndim() const { return static_cast<int>(shape_.size()); }
  int64_t numel() const { return numel_; }
  size_t nbytes() const { return static_cast<size_t>(numel_) * dtype_size(dtype_); }
  DType dtype() const { return dtype_; }
  DeviceType device() const { return storage_->device; }
  bool defined() const { return storage_ != nullptr; }
  const std::shared_ptr<Storage>& storage() const { return storage_; }

  // The address of the first element, for work that is queued now.
  void* raw() const {
    storage_->want_order();
    return static_cast<char*>(storage_->data) + offset_ * dtype_size(dtype_);
  }
  template <class T>
  T* data() const {
    return static_cast<T*>(raw());
  }

  Tensor reshape(Shape shape) const;                // same elements, same storage
  Tensor rows(int64_t first, int64_t count) const;  // view of rows first .. first + count - 1 of dimension 0
  std::string describe() const;                     // "float32[8, 77]"

 private:
  std::shared_ptr<Storage> storage_;
  Shape shape_;
  int64_t numel_ = 0;
  int64_t offset_ = 0;
  DType dtype_ = DType::float32;
};

Tensor empty(const Shape& shape, DType dtype, DeviceType device);
inline Tensor empty_like(const Tensor& x) { return empty(x.shape(), x.dtype(), x.device()); }

}  // namespace native
