/*
 * serve-blocks: shows a file whole to those who read it while somebody still fills it. A read of blocks that are there is
 * answered from the file; one of others waits until they are, and asks for them. Started by root in the mount namespace
 * that is to see it; descriptor 3 is /dev/fuse (linux/fuse.h is the protocol).
 *
 *   serve-blocks FILE SOCKET           mounts itself over FILE, says `ready`, and serves until the file is open nowhere
 *                                      and nobody fills it. Whoever fills it connects to SOCKET; line by line:
 *     > have BLOCKS                    at first: those of the file that are there
 *     > want BLOCK                     a reader waits for it
 *     > used COUNT                     so often the file is open now
 *     < have FIRST COUNT               these are in the file now
 *     < fail                           the file will not become whole: whoever waits, now or later, gets an error
 *   serve-blocks --show FILE AT        shows what is mounted at FILE at another path too
 *   serve-blocks --hide AT             takes away what is mounted there, if anything is
 *
 * Whoever fills it may come and go: readers wait. BLOCKS are hexadecimal digits, a bit for each block of 64 KiB, the
 * lowest bit of the first byte first.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/fuse.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define FUSE_DEVICE 3
#define BLOCK_BYTES 65536ULL
/* What the kernel reads around a page that is touched: as much as a block, so that at most two are asked for. */
#define READ_AHEAD_BYTES 65536U
#define MOST_READ_BYTES (1U << 20)
#define MOST_WAITING 1024
/* Somebody who starts all this comes within this time, or never. */
#define IDLE_MS 10000
/* And somebody who fills the file comes back within this one; readers get an error then. */
#define UNFILLED_MS 600000
#define SEND_SECONDS 5

struct waiting {
	uint64_t unique, offset;
	uint32_t size;
};

static struct {
	int file, listener, filler;
	struct stat facts;
	uint64_t blocks, open;
	bool failed, was_filled;
	unsigned char *present, *asked;
	char *digits;
	struct waiting waiting[MOST_WAITING];
	size_t waiting_count;
	char line[128];
	size_t line_length;
	_Alignas(8) unsigned char request[128 * 1024], answer[MOST_READ_BYTES];
} server = { .filler = -1 };

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	fprintf(stderr, "\n");
	exit(1);
}

static bool has(const unsigned char *bits, uint64_t index)
{
	return bits[index / 8] >> (index % 8) & 1;
}

static void put(unsigned char *bits, uint64_t index)
{
	bits[index / 8] |= (unsigned char)(1 << (index % 8));
}

/* --- With whoever fills the file. */

static void drop_filler(void)
{
	if (server.filler >= 0)
		close(server.filler);
	server.filler = -1;
}

/* One that does not listen is none. */
static void tell(const char *words, size_t length)
{
	while (server.filler >= 0 && length > 0) {
		ssize_t sent = send(server.filler, words, length, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			drop_filler();
		else
			words += sent, length -= (size_t)sent;
	}
}

static void tell_number(const char *what, uint64_t number)
{
	char words[64];
	tell(words, (size_t)snprintf(words, sizeof words, "%s %llu\n", what, (unsigned long long)number));
}

static void ask_for(const struct waiting *read)
{
	for (uint64_t block = read->offset / BLOCK_BYTES; block * BLOCK_BYTES < read->offset + read->size; block++) {
		if (block >= server.blocks || has(server.present, block) || has(server.asked, block))
			continue;
		put(server.asked, block);
		tell_number("want", block);
	}
}

static void take_filler(void)
{
	int connection = accept4(server.listener, NULL, NULL, SOCK_CLOEXEC);
	if (connection < 0)
		return;
	drop_filler();
	/* One that has stopped reading must not stop the readers too. */
	struct timeval limit = { .tv_sec = SEND_SECONDS };
	setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	server.filler = connection;
	server.was_filled = true;
	server.line_length = 0;
	uint64_t bytes = (server.blocks + 7) / 8;
	for (uint64_t i = 0; i < bytes; i++) {
		server.digits[2 * i] = "0123456789abcdef"[server.present[i] >> 4];
		server.digits[2 * i + 1] = "0123456789abcdef"[server.present[i] & 15];
	}
	tell("have ", 5);
	tell(server.digits, 2 * bytes);
	tell("\n", 1);
	tell_number("used", server.open);
	memset(server.asked, 0, bytes);
	for (size_t i = 0; i < server.waiting_count; i++)
		ask_for(&server.waiting[i]);
}

/* --- With the kernel. */

static void reply(uint64_t unique, int error, const void *body, size_t length)
{
	struct fuse_out_header head = { .len = (uint32_t)(sizeof head + length), .error = -error, .unique = unique };
	struct iovec parts[2] = { { &head, sizeof head }, { (void *)(uintptr_t)body, length } };
	/* ENOENT: whoever asked has been interrupted. */
	if (writev(FUSE_DEVICE, parts, length > 0 ? 2 : 1) < 0 && errno != ENOENT && errno != EINTR)
		_exit(1);
}

/* Answers a read if all of its blocks are there, or none of them will ever be. */
static bool answer(const struct waiting *read)
{
	for (uint64_t block = read->offset / BLOCK_BYTES; block * BLOCK_BYTES < read->offset + read->size; block++) {
		if (block >= server.blocks || has(server.present, block))
			continue;
		if (server.failed)
			reply(read->unique, EIO, NULL, 0);
		return server.failed;
	}
	size_t done = 0;
	while (done < read->size) {
		ssize_t got = pread(server.file, server.answer + done, read->size - done, (off_t)(read->offset + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			reply(read->unique, EIO, NULL, 0);
			return true;
		}
		if (got == 0)
			break;
		done += (size_t)got;
	}
	reply(read->unique, 0, server.answer, done);
	return true;
}

static void answer_waiting(void)
{
	size_t left = 0;
	for (size_t i = 0; i < server.waiting_count; i++) {
		if (!answer(&server.waiting[i]))
			server.waiting[left++] = server.waiting[i];
	}
	server.waiting_count = left;
}

static void initialise(uint64_t unique, const struct fuse_init_in *wish)
{
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.max_readahead = wish->max_readahead < READ_AHEAD_BYTES ? wish->max_readahead : READ_AHEAD_BYTES,
		.flags = wish->flags & (FUSE_ASYNC_READ | FUSE_MAX_PAGES),
		.max_background = MOST_WAITING / 2,
		.congestion_threshold = MOST_WAITING / 2,
		.max_write = 4096,
		.time_gran = 1,
		.max_pages = MOST_READ_BYTES / 4096,
	};
	reply(unique, 0, &out, sizeof out);
}

/* It looks like the file itself, by its inode's number too: that is how a mapping of it is found. */
static void tell_attributes(uint64_t unique)
{
	const struct stat *facts = &server.facts;
	struct fuse_attr_out out = {
		.attr_valid = 1000000000,
		.attr = {
			.ino = facts->st_ino, .size = (uint64_t)facts->st_size, .blocks = ((uint64_t)facts->st_size + 511) / 512,
			.mtime = (uint64_t)facts->st_mtime, .mode = S_IFREG | 0444, .nlink = 1, .blksize = BLOCK_BYTES,
		},
	};
	reply(unique, 0, &out, sizeof out);
}

static void serve(const struct fuse_in_header *head, const void *body)
{
	switch (head->opcode) {
	case FUSE_INIT:
		initialise(head->unique, body);
		return;
	case FUSE_GETATTR:
		tell_attributes(head->unique);
		return;
	case FUSE_OPEN: {
		/* What was read once stays right, whoever opens it next. */
		struct fuse_open_out out = { .open_flags = FOPEN_KEEP_CACHE };
		server.open++;
		reply(head->unique, 0, &out, sizeof out);
		tell_number("used", server.open);
		return;
	}
	case FUSE_RELEASE:
		server.open--;
		reply(head->unique, 0, NULL, 0);
		tell_number("used", server.open);
		return;
	case FUSE_READ: {
		const struct fuse_read_in *read = body;
		struct waiting wanted = { head->unique, read->offset, read->size };
		if (read->size > MOST_READ_BYTES) {
			reply(head->unique, EINVAL, NULL, 0);
		} else if (!answer(&wanted)) {
			server.waiting[server.waiting_count++] = wanted;
			ask_for(&wanted);
		}
		return;
	}
	case FUSE_STATFS: {
		struct fuse_statfs_out out = { .st = { .bsize = 4096, .frsize = 4096, .namelen = 255 } };
		reply(head->unique, 0, &out, sizeof out);
		return;
	}
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		/* Nothing is answered to these. A process that is being killed does not wait for its read. */
		return;
	default:
		reply(head->unique, ENOSYS, NULL, 0);
	}
}

/* False: nobody can ask anything any more. */
static bool take_request(void)
{
	ssize_t length = read(FUSE_DEVICE, server.request, sizeof server.request);
	if (length < 0)
		return errno == EINTR || errno == EAGAIN || errno == ENOENT;
	if ((size_t)length >= sizeof(struct fuse_in_header))
		serve((const void *)server.request, server.request + sizeof(struct fuse_in_header));
	return true;
}

/* --- The words of whoever fills it. */

static void obey(const char *line)
{
	unsigned long long first, count;
	if (sscanf(line, "have %llu %llu", &first, &count) == 2 && first <= server.blocks &&
	    count <= server.blocks - first) {
		for (uint64_t block = first; block < first + count; block++)
			put(server.present, block);
	} else if (strcmp(line, "fail") == 0) {
		server.failed = true;
	} else {
		drop_filler();
	}
}

static void hear_filler(void)
{
	char words[4096];
	ssize_t length = read(server.filler, words, sizeof words);
	if (length < 0 && errno == EINTR)
		return;
	if (length <= 0) {
		drop_filler();
		return;
	}
	for (ssize_t i = 0; i < length && server.filler >= 0; i++) {
		if (words[i] == '\n') {
			server.line[server.line_length] = 0;
			server.line_length = 0;
			obey(server.line);
		} else if (server.line_length + 1 < sizeof server.line) {
			server.line[server.line_length++] = words[i];
		} else {
			drop_filler();
		}
	}
	answer_waiting();
}

/* --- Beginning and end. */

static bool is_idle(void)
{
	return server.open == 0 && server.filler < 0;
}

static void run(void)
{
	for (;;) {
		struct pollfd polled[3] = {
			/* No more than can be kept is taken: the kernel keeps the rest. */
			{ .fd = server.waiting_count < MOST_WAITING ? FUSE_DEVICE : -1, .events = POLLIN },
			{ .fd = server.listener, .events = POLLIN },
			{ .fd = server.filler, .events = POLLIN },
		};
		int ready = poll(polled, 3, is_idle() ? IDLE_MS : server.filler < 0 ? UNFILLED_MS : -1);
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready < 0 || (ready == 0 && is_idle()))
			return;
		if (ready == 0) {
			server.failed = true;
			answer_waiting();
		}
		if (polled[2].revents)
			hear_filler();
		if (polled[1].revents)
			take_filler();
		if (polled[0].revents && !take_request())
			return;
		if (is_idle() && server.was_filled)
			return;
	}
}

/* From here on there is only what is open already: no files, no processes, no network, no privilege. */
static void lock_up(void)
{
	static const unsigned int allowed[] = {
		SYS_read, SYS_write, SYS_writev, SYS_pread64, SYS_poll, SYS_accept4, SYS_sendto,
		SYS_setsockopt, SYS_close, SYS_exit_group, SYS_rt_sigreturn, SYS_restart_syscall,
	};
	enum { COUNT = sizeof allowed / sizeof *allowed };
	struct sock_filter filter[COUNT + 6] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};
	for (unsigned int i = 0; i < COUNT; i++)
		filter[4 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], (uint8_t)(COUNT - i), 0);
	filter[4 + COUNT] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	filter[5 + COUNT] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { .len = COUNT + 6, .filter = filter };
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0, 0, 0 }, { 0, 0, 0 } };
	if (syscall(SYS_capset, &head, none) != 0 || prctl(PR_SET_DUMPABLE, 0) != 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		fail("the process cannot be locked up: %s", strerror(errno));
}

static void listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof address.sun_path)
		fail("%s: too long for a socket", path);
	strcpy(address.sun_path, path);
	umask(077);
	server.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (server.listener < 0 || bind(server.listener, (struct sockaddr *)&address, sizeof address) != 0 ||
	    listen(server.listener, 4) != 0)
		fail("%s: %s", path, strerror(errno));
}

static void open_and_mount(const char *path)
{
	server.file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (server.file < 0 || fstat(server.file, &server.facts) != 0)
		fail("%s: %s", path, strerror(errno));
	if (!S_ISREG(server.facts.st_mode))
		fail("%s: no file", path);
	server.blocks = ((uint64_t)server.facts.st_size + BLOCK_BYTES - 1) / BLOCK_BYTES;
	server.present = calloc(server.blocks / 8 + 1, 1);
	server.asked = calloc(server.blocks / 8 + 1, 1);
	server.digits = malloc(2 * (server.blocks / 8 + 1));
	if (!server.present || !server.asked || !server.digits)
		fail("no memory");
	char options[128];
	snprintf(options, sizeof options, "fd=%d,rootmode=%o,user_id=0,group_id=0,allow_other,default_permissions",
		 FUSE_DEVICE, S_IFREG | 0444);
	if (mount("dormouse", path, "fuse", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, options) != 0)
		fail("nothing can be mounted at %s: %s", path, strerror(errno));
}

int main(int count, char **arguments)
{
	if (count == 4 && strcmp(arguments[1], "--show") == 0) {
		if (mount(arguments[2], arguments[3], NULL, MS_BIND, NULL) != 0)
			fail("%s cannot be shown at %s: %s", arguments[2], arguments[3], strerror(errno));
		return 0;
	}
	if (count == 3 && strcmp(arguments[1], "--hide") == 0) {
		(void)umount2(arguments[2], MNT_DETACH | UMOUNT_NOFOLLOW);
		return 0;
	}
	if (count != 3) {
		fprintf(stderr, "usage: serve-blocks FILE SOCKET | --show FILE AT | --hide AT\n");
		return 2;
	}
	listen_at(arguments[2]);
	open_and_mount(arguments[1]);
	if (chdir("/") != 0 || fputs("ready\n", stdout) == EOF || fflush(stdout) != 0)
		return 1;
	int nothing = open("/dev/null", O_RDWR);
	for (int standard = 0; standard < 3; standard++)
		if (nothing < 0 || dup2(nothing, standard) < 0)
			return 1;
	if (nothing > 2)
		close(nothing);
	lock_up();
	run();
	return 0;
}
