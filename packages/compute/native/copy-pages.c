/*
 * copy-pages: copies what a VMM's guest wrote to its memory since the last time, while the guest runs on, and the rest
 * while it stands still. Started by root for one snapshot; descriptor 3 is the file to copy to, at the same offsets.
 *
 *   copy-pages PID ADDRESS BYTES       then, line by line on standard output and input:
 *     > open                           the process's memory is held; a process that takes its number cannot be met
 *     < collect complete|changed ROUNDS PAGES MILLISECONDS [BLOCKS]
 *                                      complete: all that differs from the mapped file; changed: since the last time,
 *                                      and BLOCKS once more. Rounds go on until one found at most PAGES, or a limit
 *     > close ROUNDS                   the guest may be stopped: little is left
 *     < stopped
 *     > stands PAGES                   the guest may go on: the last PAGES are in this process's memory
 *     > blocks PAGES BLOCKS CHANGED    all is in the file: pages copied in all, which blocks of 64 KiB, and which of
 *                                      them were written since the last time
 *     > untracked REASON               instead of `close`, when the kernel does not track this memory
 *     > error REASON                   instead, at any time; what the file holds is of no use then
 *   copy-pages --self-test FILE        tells `ok`, or `no REASON`, after trying with FILE, which it makes and removes
 *
 * BLOCKS are hexadecimal digits, a bit for each block, the lowest bit of the first byte first.
 */
#define _GNU_SOURCE
#include "tracking.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>

#define STAGING 3
#define PAGE_BYTES 4096ULL
#define BLOCK_BYTES 65536ULL
#define REGIONS 1024
#define PIECES 512                     /* fewer than process_vm_readv's 1024 */
#define RANGES 8192
#define RUNNING_BYTES (2ULL << 20)     /* what is on its way at once while the guest runs; fits a cache */
#define STOPPED_BYTES (32ULL << 20)    /* kept in memory while it is stopped: no file system is waited for */

struct range {
	uint64_t offset, bytes;
};

struct copier {
	pid_t pid;
	int pagemap;
	uint64_t address, bytes, pages;
	unsigned char *seen;               /* blocks that the file holds as a whole */
	unsigned char *changed;            /* blocks with pages that carried the mark */
	unsigned char *arena;              /* copied and not yet written */
	uint64_t arena_limit, arena_used, fetched;
	struct range ranges[RANGES];       /* where the arena's bytes belong; those from `asked` on are not fetched yet */
	size_t range_count, asked;
};

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	printf("error ");
	vprintf(format, arguments);
	printf("\n");
	exit(1);
}

static void tell(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vprintf(format, arguments);
	if (fflush(stdout) != 0)
		exit(1);
}

static uint64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool has(const unsigned char *bits, uint64_t index)
{
	return bits[index / 8] >> (index % 8) & 1;
}

/* Brings what was asked for from the VMM into the arena, many pieces with one call. */
static void fetch(struct copier *copier)
{
	struct iovec remote[PIECES];
	size_t count = copier->range_count - copier->asked;
	if (count == 0)
		return;
	for (size_t i = 0; i < count; i++) {
		struct range *range = &copier->ranges[copier->asked + i];
		remote[i].iov_base = (void *)(uintptr_t)(copier->address + range->offset);
		remote[i].iov_len = range->bytes;
	}
	struct iovec local = { copier->arena + copier->fetched, copier->arena_used - copier->fetched };
	ssize_t got = process_vm_readv(copier->pid, &local, 1, remote, count, 0);
	if (got < 0)
		fail("the VMM's memory cannot be read: %s", strerror(errno));
	if ((size_t)got != local.iov_len)
		fail("the VMM's memory ends after %zd of %zu bytes", got, local.iov_len);
	copier->fetched = copier->arena_used;
	copier->asked = copier->range_count;
}

/* Writes the arena to the file and empties it. */
static void flush_arena(struct copier *copier)
{
	fetch(copier);
	unsigned char *at = copier->arena;
	for (size_t i = 0; i < copier->range_count;) {
		uint64_t offset = copier->ranges[i].offset, bytes = 0;
		for (; i < copier->range_count && copier->ranges[i].offset == offset + bytes; i++)
			bytes += copier->ranges[i].bytes;
		while (bytes > 0) {
			ssize_t put = pwrite(STAGING, at, bytes, (off_t)offset);
			if (put < 0 && errno == EINTR)
				continue;
			if (put <= 0)
				fail("the staging file cannot be written: %s", put < 0 ? strerror(errno) : "no space");
			at += put;
			offset += (uint64_t)put;
			bytes -= (uint64_t)put;
		}
	}
	copier->range_count = copier->asked = 0;
	copier->arena_used = copier->fetched = 0;
}

static void copy(struct copier *copier, uint64_t start, uint64_t end)
{
	copier->pages += (end - start) / PAGE_BYTES;
	while (start < end) {
		if (copier->arena_used == copier->arena_limit || copier->range_count == RANGES)
			flush_arena(copier);
		uint64_t bytes = end - start, room = copier->arena_limit - copier->arena_used;
		if (bytes > room)
			bytes = room;
		copier->ranges[copier->range_count++] = (struct range){ start, bytes };
		copier->arena_used += bytes;
		start += bytes;
		if (copier->range_count - copier->asked == PIECES)
			fetch(copier);
	}
}

/* Copies pages, and of a block that the file does not hold yet all of it: whoever reads gets whole blocks. */
static void copy_written(struct copier *copier, uint64_t start, uint64_t end)
{
	while (start < end) {
		uint64_t block = start / BLOCK_BYTES, block_end = (block + 1) * BLOCK_BYTES;
		uint64_t piece_end = end < block_end ? end : block_end;
		if (has(copier->seen, block)) {
			copy(copier, start, piece_end);
		} else {
			copier->seen[block / 8] |= (unsigned char)(1 << (block % 8));
			copy(copier, block * BLOCK_BYTES, block_end < copier->bytes ? block_end : copier->bytes);
		}
		start = piece_end;
	}
}

static void note_changed(struct copier *copier, uint64_t start, uint64_t end)
{
	for (uint64_t block = start / BLOCK_BYTES; block * BLOCK_BYTES < end; block++)
		copier->changed[block / 8] |= (unsigned char)(1 << (block % 8));
}

/* Says so, and ends, when the kernel keeps no marks for this memory; to be known before anybody has to wait. */
static void check_tracked(struct copier *copier)
{
	struct tracking_region region;
	struct tracking_scan scan = {
		.size = sizeof scan, .flags = TRACKING_SCAN_CHECK,
		.start = copier->address, .end = copier->address + PAGE_BYTES,
		.regions = (uint64_t)(uintptr_t)&region, .region_count = 1,
		.any_of = TRACKING_IS_WRITTEN, .returned = TRACKING_IS_WRITTEN,
	};
	if (ioctl(copier->pagemap, TRACKING_SCAN, &scan) >= 0)
		return;
	tell("untracked %s\n", strerror(errno));
	exit(0);
}

/* The next regions of pages that fit `scan`, from its start on; advances that start. Answers how many. */
static int next_regions(struct copier *copier, struct tracking_scan *scan, struct tracking_region *regions)
{
	scan->size = sizeof *scan;
	scan->regions = (uint64_t)(uintptr_t)regions;
	scan->region_count = REGIONS;
	int count;
	do
		count = ioctl(copier->pagemap, TRACKING_SCAN, scan);
	while (count < 0 && errno == EINTR);
	if (count < 0)
		fail("the kernel does not name the pages: %s", strerror(errno));
	for (int i = 0; i < count; i++) {
		if (regions[i].start < scan->start || regions[i].end > scan->end || regions[i].start >= regions[i].end)
			fail("the kernel names pages from %llx to %llx", (unsigned long long)regions[i].start,
			     (unsigned long long)regions[i].end);
	}
	if (scan->walk_end <= scan->start)
		fail("the kernel's list of pages does not go on at %llx", (unsigned long long)scan->start);
	scan->start = scan->walk_end;
	return count;
}

/*
 * Copies the pages of a part of the memory that are not the mapped file's any more, wherever they are now, and takes
 * their marks off if `flags` say so. Answers how many.
 */
static uint64_t copy_private(struct copier *copier, uint64_t start, uint64_t end, uint64_t flags, bool all_changed)
{
	struct tracking_region regions[REGIONS];
	struct tracking_scan scan = {
		.flags = flags, .start = start, .end = end,
		.mask = TRACKING_IS_FILE, .inverted = TRACKING_IS_FILE,
		.any_of = TRACKING_IS_PRESENT | TRACKING_IS_SWAPPED, .returned = TRACKING_IS_WRITTEN,
	};
	uint64_t found = 0;
	while (scan.start < end) {
		int count = next_regions(copier, &scan, regions);
		for (int i = 0; i < count; i++) {
			uint64_t from = regions[i].start - copier->address, to = regions[i].end - copier->address;
			found += (to - from) / PAGE_BYTES;
			if (all_changed || (regions[i].categories & TRACKING_IS_WRITTEN))
				note_changed(copier, from, to);
			copy_written(copier, from, to);
		}
	}
	return found;
}

/*
 * Takes marks off and copies, in this order: what is written meanwhile is marked again. Answers the pages found. The
 * marks alone are asked for first, because whether a page is the file's is a look at the page itself, which is slow;
 * a page of the file that was read for the first time looks written then, once.
 */
static uint64_t collect(struct copier *copier, bool complete)
{
	uint64_t flags = TRACKING_SCAN_PROTECT | TRACKING_SCAN_CHECK, end = copier->address + copier->bytes, found = 0;
	if (complete)
		return copy_private(copier, copier->address, end, flags, false);
	struct tracking_region regions[REGIONS];
	struct tracking_scan scan = {
		.flags = flags, .start = copier->address, .end = end, .mask = TRACKING_IS_WRITTEN,
		.any_of = TRACKING_IS_PRESENT | TRACKING_IS_SWAPPED, .returned = TRACKING_IS_WRITTEN,
	};
	while (scan.start < end) {
		int count = next_regions(copier, &scan, regions);
		for (int i = 0; i < count; i++)
			found += copy_private(copier, regions[i].start, regions[i].end, 0, true);
	}
	return found;
}

static void copy_blocks(struct copier *copier, const char *digits)
{
	uint64_t blocks = (copier->bytes + BLOCK_BYTES - 1) / BLOCK_BYTES, size = (blocks + 7) / 8;
	if (strlen(digits) != size * 2)
		fail("%zu digits of blocks, expected %llu", strlen(digits), (unsigned long long)size * 2);
	for (uint64_t i = 0; i < size; i++) {
		unsigned int bits;
		if (sscanf(digits + 2 * i, "%2x", &bits) != 1)
			fail("no hexadecimal digits: %.2s", digits + 2 * i);
		for (uint64_t block = i * 8; bits != 0; bits >>= 1, block++) {
			if ((bits & 1) && block < blocks)
				copy_written(copier, block * BLOCK_BYTES, block * BLOCK_BYTES + PAGE_BYTES);
		}
	}
}

static void print_blocks(const struct copier *copier, const unsigned char *blocks)
{
	uint64_t size = ((copier->bytes + BLOCK_BYTES - 1) / BLOCK_BYTES + 7) / 8;
	for (uint64_t i = 0; i < size; i++)
		printf("%02x", blocks[i]);
}

static char *read_line(void)
{
	static char *line;
	static size_t capacity;
	ssize_t length = getline(&line, &capacity, stdin);
	if (length <= 0)
		exit(1);
	if (line[length - 1] == '\n')
		line[length - 1] = 0;
	return line;
}

static void snapshot(struct copier *copier)
{
	char mode[16], *line = read_line();
	unsigned int max_rounds, max_ms;
	unsigned long long enough_pages;
	int blocks_at = 0;
	if (sscanf(line, "collect %15s %u %llu %u%n", mode, &max_rounds, &enough_pages, &max_ms, &blocks_at) != 4)
		fail("unknown request: %.40s", line);
	check_tracked(copier);
	bool complete = strcmp(mode, "complete") == 0;
	uint64_t started = now_ms();
	copier->arena_limit = RUNNING_BYTES;
	unsigned int rounds = 0;
	/* No round at all when the guest stands already. */
	while (rounds < max_rounds) {
		uint64_t found = collect(copier, complete && rounds == 0);
		if (rounds++ == 0 && line[blocks_at] == ' ')
			copy_blocks(copier, line + blocks_at + 1);
		flush_arena(copier);
		if (found <= enough_pages || now_ms() - started >= max_ms)
			break;
	}
	bool asks_blocks = rounds == 0 && line[blocks_at] == ' ';
	char *digits = asks_blocks ? strdup(line + blocks_at + 1) : NULL;
	/* The guest waits from here on: on a busy host that is worth a place before others, for milliseconds. */
	(void)setpriority(PRIO_PROCESS, 0, -10);
	tell("close %u\n", rounds);
	if (strcmp(read_line(), "stopped") != 0)
		fail("expected to hear that the guest is stopped");
	copier->arena_limit = STOPPED_BYTES;
	uint64_t last = collect(copier, complete && rounds == 0);
	if (digits)
		copy_blocks(copier, digits);
	fetch(copier);
	tell("stands %llu\n", (unsigned long long)last);
	(void)setpriority(PRIO_PROCESS, 0, 0);
	flush_arena(copier);
	printf("blocks %llu ", (unsigned long long)copier->pages);
	print_blocks(copier, copier->seen);
	printf(" ");
	print_blocks(copier, copier->changed);
	tell("\n");
}

static bool found_exactly(struct copier *copier, bool complete, uint64_t expected)
{
	memset(copier->seen, 0, 8);
	copier->pages = 0;
	uint64_t found = collect(copier, complete), blocks = 0;
	flush_arena(copier);
	for (int block = 0; block < 64; block++)
		blocks |= (uint64_t)has(copier->seen, (uint64_t)block) << block;
	return found == (uint64_t)__builtin_popcountll(expected) && blocks == expected;
}

/* Tries all that is relied on, with a page in each of 64 blocks: what a version number promises is not asked. */
static const char *self_test(struct copier *copier)
{
	if (ftruncate(STAGING, (off_t)copier->bytes) != 0)
		return "no file to map";
	volatile unsigned char *memory =
		mmap(NULL, copier->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, STAGING, 0);
	if (memory == MAP_FAILED)
		return "the file cannot be mapped";
	copier->address = (uint64_t)(uintptr_t)memory;
	copier->arena_limit = RUNNING_BYTES;
	if (tracking_start((void *)memory, copier->bytes) < 0)
		return "the kernel cannot track writes (userfaultfd with asynchronous write protection, Linux 6.7)";
	(void)memory[1 * BLOCK_BYTES];
	memory[2 * BLOCK_BYTES] = 1;
	if (!found_exactly(copier, true, 1ULL << 2))
		return "pages that were written before are not found";
	memory[1 * BLOCK_BYTES] = 2;
	memory[63 * BLOCK_BYTES] = 3;
	if (!found_exactly(copier, false, 1ULL << 1 | 1ULL << 63))
		return "pages that are written for the first time are not found";
	if (!found_exactly(copier, false, 0))
		return "pages are found that nobody wrote";
	memory[2 * BLOCK_BYTES + 5] = 4;
	/* Most of what a device writes to a guest's memory is written by the kernel. */
	if (pread(STAGING, (void *)(memory + 63 * BLOCK_BYTES), 100, 0) != 100 ||
	    pread(STAGING, (void *)(memory + 7 * BLOCK_BYTES), 100, 0) != 100)
		return "the file cannot be read";
	if (!found_exactly(copier, false, 1ULL << 2 | 1ULL << 7 | 1ULL << 63))
		return "pages that are written again, or by the kernel, are not found";
	unsigned char copied[6];
	if (pread(STAGING, copied, 6, 2 * BLOCK_BYTES) != 6 || copied[0] != 1 || copied[5] != 4)
		return "pages are not copied";
	return NULL;
}

static uint64_t number(const char *text)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno != 0 || *end != 0 || end == text)
		fail("no number: %s", text);
	return value;
}

int main(int count, char **arguments)
{
	/* The daemon may die without a word; its snapshot is nobody's then. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	static struct copier copier;
	bool tests = count == 3 && strcmp(arguments[1], "--self-test") == 0;
	if (!tests && count != 4) {
		fprintf(stderr, "usage: copy-pages PID ADDRESS BYTES | copy-pages --self-test FILE\n");
		return 2;
	}
	copier.pid = tests ? getpid() : (pid_t)number(arguments[1]);
	copier.address = tests ? 0 : number(arguments[2]);
	copier.bytes = tests ? 64 * BLOCK_BYTES : number(arguments[3]);
	if (tests) {
		int file = open(arguments[2], O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (file < 0 || unlink(arguments[2]) != 0 || (file != STAGING && dup2(file, STAGING) < 0))
			fail("%s: %s", arguments[2], strerror(errno));
	}
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/pagemap", (int)copier.pid);
	copier.pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (copier.pagemap < 0)
		fail("%s: %s", path, strerror(errno));
	copier.seen = calloc((copier.bytes + BLOCK_BYTES - 1) / BLOCK_BYTES / 8 + 1, 1);
	copier.changed = calloc((copier.bytes + BLOCK_BYTES - 1) / BLOCK_BYTES / 8 + 1, 1);
	/* Its pages are there from the beginning: none has to be found while the guest waits. */
	copier.arena = mmap(NULL, STOPPED_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (!copier.seen || !copier.changed || copier.arena == MAP_FAILED)
		fail("no memory to copy to");
	if (tests) {
		const char *problem = self_test(&copier);
		printf(problem ? "no %s\n" : "ok\n", problem);
		return 0;
	}
	tell("open\n");
	snapshot(&copier);
	return 0;
}
