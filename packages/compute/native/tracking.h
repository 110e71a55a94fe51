/*
 * How the kernel is made to remember which pages a process wrote: userfaultfd's asynchronous write protection
 * (Documentation/admin-guide/mm/userfaultfd.rst) sets the mark, PAGEMAP_SCAN (pagemap.rst, kernel 6.7) reads it and takes
 * it off. The numbers stand here because the headers of the system that compiles may be older than its kernel.
 */
#ifndef DORMOUSE_TRACKING_H
#define DORMOUSE_TRACKING_H

#include <errno.h>
#include <linux/userfaultfd.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TRACKING_USER_MODE_ONLY 1                /* UFFD_USER_MODE_ONLY: the one kind that needs no privilege */
#define TRACKING_FEATURE_WP_ASYNC (1ULL << 15)   /* UFFD_FEATURE_WP_ASYNC */
#define TRACKING_OPEN_FLAGS (02000000 | TRACKING_USER_MODE_ONLY) /* O_CLOEXEC */

struct tracking_region {
	uint64_t start, end, categories;
};

struct tracking_scan {
	uint64_t size, flags, start, end, walk_end, regions, region_count, max_pages;
	uint64_t inverted, mask, any_of, returned;
};

#define TRACKING_SCAN _IOWR('f', 16, struct tracking_scan) /* PAGEMAP_SCAN */
#define TRACKING_SCAN_PROTECT (1 << 0)                     /* PM_SCAN_WP_MATCHING */
#define TRACKING_SCAN_CHECK (1 << 1)                       /* PM_SCAN_CHECK_WPASYNC */

#define TRACKING_IS_WRITTEN (1 << 1)
#define TRACKING_IS_FILE (1 << 2)
#define TRACKING_IS_PRESENT (1 << 3)
#define TRACKING_IS_SWAPPED (1 << 4)

/*
 * Has writes to the range noted from now on, for as long as the answered descriptor is open; negative errno where that
 * is not to be had. Nothing waits for anybody: the kernel itself takes the protection off a page that is written.
 */
static inline int tracking_start(void *address, size_t bytes)
{
	long fd = syscall(SYS_userfaultfd, TRACKING_OPEN_FLAGS);
	if (fd < 0)
		return -errno;
	struct uffdio_api api = { .api = UFFD_API, .features = TRACKING_FEATURE_WP_ASYNC };
	struct uffdio_register range = {
		.range = { .start = (uint64_t)(uintptr_t)address, .len = bytes },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	if (ioctl((int)fd, UFFDIO_API, &api) == 0 && ioctl((int)fd, UFFDIO_REGISTER, &range) == 0)
		return (int)fd;
	int error = errno;
	close((int)fd);
	return -error;
}

#endif
