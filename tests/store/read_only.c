/* Makes one folder read-only for the process that this is loaded into, as long as the file
 * READ_ONLY_WHILE exists. A real file system cannot be remounted read-only while a database on it is
 * open for writing, and one that became read-only by an error cannot be remounted for writing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int lasts(void) {
  const char *file = getenv("READ_ONLY_WHILE");
  int saved = errno, there = file && access(file, F_OK) == 0;
  errno = saved;
  return there;
}

static int is_below(const char *path) {
  const char *folder = getenv("READ_ONLY_FOLDER");
  return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int refuses_path(const char *path) { return is_below(path) && lasts(); }

static int refuses(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return refuses_path(path);
}

#define REFUSE_IF(condition) \
  if (condition) {           \
    errno = EROFS;           \
    return -1;               \
  }
#define ORIGINAL(type, name) ((type)dlsym(RTLD_NEXT, name))

#define OPEN(name)                                                                   \
  int name(const char *path, int flags, ...) {                                       \
    va_list rest;                                                                    \
    va_start(rest, flags);                                                           \
    mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;                      \
    va_end(rest);                                                                    \
    REFUSE_IF((flags & (O_WRONLY | O_RDWR | O_CREAT)) && refuses_path(path))         \
    return ORIGINAL(int (*)(const char *, int, ...), #name)(path, flags, mode);      \
  }
OPEN(open)
OPEN(open64)

#define WRITE(name, offset_type)                                                           \
  ssize_t name(int fd, const void *bytes, size_t count, offset_type offset) {              \
    REFUSE_IF(refuses(fd))                                                                 \
    return ORIGINAL(ssize_t(*)(int, const void *, size_t, offset_type), #name)(fd, bytes,  \
                                                                              count, offset); \
  }
WRITE(pwrite, off_t)
WRITE(pwrite64, off64_t)

ssize_t write(int fd, const void *bytes, size_t count) {
  REFUSE_IF(fd > 2 && refuses(fd))
  return ORIGINAL(ssize_t(*)(int, const void *, size_t), "write")(fd, bytes, count);
}

#define TRUNCATE(name, length_type)                                     \
  int name(int fd, length_type length) {                                \
    REFUSE_IF(refuses(fd))                                              \
    return ORIGINAL(int (*)(int, length_type), #name)(fd, length);      \
  }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

int unlink(const char *path) {
  REFUSE_IF(refuses_path(path))
  return ORIGINAL(int (*)(const char *), "unlink")(path);
}
