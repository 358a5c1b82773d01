"""Clients who read slowly: whoever goes on reading gets everything, and whoever does not is cut; neither is a fault of the shop. And a client that has
sent its last byte gets its answer all the same."""
import contextlib
import socket
import threading
import time

import pytest
from pages import breaker, put_pool, put_route
from penstock import Gateway, call, wait_until
from upstreams import Reply, Upstream

BIG = b"0123456789abcdef" * (6 << 16)  # 6 MiB: more than the kernel keeps for a client
MEGABYTE = b"m" * 1_000_000
PAGE = {"path": "/", "pool": "web", "first_byte_ms": 1000, "total_ms": 2000, "methods": ["GET", "POST"]}
CACHED = {"cache": {"store": "pages", "default_ttl_s": 600}}


def serve(request):
    if "stalls" in request.path:
        return Reply(200, stalling())
    return MEGABYTE if "megabyte" in request.path else BIG if "big" in request.path else f"{request.path} {request.length}"


def stalling():
    yield b"x" * 1000
    time.sleep(6)
    yield b"x"


@pytest.fixture(scope="module")
def shop():
    with Upstream(serve) as one:
        yield one


@contextlib.contextmanager
def gateway_before(shop, http=None, **page):
    with Gateway(settings={"workers": 1, "http": {"send_timeout_ms": 1000, **(http or {})}}) as one:
        one.no_limits()
        assert one.admin("PUT", "/admin/v1/caches/pages", {}).status in (201, 428)
        put_pool(one, "web", shop)
        put_route(one, "all", **{**PAGE, **page})
        yield one


def ask(gateway, path):
    """A client with little room of its own."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    sock.settimeout(20)
    sock.connect(("127.0.0.1", gateway.port))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n".encode())
    return sock


def read_slowly(sock, step, every_s):
    """All that comes, `step` bytes at a time."""
    data = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(step):
            data += part
            time.sleep(every_s * len(part) / step)
    return bytes(data)


def visit(gateway, seen, ended):
    number = 0
    while not ended.wait(0.05):
        number += 1
        seen.append(call(gateway.port, "GET", f"/page/{number}").status)


@contextlib.contextmanager
def visitors(gateway, seen):
    ended = threading.Event()
    thread = threading.Thread(target=visit, args=(gateway, seen, ended))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def assert_unharmed(gateway, shop, seen):
    assert len(seen) > 40 and set(seen) == {200}, {status: seen.count(status) for status in seen}
    for name in ("pool:web", f"endpoint:web:{shop.address}"):
        assert (breaker(gateway, name) or {"state": "closed"})["state"] == "closed", name
    text = call(gateway.admin_port, "GET", "/metrics").text
    for outcome in ("timeout", "broken", "error"):
        assert f'penstock_upstream_requests_total{{pool="web",outcome="{outcome}"}} 0' in text, outcome


@pytest.mark.parametrize("page", [{}, CACHED], ids=["from the shop", "from the cache"])
def test_who_goes_on_reading_gets_all_of_it(shop, page):
    """About 12 s for 6 MiB, where a client that takes nothing is cut after 1 s, and the shop has 2 s."""
    seen = []
    with gateway_before(shop, **page) as gateway:
        call(gateway.port, "GET", "/big")
        with visitors(gateway, seen):
            data = read_slowly(ask(gateway, "/big"), 65536, 0.12)
        assert data.endswith(BIG)
        assert_unharmed(gateway, shop, seen)


@pytest.mark.slow
@pytest.mark.parametrize("a_second", [80_000, 40_000])
def test_a_megabyte_from_the_cache_goes_to_who_takes_25_seconds_for_it(shop, a_second):
    """By the settings as they are shipped."""
    with Gateway(settings={"workers": 1}) as gateway:
        gateway.no_limits()
        assert gateway.admin("PUT", "/admin/v1/caches/pages", {}).status in (201, 428)
        put_pool(gateway, "web", shop)
        put_route(gateway, "all", path="/", pool="web", **CACHED)
        assert call(gateway.port, "GET", "/megabyte").status == 200
        began = time.monotonic()
        data = read_slowly(ask(gateway, "/megabyte"), 4000, 4000 / a_second)
        assert data.endswith(MEGABYTE) and time.monotonic() - began > 0.9 * len(MEGABYTE) / a_second


def takes_nothing(sock, ended):
    ended.wait()


def takes_little(sock, ended):
    """Two KiB a second, of which the kernel tells the gateway when there is room for more."""
    with contextlib.suppress(OSError):
        while not ended.wait(0.5) and sock.recv(1024):
            pass


@pytest.mark.parametrize("takes", [takes_nothing, takes_little])
def test_who_does_not_is_cut_and_the_shop_is_not_to_blame(shop, takes):
    """100 of them, in four waves: with 20 calls, half of them failures, a breaker would open."""
    seen, ended, threads = [], threading.Event(), []
    with gateway_before(shop) as gateway, visitors(gateway, seen):
        try:
            for wave in range(4):
                for number in range(25):
                    thread = threading.Thread(target=takes, args=(ask(gateway, f"/big/{wave}/{number}"), ended))
                    thread.start()
                    threads.append(thread)
                time.sleep(1.5)
            wait_until(lambda: gateway.metric('penstock_upstream_requests_total{pool="web",outcome="client_slow"}') == 100, what="the end of all of them")
            assert gateway.metric('penstock_upstream_in_flight{pool="web"}') <= 2
            assert_unharmed(gateway, shop, seen)
        finally:
            ended.set()
            for thread in threads:
                thread.join()


def test_a_shop_that_stalls_under_a_client_who_reads_is_to_blame(shop):
    with gateway_before(shop) as gateway:
        for _ in range(3):
            began = time.monotonic()
            data = read_slowly(ask(gateway, "/stalls"), 65536, 0)
            assert 0 < len(data) < 100_000 and 1.5 < time.monotonic() - began < 5
        wait_until(lambda: gateway.metric('penstock_upstream_requests_total{pool="web",outcome="broken"}') == 3, what="three that broke off")


# --- Who has sent its last byte ---


def say_all(gateway, text):
    """What a client gets that shuts its sending side behind its request; without the interim answer that clients skip."""
    with socket.create_connection(("127.0.0.1", gateway.port), 20) as sock:
        sock.sendall(text)
        sock.shutdown(socket.SHUT_WR)
        data = b""
        while part := sock.recv(65536):
            data += part
    return data.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")


@pytest.mark.parametrize("request_text, answer", [
    (b"GET /p/1 HTTP/1.1\r\nHost: shop\r\n\r\n", b"/p/1 0"),
    (b"GET /p/1 HTTP/1.0\r\nHost: shop\r\n\r\n", b"/p/1 0"),
    (b"POST /p/2 HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\n\r\nform", b"/p/2 4"),
    (b"POST /p/3 HTTP/1.1\r\nHost: shop\r\nContent-Length: 500000\r\n\r\n" + b"b" * 500_000, b"/p/3 500000"),
    (b"GET /big HTTP/1.1\r\nHost: shop\r\n\r\n", BIG),
], ids=["page", "page, HTTP/1.0", "form", "upload", "long page"])
def test_a_client_that_has_sent_its_last_byte_gets_its_page(request_text, answer):
    with Upstream(serve, delay_s=0.3) as slow, gateway_before(slow) as gateway:
        data = say_all(gateway, request_text)
        assert data.startswith(b"HTTP/1.1 200") and data.endswith(answer), data[:200]
        wait_until(lambda: gateway.metric('penstock_upstream_requests_total{pool="web",outcome="ok"}') == 1, what="its count")


def test_a_client_that_has_sent_its_last_byte_buys():
    with Gateway() as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=3)
        body = b'{"sku":"phone","quantity":1}'
        head = f"POST /v1/sales/{sale}/orders HTTP/1.1\r\nHost: x\r\nX-User-Id: ann\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        data = say_all(gateway, head.encode() + body)
        assert data.startswith(b"HTTP/1.1 202"), data[:600]
        assert len(gateway.orders(sale)) == 1


def test_a_client_that_has_left_gives_its_place_back_before_its_answer(shop):
    with Upstream(serve) as frozen, gateway_before(frozen, first_byte_ms=20000, total_ms=20000) as gateway:
        frozen.freeze()
        sock = socket.create_connection(("127.0.0.1", gateway.port), 20)
        sock.sendall(b"GET /p/1 HTTP/1.1\r\nHost: shop\r\n\r\n")
        wait_until(lambda: gateway.metric('penstock_upstream_in_flight{pool="web"}') == 1, what="its request")
        sock.close()
        wait_until(lambda: gateway.metric('penstock_upstream_in_flight{pool="web"}') == 0, 5, what="its leave")
        assert gateway.metric('penstock_upstream_requests_total{pool="web",outcome="client_gone"}') == 1
        frozen.thaw()
