"""A small DNS server for tests, UDP and TCP on a loopback port: it answers from a table that may be changed at any time.

    with Dns() as dns:
        dns.table[("shop.test", "A")] = [(1, "127.0.0.1")]
        dns.table[("_http._tcp.shop.test", "SRV")] = [(1, (0, 10, 8080, "shop.test"))]  # priority, weight, port, target
"""
import contextlib
import socket
import struct
import threading

from penstock import free_port

TYPES = {"A": 1, "AAAA": 28, "SRV": 33}
NAMES = {number: name for name, number in TYPES.items()}


def put_name(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".") if part) + b"\0"


def put_data(kind, value):
    if kind == "SRV":
        priority, weight, port, target = value
        return struct.pack("!HHH", priority, weight, port) + put_name(target)
    return socket.inet_pton(socket.AF_INET if kind == "A" else socket.AF_INET6, value)


class Dns:
    def __init__(self):
        self.table = {}
        self.dead = False  # nothing is answered
        self.asked = []

    def answer(self, query):
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        name, kind = ".".join(labels).lower(), NAMES.get(struct.unpack("!H", query[at + 1:at + 3])[0])
        self.asked.append((name, kind))
        records = self.table.get((name, kind), [])
        known = any(its == name for its, _ in self.table)
        body = query[12:at + 5]
        for ttl, value in records:
            data = put_data(kind, value)
            body += b"\xc0\x0c" + struct.pack("!HHIH", TYPES[kind], 1, ttl, len(data)) + data
        return query[:2] + struct.pack("!HHHHH", 0x8180 | (0 if known else 3), 1, len(records), 0, 0) + body

    def serve_udp(self):
        with contextlib.suppress(OSError):
            while True:
                query, peer = self.udp.recvfrom(4096)
                if not self.dead and len(query) > 12:
                    self.udp.sendto(self.answer(query), peer)

    def serve_tcp(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.tcp.accept()
                with connection:
                    connection.settimeout(2)
                    query = connection.recv(4096)[2:]
                    if not self.dead and len(query) > 12:
                        answer = self.answer(query)
                        connection.sendall(struct.pack("!H", len(answer)) + answer)

    def __enter__(self):
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.tcp = socket.create_server(("127.0.0.1", self.port))
        self.threads = [threading.Thread(target=serve, daemon=True) for serve in (self.serve_udp, self.serve_tcp)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        for s in (self.udp, self.tcp):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()
        for thread in self.threads:
            thread.join(3)
