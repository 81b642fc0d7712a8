// Kernels as nvcc's PTX has them, to be run by the emulation in place of what the host's compiler makes of
// the same source: what a card would run, the inline assembly of cuda/primitives included, one step before
// ptxas. EMULATION_PTX names the folder of the .ptx files.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "scheduler.h"

namespace emulation::ptx {

struct Frame;
struct Instruction;
using Execute = void (*)(Frame&, const Instruction&);

// One instruction. Registers and constants alike are slots of the thread's frame.
struct Instruction {
  static constexpr uint32_t kAlways = 0xFFFFFFFFu;

  Execute execute = nullptr;
  const uint32_t* o = nullptr;  // slots of the operands in their order; those of a {vector} or a|b one by one
  int64_t offset = 0;           // of the address
  uint32_t guard = kAlways;     // the predicate that it is under
  bool unless = false;          // under the predicate's negation
  uint32_t target = 0;          // of a branch
  int count = 0;                // of operands
  int line = 0;
};

// An instruction's name, cut at its dots: "setp.lt.f32" is name "setp", modifiers "lt" and type "f32"; a name
// without dots is all name.
struct Opcode {
  std::string text, name, modifiers, type;

  explicit Opcode(std::string_view text);
};

struct Program {
  std::string name, file;
  std::vector<Instruction> code;
  std::vector<std::vector<uint32_t>> operands;  // what `o` points into
  uint32_t slots = 0;                           // of a frame
  struct Constant {
    uint32_t slot;
    uint64_t value;
  };
  std::vector<Constant> constants;
  std::vector<uint32_t> parameters;     // the slots that hold their addresses
  std::vector<size_t> parameter_bytes;  // as declared
  bool asynchronous = false;            // TMA or wgmma look at its shared memory
};

// A thread that runs a program.
struct Frame {
  const Program& program;
  std::unique_ptr<uint64_t[]> slots;
  uint32_t next = 0;  // instruction
  bool returned = false;
  float sums[128];   // of a product of the warpgroup
  uint32_t left[4];  // its left operand, where that lies in registers

  template <class T>
  T get(uint32_t slot) const {
    static_assert(sizeof(T) <= 8, "fits a register");
    if constexpr (std::is_same_v<T, bool>) {
      return slots[slot] != 0;  // -1 is true
    } else {
      T value;
      std::memcpy(&value, &slots[slot], sizeof value);
      return value;
    }
  }
  // Narrow integers are extended, as loads and conversions into a wider register want it.
  template <class T>
  void set(uint32_t slot, T value) {
    if constexpr (std::is_integral_v<T>) {
      slots[slot] = static_cast<uint64_t>(value);
    } else {
      slots[slot] = 0;
      std::memcpy(&slots[slot], &value, sizeof value);
    }
  }
};

inline Site site_of(const Frame& f, const Instruction& i) { return {f.program.file.c_str(), i.line}; }

// What executes an instruction of this name; null where it is none of the file's.
Execute arithmetic(const Opcode& opcode);              // arithmetic.cc: registers to registers
Execute halves(const Opcode& opcode, size_t results);  // mov of {a, b}: into one register, or into two
Execute conversion(const Opcode& opcode);              // conversion.cc: cvt
Execute memory(const Opcode& opcode);                  // memory.cc: loads, stores, atomics, addresses
Execute machine(const Opcode& opcode);   // machine.cc: barriers, warps, tensor cores, asynchronous copies
Execute special(std::string_view name);  // machine.cc: mov from "%tid.x" and its like

// Translates the kernel whose text, from .entry to its closing brace, is given; `line` is that of .entry. An
// instruction that is not known is one that fails when a thread comes to it. Throws native::Error
// ERR_INTERNAL.
Program translate(std::string_view entry, std::string file, int line);

}  // namespace emulation::ptx
