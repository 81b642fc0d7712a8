// Loaded before the C library by test/native/stalled_reads.test.ts: reads from a file called "stalled…" do not return
// before the file STALL_UNTIL is there, as when a file server is gone, and take READ_MS milliseconds then, as when it is
// far away.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static void stall(int fd) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return;
  path[length] = '\0';
  if (strstr(path, "/stalled") == NULL) return;
  while (access(getenv("STALL_UNTIL"), F_OK) != 0) usleep(10000);
  if (getenv("READ_MS") != NULL) usleep(1000 * atoi(getenv("READ_MS")));
}

ssize_t pread(int fd, void* buffer, size_t count, off_t offset) {
  ssize_t (*original)(int, void*, size_t, off_t) = dlsym(RTLD_NEXT, "pread");
  stall(fd);
  return original(fd, buffer, count, offset);
}

ssize_t pread64(int fd, void* buffer, size_t count, off64_t offset) {
  ssize_t (*original)(int, void*, size_t, off64_t) = dlsym(RTLD_NEXT, "pread64");
  stall(fd);
  return original(fd, buffer, count, offset);
}
