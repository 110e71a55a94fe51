/* One connection, one process at a time: carries its streams, its signals and its end. */
#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long output of an ended terminal session may still trickle in before the exit is told. */
#define TERMINAL_DRAIN_MS 200

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void send_signal(const struct process *process, int number)
{
	if (process->exited)
		return;
	pid_t foreground = 0;
	if (process->terminal && ioctl(process->output, TIOCGPGRP, &foreground) == 0 && foreground > 1 &&
	    foreground != process->pid)
		kill(-foreground, number);
	/* What the keyboard can send goes to the foreground alone, as it does from the keyboard. */
	bool from_keyboard = number == SIGINT || number == SIGQUIT || number == SIGTSTP || number == SIGWINCH;
	if (foreground <= 1 || foreground == process->pid || !from_keyboard)
		kill(-process->pid, number);
}

/* The client has gone or broke the protocol: nothing of the process group stays. */
__attribute__((noreturn)) static void abandon(struct process *process)
{
	send_signal(process, SIGKILL);
	if (!process->exited)
		waitid(P_PIDFD, (id_t)process->pidfd, &process->exit, WEXITED);
	_exit(0);
}

static void flush(struct process *process)
{
	while (process->outgoing_at < process->outgoing_end) {
		ssize_t put = send(process->socket, process->outgoing + process->outgoing_at,
				   process->outgoing_end - process->outgoing_at, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0 && errno == EAGAIN)
			return;
		if (put < 0)
			abandon(process);
		process->outgoing_at += (size_t)put;
	}
	process->outgoing_at = process->outgoing_end = 0;
}

static bool is_flushed(const struct process *process)
{
	return process->outgoing_end == 0;
}

/* Queues a small frame behind what waits already; only called when there is room for it. */
static void queue(struct process *process, uint8_t type, const void *payload, uint32_t size)
{
	unsigned char *at = process->outgoing + process->outgoing_end;
	put_u32(at, size);
	at[4] = type;
	memcpy(at + FRAME_HEADER, payload, size);
	process->outgoing_end += FRAME_HEADER + size;
	flush(process);
}

/* Passes on at most `limit` bytes of a stream; answers how many, and closes it at its end. */
static size_t forward(struct process *process, int *fd, uint8_t type, size_t limit)
{
	if (limit > OUTPUT_BYTES)
		limit = OUTPUT_BYTES;
	ssize_t got = read(*fd, process->outgoing + FRAME_HEADER, limit);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	/* EIO is how a terminal says that its other side is closed. */
	if (got <= 0) {
		/* A terminal's descriptor is also its input; both end together. */
		if (process->terminal)
			process->input = -1;
		close_fd(fd);
		return 0;
	}
	put_u32(process->outgoing, (uint32_t)got);
	process->outgoing[4] = type;
	process->outgoing_at = 0;
	process->outgoing_end = FRAME_HEADER + (size_t)got;
	flush(process);
	return (size_t)got;
}

static void feed_input(struct process *process)
{
	while (process->pending_at < process->pending_end) {
		size_t size = process->pending_end - process->pending_at;
		ssize_t put = size;
		if (process->input >= 0)
			put = write(process->input, process->pending + process->pending_at, size);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0 && errno == EAGAIN)
			return;
		/* Nobody reads it any more: the rest is dropped, as a shell's pipe would. */
		if (put < 0) {
			if (!process->terminal)
				close_fd(&process->input);
			put = (ssize_t)size;
		}
		process->pending_at += (size_t)put;
		process->taken += (uint32_t)put;
	}
	process->pending_at = process->pending_end = 0;
	if (!process->input_closing)
		return;
	process->input_closing = false;
	if (process->terminal) {
		/* The end-of-file character: what a person types to say so. */
		(void)!write(process->input, "\004", 1);
	} else {
		close_fd(&process->input);
	}
}

static void accept_input(struct process *process, const unsigned char *bytes, size_t size)
{
	if (process->pending_at > 0) {
		memmove(process->pending, process->pending + process->pending_at,
			process->pending_end - process->pending_at);
		process->pending_end -= process->pending_at;
		process->pending_at = 0;
	}
	/* More than the window allows, or input after its end: not our client. */
	if (size > sizeof process->pending - process->pending_end || process->input_closing)
		abandon(process);
	memcpy(process->pending + process->pending_end, bytes, size);
	process->pending_end += size;
	feed_input(process);
}

static void send_started(struct process *process)
{
	unsigned char payload[4];
	put_u32(payload, (uint32_t)process->user_pid);
	if (send_frame(process->socket, FRAME_STARTED, payload, sizeof payload) != 0)
		abandon(process);
}

/* Listens where nobody looks who has not been told. */
static int listen_anywhere(char name[33])
{
	unsigned char random[16];
	if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
		return -1;
	for (size_t i = 0; i < sizeof random; i++)
		snprintf(name + 2 * i, 3, "%02x", random[i]);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	memcpy(address.sun_path + 1, name, 32);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t size = offsetof(struct sockaddr_un, sun_path) + 1 + 32;
	if (fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 1) == 0)
		return fd;
	close_fd(&fd);
	return -1;
}

/* Goes on with the first who connects; until then the client who asked for it must stay. */
static void release(struct process *process)
{
	char name[33];
	int listener = listen_anywhere(name);
	if (listener < 0)
		abandon(process);
	if (send_frame(process->socket, FRAME_RELEASED, name, 32) != 0)
		abandon(process);
	int next = -1;
	while (next < 0) {
		struct pollfd fds[2] = {
			{ .fd = listener, .events = POLLIN },
			{ .fd = process->socket, .events = POLLIN },
		};
		poll(fds, 2, -1);
		/* Nothing more is expected from there but its end. */
		if (!fds[0].revents && fds[1].revents)
			abandon(process);
		if (fds[0].revents)
			next = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	}
	close(listener);
	close(process->socket);
	process->socket = next;
	process->releasing = false;
	process->incoming_size = 0;
	send_started(process);
}

static void accept_frame(struct process *process, uint8_t type, const unsigned char *payload, size_t size)
{
	switch (type) {
	case FRAME_STDIN:
		accept_input(process, payload, size);
		return;
	case FRAME_STDIN_CLOSE:
		process->input_closing = true;
		feed_input(process);
		return;
	case FRAME_RESIZE:
		if (size != 4)
			abandon(process);
		if (process->terminal && process->output >= 0) {
			struct winsize window = {
				.ws_col = (unsigned short)(payload[0] | payload[1] << 8),
				.ws_row = (unsigned short)(payload[2] | payload[3] << 8),
			};
			ioctl(process->output, TIOCSWINSZ, &window);
		}
		return;
	case FRAME_SIGNAL:
		if (size != 1 || payload[0] == 0 || payload[0] >= NSIG)
			abandon(process);
		send_signal(process, payload[0]);
		return;
	case FRAME_RELEASE:
		process->releasing = true;
		return;
	default:
		abandon(process);
	}
}

static void receive(struct process *process)
{
	ssize_t got = recv(process->socket, process->incoming + process->incoming_size,
			   sizeof process->incoming - process->incoming_size, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0)
		abandon(process);
	process->incoming_size += (size_t)got;
	size_t at = 0;
	while (process->incoming_size - at >= FRAME_HEADER) {
		const unsigned char *frame = process->incoming + at;
		uint32_t size = get_u32(frame);
		if (size > STDIN_WINDOW)
			abandon(process);
		if (process->incoming_size - at < FRAME_HEADER + size)
			break;
		accept_frame(process, frame[4], frame + FRAME_HEADER, size);
		at += FRAME_HEADER + size;
	}
	memmove(process->incoming, process->incoming + at, process->incoming_size - at);
	process->incoming_size -= at;
}

/* Waits until everything queued has been sent, still listening to the client. */
static void flush_all(struct process *process)
{
	while (!is_flushed(process)) {
		struct pollfd fd = { .fd = process->socket, .events = POLLIN | POLLOUT };
		poll(&fd, 1, -1);
		if (fd.revents & (POLLIN | POLLHUP | POLLERR))
			receive(process);
		flush(process);
	}
}

/* What the process had written when it ended; what its children write later is not waited for. */
static void drain(struct process *process)
{
	if (process->terminal) {
		struct pollfd fd = { .fd = process->output, .events = POLLIN };
		while (process->output >= 0 && poll(&fd, 1, TERMINAL_DRAIN_MS) > 0) {
			forward(process, &process->output, FRAME_STDOUT, OUTPUT_BYTES);
			flush_all(process);
		}
		return;
	}
	int *fds[2] = { &process->output, &process->error };
	for (int i = 0; i < 2; i++) {
		int left = 0;
		if (*fds[i] >= 0)
			ioctl(*fds[i], FIONREAD, &left);
		while (left > 0 && *fds[i] >= 0) {
			size_t got = forward(process, fds[i], i == 0 ? FRAME_STDOUT : FRAME_STDERR, (size_t)left);
			left = got > 0 ? left - (int)got : 0;
			flush_all(process);
		}
	}
}

/* Children that still hold the pipes must not die of them: reads and drops until the last has ended. */
static void linger(struct process *process)
{
	close_fd(&process->socket);
	close_fd(&process->input);
	static char nowhere[OUTPUT_BYTES];
	int *fds[2] = { &process->output, &process->error };
	while (!process->terminal && (process->output >= 0 || process->error >= 0)) {
		struct pollfd polled[2] = {
			{ .fd = process->output, .events = POLLIN },
			{ .fd = process->error, .events = POLLIN },
		};
		poll(polled, 2, -1);
		for (int i = 0; i < 2; i++) {
			if (!polled[i].revents)
				continue;
			ssize_t got = read(*fds[i], nowhere, sizeof nowhere);
			if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
				close_fd(fds[i]);
		}
	}
}

/* Whether nobody can write to it any more; called when all that was written has been read. */
static bool is_at_end(int fd)
{
	char byte;
	return fd < 0 || read(fd, &byte, 1) == 0;
}

/* Tells the exit; returns when the connection can serve another process, else ends. */
static void finish(struct process *process)
{
	waitid(P_PIDFD, (id_t)process->pidfd, &process->exit, WEXITED);
	process->exited = true;
	flush_all(process);
	drain(process);
	bool again = !process->terminal && process->incoming_size == 0 && is_at_end(process->output) &&
		     is_at_end(process->error);
	bool by_signal = process->exit.si_code != CLD_EXITED;
	unsigned char payload[12];
	put_u32(payload, by_signal ? 0 : (uint32_t)process->exit.si_status);
	put_u32(payload + 4, by_signal ? (uint32_t)process->exit.si_status : 0);
	put_u32(payload + 8, again);
	queue(process, FRAME_EXIT, payload, sizeof payload);
	flush_all(process);
	if (!again) {
		linger(process);
		_exit(0);
	}
	close_fd(&process->input);
	close_fd(&process->output);
	close_fd(&process->error);
	close_fd(&process->pidfd);
}

int process_serve(int socket, struct request *request, const struct place *place)
{
	/* Static: a connection is a process of its own, and untouched pages cost nothing. */
	static struct process process;
	process.socket = socket;
	process.input = process.output = process.error = process.pidfd = -1;
	process.terminal = request->terminal;
	process.exited = process.input_closing = process.releasing = false;
	process.outgoing_at = process.outgoing_end = process.incoming_size = 0;
	process.pending_at = process.pending_end = 0;
	process.taken = 0;
	signal(SIGPIPE, SIG_IGN);
	process_start(&process, request, place);
	send_started(&process);
	for (;;) {
		if (process.releasing && is_flushed(&process))
			release(&process);
		if (process.taken > 0 && is_flushed(&process)) {
			unsigned char payload[4];
			put_u32(payload, process.taken);
			process.taken = 0;
			queue(&process, FRAME_STDIN_TAKEN, payload, sizeof payload);
		}
		short reading = is_flushed(&process) ? POLLIN : 0;
		struct pollfd fds[5] = {
			{ .fd = process.socket, .events = (short)(POLLIN | (reading ? 0 : POLLOUT)) },
			{ .fd = process.pidfd, .events = POLLIN },
			{ .fd = reading ? process.output : -1, .events = POLLIN },
			{ .fd = reading ? process.error : -1, .events = POLLIN },
			{ .fd = process.pending_end > 0 ? process.input : -1, .events = POLLOUT },
		};
		if (poll(fds, 5, -1) < 0)
			continue;
		if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
			receive(&process);
		if (fds[0].revents & POLLOUT)
			flush(&process);
		if (fds[4].revents)
			feed_input(&process);
		if (fds[2].revents && is_flushed(&process) && process.output >= 0)
			forward(&process, &process.output, FRAME_STDOUT, OUTPUT_BYTES);
		if (fds[3].revents && is_flushed(&process) && process.error >= 0)
			forward(&process, &process.error, FRAME_STDERR, OUTPUT_BYTES);
		if (fds[1].revents) {
			finish(&process);
			return process.socket;
		}
	}
}
