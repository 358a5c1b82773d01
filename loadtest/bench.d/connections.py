"""What connections cost that do nothing, or harm: memory of idle ones, and how long buyers wait beside hostile ones. Memory is the growth of the gateway's resident
set, by the number of connections, said for 100,000; latencies are those of one buyer after the other, with and without the others, in turn."""
import pathlib
import re
import resource
import socket
import statistics
import sys
import time

from harness import Penstock, get_request, judge, post_request

IDLE_MOST = 20000
IDLE_BAR_MB = 100
HOSTILE, HOSTILE_BAR = 1000, 1.5
CHUNKED = b"POST /v1/sales/none/orders HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
KINDS = {
    "an endless chunk line": (CHUNKED + b"1;", b"a" * 200),
    "an endless head": (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ", b"a" * 200),
    "one byte a second": (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ", b"a"),
    "never reading": (get_request("/v1/sales/none") * 50, get_request("/v1/sales/none") * 50),
}


def resident_kb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


def connect(port, count):
    """From many addresses of the loopback range, since one has not so many ports and may not have so many connections."""
    found = []
    for number in range(count):
        s = socket.socket()
        s.bind((f"127.1.{number // 5000}.1", 0))
        s.connect(("127.0.0.1", port))
        found.append(s)
    return found


def idle_memory(directory):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(IDLE_MOST, hard - 500)
    place = directory / "idle"
    place.mkdir()
    penstock = Penstock(place, {"http": {"connections": count + 1000}})
    before = resident_kb(penstock.process.pid)
    found = {}
    sockets = connect(penstock.port, count)
    time.sleep(1)
    found["silent"] = (resident_kb(penstock.process.pid) - before) / count
    for s in sockets:
        s.sendall(get_request("/livez"))
    for s in sockets:
        s.recv(4096)
    found["after one request"] = (resident_kb(penstock.process.pid) - before) / count
    for s in sockets:
        s.close()
    penstock.stop()
    for name, kb in found.items():
        mb = kb * 100000 / 1024
        print(f"idle, {name}: {kb * 1024:.0f} bytes a connection, {mb:.0f} MB for 100,000, from {count:,}  (bar {IDLE_BAR_MB} MB, {judge(mb <= IDLE_BAR_MB)})")
    return {name: round(kb * 1024) for name, kb in found.items()}


def buyers_p99(port, seconds, prefix, disturb):
    """ms; of buys on a kept connection, some hundred a second; `disturb` is called now and then."""
    waits, end, number = [], time.monotonic() + seconds, 0
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        while time.monotonic() < end:
            number += 1
            started = time.monotonic()
            s.sendall(post_request("/v1/sales/none/orders", f"{prefix}-{number}"))
            if not s.recv(65536).startswith(b"HTTP/1.1 409"):
                sys.exit("bench: not the answer that was to be measured")
            waits.append((time.monotonic() - started) * 1e3)
            if number % 50 == 0:
                disturb()
            time.sleep(0.002)
    return statistics.quantiles(waits, n=100)[98]


class Crowd:
    """A quarter each of the kinds; who was cut comes again."""

    def __init__(self, port):
        self.port, self.sockets, self.next = port, {}, 0
        self.kinds = list(KINDS.values())

    def push(self):
        for _ in range(HOSTILE // 10):
            self.next = (self.next + 1) % HOSTILE
            begin, more = self.kinds[self.next % len(self.kinds)]
            try:
                if self.next not in self.sockets:
                    s = socket.socket()
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    s.setblocking(False)
                    s.connect_ex(("127.0.0.1", self.port))
                    self.sockets[self.next] = s
                    s.send(begin)
                else:
                    self.sockets[self.next].send(more)
            except BlockingIOError:
                pass
            except OSError:
                self.sockets.pop(self.next).close()

    def leave(self):
        for s in self.sockets.values():
            s.close()
        self.sockets.clear()


def hostile(directory, rounds, seconds):
    place = directory / "hostile"
    place.mkdir()
    penstock = Penstock(place, {"http": {"connections": 5000, "connections_per_address": 0}, "trusted_proxies": ["127.0.0.0/8"]})
    penstock.lift_limits()
    penstock.make_sale("none", 0)
    quiet, beside = [], []
    for number in range(rounds):
        quiet.append(buyers_p99(penstock.port, seconds, f"q{number}", lambda: None))
        crowd = Crowd(penstock.port)
        for _ in range(10):
            crowd.push()
        beside.append(buyers_p99(penstock.port, seconds, f"h{number}", crowd.push))
        crowd.leave()
        time.sleep(0.5)
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    penstock.stop()
    ratio = statistics.median(b / q for q, b in zip(quiet, beside))
    print(f"buyers' p99 alone {statistics.median(quiet):.2f} ms, beside {HOSTILE:,} hostile connections {statistics.median(beside):.2f} ms: "
          f"{ratio:.2f}  (bar {HOSTILE_BAR}, {judge(ratio <= HOSTILE_BAR)})")
    return {"quiet_p99_ms": quiet, "hostile_p99_ms": beside, "ratio": round(ratio, 3)}


def run(directory, rounds, seconds):
    return {"idle_bytes": idle_memory(directory), "hostile": hostile(directory, rounds, seconds)}
