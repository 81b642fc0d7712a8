// From PTX text to instructions. The text of a kernel is its parameters and then statements that end with
// ';', labels that end with ':' and blocks in braces with names of their own.
#include <algorithm>
#include <cctype>
#include <map>

#include "core/error.h"
#include "device_facts.h"
#include "program.h"
#include "scheduler.h"

namespace emulation::ptx {
namespace {

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%' || c == '.';
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

// The parts between commas outside of brackets.
std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  int depth = 0;
  size_t start = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    const char c = i < text.size() ? text[i] : ',';
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if (c != ',' || (depth > 0 && i < text.size())) continue;
    const std::string_view part = trimmed(text.substr(start, i - start));
    if (!part.empty()) parts.push_back(part);
    start = i + 1;
  }
  return parts;
}

// The first word, which is cut off.
std::string_view take_word(std::string_view& text) {
  text = trimmed(text);
  size_t end = 0;
  while (end < text.size() && !std::isspace(static_cast<unsigned char>(text[end]))) ++end;
  const std::string_view word = text.substr(0, end);
  text = trimmed(text.substr(end));
  return word;
}

size_t bytes_of(std::string_view type) {
  if (type == ".u8" || type == ".s8" || type == ".b8") return 1;
  if (type == ".u16" || type == ".s16" || type == ".b16") return 2;
  if (type == ".u64" || type == ".s64" || type == ".b64" || type == ".f64") return 8;
  return 4;
}

// Names of a block in braces: registers, and places in the code.
struct Scope {
  std::map<std::string, uint32_t, std::less<>> registers;
  std::map<std::string, uint64_t, std::less<>> families;  // %r<5>: %r0 .. %r4
  std::map<std::string, uint32_t, std::less<>> labels;
  std::vector<std::pair<uint32_t, std::string>> branches;  // instructions whose labels were not seen yet
};

class Translator {
 public:
  Translator(std::string_view text, std::string file, int line) : text_(text), line_(line) {
    program_.file = std::move(file);
  }

  Program run() {
    header();
    scopes_.emplace_back();
    while (!scopes_.empty()) step();
    program_.slots = next_slot_;
    for (size_t i = 0; i < program_.code.size(); ++i) program_.code[i].o = program_.operands[i].data();
    return std::move(program_);
  }

 private:
  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    native::fail("ERR_INTERNAL", program_.file, ":", line_, ": ", parts...);
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_space() {
    for (; at_ < text_.size(); ++at_) {
      if (text_.substr(at_, 2) == "//") at_ = std::min(text_.find('\n', at_), text_.size() - 1);
      if (!std::isspace(static_cast<unsigned char>(text_[at_]))) return;
      line_ += text_[at_] == '\n';
    }
  }

  // .entry NAME( .param .u64 P, .param .align 64 .b8 P[128] ) directives {
  void header() {
    const size_t open = text_.find('('), close = text_.find(')'), body = text_.find('{');
    if (body == std::string_view::npos || close > body) refuse("a kernel without a body");
    std::string_view name = text_.substr(0, open);
    take_word(name);
    program_.name = name;
    for (std::string_view parameter : split(text_.substr(open + 1, close - open - 1))) {
      size_t bytes = 0;
      for (std::string_view word = take_word(parameter); !word.empty(); word = take_word(parameter)) {
        if (word == ".param") continue;
        if (word == ".align") {
          take_word(parameter);
        } else if (word[0] == '.') {
          bytes = bytes_of(word);
        } else {
          const size_t bracket = word.find('[');
          if (bracket != std::string_view::npos) bytes *= std::stoul(std::string(word.substr(bracket + 1)));
          const uint32_t slot = new_slot();
          symbols_[std::string(word.substr(0, bracket))] = slot;
          program_.parameters.push_back(slot);
          program_.parameter_bytes.push_back(bytes);
        }
      }
    }
    line_ += static_cast<int>(std::count(text_.begin(), text_.begin() + static_cast<ptrdiff_t>(body), '\n'));
    at_ = body + 1;
  }

  void step() {
    skip_space();
    if (at_ >= text_.size()) refuse("the kernel does not end");
    if (peek() == '{') {
      ++at_;
      scopes_.emplace_back();
    } else if (peek() == '}') {
      ++at_;
      end_scope();
    } else {
      size_t end = at_;
      while (end < text_.size() && is_word(text_[end])) ++end;
      if (text_.substr(end, 1) == ":" && text_.substr(end, 2) != "::") {
        scopes_.back().labels[std::string(text_.substr(at_, end - at_))] = here();
        at_ = end + 1;
        return;
      }
      end = text_.find(';', at_);
      if (end == std::string_view::npos) refuse("a statement does not end");
      statement(text_.substr(at_, end - at_));
      at_ = end + 1;
    }
  }

  void end_scope() {
    Scope scope = std::move(scopes_.back());
    scopes_.pop_back();
    for (auto& [instruction, label] : scope.branches) {
      if (const auto found = scope.labels.find(label); found != scope.labels.end()) {
        program_.code[instruction].target = found->second;
      } else if (scopes_.empty()) {
        refuse("no label ", label);
      } else {
        scopes_.back().branches.emplace_back(instruction, label);
      }
    }
  }

  void statement(std::string_view text) {
    if (text[0] == '.') return directive(text);
    Instruction instruction;
    instruction.line = line_;
    line_ += static_cast<int>(std::count(text.begin(), text.end(), '\n'));
    if (text[0] == '@') {
      std::string_view guard = take_word(text).substr(1);
      instruction.unless = guard[0] == '!';
      instruction.guard = find_register(guard.substr(instruction.unless));
      if (instruction.guard == kNone) refuse("no register ", guard);
    }
    const Opcode opcode(take_word(text));
    if (opcode.name == "bra") {
      instruction.execute = [](Frame& f, const Instruction& i) { f.next = i.target; };
      scopes_.back().branches.emplace_back(here(), std::string(text));
      return emit(instruction, {});
    }
    const std::vector<std::string_view> parts = split(text);
    if (opcode.name == "mov" && parts.size() == 2 && parts[1][0] == '%' && find_register(parts[1]) == kNone) {
      instruction.execute = special(parts[1]);
      if (!instruction.execute) refuse("no register ", parts[1]);
      return emit(instruction, {operand_register(parts[0])});
    }
    std::vector<uint32_t> slots;
    size_t results = 0;
    for (const std::string_view part : parts) {
      operands(part, slots, instruction.offset);
      if (results == 0) results = slots.size();
    }
    if (opcode.name == "mov" && slots.size() == 3) {
      instruction.execute = halves(opcode, results);
    } else {
      for (Execute (*find)(const Opcode&) : {memory, arithmetic, conversion, machine}) {
        if (instruction.execute) break;
        instruction.execute = find(opcode);
        if (instruction.execute && find == machine && instruction.offset) refuse("offset in ", opcode.text);
      }
    }
    if (!instruction.execute) {
      instruction.execute = [](Frame& f, const Instruction& i) {
        fail("an instruction that the emulation does not know, at ", f.program.file, ":", i.line);
      };
    }
    program_.asynchronous |= opcode.name == "wgmma" || opcode.text.find("bulk") != std::string::npos;
    emit(instruction, std::move(slots));
  }

  void emit(Instruction instruction, std::vector<uint32_t> slots) {
    instruction.count = static_cast<int>(slots.size());
    program_.code.push_back(instruction);
    program_.operands.push_back(std::move(slots));
  }

  // .reg .b32 %r<5>, other; a hint to the assembler says nothing here.
  void directive(std::string_view text) {
    const std::string_view word = take_word(text);
    if (word == ".pragma") return;
    if (word != ".reg") refuse("a directive that the emulation does not know: ", word);
    take_word(text);
    for (const std::string_view name : split(text)) {
      const size_t bracket = name.find('<');
      if (bracket == std::string_view::npos) {
        scopes_.back().registers[std::string(name)] = new_slot();
      } else {
        scopes_.back().families[std::string(name.substr(0, bracket))] =
            std::stoull(std::string(name.substr(bracket + 1)));
      }
    }
  }

  // The slots of an operand, in their order.
  void operands(std::string_view text, std::vector<uint32_t>& to, int64_t& offset) {
    if (text[0] == '{' || text[0] == '[') {
      for (const std::string_view part : split(text.substr(1, text.size() - 2))) operands(part, to, offset);
    } else if (const size_t bar = text.find('|'); bar != std::string_view::npos) {
      operands(text.substr(0, bar), to, offset);
      operands(text.substr(bar + 1), to, offset);
    } else if (const size_t plus = text.find('+'); plus != std::string_view::npos) {
      if (offset) refuse("two addresses with an offset");
      offset = std::stoll(std::string(text.substr(plus + 1)), nullptr, 0);
      to.push_back(operand(trimmed(text.substr(0, plus))));
    } else {
      to.push_back(operand(text));
    }
  }

  uint32_t operand(std::string_view text) {
    if (text == "_") return new_slot();
    if (std::isdigit(static_cast<unsigned char>(text[0])) || text[0] == '-') return constant(number(text));
    if (text == "_ZN6native4cuda15g_shared_memoryE") return constant(kSharedReserved);
    if (const auto symbol = symbols_.find(text); symbol != symbols_.end()) return symbol->second;
    return operand_register(text);
  }
  uint32_t operand_register(std::string_view text) {
    const uint32_t slot = find_register(text);
    if (slot == kNone) refuse("no register ", text);
    return slot;
  }

  uint64_t number(std::string_view text) const {
    const std::string copy(text);
    const std::string_view start = text.substr(0, 2);
    if (start == "0f" || start == "0d") return std::stoull(copy.substr(2), nullptr, 16);
    return text[0] == '-' ? static_cast<uint64_t>(std::stoll(copy, nullptr, 0))
                          : std::stoull(copy, nullptr, 0);
  }

  uint32_t find_register(std::string_view name) {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const auto found = scope->registers.find(name); found != scope->registers.end())
        return found->second;
      const size_t digits = name.find_last_not_of("0123456789") + 1;
      if (digits == name.size()) continue;
      const auto family = scope->families.find(name.substr(0, digits));
      if (family == scope->families.end() || std::stoull(std::string(name.substr(digits))) >= family->second)
        continue;
      return scope->registers[std::string(name)] = new_slot();
    }
    return kNone;
  }

  uint32_t constant(uint64_t value) {
    const auto [found, fresh] = constants_.try_emplace(value, next_slot_);
    if (fresh) program_.constants.push_back({new_slot(), value});
    return found->second;
  }

  uint32_t new_slot() { return next_slot_++; }
  uint32_t here() const { return static_cast<uint32_t>(program_.code.size()); }

  static constexpr uint32_t kNone = 0xFFFFFFFFu;
  std::string_view text_;
  size_t at_ = 0;
  int line_;
  Program program_;
  std::vector<Scope> scopes_;
  std::map<std::string, uint32_t, std::less<>> symbols_;  // parameters
  std::map<uint64_t, uint32_t> constants_;
  uint32_t next_slot_ = 0;
};

}  // namespace

Opcode::Opcode(std::string_view whole) : text(whole) {
  const size_t first = text.find('.'), last = text.rfind('.');
  name = text.substr(0, first);
  if (first == std::string::npos) return;
  type = text.substr(last + 1);
  if (first != last) modifiers = text.substr(first + 1, last - first - 1);
}

Program translate(std::string_view entry, std::string file, int line) {
  return Translator(entry, std::move(file), line).run();
}

}  // namespace emulation::ptx
