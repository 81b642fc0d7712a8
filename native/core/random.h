// Philox4x32-10, the counter-based generator of Salmon et al. (SC 2011): value = f(key, counter), so a number
// depends on what it is for and never on who draws it or when. lib/base/philox.ts computes the same numbers.
#pragma once

#include <array>
#include <cstdint>

namespace native {

struct Philox {
  uint64_t seed;    // key
  uint64_t stream;  // upper half of the counter

  // The four 32-bit words at position `index` of the stream.
  std::array<uint32_t, 4> operator()(uint64_t index) const {
    uint32_t c0 = static_cast<uint32_t>(index), c1 = static_cast<uint32_t>(index >> 32);
    uint32_t c2 = static_cast<uint32_t>(stream), c3 = static_cast<uint32_t>(stream >> 32);
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
      const uint64_t p0 = uint64_t{0xD2511F53} * c0, p1 = uint64_t{0xCD9E8D57} * c2;
      const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0,
                     n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
      c1 = static_cast<uint32_t>(p1);
      c3 = static_cast<uint32_t>(p0);
      c0 = n0;
      c2 = n2;
      k0 += 0x9E3779B9;
      k1 += 0xBB67AE85;
    }
    return {c0, c1, c2, c3};
  }

  // Uniform in [0, 1) with 24 random bits, so that every value is exact in float32.
  static float to_uniform(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }
};

}  // namespace native
