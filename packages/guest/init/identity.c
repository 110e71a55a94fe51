/*
 * The machine's identity file: the token that host and agent show, and what the agent is to know. On a file system in
 * memory, for root alone, replaced as a whole; whoever sees another inode there reads it again.
 */
#define _GNU_SOURCE
#include "init.h"
#include "protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES (1024 * 1024)

int identity_write(const char *path, const char *token, const char *content)
{
	char temporary[256];
	if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary)
		return ENAMETOOLONG;
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno;
	int error = write_all(fd, token, strlen(token));
	if (!error)
		error = write_all(fd, "\n", 1);
	if (!error)
		error = write_all(fd, content, strlen(content));
	close(fd);
	if (!error && rename(temporary, path) != 0)
		error = errno;
	return error;
}

bool identity_accepts(const char *path, const char *token)
{
	char *known = read_small_file(path, FILE_BYTES);
	if (!known)
		return false;
	size_t length = strcspn(known, "\n"), given = strlen(token);
	/* As long for a wrong token as for the right one. */
	unsigned char difference = length == 0 || length != given;
	for (size_t i = 0; i < length; i++)
		difference |= (unsigned char)(known[i] ^ (i < given ? token[i] : 0));
	free(known);
	return difference == 0;
}
