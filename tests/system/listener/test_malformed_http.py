"""Malformed HTTP against the real program: each attempt is refused and its connection closes, nothing that was smuggled
behind it is ever served, and a good request beside it is."""
import contextlib
import json
import pathlib
import socket

import pytest
from load import Connection, buy_bytes
from penstock import PATIENT_LOG, Gateway

HOST = b"Host: shop.example\r\n"
SALE = "malformed"
BODY = b'{"sku":"phone","quantity":1}'


def order(fields=b"", body=BODY, line=b"POST /v1/sales/malformed/orders HTTP/1.1\r\n", user=b"mallory", host=HOST, length=True,
          kind=b"application/json"):
    """A buy with something wrong in it."""
    return (line + host + b"X-User-Id: " + user + b"\r\nContent-Type: " + kind + b"\r\n" + fields
            + (b"Content-Length: %d\r\n" % len(body) if length else b"") + b"\r\n" + body)


def get(fields=b"", target=b"/v1/sales/malformed", method=b"GET", version=b"HTTP/1.1", host=HOST):
    return method + b" " + target + b" " + version + b"\r\n" + host + fields + b"\r\n"


CHUNKED = b"Transfer-Encoding: chunked\r\n"
LAST = b"0\r\n\r\n"
SMUGGLED = order(user=b"smuggler")

def rows():
    """tests/http/requests.txt: claim -> (bytes, status that refuses them, or None where they are taken)."""
    text = (pathlib.Path(__file__).parents[2] / "http/requests.txt").read_text(encoding="ascii")
    parts = [line.split(" | ", 2) for line in text.splitlines() if line and not line.startswith("#")]
    return {claim: (data.encode().decode("unicode_escape").encode("latin-1"), None if outcome == "taken" else int(outcome))
            for outcome, claim, data in parts}


ROWS = rows()
# What is sent, and the status that refuses it.
REFUSED = {claim: (data + SMUGGLED, status) for claim, (data, status) in ROWS.items()
           if status and claim != "two client addresses"} | {  # a header that this gateway is not told to read
    "a NUL that hides a user": (order(b"X-A: a\0\r\nX-B: b\r\n"), 400),
    "two X-User-Ids in a buy": (order(b"X-User-Id: admin\r\n"), 400),
    "Content-Length after chunked in a buy": (order(CHUNKED, LAST + SMUGGLED), 400),
    "chunked behind a bare LF in a buy": (order(b"X-A: a\nTransfer-Encoding: chunked\r\n", LAST + SMUGGLED), 400),
    # Sizes
    "a target of 3,000 bytes": (get(target=b"/v1/sales/" + b"a" * 3000), 414),
    "a target of 60,000 bytes": (get(target=b"/" + b"a" * 60000), 414),
    "a field of 20,000 bytes": (get(b"X-A: " + b"a" * 20000 + b"\r\n"), 431),
    "500 fields": (get(b"".join(b"X-%d: a\r\n" % i for i in range(500))), 431),
    "2,000 cookies": (get(b"Cookie: " + b"; ".join(b"a%d=b" % i for i in range(2000)) + b"\r\n"), 431),
    "a body of 5,000 bytes": (order(body=b" " * 5000) + SMUGGLED, 413),
    "a body of 200,000 bytes": (order(body=b" " * 200000) + SMUGGLED, 413),
    "a body of 5,000 bytes in chunks": (order(CHUNKED, b"1388\r\n" + b" " * 5000 + b"\r\n" + LAST + SMUGGLED, length=False), 413),
    "a body of 200,000 bytes in chunks": (order(CHUNKED, b"30d40\r\n" + b" " * 200000 + b"\r\n" + LAST + SMUGGLED, length=False), 413),
    "a body that is announced as too long": (order(b"Content-Length: 1000000000\r\n", b"", length=False), 413),
    "too long a body that waits for 100": (order(b"Content-Length: 5000\r\nExpect: 100-continue\r\n", b"", length=False), 413),
}


@pytest.fixture(scope="module")
def gateway():
    with Gateway(settings=PATIENT_LOG) as one:
        one.no_limits()
        one.make_sale(SALE, stock=1000)
        yield one
        assert one.stop() == 0


@pytest.fixture(scope="module")
def beside(gateway):
    """A buyer on a kept connection is served whatever other connections send."""
    connection = Connection(gateway.port, 10)
    count = 0

    def buy():
        nonlocal count
        count += 1
        status, body = connection.ask(buy_bytes(SALE, f"good-{count}", "k"))
        assert status == 202 and json.loads(body)["state"] == "accepted", body
        assert not connection.closing

    yield buy
    connection.close()


def exchange(port, *pieces):
    """Sends bytes as they are; what came back until the connection was closed, which must happen."""
    back = b""
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.settimeout(20)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):  # refused before all was said
            for piece in pieces:
                s.sendall(piece)
        with contextlib.suppress(ConnectionError):
            while more := s.recv(65536):
                back += more
    return back


def answers(data):
    """The status of each answer in what came back (answers have a length)."""
    found = []
    while data.startswith(b"HTTP/1.1 "):
        head, _, rest = data.partition(b"\r\n\r\n")
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        found.append(int(head.split()[1]))
        data = rest[int(length[0].split(b":")[1]):] if length else rest
    return found


def assert_nothing_was_smuggled(gateway):
    users = {o["user"] for o in gateway.orders(SALE)}
    assert not users & {"smuggler", "mallory", "admin"}, users
    assert gateway.process.poll() is None


@pytest.mark.parametrize("claim", list(REFUSED))
def test_malformed(gateway, beside, claim):
    """F19."""
    data, status = REFUSED[claim]
    back = exchange(gateway.port, data)
    assert answers(back) == [status], back
    assert b"\r\nconnection: close\r\n" in back.lower() and b"\r\nx-request-id: " in back.lower(), back
    assert b"application/problem+json" in back, back
    beside()


@pytest.mark.parametrize("claim", [claim for claim, (_, status) in ROWS.items() if status is None])
def test_taken(gateway, beside, claim):
    """It reaches the routes, which know no such path, and the connection serves the next request."""
    back = exchange(gateway.port, ROWS[claim][0] + get(b"Connection: close\r\n"))
    assert answers(back) in ([404, 200], [405, 200], [204, 200]) or b"HTTP/1.0" in ROWS[claim][0], back
    beside()


def test_nothing_of_all_that_was_served(gateway, beside):
    assert_nothing_was_smuggled(gateway)
    gateway.assert_books(SALE)


@pytest.mark.parametrize("step", [1, 3])
def test_malformed_in_small_pieces_is_the_same(gateway, beside, step):
    """How bytes are cut changes nothing."""
    for claim in ("two Hosts", "chunked behind a bare LF in a buy", "a folded line", "an encoded NUL in the path", "two X-User-Ids",
                  "a NUL in a value", "both lengths, chunked first", "a version with two digits"):
        data, status = REFUSED[claim]
        end = data.index(b"\r\n\r\n") + 4
        back = exchange(gateway.port, *(data[i:i + step] for i in range(0, end, step)))
        assert answers(back) == [status], (claim, back)
        beside()
    assert_nothing_was_smuggled(gateway)


def test_rubbish_is_refused_or_cut_and_harms_nobody(gateway, beside):
    """F19."""
    for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200 + b"\r\n\r\n", b"\xff" * 3000 + b"\r\n\r\n",
                 b"\0" * 20000, b"SSH-2.0-OpenSSH_9.2\r\n", b"\r\n" * 3000 + b"x\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", gateway.port), 10) as s:
            s.settimeout(20)
            with contextlib.suppress(OSError):  # refused already
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
            back = b""
            with contextlib.suppress(ConnectionError):
                while more := s.recv(65536):
                    back += more
            assert not back.startswith(b"HTTP/1.1 2"), back
        beside()


def test_a_pipeline_is_answered_in_order(gateway, beside):
    requests = b"".join(get() if i % 3 == 0 else order(user=b"pipe-%d" % i) if i % 3 == 1 else get(target=b"/nothing")
                        for i in range(30))
    back = exchange(gateway.port, requests + get(b"Connection: close\r\n"))
    assert answers(back) == [200, 202, 404] * 10 + [200]
    beside()


def test_a_pipeline_ends_at_its_first_malformed_request(gateway, beside):
    back = exchange(gateway.port, order(user=b"before") + get(HOST) + SMUGGLED)
    assert answers(back) == [202, 400], back
    assert "before" in {o["user"] for o in gateway.orders(SALE)}
    assert_nothing_was_smuggled(gateway)
    beside()


def test_bodies_that_are_well_framed_are_bodies_and_no_requests(gateway, beside):
    """A request within a body stays a body: it is refused as JSON, once, and what follows is the next request."""
    inner = SMUGGLED
    chunked = order(CHUNKED, b"%x\r\n" % len(inner) + inner + b"\r\n" + LAST, length=False)
    back = exchange(gateway.port, order(body=inner) + chunked + get(b"Connection: close\r\n"))
    assert answers(back) == [400, 400, 200], back
    assert_nothing_was_smuggled(gateway)
    beside()


def test_good_requests_in_strange_dress_are_served(gateway, beside):
    good = [get(version=b"HTTP/1.0"), get(host=b"host:shop.example:8080\r\n"), get(b"X-A:\r\n"), get(b"X-A: a\tb \t\r\n"),
            get(target=b"/v1/sales/malformed?x=%20&y"), get(host=b"Host: [2001:db8::1]:80\r\n"), b"\r\n" + get(),
            get(b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n"), get(b"Cookie: a=b; c=d\r\n")]
    for request in good:
        head, rest = request.split(b"\r\n\r\n", 1) if not request.startswith(b"\r\n") else (request[:-4], b"")
        assert answers(exchange(gateway.port, head + b"\r\nConnection: close\r\n\r\n" + rest)) == [200], request
    assert answers(exchange(gateway.port, order(CHUNKED + b"Connection: close\r\n", b"%x\r\n" % len(BODY) + BODY + b"\r\n" + LAST,
                                           length=False, user=b"chunks"))) == [202]
    assert answers(exchange(gateway.port, b"GET /livez HTTP/1.0\r\n\r\n")) == [200]


def test_the_admin_listener_is_as_strict(gateway):
    host = b"Host: 127.0.0.1:%d\r\n" % gateway.admin_port
    auth = b"Authorization: Bearer " + gateway.token.encode() + b"\r\n"
    pause = b"POST /admin/v1/sales/malformed/pause HTTP/1.1\r\n" + host + auth
    for data in (pause + host + b"\r\n", pause + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" + LAST,
                 pause + auth + b"\r\n", pause + b"X-A : b\r\n\r\n", pause + b"X-A: a\n\r\n"):
        assert answers(exchange(gateway.admin_port, data)) == [400], data
    elsewhere = b"POST http://x/admin/v1/sales/malformed/pause HTTP/1.1\r\n" + host + auth + b"Connection: close\r\n\r\n"
    assert answers(exchange(gateway.admin_port, elsewhere)) == [421]  # the host in the target is the one that counts
    assert gateway.sale(SALE)["state"] == "open"
