// The one error type of the native code. `code` is stable and documented in lib/base/error.ts; bindings turn
// an Error into a JavaScript error that carries it.
#pragma once

#include <cstdio>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace native {

class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const noexcept { return code_; }

 private:
  std::string code_;
};

// `part` behind `text`: a string, a character, an address or a number, floating ones with six digits. Streams
// would do the same, and make every file that includes this take longer to compile.
template <class Part>
void append(std::string& text, const Part& part) {
  if constexpr (std::is_floating_point_v<Part>) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%g", static_cast<double>(part));
    text += digits;
  } else if constexpr (std::is_same_v<Part, void*> || std::is_same_v<Part, const void*>) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%p", part);
    text += digits;
  } else if constexpr (std::is_arithmetic_v<Part> && !std::is_same_v<Part, char>) {
    text += std::to_string(part);
  } else {
    text += part;
  }
}

template <class... Parts>
std::string concat(const Parts&... parts) {
  std::string text;
  (append(text, parts), ...);
  return text;
}

template <class... Parts>
[[noreturn]] void fail(const char* code, const Parts&... parts) {
  throw Error(code, concat(parts...));
}

}  // namespace native

// CHECK(condition, code, parts...): throws Error(code, parts joined) unless the condition holds.
#define CHECK(condition, code, ...)                      \
  do {                                                   \
    if (!(condition)) ::native::fail(code, __VA_ARGS__); \
  } while (0)
