"""Sees every packet that leaves the host for the pretended internet, and tells which of them should not have.

Usage: capture.py LINK RULES, RULES being JSON: {"questions": [name, ...], "places": ["ADDRESS/PROTOCOL/PORT", ...],
"secrets": [text, ...]}. For each line of standard input a line of JSON: the forbidden packets since the last one.
"""

import json
import socket
import struct
import sys
import threading
import time

rules = json.loads(sys.argv[2])
secrets = [secret.encode() for secret in rules["secrets"]]
forbidden = []
seen = 0


def question_of(message):
    at, labels = 12, []
    while at < len(message) and message[at]:
        labels.append(message[at + 1 : at + 1 + message[at]].decode("latin1"))
        at += 1 + message[at]
    return ".".join(labels).lower()


def problem_of(frame):
    kind = struct.unpack(">H", frame[12:14])[0]
    if kind == 0x0806:
        return None
    if kind != 0x0800:
        return f"ethertype {kind:#06x}"
    packet = frame[14:]
    header = (packet[0] & 15) * 4
    protocol, target = packet[9], socket.inet_ntoa(packet[16:20])
    if struct.unpack(">H", packet[6:8])[0] & 0x3FFF:
        return f"a fragment to {target}"
    name = {1: "icmp", 6: "tcp", 17: "udp"}.get(protocol, str(protocol))
    port = struct.unpack(">H", packet[header + 2 : header + 4])[0] if protocol in (6, 17) else 0
    place = f"{target}/{name}/{port}"
    if any(secret in packet for secret in secrets):
        return f"a secret to {place}"
    if place == "198.51.100.2/udp/53":
        question = question_of(packet[header + 8 :])
        return None if question in rules["questions"] else f"the question {question}"
    return None if place in rules["places"] else f"a packet to {place}"


def watch(link):
    global seen
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    listener.bind((link, 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    print("ready", flush=True)
    while True:
        frame, (_, _, kind, *_rest) = listener.recvfrom(65536)
        if kind != socket.PACKET_OUTGOING:
            continue
        seen += 1
        problem = problem_of(frame)
        if problem:
            forbidden.append(problem)


threading.Thread(target=watch, args=(sys.argv[1],), daemon=True).start()
for _ in sys.stdin:
    # What was sent just now is on its way through the kernel.
    time.sleep(0.02)
    found, forbidden = forbidden, []
    print(json.dumps({"forbidden": found, "seen": seen}), flush=True)
