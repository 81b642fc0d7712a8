// A fault of the processor (an address that is not mapped, a division by zero, the trap of a check that the
// compiler made for alignment) in a fiber becomes an error of its grid: the signal's handler lets the fiber
// go on in a function that reports, on the far end of its stack.
#include <pthread.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdlib>

#include "driver.h"
#include "grid.h"

namespace emulation {
namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
struct sigaction g_previous[sizeof kSignals / sizeof kSignals[0]];
pthread_t g_thread;  // that runs grids now
int g_signal;
const unsigned char* g_address;

[[noreturn]] void report() {
  const Fiber& fiber = current();
  const Block& block = current_block();
  if (g_signal == SIGFPE) fail("integer division by zero or overflow");
  if (g_signal == SIGILL) fail("access to an address that is no multiple of the size of what lies there");
  const auto near = [](const unsigned char* start, size_t bytes) {
    return g_address >= start - 4096 && g_address < start + bytes + 4096;
  };
  if (near(fiber.stack, kStackBytes)) fail("the fiber's stack of ", kStackBytes, " bytes overflows");
  if (block.shared && near(block.shared, shared_region_bytes(block.shared_bytes))) {
    fail("access at byte ", g_address - block.shared, " of ", block.shared_bytes, " bytes of shared memory");
  }
  if (is_device_memory(g_address, 1)) check_previous_grid("access to global memory");
  fail("access to ", static_cast<const void*>(g_address), ", which is no memory of the device");
}

void handle(int signal, siginfo_t* info, void* context) {
  if (running_fiber() && pthread_equal(g_thread, pthread_self())) {
    g_signal = signal;
    g_address = static_cast<const unsigned char*>(info->si_addr);
    auto* machine = &static_cast<ucontext_t*>(context)->uc_mcontext;
    machine->gregs[REG_RSP] = reinterpret_cast<greg_t>(running_fiber()->stack + kStackBytes - 64 - 8);
    machine->gregs[REG_RIP] = reinterpret_cast<greg_t>(&report);
    return;
  }
  if (signal == SIGSEGV && info->si_code == SEGV_PKUERR) {
    constexpr char kText[] = "emulated device: code of the host touches device memory\n";
    static_cast<void>(!write(STDERR_FILENO, kText, sizeof kText - 1));
  }
  for (size_t i = 0; i < sizeof kSignals / sizeof kSignals[0]; ++i) {
    if (kSignals[i] != signal) continue;
    const struct sigaction& previous = g_previous[i];
    if (previous.sa_flags & SA_SIGINFO) {
      previous.sa_sigaction(signal, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
      previous.sa_handler(signal);
    } else {
      sigaction(signal, &previous, nullptr);  // the instruction runs again and faults for good
    }
  }
}

}  // namespace

void catch_faults() {
  g_thread = pthread_self();
  thread_local std::unique_ptr<char[]> signal_stack;
  if (!signal_stack) {
    signal_stack = std::make_unique<char[]>(SIGSTKSZ * 4);
    const stack_t stack{signal_stack.get(), 0, static_cast<size_t>(SIGSTKSZ * 4)};
    sigaltstack(&stack, nullptr);
  }
  static const bool installed = [] {
    struct sigaction action {};
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (size_t i = 0; i < sizeof kSignals / sizeof kSignals[0]; ++i) {
      sigaction(kSignals[i], &action, &g_previous[i]);
    }
    return true;
  }();
  static_cast<void>(installed);
}

}  // namespace emulation
