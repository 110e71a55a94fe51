/*
 * Loaded into a VMM before its own libraries (LD_PRELOAD): has the kernel note which pages of the guest's memory are
 * written. DORMOUSE_TRACK_WRITES says which mapping that is, as "INODE BYTES" of the file that is its base. Where
 * tracking is not to be had the VMM runs on untracked; whoever takes a snapshot finds out by asking the kernel.
 */
#define _GNU_SOURCE
#include "tracking.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

static int is_guest_memory(size_t bytes, int flags, int fd)
{
	if (fd < 0 || (flags & MAP_ANONYMOUS) || (flags & MAP_TYPE) != MAP_PRIVATE)
		return 0;
	const char *wanted = getenv("DORMOUSE_TRACK_WRITES");
	unsigned long long inode, size;
	struct stat status;
	if (!wanted || sscanf(wanted, "%llu %llu", &inode, &size) != 2 || size != bytes)
		return 0;
	return fstat(fd, &status) == 0 && status.st_ino == inode;
}

/* The system call itself: this library comes first, and looking the next `mmap` up would itself map memory. */
static void *map(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	long result = syscall(SYS_mmap, address, bytes, protection, flags, fd, offset);
	if (result == -1)
		return MAP_FAILED;
	int error = errno;
	/* The descriptor stays open, known to nobody, until the process ends: closing it would end the tracking. */
	if (is_guest_memory(bytes, flags, fd))
		(void)tracking_start((void *)result, bytes);
	errno = error;
	return (void *)result;
}

__attribute__((visibility("default"))) void *mmap(void *address, size_t bytes, int protection, int flags, int fd,
						  off_t offset)
{
	return map(address, bytes, protection, flags, fd, offset);
}

__attribute__((visibility("default"))) void *mmap64(void *address, size_t bytes, int protection, int flags, int fd,
						    off64_t offset)
{
	return map(address, bytes, protection, flags, fd, offset);
}
