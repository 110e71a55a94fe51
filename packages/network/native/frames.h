/*
 * Messages between TypeScript (src/egress/frames.ts) and the native programs, over standard input and output: a header of
 * three little-endian 32-bit numbers (length of what follows, kind, id), then so many bytes.
 */
#pragma once

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct frame {
  uint32_t length;
  uint32_t kind;
  uint32_t id;
};

/* More is a broken partner. */
#define MAX_FRAME (8u << 20)

struct inbox {
  char *bytes;
  size_t held;
  size_t size;
};

/* Reads what is there. 0 at the end of the stream or when it cannot be read any more. */
static inline int inbox_fill(struct inbox *inbox, int fd) {
  if (inbox->size - inbox->held < 65536) {
    size_t size = inbox->size ? inbox->size * 2 : 262144;
    if (size > 2 * (MAX_FRAME + 65536)) return 0;
    char *bytes = realloc(inbox->bytes, size);
    if (!bytes) return 0;
    inbox->bytes = bytes;
    inbox->size = size;
  }
  ssize_t got = read(fd, inbox->bytes + inbox->held, inbox->size - inbox->held);
  if (got < 0) return errno == EINTR || errno == EAGAIN;
  inbox->held += (size_t)got;
  return got > 0;
}

/* Calls for each whole message; 0 when one is too long. */
static inline int inbox_take(struct inbox *inbox, void (*take)(const struct frame *, const char *)) {
  size_t at = 0;
  struct frame frame;
  while (inbox->held - at >= sizeof frame) {
    memcpy(&frame, inbox->bytes + at, sizeof frame);
    if (frame.length > MAX_FRAME) return 0;
    if (inbox->held - at - sizeof frame < frame.length) break;
    take(&frame, inbox->bytes + at + sizeof frame);
    at += sizeof frame + frame.length;
  }
  if (at > 0) memmove(inbox->bytes, inbox->bytes + at, inbox->held - at);
  inbox->held -= at;
  return 1;
}

/* Whoever should read it is gone when it cannot be written: then this program has nothing to do any more. */
static inline void write_all(const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t put = write(STDOUT_FILENO, bytes, length);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) exit(1);
    bytes += put;
    length -= (size_t)put;
  }
}
