"""Stands for the internet in a namespace: a resolver, TLS and HTTP servers, and others that tell what they are told.

Usage: world.py CERTIFICATE KEY. Says "ready" and serves until its standard input ends.
"""

import socket
import ssl
import struct
import sys
import threading

RESOLVER = "198.51.100.2"
CDN = "198.51.100.10"
DATABASE = "198.51.100.20"
RANGE = "198.51.100.30"
EVIL = "198.51.100.66"
# Where tests put servers of their own.
REGISTRIES = "198.51.100.40"

NAMES = {
    "allowed.test": [("A", CDN)],
    "www.allowed.test": [("CNAME", "cdn.elsewhere.test"), ("A", CDN, "cdn.elsewhere.test")],
    "x.wild.test": [("A", CDN)],
    "cloudflare-ech.com": [("A", CDN)],
    "db.test": [("A", DATABASE)],
    "evil.test": [("A", EVIL)],
    "shared-evil.test": [("A", CDN)],
    "rebind.test": [("A", "10.199.199.5"), ("A", "169.254.169.254"), ("A", "127.0.0.1")],
    "halfway.test": [("A", "192.168.7.7"), ("A", CDN)],
    "alias-private.test": [("CNAME", "internal.test"), ("A", "192.168.199.1", "internal.test")],
    "alias-denied.test": [("CNAME", "denied.test"), ("A", CDN, "denied.test")],
    "moves-evil.test": [("A", EVIL)],
    "registry.npmjs.org": [("A", REGISTRIES)],
    "pypi.org": [("A", REGISTRIES)],
    "files.pythonhosted.org": [("A", REGISTRIES)],
    "deb.debian.org": [("A", REGISTRIES)],
    "github.com": [("A", REGISTRIES)],
}


def wire_name(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def answer(query):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("latin1"))
        at += 1 + query[at]
    name = ".".join(labels).lower()
    question = query[12 : at + 5]
    records = NAMES.get(name)
    body = b""
    for kind, data, *owner in records or []:
        value = socket.inet_aton(data) if kind == "A" else wire_name(data)
        head = struct.pack(">HHIH", 1 if kind == "A" else 5, 1, 60, len(value))
        body += wire_name(owner[0] if owner else name) + head + value
    flags = 0x8180 if records else 0x8183
    return query[:2] + struct.pack(">HHHHH", flags, 1, len(records or []), 0, 0) + question + body


def serve_udp(address, port, respond):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, port))
    while True:
        data, peer = server.recvfrom(4096)
        server.sendto(respond(data), peer)


def serve_tcp(address, port, handle):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen(128)
    while True:
        client, _ = server.accept()
        threading.Thread(target=guarded, args=(handle, client), daemon=True).start()


def guarded(handle, client):
    try:
        handle(client)
    except OSError:
        pass
    finally:
        client.close()


def echo(client):
    while data := client.recv(65536):
        client.sendall(data)


def http(client):
    """Answers every request, with what it understood of it."""
    held = b""
    while True:
        while b"\r\n\r\n" not in held:
            data = client.recv(65536)
            if not data:
                return
            held += data
        head, held = held.split(b"\r\n\r\n", 1)
        text = b"saw " + head.split(b"\r\n")[0]
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))


def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])

    def tls(client):
        with context.wrap_socket(client, server_side=True) as secure:
            echo(secure)

    services = [(serve_udp, RESOLVER, 53, answer)]
    for address in (CDN, EVIL, RANGE):
        services += [(serve_tcp, address, 443, tls), (serve_tcp, address, 80, http)]
    for address in (CDN, DATABASE, RANGE, EVIL):
        services += [(serve_tcp, address, port, echo) for port in (22, 53, 853, 5432, 7000, 8080)]
        services += [(serve_udp, address, port, lambda data: data) for port in (53, 123, 443, 7000)]
    for serve, *rest in services:
        threading.Thread(target=serve, args=rest, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


main()
