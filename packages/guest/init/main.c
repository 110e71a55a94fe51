/*
 * dormouse-init: process 1 of a machine, and the spawner of user processes. The only native code in the guest,
 * static, because forking and reaping must not cost what forking a large runtime does under emulation.
 *
 *   dormouse-init                                              as process 1
 *   dormouse-init --spawner SOCKET [--root DIR] [--user-default NAME] [--names DIR] [--identity FILE] [--port PORT]
 *       on any host, the spawner alone, for tests: processes run with DIR of --root as their root; an identity is
 *       checked, changes neither clock nor randomness, and writes its names below DIR of --names and itself to FILE;
 *       with --port it listens on 127.0.0.1 too
 */
#define _GNU_SOURCE
#include "init.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static int usage(void)
{
	fprintf(stderr, "usage: dormouse-init --spawner SOCKET [--root DIR] [--user-default NAME] [--names DIR] "
			"[--identity FILE] [--port PORT]\n");
	return 2;
}

int main(int count, char **arguments)
{
	if (getpid() == 1 && count == 1)
		machine_run();
	static struct place place = {
		.mount_namespace = -1, .pid_namespace = -1, .cgroup_namespace = -1, .cgroup = -1, .default_user = "root",
	};
	const char *path = NULL, *port = NULL;
	for (int i = 1; i < count; i += 2) {
		if (i + 1 == count)
			return usage();
		if (strcmp(arguments[i], "--spawner") == 0)
			path = arguments[i + 1];
		else if (strcmp(arguments[i], "--root") == 0)
			place.root = arguments[i + 1];
		else if (strcmp(arguments[i], "--names") == 0)
			place.user_root = arguments[i + 1];
		else if (strcmp(arguments[i], "--identity") == 0)
			place.identity_file = arguments[i + 1];
		else if (strcmp(arguments[i], "--port") == 0)
			port = arguments[i + 1];
		else if (strcmp(arguments[i], "--user-default") == 0)
			place.default_user = arguments[i + 1];
		else
			return usage();
	}
	if (!path)
		return usage();
	/* Whoever started a test's spawner may die without a word; nothing stays behind then. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int listener = spawner_listen(path);
	if (listener < 0) {
		say("%s: %s", path, strerror(-listener));
		return 1;
	}
	int network = port ? spawner_listen_network("127.0.0.1", (uint16_t)atoi(port)) : -1;
	if (port && network < 0) {
		say("port %s: %s", port, strerror(-network));
		return 1;
	}
	/* Tells the starter that connections are taken from now on. */
	if (write_all(1, "ready\n", 6) != 0)
		return 1;
	spawner_serve(listener, network, &place);
}
