"""Half an hour of clients who want no pages, a shop that dies all the time and operators who change its routes ten times a second, before a gateway that
the address sanitizer watches: it stays, its memory is flat, and whoever behaves is served nearly as fast as without all that."""
import contextlib
import http.client
import multiprocessing
import os
import random
import socket
import statistics
import struct
import threading
import time

import pages
import penstock
import pytest
from penstock import ANY_VERSION, ROOT, Gateway
from upstreams import Reply, Upstream

SECONDS = int(os.environ.get("PENSTOCK_HOSTILE_SOAK_S", "1800"))
QUIET_SECONDS = max(20, SECONDS // 20)  # before the others come
SEED = int(os.environ.get("PENSTOCK_SOAK_SEED", "1"))

ASAN = {"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=16", "UBSAN_OPTIONS": "print_stacktrace=1"}
BIG = "b" * 12000
RESET = struct.pack("ii", 1, 0)
METHODS = ["GET", "HEAD", "POST", "PUT"]
SORRY = {"kind": "static", "status": 503, "body": "sorry"}


class Shop(Upstream):
    """It remembers nothing: it is asked for half an hour."""

    def remember(self, request):
        pass


def serve_page(request):
    if request.method in ("POST", "PUT"):
        return Reply(200, str(request.length))
    return Reply(200, BIG if "big" in request.path else request.path, {"Cache-Control": "max-age=5", "Vary": "Accept-Language"})


def keep_shop(well, dying, ended):
    """The servers of the shop, in a process of their own: one is always there, the other one dies every two seconds."""
    dice = random.Random(SEED)
    with Shop(serve_page, port=well):
        while not ended.is_set():
            with Shop(serve_page, port=dying, delay_s=dice.choice([0, 0, 0.2])) as shop:
                ended.wait(1 + dice.random())
                if dice.random() < 0.5:
                    shop.kill()
            ended.wait(dice.random())


# --- Those who behave. ---


def ask_well(port, path, ended, times, faults):
    """A client on a connection of its own: 20 requests a second, one after the other."""
    connection = None
    while not ended.is_set():
        began = time.monotonic()
        try:
            connection = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200 or body.decode() not in (path, BIG, "fixed"):
                faults.append(f"{path}: {answer.status} {body[:100]}")
        except (OSError, http.client.HTTPException) as error:
            faults.append(f"{path}: {error!r}")
            connection = None
        times.append(time.monotonic() - began)
        ended.wait(max(0, 0.05 - (time.monotonic() - began)))


def behave(port, ended, pipe):
    """A process of such clients; tells all their times and faults in the end, when the others have come, and how many there were before."""
    times, faults = [], []
    threads = [threading.Thread(target=ask_well, args=(port, path, ended, times, faults))
               for path in ("/well/1", "/well/big", "/kept/1", "/kept/big", "/rules")]
    for thread in threads:
        thread.start()
    while not ended.wait(0.1):
        if pipe.poll():
            pipe.recv()
            pipe.send((times[:], faults[:]))
            times.clear()
    for thread in threads:
        thread.join()
    pipe.send((times, faults))


def p99(times):
    return sorted(times)[int(len(times) * 0.99)]


# --- Those who do not. ---


class Hostile:
    """What one of them does on one connection, by name. None of them waits for long."""

    def __init__(self, port, seed):
        self.port, self.dice = port, random.Random(seed)

    def connect(self):
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=2)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return sock

    def path(self):
        return self.dice.choice(["/late/1", "/dying/1", "/dying/big", "/kept/1", "/rules", "/nowhere", "/well/2"])

    def host(self):
        return self.dice.choice(["x", "evil.example", "x:1337", "X"])

    def pipeline_and_read_nothing(self, sock):
        path = self.dice.choice(["/kept/big", "/rules", "/dying/big"])
        sock.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 1500)
        time.sleep(self.dice.random() * 2)

    def send_chunks_of_one_byte(self, sock):
        sock.sendall(f"POST {self.path()} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(self.dice.randrange(300)):
            sock.sendall(b"1\r\nx\r\n" * self.dice.choice([1, 1, 50]))
        sock.sendall(b"0\r\n\r\n")
        sock.recv(65536)

    def send_half_a_head(self, sock):
        sock.sendall(f"GET {self.path()} HTTP/1.1\r\nHost: {self.host()}\r\nX-Half: ".encode())
        time.sleep(self.dice.random() * 2)

    def drop(self, sock):
        pass

    def send_half_a_body(self, sock):
        length = self.dice.choice([10, 3000, 100000])
        sock.sendall(f"{self.dice.choice(METHODS)} {self.path()} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode() + b"b" * 5)
        time.sleep(self.dice.random())
        with contextlib.suppress(OSError):
            sock.sendall(b"b" * (length - 5))
        sock.recv(65536)

    def say_nonsense(self, sock):
        sock.sendall(self.dice.randbytes(self.dice.randrange(2000)) + self.dice.choice([b"", b"\r\n\r\n"]))
        sock.recv(65536)

    def ask_as_somebody_else(self, sock):
        fields = self.dice.choice(["Connection: Accept-Language", "X-Forwarded-Proto: https", "Range: bytes=1-5", "Expect: 100-continue", "If-None-Match: *"])
        sock.sendall(f"GET {self.path()} HTTP/1.1\r\nHost: {self.host()}\r\nAccept-Language: de\r\n{fields}\r\n\r\n".encode() * self.dice.choice([1, 20]))
        sock.recv(65536)

    def once(self):
        what = self.dice.choice([self.pipeline_and_read_nothing, self.send_chunks_of_one_byte, self.send_half_a_head, self.drop, self.drop,
                                 self.send_half_a_body, self.say_nonsense, self.ask_as_somebody_else])
        with contextlib.suppress(OSError), contextlib.closing(self.connect()) as sock:
            what(sock)
            if self.dice.random() < 0.5:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def be_hostile(port, ended):
    """A process of eight of them, who leave to others what they need of the processors."""
    os.nice(10)

    def go_on(seed):
        one = Hostile(port, seed)
        while not ended.wait(one.dice.random() * 0.1):
            one.once()

    for seed in range(8):
        threading.Thread(target=go_on, args=(SEED * 100 + seed,), daemon=True).start()
    ended.wait()


def change_tables(gateway, well, dying, dice):
    """One change by an operator, or a server of the shop that registers itself or leaves."""
    late = [{"pool": "well", "cache": {"store": "default"}}, {"pool": "dying", "fallback": [{"kind": "pool", "pool": "well"}, SORRY]},
            {"answer": {"body": "late"}}, {"redirect": {"status": 302, "location": "/rules"}}]
    pools = [{}, {"connections_max": 1, "queue_max": 4}, {"algorithm": "least_connections", "drain_ms": 0}]
    what = dice.randrange(5)
    if what == 0:
        answer = gateway.admin("DELETE", "/admin/v1/routes/late", headers=ANY_VERSION)
    elif what == 1:
        answer = gateway.admin("PUT", f"/admin/v1/pools/registered/endpoints/127.0.0.1:{dying}", {"ttl_s": 10})
    elif what == 2:
        answer = gateway.admin("DELETE", f"/admin/v1/pools/registered/endpoints/127.0.0.1:{dying}")
    elif what == 3:
        document = {"endpoints": [{"address": f"127.0.0.1:{dying}"}], **dice.choice(pools)}
        answer = gateway.admin("PUT", "/admin/v1/pools/dying", document, ANY_VERSION)
    else:
        document = {"path": "/late/", "methods": METHODS, **dice.choice(late)}
        answer = gateway.admin("PUT", "/admin/v1/routes/late", document, ANY_VERSION)
        if answer.status == 412:
            answer = gateway.admin("PUT", "/admin/v1/routes/late", document)
    return answer.status


def make_shop_documents(gateway, well, dying):
    fallback = [{"kind": "stale"}, {"kind": "pool", "pool": "well"}, SORRY]
    gateway.no_limits()
    pages.put_pool(gateway, "well", f"127.0.0.1:{well}")
    pages.put_pool(gateway, "dying", f"127.0.0.1:{dying}")
    answer = gateway.admin("PUT", "/admin/v1/pools/registered", {"discovery": {"registration": True}})
    assert answer.status == 201, answer
    pages.put_route(gateway, "well", path="/well/", methods=METHODS, pool="well")
    pages.put_route(gateway, "kept", path="/kept/", pool="well", cache={"store": "default"})
    pages.put_route(gateway, "rules", path="/rules", match="exact", answer={"body": "fixed"})
    pages.put_route(gateway, "dying", path="/dying/", methods=METHODS, pool="dying", cache={"store": "default"}, fallback=fallback,
                    first_byte_ms=300, total_ms=1000, split=[{"pool": "registered", "share": 0.2, "by": "request"}])


def resident_kib(gateway):
    with open(f"/proc/{gateway.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def whole_log(gateway):
    return gateway.log_path.read_text(errors="replace")


def assert_alive(gateway):
    if gateway.process.poll() is not None:
        report = [line for line in whole_log(gateway).splitlines() if not line.startswith("{")]
        pytest.fail(f"the gateway ended with {gateway.process.returncode}:\n" + "\n".join(report[:60]))


def disturb(gateway, well, dying, seconds):
    """Changes tables ten times a second for so long; its memory, each second."""
    dice, memory, statuses = random.Random(SEED), [], set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        for tenth in range(10):
            assert_alive(gateway)
            with contextlib.suppress(OSError, http.client.HTTPException):
                statuses.add(change_tables(gateway, well, dying, dice))
            time.sleep(max(0, began + (tenth + 1) / 10 - time.monotonic()))
        assert_alive(gateway)
        memory.append(resident_kib(gateway))
    assert statuses <= {200, 201, 204, 404, 409, 412}, statuses
    return memory


def measured(pipe):
    pipe.send("so far")
    return pipe.recv()


@pytest.mark.soak
def test_half_an_hour_of_hostility_costs_neither_memory_nor_others_time(monkeypatch):
    """PG13: F30, F31."""
    monkeypatch.setattr(penstock, "PENSTOCK", ROOT / "build" / "asan" / "gateway" / "penstock")
    well, dying = penstock.free_port(), penstock.free_port()
    context = multiprocessing.get_context("fork")
    ended, pipe, far = context.Event(), *context.Pipe()
    settings = {"http": {"head_timeout_ms": 1000, "body_timeout_ms": 2000, "connections": 1000}, "seed": penstock.seeds({**penstock.QUIET, "caches": {"default": {"bytes": 8388608}}})}
    with Gateway(settings=settings, env=ASAN) as gateway:
        make_shop_documents(gateway, well, dying)
        helpers = [context.Process(target=keep_shop, args=(well, dying, ended)), context.Process(target=behave, args=(gateway.port, ended, far)),
                   context.Process(target=be_hostile, args=(gateway.port, ended))]
        try:
            for helper in helpers[:2]:
                helper.start()
            time.sleep(3)  # the servers of the shop are there, and the first pages
            measured(pipe)
            time.sleep(QUIET_SECONDS)
            quiet, _ = measured(pipe)
            memory_quiet = resident_kib(gateway)
            helpers[2].start()
            memory = disturb(gateway, well, dying, SECONDS)
        finally:
            ended.set()
            last = pipe.recv() if pipe.poll(30) else ([], [])
            for helper in helpers:
                if helper.pid:
                    helper.join(20)
        assert gateway.stop() == 0, whole_log(gateway)[-4000:]
        log = whole_log(gateway)
    loud, faults = last
    quarter = len(memory) // 4
    before, after = statistics.median(memory[quarter:2 * quarter]), statistics.median(memory[3 * quarter:])
    print(f"p99 {p99(quiet) * 1000:.1f} ms alone, {p99(loud) * 1000:.1f} ms beside them, of {len(loud)}; "
          f"{memory_quiet} KiB alone, then {before}, in the end {after}, at most {max(memory)}")
    assert "Sanitizer" not in log and "runtime error" not in log
    assert len(faults) <= len(loud) / 1000, faults[:5]
    assert after <= 1.05 * before, memory[::max(1, len(memory) // 60)]
    assert p99(loud) <= 3 * p99(quiet), (p99(quiet), p99(loud))
