"""Crowds of clients that are slow or say nothing: buyers do not notice, the slow ones are cut at their deadline, memory has a bound. What each
deadline does to one connection is in unit/http_test.c."""
import contextlib
import os
import re
import resource
import select
import socket
import subprocess
import time

import pytest
from faults import processor
from load import Connection, Load, buy_bytes, judge
from penstock import PATIENT_LOG, Gateway, call, wait_until

STOCK = 1000000
HEAD = b"GET /v1/sales/x HTTP/1.1\r\nHost: shop\r\n"
SLOW = {"http": {"head_timeout_ms": 1500, "body_timeout_ms": 2000, "idle_timeout_ms": 700, "idle_trusted_timeout_ms": 700,
                 "connections": 8000}, **PATIENT_LOG}


@pytest.fixture(scope="module", autouse=True)
def room_for_connections():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptors():
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 100000 if soft == resource.RLIM_INFINITY else soft


def connect(port, count):
    """`count` non-blocking connections."""
    all_of_them = []
    for _ in range(count):
        s = socket.create_connection(("127.0.0.1", port), 10)
        s.setblocking(False)
        all_of_them.append(s)
    return all_of_them


def ends(sockets, heard, wait=0.0):
    """Reads what has come into `heard`, by socket; those that the gateway has closed."""
    poll, by_fd, closed = select.poll(), {s.fileno(): s for s in sockets}, []
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    for fd, _ in poll.poll(wait * 1000):
        s = by_fd[fd]
        with contextlib.suppress(BlockingIOError):
            try:
                while more := s.recv(65536):
                    heard[s] = heard.get(s, b"") + more
                closed.append(s)
            except ConnectionError:
                closed.append(s)
    return closed


def drip(sockets, text, most):
    """Sends one piece a second on each connection until all are closed; returns what each received."""
    left, heard, started, turn = set(sockets), {}, time.monotonic(), 0
    while left:
        assert time.monotonic() - started < most, f"{len(left)} connections outlive their deadline"
        for s in left:
            with contextlib.suppress(OSError):
                s.send(text[turn % len(text)])
        turn += 1
        until = time.monotonic() + 1
        while left and time.monotonic() < until:
            left.difference_update(ends(left, heard, 0.1))
    return [heard.get(s, b"") for s in sockets]


class Pace:
    """Orders a second, as buyers are promised them from now on."""

    def __init__(self, load):
        self.load, self.before, self.began = load, load.promised(), time.monotonic()

    def now(self):
        return (self.load.promised() - self.before) / (time.monotonic() - self.began)


def pace_of(load, orders):
    """Without other load."""
    pace = Pace(load)
    wait_until(lambda: load.promised() >= pace.before + orders, 30, what="orders")
    return pace.now()


def memory_kib(gateway):
    with open(f"/proc/{gateway.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def total(gateway, metric):
    """Over all its labels."""
    text = call(gateway.admin_port, "GET", "/metrics").text
    return sum(float(line.split()[1]) for line in text.splitlines() if re.match(metric + "[ {]", line))


def connections(gateway):
    return total(gateway, "penstock_connections")


@pytest.mark.parametrize("what", ["head", "body"])
def test_a_byte_a_second_is_cut_at_its_deadline_and_buyers_do_not_notice(what):
    """F18."""
    with Gateway(settings=SLOW) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=STOCK)
        with Load(gateway, sale, threads=2, timeout=5.0) as load:
            alone = pace_of(load, 100)
            pace, slow, began = Pace(load), connect(gateway.port, 999), time.monotonic()
            slow += connect(gateway.port, 1)
            if what == "head":
                start, text, deadline = HEAD[:20], [bytes([byte]) for byte in HEAD[20:] + b"X-Slow: " + b"a" * 100], 1.5
            else:
                start, text, deadline = buy_bytes(sale, "slow", "k")[:-20], [b" "], 2.0
            for s in slow:
                s.send(start)
            answers = drip(slow, text, most=30)
            lasted = time.monotonic() - began
            assert pace.now() > alone / 10, (pace.now(), alone)
        assert lasted >= deadline, "cut before the deadline"
        if what == "body":  # a request had begun: it is told why
            assert all(data.startswith(b"HTTP/1.1 408 ") and b"request_timeout" in data for data in answers), answers[:2]
        assert set(load.count()) == {"accepted"} and not any(t.unanswered for t in load.results)
        judge(gateway, sale, [load], STOCK)
        assert not [o for o in gateway.orders(sale) if o["user"] == "slow"]
        for s in slow:
            s.close()


# What each mode of slowhttptest does, and to which page.
ATTACKS = {"slow heads": ["-H", "-x", "24"], "slow bodies": ["-B", "-s", "4000", "-x", "10", "-f", "application/json"],
           "many ranges": ["-R", "-a", "1", "-b", "3000"], "slow readers": ["-X", "-w", "1", "-y", "16", "-n", "1", "-z", "8", "-k", "10"]}


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_slowhttptest_disturbs_no_buyer(attack, tmp_path):
    """F18: A thousand connections of each of its attacks, with the HTTP settings as shipped. No buyer waits for 2 s, or asks twice."""
    with processor() as first, Gateway(settings=PATIENT_LOG, prefix=first) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=STOCK)
        page = f"http://127.0.0.1:{gateway.port}/v1/sales/{sale}" + ("/orders" if attack == "slow bodies" else "")
        with Load(gateway, sale, threads=2, timeout=2.0) as load:
            alone, memory, pace = pace_of(load, 200), memory_kib(gateway), Pace(load)
            with open(tmp_path / "output", "w") as out:
                attacker = subprocess.Popen([*first, "slowhttptest", *ATTACKS[attack], "-c", "1000", "-r", "500", "-i", "1", "-l", "8", "-p", "2", "-u", page], stdout=out)
                open_at_once = 0
                while attacker.poll() is None:
                    open_at_once = max(open_at_once, connections(gateway))
                    time.sleep(0.1)
            assert pace.now() > alone / 10, (pace.now(), alone)
            assert memory_kib(gateway) - memory < 1000 * 48 + 16 * 1024
        output = re.sub(r"\x1b\[[0-9;]*m", "", (tmp_path / "output").read_text())
        assert attacker.returncode == 0, output
        # They have come: with ranges each gets its answer at once, the others stay.
        assert open_at_once > 500 or total(gateway, "penstock_answers_total") + total(gateway, "penstock_http_refused_total") > load.promised() + 500, (open_at_once, output)
        assert set(re.findall(r"service available: +(\w+)", output)) == {"YES"}, output
        assert set(load.count()) == {"accepted"} and not any(t.unanswered for t in load.results)
        wait_until(lambda: connections(gateway) <= 1, 30, what="their end")
        judge(gateway, sale, [load], STOCK)


def test_kept_connections_end_when_they_say_nothing_more():
    with Gateway(settings=SLOW) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=STOCK)
        kept = []
        for i in range(200):
            kept.append(Connection(gateway.port, 30))
            assert kept[-1].ask(buy_bytes(sale, f"u{i}", "k"))[0] == 202 and not kept[-1].closing
        wait_until(lambda: connections(gateway) <= 1, 20, what="the end of idle connections")
        for connection in kept:
            assert connection.socket.recv(1) == b""
            connection.close()


def test_thousands_of_idle_connections_cost_buyers_nothing_and_memory_little():
    """F18."""
    count = min(5000, descriptors() - 500)
    with Gateway(settings={"http": {"head_timeout_ms": 60000, "connections": 8000}, **PATIENT_LOG}) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=STOCK)
        with Load(gateway, sale, threads=2) as load:
            wait_until(lambda: load.promised() > 200, 30, what="orders")
            before, orders = memory_kib(gateway), load.promised()
            idle = connect(gateway.port, count // 2)
            begun = connect(gateway.port, count // 2)
            for s in begun:
                s.send(HEAD)
            wait_until(lambda: connections(gateway) >= count // 2 * 2, 30, what="all connections")
            wait_until(lambda: load.promised() > orders + 300, 60, what="orders beside them")
            assert memory_kib(gateway) - before < count * 48 + 16 * 1024
            assert not ends(idle + begun, {})
        assert set(load.count()) == {"accepted"} and not any(t.unanswered for t in load.results)
        for s in idle + begun:
            s.close()
        wait_until(lambda: connections(gateway) <= 1, 30, what="their end")
        judge(gateway, sale, [load], STOCK)


def test_above_its_soft_limit_a_gateway_says_so_and_takes_new_ones_when_others_leave():
    with Gateway(settings={"workers": 1, "http": {"head_timeout_ms": 60000, "connections": 100}}) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=100)
        inside = Connection(gateway.port, 10)
        assert inside.ask(buy_bytes(sale, "inside", "k"))[0] == 202
        idle = connect(gateway.port, 150)
        wait_until(lambda: connections(gateway) >= 151, what="all connections")
        no = gateway.buy(sale, "outside")
        assert (no.status, no.code, no.headers["connection"].lower()) == (503, "too_many_connections", "close"), no
        assert int(no.headers["retry-after"]) >= 1
        status, body = inside.ask(buy_bytes(sale, "inside-2", "k"))  # who was in is served on
        assert (status, inside.closing) == (202, False), body
        for s in idle:
            s.close()
        wait_until(lambda: gateway.buy(sale, "outside").status == 202, what="room again")
        inside.close()


def test_connections_beyond_every_limit_wait_and_are_served_in_the_end():
    """More than the hard limit: those wait in the kernel until others have ended. Nothing grows meanwhile."""
    with Gateway(settings={"workers": 1, "http": {"head_timeout_ms": 1000, "connections": 16}}) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=1000)
        idle = connect(gateway.port, 600)  # soft 16, hard 276
        late = Connection(gateway.port, 30)
        status, body = late.ask(buy_bytes(sale, "late", "k"))
        assert status in (202, 503), body
        drip(idle, [b""], most=30)
        wait_until(lambda: gateway.buy(sale, "after").status == 202, what="service as before")
        late.close()


def test_the_limit_of_descriptors_is_raised_to_what_the_settings_need():
    with Gateway(settings={"http": {"head_timeout_ms": 60000, "connections": 2000}, **PATIENT_LOG}, prefix=["prlimit", "--nofile=256:"]) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=10)
        idle = connect(gateway.port, 1000)
        wait_until(lambda: connections(gateway) >= 1000, what="all connections")
        assert gateway.buy(sale, "ann").json["state"] == "accepted"
        for s in idle:
            s.close()


def test_many_workers_full_of_connections_leave_descriptors_for_the_admin_listener():
    """Each worker has room of its own to say 503: all of them together are far above http.connections."""
    with Gateway(settings={"workers": 8, "http": {"head_timeout_ms": 60000, "connections": 16}}, prefix=["prlimit", "--nofile=256:"]) as gateway:
        idle = connect(gateway.port, 1500)
        wait_until(lambda: gateway.metric("penstock_connections") >= 1450, what="all connections")
        assert call(gateway.admin_port, "GET", "/livez").status == 200
        for s in idle:
            s.close()


def test_without_descriptors_others_wait_and_who_is_in_is_served():
    """The limit is as low as the administrator has set it, and the gateway says so at its start."""
    prefix = ["prlimit", "--nofile=200:200"]
    if os.geteuid() == 0:  # root may raise it
        prefix += ["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource"]
    with Gateway(settings={"http": {"head_timeout_ms": 60000, "idle_trusted_timeout_ms": 60000}, **PATIENT_LOG}, prefix=prefix) as gateway:
        gateway.wait_log("fd_limit_low")
        gateway.no_limits()
        sale = gateway.make_sale(stock=1000)
        inside = Connection(gateway.port, 10)
        assert inside.ask(buy_bytes(sale, "inside-0", "k"))[0] == 202
        idle = connect(gateway.port, 400)
        for i in range(1, 300):  # enough for a checkpoint or two
            assert inside.ask(buy_bytes(sale, f"inside-{i}", "k"))[0] == 202
        for s in idle:
            s.close()
        wait_until(lambda: gateway.buy(sale, "outside", key="k", timeout=30).status == 202, 30, what="room again")
        assert len(gateway.orders(sale)) == 301
        gateway.assert_books(sale)
        inside.close()


def test_a_client_that_does_not_read_its_answers_is_cut():
    """F30."""
    with Gateway(settings=SLOW) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=STOCK)
        before = memory_kib(gateway)
        greedy = []
        page = f"GET /v1/sales/{sale} HTTP/1.1\r\nHost: shop\r\n\r\n".encode() * 200
        for _ in range(50):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.settimeout(10)
            s.connect(("127.0.0.1", gateway.port))
            s.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    s.send(page)
            greedy.append(s)
        assert gateway.buy(sale, "ann").json["state"] == "accepted"
        wait_until(lambda: connections(gateway) <= 1, 30, what="their end")
        assert memory_kib(gateway) - before < 32 * 1024
        assert gateway.buy(sale, "bob").json["state"] == "accepted"
        for s in greedy:
            s.close()


def test_pipelined_requests_whose_answers_nobody_reads_cost_little_memory():
    """F30: 64 KiB of requests for a large page on each of five connections."""
    skus = [{"sku": "a" * 60 + f"-{i:02}", "stock": 10} for i in range(100)]
    with Gateway(settings={"workers": 1}) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(skus=skus)
        page = f"GET /v1/sales/{sale} HTTP/1.1\r\nHost: shop\r\n\r\n".encode()
        assert len(gateway.public("GET", f"/v1/sales/{sale}").text) > 8000
        before, greedy = memory_kib(gateway), []
        for _ in range(5):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", gateway.port))
            s.sendall(page * (65536 // len(page)))
            greedy.append(s)
        for _ in range(20):
            assert gateway.public("GET", f"/v1/sales/{sale}").status == 200
            assert memory_kib(gateway) - before < 4 * 1024
            time.sleep(0.02)
        for s in greedy:
            s.close()


def test_an_address_above_its_cap_shuts_nobody_else_out():
    """200 connections a second from it; each is told why, and costs nobody a place."""
    with Gateway(settings={"workers": 1, "trusted_proxies": [], "http": {"connections": 64, "connections_per_address": 16}}) as gateway:
        inside = connect(gateway.port, 16)
        wait_until(lambda: connections(gateway) >= 16, what="all connections")
        began, refused = time.monotonic(), []
        for i in range(600):
            refused += connect(gateway.port, 1)
            if i % 10 == 0:
                with socket.create_connection(("127.0.0.1", gateway.port), 10, ("127.0.0.2", 0)) as other:
                    other.sendall(b"GET /livez HTTP/1.1\r\nHost: shop\r\n\r\n")
                    assert other.recv(4096).startswith(b"HTTP/1.1 200 ")
            time.sleep(max(0, began + i / 200 - time.monotonic()))
        heard = {}
        wait_until(lambda: len(ends(refused, heard)) == len(refused), what="the end of all that were refused")
        assert all(heard.get(s, b"").startswith(b"HTTP/1.1 503 ") and b"too_many_connections" in heard[s] for s in refused)
        for s in inside:
            s.close()
