"""How long a page may take to its first byte: from the moment at which it is ready to be sent, whatever comes between; what a client still sends does not count."""
import contextlib
import socket
import time

import pytest
from pages import put_pool, put_route, read_all
from penstock import Gateway, call, wait_until
from upstreams import Misbehaving, Upstream

PATIENT = {"outlier": {"consecutive_errors": 0, "success_share_min": 0}}
PLACES = 256  # of one worker, at first


@pytest.fixture(scope="module")
def gateway():
    with Gateway(settings={"workers": 1}) as one:
        one.no_limits()
        yield one


def lead(gateway, pool, *servers, queue_max=0, **more):
    """All pages go to these, whatever they do."""
    put_pool(gateway, pool, *servers, queue_max=queue_max, **PATIENT)
    put_route(gateway, "all", path="/", methods=["GET", "POST"], pool=pool, **more)
    for breaker in (f"pool:{pool}", *(f"endpoint:{pool}:{server.address}" for server in servers)):
        gateway.override(f"breaker:{breaker}", "closed")


def timed(gateway, method, path, body=None):
    began = time.monotonic()
    answer = call(gateway.port, method, path, body, timeout=30)
    return answer, time.monotonic() - began


@pytest.mark.parametrize("method, body", [("GET", None), ("POST", b"x")])
def test_the_time_in_the_queue_is_part_of_it(gateway, method, body):
    """PG7: All places are taken for 4 s by who waits for nothing. Who comes 2.75 s later has one after 1.25 s, and then waits for nothing itself."""
    pool = f"queue-{method}"
    with Upstream() as shop, contextlib.ExitStack() as clients:
        lead(gateway, pool, shop, queue_max=100, first_byte_ms=4000, total_ms=20000)
        shop.freeze()
        began = time.monotonic()
        for number in range(PLACES):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", gateway.port), 5))
            client.sendall(b"GET /%d HTTP/1.1\r\nHost: shop\r\n\r\n" % number)
        wait_until(lambda: gateway.metric(f'penstock_upstream_in_flight{{pool="{pool}"}}') == PLACES, what="who takes the places")
        time.sleep(max(0.0, began + 2.75 - time.monotonic()))
        answer, took = timed(gateway, method, "/late", body)
        assert answer.code == "gateway_timeout" and 3.9 < took < 5, took  # 5.25 without the queue's time
        assert [request.path for request in shop.requests].count("/late") == 1  # it had its place, and was sent
        shop.thaw()


def test_who_gets_no_place_in_half_of_it_is_not_sent_any_more(gateway):
    """What is left would not do: half of it is what an answer may take by the median."""
    with Upstream() as shop, contextlib.ExitStack() as clients:
        lead(gateway, "half", shop, queue_max=100, first_byte_ms=6000, total_ms=20000)
        shop.freeze()
        for number in range(PLACES):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", gateway.port), 5))
            client.sendall(b"GET /%d HTTP/1.1\r\nHost: shop\r\n\r\n" % number)
        wait_until(lambda: gateway.metric('penstock_upstream_in_flight{pool="half"}') == PLACES, what="who takes the places")
        answer, took = timed(gateway, "GET", "/late")
        assert answer.status == 503 and 2.9 < took < 5, (answer, took)
        assert "/late" not in [request.path for request in shop.requests]
        shop.thaw()


def test_the_time_of_a_server_that_could_not_be_reached_is_part_of_it(gateway):
    """PG7."""
    with Misbehaving("never_connects") as unreached, Misbehaving("silent") as silent:
        lead(gateway, "again", unreached, silent, first_byte_ms=3000, total_ms=20000)
        tried = [timed(gateway, "GET", f"/{number}") for number in range(2)]  # each server is the first once
        assert {answer.code for answer, _ in tried} == {"gateway_timeout"} and all(2.9 < took < 3.8 for _, took in tried), tried
        assert len(silent.requests) == 2


def test_a_server_that_could_not_be_reached_leaves_time_for_another_one(gateway):
    with Misbehaving("never_connects") as unreached, Upstream() as good:
        lead(gateway, "other", unreached, good, first_byte_ms=2000, total_ms=20000)
        tried = [timed(gateway, "GET", f"/{number}") for number in range(4)]
        assert [answer.status for answer, _ in tried] == [200] * 4, tried


def test_the_time_in_which_a_client_sends_its_body_is_no_part_of_it(gateway):
    """PG7."""
    with Upstream() as shop:
        lead(gateway, "upload", shop, first_byte_ms=1000, total_ms=20000)
        with socket.create_connection(("127.0.0.1", gateway.port), 10) as client:
            client.sendall(b"POST /slow HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Length: 4\r\n\r\n")
            for byte in b"slow":
                time.sleep(0.4)
                client.sendall(bytes([byte]))
            (status, body, _), = read_all([client])
            assert (status, body) == (200, b"POST /slow 4\n")
        with socket.create_connection(("127.0.0.1", gateway.port), 10) as client:  # and once it is here, the server has the whole of it
            shop.delay_s = 5
            client.sendall(b"POST /slow HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Length: 4\r\n\r\n")
            for byte in b"slow":
                time.sleep(0.3)
                began = time.monotonic()
                client.sendall(bytes([byte]))
            (status, _, _), = read_all([client])
            assert status == 504 and 0.9 < time.monotonic() - began < 3
