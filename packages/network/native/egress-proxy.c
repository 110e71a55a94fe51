/*
 * Holds connections that machines open until the host daemon has seen the name in them, then passes bytes on in the kernel.
 *
 *   egress-proxy UID PORT
 *
 * PORT is what it had before, so that the host's rules still fit; 0: any.
 *
 * The host's rules redirect connections to the port that is told first. Their first bytes go to the daemon (frames.h), which
 * answers with where to connect or with a refusal; nothing is opened to the outside before. This program reads nothing of
 * what machines send. It drops all privileges, and ends with the daemon.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "frames.h"

enum { CONNECT = 1, CONNECT_LOCAL = 2, REFUSE = 3 };
enum { LISTENING = 0, OPENED = 1, DATA = 2, CLOSED = 3 };

#define MAX_FLOWS 16384
#define MAX_FLOWS_OF_ONE 2048
/* A ClientHello with post-quantum keys takes 2 KB; more than this is none. */
#define HEAD_BYTES 16384
#define PIPE_BYTES 262144
/* Pipes that wait to be used again. */
#define SPARE_PIPES 64
/* Messages for the daemon are written together, when there is nothing else to do or so many bytes. */
#define OUTBOX_BYTES 65536
#define DECISION_MS 15000
#define CONNECT_MS 30000
#define LOOK_MS 1000

enum stage { FREE, UNDECIDED, CONNECTING, PASSING };

struct way {
  /* Only while it holds something. */
  int pipe[2];
  size_t held;
  int is_watched; /* the target tells when it has room again */
  int ended;  /* the source has said its last */
  int shut;   /* and the other side knows */
  uint64_t bytes;
};

struct flow {
  enum stage stage;
  int is_told; /* the daemon knows of it */
  uint32_t id;
  uint32_t peer;
  struct sockaddr_in from, meant;
  int client;
  int server;
  struct way up;
  struct way down;
  char *head;
  size_t head_length;
  uint64_t since_ms;
};

static struct flow flows[MAX_FLOWS];
static uint32_t generations[MAX_FLOWS];
static int events;
static int listener;

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Slots' addresses are every second one of a range of at most 32,768. */
static uint16_t *flows_of(uint32_t peer) {
  static uint16_t counts[MAX_FLOWS];
  return &counts[(ntohl(peer) >> 1) % MAX_FLOWS];
}

static void tell(uint32_t kind, uint32_t id, const void *payload, size_t length);

/* Edges: each is told once, and then everything is done that can be done. */
static void watch(struct flow *flow, int is_server, int operation, uint32_t more) {
  struct epoll_event event = {
      .events = EPOLLIN | EPOLLRDHUP | EPOLLET | more,
      .data.u64 = (uint64_t)flow->id << 1 | (uint64_t)is_server,
  };
  epoll_ctl(events, operation, is_server ? flow->server : flow->client, &event);
}

static int spare_pipes[SPARE_PIPES][2];
static int spare_count;

static int take_pipe(struct way *way) {
  if (spare_count > 0) {
    memcpy(way->pipe, spare_pipes[--spare_count], sizeof way->pipe);
    return 1;
  }
  if (pipe2(way->pipe, O_NONBLOCK | O_CLOEXEC)) return way->pipe[0] = way->pipe[1] = 0;
  /* Without room for large ones the usual ones do. */
  fcntl(way->pipe[1], F_SETPIPE_SZ, PIPE_BYTES);
  return 1;
}

/* What is in it goes with it. */
static void give_pipe(struct way *way) {
  if (way->pipe[0] <= 0) return;
  if (way->held == 0 && spare_count < SPARE_PIPES) memcpy(spare_pipes[spare_count++], way->pipe, sizeof way->pipe);
  else {
    close(way->pipe[0]);
    close(way->pipe[1]);
  }
  way->pipe[0] = way->pipe[1] = 0;
}

/* With a reset the guest hears at once that nothing will come. */
static void end_flow(struct flow *flow, int with_reset) {
  uint64_t bytes[2] = {flow->up.bytes, flow->down.bytes};
  struct linger reset = {1, 0};
  if (with_reset) setsockopt(flow->client, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  if (with_reset && flow->server > 0) setsockopt(flow->server, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  close(flow->client);
  if (flow->server > 0) close(flow->server);
  give_pipe(&flow->up);
  give_pipe(&flow->down);
  free(flow->head);
  --*flows_of(flow->peer);
  if (flow->is_told) tell(CLOSED, flow->id, bytes, sizeof bytes);
  memset(flow, 0, sizeof *flow);
}

static struct flow *flow_of(uint32_t id) {
  struct flow *flow = &flows[id % MAX_FLOWS];
  return flow->stage != FREE && flow->id == id ? flow : NULL;
}

/* An id is an index and how often it was used, so that no late word meets another flow. */
static struct flow *new_flow(uint32_t peer) {
  static uint32_t next;
  if (*flows_of(peer) >= MAX_FLOWS_OF_ONE) return NULL;
  for (uint32_t i = 0; i < MAX_FLOWS; i++) {
    uint32_t at = (next + i) % MAX_FLOWS;
    struct flow *flow = &flows[at];
    if (flow->stage != FREE) continue;
    next = at + 1;
    generations[at] = (generations[at] + 1) % (UINT32_MAX / MAX_FLOWS - 1);
    flow->id = (generations[at] + 1) * MAX_FLOWS + at;
    flow->peer = peer;
    ++*flows_of(peer);
    return flow;
  }
  return NULL;
}

static void on_connection(void) {
  for (;;) {
    struct sockaddr_in peer, meant;
    socklen_t length = sizeof peer;
    int client = accept4(listener, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return;
    length = sizeof meant;
    struct flow *flow = NULL;
    /* Only what the rules redirected has an address that it was meant for. */
    if (getsockopt(client, SOL_IP, SO_ORIGINAL_DST, &meant, &length) == 0) flow = new_flow(peer.sin_addr.s_addr);
    if (!flow) {
      struct linger reset = {1, 0};
      setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
      close(client);
      continue;
    }
    flow->client = client;
    flow->from = peer;
    flow->meant = meant;
    flow->stage = UNDECIDED;
    flow->since_ms = now_ms();
    watch(flow, 0, EPOLL_CTL_ADD, 0);
  }
}

/* A flow is told with its first bytes; one that says nothing concerns nobody. */
static void tell_head(struct flow *flow, const char *bytes, size_t length) {
  if (flow->is_told) return tell(DATA, flow->id, bytes, length);
  struct {
    uint32_t peer, address;
    uint16_t peer_port, port;
    char bytes[HEAD_BYTES];
  } opened;
  opened.peer = flow->peer;
  opened.address = flow->meant.sin_addr.s_addr;
  opened.peer_port = ntohs(flow->from.sin_port);
  opened.port = ntohs(flow->meant.sin_port);
  memcpy(opened.bytes, bytes, length);
  flow->is_told = 1;
  tell(OPENED, flow->id, &opened, offsetof(__typeof__(opened), bytes) + length);
}

/* What comes before the decision is kept and told. */
static void read_head(struct flow *flow) {
  if (!flow->head) flow->head = malloc(HEAD_BYTES);
  if (!flow->head) return end_flow(flow, 1);
  while (flow->head_length < HEAD_BYTES) {
    ssize_t got = recv(flow->client, flow->head + flow->head_length, HEAD_BYTES - flow->head_length, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got < 0) return end_flow(flow, 1);
    /* Nobody says all there is to say before anything is answered, in the protocols that are let through. */
    if (got == 0) return flow->stage == UNDECIDED ? end_flow(flow, 1) : (void)(flow->up.ended = 1);
    if (flow->stage == UNDECIDED) tell_head(flow, flow->head + flow->head_length, (size_t)got);
    flow->head_length += (size_t)got;
  }
}

/* Moves what can be moved from one socket through a pipe to the other. 0 when the flow is broken. */
static int pass_on(struct flow *flow, int to_server) {
  int from = to_server ? flow->client : flow->server, to = to_server ? flow->server : flow->client;
  struct way *way = to_server ? &flow->up : &flow->down;
  if (!way->pipe[0] && !take_pipe(way)) return 0;
  for (int moved = 1; moved;) {
    moved = 0;
    if (!way->ended && way->held < PIPE_BYTES) {
      ssize_t got = splice(from, NULL, way->pipe[1], NULL, PIPE_BYTES - way->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      if (got > 0) {
        way->held += (size_t)got;
        moved = 1;
      } else if (got == 0) way->ended = 1;
      else if (errno != EAGAIN && errno != EINTR) return 0;
    }
    if (way->held > 0) {
      ssize_t put = splice(way->pipe[0], NULL, to, NULL, way->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      if (put > 0) {
        way->held -= (size_t)put;
        way->bytes += (uint64_t)put;
        moved = 1;
      } else if (put < 0 && errno != EAGAIN && errno != EINTR) return 0;
    }
  }
  if (way->held == 0) give_pipe(way);
  else if (!way->is_watched) {
    way->is_watched = 1;
    watch(flow, to_server, EPOLL_CTL_MOD, EPOLLOUT);
  }
  if (way->ended && way->held == 0 && !way->shut) {
    shutdown(to, SHUT_WR);
    way->shut = 1;
  }
  return 1;
}

/* Only the ways that an event is about: what can be read on one side, and what has room there again. */
static void pass(struct flow *flow, int is_server, uint32_t what) {
  int is_over = (what & (EPOLLERR | EPOLLHUP)) != 0;
  int reads = is_over || (what & (EPOLLIN | EPOLLRDHUP)), writes = is_over || (what & EPOLLOUT);
  if (((is_server ? writes : reads) && !pass_on(flow, 1)) || ((is_server ? reads : writes) && !pass_on(flow, 0)))
    return end_flow(flow, 1);
  if (flow->up.shut && flow->down.shut) end_flow(flow, 0);
}

/* The server is there: it is told what the guest has said so far. */
static void on_connected(struct flow *flow, uint32_t what) {
  if (what & (EPOLLERR | EPOLLHUP)) return end_flow(flow, 1);
  if (!(what & EPOLLOUT)) return; /* not yet */
  /* A new socket's buffer is larger than the head. */
  if (flow->head_length > 0) {
    ssize_t put = send(flow->server, flow->head, flow->head_length, MSG_NOSIGNAL);
    if (put != (ssize_t)flow->head_length) return end_flow(flow, 1);
    flow->up.bytes += (uint64_t)put;
  }
  free(flow->head);
  flow->head = NULL;
  flow->stage = PASSING;
  /* What came in the meantime. */
  pass(flow, 0, EPOLLIN);
  if (flow->stage == PASSING) pass(flow, 1, what & ~(uint32_t)EPOLLOUT);
}

static void connect_to(struct flow *flow, const struct sockaddr *address, socklen_t length) {
  flow->server = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (flow->server < 0) {
    flow->server = 0;
    return end_flow(flow, 1);
  }
  int on = 1;
  setsockopt(flow->server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(flow->server, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  flow->stage = CONNECTING;
  flow->since_ms = now_ms();
  if (connect(flow->server, address, length) && errno != EINPROGRESS) return end_flow(flow, 1);
  flow->up.is_watched = 1;
  watch(flow, 1, EPOLL_CTL_ADD, EPOLLOUT);
}

static void take(const struct frame *frame, const char *payload) {
  struct flow *flow = flow_of(frame->id);
  if (!flow) return;
  if (frame->kind == REFUSE) {
    /* A last word in the guest's own protocol, when nothing else has been said yet. */
    int says = frame->length > 0 && flow->stage == UNDECIDED;
    if (says && send(flow->client, payload, frame->length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) says = 0;
    if (says) shutdown(flow->client, SHUT_WR);
    return end_flow(flow, !says);
  }
  if (flow->stage != UNDECIDED) return;
  if (frame->kind == CONNECT && frame->length == 6) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    uint16_t port;
    memcpy(&address.sin_addr, payload, 4);
    memcpy(&port, payload + 4, 2);
    address.sin_port = htons(port);
    connect_to(flow, (struct sockaddr *)&address, sizeof address);
  } else if (frame->kind == CONNECT_LOCAL) {
    /* The daemon itself, which has to know whose connection it is. */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    uint32_t name_length;
    if (frame->length < sizeof name_length) return;
    memcpy(&name_length, payload, sizeof name_length);
    size_t line = frame->length - sizeof name_length - name_length;
    if (name_length >= sizeof address.sun_path || frame->length < sizeof name_length + name_length ||
        flow->head_length + line > HEAD_BYTES)
      return end_flow(flow, 1);
    memcpy(address.sun_path + 1, payload + sizeof name_length, name_length);
    memmove(flow->head + line, flow->head, flow->head_length);
    memcpy(flow->head, payload + sizeof name_length + name_length, line);
    flow->head_length += line;
    connect_to(flow, (struct sockaddr *)&address, (socklen_t)(sizeof(sa_family_t) + 1 + name_length));
  }
}

static void on_event(const struct epoll_event *event) {
  struct flow *flow = flow_of((uint32_t)(event->data.u64 >> 1));
  if (!flow) return;
  int is_server = (int)(event->data.u64 & 1);
  if (flow->stage == UNDECIDED) {
    if (event->events & (EPOLLERR | EPOLLHUP)) end_flow(flow, 1);
    else read_head(flow);
  } else if (flow->stage == CONNECTING) {
    if (is_server) on_connected(flow, event->events);
    else if (event->events & EPOLLERR) end_flow(flow, 1);
  } else pass(flow, is_server, event->events);
}

/* Ends what nobody decides on, and what does not come about. */
static void look_around(void) {
  uint64_t now = now_ms();
  for (struct flow *flow = flows; flow < flows + MAX_FLOWS; flow++) {
    if (flow->stage == UNDECIDED && now - flow->since_ms > DECISION_MS) end_flow(flow, 1);
    else if (flow->stage == CONNECTING && now - flow->since_ms > CONNECT_MS) end_flow(flow, 1);
  }
}

static char outbox[OUTBOX_BYTES];
static size_t outbox_held;

static void write_outbox(void) {
  write_all(outbox, outbox_held);
  outbox_held = 0;
}

static void tell(uint32_t kind, uint32_t id, const void *payload, size_t length) {
  struct frame frame = {(uint32_t)length, kind, id};
  if (outbox_held + sizeof frame + length > sizeof outbox) write_outbox();
  memcpy(outbox + outbox_held, &frame, sizeof frame);
  memcpy(outbox + outbox_held + sizeof frame, payload, length);
  outbox_held += sizeof frame + length;
}

static int give_up(const char *what) {
  perror(what);
  return 1;
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: egress-proxy UID PORT\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  /* Two sockets for each flow, and two pipes where it is stuck. */
  struct rlimit files = {MAX_FLOWS * 6 + 64, MAX_FLOWS * 6 + 64};
  setrlimit(RLIMIT_NOFILE, &files);
  uid_t user = (uid_t)strtoul(argv[1], NULL, 10);
  if (user == 0 || setgroups(0, NULL) || setgid(user) || setuid(user)) return give_up("setuid");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_PDEATHSIG, SIGKILL)) return give_up("prctl");

  listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10))};
  int on = 1;
  /* What is accepted has what its listener has. */
  if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
      setsockopt(listener, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) ||
      setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) ||
      bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, 1024))
    return give_up("listen");
  socklen_t length = sizeof any;
  getsockname(listener, (struct sockaddr *)&any, &length);
  events = epoll_create1(EPOLL_CLOEXEC);
  /* The ids of flows begin behind these. */
  struct epoll_event input = {.events = EPOLLIN, .data.u64 = 0};
  struct epoll_event arrived = {.events = EPOLLIN, .data.u64 = 2};
  if (events < 0 || epoll_ctl(events, EPOLL_CTL_ADD, STDIN_FILENO, &input) ||
      epoll_ctl(events, EPOLL_CTL_ADD, listener, &arrived))
    return give_up("epoll");
  uint16_t port = ntohs(any.sin_port);
  tell(LISTENING, 0, &port, sizeof port);

  struct inbox inbox = {0};
  uint64_t looked_ms = now_ms();
  for (;;) {
    struct epoll_event ready[256];
    write_outbox();
    int count = epoll_wait(events, ready, 256, LOOK_MS);
    if (count < 0 && errno != EINTR) return give_up("epoll_wait");
    for (int i = 0; i < count; i++) {
      if (ready[i].data.u64 == 0) {
        if (!inbox_fill(&inbox, STDIN_FILENO) || !inbox_take(&inbox, take)) return 0;
      } else if (ready[i].data.u64 == 2) on_connection();
      else on_event(&ready[i]);
    }
    if (now_ms() - looked_ms >= LOOK_MS) {
      look_around();
      looked_ms = now_ms();
    }
  }
}
