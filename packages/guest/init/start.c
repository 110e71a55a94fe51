/* How a process comes to life: as the user, in the user's namespaces, with nothing of ours but its three streams. */
#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* The child's ends of its three streams. */
struct streams {
	int input, output, error;
};

struct start_failure {
	int error;
	char stage[24];
};

__attribute__((noreturn)) static void fail_start(int status, int error, const char *stage)
{
	struct start_failure failure = { .error = error };
	snprintf(failure.stage, sizeof failure.stage, "%s", stage);
	(void)!write(status, &failure, sizeof failure);
	_exit(127);
}

static int become(const struct account *account)
{
	/* Without root's rights only oneself can be started: the tests of an unprivileged developer. */
	if (geteuid() != 0)
		return account->uid == geteuid() ? 0 : EPERM;
	if (setgroups((size_t)account->group_count, account->groups) != 0)
		return errno;
	if (setresgid(account->gid, account->gid, account->gid) != 0)
		return errno;
	return setresuid(account->uid, account->uid, account->uid) != 0 ? errno : 0;
}

/*
 * Behind everything of the image's own. The whole is told once more, because login shells of many images begin by
 * forgetting what PATH they were given; see prepare-tree.ts of image.
 */
static int add_tools(struct strings *environment)
{
	const char *path = NULL;
	char *longer, *copy;
	if (access(USER_TOOLS "/bin", X_OK) != 0)
		return 0;
	for (size_t i = 0; i < environment->count; i++)
		if (strncmp(environment->items[i], "PATH=", 5) == 0)
			path = environment->items[i] + 5;
	if (!path)
		return 0;
	if (asprintf(&longer, "PATH=%s:" USER_TOOLS "/bin", path) < 0 || asprintf(&copy, "DORMOUSE_%s", longer) < 0)
		return ENOMEM;
	int error = strings_set(environment, longer);
	return error ? error : strings_set(environment, copy);
}

__attribute__((noreturn)) static void run_child(const struct request *request, const struct account *account,
						const struct place *place, struct streams streams, int status)
{
	/* Always first: the number by which the user sees this process. A failure may follow. */
	int pid = getpid();
	(void)!write(status, &pid, sizeof pid);
	if (place->cgroup_namespace >= 0 && setns(place->cgroup_namespace, CLONE_NEWCGROUP) != 0)
		fail_start(status, errno, "cgroup");
	setsid();
	if (request->terminal && ioctl(streams.input, TIOCSCTTY, 0) != 0)
		fail_start(status, errno, "terminal");
	if (dup2(streams.input, 0) < 0 || dup2(streams.output, 1) < 0 || dup2(streams.error, 2) < 0)
		fail_start(status, errno, "streams");
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	/* Ours is -1000; the agent's helpers live on when memory ends, user processes need not. */
	if (place->privileged) {
		(void)write_file("/proc/self/oom_score_adj", "0");
		sandbox_confine();
	}
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(022);
	int error = become(account);
	if (error)
		fail_start(status, error, "user");
	bool must_enter = request->directory && !request->directory_is_wish;
	if ((!request->directory || chdir(request->directory) != 0) &&
	    (must_enter || (chdir(account->home) != 0 && chdir("/") != 0)))
		fail_start(status, errno, "cwd");

	struct strings arguments = { 0 };
	char shell_name[sizeof account->shell + 1];
	const char *program = request->arguments.count > 0 ? request->arguments.items[0] : NULL;
	if (request->shell) {
		/* An image without a shell gets ours, which is BusyBox and goes by the name it is called by. */
		bool has_shell = access(account->shell, X_OK) == 0 || access(USER_TOOLS "/bin/busybox", X_OK) != 0;
		const char *slash = strrchr(account->shell, '/');
		const char *name = !has_shell ? "sh" : slash ? slash + 1 : account->shell;
		snprintf(shell_name, sizeof shell_name, "%s%s", *request->shell == 'l' ? "-" : "", name);
		program = has_shell ? account->shell : USER_TOOLS "/bin/busybox";
		strings_add(&arguments, shell_name);
	}
	for (size_t i = 0; i < request->arguments.count; i++)
		strings_add(&arguments, request->arguments.items[i]);

	struct strings environment = { 0 };
	error = account_environment(account, &environment);
	for (size_t i = 0; !error && i < request->environment.count; i++)
		error = strings_set(&environment, request->environment.items[i]);
	if (!error)
		error = add_tools(&environment);
	if (error || !arguments.items)
		fail_start(status, error ? error : ENOMEM, "environment");
	environ = environment.items;
	execvp(program, arguments.items);
	fail_start(status, errno, "exec");
}

static int open_terminal(const struct request *request, struct process *process, struct streams *streams)
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (master < 0)
		return errno;
	struct winsize size = { .ws_col = request->columns, .ws_row = request->rows };
	int unlock = 0;
	if (ioctl(master, TIOCSPTLCK, &unlock) != 0 || ioctl(master, TIOCSWINSZ, &size) != 0)
		return errno;
	int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return errno;
	struct termios modes;
	if (tcgetattr(slave, &modes) == 0) {
		/* So that erasing a character of several bytes erases all of it. */
		modes.c_iflag |= IUTF8;
		tcsetattr(slave, TCSANOW, &modes);
	}
	*streams = (struct streams){ slave, slave, slave };
	process->input = process->output = master;
	return 0;
}

static int open_pipes(const struct request *request, struct process *process, struct streams *streams)
{
	int in[2] = { -1, -1 }, out[2], err[2];
	if (request->input) {
		if (pipe2(in, O_CLOEXEC) != 0)
			return errno;
		fcntl(in[1], F_SETFL, O_NONBLOCK);
	} else {
		in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		if (in[0] < 0)
			return errno;
	}
	if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0)
		return errno;
	/* Only our ends: the other ends' mode is shared with whatever the process starts. */
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
	*streams = (struct streams){ in[0], out[1], err[1] };
	process->input = in[1];
	process->output = out[0];
	process->error = err[0];
	return 0;
}

int process_enter(const struct place *place)
{
	if (place->mount_namespace >= 0 && setns(place->mount_namespace, CLONE_NEWNS) != 0)
		return errno;
	if (place->pid_namespace >= 0 && setns(place->pid_namespace, CLONE_NEWPID) != 0)
		return errno;
	if (place->root && (chroot(place->root) != 0 || chdir("/") != 0))
		return errno;
	return 0;
}

void process_start(struct process *process, const struct request *request, const struct place *place)
{
	const char *stage = "user";
	int error = 0;
	struct account account;
	error = account_find(request->user, place->default_user, &account);
	if (error)
		goto failed;

	struct streams streams = { -1, -1, -1 };
	stage = request->terminal ? "terminal" : "streams";
	error = request->terminal ? open_terminal(request, process, &streams) : open_pipes(request, process, &streams);
	if (error)
		goto failed;
	if (request->terminal && geteuid() == 0)
		(void)!fchown(streams.input, account.uid, (gid_t)-1);

	int status[2];
	if (pipe2(status, O_CLOEXEC) != 0)
		goto failed_errno;
	stage = "fork";
	process->pid = fork_with(0, place->cgroup, &process->pidfd);
	if (process->pid < 0) {
		error = -process->pid;
		goto failed;
	}
	if (process->pid == 0)
		run_child(request, &account, place, streams, status[1]);
	close(status[1]);
	close(streams.input);
	if (streams.output != streams.input) {
		close(streams.output);
		close(streams.error);
	}

	/* First the child's number, then a failure, or the end of the pipe when exec closed it. */
	int pid = 0;
	struct start_failure failure = { .error = ECHILD, .stage = "exec" };
	bool has_pid = read_all(status[0], &pid, sizeof pid) == 0;
	bool has_failed = read_all(status[0], &failure, sizeof failure) == 0;
	if (!has_pid || has_failed) {
		waitid(P_PIDFD, (id_t)process->pidfd, &process->exit, WEXITED);
		failure.stage[sizeof failure.stage - 1] = 0;
		send_error(process->socket, failure.error, failure.stage);
		_exit(0);
	}
	close(status[0]);
	process->user_pid = pid;
	return;

failed_errno:
	error = errno;
failed:
	send_error(process->socket, error, stage);
	_exit(0);
}
