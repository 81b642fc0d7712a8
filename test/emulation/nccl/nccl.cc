// libnccl.so.2 of the emulated device, for tests: the entry points that cuda/runtime/nccl.h declares, between
// processes of one machine. Rank 0 hears everyone over TCP, adds in the order of the ranks and answers. Like
// a kernel on a card, a collective waits on its stream for ever when a rank is gone, until the communicator
// is aborted. Calls between GroupStart and GroupEnd begin at its end, or none of them when one was refused; a
// group must be ended before its communicator goes.
//
// Environment variables plant faults, each in the N-th collective that this process calls:
//   EMULATION_NCCL_ERROR=N    on its way (ncclCommGetAsyncError)
//   EMULATION_NCCL_REFUSE=N   the call fails
//   EMULATION_NCCL_BLOCK=N    the call returns when the communicator is aborted, with an error
//   EMULATION_NCCL_SLOW=N     the call takes a second, and names its thread "slow collective"
//   EMULATION_NCCL_CRASH=N    on its stream, as a kernel does that accesses what is no memory
//   EMULATION_NCCL_STUCK=N    it never ends, and neither does the abort
#include <arpa/inet.h>
#include <dlfcn.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

struct Aborted {};

struct Comm {
  int rank = 0, ranks = 0;
  std::vector<int> sockets;  // rank 0: of each other rank, at its number; else of rank 0, at 0
  std::atomic<bool> aborted{false};
  std::atomic<int> queued{0};  // collectives
  std::atomic<bool> stuck{false};
  std::map<int, float> factors;
};

struct Id {
  char bytes[128];
};

struct Device {
  void (*launch_host)(void*, void (*)(void*), void*) = nullptr;
  void (*copy)(void*, const void*, size_t) = nullptr;
  bool (*comes_first)(void*) = nullptr;
};

const Device& device() {
  static const Device own = [] {
    Device found;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* to) {
          if (!std::strstr(info->dlpi_name, "emulated")) return 0;
          void* handle = dlopen(info->dlpi_name, RTLD_NOLOAD | RTLD_LAZY);
          auto& device = *static_cast<Device*>(to);
          device.launch_host =
              reinterpret_cast<decltype(device.launch_host)>(dlsym(handle, "emulated_launch_host"));
          device.copy = reinterpret_cast<decltype(device.copy)>(dlsym(handle, "emulated_copy"));
          device.comes_first =
              reinterpret_cast<decltype(device.comes_first)>(dlsym(handle, "emulated_comes_first"));
          return device.launch_host && device.copy && device.comes_first ? 1 : 0;
        },
        &found);
    return found;
  }();
  return own;
}

int g_listener = -1;  // of rank 0, from its identifier on

void wait_for(const Comm& comm, int socket, short events) {
  for (;;) {
    if (comm.aborted) throw Aborted{};
    pollfd one{socket, events, 0};
    if (poll(&one, 1, 20) > 0 && (one.revents & events)) return;
  }
}

void move_bytes(const Comm& comm, int socket, char* data, size_t bytes, bool out) {
  for (size_t done = 0; done < bytes;) {
    wait_for(comm, socket, out ? POLLOUT : POLLIN);
    const ssize_t some = out ? send(socket, data + done, bytes - done, MSG_DONTWAIT | MSG_NOSIGNAL)
                             : recv(socket, data + done, bytes - done, MSG_DONTWAIT);
    if (some > 0)
      done += static_cast<size_t>(some);
    else
      usleep(1000);  // gone: as on a card, nobody says so
  }
}

using Bytes = std::vector<char>;

// Rank 0 gets everyone's and makes one of them, which all get.
void gather_and_share(Comm& comm, Bytes& own,
                      const std::function<void(Bytes& own, const Bytes& theirs, int rank)>& take) {
  if (comm.rank > 0) {
    move_bytes(comm, comm.sockets[0], own.data(), own.size(), true);
    move_bytes(comm, comm.sockets[0], own.data(), own.size(), false);
    return;
  }
  Bytes theirs(own.size());
  for (int rank = 1; rank < comm.ranks; ++rank) {
    move_bytes(comm, comm.sockets[static_cast<size_t>(rank)], theirs.data(), theirs.size(), false);
    take(own, theirs, rank);
  }
  for (int rank = 1; rank < comm.ranks; ++rank) {
    move_bytes(comm, comm.sockets[static_cast<size_t>(rank)], own.data(), own.size(), true);
  }
}

bool planted(const char* fault, int number) {
  const char* at = std::getenv(fault);
  return at && std::atoi(at) == number;
}

struct Group {
  bool open = false;
  int refused = 0;  // the first error of its calls
  std::vector<std::function<void()>> begins;
};
thread_local Group g_group;
std::atomic<int> g_open_groups{0};

void begin(Comm* comm, void* stream, std::function<void()> work) {
  device().launch_host(
      stream,
      [](void* data) {
        auto* work = static_cast<std::function<void()>*>(data);
        try {
          (*work)();
        } catch (const Aborted&) {
        }
        delete work;
      },
      new std::function<void()>([comm, work = std::move(work)] {
        if (!comm->aborted) work();
      }));
}

// A collective: `work` on the stream, from now or from the end of the group on. Returns the call's result.
int on_stream(Comm* comm, void* stream, std::function<void()> work) {
  const int number = comm->queued += 1;
  const auto refuse = [](int error) {
    if (g_group.open) g_group.refused = error;
    return error;
  };
  // Collectives that queue behind the next grid's blocks hold up the other processes, though NCCL allows it.
  if (!device().comes_first(stream)) return refuse(5);
  if (planted("EMULATION_NCCL_REFUSE", number)) return refuse(5);
  if (planted("EMULATION_NCCL_BLOCK", number)) {
    --g_open_groups;  // that one may abort a call in it
    while (!comm->aborted) usleep(1000);
    ++g_open_groups;
    return refuse(6);
  }
  if (planted("EMULATION_NCCL_SLOW", number)) {
    pthread_setname_np(pthread_self(), "slow collective");
    usleep(1'000'000);
  }
  if (planted("EMULATION_NCCL_CRASH", number)) work = [] { throw std::runtime_error("emulated crash"); };
  if (planted("EMULATION_NCCL_STUCK", number)) {
    comm->stuck = true;
    work = [] {
      for (;;) pause();
    };
  }
  if (g_group.open) {
    g_group.begins.push_back([=] { begin(comm, stream, work); });
  } else {
    begin(comm, stream, std::move(work));
  }
  return 0;
}

}  // namespace

EXPORT int ncclGetVersion(int* version) {
  *version = 22000;
  return 0;
}

EXPORT const char* ncclGetErrorString(int result) { return result == 0 ? "no error" : "emulated failure"; }

EXPORT int ncclGetUniqueId(Id* id) {
  g_listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  if (bind(g_listener, reinterpret_cast<sockaddr*>(&at), size) || listen(g_listener, 64) ||
      getsockname(g_listener, reinterpret_cast<sockaddr*>(&at), &size)) {
    return 2;
  }
  std::memset(id, 0, sizeof *id);
  std::memcpy(id->bytes, &at.sin_port, sizeof at.sin_port);
  return 0;
}

EXPORT int ncclCommInitRank(Comm** result, int ranks, Id id, int rank) {
  if (!device().comes_first) return 3;
  auto* comm = new Comm;
  comm->rank = rank;
  comm->ranks = ranks;
  if (rank == 0) {
    comm->sockets.resize(static_cast<size_t>(ranks), -1);
    for (int i = 1; i < ranks; ++i) {
      const int socket = accept(g_listener, nullptr, nullptr);
      int theirs = 0;
      if (socket < 0 || recv(socket, &theirs, sizeof theirs, MSG_WAITALL) != sizeof theirs) return 2;
      comm->sockets[static_cast<size_t>(theirs)] = socket;
    }
    close(g_listener);
  } else {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    std::memcpy(&at.sin_port, id.bytes, sizeof at.sin_port);
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    if (connect(socket, reinterpret_cast<sockaddr*>(&at), sizeof at)) return 2;
    if (send(socket, &rank, sizeof rank, MSG_NOSIGNAL) != sizeof rank) return 2;
    comm->sockets = {socket};
  }
  *result = comm;
  return 0;
}

EXPORT int ncclCommAbort(Comm* comm) {
  if (g_open_groups) std::abort();
  while (comm->stuck) pause();
  comm->aborted = true;  // what waits on a stream still looks at it: it is not freed
  return 0;
}

EXPORT int ncclCommDestroy(Comm* comm) {
  if (g_open_groups) std::abort();
  for (const int socket : comm->sockets) {
    if (socket >= 0) close(socket);
  }
  return 0;
}

EXPORT int ncclCommGetAsyncError(Comm* comm, int* error) {
  const char* failing = std::getenv("EMULATION_NCCL_ERROR");
  *error = failing && comm->queued >= std::atoi(failing) ? 6 : 0;
  return 0;
}

EXPORT int ncclRedOpCreatePreMulSum(int* op, void* factor, int, int, Comm* comm) {
  *op = 5 + static_cast<int>(comm->factors.size());
  comm->factors[*op] = *static_cast<float*>(factor);
  return 0;
}

EXPORT int ncclRedOpDestroy(int, Comm*) { return 0; }
EXPORT int ncclGroupStart() {
  if (g_group.open) return 5;  // nobody here means one within another
  g_group.open = true;
  ++g_open_groups;
  return 0;
}
EXPORT int ncclGroupEnd() {
  const int refused = std::exchange(g_group.refused, 0);
  const auto begins = std::exchange(g_group.begins, {});
  g_group.open = false;
  --g_open_groups;
  if (!refused) {
    for (const auto& begin : begins) begin();
  }
  return refused;
}

EXPORT int ncclAllReduce(const void* from, void* to, size_t count, int type, int op, Comm* comm,
                         void* stream) {
  if (type != 7) return 4;
  const float factor = op == 0 ? 1 : comm->factors.at(op);
  return on_stream(comm, stream, [=] {
    Bytes own(count * sizeof(float));
    device().copy(own.data(), from, own.size());
    auto* mine = reinterpret_cast<float*>(own.data());
    for (size_t i = 0; i < count; ++i) mine[i] *= factor;
    gather_and_share(*comm, own, [&](Bytes&, const Bytes& theirs, int) {
      const auto* other = reinterpret_cast<const float*>(theirs.data());
      for (size_t i = 0; i < count; ++i) mine[i] += other[i];
    });
    device().copy(to, own.data(), own.size());
  });
}

EXPORT int ncclBroadcast(const void* from, void* to, size_t bytes, int type, int root, Comm* comm,
                         void* stream) {
  if (type != 1) return 4;
  return on_stream(comm, stream, [=] {
    Bytes own(bytes);
    device().copy(own.data(), from, bytes);
    gather_and_share(*comm, own, [&](Bytes& result, const Bytes& theirs, int rank) {
      if (rank == root) result = theirs;
    });
    device().copy(to, own.data(), bytes);
  });
}
