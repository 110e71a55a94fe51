/* The machine's clock: asked of the host while nothing of the user's runs, because what it said before is old by now. */
#define _GNU_SOURCE
#include "init.h"
#include "protocol.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000
#define MILLISECOND_NS 1000000
/* A round trip that is good enough. */
#define SHORT_TRIP_NS (10 * MILLISECOND_NS)
/* What a host may take that has much else to do; for the identity as a whole it has a longer limit of its own. */
#define ANSWER_LIMIT_NS (2 * (uint64_t)SECOND_NS)
/* No machine stands still so long; who is further off has set the clock. */
#define CATCH_UP_LIMIT_NS (10 * (int64_t)SECOND_NS)

static uint64_t monotonic_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* Reads exactly `size` bytes. ENODATA when none came, in time or before the end of the stream; EPROTO when fewer did. */
static int read_in_time(int socket, unsigned char *buffer, size_t size, uint64_t start)
{
	size_t have = 0;
	while (have < size) {
		uint64_t waited = monotonic_ns() - start;
		int left = waited < ANSWER_LIMIT_NS ? (int)((ANSWER_LIMIT_NS - waited) / MILLISECOND_NS) : 0;
		struct pollfd readable = { .fd = socket, .events = POLLIN };
		ssize_t got = poll(&readable, 1, left);
		if (got > 0)
			got = read(socket, buffer + have, size - have);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return have > 0 ? EPROTO : ENODATA;
		have += (size_t)got;
	}
	return 0;
}

/*
 * Asks once. The host read its clock somewhere between question and answer: taken as in the middle, it is off by half of
 * the round trip at most. `ahead` is by how much that time is ahead of our monotonic clock.
 */
static int ask(int socket, uint64_t *ahead, uint64_t *trip)
{
	unsigned char answer[FRAME_HEADER + TIME_BYTES];
	const uint64_t asked = monotonic_ns();
	/* A client that has gone answers nothing. */
	if (send_frame(socket, FRAME_CLOCK, NULL, 0) != 0)
		return ENODATA;
	int error = read_in_time(socket, answer, sizeof answer, asked);
	if (error)
		return error;
	if (get_u32(answer) != TIME_BYTES || answer[4] != FRAME_TIME)
		return EPROTO;
	*trip = monotonic_ns() - asked;
	const unsigned char *time = answer + FRAME_HEADER;
	*ahead = (get_u32(time) | (uint64_t)get_u32(time + 4) << 32) - asked - *trip / 2;
	return 0;
}

/* What the time is by what the client answers, as how far it is ahead of our monotonic clock. */
static int find_time(int socket, const char *told, bool is_answered, uint64_t *found)
{
	char *end;
	errno = 0;
	uint64_t ahead = strtoull(told, &end, 10) - monotonic_ns();
	if (*told < '0' || *told > '9' || *end || errno)
		return EINVAL;
	uint64_t shortest = UINT64_MAX;
	for (int i = 0; is_answered && i < CLOCK_QUESTIONS && shortest > SHORT_TRIP_NS; i++) {
		uint64_t answered, trip;
		int error = ask(socket, &answered, &trip);
		if (error == ENODATA)
			break;
		if (error)
			return error;
		if (trip < shortest) {
			shortest = trip;
			ahead = answered;
		}
	}
	*found = ahead;
	return 0;
}

static int set_clock(uint64_t ahead)
{
	uint64_t now = ahead + monotonic_ns();
	struct timespec time = { .tv_sec = (time_t)(now / SECOND_NS), .tv_nsec = (long)(now % SECOND_NS) };
	return clock_settime(CLOCK_REALTIME, &time) != 0 ? errno : 0;
}

int clock_set(int socket, const char *told, bool is_answered, bool privileged)
{
	uint64_t ahead;
	int error = find_time(socket, told, is_answered, &ahead);
	return error || !privileged ? error : set_clock(ahead);
}

int clock_catch_up(int socket, const char *told, bool privileged)
{
	uint64_t ahead;
	int error = find_time(socket, told, true, &ahead);
	if (error)
		return error;
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	int64_t behind = (int64_t)(ahead + monotonic_ns() - ((uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec));
	return behind <= 0 || behind > CATCH_UP_LIMIT_NS || !privileged ? 0 : set_clock(ahead);
}
