"""A page's way is decided once, when its head is there, and what was decided stays until the last byte: whatever a client sends, and whatever operators
change meanwhile, the gateway goes on. Freed memory is filled (MALLOC_PERTURB_), so that what reads it is seen."""
import socket
import time

import pytest
from pages import put_pool, put_route
from penstock import Gateway, raw, wait_until
from upstreams import Misbehaving, Upstream

SORRY = {"kind": "static", "status": 200, "content_type": "text/plain", "body": "sorry\n"}
FIXED = {"status": 200, "content_type": "text/plain", "body": "rules\n"}


@pytest.fixture()
def gateway():
    with Gateway(env={"MALLOC_PERTURB_": "165"}, settings={"workers": 1}) as one:
        one.no_limits()
        yield one
        assert one.process.poll() is None, one.log()


@pytest.fixture()
def shop():
    with Upstream(lambda request: "shop") as one:
        yield one


def put_sorry_route(gateway, body="sorry\n"):
    put_route(gateway, "product", path="/p/", pool="web", methods=["GET", "POST"], fallback=[{**SORRY, "body": body}])


# --- A body that is too large. ---


@pytest.mark.parametrize("route", [{"answer": FIXED}, {"redirect": {"status": 302, "location": "https://shop.example/"}}], ids=["answer", "redirect"])
@pytest.mark.parametrize("body", [b"", b"x" * 5000, b"x" * 100000], ids=["none of it", "a little too much", "all of it"])
def test_a_body_that_no_route_takes_is_refused(gateway, route, body):
    """F30."""
    put_route(gateway, "rules", path="/rules", match="exact", methods=["GET", "POST"], **route)
    for method, status in ((b"GET", b"400"), (b"POST", b"413")):
        back = raw(gateway.port, method + b" /rules HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (len(body) or 100000) + body)
        assert back.startswith(b"HTTP/1.1 %s " % status) and b"Connection: close" in back, back
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    back = raw(gateway.port, b"POST /rules HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + 3 * chunk + b"0\r\n\r\n")
    assert back.startswith(b"HTTP/1.1 413 "), back
    assert gateway.public("GET", "/rules").status == route.get("answer", route.get("redirect"))["status"]


def test_a_small_body_to_a_fixed_answer_is_dropped_and_the_connection_is_kept(gateway):
    """F30."""
    put_route(gateway, "rules", path="/rules", match="exact", methods=["GET", "POST"], answer=FIXED)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as client:
        for _ in range(2):
            client.sendall(b"POST /rules HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
            back = b""
            while not back.endswith(b"rules\n"):
                back += client.recv(65536)
            assert back.startswith(b"HTTP/1.1 200 ") and b"Connection: close" not in back, back


# --- What changes while a request is on its way. ---


@pytest.mark.parametrize("cache", [None, "pages"], ids=["plain", "cached"])
def test_a_route_that_appears_while_a_body_arrives_does_not_serve_it(gateway, shop, cache):
    """PG8: F31."""
    put_pool(gateway, "web", shop)
    assert gateway.admin("PUT", "/admin/v1/caches/pages", {"bytes": 8 << 20}).status == 201
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as client:
        client.sendall(b"POST /p/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234")
        time.sleep(0.3)
        put_route(gateway, "product", path="/p/", pool="web", methods=["GET", "POST"], **({"cache": {"store": cache}} if cache else {}))
        client.sendall(b"56789")
        assert client.recv(65536).startswith(b"HTTP/1.1 404 ")
    assert shop.requests == [] and gateway.public("POST", "/p/1", body=b"x").text == "shop"


def test_a_route_that_goes_while_a_body_arrives_serves_it_to_its_end(gateway, shop):
    """PG8: F31."""
    put_pool(gateway, "web", shop)
    put_sorry_route(gateway)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as client:
        client.sendall(b"POST /p/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n01234")
        wait_until(lambda: shop.requests, what="the head at the shop")
        assert gateway.admin("DELETE", "/admin/v1/routes/product", headers={"If-Match": "*"}).status == 204
        client.sendall(b"56789" + b"x" * 99990)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert shop.requests[0].body == b"0123456789" + b"x" * 99990


def test_a_route_that_goes_while_a_body_is_gathered_serves_it_to_its_end(gateway, shop):
    """PG8: F31."""
    put_pool(gateway, "web", shop)
    put_sorry_route(gateway)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as client:
        client.sendall(b"POST /p/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234")
        time.sleep(0.2)
        assert gateway.admin("DELETE", "/admin/v1/routes/product", headers={"If-Match": "*"}).status == 204
        client.sendall(b"56789")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert shop.requests[0].body == b"0123456789"


@pytest.mark.parametrize("second", ["refuses", "serves", "dies"])
def test_a_pool_that_fails_after_its_table_was_exchanged_is_answered_by_the_routes_own_fallback(gateway, shop, second):
    """F31: The request waits at its pool; the tables are exchanged, many times; the pool fails, and the fallback pool answers, refuses or dies."""
    kinds = {"refuses": lambda: Misbehaving("refuses"), "serves": lambda: Upstream(lambda request: "backup"), "dies": lambda: Misbehaving("closes_before_head")}
    with kinds[second]() as backup:
        put_pool(gateway, "web", shop)
        put_pool(gateway, "backup", backup)
        for turn in range(3):
            shop.freeze()
            fallback = [{"kind": "pool", "pool": "backup"}, {**SORRY, "body": f"sorry {turn}\n"}]
            put_route(gateway, "product", path="/p/", pool="web", fallback=fallback)
            shop.clear()
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as client:
                client.sendall(b"GET /p/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                wait_until(lambda: shop.kept > 0, what="the request at the shop")
                for version in range(10):
                    put_route(gateway, "product", path="/p/", pool="web", fallback=[{**SORRY, "body": f"later {version}\n"}])
                shop.kill()
                back = b""
                while part := client.recv(65536):
                    back += part
            assert back.endswith(b"backup" if second == "serves" else b"sorry %d\n" % turn), back
            shop.start()
