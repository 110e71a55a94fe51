/*
 * The user's side of the machine: namespaces of mounts, processes and control groups around /user, with one
 * process that reaps what nobody else does. Root in there (sudo works) neither sees nor can end the agent.
 * The boundary between tenants is the machine; this one keeps an accident from cutting the machine's wires.
 */
#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOT "/user"

__attribute__((noreturn)) static void give_up(const char *what)
{
	say("sandbox: %s: %s", what, strerror(errno));
	_exit(1);
}

static void mount_at(const char *type, const char *path, unsigned long flags, const char *options)
{
	mkdir(path, 0755);
	if (mount(type, path, type, flags, options) != 0)
		give_up(path);
}

static void make_device(const char *path, mode_t mode, unsigned major_number, unsigned minor_number)
{
	if (mknod(path, S_IFCHR | mode, makedev(major_number, minor_number)) != 0 || chmod(path, mode) != 0)
		give_up(path);
}

static void make_devices(void)
{
	mount_at("tmpfs", ROOT "/dev", MS_NOSUID, "mode=755,size=64k,nr_inodes=4096");
	make_device(ROOT "/dev/null", 0666, 1, 3);
	make_device(ROOT "/dev/zero", 0666, 1, 5);
	make_device(ROOT "/dev/full", 0666, 1, 7);
	make_device(ROOT "/dev/random", 0666, 1, 8);
	make_device(ROOT "/dev/urandom", 0666, 1, 9);
	make_device(ROOT "/dev/tty", 0666, 5, 0);
	make_device(ROOT "/dev/fuse", 0666, 10, 229);
	mkdir(ROOT "/dev/net", 0755);
	make_device(ROOT "/dev/net/tun", 0666, 10, 200);
	mount_at("devpts", ROOT "/dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5");
	mount_at("tmpfs", ROOT "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
	if (symlink("pts/ptmx", ROOT "/dev/ptmx") != 0 || symlink("/proc/self/fd", ROOT "/dev/fd") != 0 ||
	    symlink("/proc/self/fd/0", ROOT "/dev/stdin") != 0 || symlink("/proc/self/fd/1", ROOT "/dev/stdout") != 0 ||
	    symlink("/proc/self/fd/2", ROOT "/dev/stderr") != 0)
		give_up("links in /dev");
}

/*
 * The kernel's boot id is part of every snapshot, so that all forks of one would have the same. What the user sees in its
 * place is a file of ours, which each identity fills.
 */
static void cover_boot_id(const char *file)
{
	const char *target = ROOT "/proc/sys/kernel/random/boot_id";
	char *own = read_small_file(file, 64);
	char *kernels = own ? NULL : read_small_file(target, 64);
	int error = own ? 0 : kernels ? write_file(file, kernels) : errno;
	free(own);
	free(kernels);
	if (!error && (mount(file, target, NULL, MS_BIND, NULL) != 0 ||
		       mount(NULL, target, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0))
		error = errno;
	if (error)
		say("sandbox: boot id: %s", strerror(error));
}

/* Git and its like for images that have none, see guest-tools.ts of image. */
static void bring_tools(void)
{
	const char *target = ROOT USER_TOOLS;
	mkdir(ROOT "/run/dormouse", 0755);
	mkdir(target, 0755);
	if (mount("/system/tools", target, NULL, MS_BIND, NULL) != 0 ||
	    mount(NULL, target, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) != 0)
		say("sandbox: tools: %s", strerror(errno));
}

/* Images, containers and volumes of the engine: an overlay lies on the drive itself, and not on /user, which is one. */
static void bring_containers(void)
{
	const char *source = "/disk/containers", *target = ROOT "/run/dormouse/containers";
	mkdir(source, 0700);
	mkdir(target, 0700);
	if (mount(source, target, NULL, MS_BIND, NULL) != 0)
		say("sandbox: containers: %s", strerror(errno));
}

static void make_mounts(const char *boot_id_file)
{
	/* The image may lack these, or hold links in their places that would lead out of it. */
	const char *points[] = { "proc", "sys", "dev", "run", "tmp" };
	for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
		char path[64];
		struct stat status;
		snprintf(path, sizeof path, ROOT "/%s", points[i]);
		if (lstat(path, &status) == 0 && !S_ISDIR(status.st_mode))
			unlink(path);
		mkdir(path, 0755);
	}
	chmod(ROOT "/tmp", 01777);
	mount_at("proc", ROOT "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	if (boot_id_file)
		cover_boot_id(boot_id_file);
	mount_at("sysfs", ROOT "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL);
	mount_at("cgroup2", ROOT "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount_at("tmpfs", ROOT "/run", MS_NOSUID | MS_NODEV, "mode=755");
	mkdir(ROOT "/run/lock", 01777);
	chmod(ROOT "/run/lock", 01777);
	bring_tools();
	bring_containers();
	make_devices();
}

/*
 * Makes /user the root. Not by pivot_root, which refuses to leave the kernel's first file system: the mount is
 * moved over it, as switch_root does. What else the machine has mounted is taken out of this namespace first.
 */
static void enter_root(void)
{
	const char *outer[] = { "/proc", "/sys", "/dev", "/run", "/tmp", "/system", "/image", "/disk" };
	for (size_t i = 0; i < sizeof outer / sizeof *outer; i++)
		umount2(outer[i], MNT_DETACH);
	if (chdir(ROOT) != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
		give_up("root");
}

/* Replaces the file as a whole: the image may have a link there that leads nowhere yet. */
static void put_file(const char *path, const char *text)
{
	unlink(path);
	int error = write_file(path, text);
	if (error)
		say("sandbox: %s: %s", path, strerror(error));
}

/* Until the machine shuts down: then, once everybody else in here has ended. */
__attribute__((noreturn)) static void reap(void)
{
	sigset_t all, awaited;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	sigemptyset(&awaited);
	sigaddset(&awaited, SIGCHLD);
	sigaddset(&awaited, SIGTERM);
	bool is_ending = false;
	for (;;) {
		pid_t pid;
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			continue;
		if (is_ending && pid < 0)
			_exit(0);
		siginfo_t signal;
		/* Process 1 of the machine has no number in here; the user's root has one and is not obeyed. */
		if (sigwaitinfo(&awaited, &signal) == SIGTERM && signal.si_pid == 0)
			is_ending = true;
	}
}

/* Mounts of an earlier sandbox stay in our namespace when it ends, because they are shared with it. */
static void clear_mounts(void)
{
	char *mounts = read_small_file("/proc/self/mounts", 1024 * 1024);
	struct strings points = { 0 };
	for (char *rest = mounts; rest;) {
		char *line = strsep(&rest, "\n");
		strsep(&line, " ");
		char *point = line ? strsep(&line, " ") : NULL;
		if (point && strncmp(point, ROOT "/", sizeof ROOT) == 0)
			strings_add(&points, point);
	}
	while (points.count > 0)
		umount2(points.items[--points.count], MNT_DETACH);
	free(points.items);
	free(mounts);
}

static int open_namespace(pid_t pid, const char *name)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void close_namespaces(struct place *place)
{
	int *fds[] = { &place->mount_namespace, &place->pid_namespace, &place->cgroup_namespace };
	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

pid_t sandbox_start(struct place *place)
{
	close_namespaces(place);
	clear_mounts();
	/* Shared, so that the agent sees at /user what the user mounts in there; the rest stays ours alone. */
	if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) != 0 || mount(NULL, ROOT, NULL, MS_SHARED, NULL) != 0)
		return -errno;
	int ready[2];
	if (pipe2(ready, O_CLOEXEC) != 0)
		return -errno;
	pid_t pid = fork_with(CLONE_NEWNS | CLONE_NEWPID, place->cgroup, NULL);
	if (pid == 0) {
		close(ready[0]);
		prctl(PR_SET_NAME, "dormouse-user");
		setsid();
		if (unshare(CLONE_NEWCGROUP) != 0)
			give_up("cgroup namespace");
		make_mounts(place->boot_id_file);
		enter_root();
		put_file("/etc/resolv.conf", "nameserver 172.31.0.1\noptions timeout:2 attempts:3\n");
		(void)!write(ready[1], "", 1);
		close_range(3, ~0U, 0);
		reap();
	}
	close(ready[1]);
	char byte;
	int error = pid < 0 ? -pid : read_all(ready[0], &byte, 1);
	close(ready[0]);
	if (error)
		return -error;
	place->mount_namespace = open_namespace(pid, "mnt");
	place->pid_namespace = open_namespace(pid, "pid");
	place->cgroup_namespace = open_namespace(pid, "cgroup");
	if (place->mount_namespace < 0 || place->pid_namespace < 0 || place->cgroup_namespace < 0)
		return -errno;
	return pid;
}

/*
 * Takes the machine's own levers away: kernel modules, raw memory and ports, the power switch. Everything else
 * that root does in a development environment (mounts, namespaces, networks, nested containers) stays possible.
 */
void sandbox_confine(void)
{
	const int dropped[] = { CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_BOOT };
	for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++)
		prctl(PR_CAPBSET_DROP, dropped[i], 0, 0, 0);
}
