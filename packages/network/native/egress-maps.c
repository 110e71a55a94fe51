/*
 * Loads the filter and keeps its maps, for the host daemon, whose language has no way to the kernel's own.
 *
 *   egress-maps OBJECT FOLDER
 *
 * Programs and maps are pinned in FOLDER, on a BPF file system: they outlive this process, and the next one finds them.
 * Reads messages (frames.h) from standard input until its end, answers each with its number and an errno; what the filter
 * refused is told as it happens. Runs as root; nothing that a machine sends comes here but as numbers in a record.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "egress-abi.h"
#include "frames.h"

enum { SET_POLICY = 1, CLEAR = 2, PIN = 3, UNPIN = 4, COUNT = 5, RETAIN = 6 };
enum { REPLY = 0, REPORT = 1 };

static const char *const names[] = {"policies", "ranges", "pins", "flows", "counted", "limited", "reports"};
enum { POLICIES, RANGES, PINS, FLOWS, COUNTED, LIMITED, REPORTS, MAPS };
static int maps[MAPS];

static void send_frame(uint32_t kind, uint32_t id, const void *payload, size_t length) {
  char message[sizeof(struct frame) + 256];
  struct frame frame = {(uint32_t)length, kind, id};
  if (sizeof frame + length > sizeof message) exit(1);
  memcpy(message, &frame, sizeof frame);
  memcpy(message + sizeof frame, payload, length);
  write_all(message, sizeof frame + length);
}

static int fail(const char *what, const char *which) {
  fprintf(stderr, "%s %s: %s\n", what, which, strerror(errno));
  return 1;
}

/* The programs last: where they are, everything is. */
static int load(const char *object_path, const char *folder) {
  LIBBPF_OPTS(bpf_object_open_opts, options, .pin_root_path = folder);
  struct bpf_object *object = bpf_object__open_file(object_path, &options);
  if (!object) return fail("cannot open", object_path);
  if (bpf_object__load(object)) return fail("the kernel does not take", object_path);
  struct bpf_program *program;
  bpf_object__for_each_program(program, object) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, bpf_program__name(program));
    unlink(path);
    if (bpf_program__pin(program, path)) return fail("cannot pin", path);
  }
  bpf_object__close(object);
  return 0;
}

static void answer(uint32_t id, int error, const void *more, size_t length) {
  char reply[sizeof(int32_t) + sizeof(struct counters)];
  int32_t code = error;
  memcpy(reply, &code, sizeof code);
  if (length > 0) memcpy(reply + sizeof code, more, length);
  send_frame(REPLY, id, reply, sizeof code + length);
}

/*
 * The slot, its policy, the keys of all ranges, their rules. A new trie takes the place of the old one: there is no moment
 * with half of a policy.
 */
static int set_policy(const char *payload, size_t length) {
  struct slot_policy policy;
  uint32_t slot;
  size_t head = sizeof slot + sizeof policy, entry = sizeof(struct range_key) + sizeof(struct port_rules);
  if (length < head || (length - head) % entry) return EINVAL;
  memcpy(&slot, payload, sizeof slot);
  memcpy(&policy, payload + sizeof slot, sizeof policy);
  uint32_t count = (uint32_t)((length - head) / entry), put = count;
  const char *keys = payload + head, *rules = keys + count * sizeof(struct range_key);
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_NO_PREALLOC);
  int trie = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "ranges_of_slot", sizeof(struct range_key), sizeof(struct port_rules),
                            count ? count : 1, &options);
  if (trie < 0) return errno;
  int error = 0;
  if (count && bpf_map_update_batch(trie, keys, rules, &put, NULL)) error = errno;
  if (!error && bpf_map_update_elem(maps[RANGES], &slot, &trie, BPF_ANY)) error = errno;
  if (!error && bpf_map_update_elem(maps[POLICIES], &slot, &policy, BPF_ANY)) error = errno;
  close(trie);
  return error;
}

/* The policy first: without it nothing passes. */
static int clear(uint32_t slot) {
  static const int of_slot[] = {POLICIES, RANGES, COUNTED, LIMITED};
  for (size_t i = 0; i < sizeof of_slot / sizeof *of_slot; i++)
    if (bpf_map_delete_elem(maps[of_slot[i]], &slot) && errno != ENOENT) return errno;
  return 0;
}

/* Clears every slot that is not among these. */
static int retain(const uint32_t *kept, size_t count) {
  static const int of_slot[] = {POLICIES, RANGES, COUNTED, LIMITED};
  static uint32_t found[MAX_SLOTS];
  for (size_t i = 0; i < sizeof of_slot / sizeof *of_slot; i++) {
    uint32_t *before = NULL, slot;
    size_t held = 0;
    while (held < MAX_SLOTS && bpf_map_get_next_key(maps[of_slot[i]], before, &slot) == 0) {
      found[held] = slot;
      before = &found[held++];
    }
    for (size_t j = 0; j < held; j++) {
      size_t k = 0;
      while (k < count && kept[k] != found[j]) k++;
      int error = k == count ? clear(found[j]) : 0;
      if (error) return error;
    }
  }
  return 0;
}

static int count(uint32_t slot, struct counters *sum) {
  int processors = libbpf_num_possible_cpus();
  struct counters *each = calloc((size_t)processors, sizeof *each);
  if (!each) return ENOMEM;
  int error = bpf_map_lookup_elem(maps[COUNTED], &slot, each) ? errno : 0;
  memset(sum, 0, sizeof *sum);
  for (int i = 0; i < processors && !error; i++) {
    sum->sent_bytes += each[i].sent_bytes;
    sum->sent_packets += each[i].sent_packets;
    sum->received_bytes += each[i].received_bytes;
    sum->received_packets += each[i].received_packets;
    sum->refused_bytes += each[i].refused_bytes;
    sum->refused_packets += each[i].refused_packets;
  }
  free(each);
  return error == ENOENT ? 0 : error;
}

static void take(const struct frame *frame, const char *payload) {
  struct pin_key key;
  struct pin pin;
  struct counters sum;
  uint32_t slot;
  int error = EINVAL;
  switch (frame->kind) {
    case SET_POLICY:
      error = set_policy(payload, frame->length);
      break;
    case CLEAR:
      if (frame->length != sizeof slot) break;
      memcpy(&slot, payload, sizeof slot);
      error = clear(slot);
      break;
    case PIN:
      if (frame->length != sizeof key + sizeof pin) break;
      memcpy(&key, payload, sizeof key);
      memcpy(&pin, payload + sizeof key, sizeof pin);
      error = bpf_map_update_elem(maps[PINS], &key, &pin, BPF_ANY) ? errno : 0;
      break;
    case UNPIN:
      if (frame->length != sizeof key) break;
      memcpy(&key, payload, sizeof key);
      error = bpf_map_delete_elem(maps[PINS], &key) && errno != ENOENT ? errno : 0;
      break;
    case COUNT:
      if (frame->length != sizeof slot) break;
      memcpy(&slot, payload, sizeof slot);
      error = count(slot, &sum);
      answer(frame->id, error, &sum, error ? 0 : sizeof sum);
      return;
    case RETAIN:
      if (frame->length % sizeof slot) break;
      error = retain((const uint32_t *)(const void *)payload, frame->length / sizeof slot);
      break;
  }
  answer(frame->id, error, NULL, 0);
}

static int on_refused(void *context, void *data, size_t size) {
  (void)context;
  send_frame(REPORT, 0, data, size);
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: egress-maps OBJECT FOLDER\n");
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  char path[512];
  snprintf(path, sizeof path, "%s/from_guest", argv[2]);
  if (mkdir(argv[2], 0700) && errno != EEXIST) return fail("cannot make", argv[2]);
  if (access(path, F_OK) && load(argv[1], argv[2])) return 1;
  for (int i = 0; i < MAPS; i++) {
    snprintf(path, sizeof path, "%s/%s", argv[2], names[i]);
    maps[i] = bpf_obj_get(path);
    if (maps[i] < 0) return fail("cannot open", path);
  }
  struct ring_buffer *ring = ring_buffer__new(maps[REPORTS], on_refused, NULL, NULL);
  if (!ring) return fail("cannot read", "reports");
  int events = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event input = {.events = EPOLLIN, .data.fd = STDIN_FILENO};
  struct epoll_event reported = {.events = EPOLLIN, .data.fd = ring_buffer__epoll_fd(ring)};
  if (events < 0 || epoll_ctl(events, EPOLL_CTL_ADD, STDIN_FILENO, &input) ||
      epoll_ctl(events, EPOLL_CTL_ADD, reported.data.fd, &reported))
    return fail("cannot wait for", "messages");
  send_frame(REPLY, 0, "\0\0\0\0", 4);
  struct inbox inbox = {0};
  for (;;) {
    struct epoll_event ready[2];
    int count_ready = epoll_wait(events, ready, 2, -1);
    if (count_ready < 0 && errno != EINTR) return fail("cannot wait for", "messages");
    for (int i = 0; i < count_ready; i++) {
      if (ready[i].data.fd != STDIN_FILENO) ring_buffer__consume(ring);
      else if (!inbox_fill(&inbox, STDIN_FILENO) || !inbox_take(&inbox, take)) return 0;
    }
  }
}
