"""The PROXY protocol on the public listener: who may connect, what the header says of the client, and what hostile bytes get."""
import contextlib
import json
import re
import socket
import struct
import subprocess
import time

import pytest
from pages import put_pool, put_route
from penstock import PENSTOCK, ROOT, Gateway, wait_until
from upstreams import Reply, Upstream

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
V1 = b"PROXY TCP4 198.51.100.7 10.0.0.1 40000 80\r\n"
V1_UNKNOWN = b"PROXY UNKNOWN\r\n"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"


def v2(source="198.51.100.7", values=b"", family=socket.AF_INET):
    target = "10.0.0.1" if family == socket.AF_INET else "2001:db8::1"
    body = socket.inet_pton(family, source) + socket.inet_pton(family, target) + struct.pack(">HH", 40000, 80) + values
    return SIGNATURE + bytes([0x21, 0x11 if family == socket.AF_INET else 0x21]) + struct.pack(">H", len(body)) + body


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def with_checksum(wrong=0):
    head = v2(values=b"\x03\x00\x04\0\0\0\0")
    return head[:-4] + struct.pack(">I", crc32c(head) ^ wrong)


def start(versions, **settings):
    gateway = Gateway(settings={"listen": {"proxy_protocol": versions}, "access_log": {"every": 1, "addresses": True}, "workers": 1,
                                "trusted_proxies": ["127.0.0.1", "192.0.2.0/24"], **settings})
    gateway.spawn()
    wait_until(lambda: answer(gateway.port, LOCAL if versions != "v1" else V1_UNKNOWN, b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200"),
               60, what="readiness")
    return gateway


@pytest.fixture(scope="module")
def gateways():
    with contextlib.ExitStack() as stack:
        yield {versions: stack.enter_context(start(versions)) for versions in ("v1", "v2", "any")}


def answer(port, *parts, source="127.0.0.1", pause=0.0, timeout=10):
    """All that comes back; b"" if the connection is closed without an answer."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout, (source, 0)) as s:
        with contextlib.suppress(OSError):
            for part in parts:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                s.sendall(part)
                time.sleep(pause)
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while part := s.recv(65536):
                got += part
        return got
    return b""


def status(text):
    return int(text.split(b" ")[1]) if text else 0


def client_of(gateway, *parts, fields=b""):
    """The address that the access log has for the request."""
    request_id = f"id-{time.monotonic_ns()}"
    text = answer(gateway.port, *parts, f"GET /v1/orders/x HTTP/1.1\r\nHost: a\r\nX-Request-Id: {request_id}\r\nConnection: close\r\n".encode() + fields + b"\r\n")
    assert status(text) in (401, 404), text
    wait_until(lambda: request_id in gateway.log_path.read_text(), what="the line of the request")
    return json.loads(next(line for line in gateway.log_path.read_text().splitlines() if request_id in line))["address"]


SAYS = {
    "a line": (V1, "198.51.100.7"), "binary": (v2(), "198.51.100.7"), "IPv6": (v2("2001:db8::7", family=socket.AF_INET6), "2001:db8::7"),
    "a checksum": (with_checksum(), "198.51.100.7"), "values": (v2(values=b"\x04\x00\x02ab\x02\x00\x05a.com\x05\x00\x02id"), "198.51.100.7"),
    "UNKNOWN": (V1_UNKNOWN, "127.0.0.1"), "LOCAL": (LOCAL, "127.0.0.1"), "AF_UNIX": (SIGNATURE + b"\x21\x31\x00\xd8" + b"/run/a".ljust(216, b"\0"), "127.0.0.1"),
}


@pytest.mark.parametrize("what", SAYS)
def test_the_header_says_whose_connection_it_is(gateways, what):
    header, client = SAYS[what]
    assert client_of(gateways["any"], header) == client
    assert client_of(gateways["any"], header[:7], header[7:]) == client


def test_one_byte_at_a_time_is_read(gateways):
    parts = [bytes([byte]) for byte in v2()]
    assert status(answer(gateways["v2"].port, *parts, LIVEZ, pause=0.005)) == 200


def test_the_fields_of_proxies_behind_it_are_read_only_if_its_address_is_one(gateways):
    forged = b"X-Forwarded-For: 203.0.113.9\r\n"
    assert client_of(gateways["v2"], v2("198.51.100.7"), fields=forged) == "198.51.100.7"
    assert client_of(gateways["v2"], v2("192.0.2.7"), fields=forged) == "203.0.113.9"
    assert client_of(gateways["v2"], LOCAL, fields=forged) == "203.0.113.9"


# Who says what: the peer is trusted in each; a client of its own, a trusted proxy's, and the peer's own connection.
CLIENT, PROXYS, OWN = v2("198.51.100.7"), v2("192.0.2.7"), LOCAL


def buys(gateway, header, sale="who"):
    body = b'{"sku":"phone"}'
    return status(answer(gateway.port, header, b"POST /v1/sales/%s/orders HTTP/1.1\r\nHost: a\r\nX-User-Id: %s\r\nContent-Type: application/json\r\n"
                         b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (sale.encode(), f"u{time.monotonic_ns()}".encode(), len(body), body)))


def test_the_user_is_believed_only_if_peer_and_address_are_trusted(gateways):
    gateway = gateways["v2"]
    gateway.no_limits()
    gateway.make_sale("who", stock=9)
    assert [buys(gateway, header) for header in (CLIENT, PROXYS, OWN)] == [401, 202, 202]
    assert len(gateway.orders("who")) == 2


# The table of fields that are forwarded from a trusted proxy alone; two more are lists that the gateway continues.
TABLE = re.findall(r'NAME\("([^"]+)"\), TO_SHOP, (?:BELIEVED|KNOWN|OVERRIDE)', (ROOT / "gateway/upstream/fields.c").read_text())


def test_fields_of_forwarding_reach_the_shop_only_if_peer_and_address_are_trusted(gateways):
    gateway = gateways["v2"]
    gateway.no_limits()
    forged = "".join(f"{name}: said.example\r\n" for name in (*TABLE, "Forwarded", "X-Forwarded-For")).replace("Forwarded: said.example", "Forwarded: host=said.example")
    forged = forged.replace("X-Forwarded-For: said.example", "X-Forwarded-For: 203.0.113.9").replace("X-Forwarded-Port: said.example", "X-Forwarded-Port: 81")
    assert len(TABLE) > 15
    with Upstream() as shop:
        put_pool(gateway, "web", shop)
        put_route(gateway, "all", path="/", pool="web")
        for header, believed in ((CLIENT, False), (PROXYS, True), (OWN, True)):
            before = len(shop.requests)
            assert status(answer(gateway.port, header, f"GET /p/1 HTTP/1.1\r\nHost: shop.example\r\n{forged}Connection: close\r\n\r\n".encode())) == 200
            asked = shop.requests[before]
            said = {name for name, value in asked.fields if "said.example" in value or "203.0.113.9" in value or value == "81"}
            assert said == (set(TABLE) | {"Forwarded", "X-Forwarded-For"} if believed else set()), (header, said)
        put_route(gateway, "all", path="/", pool="web", cache={})
        asks = "GET /kept HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-Host: {}\r\nConnection: close\r\n\r\n"
        shop.serve = lambda request: Reply(200, f"for {request.value('X-Forwarded-Host')}", {"Cache-Control": "public, max-age=60"})
        pages = [answer(gateway.port, header, asks.format(host).encode()).partition(b"\r\n\r\n")[2]
                 for header, host in ((CLIENT, "one"), (CLIENT, "two"), (PROXYS, "one"), (PROXYS, "two"))]
        assert pages == [b"for shop.example", b"for shop.example", b"for one", b"for two"], pages


def test_a_long_silence_is_allowed_only_if_peer_and_address_are_trusted():
    with start("v2", http={"idle_timeout_ms": 500, "idle_trusted_timeout_ms": 60000}) as gateway, contextlib.ExitStack() as stack:
        kept = [stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), 10)) for _ in range(3)]
        for s, header in zip(kept, (CLIENT, PROXYS, OWN)):
            s.sendall(header + LIVEZ.replace(b"Connection: close\r\n", b""))
            assert status(s.recv(65536)) == 200
        assert kept[0].recv(1) == b""
        for s in kept[1:]:
            s.settimeout(1.5)
            with pytest.raises(TimeoutError):
                s.recv(1)


def test_a_proxy_in_http_mode_may_speak_for_its_clients():
    """By a setting, of which the start warns. Whose X-Forwarded-For counts for limits is still the address's matter."""
    with start("v2", listen={"proxy_protocol": "v2", "proxy_protocol_trusts_clients": True}) as gateway:
        gateway.make_sale("who", stock=9)
        assert [buys(gateway, header) for header in (CLIENT, PROXYS, OWN)] == [202, 202, 202]
        assert client_of(gateway, CLIENT, fields=b"X-Forwarded-For: 203.0.113.9\r\n") == "198.51.100.7"
        assert gateway.log_path.read_text().count('"proxy_clients_are_trusted"') == 1


def test_the_start_warns_of_nothing_where_clients_are_not_trusted(gateways):
    assert not any("proxy_clients_are_trusted" in gateway.log_path.read_text() for gateway in gateways.values())


def count(gateway, result):
    return gateway.metric(f'penstock_proxy_headers_total{{result="{result}"}}')


REFUSED = {
    "no header": ("any", LIVEZ), "another magic": ("any", b"\r\n\r\n\0\r\nQUIX"), "TLS": ("any", b"\x16\x03\x01\x02\x00\x01"),
    "version 1 where version 2 is asked": ("v2", V1), "version 2 where version 1 is asked": ("v1", v2()),
    "a long line": ("any", b"PROXY UNKNOWN " + b"a" * 93), "a long header": ("any", SIGNATURE + b"\x21\x11\x02\x09" + bytes(521)),
    "a wrong checksum": ("any", with_checksum(wrong=1)), "a value without an end": ("any", v2(values=b"\x04\x00\x09a")),
    "an address of another family": ("any", b"PROXY TCP4 2001:db8::7 10.0.0.1 1 2\r\n"), "a bare line end": ("any", V1.replace(b"\r", b"")),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_begin_with_a_header_gets_no_answer(gateways, what):
    gateway = gateways[REFUSED[what][0]]
    before = count(gateway, "malformed")
    assert answer(gateway.port, REFUSED[what][1], LIVEZ) == b""
    assert count(gateway, "malformed") == before + 1
    assert status(answer(gateway.port, V1 if REFUSED[what][0] != "v2" else v2(), LIVEZ)) == 200


def test_a_second_header_is_no_request(gateways):
    assert status(answer(gateways["v1"].port, V1, V1, LIVEZ)) == 400
    assert status(answer(gateways["any"].port, v2() + v2() + LIVEZ)) == 400


def test_silence_and_half_a_header_end_after_a_second(gateways):
    gateway = gateways["any"]
    before = count(gateway, "late")
    for part in (b"", V1[:-1], v2()[:20]):
        begun = time.monotonic()
        assert answer(gateway.port, part) == b""
        assert time.monotonic() - begun > 0.9
    assert count(gateway, "late") == before + 3


def test_a_client_that_leaves_is_counted(gateways):
    before = count(gateways["any"], "left")
    for part in (b"", V1[:9]):
        with socket.create_connection(("127.0.0.1", gateways["any"].port)) as s:
            s.sendall(part)
    wait_until(lambda: count(gateways["any"], "left") == before + 2, what="two that have left")


def test_nobody_else_may_connect(gateways):
    gateway = gateways["any"]
    before = count(gateway, "untrusted")
    assert answer(gateway.port, v2(), LIVEZ, source="127.0.0.2") == b"" == answer(gateway.port, LIVEZ, source="127.0.0.2")
    assert count(gateway, "untrusted") == before + 2
    wait_until(lambda: '"proxy_header_refused"' in gateway.log_path.read_text(), 90, what="a warning")


def test_connections_are_counted_for_the_address_of_the_header():
    with start("v2", http={"connections_per_address": 2}) as gateway, contextlib.ExitStack() as stack:
        def keep(header):
            s = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), 10))
            s.sendall(header + LIVEZ.replace(b"Connection: close\r\n", b""))
            return status(s.recv(65536))

        assert [keep(v2("198.51.100.7")) for _ in range(3)] == [200, 200, 503]
        assert [keep(v2("198.51.100.8")) for _ in range(2)] == [200, 200]
        assert [keep(LOCAL) for _ in range(5)] == [keep(v2("192.0.2.1")) for _ in range(5)] == [200] * 5
        stack.close()
        wait_until(lambda: keep(v2("198.51.100.7")) == 200, what="a place again")


def test_many_who_are_silent_keep_nobody_out(gateways):
    gateway = gateways["any"]
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), 10)).sendall(V1[:5])
        assert status(answer(gateway.port, v2(), LIVEZ)) == 200


def test_nobody_could_connect_without_a_trusted_proxy(tmp_path):
    config = tmp_path / "penstock.json"
    config.write_text(json.dumps({"listen": {"proxy_protocol": "v2"}}))
    done = subprocess.run([PENSTOCK, "--config", config, "--check-config"], capture_output=True, text=True)
    assert done.returncode == 1 and "listen.proxy_protocol: nobody could connect: trusted_proxies is empty" in done.stderr
    config.write_text(json.dumps({"listen": {"proxy_protocol": "v3"}}))
    done = subprocess.run([PENSTOCK, "--config", config, "--check-config"], capture_output=True, text=True)
    assert done.returncode == 1 and "listen.proxy_protocol" in done.stderr and "off, v1, v2, any" in done.stderr
