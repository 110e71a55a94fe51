/*
 * Decides which packets of a machine go further. Attached to the tap of each slot, in both directions; the slot's number is
 * the minor of the filter's class (tc-bpf(8), `flowid 1:N`), so that one program and one set of maps serve all slots.
 *
 * The filter lets nothing out by itself: it marks what may go, and the slot's rules drop what has no mark. Without the
 * program, without its maps or without a policy nothing is marked.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "egress-abi.h"

#define GUEST bpf_htonl(0xac1f0002)   /* 172.31.0.2, `inner` of slot.ts */
#define GATEWAY bpf_htonl(0xac1f0001) /* 172.31.0.1 */
#define FRAGMENT bpf_htons(0x3fff)    /* more fragments, or an offset */
#define DNS_PORT 53
#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO_REQUEST 8

/* New connections and questions: so many at once, then so many a second. */
#define CONNECTION_BURST 16384
#define CONNECTIONS_PER_SECOND 1024
#define QUESTION_BURST 512
#define QUESTIONS_PER_SECOND 128
#define REPORT_BURST 64
#define REPORTS_PER_SECOND 8
#define REFUSAL_BURST 1024
#define REFUSALS_PER_SECOND 256
/* UDP has no end of a connection. */
#define SILENCE_NS (60ull * 1000000000)

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, MAX_SLOTS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u32);
  __type(value, struct slot_policy);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} policies SEC(".maps");

struct ranges {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(max_entries, 1);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(key_size, sizeof(struct range_key));
  __uint(value_size, sizeof(struct port_rules));
};

/* Ranges of addresses, a trie for each slot: a policy is replaced as a whole. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
  __uint(max_entries, MAX_SLOTS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u32);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
  __array(values, struct ranges);
} ranges SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 32768);
  __type(key, struct pin_key);
  __type(value, struct pin);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} pins SEC(".maps");

struct flow_key {
  __u32 slot;
  __u32 address;
  __u16 port;
  __u16 guest_port;
  __u32 protocol;
};

struct flow {
  __u64 epoch;
  __u64 seen_ns;
  __u32 mark;
  __u32 unused;
};

/* What was decided. Only a memory: what falls out of it is decided again, in the same way. */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 65536);
  __type(key, struct flow_key);
  __type(value, struct flow);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} flows SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
  __uint(max_entries, MAX_SLOTS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u32);
  __type(value, struct counters);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} counted SEC(".maps");

struct bucket {
  __u64 filled_ns;
  __u64 tokens;
};

enum limit { LIMIT_CONNECTIONS, LIMIT_QUESTIONS, LIMIT_REPORTS, LIMIT_REFUSALS, LIMITS };

struct buckets {
  struct bucket of[LIMITS];
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, MAX_SLOTS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u32);
  __type(value, struct buckets);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} limited SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 256 * 1024);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} reports SEC(".maps");

/* A tap has one queue and so one sender at a time; two links of one slot do not exist. No lock is needed. */
static __always_inline int take(__u32 slot, enum limit limit, __u64 burst, __u64 per_second) {
  struct buckets *all = bpf_map_lookup_elem(&limited, &slot);
  __u64 now = bpf_ktime_get_ns();
  if (!all) {
    struct buckets full = {};
    full.of[LIMIT_CONNECTIONS] = (struct bucket){now, CONNECTION_BURST};
    full.of[LIMIT_QUESTIONS] = (struct bucket){now, QUESTION_BURST};
    full.of[LIMIT_REPORTS] = (struct bucket){now, REPORT_BURST};
    full.of[LIMIT_REFUSALS] = (struct bucket){now, REFUSAL_BURST};
    bpf_map_update_elem(&limited, &slot, &full, BPF_NOEXIST);
    all = bpf_map_lookup_elem(&limited, &slot);
    if (!all) return 0;
  }
  struct bucket *bucket = &all->of[limit];
  __u64 grown = (now - bucket->filled_ns) / (1000000000ull / per_second);
  if (grown > 0) {
    bucket->tokens = bucket->tokens + grown > burst ? burst : bucket->tokens + grown;
    bucket->filled_ns = now;
  }
  if (bucket->tokens == 0) return 0;
  bucket->tokens--;
  return 1;
}

static __always_inline struct counters *counters_of(__u32 slot) {
  struct counters *found = bpf_map_lookup_elem(&counted, &slot);
  if (found) return found;
  struct counters zero = {};
  bpf_map_update_elem(&counted, &slot, &zero, BPF_NOEXIST);
  return bpf_map_lookup_elem(&counted, &slot);
}

static __always_inline void count_refused(struct __sk_buff *skb, __u32 slot) {
  struct counters *counters = counters_of(slot);
  if (!counters) return;
  counters->refused_packets++;
  counters->refused_bytes += skb->len;
}

static __always_inline void report(struct __sk_buff *skb, struct flow_key *key, enum refusal reason) {
  count_refused(skb, key->slot);
  if (!take(key->slot, LIMIT_REPORTS, REPORT_BURST, REPORTS_PER_SECOND)) return;
  struct refused *refused = bpf_ringbuf_reserve(&reports, sizeof *refused, 0);
  if (!refused) return;
  refused->slot = key->slot;
  refused->address = key->address;
  refused->port = key->port;
  refused->protocol = key->protocol;
  refused->reason = reason;
  refused->bytes = skb->len;
  bpf_ringbuf_submit(refused, 0);
}

static __always_inline int drop(struct __sk_buff *skb, struct flow_key *key, enum refusal reason) {
  report(skb, key, reason);
  return TC_ACT_SHOT;
}

static __always_inline int pass(struct __sk_buff *skb, __u32 slot, __u32 mark) {
  struct counters *counters = counters_of(slot);
  if (counters) {
    counters->sent_packets++;
    counters->sent_bytes += skb->len;
  }
  skb->mark = mark;
  return TC_ACT_OK;
}

/* Answered at once, so that nobody waits for a time-out; but not without end. */
static __always_inline int refuse(struct __sk_buff *skb, struct flow_key *key, enum refusal reason) {
  report(skb, key, reason);
  if (!take(key->slot, LIMIT_REFUSALS, REFUSAL_BURST, REFUSALS_PER_SECOND)) return TC_ACT_SHOT;
  skb->mark = MARK_REFUSE;
  return TC_ACT_OK;
}

enum { NOT_SAID = 0, ALLOWED = 1, DENIED = 2 };

static __always_inline int look_up(struct port_rules *rules, struct flow_key *key) {
  __u32 count = rules->count;
  for (__u32 i = 0; i < MAX_PORT_RULES; i++) {
    if (i >= count) return NOT_SAID;
    struct port_rule *rule = &rules->rules[i];
    if (rule->protocol && rule->protocol != key->protocol) continue;
    if (key->port < rule->low || key->port > rule->high) continue;
    return rule->allow ? ALLOWED : DENIED;
  }
  return NOT_SAID;
}

static __always_inline int is_proxied(struct slot_policy *policy, struct flow_key *key) {
  if (key->protocol != IPPROTO_TCP) return 0;
  __u32 count = policy->proxied_count;
  for (__u32 i = 0; i < MAX_PROXIED; i++) {
    if (i >= count) return 0;
    if (key->port >= policy->proxied[i].low && key->port <= policy->proxied[i].high) return 1;
  }
  return 0;
}

/* A deny of an address wins; then the proxy where it has to look; then what is allowed. */
static __always_inline __u32 decide(struct slot_policy *policy, struct flow_key *key, int is_known) {
  int said = NOT_SAID;
  void *trie = bpf_map_lookup_elem(&ranges, &key->slot);
  if (!trie) return MARK_REFUSE;
  struct range_key range = {.prefix_length = 32, .address = key->address};
  struct port_rules *rules = bpf_map_lookup_elem(trie, &range);
  if (rules) said = look_up(rules, key);
  if (said == DENIED) return MARK_REFUSE;
  int proxied = is_proxied(policy, key);
  if (proxied && (policy->flags & POLICY_PROXY_FIRST)) return MARK_PROXY;
  if (said == ALLOWED) return MARK_DIRECT;
  struct pin_key pin_key = {.slot = key->slot, .address = key->address};
  struct pin *pin = bpf_map_lookup_elem(&pins, &pin_key);
  if (pin && pin->epoch == policy->epoch && (is_known || pin->expires_ns > bpf_ktime_get_ns()) &&
      look_up(&pin->ports, key) == ALLOWED)
    return MARK_DIRECT;
  if (proxied) return MARK_PROXY;
  return policy->flags & POLICY_OPEN ? MARK_DIRECT : MARK_REFUSE;
}

/* Ports in host order; an ICMP echo has none. Whether they could be read. */
static __always_inline int read_ports(struct __sk_buff *skb, __u32 offset, __u32 protocol, __u16 *from, __u16 *to,
                                      int *is_first) {
  *from = *to = 0;
  *is_first = 0;
  if (protocol == IPPROTO_TCP) {
    struct tcphdr tcp;
    if (bpf_skb_load_bytes(skb, offset, &tcp, sizeof tcp)) return 0;
    *from = bpf_ntohs(tcp.source);
    *to = bpf_ntohs(tcp.dest);
    *is_first = tcp.syn && !tcp.ack;
    return tcp.doff >= 5;
  }
  if (protocol == IPPROTO_UDP) {
    struct udphdr udp;
    if (bpf_skb_load_bytes(skb, offset, &udp, sizeof udp)) return 0;
    *from = bpf_ntohs(udp.source);
    *to = bpf_ntohs(udp.dest);
    return 1;
  }
  return 1;
}

/* What the guest sends. */
SEC("tc")
int from_guest(struct __sk_buff *skb) {
  struct flow_key key = {.slot = skb->tc_classid & 0xffff};
  skb->mark = 0;
  struct ethhdr eth;
  if (bpf_skb_load_bytes(skb, 0, &eth, sizeof eth)) return TC_ACT_SHOT;
  if (eth.h_proto == bpf_htons(ETH_P_ARP)) return TC_ACT_OK;
  // Counted and not told: a kernel asks for IPv6 routers by itself.
  if (eth.h_proto != bpf_htons(ETH_P_IP)) {
    count_refused(skb, key.slot);
    return TC_ACT_SHOT;
  }
  struct iphdr ip;
  if (bpf_skb_load_bytes(skb, sizeof eth, &ip, sizeof ip)) return drop(skb, &key, REFUSED_FORM);
  key.address = ip.daddr;
  key.protocol = ip.protocol;
  if (ip.saddr != GUEST) return drop(skb, &key, REFUSED_SOURCE);
  struct slot_policy *policy = bpf_map_lookup_elem(&policies, &key.slot);
  int is_unchecked = policy && (policy->flags & (POLICY_OPEN | POLICY_NAMES)) == POLICY_OPEN;
  // Options may name another way or another address.
  if (ip.version != 4 || ip.ihl != 5) return drop(skb, &key, REFUSED_FORM);
  if (ip.frag_off & FRAGMENT) {
    // The ports stand in the first one only.
    if (!is_unchecked || ip.daddr == GATEWAY) return drop(skb, &key, REFUSED_FORM);
    return pass(skb, key.slot, MARK_DIRECT);
  }
  if (ip.protocol != IPPROTO_TCP && ip.protocol != IPPROTO_UDP && ip.protocol != IPPROTO_ICMP)
    return refuse(skb, &key, REFUSED_PROTOCOL);
  int is_first;
  if (!read_ports(skb, sizeof eth + sizeof ip, ip.protocol, &key.guest_port, &key.port, &is_first))
    return drop(skb, &key, REFUSED_FORM);

  if (ip.protocol == IPPROTO_ICMP && !is_unchecked) {
    __u8 type;
    if (bpf_skb_load_bytes(skb, sizeof eth + sizeof ip, &type, sizeof type) || type != ICMP_ECHO_REQUEST)
      return drop(skb, &key, REFUSED_FORM);
  }

  if (ip.daddr == GATEWAY) {
    if (key.port == DNS_PORT && ip.protocol != IPPROTO_ICMP) {
      if (!policy) return refuse(skb, &key, REFUSED_POLICY);
      int is_counted = is_first || ip.protocol == IPPROTO_UDP;
      if (is_counted && !take(key.slot, LIMIT_QUESTIONS, QUESTION_BURST, QUESTIONS_PER_SECOND))
        return drop(skb, &key, REFUSED_RATE);
      return pass(skb, key.slot, is_unchecked ? MARK_DIRECT : MARK_RESOLVE);
    }
    // The host opens connections to the guest under the gateway's address; connection tracking knows which.
    if (ip.protocol == IPPROTO_TCP && !is_first) return pass(skb, key.slot, MARK_INWARD);
    return refuse(skb, &key, REFUSED_ADDRESS);
  }
  if (!policy) return refuse(skb, &key, REFUSED_POLICY);

  __u64 now = bpf_ktime_get_ns();
  struct flow *flow = is_first ? 0 : bpf_map_lookup_elem(&flows, &key);
  if (flow && ip.protocol != IPPROTO_TCP && now - flow->seen_ns > SILENCE_NS) flow = 0;
  if (flow && flow->epoch == policy->epoch) {
    flow->seen_ns = now;
    return pass(skb, key.slot, flow->mark);
  }
  if (!flow && !take(key.slot, LIMIT_CONNECTIONS, CONNECTION_BURST, CONNECTIONS_PER_SECOND))
    return drop(skb, &key, REFUSED_RATE);
  __u32 mark = decide(policy, &key, flow != 0);
  // A connection stays with whom it was opened to: the proxy's, or the address's own.
  if (flow && flow->mark != mark) mark = MARK_REFUSE;
  if (mark == MARK_REFUSE) {
    bpf_map_delete_elem(&flows, &key);
    return refuse(skb, &key, REFUSED_ADDRESS);
  }
  struct flow decided = {.epoch = policy->epoch, .seen_ns = now, .mark = mark};
  bpf_map_update_elem(&flows, &key, &decided, BPF_ANY);
  return pass(skb, key.slot, mark);
}

/* What the guest is sent: answers to what it was allowed to ask, and what the host says to it. */
SEC("tc")
int to_guest(struct __sk_buff *skb) {
  struct flow_key key = {.slot = skb->tc_classid & 0xffff};
  struct ethhdr eth;
  if (bpf_skb_load_bytes(skb, 0, &eth, sizeof eth)) return TC_ACT_SHOT;
  if (eth.h_proto == bpf_htons(ETH_P_ARP)) return TC_ACT_OK;
  if (eth.h_proto != bpf_htons(ETH_P_IP)) return TC_ACT_SHOT;
  struct iphdr ip;
  if (bpf_skb_load_bytes(skb, sizeof eth, &ip, sizeof ip)) return TC_ACT_SHOT;
  if (ip.daddr != GUEST) return TC_ACT_SHOT;
  struct counters *counters = counters_of(key.slot);
  if (counters) {
    counters->received_packets++;
    counters->received_bytes += skb->len;
  }
  if (ip.saddr == GATEWAY) return TC_ACT_OK;
  // Errors belong to something that was sent, as connection tracking has made sure.
  if (ip.protocol == IPPROTO_ICMP) {
    __u8 type;
    if (bpf_skb_load_bytes(skb, sizeof eth + ip.ihl * 4, &type, sizeof type)) return TC_ACT_SHOT;
    if (type != ICMP_ECHO_REPLY) return TC_ACT_OK;
  }
  struct slot_policy *policy = bpf_map_lookup_elem(&policies, &key.slot);
  if (!policy) return TC_ACT_SHOT;
  key.address = ip.saddr;
  key.protocol = ip.protocol;
  if (ip.frag_off & FRAGMENT) return (policy->flags & (POLICY_OPEN | POLICY_NAMES)) == POLICY_OPEN ? TC_ACT_OK : TC_ACT_SHOT;
  int is_first;
  if (!read_ports(skb, sizeof eth + ip.ihl * 4, ip.protocol, &key.port, &key.guest_port, &is_first))
    return TC_ACT_SHOT;
  if (ip.protocol == IPPROTO_TCP) {
    struct tcphdr tcp;
    if (bpf_skb_load_bytes(skb, sizeof eth + ip.ihl * 4, &tcp, sizeof tcp)) return TC_ACT_SHOT;
    // A refusal of the slot's own.
    if (tcp.rst) return TC_ACT_OK;
  }
  // One that fell out of memory is decided again, as for what the guest sends.
  struct flow *flow = bpf_map_lookup_elem(&flows, &key);
  if (flow && flow->epoch == policy->epoch) return TC_ACT_OK;
  __u32 mark = decide(policy, &key, 1);
  if (mark == MARK_REFUSE || (flow && flow->mark != mark)) return TC_ACT_SHOT;
  return TC_ACT_OK;
}
