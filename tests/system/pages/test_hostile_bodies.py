"""What slow bodies, and bodies where none belongs, take from other visitors: nothing. A place of a pool is taken when a request can be answered, so short
bodies are gathered first, and long ones have places of their own; a client's sending time is nobody's latency, and no fault of the shop."""
import contextlib
import pathlib
import socket
import threading
import time

import pytest
from pages import breaker, put_pool, put_route, read_all, route
from penstock import Gateway, call, wait_until
from upstreams import Reply, Upstream

POOL, LIMIT = "web", 256  # places of one worker, at first
SPARED = 64  # a quarter of them is for uploads
OF_CLIENT = 8  # and an eighth of that for each client
SHORT, LONG = 1000, 200_000
ROUTE = {"path": "/", "methods": ["GET", "POST", "PUT", "DELETE", "OPTIONS"], "first_byte_ms": 2000, "total_ms": 10000, "body_max": 1 << 20}


class Shop(Upstream):
    """/refused is refused before its body is read."""

    def converse(self, connection):
        while True:
            request = connection.head()
            self.remember(request)
            if request.path == "/refused":
                connection.reply(request, Reply(413, "too much", close=True))
                connection.until_closed()
            connection.read_body(request)
            connection.sleep(self.delay_s)
            connection.reply(request, self.answer(request))


class Silent(Shop):
    """It reads a head and then nothing."""

    def converse(self, connection):
        self.remember(connection.head())
        connection.sleep(60)


@contextlib.contextmanager
def gateway_before(shop, settings=None, pool=None, **members):
    with Gateway(settings={"workers": 1, **(settings or {})}) as one:
        one.no_limits()
        put_pool(one, POOL, shop, **(pool or {}))
        put_route(one, "all", pool=POOL, **{**ROUTE, **members})
        yield one


@pytest.fixture()
def shop():
    with Shop() as one:
        yield one


def head(method, length, client, path="/upload", more=""):
    framing = f"Content-Length: {length}" if length is not None else "Transfer-Encoding: chunked"
    return f"{method} {path} HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: {client}\r\n{framing}\r\n{more}\r\n".encode()


def begin(gateway, method, length, client="192.0.2.1", first=b"b", **more):
    """A client that sends the head and the beginning of a body."""
    sock = socket.create_connection(("127.0.0.1", gateway.port), 20)
    if length is None:
        first = b"%x\r\n%s\r\n" % (len(first), first)
    sock.sendall(head(method, length, client, **more) + first)
    return sock


def answer_of(sock, wait_s=20.0):
    """The status of what has come; None: nothing within this time."""
    sock.settimeout(wait_s)
    with contextlib.suppress(socket.timeout, ConnectionResetError):
        data = sock.recv(65536)
        return int(data.split(b" ")[1]) if data else 0
    return None


def drip(socks, ended):
    """Each sends a byte a second."""
    while not ended.wait(1):
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.send(b"b", socket.MSG_DONTWAIT)


@contextlib.contextmanager
def background(*calls):
    ended = threading.Event()
    threads = [threading.Thread(target=function, args=(*args, ended)) for function, *args in calls]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def visit(gateway, seen, ended):
    """A visitor after the other, 20 a second; each wants a page, every fourth posts a form."""
    number = 0
    while not ended.wait(0.05):
        number += 1
        fields = {"X-Forwarded-For": f"198.51.100.{number % 250}"}
        answer = call(gateway.port, "POST" if number % 4 == 0 else "GET", f"/page/{number}", b"form" if number % 4 == 0 else None, fields)
        seen.append(answer.status)


def upload(gateway, client, seen, ended, seconds=2.5):
    """One upload after the other, each of which takes its time."""
    while not ended.is_set():
        with socket.create_connection(("127.0.0.1", gateway.port), 20) as sock:
            sock.sendall(head("POST", LONG, client, more="Connection: close\r\n"))
            for _ in range(20):
                sock.sendall(b"b" * (LONG // 20))
                time.sleep(seconds / 20)
            (status, body, _), = read_all([sock])
            seen.append((status, body))


def limit(gateway):
    return gateway.metric(f'penstock_upstream_limit{{pool="{POOL}"}}')


def assert_unharmed(gateway, shop):
    assert limit(gateway) >= LIMIT
    for name in (f"pool:{POOL}", f"endpoint:{POOL}:{shop.address}"):
        assert (breaker(gateway, name) or {"state": "closed"})["state"] == "closed", name


SLOW = {
    "short": lambda gateway, number: begin(gateway, "POST", SHORT),
    "short, in chunks": lambda gateway, number: begin(gateway, "PUT", None),
    "long, of one client": lambda gateway, number: begin(gateway, "POST", LONG),
    "long, of many clients": lambda gateway, number: begin(gateway, "POST", LONG, f"203.0.113.{number % 100}"),
    "with GET": lambda gateway, number: begin(gateway, "GET", SHORT),
}


@pytest.mark.parametrize("kind", SLOW)
def test_slow_bodies_take_nothing_from_other_visitors(shop, kind):
    """300 at once and then 30 a second, for longer than a body may take."""
    seen = []
    with gateway_before(shop) as gateway, contextlib.ExitStack() as stack:
        socks = []
        with background((visit, gateway, seen), (drip, socks)):
            for number in range(300):
                socks.append(stack.enter_context(SLOW[kind](gateway, number)))
            for wave in range(13):
                for number in range(30):
                    socks.append(stack.enter_context(SLOW[kind](gateway, number)))
                time.sleep(1)
        assert len(seen) > 100 and set(seen) == {200}, {status: seen.count(status) for status in seen}
        assert_unharmed(gateway, shop)


def test_uploads_that_take_their_time_are_no_latency_of_the_shop(shop):
    """32 clients, each of which takes 2.5 s to send its body: the limit stays, visitors and uploads are served."""
    seen, uploads = [], []
    with gateway_before(shop) as gateway:
        with background((visit, gateway, seen), *((upload, gateway, f"203.0.113.{number}", uploads) for number in range(32))):
            time.sleep(12)
        assert len(seen) > 100 and set(seen) == {200}, {status: seen.count(status) for status in seen}
        assert len(uploads) > 100 and set(uploads) == {(200, f"POST /upload {LONG}\n".encode())}, uploads
        assert_unharmed(gateway, shop)
        assert gateway.metric(f'penstock_upstream_first_byte_seconds_bucket{{pool="{POOL}",le="0.5"}}') > 100


def test_a_client_has_an_eighth_of_the_places_for_uploads_and_all_together_a_quarter_of_the_pools(shop):
    with gateway_before(shop) as gateway, contextlib.ExitStack() as stack:
        mine = [stack.enter_context(begin(gateway, "POST", LONG)) for _ in range(OF_CLIENT)]
        wait_until(lambda: gateway.metric(f'penstock_upstream_uploads{{pool="{POOL}"}}') == OF_CLIENT, what="the uploads of one client")
        (status, body, _), = read_all([begin(gateway, "POST", LONG)])
        assert status == 503 and b'"uploads_full"' in body and b"1." not in body, body
        near = [begin(gateway, "POST", LONG, f"2001:db8::{number}") for number in range(1, OF_CLIENT + 2)]  # a /64 is one client
        assert [answer_of(sock, 0.3) for sock in near] == [None] * OF_CLIENT + [503]
        others = [stack.enter_context(begin(gateway, "PUT", LONG, f"203.0.113.{number}")) for number in range(SPARED - 2 * OF_CLIENT)]
        wait_until(lambda: gateway.metric(f'penstock_upstream_uploads{{pool="{POOL}"}}') == SPARED, what="the uploads of all")
        assert answer_of(begin(gateway, "POST", LONG, "203.0.113.250")) == 503
        assert gateway.metric(f'penstock_upstream_uploads_full_total{{pool="{POOL}"}}') == 3
        assert call(gateway.port, "POST", "/form", b"short").status == 200  # short ones have nothing to do with it
        for sock in mine + others:
            sock.sendall(b"b" * (LONG - 1))
            assert answer_of(sock) == 200
        for sock in near:
            sock.close()
        wait_until(lambda: gateway.metric(f'penstock_upstream_uploads{{pool="{POOL}"}}') == 0, what="no uploads")


def test_a_pool_may_have_no_uploads_at_all(shop):
    with gateway_before(shop, pool={"uploads": 0}) as gateway:
        assert answer_of(begin(gateway, "POST", LONG)) == 503
        assert call(gateway.port, "POST", "/form", b"b" * 65536).status == 200


def memory_kib(gateway):
    for line in pathlib.Path(f"/proc/{gateway.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def test_what_is_gathered_has_a_bound(shop):
    """800 bodies of 60 KiB that do not end: 16 MiB are kept, and the rest has no room but that of uploads."""
    with gateway_before(shop) as gateway, contextlib.ExitStack() as stack:
        for _ in range(50):
            call(gateway.port, "POST", "/form", b"b" * 60000)
        before = memory_kib(gateway)
        socks = [stack.enter_context(begin(gateway, "POST", 61440, first=b"b" * 61000)) for _ in range(800)]
        answers = [answer_of(sock, 0.01) for sock in socks]
        assert answers.count(503) == 800 - 256 - OF_CLIENT and answers.count(None) == 256 + OF_CLIENT
        assert memory_kib(gateway) - before < 32 * 1024
        assert call(gateway.port, "POST", "/form", b"short").status == 200
        for sock, answer in zip(socks, answers):
            if answer is None:
                sock.sendall(b"b" * 440)
        assert {answer_of(sock) for sock, answer in zip(socks, answers) if answer is None} == {200}


@pytest.mark.parametrize("length", [0, 1, 65535, 65536, 65537, 300_000])
@pytest.mark.parametrize("framed", ["by length", "in chunks"])
def test_a_body_arrives_whole_whatever_its_length(shop, length, framed):
    body = bytes(number % 251 for number in range(length))
    data = body if framed == "by length" else b"".join(b"%x\r\n%s\r\n" % (len(body[at:at + 7000]), body[at:at + 7000]) for at in range(0, length, 7000)) + b"0\r\n\r\n"
    with gateway_before(shop) as gateway:
        for piece in (len(data) or 1, 4096):
            shop.clear()
            with socket.create_connection(("127.0.0.1", gateway.port), 20) as sock:
                sock.sendall(head("POST", length if framed == "by length" else None, "192.0.2.1"))
                for at in range(0, len(data), piece):
                    sock.sendall(data[at:at + piece])
                    time.sleep(0.002)
                assert answer_of(sock) == 200
                sock.sendall(b"GET /next HTTP/1.1\r\nHost: shop\r\n\r\n")  # and its connection goes on
                assert answer_of(sock) == 200
            assert shop.requests[0].length == length and shop.requests[0].body == body


def test_a_short_body_that_does_not_come_in_time_is_408_and_the_shop_never_hears_of_it(shop):
    with gateway_before(shop, settings={"http": {"body_timeout_ms": 1000}}) as gateway:
        with begin(gateway, "POST", SHORT) as sock:
            assert answer_of(sock) == 408
        assert shop.requests == []


def test_an_upload_is_refused_by_the_shop_before_its_end(shop):
    """The client gets the shop's answer, and nobody's figures suffer."""
    with gateway_before(shop) as gateway:
        for number in range(30):
            with begin(gateway, "POST", LONG, f"203.0.113.{number}", path="/refused") as sock:
                assert answer_of(sock) == 413
        assert_unharmed(gateway, shop)
        wait_until(lambda: gateway.metric(f'penstock_upstream_uploads{{pool="{POOL}"}}') == 0, what="no uploads")


def test_a_shop_that_stalls_once_it_has_an_upload_is_to_blame(shop):
    shop.freeze()
    with gateway_before(shop, first_byte_ms=500) as gateway, contextlib.ExitStack() as stack:
        socks = [stack.enter_context(begin(gateway, "POST", LONG, f"203.0.113.{number}", first=b"b" * LONG)) for number in range(40)]
        assert {answer_of(sock) for sock in socks} <= {504, 503}
        wait_until(lambda: breaker(gateway, f"pool:{POOL}")["state"] != "closed", what="the breaker that opens")
    shop.thaw()


def test_an_upload_that_takes_longer_than_the_shop_may_is_no_fault_of_the_shop(shop):
    """40 clients who send 20 kB each second for 10 s, where the shop has 2 s for everything; and 40 who then send no more."""
    seen = []
    with gateway_before(shop, settings={"http": {"body_timeout_ms": 3000}}, first_byte_ms=1000, total_ms=2000) as gateway, contextlib.ExitStack() as stack:
        with background((visit, gateway, seen)):
            socks = [stack.enter_context(begin(gateway, "POST", LONG, f"203.0.113.{number}")) for number in range(40)]
            silent = [stack.enter_context(begin(gateway, "POST", LONG, f"192.0.2.{number}")) for number in range(20)]
            for _ in range(10):
                time.sleep(1)
                for sock in socks:
                    sock.sendall(b"b" * (LONG // 10 - 1))
            for sock in socks:
                sock.sendall(b"b" * 9)
            assert [answer_of(sock) for sock in socks] == [200] * len(socks)
            assert {answer_of(sock) for sock in silent} <= {0, None}  # cut
        assert len(seen) > 50 and set(seen) == {200}, {status: seen.count(status) for status in seen}
        assert_unharmed(gateway, shop)
        assert 'outcome="timeout"} 0' in call(gateway.admin_port, "GET", "/metrics").text


def test_a_shop_that_does_not_take_an_upload_is_to_blame():
    """It reads nothing: what does not fit into the kernel's buffers waits."""
    with Silent() as silent, gateway_before(silent, first_byte_ms=500, total_ms=1000, body_max=64 << 20) as gateway, contextlib.ExitStack() as stack:
        socks = []
        for number in range(24):
            sock = stack.enter_context(begin(gateway, "POST", 32 << 20, f"203.0.113.{number}"))
            sock.setblocking(False)
            socks.append(sock)
        ended = time.monotonic() + 8
        while time.monotonic() < ended and breaker(gateway, f"pool:{POOL}")["state"] == "closed":
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.send(b"b" * 65536)
            time.sleep(0.01)
        assert breaker(gateway, f"pool:{POOL}")["state"] != "closed"


@pytest.mark.slow
def test_uploads_that_take_their_time_do_not_return_a_split(shop):
    """The new pool gets uploads of 2 s, the old one quick requests: they are about equally fast."""
    with Shop() as new, gateway_before(shop) as gateway:
        put_pool(gateway, "new", new)
        split = {"pool": "new", "share": 1, "by": "header:X-New=1", "return": {"p99_above": 30, "window_s": 10}}
        put_route(gateway, "all", pool=POOL, split=[split], **ROUTE)
        seen, uploads = [], []
        with background((visit, gateway, seen), *((upload_to_new, gateway, f"203.0.113.{number}", uploads) for number in range(16))):
            time.sleep(14)
        assert len(uploads) > 60 and set(uploads) == {200} and set(seen) == {200}
        assert len(new.requests) == len(uploads)
        assert not route(gateway, "all").get("returned"), route(gateway, "all")


def upload_to_new(gateway, client, seen, ended):
    while not ended.is_set():
        with begin(gateway, "POST", LONG, client, more="X-New: 1\r\n") as sock:
            time.sleep(2)
            sock.sendall(b"b" * (LONG - 1))
            seen.append(answer_of(sock))


# --- Bodies where none belongs. ---


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_a_body_where_none_belongs_is_refused_unless_the_route_takes_it(shop, method):
    """A server that ignores it would read it as the next request."""
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n"
    methods = [*ROUTE["methods"], "HEAD"]
    with gateway_before(shop, methods=methods) as gateway:
        for length in (len(smuggled), None):
            answers = read_all([begin(gateway, method, length, first=smuggled)])
            assert [status for status, _, _ in answers] == [400] and (method == "HEAD" or b'"body_not_expected"' in answers[0][1])
        assert answer_of(begin(gateway, method, 0, first=b"")) == 200  # that is none
        assert [request.path for request in shop.requests] == ["/upload"]
        put_route(gateway, "all", pool=POOL, **{**ROUTE, "methods": methods, "body_methods": [method]})
        shop.clear()
        assert answer_of(begin(gateway, method, len(smuggled), first=smuggled)) == 200
        assert [(request.path, request.length) for request in shop.requests] == [("/upload", len(smuggled))]


def test_a_method_that_the_route_does_not_serve_cannot_have_a_body_there(shop):
    with gateway_before(shop) as gateway:
        answer = gateway.admin("PUT", "/admin/v1/routes/other", {"path": "/other/", "pool": POOL, "methods": ["GET"], "body_methods": ["DELETE"]})
        assert answer.status == 422 and answer.json["errors"][0]["pointer"] == "/body_methods", answer
