// Loaded before the C library by test/native/failing_threads.test.ts: while the file FAIL_WHILE is there, no thread can be
// started, as where a container has used up its share.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* argument) {
  int (*original)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*) = dlsym(RTLD_NEXT, "pthread_create");
  const char* const file = getenv("FAIL_WHILE");
  return file != NULL && access(file, F_OK) == 0 ? EAGAIN : original(thread, attributes, start, argument);
}
