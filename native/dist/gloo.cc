// Collectives on the CPU: Gloo over TCP, a connection between every two processes. A sum over a ring adds
// each part of a tensor on one rank, in an order that depends on its size alone, and hands the result round:
// equal bits everywhere and in every run. Collectives have a queue of their own beside the device's.
#include <gloo/allreduce.h>
#include <gloo/broadcast.h>
#include <gloo/context.h>
#include <gloo/math.h>
#include <gloo/transport/context.h>
#include <gloo/transport/tcp/device.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <future>
#include <mutex>

#include "core/dtype.h"
#include "core/queue.h"
#include "dist/comm.h"

namespace native {
namespace {

// Smaller tensors travel together, in a buffer of this size: a message has a price of its own.
constexpr int64_t kTogether = 1 << 20;

class Mesh final : public gloo::Context {
 public:
  Mesh(int rank, int size, const std::string& host, double timeout_seconds) : gloo::Context(rank, size) {
    gloo::transport::tcp::attr at;
    at.hostname = host;
    device_ = gloo::transport::tcp::CreateDevice(at);
    setTimeout(std::chrono::milliseconds(static_cast<int64_t>(timeout_seconds * 1000)));
    transportContext_ = device_->createContext(rank, size);
    transportContext_->setTimeout(getTimeout());
    for (int i = 0; i < size; ++i) {
      if (i != rank) transportContext_->createPair(i);
    }
  }
};

// Set and cleared on the JavaScript thread, read by the queue. A process that leaves with a failure does not
// wait for what is queued.
struct Current {
  std::mutex mutex;
  std::shared_ptr<Mesh> mesh;
};
// Never destroyed, since the end of the process does not wait for queued work either.
Current& current() {
  static auto* const own = new Current;
  return *own;
}

std::atomic<bool> g_aborted{false};  // another rank has left, since the job was joined

std::shared_ptr<Mesh> mesh() {
  std::lock_guard<std::mutex> lock(current().mutex);
  CHECK(current().mesh, "ERR_DISTRIBUTED", "this process has left its job");
  return current().mesh;
}

std::shared_ptr<Mesh> exchange_mesh(std::shared_ptr<Mesh> next) {
  std::lock_guard<std::mutex> lock(current().mutex);
  std::swap(next, current().mesh);
  return next;
}

CpuQueue& collectives() {
  static auto* const own = new CpuQueue;
  return *own;
}

std::string to_hex(const std::vector<char>& bytes) {
  static const char digits[] = "0123456789abcdef";
  std::string text;
  for (const char byte : bytes) {
    text += digits[static_cast<uint8_t>(byte) >> 4];
    text += digits[static_cast<uint8_t>(byte) & 15];
  }
  return text;
}

std::vector<char> from_hex(const std::string& text) {
  const auto value = [&](char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    fail("ERR_DISTRIBUTED", "'", text, "' is no address of another process");
  };
  CHECK(text.size() % 2 == 0 && text.size() <= 2 * gloo::transport::Address::kMaxByteSize, "ERR_DISTRIBUTED",
        "an address of another process has ", text.size(), " digits");
  std::vector<char> bytes;
  for (size_t i = 0; i < text.size(); i += 2)
    bytes.push_back(static_cast<char>(value(text[i]) << 4 | value(text[i + 1])));
  return bytes;
}

// Runs work of Gloo and gives its exceptions our code.
template <class Work>
auto guarded(const Work& work) {
  try {
    return work();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    fail("ERR_DISTRIBUTED", "the connection to another process failed: ", error.what());
  }
}

std::vector<std::string> open(int rank, int world_size, const std::string& host, double timeout_seconds) {
  return guarded([&] {
    auto own = std::make_shared<Mesh>(rank, world_size, host, timeout_seconds);
    std::vector<std::string> addresses(static_cast<size_t>(world_size));
    for (int i = 0; i < world_size; ++i) {
      if (i != rank) addresses[static_cast<size_t>(i)] = to_hex(own->getPair(i)->address().bytes());
    }
    g_aborted = false;
    exchange_mesh(std::move(own));
    return addresses;
  });
}

void connect(const std::vector<std::string>& addresses) {
  guarded([&] {
    const std::shared_ptr<Mesh> own = mesh();
    for (int i = 0; i < own->size; ++i) {
      if (i != own->rank) own->getPair(i)->connect(from_hex(addresses[static_cast<size_t>(i)]));
    }
  });
}

bool ready() { return true; }

void start(OpSite site, std::function<void()> work) {
  cpu_queue().submit(site, [site, work = std::move(work)] { collectives().submit(site, work); });
}

bool wait() {
  cpu_queue().submit({"collectives", {}}, [] {
    std::promise<std::optional<Error>> done;
    collectives().fence([&done](std::optional<Error> error) { done.set_value(std::move(error)); });
    if (auto error = done.get_future().get()) throw *error;
  });
  return true;
}

// Connections break with the process at their other end: nothing has to be ended, but is not waited for.
void abort(const std::string&) { g_aborted = true; }

bool close() {
  const auto ended = std::make_shared<std::promise<void>>();
  const std::future<void> end = ended->get_future();
  cpu_queue().submit({"collectives", {}},
                     [ended] { collectives().fence([ended](std::optional<Error>) { ended->set_value(); }); });
  if (!g_aborted) end.wait();
  guarded([] { exchange_mesh(nullptr)->closeConnections(); });
  return end.wait_for(std::chrono::seconds(1)) == std::future_status::ready;
}

void sum_over_ranks(float* data, int64_t count) {
  gloo::AllreduceOptions options(mesh());
  options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
  options.setOutput(data, static_cast<size_t>(count));
  options.setReduceFunction(
      static_cast<void (*)(void*, const void*, const void*, size_t)>(&gloo::sum<float>));
  gloo::allreduce(options);
}

void all_reduce_spans(const AllReduceArgs& args) {
  const auto scaled = [&](float* to, const float* from, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i] = args.scale * from[i];
  };
  guarded([&] {
    const size_t end = args.list.size();
    std::vector<float> together;
    for (size_t i = 0; i < end;) {
      float* data = static_cast<float*>(args.list[i].data);
      int64_t count = args.list[i].count;
      size_t next = i + 1;
      while (next < end && count + args.list[next].count <= kTogether) count += args.list[next++].count;
      if (next == i + 1) {
        sum_over_ranks(data, count);
        scaled(data, data, count);
      } else {
        together.resize(static_cast<size_t>(count));
        float* at = together.data();
        for (size_t j = i; j < next; at += args.list[j++].count)
          std::memcpy(at, args.list[j].data, static_cast<size_t>(args.list[j].count) * sizeof(float));
        sum_over_ranks(together.data(), count);
        at = together.data();
        for (size_t j = i; j < next; at += args.list[j++].count)
          scaled(static_cast<float*>(args.list[j].data), at, args.list[j].count);
      }
      i = next;
    }
  });
}

std::string library() { return "Gloo"; }

void broadcast_spans(const BroadcastArgs& args) {
  guarded([&] {
    for (const CommSpan& span : args.list) {
      gloo::BroadcastOptions options(mesh());
      options.setRoot(args.root);
      options.setOutput(static_cast<char*>(span.data),
                        static_cast<size_t>(span.count) * dtype_size(span.dtype));
      gloo::broadcast(options);
    }
  });
}

REGISTER_KERNEL(all_reduce, cpu, all_reduce_spans);
REGISTER_KERNEL(broadcast, cpu, broadcast_spans);
const bool g_registered =
    (register_comm(DeviceType::cpu, {library, open, connect, ready, start, wait, abort, close}), true);

}  // namespace
}  // namespace native
