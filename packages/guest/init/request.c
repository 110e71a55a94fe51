/* FRAME_START's payload, checked before anything is done with it. */
#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool parse_size(const char *text, unsigned short *columns, unsigned short *rows)
{
	char *end;
	if (*text < '0' || *text > '9')
		return false;
	unsigned long width = strtoul(text, &end, 10);
	if (*end != 'x' || end[1] < '0' || end[1] > '9')
		return false;
	unsigned long height = strtoul(end + 1, &end, 10);
	if (*end || width < 1 || width > 10000 || height < 1 || height > 10000)
		return false;
	*columns = (unsigned short)width;
	*rows = (unsigned short)height;
	return true;
}

int request_parse(char *payload, size_t size, struct request *request)
{
	*request = (struct request){ 0 };
	/* The last byte must be a NUL, so that every value below ends inside the payload. */
	if (size == 0 || payload[size - 1] != 0)
		return EINVAL;
	for (char *at = payload; at < payload + size;) {
		char key = *at++;
		if (key == 0 || at == payload + size)
			return EINVAL;
		char *value = at;
		at += strlen(value) + 1;
		int error = 0;
		switch (key) {
		case 'a':
			error = strings_add(&request->arguments, value);
			break;
		case 'e':
			if (*value == '=' || !strchr(value, '='))
				return EINVAL;
			error = strings_add(&request->environment, value);
			break;
		case 's':
			if (strcmp(value, "plain") != 0 && strcmp(value, "login") != 0)
				return EINVAL;
			request->shell = value;
			break;
		case 'c':
		case 'd':
			request->directory = value;
			request->directory_is_wish = key == 'd';
			break;
		case 'u':
			request->user = value;
			break;
		case 'p':
			if (!parse_size(value, &request->columns, &request->rows))
				return EINVAL;
			request->terminal = true;
			break;
		case 'i':
			request->input = true;
			break;
		default:
			return EINVAL;
		}
		if (error)
			return error;
	}
	if (!request->shell && (request->arguments.count == 0 || !*request->arguments.items[0]))
		return EINVAL;
	return 0;
}

void request_free(struct request *request)
{
	free(request->arguments.items);
	free(request->environment.items);
}
