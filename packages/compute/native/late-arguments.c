/*
 * Loaded into a VMM that is started before anybody knows which machine it will be (LD_PRELOAD). Linking and setting up a
 * large program takes longer than restoring a guest; once that is done the process stops at the first line of `main` and
 * waits for its arguments. They come through standard input: eight hexadecimal digits that say how many bytes follow, then
 * strings that each end with a zero byte: NAME=VALUE for the environment, an empty one, and the arguments behind the
 * program's name. A writer that goes away before that ends the process.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_BYTES (1 << 20)

typedef int main_function(int, char **, char **);
typedef int start_function(main_function *, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);

static main_function *program_main;

static void read_all(char *target, size_t bytes)
{
	while (bytes > 0) {
		ssize_t count = read(STDIN_FILENO, target, bytes);
		if (count <= 0)
			_exit(0);
		target += count;
		bytes -= count;
	}
}

static int late_main(int argc, char **argv, char **environment)
{
	char digits[9] = "";
	read_all(digits, 8);
	size_t bytes = strtoul(digits, NULL, 16);
	char *text = bytes > 0 && bytes <= MAX_BYTES ? calloc(1, bytes + 1) : NULL;
	/* Each argument takes a byte at least. */
	char **arguments = text ? calloc(bytes + 2, sizeof(*arguments)) : NULL;
	if (!arguments)
		_exit(64);
	read_all(text, bytes);
	const char *end = text + bytes;
	char *next = text;
	for (; next < end && *next; next += strlen(next) + 1)
		putenv(next);
	int count = 0;
	arguments[count++] = argv[0];
	for (next++; next < end; next += strlen(next) + 1)
		arguments[count++] = next;
	int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0)
		_exit(65);
	close(nothing);
	(void)argc;
	(void)environment;
	return program_main(count, arguments, environ);
}

__attribute__((visibility("default"))) int __libc_start_main(main_function *main, int argc, char **argv,
							     void (*init)(void), void (*fini)(void),
							     void (*rtld_fini)(void), void *stack_end)
{
	start_function *start = (start_function *)dlsym(RTLD_NEXT, "__libc_start_main");
	program_main = main;
	return start(late_main, argc, argv, init, fini, rtld_fini, stack_end);
}
