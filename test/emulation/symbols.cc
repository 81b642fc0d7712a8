// Names of functions, read from the symbol table of the file they come from (dladdr does not know local
// ones).
#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>

#include "grid.h"

namespace emulation {
namespace {

std::string demangled(const char* symbol) {
  int status = 0;
  char* text = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
  std::string name = status == 0 ? text : symbol;
  std::free(text);
  // void native::cuda::(anonymous namespace)::f<int>(int*) -> f<int>
  constexpr char kAnonymous[] = "(anonymous namespace)::";
  for (size_t at; (at = name.find(kAnonymous)) != std::string::npos;) name.erase(at, sizeof kAnonymous - 1);
  int depth = 0;
  size_t start = 0;
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<') ++depth;
    if (name[i] == '>') --depth;
    if (depth == 0 && (name[i] == ':' || name[i] == ' ')) start = i + 1;
    if (depth == 0 && name[i] == '(') return name.substr(start, i - start);
  }
  return name;
}

std::string look_up(const void* function) {
  Dl_info info{};
  if (!dladdr(function, &info) || !info.dli_fname) return "(unknown)";
  std::ifstream file(info.dli_fname, std::ios::binary);
  const std::vector<char> image{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (image.size() < sizeof(Elf64_Ehdr)) return "(unknown)";
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(image.data());
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(image.data() + header->e_shoff);
  const auto address = static_cast<const char*>(function) - static_cast<const char*>(info.dli_fbase);
  for (int s = 0; s < header->e_shnum; ++s) {
    if (sections[s].sh_type != SHT_SYMTAB) continue;
    const auto* symbols = reinterpret_cast<const Elf64_Sym*>(image.data() + sections[s].sh_offset);
    const char* names = image.data() + sections[sections[s].sh_link].sh_offset;
    for (size_t i = 0; i < sections[s].sh_size / sizeof(Elf64_Sym); ++i) {
      const bool here = symbols[i].st_value == static_cast<Elf64_Addr>(address);
      if (here && ELF64_ST_TYPE(symbols[i].st_info) == STT_FUNC) return demangled(names + symbols[i].st_name);
    }
  }
  return "(unknown)";
}

}  // namespace

std::string function_name(const void* function) {
  static auto& names = *new std::map<const void*, std::string>;  // grids run one at a time
  std::string& name = names[function];
  if (name.empty()) name = look_up(function);
  return name;
}

}  // namespace emulation
