// The programs of a folder, by the kernels' names, and the loop that runs one.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>

#include "cuda_runtime.h"
#include "device_facts.h"
#include "grid.h"
#include "program.h"

namespace emulation {
namespace {

using ptx::Program;

// A kernel of the folder, translated when it is first launched.
struct Entry {
  std::string_view text;
  std::string file;
  int line;
  std::unique_ptr<Program> program;
};

// Names in unnamed namespaces differ by compiler: nvcc's has the file's name and hashes, GCC's is always the
// same. Both follow their length: "49_GLOBAL__N__4f1d2e24_10_softmax_cu_93c8d630_14046" -> "12_GLOBAL__N_1".
// What tells such functions apart is the file, "softmax.cu".
std::string key_of(std::string_view symbol, const std::string& file) {
  constexpr std::string_view kUnnamed = "_GLOBAL__N_";
  std::string key(symbol);
  bool local = false;
  for (size_t at = 0; (at = key.find(kUnnamed, at)) != std::string::npos; local = true) {
    size_t digits = at;
    while (digits > 0 && std::isdigit(static_cast<unsigned char>(key[digits - 1]))) --digits;
    const std::string replacement = "12_GLOBAL__N_1";
    key.replace(digits, at - digits + std::stoul(key.substr(digits)), replacement);
    at = digits + replacement.size();
  }
  return local ? key + " of " + file : key;
}

class Library {
 public:
  // Of the files whose names end so.
  Library(const char* folder, std::string_view end) {
    std::error_code unreadable;
    for (const auto& file : std::filesystem::directory_iterator(folder, unreadable)) {
      const std::string name = file.path().filename();
      if (name.size() > end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0)
        read(file.path(), name.substr(0, name.size() - end.size()) + ".cu");
    }
    CHECK(!entries_.empty(), "ERR_INTERNAL", "EMULATION_PTX: no kernel in ", folder, "/*", end);
  }

  const Program& program(const Symbol& symbol) {
    const std::string key = key_of(symbol.name, symbol.file);
    const auto found = entries_.find(key);
    if (found == entries_.end()) native::fail("ERR_INTERNAL", "EMULATION_PTX: no file has ", key);
    Entry& entry = found->second;
    if (!entry.program)
      entry.program = std::make_unique<Program>(ptx::translate(entry.text, entry.file, entry.line));
    return *entry.program;
  }

 private:
  void read(const std::filesystem::path& path, const std::string& source) {
    std::ifstream stream(path, std::ios::binary);
    texts_.push_back(std::make_unique<std::string>(std::istreambuf_iterator<char>(stream),
                                                   std::istreambuf_iterator<char>()));
    const std::string_view text = *texts_.back();
    constexpr std::string_view kEntry = ".entry ";
    for (size_t at = text.find(kEntry); at != std::string_view::npos;) {
      const size_t next = text.find(kEntry, at + kEntry.size());
      const size_t name = at + kEntry.size();
      const std::string_view symbol = text.substr(name, text.find('(', name) - name);
      const int line =
          1 + static_cast<int>(std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(at), '\n'));
      const bool fresh = entries_
                             .try_emplace(key_of(symbol, source),
                                          Entry{text.substr(at, next - at), path.filename(), line, nullptr})
                             .second;
      if (!fresh) native::fail("ERR_INTERNAL", "EMULATION_PTX: two files have ", symbol);
      at = next;
    }
  }

  std::vector<std::unique_ptr<std::string>> texts_;
  std::map<std::string, Entry> entries_;
};

// A thread's frame; its registers hold NaN, and no sensible address, until they are written.
struct FrameOfThread {
  std::unique_ptr<ptx::Frame> frame;

  ptx::Frame& start(const Program& program) {
    frame.reset(new ptx::Frame{program, std::make_unique<uint64_t[]>(program.slots), 0, false, {}, {}});
    std::memset(frame->slots.get(), 0xFF, program.slots * sizeof(uint64_t));
    return *frame;
  }
};

}  // namespace

const Program* program_of(const void* kernel) {
  static const char* const folder = std::getenv("EMULATION_PTX");
  if (!folder) return nullptr;
  static std::mutex mutex;
  // As a driver chooses: what is for the device alone, else what all later ones translate for themselves.
  static auto& library =
      *new Library(folder, capability().number >= 90 ? ".compute_90a.ptx" : ".compute_80.ptx");
  static auto& programs = *new std::map<const void*, const Program*>;
  std::lock_guard<std::mutex> lock(mutex);
  const Program*& program = programs[kernel];
  if (!program) program = &library.program(function_symbol(kernel));
  return program;
}

void run_program(const Program& program, const Argument* arguments, size_t count) {
  using ptx::Frame;
  using ptx::Instruction;
  if (count != program.parameters.size())
    fail(program.name, " has ", program.parameters.size(), " parameters, not ", count);
  Frame& frame = thread_state<FrameOfThread>().start(program);
  for (const auto& [slot, value] : program.constants) frame.slots[slot] = value;
  for (size_t i = 0; i < count; ++i) {
    if (arguments[i].bytes != program.parameter_bytes[i])
      fail(program.name, ": parameter ", i, " of ", program.parameter_bytes[i], " bytes, not ",
           arguments[i].bytes);
    frame.set<const void*>(program.parameters[i], arguments[i].value);
  }
  while (!frame.returned) {
    const Instruction& instruction = program.code[frame.next++];
    if (instruction.guard != Instruction::kAlways && frame.get<bool>(instruction.guard) == instruction.unless)
      continue;
    instruction.execute(frame, instruction);
  }
}

}  // namespace emulation
