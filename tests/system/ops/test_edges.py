"""More references before a gateway: Envoy; HAProxy with PROXY headers, by TCP and by a Unix socket; Varnish as an edge cache before HAProxy."""
import contextlib
import http.client
import os
import tempfile
import time

import pytest
from front import ORDERS, Envoy, EnvoyWithProxyProtocol, HAProxy, HAProxyOverUnix, HAProxyWithProxyProtocol, Varnish, bearer, buy
from front import gateways, shop  # noqa: F401 (fixtures)
from penstock import Gateway, call, free_port, wait_until

SALE_ORDERS = "/v1/sales/sale/orders"


@pytest.fixture()
def envoy(tmp_path, shop, gateways):
    with Envoy(tmp_path, shop, gateways.ports) as proxy:
        wait_until(lambda: call(proxy.port, "GET", "/v1/sales/x").status == 200, what="a gateway behind the proxy")
        gateways.asked.clear()
        yield proxy


FORGED = {"X-User-Id": "mallory", "X-Forwarded-For": "192.0.2.9", "Forwarded": "for=192.0.2.9", "X-Real-IP": "192.0.2.9", "Penstock-Rehearsal": "v1", "X-Request-Id": "mine"}


# --- Envoy. ---


@pytest.mark.parametrize("where", ["Authorization", "Cookie"])
def test_behind_envoy_the_user_is_the_subject_of_a_valid_token(envoy, gateways, shop, where):
    token = {"Authorization": f"Bearer {shop.token()}", "Cookie": f"a=b; shop_token={shop.token()}; c=d"}[where]
    answer = buy(envoy.port, {**FORGED, where: token})
    assert answer.status == 202 and len(gateways.asked) == 1, answer
    asked = gateways.asked[0]
    assert asked.values("X-User-Id") == ["ann"]
    assert len(asked.values("X-Forwarded-For")) == 1 and "192.0.2.9" not in asked.value("X-Forwarded-For")  # for loopback Envoy has an address of the machine
    for name in ("Penstock-Rehearsal", "Authorization", "Cookie", "Forwarded", "X-Real-IP"):
        assert asked.values(name) == [], name
    assert asked.values("X-Request-Id") == [answer.headers["x-request-id"]] != ["mine"]


@pytest.mark.parametrize("what", ["none", "no token at all", "tampered", "no algorithm", "over", "without an end"])
def test_behind_envoy_a_token_that_is_not_valid_names_nobody(envoy, gateways, shop, what):
    token = {"none": "", "no token at all": "a.b.c", "tampered": shop.token()[:-8] + "AAAAAAAA", "no algorithm": shop.token(header={"alg": "none"}, sign=lambda data: b""),
             "over": shop.token({"sub": "ann", "exp": int(time.time()) - 100}), "without an end": shop.token({"sub": "ann"})}[what]
    assert buy(envoy.port, bearer(token, **FORGED)).status == 202
    assert [asked.values("X-User-Id") for asked in gateways.asked] == [[]]


def test_envoy_lets_only_the_api_pass(envoy, gateways):
    for path in ("/readyz", "/livez", "/metrics", "/admin/v1/sales", "/", ORDERS + "/y", "/v1/orders"):
        assert call(envoy.port, "GET", path).status == 404, path
    assert call(envoy.port, "POST", ORDERS, b"x" * 5000).status == 413
    assert call(envoy.port, "GET", "/v1/orders/x", headers={"X_User_Id": "evil"}).status == 400
    assert gateways.asked == []
    assert buy(envoy.rehearsal, {"X-User-Id": "robot-1", "X-Forwarded-For": "192.0.2.9"}).status == 202
    assert (gateways.asked[0].values("X-User-Id"), gateways.asked[0].values("X-Forwarded-For")) == (["robot-1"], ["192.0.2.9"])


def test_envoy_sends_a_buy_to_one_gateway(envoy, gateways):
    gateways.script["dies"] = True
    answer = buy(envoy.port)
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "no_answer", "1") and len(gateways.asked) == 1
    gateways.script["dies"] = False
    gateways.stop(1)
    assert {buy(envoy.port).status for _ in range(30)} == {202}
    gateways.script["readyz"] = 503
    until = time.monotonic() + 2
    while time.monotonic() < until:
        assert buy(envoy.port).status == 202


def test_envoy_logs_the_reference_of_a_refusal_and_drops_it(envoy, gateways, shop):
    gateways.script["fields"] = {"Penstock-Ref": "R" * 40}
    answer = buy(envoy.port, bearer(shop.token()))
    assert "penstock-ref" not in answer.headers
    wait_until(lambda: "R" * 40 in envoy.log() and answer.headers["x-request-id"] in envoy.log(), 30, what="the line of the request")


# --- PROXY headers and Unix sockets, before a real gateway. ---


@contextlib.contextmanager
def listening(versions, **listen):
    """A gateway whose access log has the addresses of clients."""
    with Gateway(settings={"listen": {"port": free_port(), "proxy_protocol": versions, **listen}, "trusted_proxies": ["127.0.0.1"], "access_log": {"every": 1, "addresses": True}}).spawn() as gateway:
        wait_until(lambda: '"ready"' in gateway.log_path.read_text(), 60, what="readiness")
        gateway.make_sale("sale", stock=1)
        yield gateway


def ask_from(address, port, method, path, headers, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=(address, 0))
    with contextlib.closing(connection):
        connection.request(method, path, body, {**headers, "Content-Type": "application/json"})
        return connection.getresponse().status


def buys_as_ann(gateway, front, shop):
    wait_until(lambda: call(front.port, "GET", "/v1/sales/sale").status == 200, what="the gateway behind the proxy")
    assert call(front.port, "POST", SALE_ORDERS, {"sku": "phone"}, {"X-User-Id": "mallory"}).status == 401
    answer = buy(front.port, bearer(shop.token(), **FORGED), SALE_ORDERS)
    assert answer.status == 202 and [order["user"] for order in gateway.orders("sale")] == ["ann"], answer
    lines = gateway.log_path.read_text()
    assert '"address":"127.0.0.1"' in lines.replace(" ", "") and "192.0.2.9" not in lines


WITH_PROXY = pytest.mark.parametrize("kind", [HAProxyWithProxyProtocol, EnvoyWithProxyProtocol], ids=["haproxy", "envoy"])


@WITH_PROXY
@pytest.mark.parametrize("trusts,status", [(True, 202), (False, 401)])
def test_the_user_of_a_proxy_that_names_its_client_needs_the_setting(tmp_path, shop, kind, trusts, status):
    """Whose address in the header is nobody's: as every buyer's."""
    with listening("v2", proxy_protocol_trusts_clients=trusts) as gateway, kind(tmp_path, shop, [gateway.port] * 3) as front:
        wait_until(lambda: call(front.port, "GET", "/v1/sales/sale").status == 200, what="the gateway behind the proxy")
        assert ask_from("127.0.0.9", front.port, "POST", SALE_ORDERS, bearer(shop.token(), **FORGED), '{"sku":"phone"}') == status
        assert '"address":"127.0.0.9"' in gateway.log_path.read_text().replace(" ", "")


@WITH_PROXY
def test_a_proxy_says_by_its_header_whose_connection_it_is(tmp_path, shop, kind):
    with listening("v2") as gateway, kind(tmp_path, shop, [gateway.port] * 3) as front:
        buys_as_ann(gateway, front, shop)
        assert gateway.metric('penstock_proxy_headers_total{result="v2"}') >= 2
        assert gateway.metric('penstock_proxy_headers_total{result="malformed"}') == 0


def test_haproxy_reaches_a_gateway_by_its_unix_socket(tmp_path, shop):
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="pe-") as place:
        os.chmod(place, 0o755)
        with listening("v2", unix={"path": place + "/p.sock", "mode": "0666"}) as gateway, HAProxyOverUnix(tmp_path, shop, [place + "/p.sock"] * 3) as front:
            buys_as_ann(gateway, front, shop)
            assert gateway.metric('penstock_proxy_headers_total{result="own"}') >= 1  # the health checks


# --- Varnish. ---


@pytest.fixture()
def varnish(tmp_path, shop, gateways):
    with Varnish(tmp_path, shop, gateways.ports) as proxy:
        yield proxy


PAGE = {"Surrogate-Control": "max-age=2, stale-while-revalidate=5, stale-if-error=60"}


def test_varnish_keeps_the_status_page_and_nothing_else(varnish, gateways):
    gateways.script["fields"] = PAGE
    started = time.monotonic()
    for i in range(50):
        answer = call(varnish.port, "GET", f"/v1/sales/y?a={i}", headers={"Host": f"h{i}.example", "Cookie": f"a={i}", **FORGED})
        assert answer.status == 200 and "surrogate-control" not in answer.headers
    pages = [asked for asked in gateways.asked if asked.path.startswith("/v1/sales")]
    assert len(pages) <= 2 + (time.monotonic() - started) / 2 and {asked.path for asked in pages} == {"/v1/sales/y"}
    assert all(asked.values("X-User-Id") == asked.values("Cookie") == [] for asked in pages)
    gateways.asked.clear()
    for _ in range(3):
        assert call(varnish.port, "GET", "/v1/orders/z", headers={"Authorization": "Bearer a.b.c"}).status == 200
    assert [asked.values("Authorization") for asked in gateways.asked if asked.path == "/v1/orders/z"] == [["Bearer a.b.c"]] * 3


def test_varnish_passes_a_buy_once_and_drops_what_the_client_says_of_itself(varnish, gateways):
    assert buy(varnish.port, {**FORGED, "Cookie": "shop_token=a.b.c"}).status == 202
    buys = [asked for asked in gateways.asked if asked.command == "POST"]
    assert len(buys) == 1 and buys[0].values("Cookie") == ["shop_token=a.b.c"]
    assert (buys[0].values("X-User-Id"), buys[0].values("Penstock-Rehearsal"), buys[0].values("Forwarded"), buys[0].values("X-Forwarded-For")) == ([], [], [], ["127.0.0.1"])
    gateways.script["dies"] = True
    answer = buy(varnish.port)
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "no_answer", "1")
    assert len([asked for asked in gateways.asked if asked.command == "POST"]) == 2


def test_varnish_shows_a_stale_page_while_the_origin_is_away(varnish, gateways):
    gateways.script["fields"] = PAGE
    assert call(varnish.port, "GET", "/v1/sales/y").status == 200
    gateways.stop()
    until = time.monotonic() + 9  # past max-age and stale-while-revalidate
    while time.monotonic() < until:
        assert call(varnish.port, "GET", "/v1/sales/y").status == 200
        time.sleep(0.2)
    assert call(varnish.port, "GET", "/v1/sales/other").status == 503


def test_varnish_lets_only_the_api_pass(varnish, gateways):
    for path in ("/readyz", "/livez", "/metrics", "/admin/v1/sales", "/", ORDERS + "/y", "/v1/sales/%79", "/v1//sales/y", "/v1/sales/./y"):
        assert call(varnish.port, "GET", path).status == 404, path
    assert call(varnish.port, "POST", ORDERS, b"x" * 5000).status == 413
    assert [asked.path for asked in gateways.asked if asked.path != "/v1/orders/probe"] == []


def test_behind_varnish_and_haproxy_a_browser_buys_as_who_its_token_says(tmp_path, shop):
    (tmp_path / "haproxy").mkdir()
    with Gateway() as gateway, HAProxy(tmp_path / "haproxy", shop, [gateway.port] * 3) as inner, Varnish(tmp_path, shop, [inner.port]) as front:
        gateway.make_sale("sale", stock=1)
        wait_until(lambda: call(front.port, "GET", "/v1/sales/sale").status == 200, what="the gateway behind both")
        assert buy(front.port, FORGED, SALE_ORDERS).status == 401
        assert buy(front.port, bearer(shop.token(), **FORGED), SALE_ORDERS).status == 202
        assert [order["user"] for order in gateway.orders("sale")] == ["ann"]
