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
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_BYTES (1 << 20)
/* What QEMU 10 allocates for a machine of ours, in pieces small enough to come from the heap. */
#define HEAP_BYTES (5 << 20)
#define HEAP_PIECE (64 << 10)
/* madvise(2), Linux 5.14; the headers may be older. */
#define POPULATE_READ 22
#define POPULATE_WRITE 23

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

/*
 * Memory that the program will want at once, so that it need not wait for the kernel to find it page by page: its own
 * code and what it allocates while it sets a machine up. A help and no more, so that nothing here can fail.
 */
static int populate_program(struct dl_phdr_info *object, size_t size, void *nothing)
{
	(void)size;
	(void)nothing;
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &object->dlpi_phdr[i];
		uintptr_t start = (object->dlpi_addr + header->p_vaddr) & ~(page - 1);
		uintptr_t end = object->dlpi_addr + header->p_vaddr + header->p_memsz;
		int advice = header->p_flags & PF_W ? POPULATE_WRITE : POPULATE_READ;
		if (header->p_type == PT_LOAD)
			(void)madvise((void *)start, end - start, advice);
	}
	/* The first object is the program; its libraries are left to themselves. */
	return 1;
}

static void populate_heap(void)
{
	char *pieces[HEAP_BYTES / HEAP_PIECE];
	const size_t count = sizeof pieces / sizeof *pieces;
	for (size_t i = 0; i < count; i++) {
		pieces[i] = malloc(HEAP_PIECE);
		if (pieces[i])
			memset(pieces[i], 0, HEAP_PIECE);
	}
	/* The last one stays: it keeps the heap from being given back. */
	for (size_t i = 0; i + 1 < count; i++)
		free(pieces[i]);
}

static int late_main(int argc, char **argv, char **environment)
{
	(void)dl_iterate_phdr(populate_program, NULL);
	populate_heap();
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
