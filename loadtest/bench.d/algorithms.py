"""What visitors notice of one bad endpoint of four, by the way a pool chooses: the share of requests that got no 200, and the p99, at a steady rate, open loop. Beside
Penstock's ten algorithms nginx's `least_conn` and HAProxy's `leastconn`, each with its usual defence (max_fails, observe layer7; retries on a refused connection).

- slow: it answers after 500 ms instead of 2. dead: it refuses connections and resets those it had, and stays so. flapping: dead for a second, well for a second.

The bad endpoint becomes bad one second after the start; all is counted from the start, so that what it costs to find out is in the figures. Penstock judges
by requests alone: no active checks, as the two others. With one slow endpoint it is also shown with outliers by latency ejected (`latency`)."""
import asyncio
import itertools
import json
import subprocess
import sys
import time

import upstream
from harness import LOAD_CORE, ROOT, SERVER_CORE, Penstock, free_port, start, wait_for

RATE, ENDPOINTS = 300, 4
TIMEOUT_S = 5
KINDS = ("slow", "dead", "flapping")
ALGORITHMS = ("round_robin", "weighted_round_robin", "least_connections", "weighted_least_connections", "least_response_time", "source_ip_hash", "consistent_hash", "random",
              "weighted_random", "two_choices")


class Parts:
    def __init__(self, directory):
        self.ports = [free_port() for _ in range(ENDPOINTS)]
        self.process = start(["taskset", "-c", LOAD_CORE, sys.executable, str(ROOT / "loadtest/bench.d/shop_parts.py"), *map(str, self.ports)],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def order(self, **what):
        self.process.stdin.write(json.dumps({"port": self.ports[0], **what}) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def heal(self):
        self.order(delay_ms=2)
        self.order(dead=False)

    async def become(self, kind):
        """The first endpoint goes bad after a second."""
        await asyncio.sleep(1)
        if kind == "slow":
            self.order(delay_ms=500)
        for dead in itertools.cycle((True, False)) if kind == "flapping" else [True] if kind == "dead" else []:
            self.order(dead=dead)
            await asyncio.sleep(1)


class Visitors:
    """Each request at its moment, over connections that are kept; another client address and path each time, by which hashes choose."""

    def __init__(self, port):
        self.port, self.idle, self.took, self.bad = port, [], [], 0

    async def visit(self, number, at):
        try:
            async with asyncio.timeout_at(at + TIMEOUT_S):
                ok = await self.ask(number)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            ok = False
        self.took.append(asyncio.get_running_loop().time() - at)
        self.bad += not ok

    async def ask(self, number):
        reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(f"GET /p/{number} HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: 198.18.{number // 250 % 250}.{number % 250}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        if b"connection: close" in head.lower():
            writer.close()
        else:
            self.idle.append((reader, writer))
        return head.startswith(b"HTTP/1.1 200")

    async def come(self, parts, kind, seconds):
        loop = asyncio.get_running_loop()
        began, visits = loop.time() + 0.1, []
        becoming = asyncio.ensure_future(parts.become(kind))
        for number in range(RATE * seconds):
            at = began + number / RATE
            await asyncio.sleep(max(0, at - loop.time()))
            visits.append(asyncio.ensure_future(self.visit(number, at)))
        await asyncio.gather(*visits)
        becoming.cancel()
        for _, writer in self.idle:
            writer.close()


def measure(port, parts, kind, seconds):
    visitors = Visitors(port)
    asyncio.run(visitors.come(parts, kind, seconds))
    parts.heal()
    took = sorted(visitors.took)
    return {"error_share": round(visitors.bad / len(took), 4), "p50_ms": round(took[len(took) // 2] * 1e3, 1), "p99_ms": round(took[len(took) * 99 // 100] * 1e3, 1)}


class HAProxy:
    def __init__(self, directory, ports):
        self.port = free_port()
        config = directory / "haproxy.cfg"
        config.write_text(f"""
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 1s
  timeout client 30s
  timeout server {TIMEOUT_S}s
  retries 3
  option redispatch 1
frontend all
  bind 127.0.0.1:{self.port}
  default_backend shop
backend shop
  balance leastconn
  default-server observe layer7 error-limit 5 on-error mark-down check inter 10s
""" + "".join(f"  server s{n} 127.0.0.1:{port}\n" for n, port in enumerate(ports)))
        self.process = start(["taskset", "-c", SERVER_CORE, "haproxy", "-f", str(config)], stderr=open(directory / "haproxy.log", "w"))
        wait_for(lambda: asyncio.run(answers(self.port)), "HAProxy")

    def stop(self):
        self.process.terminate()
        self.process.wait(15)


async def answers(port):
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return True


def nginx(directory, ports):
    servers = " ".join(f"server 127.0.0.1:{port} max_fails=5 fail_timeout=10s;" for port in ports)
    return upstream.OneNginx(directory, f"nginx-{free_port()}", SERVER_CORE, lambda port, here: f"""
proxy_http_version 1.1; proxy_set_header Connection ""; proxy_connect_timeout 1s; proxy_read_timeout {TIMEOUT_S}s;
upstream shop {{ zone shop 64k; least_conn; {servers} keepalive 64; }}
server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://shop; }} }}""")


def pool(algorithm, ports, outlier):
    return {"algorithm": algorithm, "endpoints": [{"address": f"127.0.0.1:{port}"} for port in ports], "outlier": outlier}


def subjects(kind):
    for outlier, name in (({}, ""), ({"latency_factor": 4}, " latency")) if kind == "slow" else (({}, ""),):
        for algorithm in ALGORITHMS:
            yield "penstock" + name, algorithm, outlier
    yield "nginx", "least_conn", None
    yield "haproxy", "leastconn", None


def row_of(directory, subject, algorithm, outlier, parts, penstock, kind, seconds):
    other = None
    if outlier is None:
        other = nginx(directory, parts.ports) if subject == "nginx" else HAProxy(directory, parts.ports)
    else:  # a pool of its own, without the past of the one before
        name = f"{algorithm.replace('_', '-')}-{kind}-{len(outlier)}"
        penstock.admin("PUT", f"/admin/v1/pools/{name}", pool(algorithm, parts.ports, outlier))
        penstock.admin("PUT", "/admin/v1/routes/all", {"path": "/", "class": "core", "pool": name, "first_byte_ms": TIMEOUT_S * 1000}, {"If-Match": "*"})
    time.sleep(0.3)
    row = {"subject": subject, "algorithm": algorithm, "case": kind, **measure((other or penstock).port, parts, kind, seconds)}
    if other:
        other.stop()
    print(f"{subject:18}{algorithm:28}{kind:10}{row['error_share']:10.2%}{row['p50_ms']:10.1f}{row['p99_ms']:10.1f}", flush=True)
    return row


def run(directory, seconds):
    parts = Parts(directory)
    penstock = Penstock(directory)
    penstock.turn_overload_off()
    penstock.admin("PUT", "/admin/v1/pools/first", pool("round_robin", parts.ports, {}))
    penstock.admin("PUT", "/admin/v1/routes/all", {"path": "/", "class": "core", "pool": "first"})
    print(f"{'subject':18}{'algorithm':28}{'endpoint':10}{'errors':>10}{'p50 ms':>10}{'p99 ms':>10}")
    rows = [row_of(directory, *subject, parts, penstock, kind, seconds) for kind in KINDS for subject in subjects(kind)]
    penstock.stop()
    parts.process.stdin.close()
    parts.process.wait(10)
    return {"rows": rows}
