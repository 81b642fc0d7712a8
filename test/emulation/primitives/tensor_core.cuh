// The primitives of cuda/primitives/tensor_core.cuh for the host emulation.
#pragma once

#include <deque>
#include <primitives/device.cuh>
#include <vector>

#include "driver.h"
#include "tensor_core_sum.h"

namespace native::cuda {

// The cp.async copies of a thread. The destination is poisoned when the copy is issued; the data is read and
// lands when the thread waits for it.
struct AsyncCopies {
  struct Copy {
    unsigned char* shared;
    const unsigned char* global;
    int valid;
  };
  std::vector<Copy> open;
  std::deque<std::vector<Copy>> groups;
};

inline void copy_async_16(void* shared, const void* global, int valid = 16, Site site = here()) {
  emulation::shared_offset(shared, 16, 16, "copy_async_16");
  if (reinterpret_cast<uintptr_t>(global) % 16 || valid < 0 || valid > 16) {
    emulation::fail("copy_async_16 of ", valid, " bytes from ", global, " at ", site.file, ":", site.line);
  }
  emulation::check_previous_grid("copy_async_16");
  if (valid && !emulation::is_device_memory(global, static_cast<size_t>(valid)))
    emulation::fail("copy_async_16 reads outside device memory at ", site.file, ":", site.line);
  std::memset(shared, 0xFF, 16);
  emulation::thread_state<AsyncCopies>().open.push_back(
      {static_cast<unsigned char*>(shared), static_cast<const unsigned char*>(global), valid});
}
inline void copy_async_commit(Site site = here()) {
  if (emulation::skipped("copy_async_commit", site)) return;
  AsyncCopies& copies = emulation::thread_state<AsyncCopies>();
  copies.groups.push_back(std::move(copies.open));
  copies.open.clear();
}
template <int kPending>
inline void copy_async_wait(Site site = here()) {
  if (emulation::skipped("copy_async_wait", site)) return;
  AsyncCopies& copies = emulation::thread_state<AsyncCopies>();
  while (copies.groups.size() > kPending) {
    for (const AsyncCopies::Copy& copy : copies.groups.front()) {
      if (copy.valid) std::memcpy(copy.shared, copy.global, static_cast<size_t>(copy.valid));
      std::memset(copy.shared + copy.valid, 0, static_cast<size_t>(16 - copy.valid));
    }
    copies.groups.pop_front();
  }
}

struct MatrixOperand {
  uint32_t* registers;
  const unsigned char* row;
};
// Counts the passes over shared memory that eight 16-byte rows need: rows in the same bank group wait for
// each other.
inline void count_row_conflicts(const unsigned char* const (&rows)[8]) {
  int most = 0;
  for (int i = 0; i < 8; ++i) {
    int same = 0;
    for (int j = 0; j < 8; ++j) {
      const bool group =
          (reinterpret_cast<uintptr_t>(rows[i]) ^ reinterpret_cast<uintptr_t>(rows[j])) % 128 / 16 == 0;
      bool repeated = false;
      for (int k = 0; k < j; ++k) repeated |= rows[k] == rows[j];
      same += group && !repeated;
    }
    most = same > most ? same : most;
  }
  emulation::count_bank_conflicts(static_cast<uint64_t>(most - 1));
}
template <int kMatrices, bool kTransposed>
inline void load_matrices(uint32_t* registers, const void* row, const char* what, Site site) {
  // Rows of matrices that the instruction does not load are not looked at.
  MatrixOperand operand{registers, static_cast<const unsigned char*>(row)};
  if (lane_index() < 8 * kMatrices) emulation::shared_offset(row, 16, 16, what);
  emulation::exchange_warp(what, site, operand, [](MatrixOperand* const* lanes) {
    for (int m = 0; m < kMatrices; ++m) {
      const unsigned char* rows[8];
      for (int r = 0; r < 8; ++r) rows[r] = lanes[8 * m + r]->row;
      count_row_conflicts(rows);
      uint16_t elements[8][8];
      for (int r = 0; r < 8; ++r) std::memcpy(elements[r], rows[r], 16);
      for (int l = 0; l < 32; ++l) {
        const int i = l / 4, j = 2 * (l % 4);
        const uint16_t low = kTransposed ? elements[j][i] : elements[i][j];
        const uint16_t high = kTransposed ? elements[j + 1][i] : elements[i][j + 1];
        lanes[l]->registers[m] = low | static_cast<uint32_t>(high) << 16;
      }
    }
  });
}
inline void load_matrix_x4(uint32_t (&r)[4], const void* row, Site site = here()) {
  load_matrices<4, false>(r, row, "load_matrix_x4", site);
}
inline void load_matrix_x4_transposed(uint32_t (&r)[4], const void* row, Site site = here()) {
  load_matrices<4, true>(r, row, "load_matrix_x4_transposed", site);
}
inline void load_matrix_x2(uint32_t (&r)[2], const void* row, Site site = here()) {
  load_matrices<2, false>(r, row, "load_matrix_x2", site);
}
inline void load_matrix_x2_transposed(uint32_t (&r)[2], const void* row, Site site = here()) {
  load_matrices<2, true>(r, row, "load_matrix_x2_transposed", site);
}

// cvt.rna: half a unit of the last of the 10 bits is added to the magnitude, and the rest cut off.
inline uint32_t to_tf32(uint32_t bits) {
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return 0x7FFFFFFFu;  // the one NaN of conversions
  if (magnitude == 0x7F800000u) return bits;
  return (bits + 0x1000u) & ~0x1FFFu;
}

struct MmaOperand {
  float* d;
  const uint32_t *a, *b;
};
template <class T>
inline void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site = here()) {
  MmaOperand operand{d, a, b};
  emulation::exchange_warp("mma", site, operand, [](MmaOperand* const* lanes) {
    float a_rows[16][16], b_rows[16][8], sums[16][8];
    for (int l = 0; l < 32; ++l) {
      const int row = l / 4, column = 2 * (l % 4);
      for (int i = 0; i < 4; ++i) {
        const float2 pair = unpack2<T>(lanes[l]->a[i]);
        float* target = &a_rows[row + 8 * (i & 1)][column + 8 * (i >> 1)];
        target[0] = pair.x;
        target[1] = pair.y;
      }
      for (int i = 0; i < 2; ++i) {
        const float2 pair = unpack2<T>(lanes[l]->b[i]);
        b_rows[column + 8 * i][row] = pair.x;
        b_rows[column + 8 * i + 1][row] = pair.y;
      }
      for (int i = 0; i < 4; ++i) sums[row + 8 * (i >> 1)][column + (i & 1)] = lanes[l]->d[i];
    }
    for (int m = 0; m < 16; ++m) emulation::add_products(a_rows[m], 1, b_rows[0], 8, 16, false, sums[m]);
    for (int l = 0; l < 32; ++l) {
      for (int i = 0; i < 4; ++i) lanes[l]->d[i] = sums[l / 4 + 8 * (i >> 1)][2 * (l % 4) + (i & 1)];
    }
  });
}

// tf32: the hardware cuts off the lower 13 bits; here an operand that has any was not rounded, which is an
// error.
template <>
inline void mma<float>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site) {
  MmaOperand operand{d, a, b};
  const auto check = [&](uint32_t bits) {
    if (bits & 0x1FFFu && (bits & 0x7FFFFFFFu) <= 0x7F800000u) {
      emulation::fail("mma of ", float_of_bits(bits), ", which is no tf32, at ", site.file, ":", site.line);
    }
  };
  for (const uint32_t bits : a) check(bits);
  for (const uint32_t bits : b) check(bits);
  emulation::exchange_warp("mma", site, operand, [](MmaOperand* const* lanes) {
    float a_rows[16][8], b_rows[8][8], sums[16][8];
    for (int l = 0; l < 32; ++l) {
      const int row = l / 4, column = l % 4;
      for (int i = 0; i < 4; ++i) {
        std::memcpy(&a_rows[row + 8 * (i & 1)][column + 4 * (i >> 1)], &lanes[l]->a[i], 4);
        sums[row + 8 * (i >> 1)][2 * column + (i & 1)] = lanes[l]->d[i];
      }
      for (int i = 0; i < 2; ++i) std::memcpy(&b_rows[column + 4 * i][row], &lanes[l]->b[i], 4);
    }
    for (int m = 0; m < 16; ++m) emulation::add_products(a_rows[m], 1, b_rows[0], 8, 8, true, sums[m]);
    for (int l = 0; l < 32; ++l) {
      for (int i = 0; i < 4; ++i) lanes[l]->d[i] = sums[l / 4 + 8 * (i >> 1)][2 * (l % 4) + (i & 1)];
    }
  });
}

}  // namespace native::cuda
