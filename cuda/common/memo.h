// Results of a function of a few numbers, kept so that a launch does not search or ask the driver again.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

namespace native::cuda {

// Up to `capacity` results by key; beyond that it starts over, so that shapes which never repeat do not pile
// up. Thread-safe.
template <class Value, size_t keys, size_t capacity = 1024>
class Memo {
 public:
  using Key = std::array<int64_t, keys>;

  // What `compute` gave for this key, now or earlier.
  template <class F>
  Value get(const Key& key, F&& compute) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const auto found = values_.find(key);
      if (found != values_.end()) return found->second;
    }
    const Value value = compute();
    std::lock_guard<std::mutex> lock(mutex_);
    if (values_.size() >= capacity) values_.clear();
    values_.emplace(key, value);
    ++computed_;
    return value;
  }

  size_t size() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return values_.size();
  }
  // How often a result had to be computed.
  int64_t computed() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return computed_;
  }

 private:
  mutable std::mutex mutex_;
  std::map<Key, Value> values_;
  int64_t computed_ = 0;
};

}  // namespace native::cuda
