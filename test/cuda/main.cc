// The runner of the CUDA tests. Every fresh block of memory is poisoned, so that what a kernel forgets to
// write, or reads without its being written, is NaN; NATIVE_CUDA_POISON=0 leaves that to a sanitizer, for
// which poisoned memory is written. stderr has the name of each test case that begins, which survives the
// process. CUDA_TEST_SECONDS limits a test case: where a kernel never ends the process does, with the case's
// name and status 124.

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>

#include "core/device.h"
#include "runtime/context.h"

#undef CHECK  // the library's
#define DOCTEST_CONFIG_IMPLEMENT
#define DOCTEST_CONFIG_NO_POSIX_SIGNALS  // faults of emulated kernels are handled where they run
#include <doctest/doctest.h>

namespace {

int64_t now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Ends the process when a test case takes longer than CUDA_TEST_SECONDS.
class Watch : public doctest::IReporter {
 public:
  explicit Watch(const doctest::ContextOptions&) {
    const char* text = std::getenv("CUDA_TEST_SECONDS");
    if (const int64_t limit = text ? std::atoi(text) : 0)
      std::thread([this, limit] { look(limit); }).detach();
  }
  void test_case_start(const doctest::TestCaseData& test) override {
    std::fprintf(stderr, "cuda_test: %s\n", test.m_name);
    name_ = test.m_name;
    began_ = now();
  }
  void test_case_end(const doctest::CurrentTestCaseStats&) override { began_ = kNone; }

  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}

 private:
  static constexpr int64_t kNone = -1;

  [[noreturn]] void look(int64_t limit) const {
    for (;;) {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      const int64_t began = began_;
      if (began == kNone || now() - began <= limit) continue;
      std::cout.flush();
      std::fflush(stdout);
      std::fprintf(stderr, "cuda_test: '%s' has not ended after %lld s\n", name_.load(),
                   static_cast<long long>(limit));
      std::_Exit(124);
    }
  }

  std::atomic<const char*> name_{""};
  std::atomic<int64_t> began_{kNone};
};

DOCTEST_REGISTER_LISTENER("watch", 1, Watch);

}  // namespace

int main(int argc, char** argv) {
  std::cout << std::unitbuf;  // what doctest says is kept whatever ends the process
  setenv("NATIVE_CUDA_POISON", "1", 0);
  if (const char* index = std::getenv("CUDA_TEST_DEVICE")) {
    native::select_device(native::DeviceType::cuda, std::atoi(index));
  }
  const std::string unavailable = native::device_report(native::DeviceType::cuda).unavailable;
  if (!unavailable.empty()) {
    std::fprintf(stderr, "cuda_test: %s\n", unavailable.c_str());
    return 1;
  }
  doctest::Context context(argc, argv);
  if (native::cuda::current_context().capability() < 90) {  // their kernels are for sm_90a alone
    context.addFilter("source-file-exclude", "*test/cuda/hopper_*,*test/cuda/gemm_sm90*");
    context.addFilter("test-case-exclude", "*by a warpgroup*");
  }
  const int result = context.run();
  std::fflush(stdout);
  std::_Exit(result);  // the backend's threads live as long as the process
}
