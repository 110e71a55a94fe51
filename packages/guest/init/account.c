/*
 * Who a process runs as, read from the user root's own files. The C library's look-ups are not used: a static
 * binary would load the image's name service modules for them.
 */
#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACCOUNT_FILE_BYTES (4 * 1024 * 1024)

/* Cuts `line` at its colons into at most `count` fields; answers how many there were. */
static int split(char *line, char **fields, int count)
{
	int found = 0;
	while (line && found < count)
		fields[found++] = strsep(&line, ":");
	return found;
}

static bool parse_id(const char *text, unsigned *id)
{
	char *end;
	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	unsigned long value = strtoul(text, &end, 10);
	/* The last value means "leave as it is" to the kernel. */
	if (*end || errno || value >= 0xffffffffUL)
		return false;
	*id = (unsigned)value;
	return true;
}

static void copy(char *target, size_t size, const char *text)
{
	snprintf(target, size, "%s", text);
}

static bool find_passwd(const char *name, const unsigned *uid, struct account *account)
{
	char *text = read_small_file("/etc/passwd", ACCOUNT_FILE_BYTES);
	bool found = false;
	char *rest = text;
	while (rest && !found) {
		char *line = strsep(&rest, "\n");
		char *fields[7];
		unsigned line_uid, line_gid;
		if (split(line, fields, 7) < 7 || !parse_id(fields[2], &line_uid) || !parse_id(fields[3], &line_gid))
			continue;
		if (name ? strcmp(fields[0], name) != 0 : line_uid != *uid)
			continue;
		found = true;
		account->uid = line_uid;
		account->gid = line_gid;
		copy(account->name, sizeof account->name, fields[0]);
		copy(account->home, sizeof account->home, *fields[5] ? fields[5] : "/");
		copy(account->shell, sizeof account->shell, *fields[6] ? fields[6] : "/bin/sh");
	}
	free(text);
	return found;
}

static void find_groups(struct account *account)
{
	const int limit = (int)(sizeof account->groups / sizeof *account->groups);
	account->groups[0] = account->gid;
	account->group_count = 1;
	char *text = read_small_file("/etc/group", ACCOUNT_FILE_BYTES);
	char *rest = text;
	while (rest && account->group_count < limit) {
		char *line = strsep(&rest, "\n");
		char *fields[4];
		unsigned gid;
		if (split(line, fields, 4) < 4 || !parse_id(fields[2], &gid) || gid == account->gid)
			continue;
		char *members = fields[3];
		for (char *member; members && (member = strsep(&members, ","));) {
			if (strcmp(member, account->name) == 0) {
				account->groups[account->group_count++] = gid;
				break;
			}
		}
	}
	free(text);
}

int account_find(const char *who, const char *fallback, struct account *account)
{
	*account = (struct account){ .name = "root", .home = "/root", .shell = "/bin/sh" };
	if (!who) {
		/* An image without the default user is one that runs as root. */
		if (!find_passwd(fallback, NULL, account)) {
			unsigned root = 0;
			find_passwd(NULL, &root, account);
		}
	} else if (!find_passwd(who, NULL, account)) {
		char text[64];
		if (snprintf(text, sizeof text, "%s", who) >= (int)sizeof text)
			return ENOENT;
		char *group = strchr(text, ':');
		if (group)
			*group++ = 0;
		unsigned uid, gid = 0;
		if (!parse_id(text, &uid) || (group && !parse_id(group, &gid)))
			return ENOENT;
		if (!find_passwd(NULL, &uid, account)) {
			account->uid = uid;
			account->gid = uid;
			copy(account->name, sizeof account->name, text);
			copy(account->home, sizeof account->home, "/");
		}
		if (group)
			account->gid = gid;
	}
	find_groups(account);
	return 0;
}

static int assign(struct strings *environment, const char *name, const char *value)
{
	char *assignment;
	if (asprintf(&assignment, "%s=%s", name, value) < 0)
		return ENOMEM;
	return strings_set(environment, assignment);
}

/* NAME=VALUE lines as pam_env reads them: comments, an optional `export`, optional quotes around the value. */
static int add_environment_file(struct strings *environment)
{
	char *rest = read_small_file("/etc/environment", 256 * 1024);
	while (rest) {
		char *line = strsep(&rest, "\n");
		line += strspn(line, " \t");
		if (strncmp(line, "export ", 7) == 0)
			line += 7 + strspn(line + 7, " \t");
		char *value = strchr(line, '=');
		if (*line == '#' || !value || value == line)
			continue;
		*value++ = 0;
		size_t length = strlen(value);
		while (length > 0 && strchr(" \t\r", value[length - 1]))
			value[--length] = 0;
		if (length >= 2 && (*value == '"' || *value == '\'') && value[length - 1] == *value) {
			value[length - 1] = 0;
			value++;
		}
		int error = assign(environment, line, value);
		if (error)
			return error;
	}
	return 0;
}

int account_environment(const struct account *account, struct strings *environment)
{
	int error = assign(environment, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	if (!error)
		error = assign(environment, "LANG", "C.UTF-8");
	if (!error)
		error = add_environment_file(environment);
	if (!error)
		error = assign(environment, "HOME", account->home);
	if (!error)
		error = assign(environment, "USER", account->name);
	if (!error)
		error = assign(environment, "LOGNAME", account->name);
	if (!error)
		error = assign(environment, "SHELL", account->shell);
	return error;
}
