#!/bin/sh
# Configures slots whose namespaces and links exist, one per line of standard input:
#   NAMESPACE UID HOST_ADDRESS SLOT_ADDRESS
# The first failure ends the script. Each slot costs the start of nsenter (which becomes the inner shell), ip and nft,
# and nothing else: "ip netns exec" would copy the host's whole mount table for each, which grows with the slots.
# What is the same in all slots comes as environment variables, made from "inner" in slot.ts.
set -eu

if [ "${1:-}" != inside ]; then
  while read -r namespace uid host slot; do
    nsenter --net="/run/netns/$namespace" sh "$0" inside "$uid" "$host" "$slot" </dev/null || {
      echo "slot $namespace could not be configured" >&2
      exit 1
    }
  done
  exit 0
fi

uid=$2 host=$3 slot=$4

# Guests speak IPv4 only; a kernel without IPv6 has nothing to turn off.
if [ -d /proc/sys/net/ipv6 ]; then
  echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
  echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
fi
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects
echo 0 >/proc/sys/net/ipv4/conf/default/send_redirects

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

# What enters from the tap passes these rules and then the host's (host-rules.ts). The egress policy attaches in front
# of both, at the ingress of the tap.
#   guard: the guest speaks as 172.31.0.2 only; the namespace itself neither listens nor speaks, apart from ICMP errors.
#   nat:   TCP from the host to the slot's address arrives at the guest, seemingly from the gateway; DNS asked of the
#          gateway goes to the host's end of the link; all else leaves with the slot's address.
exec nft -f - <<END
table ip dormouse_guard {
  chain arrive {
    type filter hook prerouting priority raw; policy accept;
    iifname "$tap" ip saddr != $guestAddress drop
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
table ip dormouse_nat {
  chain arrive {
    type nat hook prerouting priority dstnat; policy accept;
    iifname "$uplink" ip saddr $host ip daddr $slot meta l4proto tcp dnat to $guestAddress
    iifname "$tap" ip daddr $gatewayAddress meta l4proto { tcp, udp } th dport 53 dnat to $host
  }
  chain leave {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "$uplink" snat to $slot
    oifname "$tap" ct status dnat snat to $gatewayAddress
  }
}
END
