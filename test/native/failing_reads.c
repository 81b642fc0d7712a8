// Loaded before the C library by test/native/failing_reads.test.ts: while the file FAIL_WHILE is there, reads from a file
// called "failing…" fail behind its first FAIL_FROM bytes with the error number FAIL_WITH, as those from a broken disk do.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(int fd, off64_t end) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = '\0';
  if (strstr(path, "/failing") == NULL || access(getenv("FAIL_WHILE"), F_OK) != 0) return 0;
  if (end <= atol(getenv("FAIL_FROM"))) return 0;
  errno = atoi(getenv("FAIL_WITH"));
  return 1;
}

ssize_t pread(int fd, void* buffer, size_t count, off_t offset) {
  ssize_t (*original)(int, void*, size_t, off_t) = dlsym(RTLD_NEXT, "pread");
  return fails(fd, offset + (off_t)count) ? -1 : original(fd, buffer, count, offset);
}

ssize_t pread64(int fd, void* buffer, size_t count, off64_t offset) {
  ssize_t (*original)(int, void*, size_t, off64_t) = dlsym(RTLD_NEXT, "pread64");
  return fails(fd, offset + (off64_t)count) ? -1 : original(fd, buffer, count, offset);
}
