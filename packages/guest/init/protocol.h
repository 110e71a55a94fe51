/*
 * How the agent talks to the spawner over a unix stream socket, and the host over TCP. src/spawner/protocol.ts is the
 * other half.
 *
 * A connection over TCP begins with FRAME_TOKEN: the token that the last identity brought. There is no answer to a right
 * one; after a wrong one comes FRAME_ERROR and the end.
 *
 * A frame is a 32-bit little-endian payload length, one type byte, the payload. One connection serves one
 * process or one privileged operation at a time; the frame that begins says which.
 *
 * FRAME_START's payload is a list of records, each one key byte, a value and a NUL:
 *   a  one argument; the first names the program, searched in PATH when it holds no slash
 *   s  run the user's shell instead: "plain", or "login" for a leading dash in its name; all a are its arguments
 *   e  NAME=VALUE, put over the login environment (/etc/environment, HOME, USER, LOGNAME, SHELL, PATH)
 *   c  working directory; d: the same, but where it is not there the user's home, as without any
 *   u  user: a name of the user root's /etc/passwd, "uid" or "uid:gid"; without one the default user
 *   p  "COLSxROWS": run on a new terminal of that size
 *   i  standard input comes in FRAME_STDIN frames; without it (and without p) it is /dev/null
 *
 * The client may have at most STDIN_WINDOW bytes of input on the way; FRAME_STDIN_TAKEN says how many were
 * passed on. That keeps signals and resizes from waiting behind input that nobody reads. Output has the
 * socket's own back-pressure: what the client does not read, the process cannot write.
 *
 * When the connection closes before FRAME_EXIT, the process group is killed. FRAME_EXIT comes as soon as the
 * process itself has ended and what it wrote has been sent; children it left behind run on. Its last field
 * says whether the connection serves the next request; otherwise it ends.
 *
 * FRAME_RELEASE hands a process to another client: its output stops, FRAME_RELEASED names an abstract unix socket, and
 * whoever connects there first has the process from then on, beginning with FRAME_STARTED. The first connection must
 * stay open until then. One that was too late is answered by FRAME_EXIT alone.
 *
 * A machine that was just restored gets to FRAME_IDENTITY long after it was written: under emulation its kernel first
 * runs through the network's code again. So FRAME_CLOCK asks for the time again in between, and FRAME_TIME answers it; a
 * second and a third time when the answer took long, and the quickest one counts. Nothing of the user's runs meanwhile.
 * Where no answer comes, two seconds long or because the client has stopped sending, the clock is set by the answer
 * before it, else by t, and the identity goes on; an answer that comes later is dropped. One that is malformed ends the
 * identity with FRAME_ERROR, as anything does that is wrong with it: user processes go on standing still.
 */
#ifndef DORMOUSE_PROTOCOL_H
#define DORMOUSE_PROTOCOL_H

enum frame {
	FRAME_START = 1,
	FRAME_STDIN = 2,
	FRAME_STDIN_CLOSE = 3,
	FRAME_RESIZE = 4, /* u16 columns, u16 rows */
	FRAME_SIGNAL = 5, /* u8 signal number */
	FRAME_RELEASE = 6,
	FRAME_TIME = 7, /* u64 nanoseconds since the epoch: answers FRAME_CLOCK */

	/* Privileged operations, answered with FRAME_DONE or FRAME_ERROR. */
	/*
	 * Records: t nanoseconds since the epoch, q the client answers FRAME_CLOCK, h host name, m machine-id, b boot id, r
	 * entropy in hex, k token, j what the agent is to know, as it finds it in its identity file. Ends a FRAME_FREEZE.
	 */
	FRAME_IDENTITY = 16,
	FRAME_FREEZE = 17,   /* user processes stand still */
	FRAME_THAW = 18,     /* with t as in FRAME_IDENTITY, the client answers FRAME_CLOCK: the clock catches up */
	FRAME_SYNC = 19,
	FRAME_POWER_OFF = 20,

	FRAME_TOKEN = 24,

	FRAME_STARTED = 65,     /* u32 process id as the user sees it */
	FRAME_STDOUT = 66,      /* also all output of a terminal */
	FRAME_STDERR = 67,
	FRAME_EXIT = 68,        /* u32 exit code, u32 signal or 0, u32 1 when the connection can be used again */
	FRAME_ERROR = 69,       /* u32 errno, then the stage in words */
	FRAME_STDIN_TAKEN = 70, /* u32 bytes */
	FRAME_DONE = 71,
	FRAME_RELEASED = 72,    /* the name, without the NUL byte that it begins with */
	FRAME_CLOCK = 73,       /* what time is it; only while a FRAME_IDENTITY with a q, or a FRAME_THAW with a t, is served */
};

#define FRAME_HEADER 5
/* execve takes 2 MiB of arguments and environment at the default stack limit; more could not run anyway. */
#define START_BYTES (2 * 1024 * 1024 + 65536)
#define STDIN_WINDOW 65536
#define OUTPUT_BYTES 65536
#define TOKEN_BYTES 256
#define TIME_BYTES 8
/* In one identity, at most. */
#define CLOCK_QUESTIONS 3
/* A UUID as the kernel writes it. */
#define BOOT_ID_BYTES 36

#endif
