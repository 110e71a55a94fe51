/* Listens for agent and host and gives each connection a process of its own, so that none can harm another. */
#define _GNU_SOURCE
#include "init.h"
#include "protocol.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* Above what the agent may ask for: its terminals, its processes, and the short calls in between. */
#define CONNECTION_LIMIT 2048
/* How long a connection over the network may take to show its token. */
#define TOKEN_SECONDS 10
/* A host that went without a word, as it does for a machine that was snapshotted, is found out after this. */
#define KEEPALIVE_IDLE_S 30
#define KEEPALIVE_STEP_S 10
#define KEEPALIVE_PROBES 3

int spawner_listen(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof address.sun_path)
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	unlink(path);
	mode_t mask = umask(0177);
	int failed = bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 128) != 0;
	int error = errno;
	umask(mask);
	if (!failed)
		return fd;
	close(fd);
	return -error;
}

int spawner_listen_network(const char *address, uint16_t port)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons(port) };
	if (inet_pton(AF_INET, address, &name.sin_addr) != 1)
		return -EINVAL;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* Accepted connections have these from their listener; one that is started again finds its port in use. */
	struct { int level, name, value; } options[] = {
		{ SOL_SOCKET, SO_REUSEADDR, 1 },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S },
		{ IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_STEP_S },
		{ IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES },
	};
	int failed = 0;
	for (size_t i = 0; i < sizeof options / sizeof *options; i++)
		failed |= setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int)) != 0;
	failed = failed || bind(fd, (struct sockaddr *)&name, sizeof name) != 0 || listen(fd, 128) != 0;
	if (!failed)
		return fd;
	int error = errno;
	close(fd);
	return -error;
}

/* Ends unless the connection begins with the right token. */
static void authenticate(int socket, const struct place *place)
{
	unsigned char header[FRAME_HEADER];
	char token[TOKEN_BYTES + 1];
	alarm(TOKEN_SECONDS);
	if (read_all(socket, header, sizeof header) != 0)
		_exit(0);
	uint32_t size = get_u32(header);
	if (header[4] != FRAME_TOKEN || size > TOKEN_BYTES || read_all(socket, token, size) != 0)
		_exit(0);
	alarm(0);
	token[size] = 0;
	if (place->identity_file && identity_accepts(place->identity_file, token))
		return;
	send_error(socket, EACCES, "token");
	_exit(0);
}

/* Serves one request after the other, until the client goes or a request ends the connection. */
__attribute__((noreturn)) static void serve(int socket, const struct place *place)
{
	bool has_entered = false;
	for (;;) {
		unsigned char header[FRAME_HEADER];
		/* One that waits must not outlive this spawner: it would start the next process in a sandbox long gone. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (read_all(socket, header, sizeof header) != 0)
			_exit(0);
		prctl(PR_SET_PDEATHSIG, 0);
		uint32_t size = get_u32(header);
		uint8_t type = header[4];
		char *payload = size <= START_BYTES ? malloc(size + 1) : NULL;
		if (!payload) {
			send_error(socket, size <= START_BYTES ? ENOMEM : E2BIG, "request");
			_exit(0);
		}
		if (read_all(socket, payload, size) != 0)
			_exit(0);
		if (type == FRAME_START) {
			struct request request;
			int error = request_parse(payload, size, &request);
			if (!error && !has_entered)
				error = process_enter(place);
			if (error) {
				send_error(socket, error, "request");
				_exit(0);
			}
			has_entered = true;
			socket = process_serve(socket, &request, place);
			request_free(&request);
		} else if (type < FRAME_STDIN || type > FRAME_TIME) {
			/* Those between were meant for a process that had just ended, or came too late, and are dropped. */
			operation_serve(socket, type, payload, size, place);
		}
		free(payload);
	}
}

static void on_child(int number)
{
	(void)number;
}

/* A connection of either listener, or -1. */
static int take(struct pollfd listeners[2], bool *is_network)
{
	for (int i = 1; i >= 0; i--) {
		if (!listeners[i].revents)
			continue;
		*is_network = i == 1;
		int socket = accept4(listeners[i].fd, NULL, NULL, SOCK_CLOEXEC);
		if (socket >= 0)
			return socket;
		if (errno != EINTR && errno != EAGAIN && errno != ECONNABORTED)
			say("accept: %s", strerror(errno));
	}
	return -1;
}

__attribute__((noreturn)) void spawner_serve(int listener, int network, const struct place *place)
{
	/* Not restarting: each child that ends interrupts the waiting, and is reaped soon. */
	struct sigaction action = { .sa_handler = on_child };
	sigaction(SIGCHLD, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	int connections = 0;
	for (;;) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			connections--;
		struct pollfd listeners[2] = {
			{ .fd = listener, .events = POLLIN },
			{ .fd = network, .events = POLLIN },
		};
		bool is_network = false;
		int socket = poll(listeners, 2, -1) > 0 ? take(listeners, &is_network) : -1;
		if (socket < 0)
			continue;
		pid_t pid = connections < CONNECTION_LIMIT ? fork_with(0, -1, NULL) : -EAGAIN;
		if (pid == 0) {
			close(listener);
			close(network);
			signal(SIGCHLD, SIG_DFL);
			if (is_network)
				authenticate(socket, place);
			serve(socket, place);
		}
		if (pid < 0)
			send_error(socket, -pid, "fork");
		else
			connections++;
		close(socket);
	}
}
