/* What the parts of dormouse-init share. Functions that can fail answer 0 or an errno. */
#ifndef DORMOUSE_INIT_H
#define DORMOUSE_INIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* In the user's root: programs of ours that work in any image. */
#define USER_TOOLS "/run/dormouse/tools"

/* Where user processes run. File descriptors are -1 where the host-side mode has no such thing. */
struct place {
	int mount_namespace;
	int pid_namespace;
	int cgroup_namespace;
	int cgroup;               /* the `user` group's directory */
	const char *root;         /* chroot of the host-side mode, or NULL */
	const char *user_root;    /* the user's root as seen before entering it; NULL: names are not written */
	const char *default_user;
	const char *boot_id_file; /* what the user finds as the kernel's boot id; NULL: the kernel's own */
	const char *identity_file; /* a line with the token, then what the agent is to know; NULL: nowhere */
	bool privileged;          /* false: identity and freeze are checked, but change nothing */
	pid_t init;               /* whom to ask for the power to go off */
};

/* A list of strings that ends with NULL, as execve wants it. */
struct strings {
	char **items;
	size_t count;
	size_t capacity;
};
int strings_add(struct strings *list, char *item);
/* Replaces the NAME=VALUE of the same name, or adds it. */
int strings_set(struct strings *list, char *assignment);

struct account {
	uid_t uid;
	gid_t gid;
	char name[64];
	char home[1024];
	char shell[1024];
	gid_t groups[128];
	int group_count;
};
/* Looks `who` (name, "uid", "uid:gid", or NULL for `fallback`) up in /etc/passwd and /etc/group. */
int account_find(const char *who, const char *fallback, struct account *account);
/* The environment of a login as `account`. */
int account_environment(const struct account *account, struct strings *environment);

struct request {
	struct strings arguments;
	struct strings environment;
	const char *shell; /* NULL, "plain" or "login" */
	const char *directory;
	bool directory_is_wish; /* the home does when it cannot be entered */
	const char *user;
	bool terminal;
	unsigned short columns, rows;
	bool input;
};
/* Parses FRAME_START's payload in place; EINVAL for anything that is none. */
int request_parse(char *payload, size_t size, struct request *request);
void request_free(struct request *request);

/* Reads exactly `size` bytes or answers an errno; EPIPE when the stream ends before. */
int read_all(int fd, void *buffer, size_t size);
int write_all(int fd, const void *buffer, size_t size);
int send_frame(int fd, uint8_t type, const void *payload, uint32_t size);
int send_error(int fd, int error, const char *stage);
uint32_t get_u32(const unsigned char *bytes);
void put_u32(unsigned char *bytes, uint32_t value);

/* Moves the calling process to where user processes run; its children are born there. 0 or errno. */
int process_enter(const struct place *place);
/*
 * Starts the process of `request` and serves it. Answers the connection that can serve another one, which is not the
 * given one after a release; else ends.
 */
int process_serve(int socket, struct request *request, const struct place *place);
/* Does one privileged operation and answers it. */
void operation_serve(int socket, uint8_t type, char *payload, size_t size, const struct place *place);

/*
 * Sets the wall clock by what the client answers; by `told`, nanoseconds since the epoch, where it does not. Without
 * `is_answered` nobody is asked, without `privileged` nothing is set. EPROTO for an answer that is none.
 */
int clock_set(int socket, const char *told, bool is_answered, bool privileged);
/* As clock_set, asking in any case, for a machine that stood still for a moment: never back, and not by more than that. */
int clock_catch_up(int socket, const char *told, bool privileged);

/* Opens the listening socket at `path`, for root alone. Negative errno on failure. */
int spawner_listen(const char *path);
/* Opens one that takes connections over the network from who knows the token. Negative errno on failure. */
int spawner_listen_network(const char *address, uint16_t port);
/* Accepts connections for ever, each served by a process of its own; -1 for no network. */
__attribute__((noreturn)) void spawner_serve(int listener, int network, const struct place *place);

/* Replaces the identity file as a whole. 0 or errno. */
int identity_write(const char *path, const char *token, const char *content);
/* Whether it is the token of the identity file. */
bool identity_accepts(const char *path, const char *token);

/* Makes the user's namespaces and the process that reaps in them; fills `place` with descriptors. */
pid_t sandbox_start(struct place *place);
/* Takes from the calling process, and all it starts, what no user process may have. */
void sandbox_confine(void);

/* The work of process 1. Does not return. */
__attribute__((noreturn)) void machine_run(void);

/* Writes `text` to the file; 0 or errno. */
int write_file(const char *path, const char *text);
/* The whole file, NUL-terminated, at most `limit` bytes; NULL with errno set when it is no such regular file. */
char *read_small_file(const char *path, size_t limit);
/* One line on the console. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

/* clone3 with these flags and an optional cgroup; 0 in the child. Negative errno on failure. */
pid_t fork_with(uint64_t flags, int cgroup, int *pidfd);

#endif
