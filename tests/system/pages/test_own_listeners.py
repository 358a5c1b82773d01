"""A pool never leads to the gateway itself: its own listeners are no endpoints, whoever names them; and a request that comes back by another way ends."""
import contextlib
import json
import socket
import threading
from urllib.parse import quote

import pytest
from dns import Dns
from pages import PATIENT_ROUTE
from penstock import ANY_VERSION, Gateway, free_port, wait_until
from test_discovery import discovered, put_pool, who
from upstreams import Upstream

WORDS = "is a listener of this gateway"


def own_address():
    """One of this machine, beside loopback; None: it has no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        with contextlib.suppress(OSError):
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
    return None


@pytest.fixture(scope="module")
def dns():
    with Dns() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(dns, tmp_path_factory):
    """Its public listener has all addresses of the machine, its admin listener one."""
    folder = tmp_path_factory.mktemp("pools")
    upstream = {"dns_servers": [dns.address], "endpoint_dir": str(folder), "allowed_networks": ["0.0.0.0/0", "::/0"]}
    with Gateway(settings={"listen": {"host": "0.0.0.0"}, "upstream": upstream}) as g:
        g.folder = folder
        yield g


@pytest.fixture(scope="module")
def shop():
    with Upstream(lambda request: "7") as server:
        yield server


def own_endpoints(gateway):
    addresses = [f"127.0.0.1:{gateway.port}", f"127.9.9.9:{gateway.port}", f"0.0.0.0:{gateway.port}", f"[::ffff:127.0.0.1]:{gateway.port}",
                 f"127.0.0.1:{gateway.admin_port}", f"0.0.0.0:{gateway.admin_port}"]
    return addresses + ([f"{own_address()}:{gateway.port}"] if own_address() else [])


def other_endpoints(gateway):
    """The ports of the listeners, but not where they listen."""
    return [f"192.0.2.1:{gateway.port}", f"[::1]:{gateway.port}", f"127.0.0.2:{gateway.admin_port}", f"192.0.2.1:{gateway.admin_port}"]


def test_a_document_names_no_listener_of_the_gateway(gateway, shop):
    """PG10."""
    for address in own_endpoints(gateway):
        document = {"endpoints": [{"address": shop.address}, {"address": address}]}
        answer = gateway.admin("PUT", "/admin/v1/pools/own", document)
        assert (answer.status, answer.json.get("pointer")) == (422, "/endpoints/1/address"), (address, answer)
        assert WORDS in answer.json["detail"]
        answer = gateway.admin("PUT", "/admin/v1/config", {"documents": {"pools": {"own": document}}}, ANY_VERSION)
        assert (answer.status, answer.json.get("pointer")) == (422, "/documents/pools/own/endpoints/1/address"), (address, answer)
    assert gateway.admin("GET", "/admin/v1/pools/own").status == 404
    others = [{"address": address} for address in other_endpoints(gateway)]
    assert gateway.admin("PUT", "/admin/v1/pools/others", {"endpoints": others}).status == 201


def test_a_registration_names_no_listener_of_the_gateway(gateway):
    """PG10."""
    pool = put_pool(gateway, {"registration": True})
    for address in own_endpoints(gateway):
        answer = gateway.admin("PUT", f"/admin/v1/pools/{pool}/endpoints/{quote(address)}", {})
        assert (answer.status, answer.json.get("pointer")) == (422, "/address"), (address, answer)
        assert WORDS in answer.json["detail"]
    for address in other_endpoints(gateway):
        assert gateway.admin("PUT", f"/admin/v1/pools/{pool}/endpoints/{quote(address)}", {"weight": 0}).status == 201, address
    assert len(gateway.admin("GET", f"/admin/v1/pools/{pool}/endpoints").json["endpoints"]) == len(other_endpoints(gateway))


def test_a_file_leads_to_no_listener_of_the_gateway(gateway, shop):
    own = own_endpoints(gateway)
    path = gateway.folder / "own.json"
    path.write_text(json.dumps([{"address": address} for address in [shop.address, *own]]))
    pool = put_pool(gateway, {"file": path.name})
    wait_until(lambda: who(gateway, pool) == {7}, what="the shop's answers alone")
    shown = discovered(gateway, pool)
    assert (shown["state"], shown["endpoints"]) == ("ok", 1) and WORDS in shown["why"], shown
    wait_until(lambda: f'"pool":"{pool}"' in gateway.log() and "discovery_left_out" in gateway.log(), what="the log's line")
    lines = [line for line in gateway.log().splitlines() if "discovery_left_out" in line and f'"pool":"{pool}"' in line]
    assert len(lines) == 1 and WORDS in lines[0], lines  # the file is read each second


def test_an_answer_of_the_dns_leads_to_no_listener_of_the_gateway(gateway, dns, shop):
    """PG10."""
    dns.table[("own.test", "A")] = [(1, "127.0.0.1")]
    pool = put_pool(gateway, {"dns": "own.test", "port": gateway.admin_port})
    shown = wait_until(lambda: discovered(gateway, pool)["state"] == "failed" and discovered(gateway, pool))
    assert WORDS in shown["why"] and shown["endpoints"] == 0, shown
    dns.table[("_http._tcp.own.test", "SRV")] = [(1, (0, 10, gateway.port, "own.test")), (1, (0, 10, shop.port, "own.test"))]
    pool = put_pool(gateway, {"srv": "_http._tcp.own.test"})
    wait_until(lambda: who(gateway, pool) == {7}, what="the shop's answers alone")
    shown = discovered(gateway, pool)
    assert (shown["state"], shown["endpoints"]) == ("ok", 1) and WORDS in shown["why"], shown


def test_a_stored_document_leads_to_no_listener_that_came_later(shop):
    """PG10: The gateway moves to a port that one of its pools has."""
    port = free_port()
    with Gateway() as gateway:
        pool = put_pool(gateway, None, [{"address": shop.address}, {"address": f"127.0.0.1:{port}"}])
        assert gateway.stop() == 0
        gateway.configure({"listen": {"port": port}})
        gateway.start()
        assert who(gateway, pool) == {7}
        assert gateway.admin("PUT", "/admin/v1/pools/more", {"endpoints": [{"address": shop.address}]}).status == 201  # another table of pools
        lines = [line for line in gateway.log().splitlines() if "discovery_left_out" in line]
        assert len(lines) == 1 and WORDS in lines[0] and f"127.0.0.1:{port}" in lines[0], lines


class Detour:
    """A TCP proxy on a port of its own; `requests`: how many heads went through it towards the server."""

    def __init__(self, port):
        self.port, self.requests, self.lock = port, 0, threading.Lock()

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.socket.accept()
                server = socket.create_connection(("127.0.0.1", self.port))
                for pair in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self.pump, args=pair, daemon=True).start()

    def pump(self, source, sink, counts):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with self.lock:
                    self.requests += data.count(b" HTTP/1.1\r\n") if counts else 0
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_a_request_that_comes_back_to_the_gateway_ends():
    """PG10."""
    with Gateway() as gateway, Detour(gateway.port) as detour:
        pool = put_pool(gateway, None, [{"address": detour.address}])
        path = f"/{pool}/"
        route = {"path": path, "pool": pool, "methods": ["GET", "POST"], **PATIENT_ROUTE, "first_byte_ms": 4000, "total_ms": 5000}
        answer = gateway.admin("PUT", f"/admin/v1/routes/{pool}", route, ANY_VERSION)
        assert answer.status == 200, answer
        answer = gateway.public("GET", path, timeout=60)
        assert (answer.status, answer.code, detour.requests) == (508, "loop_detected", 3), (answer, detour.requests)
        answer = gateway.public("POST", path, {"much": "x" * 1000}, timeout=60)
        assert (answer.status, answer.code) == (508, "loop_detected") and detour.requests <= 6, (answer, detour.requests)
        assert gateway.admin("PUT", f"/admin/v1/routes/{pool}", {**route, "cache": {}}, ANY_VERSION).status == 200
        answer = gateway.public("GET", path, timeout=60)  # may wait for itself, until its own deadline
        assert answer.status in (504, 508) and detour.requests <= 9, (answer, detour.requests)


def test_a_long_via_of_others_is_no_loop(shop):
    with Gateway() as gateway:
        pool = put_pool(gateway, None, [{"address": shop.address}])
        via = "1.1 front, 1.1 penstock2, 1.1 penstock.example, 1.0 edge (1.1 penstock, 1.1 penstock, 1.1 penstock), 1.1 penstock, 1.1 penstock"
        assert gateway.public("GET", f"/{pool}/", headers={"Via": via}).status == 200
        assert gateway.public("GET", f"/{pool}/", headers={"Via": via + ",2 penstock"}).status == 508
