// Names of functions, read from the symbol table of the file they come from (dladdr does not know local
// ones).
#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>

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

// The functions of a file by their addresses in it.
using Symbols = std::map<Elf64_Addr, Symbol>;

Symbols read_symbols(const char* path) {
  Symbols functions;
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> image{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (image.size() < sizeof(Elf64_Ehdr)) return functions;
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(image.data());
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(image.data() + header->e_shoff);
  for (int s = 0; s < header->e_shnum; ++s) {
    if (sections[s].sh_type != SHT_SYMTAB) continue;
    const auto* symbols = reinterpret_cast<const Elf64_Sym*>(image.data() + sections[s].sh_offset);
    const char* names = image.data() + sections[sections[s].sh_link].sh_offset;
    std::string source;  // of the local symbols that follow
    for (size_t i = 0; i < sections[s].sh_size / sizeof(Elf64_Sym); ++i) {
      const char* name = names + symbols[i].st_name;
      const bool local = ELF64_ST_BIND(symbols[i].st_info) == STB_LOCAL;
      if (ELF64_ST_TYPE(symbols[i].st_info) == STT_FILE) source = name;
      if (ELF64_ST_TYPE(symbols[i].st_info) == STT_FUNC)
        functions.try_emplace(symbols[i].st_value, Symbol{name, local ? source : ""});
    }
  }
  return functions;
}

}  // namespace

Symbol function_symbol(const void* function) {
  static std::mutex mutex;
  static auto& files = *new std::map<const void*, Symbols>;
  Dl_info info{};
  if (!dladdr(function, &info) || !info.dli_fname) return {"(unknown)", ""};
  std::lock_guard<std::mutex> lock(mutex);
  const auto [file, fresh] = files.try_emplace(info.dli_fbase);
  if (fresh) file->second = read_symbols(info.dli_fname);
  const auto address = static_cast<const char*>(function) - static_cast<const char*>(info.dli_fbase);
  const auto found = file->second.find(static_cast<Elf64_Addr>(address));
  return found == file->second.end() ? Symbol{"(unknown)", ""} : found->second;
}

std::string function_name(const void* function) { return demangled(function_symbol(function).name.c_str()); }

}  // namespace emulation
