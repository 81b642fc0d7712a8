#include "read_failure.h"

#include <errno.h>
#include <string.h>

#include "../core/error.h"

namespace native::video {

void fail_reading(const std::string& name, int error) {
  const char* text = strerror(error);
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      fail("ERR_FILE_NOT_FOUND", name, ": ", text);
    case EMFILE:
      fail("ERR_SYSTEM", name, ": ", text,
           "; this process may not open more: raise its limit (ulimit -n), or open fewer at once");
    case ENFILE:
      fail("ERR_SYSTEM", name, ": ", text,
           "; the machine has no more to give: raise its limit (sysctl fs.file-max), or end what holds them");
    case ENOMEM:
      fail("ERR_OUT_OF_MEMORY", name, ": ", text, "; open fewer videos at once");
    case EIO:
      fail("ERR_FILE_IO", name, ": ", text,
           "; a bad spot on the disk that it lies on, or the disk or server fails: see the system's log");
    case ENODEV:
    case ENXIO:
    case ENOTCONN:
    case ESTALE:
      fail("ERR_SYSTEM", name, ": ", text,
           "; the disk or server that it lies on fails: see the system's log, and that it is mounted");
    default:
      fail("ERR_FILE_READ", name, ": ", text);
  }
}

}  // namespace native::video
