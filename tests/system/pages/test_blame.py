"""The table of blame, each row of it played on a real gateway: what an exchange with the shop that ends so says to whom. What is expected is
docs/reference/blame.md, which the program prints from the table that it reads; and metrics, breakers and the pool's figures show what it does."""
import contextlib
import json
import pathlib
import re
import socket
import struct
import subprocess
import time

import pytest
from pages import breaker, crowd, from_client, put_pool, put_route
from penstock import ROOT, Gateway, call, wait_until
from upstreams import Misbehaving, Reply, Upstream

POOL, LONG = "web", 200_000
PAGE = {"methods": ["GET", "POST"], "first_byte_ms": 20000, "total_ms": 30000, "fallback": [{"kind": "static", "status": 503, "body": "sorry"}]}
PATIENT = {"consecutive_errors": 0, "success_share_min": 0}  # nothing is ejected: the figures are looked at
HTTP = {"body_timeout_ms": 1500, "send_timeout_ms": 1500, "head_max_kib": 64}
MANY = 6  # clients, one more than the witnesses that errors need


def table():
    """The rows of the printed table, by name."""
    lines = [line for line in (ROOT / "docs/reference/blame.md").read_text().splitlines() if line.startswith("| ")]
    head, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(head, row)) for row in rows}


TABLE = table()


# --- What is seen ---


def numbers(gateway, name, label):
    found = re.findall(rf'^{name}\{{[^}}]*{label}="(\w+)"[^}}]*\}} (\d+)$', call(gateway.admin_port, "GET", "/metrics").text, re.M)
    counts = {}
    for value, count in found:
        counts[value] = counts.get(value, 0) + int(count)
    return counts


def figures(gateway, address):
    """All that a row can change."""
    its, = (one for one in gateway.admin("GET", f"/admin/v1/pools/{POOL}").json["live"] if one["address"] == address)
    circuits = {which: (breaker(gateway, name) or {"window": {"calls": 0, "failures": 0}})["window"] for which, name in (("pool", f"pool:{POOL}"), ("endpoint", f"endpoint:{POOL}:{address}"))}
    judged = numbers(gateway, "penstock_route_judged_total", "result")
    return {"sent": numbers(gateway, "penstock_upstream_requests_total", "outcome"), "routed": numbers(gateway, "penstock_route_requests_total", "outcome"),
            **{which: (its_view["calls"] - its_view["failures"], its_view["failures"]) for which, its_view in circuits.items()},
            "rate": (its["requests"] - its["errors"], its["errors"]), "row": its["errors_in_row"], "split": (judged.get("good", 0), judged.get("bad", 0)),
            "head": gateway.metric(f'penstock_upstream_first_byte_seconds_count{{pool="{POOL}"}}'),
            "again": gateway.metric(f'penstock_upstream_retries_total{{pool="{POOL}"}}')}


def added(before, after):
    """What has been added, without what has not."""
    def minus(a, b):
        if isinstance(a, dict):
            return {key: a[key] - b.get(key, 0) for key in a if a[key] != b.get(key, 0)}
        return tuple(x - y for x, y in zip(a, b)) if isinstance(a, tuple) else a - b
    return {name: minus(after[name], before[name]) for name in after}


def troubles(gateway):
    lines = [json.loads(line) for line in gateway.log_path.read_text(errors="replace").splitlines() if '"event":"access"' in line]
    return [line["trouble"] for line in lines if line.get("trouble")]


def expected(row, times):
    """By the table. An error counts once MANY clients have met it at as many pages."""
    says = {"": (0, 0), "good": (times, 0), "bad": (0, times), "error": (0, times if times >= MANY else 0)}
    unsent = row["word"] == "unsent"
    return {"sent": {} if unsent else {row["word"]: times}, "routed": {row["word"]: times}, "pool": says[row["pool"]], "endpoint": says[row["endpoint"]],
            "rate": says[row["rate"]], "row": says[row["row"]][1], "split": says[row["split"]], "head": times if row["place"] == "head" else 0,
            "again": times if row["again"] else 0}


# --- The shop, the clients, and each way to end ---


class Shop(Upstream):
    """What a path says is what it does."""

    def converse(self, connection):
        request = connection.head()
        self.remember(request)
        way = getattr(self, request.path.split("/")[1], None)
        if way is None:
            connection.read_body(request)
            connection.reply(request, self.answer(request))
        else:
            way(connection, request)

    def answer(self, request):
        return Reply(int(request.path.split("/")[2]) if request.path.startswith("/status/") else 200, "page", close=True)

    def early(self, connection, request):
        connection.send(f"HTTP/1.1 {request.path.split('/')[2]} Early\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly".encode())
        connection.until_closed()

    def silent(self, connection, request):
        connection.until_closed()

    def begin(self, connection):
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
        time.sleep(0.2)

    def closes_in_body(self, connection, request):
        self.begin(connection)

    def breaks_in_body(self, connection, request):
        self.begin(connection)
        connection.send(b"nonsense\r\n")
        connection.until_closed()

    def stops_in_body(self, connection, request):
        self.begin(connection)
        connection.until_closed()

    def endless(self, connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 40000000\r\n\r\n")
        connection.send(b"e" * 40_000_000)


class Played:
    """One gateway and its shop; `address`: of the endpoint that is looked at."""

    def __init__(self, gateway, shop, stack):
        self.gateway, self.shop, self.stack, self.address = gateway, shop, stack, shop.address

    def route(self, **members):
        put_route(self.gateway, "all", path="/", pool=POOL, **{**PAGE, **members})

    def pool(self, *servers, **members):
        put_pool(self.gateway, POOL, *(servers or (self.shop,)), **{"outlier": PATIENT, **members})

    def misbehaving(self, kind):
        server = self.stack.enter_context(Misbehaving(kind))
        self.address = server.address
        self.pool(server)
        return server

    def get(self, path, number):
        return call(self.gateway.port, "GET", f"{path}/{number}", None, from_client(number))

    def connect(self, small=False):
        sock = socket.socket()
        if small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.settimeout(20)
        sock.connect(("127.0.0.1", self.gateway.port))
        self.stack.callback(sock.close)
        return sock

    def begin(self, path, number, length=None, body=b"", method="POST", small=False):
        sock = self.connect(small)
        fields = [f"X-Forwarded-For: {from_client(number)['X-Forwarded-For']}"]
        if method == "POST":
            fields.append(f"Content-Length: {length}" if length is not None else "Transfer-Encoding: chunked")
        sock.sendall(f"{method} {path}/{number} HTTP/1.1\r\nHost: shop\r\n".encode() + "\r\n".join(fields).encode() + b"\r\n\r\n" + body)
        return sock

    def wait_asked(self):
        wait_until(lambda: self.shop.requests, what="the request at the shop")


def leave(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def first_line(sock):
    data = b""
    with contextlib.suppress(ConnectionResetError):
        data = sock.recv(65536)
    return data.split(b"\r\n")[0]


WAYS = {}  # by row


def way(function):
    WAYS[function.__name__] = function
    return function


def asks(path, status=200):
    def play(played, number):
        answer = played.get(path, number)
        assert answer.status == status, answer
        return answer
    return play


WAYS["ok"] = asks("/status/200")
WAYS["refusal"] = asks("/status/404", 404)
WAYS["error"] = asks("/status/500", 500)


def early(status):
    def play(played, number):
        assert first_line(played.begin(f"/early/{status}", number, LONG, b"b" * 1000)).startswith(b"HTTP/1.1 %d" % status)
    return play


WAYS["early"], WAYS["early_error"] = early(413), early(503)


def breaks(kind, **members):
    """Before an answer begins: the fallback answers."""
    def play(played, number):
        if played.address == played.shop.address:
            played.misbehaving(kind)
            played.route(**members)
        return played.get("/page", number)
    return play


WAYS["refused"] = breaks("refuses")
WAYS["connect_late"] = breaks("never_connects")
WAYS["reset"] = breaks("closes_before_head")
WAYS["reset_in_head"] = breaks("closes_in_head")
WAYS["malformed"] = breaks("nonsense")
WAYS["head_too_large"] = breaks("endless_head")
WAYS["late"] = breaks("silent", first_byte_ms=500)


@way
def deaf(played, number):
    played.misbehaving("unread")
    played.route(first_byte_ms=1000, total_ms=1000, body_max=64 << 20)
    sock = played.begin("/page", number, 32 << 20)
    sock.setblocking(False)
    end = time.monotonic() + 10
    while time.monotonic() < end and not numbers(played.gateway, "penstock_upstream_requests_total", "outcome").get("timeout"):
        with contextlib.suppress(OSError):
            while sock.send(b"b" * 65536):
                pass
        time.sleep(0.05)


def ends_in_body(path, **members):
    def play(played, number):
        played.route(**members)
        sock = played.begin(path, number, method="GET")
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while part := sock.recv(65536):
                data += part
        assert data.startswith(b"HTTP/1.1 200") and not data.endswith(b"0\r\n\r\n"), data
    return play


WAYS["broken"] = ends_in_body("/closes_in_body")
WAYS["malformed_body"] = ends_in_body("/breaks_in_body")
WAYS["unfinished"] = ends_in_body("/stops_in_body", first_byte_ms=1000, total_ms=1000)


@way
def gone_sending(played, number):
    sock = played.begin("/page", number, LONG, b"b" * 1000)
    played.wait_asked()
    leave(sock)


@way
def gone_waiting(played, number):
    sock = played.begin("/silent", number, method="GET")
    played.wait_asked()
    leave(sock)


@way
def gone_reading(played, number):
    sock = played.begin("/endless", number, method="GET", small=True)
    assert first_line(sock).startswith(b"HTTP/1.1 200")
    leave(sock)


@way
def slow_sending(played, number):
    first_line(played.begin("/page", number, LONG, b"b" * 1000))


@way
def slow_reading(played, number):
    sock = played.begin("/endless", number, method="GET", small=True)
    assert first_line(sock).startswith(b"HTTP/1.1 200")
    wait_until(lambda: numbers(played.gateway, "penstock_upstream_requests_total", "outcome").get("client_slow"), what="its end")


@way
def sent_too_much(played, number):
    played.route(body_max=100_000)
    sock = played.begin("/page", number)
    with contextlib.suppress(OSError):
        for _ in range(20):
            sock.sendall(b"4000\r\n%s\r\n" % (b"b" * 0x4000))
    assert b" 413 " in first_line(sock)


@way
def no_room(played, number):
    """No descriptor is left for a socket to the shop."""
    pid, sock = played.gateway.process.pid, played.connect()
    wait_until(lambda: played.gateway.metric("penstock_connections") >= 1, what="the client")
    time.sleep(0.3)  # the connections for what the metrics said are closed
    used = {int(path.name) for path in pathlib.Path(f"/proc/{pid}/fd").iterdir()}
    lowest = next(number for number in range(len(used) + 1) if number not in used)
    subprocess.run(["prlimit", "--pid", str(pid), f"--nofile={lowest}:"], check=True)
    try:
        sock.sendall(b"GET /page/1 HTTP/1.1\r\nHost: shop\r\n\r\n")
        head = sock.recv(65536)
    finally:
        subprocess.run(["prlimit", "--pid", str(pid), "--nofile=4096:"], check=True)
    assert head.startswith(b"HTTP/1.1 503") and b"why=no_room" in head, head
    return head


@way
def drained(played, number):
    played.pool(drain_ms=100)
    sock = played.begin("/silent", number, method="GET")
    played.wait_asked()
    document = {"endpoints": [{"address": played.address, "drain": True}], "drain_ms": 100, "outlier": PATIENT}
    assert played.gateway.admin("PUT", f"/admin/v1/pools/{POOL}", document, {"If-Match": "*"}).status == 200
    assert b" 503 " in first_line(sock)


@way
def no_endpoint(played, number):
    document = {"endpoints": [{"address": played.address, "drain": True}], "outlier": PATIENT}
    assert played.gateway.admin("PUT", f"/admin/v1/pools/{POOL}", document, {"If-Match": "*"}).status == 200
    return wait_for_fallback(played, number)


def wait_for_fallback(played, number):
    return played.get("/page", number)


@way
def breaker_open(played, number):
    return played.get("/page", number)


@way
def busy(played, number):
    return played.get("/page", number)


@way
def uploads_full(played, number):
    sock = played.begin("/page", 1, LONG, b"b" * 1000)
    assert b" 503 " in first_line(sock)


# What must be there before the figures are looked at.
def prepare(played, name):
    if name == "breaker":
        played.gateway.override(f"breaker:pool:{POOL}", "open")
    elif name == "busy":
        played.shop.freeze()
        for sock in crowd(played.gateway, 256, "/silent/0"):
            played.stack.callback(sock.close)
        wait_until(lambda: played.gateway.metric(f'penstock_upstream_places{{pool="{POOL}"}}') == 256, what="all places")
    elif name == "uploads_full":
        for _ in range(8):
            played.begin("/page", 1, LONG, b"b" * 1000)
        wait_until(lambda: played.gateway.metric(f'penstock_upstream_uploads{{pool="{POOL}"}}') == 8, what="uploads")


WAYS["breaker"] = WAYS.pop("breaker_open")
# The figures end with the process; a kept connection is played below; and the bounds of heads and of documents leave room for all that a route adds.
ELSEWHERE = {"stopped", "stale", "request_too_large"}


@contextlib.contextmanager
def played():
    with contextlib.ExitStack() as stack:
        shop = stack.enter_context(Shop())
        gateway = stack.enter_context(Gateway(settings={"workers": 1, "http": HTTP, "access_log": {"every": 1, "normal": 1}}))
        gateway.no_limits()
        one = Played(gateway, shop, stack)
        one.pool()
        one.route()
        yield one


def test_every_row_of_the_table_is_played():
    assert set(WAYS) | ELSEWHERE == set(TABLE)


@pytest.mark.parametrize("name", sorted(WAYS))
def test_an_end_says_what_its_row_says(name):
    row = TABLE[name]
    times = MANY if "error" in row.values() else 1
    with played() as one:
        prepare(one, name)
        before, answers = None, []
        for number in range(times):
            if before is None and name in ("refused", "connect_late", "reset", "reset_in_head", "malformed", "head_too_large", "late", "deaf"):
                answers.append(WAYS[name](one, number))  # another endpoint is looked at
                before = NOTHING
                continue
            if before is None:
                before = figures(one.gateway, one.address)
            answers.append(WAYS[name](one, number))
        wait_added(one, before, expected(row, times))
        if name not in ("busy", "uploads_full"):
            wait_until(lambda: one.gateway.metric(f'penstock_upstream_places{{pool="{POOL}"}}') == 0, what="its place back")
        if row["fallback"] and hasattr(answers[0], "headers"):
            assert answers[0].headers["penstock-fallback"] == f"static; why={row['fallback']}", answers[0]
            word = row["word"] if row["fallback"] in ("failed", "deadline") else row["fallback"]
            wait_until(lambda: word in troubles(one.gateway), what="its word in the access log")


def wait_added(one, before, want):
    """Breakers show what they count a tenth of a second later."""
    def is_added():
        seen.update(added(before, figures(one.gateway, one.address)))
        return want.items() <= seen.items()
    seen, end = {}, time.monotonic() + 8
    while not is_added():
        assert time.monotonic() < end, {name: (want[name], seen[name]) for name in want if want[name] != seen[name]}
        time.sleep(0.2)


NOTHING = {"sent": {}, "routed": {}, "pool": (0, 0), "endpoint": (0, 0), "rate": (0, 0), "row": 0, "split": (0, 0), "head": 0, "again": 0}


def test_errors_say_nothing_until_five_clients_have_met_them():
    with played() as one:
        for number in range(MANY - 2):
            WAYS["error"](one, number)
        time.sleep(0.3)
        seen = figures(one.gateway, one.address)
        assert seen["sent"]["error"] == MANY - 2 and seen["pool"] == seen["rate"] == seen["split"] == (0, 0) and seen["row"] == 0
        WAYS["error"](one, MANY - 2)
        wait_until(lambda: figures(one.gateway, one.address)["row"] == MANY - 1, what="all five")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_kept_connection_that_had_ended_is_nobodys_fault_if_the_request_is_sent_again(method):
    with played() as one:
        server = one.misbehaving("closes_when_asked_again")
        assert one.get("/first", 1).status == 200
        wait_added(one, NOTHING, {"pool": (1, 0), "endpoint": (1, 0), "rate": (1, 0), "split": (1, 0)})
        before = figures(one.gateway, server.address)
        answer = call(one.gateway.port, method, "/second", b"form" if method == "POST" else None, from_client(2))
        assert answer.status == (200 if method == "GET" else 503)
        good, bad = ((1, 0), (1, 0)) if method == "GET" else ((0, 0), (0, 1))
        wait_added(one, before, {"sent": {"reset": 1, "ok": 1} if method == "GET" else {"reset": 1}, "again": 1 if method == "GET" else 0, "row": 0,
                                 "endpoint": good, "rate": good, "pool": bad, "split": bad})
