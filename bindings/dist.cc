// The collectives, as a table like that of the ops.
#include "bind.h"
#include "dist/comm.h"

namespace bindings {

std::vector<Binding> dist_bindings() {
  return {
      BIND(comm_library, "device"),
      BIND(comm_open, "device", "rank", "world_size", "host", "timeout_seconds"),
      BIND(comm_connect, "device", "addresses"),
      BIND(comm_ready, "device"),
      BIND(comm_abort, "device", "reason"),
      BIND(comm_close, "device"),
      BIND(all_reduce, "list", "scale"),
      BIND(broadcast, "list", "root"),
      BIND(comm_wait, "device"),
  };
}

}  // namespace bindings
