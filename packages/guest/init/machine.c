/*
 * Process 1. The initramfs has mounted the drives and brought up the network; here the machine gets its control
 * groups, the user's sandbox, the spawner and the agent, and whoever of these dies is started again.
 */
#define _GNU_SOURCE
#include "init.h"
#include "protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CGROUPS "/sys/fs/cgroup"
#define SOCKET "/run/dormouse/spawn.sock"
#define IDENTITY "/run/dormouse/identity"
/* On a file system of its own, because the user's root can reach through the mount and change it. */
#define BOOT_ID_FOLDER "/run/boot-id"
#define BOOT_ID BOOT_ID_FOLDER "/boot_id"
/* Where the host reaches the spawner; the agent listens beside it. */
#define ADDRESS "172.31.0.2"
#define PORT 7001
/* Kept from user processes, so that a greedy compiler meets its own limit and not the agent's. */
#define SYSTEM_MEMORY_KB (128 * 1024)
#define USER_PROCESSES "16384"
/* After a start that did not last this long, the next one waits, twice as long each time. */
#define STABLE_MS 30000
#define FIRST_DELAY_MS 100
#define LAST_DELAY_MS 5000
/* How long processes have to end before the power goes. */
#define SHUTDOWN_MS 3000

struct service {
	const char *name;
	void (*run)(struct place *place);
	pid_t pid;
	long long started_ms;
	long long due_ms;
	int delay_ms;
};

static long long now_ms(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

static void must_mount(const char *type, const char *path, unsigned long flags, const char *options)
{
	mkdir(path, 0755);
	if (mount(type, path, type, flags, options) != 0 && errno != EBUSY)
		say("mount %s: %s", path, strerror(errno));
}

static void must_write(const char *path, const char *text)
{
	int error = write_file(path, text);
	if (error)
		say("write %s to %s: %s", text, path, strerror(error));
}

static long total_memory_kb(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	long total = 0;
	if (file && fscanf(file, "MemTotal: %ld", &total) != 1)
		total = 0;
	if (file)
		fclose(file);
	return total;
}

static void make_cgroups(void)
{
	must_mount("cgroup2", CGROUPS, MS_NOSUID | MS_NODEV | MS_NOEXEC, "nsdelegate");
	/* One at a time: a kernel without one of them still gives the others. */
	must_write(CGROUPS "/cgroup.subtree_control", "+memory");
	must_write(CGROUPS "/cgroup.subtree_control", "+pids");
	must_write(CGROUPS "/cgroup.subtree_control", "+cpu");
	mkdir(CGROUPS "/system", 0755);
	mkdir(CGROUPS "/user", 0755);
	must_write(CGROUPS "/system/cgroup.procs", "0");
	must_write(CGROUPS "/system/cpu.weight", "1000");
	must_write(CGROUPS "/user/cpu.weight", "100");
	must_write(CGROUPS "/user/pids.max", USER_PROCESSES);
	long total = total_memory_kb();
	if (total > 2 * SYSTEM_MEMORY_KB) {
		char limit[32];
		snprintf(limit, sizeof limit, "%ldK", total - SYSTEM_MEMORY_KB);
		must_write(CGROUPS "/user/memory.max", limit);
	}
}

/* Good until the first identity, at the first boot of a template: what the kernel's command line says. */
static void write_first_identity(void)
{
	char *line = read_small_file("/proc/cmdline", 4096);
	const char *found = line ? strstr(line, "dormouse.token=") : NULL;
	char token[TOKEN_BYTES + 1] = "";
	if (found)
		snprintf(token, sizeof token, "%.*s", (int)strcspn(found + 15, " \n"), found + 15);
	int error = identity_write(IDENTITY, token, "");
	if (error)
		say("write %s: %s", IDENTITY, strerror(error));
	free(line);
}

static void prepare(struct place *place)
{
	must_mount("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	must_mount("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	must_mount("devtmpfs", "/dev", MS_NOSUID, NULL);
	must_mount("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755,size=16m");
	must_mount("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777,size=64m");
	mkdir("/run/dormouse", 0700);
	must_mount("tmpfs", BOOT_ID_FOLDER, MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755,size=16k,nr_inodes=8");
	write_first_identity();
	must_write("/proc/self/oom_score_adj", "-1000");
	/* Tools of a development environment open many files; systemd's hard limit, a soft one to match the tools. */
	struct rlimit files = { 65536, 524288 }, core = { 0, RLIM_INFINITY };
	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_CORE, &core);
	/* Watching a large tree takes a watch per folder; the kernel's default of a small machine is some thousands. */
	must_write("/proc/sys/fs/inotify/max_user_watches", "1048576");
	must_write("/proc/sys/fs/inotify/max_user_instances", "1024");
	make_cgroups();
	place->cgroup = open(CGROUPS "/user", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void run_spawner(struct place *place)
{
	prctl(PR_SET_NAME, "dormouse-spawn");
	int listener = spawner_listen(SOCKET);
	if (listener < 0) {
		say("%s: %s", SOCKET, strerror(-listener));
		_exit(1);
	}
	int network = spawner_listen_network(ADDRESS, PORT);
	if (network < 0)
		say("%s: %s", ADDRESS, strerror(-network));
	spawner_serve(listener, network, place);
}

static void run_agent(struct place *place)
{
	(void)place;
	/*
	 * What a restored machine runs first, the emulator has to translate first, about 18 us for every few
	 * instructions. So calls stay with V8's interpreter, which is one piece of code for all of them, with feedback
	 * from the first call on; only what runs tens of thousands of times, or long in one loop, is compiled. Against
	 * V8's own choices, in software emulation: the first exec.run after a restore translates 17 thousand blocks
	 * instead of 38, a warm one takes half, and a snapshot holds no half-made code. --expose-gc: see machine.ts.
	 */
	char *const arguments[] = {
		"/system/bin/node", "--no-sparkplug", "--no-lazy-feedback-allocation", "--invocation-count-for-maglev=20000",
		"--invocation-count-for-turbofan=100000", "--single-threaded-gc", "--expose-gc", "--max-old-space-size=96",
		"--max-semi-space-size=8", "/system/agent/agent.mjs", NULL,
	};
	char *const environment[] = { "PATH=/system/bin:/system/sbin", "HOME=/run/dormouse", "LANG=C.UTF-8", NULL };
	execve(arguments[0], arguments, environment);
	say("%s: %s", arguments[0], strerror(errno));
	_exit(1);
}

static void service_start(struct service *service, struct place *place)
{
	service->started_ms = now_ms();
	service->due_ms = 0;
	pid_t pid = fork_with(0, -1, NULL);
	if (pid == 0) {
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		setsid();
		service->run(place);
		_exit(1);
	}
	service->pid = pid > 0 ? pid : 0;
	if (pid < 0)
		service->due_ms = now_ms() + LAST_DELAY_MS;
}

static void service_ended(struct service *service, int status)
{
	if (now_ms() - service->started_ms >= STABLE_MS || service->delay_ms == 0)
		service->delay_ms = FIRST_DELAY_MS;
	else if ((service->delay_ms *= 2) > LAST_DELAY_MS)
		service->delay_ms = LAST_DELAY_MS;
	service->pid = 0;
	service->due_ms = now_ms() + service->delay_ms;
	if (WIFSIGNALED(status))
		say("the %s was ended by signal %d, next start in %d ms", service->name, WTERMSIG(status), service->delay_ms);
	else
		say("the %s ended with %d, next start in %d ms", service->name, WEXITSTATUS(status), service->delay_ms);
}

__attribute__((noreturn)) static void shut_down(void)
{
	say("power off");
	/* A frozen process cannot take its signal. */
	write_file(CGROUPS "/user/cgroup.freeze", "0");
	kill(-1, SIGTERM);
	long long end_ms = now_ms() + SHUTDOWN_MS;
	struct timespec step = { .tv_nsec = 20 * 1000 * 1000 };
	while (now_ms() < end_ms && (waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD))
		nanosleep(&step, NULL);
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		continue;
	sync();
	umount2("/user", MNT_DETACH);
	mount(NULL, "/disk", NULL, MS_REMOUNT | MS_RDONLY, NULL);
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

__attribute__((noreturn)) void machine_run(void)
{
	/* static: services and place outlive every call below and are shared with the children by fork. */
	static struct place place = {
		.mount_namespace = -1, .pid_namespace = -1, .cgroup_namespace = -1, .cgroup = -1,
		.user_root = "/user", .default_user = "dev", .identity_file = IDENTITY, .boot_id_file = BOOT_ID, .privileged = true, .init = 1,
	};
	static struct service services[] = {
		{ .name = "spawner", .run = run_spawner },
		{ .name = "agent", .run = run_agent },
	};
	const size_t count = sizeof services / sizeof *services;
	sigset_t handled;
	sigfillset(&handled);
	sigprocmask(SIG_BLOCK, &handled, NULL);
	prepare(&place);
	pid_t sandbox = -EAGAIN;
	for (;;) {
		if (sandbox < 0) {
			sandbox = sandbox_start(&place);
			if (sandbox < 0)
				say("sandbox: %s", strerror(-sandbox));
			/* The spawner has descriptors of the sandbox before: it must begin again with the new ones. */
			if (services[0].pid > 0)
				kill(services[0].pid, SIGKILL);
		}
		struct timespec wait = { .tv_sec = sandbox < 0 ? 1 : 3600 };
		for (size_t i = 0; i < count; i++) {
			struct service *service = &services[i];
			long long left_ms = service->due_ms - now_ms();
			if (service->pid == 0 && left_ms <= 0 && sandbox > 0)
				service_start(service, &place);
			else if (service->pid == 0 && left_ms / 1000 < wait.tv_sec)
				wait = (struct timespec){ left_ms / 1000, left_ms % 1000 * 1000000 };
		}
		int signal = sigtimedwait(&handled, NULL, &wait);
		if (signal == SIGTERM || signal == SIGINT || signal == SIGPWR)
			shut_down();
		int status;
		for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
			for (size_t i = 0; i < count; i++)
				if (pid == services[i].pid)
					service_ended(&services[i], status);
			if (pid == sandbox) {
				say("the user's side ended and is made again");
				sandbox = -EAGAIN;
			}
		}
	}
}
