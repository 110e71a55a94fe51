"""Load for measurements. load.py sink ADDRESS PORT counts what it is sent, and says a byte first when it is told the first.
load.py bulk ADDRESS PORT BYTES NAME and load.py rate ADDRESS PORT COUNT NAME print seconds; NAME is said as TLS does, `-`: not.
"""

import os
import socket
import struct
import sys
import threading
import time


def hello(name):
    host = b"\0" + struct.pack(">H", len(name)) + name
    extensions = struct.pack(">HHH", 0, len(host) + 2, len(host)) + host
    body = b"\x03\x03" + os.urandom(32) + b"\0" + b"\0\2\x13\x01" + b"\x01\0"
    body += struct.pack(">H", len(extensions)) + extensions
    handshake = b"\x01" + struct.pack(">I", len(body))[1:] + body
    return b"\x16\x03\x01" + struct.pack(">H", len(handshake)) + handshake


def serve(client):
    with client:
        try:
            if not client.recv(65536):
                return
            client.sendall(b"!")
            buffer = bytearray(1 << 20)
            while client.recv_into(buffer):
                pass
            client.sendall(b".")
        except OSError:
            pass


def sink(address, port):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen(1024)
    print("ready", flush=True)
    while True:
        client, _ = server.accept()
        threading.Thread(target=serve, args=(client,), daemon=True).start()


def opened(address, port, first):
    client = socket.create_connection((address, port), 10)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(first)
    assert client.recv(1) == b"!"
    return client


def main():
    kind, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if kind == "sink":
        return sink(address, port)
    amount, name = int(sys.argv[4]), sys.argv[5]
    first = b"hello" if name == "-" else hello(name.encode())
    started = time.monotonic()
    if kind == "bulk":
        with opened(address, port, first) as client:
            block = bytes(1 << 20)
            for _ in range(amount >> 20):
                client.sendall(block)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b"."
    else:
        for _ in range(amount):
            opened(address, port, first).close()
    print(time.monotonic() - started)


main()
