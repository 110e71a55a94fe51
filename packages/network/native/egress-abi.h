/*
 * What the filter in the kernel (egress.bpf.c), the program that fills its maps (egress-maps.c) and TypeScript
 * (src/egress/abi.ts) say to each other. Little-endian, no padding that is not named; addresses as on the wire.
 */
#pragma once

#include <linux/types.h>

/* A packet's mark between the filter and the slot's rules (configure-slots.sh). Without one of these it goes no further. */
#define MARK_DIRECT 0xd1  /* out, as it is */
#define MARK_PROXY 0xd2   /* to the proxy, which looks at the name */
#define MARK_RESOLVE 0xd3 /* to the resolver */
#define MARK_REFUSE 0xd4  /* answered with a reset or an ICMP error */
#define MARK_INWARD 0xd5  /* belongs to a connection that the host has opened */

#define MAX_SLOTS 16384
#define MAX_PORT_RULES 16
#define MAX_PROXIED 8

/* Lets or refuses a range of ports, both ends included. Protocol as in the IP header; 0: any. */
struct port_rule {
  __u16 low;
  __u16 high;
  __u8 protocol;
  __u8 allow;
  __u8 unused[2];
};

/* For one range of addresses; the first that fits decides. */
struct port_rules {
  __u32 count;
  struct port_rule rules[MAX_PORT_RULES];
};

struct range_key {
  __u32 prefix_length;
  __u32 address;
};

#define POLICY_OPEN 1          /* what no rule speaks of goes out */
#define POLICY_NAMES 2         /* questions go to the resolver that knows the policy */
#define POLICY_PROXY_FIRST 4   /* the proxy looks at its ports even when the address is let through */

struct port_range {
  __u16 low;
  __u16 high;
};

/* One for each slot that has a policy; a slot without one reaches nothing. */
struct slot_policy {
  /* Another one after each change: what was decided under an older one is decided again. */
  __u64 epoch;
  __u32 flags;
  __u32 proxied_count;
  struct port_range proxied[MAX_PROXIED];
};

struct pin_key {
  __u32 slot;
  __u32 address;
};

/* What an allowed name resolved to, for rules without a name in their protocol. */
struct pin {
  __u64 epoch;
  /* CLOCK_MONOTONIC; later only connections that exist go on. */
  __u64 expires_ns;
  struct port_rules ports;
};

struct counters {
  __u64 sent_bytes;
  __u64 sent_packets;
  __u64 received_bytes;
  __u64 received_packets;
  __u64 refused_bytes;
  __u64 refused_packets;
};

enum refusal {
  REFUSED_ADDRESS = 1, /* no rule lets it through */
  REFUSED_SOURCE = 2,  /* a forged sender */
  REFUSED_FORM = 3,    /* fragments, options, what cannot be read */
  REFUSED_PROTOCOL = 4,/* IPv6 and other than IPv4, TCP, UDP, ICMP */
  REFUSED_RATE = 5,    /* too many at a time */
  REFUSED_POLICY = 6,  /* there is no policy */
};

struct refused {
  __u32 slot;
  __u32 address;
  __u16 port;
  __u8 protocol;
  __u8 reason;
  __u32 bytes;
};
