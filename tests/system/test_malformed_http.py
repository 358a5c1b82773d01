"""Malformed HTTP against the real program: each attempt is refused and its connection closes, nothing that was smuggled
behind it is ever served, and a good request beside it is."""
import contextlib
import json
import socket

import pytest
from load import Connection, buy_bytes
from penstock import Gateway

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

# What is sent, and the status that refuses it; 0: the connection closes without an answer.
REFUSED = {
    # Host
    "no Host": (get(host=b""), 400),
    "no Host in HTTP/1.0": (get(host=b"", version=b"HTTP/1.0"), 400),
    "no Host for a probe in HTTP/1.1": (get(host=b"", target=b"/livez"), 400),
    "two Hosts": (get(b"Host: other.example\r\n"), 400),
    "two equal Hosts": (get(HOST), 400),
    "an empty Host": (get(host=b"Host:\r\n"), 400),
    "a Host with a path": (get(host=b"Host: shop.example/x\r\n"), 400),
    "a Host with a user": (get(host=b"Host: me@shop.example\r\n"), 400),
    "a Host with a space": (get(host=b"Host: shop example\r\n"), 400),
    "two hosts in a line": (get(host=b"Host: a.example, b.example\r\n"), 400),
    "a Host with a word as port": (get(host=b"Host: shop.example:http\r\n"), 400),
    "a NUL in Host": (get(host=b"Host: shop\0.example\r\n"), 400),
    # Length and encoding: what smuggling is made of
    "two Content-Lengths": (order(b"Content-Length: 3\r\n") + SMUGGLED, 400),
    "two equal Content-Lengths": (order(b"Content-Length: %d\r\n" % len(BODY)) + SMUGGLED, 400),
    "Content-Length after chunked": (order(CHUNKED, LAST + SMUGGLED), 400),
    "chunked after Content-Length": (order(b"Content-Length: 5\r\n" + CHUNKED, LAST + SMUGGLED, length=False), 400),
    "chunked behind a bare LF": (order(b"X-A: a\nTransfer-Encoding: chunked\r\n", LAST + SMUGGLED), 400),
    "chunked with a space before its colon": (order(b"Transfer-Encoding : chunked\r\n", LAST + SMUGGLED), 400),
    "chunked with a tab before its colon": (order(b"Transfer-Encoding\t: chunked\r\n", LAST + SMUGGLED), 400),
    "chunked on a folded line": (order(b"Transfer-Encoding:\r\n chunked\r\n", LAST + SMUGGLED), 400),
    "chunked twice": (order(b"Transfer-Encoding: chunked, chunked\r\n", LAST + SMUGGLED, length=False), 400),
    "chunked in two lines": (order(CHUNKED + CHUNKED, LAST + SMUGGLED, length=False), 400),
    "gzip before chunked": (order(b"Transfer-Encoding: gzip, chunked\r\n", LAST + SMUGGLED, length=False), 400),
    "an unknown encoding": (order(b"Transfer-Encoding: xchunked\r\n", LAST + SMUGGLED, length=False), 400),
    "identity": (order(b"Transfer-Encoding: identity\r\n", LAST + SMUGGLED), 400),
    "an empty encoding": (order(b"Transfer-Encoding:\r\n", LAST + SMUGGLED, length=False), 400),
    "chunked in quotes": (order(b'Transfer-Encoding: "chunked"\r\n', LAST + SMUGGLED, length=False), 400),
    "a vertical tab before chunked": (order(b"Transfer-Encoding: \x0bchunked\r\n", LAST + SMUGGLED, length=False), 400),
    "chunked in HTTP/1.0": (order(CHUNKED, LAST + SMUGGLED, length=False,
                                  line=b"POST /v1/sales/malformed/orders HTTP/1.0\r\n"), 400),
    "a signed Content-Length": (order(b"Content-Length: +28\r\n", length=False) + SMUGGLED, 400),
    "a negative Content-Length": (order(b"Content-Length: -1\r\n", length=False) + SMUGGLED, 400),
    "a hexadecimal Content-Length": (order(b"Content-Length: 0x1c\r\n", length=False) + SMUGGLED, 400),
    "a list as Content-Length": (order(b"Content-Length: 28, 28\r\n", length=False) + SMUGGLED, 400),
    "an empty Content-Length": (order(b"Content-Length:\r\n", length=False) + SMUGGLED, 400),
    "a Content-Length of words": (order(b"Content-Length: many\r\n", length=False) + SMUGGLED, 400),
    "a Content-Length of 20 digits": (order(b"Content-Length: 99999999999999999999\r\n", length=False) + SMUGGLED, 413),
    "a chunk size that is none": (order(CHUNKED, b"xyz\r\n" + SMUGGLED, length=False), 400),
    "a negative chunk size": (order(CHUNKED, b"-1\r\n" + SMUGGLED, length=False), 400),
    "a chunk longer than its size": (order(CHUNKED, b"3\r\nabcdef\r\n" + LAST + SMUGGLED, length=False), 400),
    "a chunk size of 17 digits": (order(CHUNKED, b"10000000000000000\r\n" + SMUGGLED, length=False), (400, 413)),
    "a space in a trailer's name": (order(CHUNKED, b"0\r\nX A: 1\r\n\r\n" + SMUGGLED, length=False), 400),
    "a control byte in a trailer": (order(CHUNKED, b"0\r\nX-A: \x01\r\n\r\n" + SMUGGLED, length=False), 400),
    # Fields
    "a space before a colon": (get(b"X-A : a\r\n"), 400),
    "a space within a name": (get(b"X A: a\r\n"), 400),
    "a space before the first name": (get(host=b" Host: shop.example\r\n"), 400),
    "an empty name": (get(b": a\r\n"), 400),
    "a field without a colon": (get(b"X-A\r\n"), 400),
    "a parenthesis in a name": (get(b"X(A): a\r\n"), 400),
    "UTF-8 in a name": (get(b"X-\xc3\xbc: a\r\n"), 400),
    "a control byte in a name": (get(b"X-\x01A: a\r\n"), 400),
    "a NUL in a value": (get(b"X-A: a\0b\r\n"), 400),
    "a NUL that hides a user": (order(b"X-A: a\0\r\nX-B: b\r\n"), 400),
    "an escape byte in a value": (get(b"X-A: \x1b[31m\r\n"), 400),
    "a DEL in a value": (get(b"X-A: \x7f\r\n"), 400),
    "a bare CR in a value": (get(b"X-A: a\rX-B: b\r\n"), 400),
    "a bare LF after a field": (get(b"X-A: a\nX-B: b\r\n"), 400),
    "nothing but bare LFs": (b"GET /v1/sales/malformed HTTP/1.1\nHost: shop.example\n\n", 400),
    "a bare LF as the last line": (b"GET /v1/sales/malformed HTTP/1.1\r\n" + HOST + b"\n", 400),
    "a folded line": (get(b"X-A: a\r\n b\r\n"), 400),
    "a folded line by a tab": (get(b"X-A: a\r\n\tb\r\n"), 400),
    "two X-User-Ids": (order(b"X-User-Id: admin\r\n"), 400),
    "two X-User-Ids in other letters": (order(b"x-user-id: mallory\r\n"), 400),
    "two Idempotency-Keys": (order(b"Idempotency-Key: a\r\nIdempotency-Key: b\r\n"), 400),
    "two Content-Types": (order(b"Content-Type: text/plain\r\n"), 400),
    "two Authorizations": (get(b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"), 400),
    "nine lines of X-Forwarded-For": (get(b"X-Forwarded-For: 192.0.2.1\r\n" * 9), 400),
    # Request line
    "an absolute target": (get(target=b"http://shop.example/v1/sales/malformed"), 400),
    "an authority as target": (get(target=b"shop.example:443", method=b"CONNECT"), 400),
    "an asterisk": (get(target=b"*"), 400),
    "a target without a slash": (get(target=b"v1/sales/malformed"), 400),
    "an encoded NUL in the path": (get(target=b"/v1/sales/malformed%00"), 400),
    "an encoded NUL in the query": (get(target=b"/v1/sales/malformed?a=%00"), 400),
    "a NUL in the path": (get(target=b"/v1/sales/\0malformed"), 400),
    "a control byte in the path": (get(target=b"/v1/sales/\x01malformed"), 400),
    "UTF-8 in the path": (get(target=b"/v1/sales/\xc3\xbc"), 400),
    "a DEL in the path": (get(target=b"/v1/sales/\x7f"), 400),
    "a fragment": (get(target=b"/v1/sales/malformed#a"), 400),
    "a space in the target": (get(target=b"/v1/sales/malformed x"), 400),
    "two spaces before the target": (get(target=b" /v1/sales/malformed"), 400),
    "a tab before the target": (b"GET\t/v1/sales/malformed /x HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a control byte in the method": (get(method=b"G\x01T"), 400),
    "a NUL in the method": (get(method=b"G\0T"), 400),
    "a parenthesis in the method": (get(method=b"G(T"), 400),
    "no version": (b"GET /v1/sales/malformed\r\n" + HOST + b"\r\n", 400),
    "a version in small letters": (get(version=b"http/1.1"), 400),
    "a version of two digits": (get(version=b"HTTP/1.10"), 400),
    "a space behind the version": (get(version=b"HTTP/1.1 "), 400),
    "another protocol's version": (get(version=b"FTP/1.1"), 400),
    "HTTP/2 in clear": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/0.9 by name": (get(version=b"HTTP/0.9"), 505),
    "one word": (b"GET\r\n\r\n", 0),
    # Sizes
    "a target of 3,000 bytes": (get(target=b"/v1/sales/" + b"a" * 3000), 414),
    "a target of 60,000 bytes": (get(target=b"/" + b"a" * 60000), 414),
    "a field of 20,000 bytes": (get(b"X-A: " + b"a" * 20000 + b"\r\n"), 431),
    "500 fields": (get(b"".join(b"X-%d: a\r\n" % i for i in range(500))), 431),
    "500 cookies": (get(b"Cookie: " + b"; ".join(b"a%d=b" % i for i in range(500)) + b"\r\n"), 431),
    "a body of 5,000 bytes": (order(body=b" " * 5000) + SMUGGLED, 413),
    "a body of 200,000 bytes": (order(body=b" " * 200000) + SMUGGLED, 413),
    "a body of 5,000 bytes in chunks": (order(CHUNKED, b"1388\r\n" + b" " * 5000 + b"\r\n" + LAST + SMUGGLED, length=False), 413),
    "a body of 200,000 bytes in chunks": (order(CHUNKED, b"30d40\r\n" + b" " * 200000 + b"\r\n" + LAST + SMUGGLED, length=False), 413),
    "a body that is announced as too long": (order(b"Content-Length: 1000000000\r\n", b"", length=False), 413),
    "too long a body that waits for 100": (order(b"Content-Length: 5000\r\nExpect: 100-continue\r\n", b"", length=False), 413),
}


@pytest.fixture(scope="module")
def gateway():
    with Gateway() as one:
        one.no_limits()
        one.make_sale(SALE, stock=1000)
        yield one
        assert one.stop() == 0


@pytest.fixture(scope="module")
def beside(gateway):
    """A buyer on a kept connection: he is served whatever happens beside him."""
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
    data, status = REFUSED[claim]
    back = exchange(gateway.port, data)
    statuses = answers(back)
    if status == 0:
        assert back == b""
    else:
        assert len(statuses) == 1 and statuses[0] in (status if isinstance(status, tuple) else (status,)), back
        assert b"\r\nconnection: close\r\n" in back.lower(), back
    beside()


def test_nothing_of_all_that_was_served(gateway, beside):
    assert_nothing_was_smuggled(gateway)
    gateway.assert_books(SALE)


@pytest.mark.parametrize("step", [1, 3])
def test_malformed_in_small_pieces_is_the_same(gateway, beside, step):
    """How bytes are cut changes nothing."""
    for claim in ("two Hosts", "chunked behind a bare LF", "a folded line", "an encoded NUL in the path", "two X-User-Ids",
                  "a NUL in a value", "Content-Length after chunked", "a version of two digits"):
        data, status = REFUSED[claim]
        end = data.index(b"\r\n\r\n") + 4
        back = exchange(gateway.port, *(data[i:i + step] for i in range(0, end, step)))
        assert answers(back) == [status], (claim, back)
        beside()
    assert_nothing_was_smuggled(gateway)


def test_rubbish_is_refused_or_cut_and_harms_nobody(gateway, beside):
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
                 pause + auth + b"\r\n", pause + b"X-A : b\r\n\r\n", pause + b"X-A: a\n\r\n",
                 b"POST http://x/admin/v1/sales/malformed/pause HTTP/1.1\r\n" + host + auth + b"\r\n"):
        assert answers(exchange(gateway.admin_port, data)) == [400], data
    assert gateway.sale(SALE)["state"] == "open"
