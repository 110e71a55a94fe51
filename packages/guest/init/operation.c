/* Privileged operations of the agent: what makes a restored machine a new one, and what a snapshot needs. */
#define _GNU_SOURCE
#include "init.h"
#include "protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENTROPY_BYTES 512
#define FREEZE_LIMIT_MS 5000

static int digit(char character)
{
	const char *digits = "0123456789abcdef";
	const char *found = character ? strchr(digits, character) : NULL;
	return found ? (int)(found - digits) : -1;
}

static int reseed(const char *hex)
{
	union {
		struct rand_pool_info info;
		unsigned char bytes[sizeof(struct rand_pool_info) + ENTROPY_BYTES];
	} pool;
	unsigned char *target = (unsigned char *)pool.info.buf;
	int size = 0;
	for (; size < ENTROPY_BYTES && hex[0]; size++, hex += 2) {
		int high = digit(hex[0]), low = high < 0 ? -1 : digit(hex[1]);
		if (low < 0)
			return EINVAL;
		target[size] = (unsigned char)(high << 4 | low);
	}
	if (size == 0 || *hex)
		return EINVAL;
	pool.info.buf_size = size;
	pool.info.entropy_count = size * 8;
	int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	int error = 0;
	if (ioctl(fd, RNDADDENTROPY, &pool) != 0 || ioctl(fd, RNDRESEEDCRNG) != 0)
		error = errno;
	close(fd);
	return error;
}

static int write_at(int directory, const char *name, const char *text)
{
	int fd = openat(directory, name, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	int error = write_all(fd, text, strlen(text));
	close(fd);
	return error;
}

/* Waits until the kernel says that every process of the group stands still. */
static int wait_frozen(int cgroup)
{
	int fd = openat(cgroup, "cgroup.events", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	int error = ETIMEDOUT;
	for (int waited = 0; waited < FREEZE_LIMIT_MS && error == ETIMEDOUT; waited += 10) {
		char events[128];
		ssize_t size = pread(fd, events, sizeof events - 1, 0);
		events[size > 0 ? size : 0] = 0;
		struct pollfd changed = { .fd = fd, .events = POLLPRI };
		if (strstr(events, "frozen 1"))
			error = 0;
		else
			poll(&changed, 1, 10);
	}
	close(fd);
	return error;
}

static int freeze(const struct place *place)
{
	if (place->cgroup < 0)
		return 0;
	int error = write_at(place->cgroup, "cgroup.freeze", "1");
	if (!error)
		error = wait_frozen(place->cgroup);
	if (error)
		write_at(place->cgroup, "cgroup.freeze", "0");
	return error;
}

static int thaw(const struct place *place)
{
	return place->cgroup < 0 ? 0 : write_at(place->cgroup, "cgroup.freeze", "0");
}

/*
 * Puts `text` into a file of the user's /etc, in place: shortening a file and filling it again would cost the journal
 * twice. A link there is replaced, because it would be followed in our root and not in the user's.
 */
static int put_name(int folder, const char *name, const char *text)
{
	const int flags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	int fd = openat(folder, name, flags, 0644);
	if (fd < 0 && errno == ELOOP && unlinkat(folder, name, 0) == 0)
		fd = openat(folder, name, flags, 0644);
	if (fd < 0)
		return errno;
	struct stat status;
	size_t size = strlen(text);
	int error = write_all(fd, text, size);
	if (!error && fstat(fd, &status) == 0 && status.st_size != (off_t)size && ftruncate(fd, (off_t)size) != 0)
		error = errno;
	close(fd);
	return error;
}

static int put_names(const char *root, const char *host, const char *machine)
{
	char text[256];
	snprintf(text, sizeof text, "%s/etc", root);
	int folder = open(text, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	/* An image without /etc has nobody who would look there. */
	if (folder < 0)
		return errno == ENOENT ? 0 : errno;
	snprintf(text, sizeof text, "%s\n", host);
	int error = put_name(folder, "hostname", text);
	snprintf(text, sizeof text, "%s\n", machine);
	if (!error)
		error = put_name(folder, "machine-id", text);
	snprintf(text, sizeof text, "127.0.0.1\tlocalhost\n127.0.1.1\t%s\n::1\tlocalhost ip6-localhost ip6-loopback\n", host);
	if (!error)
		error = put_name(folder, "hosts", text);
	close(folder);
	return error;
}

/* In place, because it is mounted where the user looks for it; every boot id is as long as every other. */
static int put_boot_id(const char *path, const char *id)
{
	int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno;
	int error = write_all(fd, id, strlen(id));
	close(fd);
	return error;
}

static bool is_name(const char *text, size_t limit)
{
	size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.");
	return length > 0 && length <= limit && !text[length];
}

static int identify(int socket, char *payload, size_t size, const struct place *place, const char **stage)
{
	const char *time = NULL, *host = NULL, *machine = NULL, *boot = NULL, *entropy = NULL, *token = NULL, *content = NULL;
	bool is_answered = false;
	*stage = "identity";
	if (size == 0 || payload[size - 1] != 0)
		return EINVAL;
	for (char *at = payload; at < payload + size; at += strlen(at) + 1) {
		if (*at == 't')
			time = at + 1;
		else if (*at == 'q')
			is_answered = true;
		else if (*at == 'h')
			host = at + 1;
		else if (*at == 'm')
			machine = at + 1;
		else if (*at == 'b')
			boot = at + 1;
		else if (*at == 'r')
			entropy = at + 1;
		else if (*at == 'k')
			token = at + 1;
		else if (*at == 'j')
			content = at + 1;
		/* Anything else is what a later host says; this machine may have slept since before that. */
	}
	if (!time || !host || !machine || !entropy || !token || !content || !is_name(host, 64) || !is_name(machine, 32))
		return EINVAL;
	if (boot && (!is_name(boot, BOOT_ID_BYTES) || strlen(boot) != BOOT_ID_BYTES))
		return EINVAL;
	if (!*token || strlen(token) > TOKEN_BYTES || strchr(token, '\n'))
		return EINVAL;
	int error = 0;
	if (place->privileged) {
		*stage = "entropy";
		error = reseed(entropy);
		if (error)
			return error;
	}
	*stage = "clock";
	error = clock_set(socket, time, is_answered, place->privileged);
	if (error)
		return error;
	*stage = "hostname";
	if (place->privileged && sethostname(host, strlen(host)) != 0)
		return errno;
	*stage = "names";
	if (place->user_root)
		error = put_names(place->user_root, host, machine);
	/* A machine whose user has made that impossible is still a machine. */
	int unnamed = error || !place->boot_id_file || !boot ? 0 : put_boot_id(place->boot_id_file, boot);
	if (unnamed)
		say("boot id: %s", strerror(unnamed));
	if (error)
		return error;
	*stage = "identity file";
	if (place->identity_file)
		error = identity_write(place->identity_file, token, content);
	/* Only now: user processes must see neither clock nor names nor randomness of the snapshot. */
	return error ? error : thaw(place);
}

void operation_serve(int socket, uint8_t type, char *payload, size_t size, const struct place *place)
{
	const char *stage = "operation";
	int error = 0;
	switch (type) {
	case FRAME_IDENTITY:
		error = identify(socket, payload, size, place, &stage);
		break;
	case FRAME_FREEZE:
		error = freeze(place);
		break;
	case FRAME_THAW:
		error = thaw(place);
		/* The machine's time stood still with it while it was captured, some milliseconds every minute. */
		if (!error && size > 1 && payload[0] == 't' && payload[size - 1] == 0) {
			stage = "clock";
			error = clock_catch_up(socket, payload + 1, place->privileged);
		}
		break;
	case FRAME_SYNC:
		sync();
		break;
	case FRAME_POWER_OFF:
		error = place->init > 0 && kill(place->init, SIGTERM) != 0 ? errno : 0;
		break;
	default:
		error = EPROTO;
	}
	if (error)
		send_error(socket, error, stage);
	else
		send_frame(socket, FRAME_DONE, NULL, 0);
}
