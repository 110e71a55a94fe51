/* One connection's process, shared by what starts it (start.c) and what serves it (process.c). */
#ifndef DORMOUSE_PROCESS_H
#define DORMOUSE_PROCESS_H

#include "init.h"
#include "protocol.h"

#include <signal.h>

struct process {
	int socket;
	pid_t pid;
	int user_pid;  /* by which the user sees it */
	int pidfd;
	int input;     /* write end of standard input, or the terminal */
	int output;    /* read end of standard output, or the terminal */
	int error;     /* read end of standard error; -1 with a terminal */
	bool terminal;
	bool exited;   /* and reaped: its number may be somebody else's by now */
	siginfo_t exit;

	unsigned char outgoing[FRAME_HEADER + OUTPUT_BYTES];
	size_t outgoing_at, outgoing_end;

	unsigned char incoming[FRAME_HEADER + STDIN_WINDOW];
	size_t incoming_size;

	unsigned char pending[STDIN_WINDOW];
	size_t pending_at, pending_end;
	bool input_closing;
	bool releasing; /* to another client, once what is queued has gone out */
	uint32_t taken; /* bytes passed on that the client has not been told of */
};

/* Starts it, or tells the client why not and ends. That it has started is still to be told. */
void process_start(struct process *process, const struct request *request, const struct place *place);

#endif
