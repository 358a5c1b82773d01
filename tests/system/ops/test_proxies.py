"""The proxy references, nginx and HAProxy, each started for real: who a buyer is, what reaches a gateway, what the cache keeps, what is said when
a gateway dies. Both keep the same promises."""
import base64
import hashlib
import hmac
import pathlib
import re
import subprocess
import threading
import time

import pytest
from ecs import read_lines
from front import ORDERS, HAProxy, HAProxyWithEcs, HAProxyWithPages, Nginx, NginxWithEcs, NginxWithPages, bearer, buy, tool
from front import gateways, shop  # noqa: F401 (fixtures)
from penstock import ROOT, Gateway, call, raw, wait_until
from upstreams import Reply, Upstream


@pytest.fixture(params=[HAProxy, Nginx], ids=["haproxy", "nginx"])
def kind(request):
    return request.param


@pytest.fixture()
def front(kind, tmp_path, shop, gateways):
    with kind(tmp_path, shop, gateways.ports) as proxy:
        wait_until(lambda: call(proxy.port, "GET", "/v1/sales/x").status == 200, what="a gateway behind the proxy")
        gateways.asked.clear()
        yield proxy


# --- Who buys. ---


@pytest.mark.parametrize("where", ["Authorization", "Cookie"])
def test_the_user_is_the_subject_of_a_valid_token_whatever_the_client_says(front, gateways, shop, where):
    token = {"Authorization": f"Bearer {shop.token()}", "Cookie": f"a=b; shop_token={shop.token()}; c=d"}[where]
    answer = buy(front.port, {where: token, "X-User-Id": "mallory", "X-Forwarded-For": "192.0.2.9", "Penstock-Rehearsal": "v1"})
    assert answer.status == 202, answer
    assert len(gateways.asked) == 1  # a buy is one request, to a gateway
    asked = gateways.asked[0]
    assert (asked.values("X-User-Id"), asked.values("X-Forwarded-For")) == (["ann"], ["127.0.0.1"])
    assert asked.values("Penstock-Rehearsal") == []
    assert asked.values("Authorization") == asked.values("Cookie") == []


def soon():
    return int(time.time()) + 600


NOT_VALID = {
    "none": lambda shop: "",
    "no token at all": lambda shop: "a.b.c",
    "two parts": lambda shop: shop.token().rsplit(".", 1)[0],
    "tampered": lambda shop: shop.token()[:-8] + "AAAAAAAA",
    "no algorithm": lambda shop: shop.token(header={"alg": "none"}, sign=lambda data: b""),
    "signed with the public key": lambda shop: shop.token(header={"alg": "HS256"}, sign=lambda data: hmac.digest(shop.public.read_bytes(), data, hashlib.sha256)),
    "of another algorithm": lambda shop: shop.token(header={"alg": "RS512"}),
    "over": lambda shop: shop.token({"sub": "ann", "exp": int(time.time()) - 1}),
    "without an end": lambda shop: shop.token({"sub": "ann"}),
    "an end as text": lambda shop: shop.token({"sub": "ann", "exp": str(soon())}),
    "not begun": lambda shop: shop.token({"sub": "ann", "exp": soon(), "nbf": soon()}),
    "without a user": lambda shop: shop.token({"exp": soon()}),
    "an empty user": lambda shop: shop.token({"sub": "", "exp": soon()}),
    "a number as a user": lambda shop: shop.token({"sub": 12345678, "exp": soon()}),
    "a user with an escape": lambda shop: shop.token({"sub": "é", "exp": soon()}),
    "a user with a line end": lambda shop: shop.token({"sub": "ann\r\nX-Evil: 1", "exp": soon()}),
    "a user of two words": lambda shop: shop.token({"sub": "ann b", "exp": soon()}),
    "a long user": lambda shop: shop.token({"sub": "a" * 129, "exp": soon()}),
}


@pytest.mark.parametrize("what", NOT_VALID)
def test_a_token_that_is_not_valid_names_nobody(front, gateways, shop, what):
    assert buy(front.port, bearer(NOT_VALID[what](shop), **{"X-User-Id": "mallory"})).status == 202
    assert [asked.values("X-User-Id") for asked in gateways.asked] == [[]]


@pytest.mark.parametrize("claims", ['{"exp": 9999999999, "nbf": 1, "sub": "a"}', '{ "sub" :\n"user-1@shop:~!" , "exp" : 9999999999 }'])
def test_a_token_may_be_written_as_json_may(front, gateways, shop, claims):
    assert buy(front.port, bearer(shop.token(claims))).status == 202
    assert gateways.asked[0].values("X-User-Id") in (["a"], ["user-1@shop:~!"])


def test_a_token_of_the_script_is_valid(front, gateways, shop):
    token = subprocess.run([ROOT / "deploy/token", shop.private, "bob", "60"], capture_output=True, text=True, check=True).stdout.strip()
    assert buy(front.port, bearer(token)).status == 202
    assert gateways.asked[0].values("X-User-Id") == ["bob"]


@pytest.mark.parametrize("name", ["X_User_Id", "X.User.Id", "X-User-Id\u00a0", "X_Forwarded_For", "Transfer_Encoding"])
def test_a_field_that_only_looks_like_another_does_not_arrive(front, gateways, name):
    head = f"GET /v1/orders/x HTTP/1.1\r\nHost: shop.example\r\n{name}: evil\r\nConnection: close\r\n\r\n".encode("latin-1")
    raw(front.port, head)
    for asked in gateways.asked:
        assert not [value for value in asked.headers.values() if "evil" in value], asked.headers.items()


def test_a_rehearsal_names_its_buyers_on_a_port_of_its_own(front, gateways):
    assert buy(front.rehearsal, {"X-User-Id": "robot-1", "X-Forwarded-For": "192.0.2.9", "Penstock-Rehearsal": "v1"}).status == 202
    assert gateways.asked[0].values("Penstock-Rehearsal") == ["v1"]
    assert (gateways.asked[0].values("X-User-Id"), gateways.asked[0].values("X-Forwarded-For")) == (["robot-1"], ["192.0.2.9"])
    assert call(front.rehearsal, "GET", "/readyz").status == 404


def test_a_preflight_needs_no_token(front, gateways):
    assert call(front.port, "OPTIONS", ORDERS, headers={"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}).status == 200
    assert len(gateways.asked) == 1


# --- The status page. ---


def pages(front, requests):
    return [call(front.port, "GET", path, headers=headers).status for path, headers in requests]


def test_no_host_and_no_query_gets_past_the_cache(front, gateways):
    started = time.monotonic()
    pages(front, [("/v1/sales/y", {"Host": f"h{i}.example"}) for i in range(50)] + [(f"/v1/sales/y?a={i}", {}) for i in range(50)])
    assert len(gateways.asked) <= 2 + (time.monotonic() - started) / 1


def test_an_odd_spelling_of_the_path_gets_nothing_past_the_cache(front, gateways):
    started = time.monotonic()
    odd = ["/v1/sales/%7a", "/v1/sales/w/../z", "/v1/sales/%77/..%2fz", "/v1//sales/z", "/v1/sales/./z", "http://other.example/v1/sales/z"]
    answers = b"".join(raw(front.port, f"GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n".encode()) for path in odd * 10)
    assert answers.count(b"HTTP/1.1 ") == len(odd) * 10
    assert {asked.path for asked in gateways.asked} <= {"/v1/sales/z"}
    assert len(gateways.asked) <= 2 + (time.monotonic() - started) / 1


# --- What is told. ---


def test_the_log_has_the_request_id_that_the_buyer_was_told(front, gateways, shop):
    request_id = buy(front.port, bearer(shop.token(), **{"X-Request-Id": "mine"})).headers["x-request-id"]
    assert request_id != "mine" and gateways.asked[0].values("X-Request-Id") == [request_id]
    wait_until(lambda: request_id in front.log(), what="the line of the request")


@pytest.mark.parametrize("where", ["orders", "status", "rehearsal"])
def test_the_log_has_the_reference_of_a_refusal_and_the_buyer_gets_no_such_field(front, gateways, shop, where):
    ref = base64.urlsafe_b64encode(where.encode().ljust(30, b".")).decode()
    gateways.script["fields"] = {"Penstock-Ref": ref, "Cache-Control": "no-store"}
    answer = {"orders": lambda: buy(front.port, bearer(shop.token())), "status": lambda: call(front.port, "GET", "/v1/sales/refused"),
              "rehearsal": lambda: buy(front.rehearsal)}[where]()
    assert len(gateways.asked) == 1 and answer.status in (200, 202) and "penstock-ref" not in answer.headers, answer
    wait_until(lambda: ref in front.log(), what="the line of the refusal")
    line = next(line for line in front.log().splitlines() if ref in line)
    assert line.endswith(f" {ref}") or f" {{{ref}}} " in line, line


def test_probes_and_the_admin_listener_are_not_for_the_outside(front, gateways):
    for path in ("/readyz", "/livez", "/metrics", "/admin/v1/sales", "/", ORDERS + "/y"):
        assert call(front.port, "GET", path).status == 404
    assert call(front.port, "POST", ORDERS, b"x" * 5000).status == 413
    assert gateways.asked == []


# --- When a gateway dies. ---


def test_a_buy_whose_gateway_dies_is_not_sent_to_another_one(front, gateways):
    assert buy(front.port).status == 202 and len(gateways.asked) == 1
    gateways.asked.clear()
    gateways.script["dies"] = True
    answer = buy(front.port)
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "no_answer", "1")
    assert len(gateways.asked) == 1


def test_a_gateway_that_is_gone_costs_no_buy(front, gateways):
    gateways.stop(1)
    assert {buy(front.port).status for _ in range(30)} == {202}


def test_without_any_gateway_buyers_are_told_to_ask_again(front, gateways):
    gateways.stop()
    answer = wait_until(lambda: (a := buy(front.port)).status == 503 and a, what="a refusal")
    assert answer.code in ("no_gateway", "no_answer") and answer.headers["retry-after"] == "1"


def test_gateways_that_are_not_ready_are_asked_when_no_other_is(front, gateways):
    """Kafka away: they serve status pages, and know what to say to a buyer."""
    gateways.script["readyz"] = 503
    until = time.monotonic() + 2
    while time.monotonic() < until:
        assert buy(front.port).status == 202 and call(front.port, "GET", "/v1/sales/x").status == 200


def test_a_gateway_that_leaves_finishes_what_it_has_begun(front, gateways):
    gateways.script["wait"] = 2
    answers = []
    thread = threading.Thread(target=lambda: answers.append(buy(front.port)))
    thread.start()
    wait_until(lambda: gateways.asked, what="the buy")
    gateways.script["readyz"] = 503
    thread.join(20)
    assert [answer.status for answer in answers] == [202]


# --- Before a real gateway. ---


def test_behind_a_reference_a_browser_with_many_cookies_buys_as_who_its_token_says(kind, tmp_path, shop):
    with Gateway() as gateway:
        gateway.make_sale("sale", stock=1)
        with kind(tmp_path, shop, [gateway.port] * 3) as front:
            wait_until(lambda: call(front.port, "GET", "/v1/sales/sale").status == 200, what="the gateway behind the proxy")
            nobody = call(front.port, "POST", "/v1/sales/sale/orders", {"sku": "phone"}, {"X-User-Id": "mallory"})
            assert (nobody.status, nobody.code, nobody.headers["www-authenticate"]) == (401, "unauthenticated", "Bearer")
            cookies = "; ".join(f"cookie_{i:03d}={'v' * 87}" for i in range(60)) + f"; shop_token={shop.token()}"
            answer = call(front.port, "POST", "/v1/sales/sale/orders", {"sku": "phone", "quantity": 1}, {"Cookie": cookies, "X-User-Id": "mallory"})
            assert answer.status == 202, answer
            assert [order["user"] for order in gateway.orders("sale")] == ["ann"]
            assert "www-authenticate" not in answer.headers


TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize("with_ecs", [HAProxyWithEcs, NginxWithEcs], ids=["haproxy", "nginx"])
def test_one_query_finds_a_request_in_the_logs_of_the_proxy_and_the_gateway_and_its_order(tmp_path, shop, with_ecs):
    """Both logs have the names of the Elastic Common Schema, and no query of a URL."""
    with Gateway(settings={"logging": {"format": "ecs"}, "access_log": {"every": 1}}) as gateway:
        gateway.make_sale("sale", stock=1)
        with with_ecs(tmp_path, shop, [gateway.port] * 3) as front:
            wait_passes(front)
            answer = call(front.port, "POST", "/v1/sales/sale/orders", {"sku": "phone", "quantity": 1}, bearer(shop.token(), traceparent=f"00-{TRACE}-b7ad6b7169203331-01"))
            assert answer.status == 202, answer
            raw(front.port, b'GET /v1/sales/"\\x%22?typed=secret HTTP/1.1\r\nHost: a\r\ntraceparent: 00-"-x\r\nConnection: close\r\n\r\n')
            request_id = answer.headers["x-request-id"]
            assert [order["order_id"] for order in gateway.orders("sale", request_id=request_id)] == [answer.json["order_id"]]
            lines = wait_until(lambda: "x%22" in front.log() and request_id in front.log() and read_lines(front.log() + gateway.log_path.read_text()), what="the lines")
        found = [line for line in lines if line.get("http.request.id") == request_id]
        assert [line["service.name"] for line in found] == [f"penstock-{with_ecs.__bases__[0].__name__.lower()}", "penstock"]
        assert {(line["trace.id"], line["http.response.status_code"], line["event.action"]) for line in found} == {(TRACE, 202, "access")}
        assert [line["url.path"] for line in found if "url.path" in line] == ["/v1/sales/sale/orders"] and found[0]["source.ip"] == "127.0.0.1"
        assert 0 < found[1]["event.duration"] < 60e9 and found[0]["event.duration"] % 1000000 == 0
        none = "-" if with_ecs is HAProxyWithEcs else ""
        odd = [line for line in read_lines(front.log()) if "x%22" in line.get("url.path", "")]
        assert [(line["url.path"], line["trace.id"]) for line in odd] == [('/v1/sales/"\\x%22', none)] and "secret" not in front.log()


@pytest.fixture(params=[HAProxyWithPages, NginxWithPages], ids=["haproxy", "nginx"])
def with_pages(request):
    return request.param


def lead_to(gateway, behind):
    for path, document in (("pools/web", {"endpoints": [{"address": behind.address}]}), ("routes/all", {"path": "/", "pool": "web", "methods": ["GET", "POST"]})):
        assert gateway.admin("PUT", f"/admin/v1/{path}", document).status == 201


def wait_passes(front):
    wait_until(lambda: call(front.port, "GET", "/v1/sales/sale").status == 200, what="a gateway behind the proxy")


def test_no_field_that_changes_a_request_passes_from_a_stranger_to_the_shop(tmp_path, shop, with_pages):
    """The gateway believes the proxy, so the proxy removes or overwrites what the gateway would forward."""
    names = re.findall(r'NAME\("([^"]+)"\), TO_SHOP, (?:BELIEVED|KNOWN|OVERRIDE)', (ROOT / "gateway/upstream/fields.c").read_text())
    with Gateway() as gateway, Upstream() as behind:
        lead_to(gateway, behind)
        gateway.make_sale("sale", stock=1)
        with with_pages(tmp_path, shop, [gateway.port] * 3) as front:
            wait_passes(front)
            assert call(front.port, "GET", "/p/1", headers=dict.fromkeys(names, "forged")).status == 200
        assert len(names) > 15 and "forged" not in behind.requests[0].head.decode("latin-1")


def test_pages_pass_the_proxy_and_the_gateway_to_the_shop(tmp_path, shop, with_pages):
    """With cookies and bodies; who the visitor is, only proxies say."""
    with Gateway() as gateway, Upstream() as behind:
        lead_to(gateway, behind)
        gateway.make_sale("sale", stock=1)
        with with_pages(tmp_path, shop, [gateway.port] * 3) as front:
            wait_passes(front)
            forged = {"X-User-Id": "mallory", "X-Forwarded-For": "192.0.2.9", "Forwarded": "for=192.0.2.9", "X-Real-IP": "192.0.2.9", "X-Forwarded-Proto": "gopher", "Cookie": "a=1"}
            page = call(front.port, "GET", "/p/1?a=b", headers=forged)
            assert page.text == "GET /p/1?a=b 0\n" and call(front.port, "POST", "/p/1", b"x" * 100000).text == "POST /p/1 100000\n"
            asked = behind.requests[0]
            assert (asked.values("X-User-Id"), asked.values("X-Real-IP"), asked.value("Cookie")) == ([], [], "a=1")
            assert (asked.value("X-Forwarded-For"), asked.value("X-Forwarded-Proto")) == ("127.0.0.1, 127.0.0.1", "http") and "192.0.2.9" not in asked.value("Forwarded")
            assert asked.value("X-Forwarded-Host") == f"127.0.0.1:{front.port}" or asked.value("X-Forwarded-Host") == "127.0.0.1"
            assert asked.values("Penstock-Rehearsal") == [] and asked.value("X-Request-Id") == page.headers["x-request-id"]
            assert [call(front.port, "GET", path).status for path in ("/readyz", "/livez", "/v1/sales/sale")] == [404, 404, 200]
            assert buy(front.port).status in (401, 404) and len(behind.requests) == 2


def test_what_shop_and_gateway_say_of_a_page_arrives_as_they_said_it(tmp_path, shop, with_pages):
    """A challenge, a failure, how long a page is fresh: the proxy changes none of it, and keeps no page."""
    pages = {"/login": Reply(401, "who?", {"WWW-Authenticate": "Basic"}), "/fresh": Reply(body="fresh", headers={"Cache-Control": "public, max-age=60"}), "/basic": Reply(502, "broken")}
    with Gateway() as gateway, Upstream(pages) as behind:
        lead_to(gateway, behind)
        gateway.make_sale("sale", stock=1)
        with with_pages(tmp_path, shop, [gateway.port] * 3) as front:
            wait_passes(front)
            answer = call(front.port, "GET", "/login", headers={"Authorization": "Basic YTpi"})
            assert (answer.status, answer.headers["www-authenticate"], answer.text) == (401, "Basic", "who?")
            assert behind.requests[-1].value("Authorization") == "Basic YTpi"
            assert [call(front.port, "GET", "/fresh").text for _ in range(2)] == ["fresh"] * 2 and [request.path for request in behind.requests].count("/fresh") == 2
            assert (call(front.port, "GET", "/basic").status, call(front.port, "GET", "/basic").text) == (502, "broken")
            behind.stop()
            answer = call(front.port, "GET", "/p/1")
            assert (answer.status, answer.code, answer.json["status"]) == (502, "bad_gateway", 502)
            assert call(front.port, "POST", "/p/1", b"x" * (1 << 20 | 1)).status == 413
            assert call(front.port, "POST", "/v1/sales/sale/orders", b"x" * 4097).status == 413
            gateway.kill()
            answer = call(front.port, "GET", "/p/1")
            assert answer.status == 503 and answer.code in ("no_answer", "no_gateway")


# --- As they are installed. ---


def test_nginx_finds_the_directories_of_its_reference():
    site = (ROOT / "deploy/nginx/penstock.conf").read_text(encoding="utf-8")
    assert " /var/lib/nginx/" in site and pathlib.Path("/var/lib/nginx").is_dir()
    assert " /var/log/nginx/" in site and pathlib.Path("/var/log/nginx").is_dir()


def test_haproxy_does_not_start_without_the_shops_key():
    done = subprocess.run([tool("haproxy"), "-c", "-f", str(ROOT / "deploy/haproxy/haproxy.cfg")], capture_output=True, text=True, env={})
    assert done.returncode == 1 and "PENSTOCK_JWT_KEY" in done.stderr
