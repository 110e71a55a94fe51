/* Small things that every part needs: framing, files, lists, fork. */
#define _GNU_SOURCE
#include "init.h"
#include "protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void say(const char *format, ...)
{
	char line[512];
	va_list arguments;
	va_start(arguments, format);
	int size = vsnprintf(line, sizeof line - 1, format, arguments);
	va_end(arguments);
	if (size < 0)
		return;
	if ((size_t)size >= sizeof line - 1)
		size = sizeof line - 2;
	line[size] = '\n';
	char text[sizeof line + 20];
	int total = snprintf(text, sizeof text, "dormouse-init: %.*s", size + 1, line);
	/* The console may be gone; there is nobody left to tell then. */
	(void)!write(2, text, (size_t)total);
}

int read_all(int fd, void *buffer, size_t size)
{
	char *at = buffer;
	while (size > 0) {
		ssize_t got = read(fd, at, size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno;
		if (got == 0)
			return EPIPE;
		at += got;
		size -= (size_t)got;
	}
	return 0;
}

int write_all(int fd, const void *buffer, size_t size)
{
	const char *at = buffer;
	while (size > 0) {
		ssize_t put = write(fd, at, size);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return errno;
		at += put;
		size -= (size_t)put;
	}
	return 0;
}

uint32_t get_u32(const unsigned char *bytes)
{
	return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

void put_u32(unsigned char *bytes, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		bytes[i] = (unsigned char)(value >> (8 * i));
}

int send_frame(int fd, uint8_t type, const void *payload, uint32_t size)
{
	unsigned char frame[FRAME_HEADER + 256];
	if (size > sizeof frame - FRAME_HEADER)
		return EMSGSIZE;
	put_u32(frame, size);
	frame[4] = type;
	if (size > 0)
		memcpy(frame + FRAME_HEADER, payload, size);
	return write_all(fd, frame, FRAME_HEADER + size);
}

int send_error(int fd, int error, const char *stage)
{
	unsigned char payload[4 + 64];
	size_t length = strnlen(stage, 64);
	put_u32(payload, (uint32_t)error);
	memcpy(payload + 4, stage, length);
	return send_frame(fd, FRAME_ERROR, payload, (uint32_t)(4 + length));
}

int strings_add(struct strings *list, char *item)
{
	if (list->count + 1 >= list->capacity) {
		size_t capacity = list->capacity ? list->capacity * 2 : 32;
		char **items = realloc(list->items, capacity * sizeof *items);
		if (!items)
			return ENOMEM;
		list->items = items;
		list->capacity = capacity;
	}
	list->items[list->count++] = item;
	list->items[list->count] = NULL;
	return 0;
}

int strings_set(struct strings *list, char *assignment)
{
	size_t name = strcspn(assignment, "=");
	for (size_t i = 0; i < list->count; i++) {
		if (strncmp(list->items[i], assignment, name + 1) == 0) {
			list->items[i] = assignment;
			return 0;
		}
	}
	return strings_add(list, assignment);
}

int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return errno;
	int error = write_all(fd, text, strlen(text));
	close(fd);
	return error;
}

char *read_small_file(const char *path, size_t limit)
{
	/* Not blocking: the file is the user's and may be a pipe with nobody at its other end. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return NULL;
	struct stat status;
	char *text = NULL;
	size_t size = 0;
	if (fstat(fd, &status) != 0)
		goto out;
	if (!S_ISREG(status.st_mode)) {
		errno = EINVAL;
		goto out;
	}
	if (status.st_size > 0 && (size_t)status.st_size < limit)
		limit = (size_t)status.st_size;
	text = malloc(limit + 1);
	while (text && size < limit) {
		ssize_t got = read(fd, text + size, limit - size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		size += (size_t)got;
	}
	if (text)
		text[size] = 0;
out:
	close(fd);
	return text;
}

pid_t fork_with(uint64_t flags, int cgroup, int *pidfd)
{
	/*
	 * CLONE_INTO_CGROUP instead of a write to cgroup.procs: moving a running process takes a global lock
	 * that waits for a grace period of all processors, many milliseconds under emulation.
	 */
	struct clone_args arguments = { .flags = flags, .exit_signal = SIGCHLD };
	if (cgroup >= 0) {
		arguments.flags |= CLONE_INTO_CGROUP;
		arguments.cgroup = (uint64_t)cgroup;
	}
	if (pidfd) {
		arguments.flags |= CLONE_PIDFD;
		arguments.pidfd = (uint64_t)(uintptr_t)pidfd;
	}
	long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
	return pid < 0 ? -errno : (pid_t)pid;
}
