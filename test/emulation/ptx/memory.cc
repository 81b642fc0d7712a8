// Loads, stores, atomics and conversions of addresses (PTX ISA, "Data Movement and Conversion"). A global or
// generic address is one of the host's, and so is that of a parameter; a shared one counts from the start of
// the block's window, whose first bytes are the system's.
#include <primitives/hopper.cuh>

#include "program.h"
#include "types.h"

namespace emulation::ptx {
namespace {

enum class Space { generic, shared };

unsigned char* shared_place(uint32_t address, size_t bytes) {
  Block& block = current_block();
  const int64_t at = static_cast<int64_t>(address) - static_cast<int64_t>(kSharedReserved);
  if (at < 0 || static_cast<size_t>(at) + bytes > block.shared_bytes)
    fail("access at byte ", at, " of ", block.shared_bytes, " bytes of shared memory");
  return block.shared + at;
}

// The place of an access of so many bytes, which it is aligned to.
template <Space kSpace>
unsigned char* place(const Frame& f, const Instruction& i, uint32_t slot, size_t bytes) {
  const auto address = f.get<uint64_t>(slot) + static_cast<uint64_t>(i.offset);
  if (address % bytes)
    fail("access of ", bytes, " bytes at an address that is no multiple of that, at ", f.program.file, ":",
         i.line);
  if (kSpace == Space::shared) return shared_place(static_cast<uint32_t>(address), bytes);
  return reinterpret_cast<unsigned char*>(address);
}

template <class T, int kCount, Space kSpace>
void load(Frame& f, const Instruction& i) {
  const unsigned char* from = place<kSpace>(f, i, i.o[kCount], sizeof(T) * kCount);
  T values[kCount];
  std::memcpy(values, from, sizeof values);
  for (int n = 0; n < kCount; ++n) f.set<T>(i.o[n], values[n]);
}

template <class T, int kCount, Space kSpace>
void store(Frame& f, const Instruction& i) {
  constexpr size_t kBytes = sizeof(T) * kCount;
  unsigned char* to = place<kSpace>(f, i, i.o[0], kBytes);
  T values[kCount];
  for (int n = 0; n < kCount; ++n) values[n] = f.get<T>(i.o[1 + n]);
  std::memcpy(to, values, sizeof values);
  if (!f.program.asynchronous) return;
  const Block& block = current_block();
  if (to >= block.shared && to < block.shared + block.shared_bytes) note_shared_store(to, kBytes);
}

template <int kCount, Space kSpace>
Execute access(bool loads, std::string_view type) {
  const auto either = [loads](auto t) -> Execute {
    using T = decltype(t);
    return loads ? load<T, kCount, kSpace> : store<T, kCount, kSpace>;
  };
  if (type == "u8" || type == "b8") return either(uint8_t{});
  if (type == "s8") return either(int8_t{});
  return select<kAll>(type, either);
}

// ld and st: their space, hints to the caches, which change nothing here, and how many registers.
Execute load_or_store(const Opcode& opcode) {
  int count = 1;
  Space space = Space::generic;
  std::string_view rest = opcode.modifiers;
  while (!rest.empty()) {
    const std::string_view word = rest.substr(0, rest.find('.'));
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    if (word == "v2") {
      count = 2;
    } else if (word == "v4") {
      count = 4;
    } else if (word == "shared") {
      space = Space::shared;
    } else if (word != "global" && word != "param" && word != "nc" && word != "cs" && word != "wb") {
      return nullptr;
    }
  }
  const bool loads = opcode.name == "ld";
  const auto of = [&](auto counted) {
    constexpr int kCount = decltype(counted)::value;
    return space == Space::shared ? access<kCount, Space::shared>(loads, opcode.type)
                                  : access<kCount, Space::generic>(loads, opcode.type);
  };
  if (count == 4) return of(std::integral_constant<int, 4>{});
  if (count == 2) return of(std::integral_constant<int, 2>{});
  return of(std::integral_constant<int, 1>{});
}

void acquire(Frame& f, const Instruction& i) {
  const auto* from = reinterpret_cast<const int*>(place<Space::generic>(f, i, i.o[1], 4));
  f.set<int>(i.o[0], native::cuda::load_acquire(from, site_of(f, i)));
}
void release(Frame& f, const Instruction& i) {
  auto* to = reinterpret_cast<int*>(place<Space::generic>(f, i, i.o[0], 4));
  native::cuda::store_release(to, f.get<int>(i.o[1]), site_of(f, i));
}
template <class T>
void add_atomically(Frame& f, const Instruction& i) {
  auto* at = reinterpret_cast<T*>(place<Space::generic>(f, i, i.o[1], sizeof(T)));
  f.set<T>(i.o[0], native::cuda::atomic_add(at, f.get<T>(i.o[2]), site_of(f, i)));
}
void compare_and_swap(Frame& f, const Instruction& i) {
  auto* at = reinterpret_cast<int*>(place<Space::generic>(f, i, i.o[1], 4));
  f.set<int>(i.o[0],
             native::cuda::atomic_compare_swap(at, f.get<int>(i.o[2]), f.get<int>(i.o[3]), site_of(f, i)));
}

void keep_address(Frame& f, const Instruction& i) { f.set<uint64_t>(i.o[0], f.get<uint64_t>(i.o[1])); }
void shared_to_generic(Frame& f, const Instruction& i) {
  const auto window = reinterpret_cast<uint64_t>(current_block().shared) - kSharedReserved;
  f.set<uint64_t>(i.o[0], window + f.get<uint64_t>(i.o[1]));
}
void generic_to_shared(Frame& f, const Instruction& i) {
  const auto window = reinterpret_cast<uint64_t>(current_block().shared) - kSharedReserved;
  f.set<uint64_t>(i.o[0], f.get<uint64_t>(i.o[1]) - window);
}

}  // namespace

Execute memory(const Opcode& opcode) {
  if (opcode.text == "ld.acquire.gpu.global.s32") return acquire;
  if (opcode.text == "st.release.gpu.global.s32") return release;
  if (opcode.text == "atom.global.add.u32") return add_atomically<int>;
  if (opcode.text == "atom.global.add.u64") return add_atomically<unsigned long long>;
  if (opcode.text == "atom.global.cas.b32") return compare_and_swap;
  if (opcode.text == "cvta.to.global.u64" || opcode.text == "cvta.param.u64") return keep_address;
  if (opcode.text == "cvta.shared.u64") return shared_to_generic;
  if (opcode.text == "cvta.to.shared.u64") return generic_to_shared;
  if (opcode.name == "ld" || opcode.name == "st") return load_or_store(opcode);
  return nullptr;
}

}  // namespace emulation::ptx
