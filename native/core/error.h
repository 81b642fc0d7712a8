// The one error type of the native code. `code` is stable and documented in lib/base/error.ts; bindings turn
// an Error into a JavaScript error that carries it.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace native {

class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const noexcept { return code_; }

 private:
  std::string code_;
};

template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
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
