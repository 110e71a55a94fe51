#!/bin/sh
# Configures slots whose namespaces and links exist, one per line of standard input:
#   NAMESPACE CLASS UID HOST_ADDRESS SLOT_ADDRESS
# With the argument "filter" only what enforces the egress policy is put in place again, on slots that exist.
# The first failure ends the script. Each slot costs the start of nsenter (which becomes the inner shell), ip, tc and nft,
# and nothing else: "ip netns exec" would copy the host's whole mount table for each, which grows with the slots.
# What is the same in all slots comes as environment variables, made from "inner" in slot.ts.
set -eu

if [ "${2:-}" != inside ]; then
  while read -r namespace class uid host slot; do
    nsenter --net="/run/netns/$namespace" sh "$0" "$1" inside "$class" "$uid" "$host" "$slot" </dev/null || {
      echo "slot $namespace could not be configured" >&2
      exit 1
    }
  done
  exit 0
fi

class=$3 uid=$4 host=$5 slot=$6

links() {
  # Guests speak IPv4 only; a kernel without IPv6 has nothing to turn off.
  if [ -d /proc/sys/net/ipv6 ]; then
    echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
    echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
  fi
  echo 1 >/proc/sys/net/ipv4/ip_forward
  echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects
  echo 0 >/proc/sys/net/ipv4/conf/default/send_redirects
  # What is refused is answered; the filter has a measure of its own.
  echo 0 >/proc/sys/net/ipv4/icmp_ratelimit

  # The neighbours are permanent: their addresses are known, no first packet waits for ARP, and permanent entries do not
  # count against the kernel's one neighbour table (1,024 entries by default for all namespaces together).
  ip -batch - <<END
tuntap add $tap mode tap user $uid
link set $tap address $gatewayMac up
addr add $gatewayAddress/$prefixLength dev $tap
neigh add $guestAddress lladdr $guestMac dev $tap nud permanent
addr add $slot/31 dev $uplink
link set $uplink up
neigh add $host lladdr $hostMac dev $uplink nud permanent
route add default via $host
END
}

# What is the same on slots that exist is left alone; a variable costs no process.
clsact= translation=
if [ "$1" = all ]; then
  links
  clsact="qdisc add dev $tap clsact"
  translation="table ip dormouse_nat {
  chain arrive {
    type nat hook prerouting priority dstnat; policy accept;
    iifname $uplink ip saddr $host ip daddr $slot meta l4proto tcp dnat to $guestAddress
    iifname $tap ip daddr $gatewayAddress meta l4proto { tcp, udp } th dport 53 dnat to $host
  }
  chain leave {
    type nat hook postrouting priority srcnat; policy accept;
    oifname $uplink snat to $slot
    oifname $tap ct status dnat snat to $gatewayAddress
  }
}"
else
  tc qdisc add dev "$tap" clsact 2>/dev/null || true
fi

# The filter marks what may leave (native/egress.bpf.c); the class's minor, in hex, tells it which slot it is on. Replacing it
# leaves no moment without.
tc -batch - <<END
$clsact
filter replace dev $tap ingress pref 1 handle 1 bpf da object-pinned $filterFolder/from_guest flowid 1:$class
filter replace dev $tap egress pref 1 handle 1 bpf da object-pinned $filterFolder/to_guest flowid 1:$class
END

# What enters from the tap passes the filter, then these rules, then the host's (host-rules.ts).
#   guard: what the filter has not marked goes nowhere, so that nothing leaves without it; what it refuses is answered. The
#          mark ends with the namespace; towards the host the differentiated services field says the same, whatever the guest
#          had put there. The guest speaks as 172.31.0.2 only; the namespace itself neither listens nor speaks, apart from
#          resets and ICMP errors.
#   nat:   TCP from the host to the slot's address arrives at the guest, seemingly from the gateway; DNS asked of the
#          gateway goes to the host's end of the link; all else leaves with the slot's address.
exec nft -f - <<END
$translation
table ip dormouse_guard
delete table ip dormouse_guard
table ip dormouse_guard {
  chain arrive {
    type filter hook prerouting priority raw; policy accept;
    iifname "$tap" goto from_guest
  }
  chain from_guest {
    ip saddr != $guestAddress drop
    meta mark { $markDirect, $markProxy, $markResolve, $markRefuse, $markInward } accept
    drop
  }
  chain decided {
    type filter hook prerouting priority mangle; policy accept;
    iifname "$tap" meta mark $markRefuse goto refuse
    iifname "$tap" meta mark { $markDirect, $markInward } ip dscp set $classDirect
    iifname "$tap" meta mark $markProxy ip dscp set $classProxy
    iifname "$tap" meta mark $markResolve ip dscp set $classResolve
  }
  chain refuse {
    meta l4proto tcp reject with tcp reset
    reject with icmp type admin-prohibited
  }
  chain listen {
    type filter hook input priority filter; policy drop;
  }
  chain speak {
    type filter hook output priority filter; policy drop;
    ct state related accept
  }
  chain pass {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "$tap" oifname "$uplink" accept
    iifname "$uplink" oifname "$tap" ct status dnat accept
  }
}
END
