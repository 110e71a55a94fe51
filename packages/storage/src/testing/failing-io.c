/*
 * Loaded into a process whose disk is to fail: as long as the file that DORMOUSE_FAILS_WHILE names is there, every write, sync
 * and rename below the folder in DORMOUSE_FAILS_BELOW, which ends with a slash, fails as the file's content says: EIO, as on a
 * disk that is broken, or ENOSPC, as on one that is full.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Sets errno when it does. */
static bool path_fails(const char *path)
{
	const char *folder = getenv("DORMOUSE_FAILS_BELOW"), *sign = getenv("DORMOUSE_FAILS_WHILE");
	if (!folder || !sign || strncmp(path, folder, strlen(folder)) != 0)
		return false;
	char how[16] = "";
	int file = open(sign, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return false;
	(void)!read(file, how, sizeof how - 1);
	close(file);
	errno = strncmp(how, "ENOSPC", 6) == 0 ? ENOSPC : EIO;
	return true;
}

static bool fails(int file)
{
	char name[64], path[PATH_MAX];
	int before = errno;
	snprintf(name, sizeof name, "/proc/self/fd/%d", file);
	ssize_t length = readlink(name, path, sizeof path - 1);
	if (length > 0) {
		path[length] = 0;
		if (path_fails(path))
			return true;
	}
	errno = before;
	return false;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *data, size_t size)
{
	return fails(file) ? -1 : NEXT(write)(file, data, size);
}

ssize_t writev(int file, const struct iovec *parts, int count)
{
	return fails(file) ? -1 : NEXT(writev)(file, parts, count);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at)
{
	return fails(file) ? -1 : NEXT(pwrite64)(file, data, size, at);
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t at)
{
	return fails(file) ? -1 : NEXT(pwritev64)(file, parts, count, at);
}

int fsync(int file)
{
	return fails(file) ? -1 : NEXT(fsync)(file);
}

int fdatasync(int file)
{
	return fails(file) ? -1 : NEXT(fdatasync)(file);
}

int rename(const char *from, const char *to)
{
	return path_fails(to) ? -1 : NEXT(rename)(from, to);
}
