"""Who asks: believed proxies, addresses, users, request ids, traces, and browsers of other origins."""
import http.client
import re
import socket

import pytest
from penstock import PATIENT_LOG, Gateway, call, raw, wait_until
from test_buying import JSON, UUID7, is_no, post

BLOCKED = ("203.0.113.7-32", "2001:db8:bad::-48")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def prepare(gateway):
    gateway.no_limits()
    for subject in BLOCKED:
        answer = gateway.admin("PUT", f"/admin/v1/blocklist/ips/{subject}", {"reason": "known"})
        assert answer.status in (200, 201), answer
    return gateway.make_sale("sale", stock=1000, per_user_cap=1000)


@pytest.fixture(scope="module")
def gateway():
    with Gateway(settings={**PATIENT_LOG, "trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8", "2001:db8:cafe::/48"]}) as g:
        prepare(g)
        yield g


@pytest.fixture(scope="module")
def stranger():
    """A gateway that trusts nobody."""
    with Gateway(settings={"trusted_proxies": []}) as g:
        g.no_limits()
        g.make_sale("sale")
        yield g


@pytest.fixture(scope="module")
def behind_cdn():
    with Gateway(settings={"client_ip_header": "CF-Connecting-IP"}) as g:
        prepare(g)
        yield g


def send(gateway, *lines, body=b'{"sku":"phone"}'):
    """A purchase with exactly these header lines besides Host and those of the body; (status, code)."""
    head = [b"POST /v1/sales/sale/orders HTTP/1.1", b"Host: shop", b"Connection: close", b"Content-Type: application/json",
            b"Content-Length: %d" % len(body), *(line.encode() for line in lines)]
    answer = raw(gateway.port, b"\r\n".join(head) + b"\r\n\r\n" + body)
    code = re.search(rb'"code":"(\w+)"', answer)
    return int(answer.split()[1]), code.group(1).decode() if code else None


# --- the address ---


@pytest.mark.parametrize("lines", [
    ["X-Forwarded-For: 203.0.113.7"], ["X-Forwarded-For: 203.0.113.7, 10.1.2.3"], ["X-Forwarded-For: 203.0.113.7,10.1.2.3,127.9.9.9"],
    ["X-Forwarded-For: 198.51.100.1, 203.0.113.7"], ["X-Forwarded-For: 203.0.113.7:4711"], ["X-Forwarded-For: ::ffff:203.0.113.7"],
    ["X-Forwarded-For: [2001:db8:bad::1]:443"], ["X-Forwarded-For: 2001:DB8:BAD:ffff::5"], ["X-Forwarded-For: [2001:db8:bad::1]"],
    ["X-Forwarded-For: 203.0.113.7, 2001:db8:cafe::1"], ["X-Forwarded-For:   203.0.113.7\t"], ["X-Forwarded-For: , 203.0.113.7 ,,"],
    ["X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 10.1.2.3"], ["X-Forwarded-For: 8.8.8.8", "x-forwarded-for: 203.0.113.7"],
    ["X-Forwarded-For: garbage, 203.0.113.7"], ["X-Forwarded-For: 203.0.113.7", "X-Forwarded-For:"],
], ids=range(16))
def test_the_client_is_the_rightmost_address_that_is_not_trusted(gateway, lines):
    assert send(gateway, "X-User-Id: u", *lines) == (403, "blocked")


@pytest.mark.parametrize("lines", [
    [], ["X-Forwarded-For: 203.0.113.7, 198.51.100.1"], ["X-Forwarded-For: 203.0.113.8"], ["X-Forwarded-For: 10.9.9.9"],
    ["X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 198.51.100.1"], ["X-Forwarded-For: 2001:db8:bae::1"],
    ["CF-Connecting-IP: 203.0.113.7"], ["Forwarded: for=203.0.113.7"], ["X-Real-IP: 203.0.113.7"],
], ids=range(9))
def test_nobody_else_counts_as_the_client(gateway, lines):
    assert send(gateway, "X-User-Id: u", *lines) == (202, None)


@pytest.mark.parametrize("value", ["garbage", "203.0.113.7, unknown", "203.0.113.7, 10.1.2.3, x", "203.0.113", "203.0.113.07.1",
                                   "1.2.3.4:99999x", "[::1", "256.1.1.1"])
def test_an_address_that_is_none_from_a_trusted_proxy_is_400(gateway, value):
    assert send(gateway, "X-User-Id: u", f"X-Forwarded-For: {value}") == (400, "malformed")


def test_one_named_header_is_read_instead_where_it_is_configured(behind_cdn):
    assert send(behind_cdn, "X-User-Id: u", "CF-Connecting-IP: 203.0.113.7") == (403, "blocked")
    assert send(behind_cdn, "X-User-Id: u", "cf-connecting-ip: 2001:db8:bad::9") == (403, "blocked")
    assert send(behind_cdn, "X-User-Id: u", "X-Forwarded-For: 203.0.113.7") == (202, None)
    assert send(behind_cdn, "X-User-Id: u", "X-Forwarded-For: 203.0.113.7", "CF-Connecting-IP: 198.51.100.1") == (202, None)


@pytest.mark.parametrize("lines", [["CF-Connecting-IP: 1.2.3.4, 5.6.7.8"], ["CF-Connecting-IP: x"], ["CF-Connecting-IP:"],
                                   ["CF-Connecting-IP: 1.2.3.4", "CF-Connecting-IP: 1.2.3.4"]])
def test_the_named_header_holds_one_address_or_it_is_400(behind_cdn, lines):
    assert send(behind_cdn, "X-User-Id: u", *lines) == (400, "malformed")


def test_an_untrusted_peer_cannot_choose_its_address(stranger):
    stranger.limit("page", algorithm="token_bucket", key="ip", rate=1, period_s=3600, applies_to=["status"])
    answers = [stranger.public("GET", "/v1/sales/sale", headers={"X-Forwarded-For": f"198.51.100.{i}"}) for i in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    assert stranger.public("GET", "/v1/sales/sale", headers={"X-Forwarded-For": "garbage"}).status == 429


# --- the user ---


def test_a_user_named_by_a_stranger_is_401_and_counted(stranger):
    before = stranger.metric("penstock_identity_untrusted_total")
    is_no(stranger.buy("sale", "u"), 401, "unauthenticated")
    is_no(stranger.public("GET", "/v1/sales/sale/orders", user="u"), 401, "unauthenticated")
    assert stranger.metric("penstock_identity_untrusted_total") == before + 2
    is_no(stranger.buy("sale", None), 401, "unauthenticated")
    assert stranger.metric("penstock_identity_untrusted_total") == before + 2


def test_two_lines_of_x_user_id_are_400(gateway):
    assert send(gateway, "X-User-Id: u", "X-User-Id: u") == (400, "malformed")
    assert send(gateway, "X-User-Id: u", "x-user-id: v") == (400, "malformed")


@pytest.mark.parametrize("name", ["Idempotency-Key", "Content-Type", "Host", "X-Request-Id", "traceparent"])
def test_any_field_that_we_read_may_stand_once_only(gateway, name):
    line = {"Host": "Host: other", "Content-Type": "Content-Type: application/json"}.get(name, f"{name}: x")
    extra = [line] if name in ("Host", "Content-Type") else [line, line]
    assert send(gateway, "X-User-Id: u", *extra) == (400, "malformed")


# --- ids and traces ---


@pytest.mark.parametrize("given", ["abc-123_X.y", "x" * 64])
def test_a_good_request_id_comes_back(gateway, given):
    for answer in (post(gateway, "sale", '{"sku":"phone"}', headers={"X-Request-Id": given}),
                   post(gateway, "sale", "{", headers={"X-Request-Id": given}),
                   gateway.public("GET", "/v1/orders/none", user="u", headers={"X-Request-Id": given})):
        assert answer.headers["x-request-id"] == given
        assert answer.status == 202 or answer.json["request_id"] == given


@pytest.mark.parametrize("method,path", [("GET", "/livez"), ("GET", "/readyz?verbose"), ("HEAD", "/readyz"), ("OPTIONS", "/v1/sales/sale"),
                                         ("OPTIONS", "/v1/sales/sale/orders"), ("GET", "/v1/sales/sale/orders"), ("GET", "/v1/sales/none"),
                                         ("PUT", "/v1/sales/sale"), ("GET", "/")])
def test_probes_options_and_each_refusal_have_the_request_id_once(gateway, method, path):
    for port in (gateway.port, gateway.admin_port):
        answer = call(port, method, path, headers={"X-User-Id": "u", "X-Request-Id": "given"})
        assert [value for name, value in answer.raw_headers if name == "X-Request-Id"] == ["given"], answer


def test_a_page_that_caches_share_carries_nobodys_request_id(gateway):
    page = gateway.public("GET", "/v1/sales/sale", headers={"X-Request-Id": "mine"})
    same = gateway.public("GET", "/v1/sales/sale", headers={"X-Request-Id": "mine", "If-None-Match": page.headers["etag"]})
    assert (page.status, same.status) == (200, 304)
    assert "x-request-id" not in {**page.headers, **same.headers}


def test_who_is_nobody_is_told_how_to_say_who_he_is(gateway, stranger):
    for answer in (gateway.buy("sale", None), gateway.buy("sale", "two words"), stranger.buy("sale", "u"), gateway.public("GET", "/v1/orders/x")):
        is_no(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "X-User-Id"


@pytest.mark.parametrize("given", [None, "two words", "x" * 65, "semi;colon", "ümlaut".encode(), ""])
def test_no_request_id_or_a_bad_one_gets_a_new_one(gateway, given):
    headers = {} if given is None else {"X-Request-Id": given}
    ids = {post(gateway, "sale", "{", headers=headers).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3 and all(UUID7.match(text) for text in ids)


def traceparent_of(gateway, headers):
    order = post(gateway, "sale", '{"sku":"phone"}', headers=headers).json["order_id"]
    after = 0
    while True:
        answer = gateway.admin("GET", f"/admin/v1/sales/sale/log?after={after}&limit=1000")
        assert answer.status == 200, answer
        for record in answer.lines():
            if record.get("order_id") == order:
                return record.get("traceparent")
            after = record["seq"]


def test_a_trace_goes_on_into_the_event(gateway):
    assert traceparent_of(gateway, {"traceparent": TRACE}) == TRACE
    assert traceparent_of(gateway, {}) is None


@pytest.mark.parametrize("bad", ["", "x", TRACE[:-1], TRACE + "0", TRACE.upper(), TRACE.replace("-", "_"), "ff" + TRACE[2:],
                                 "00-" + "0" * 32 + TRACE[35:], TRACE[:36] + "0" * 16 + "-01"])
def test_a_bad_trace_starts_a_new_one(gateway, bad):
    found = traceparent_of(gateway, {"traceparent": bad})
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", found) and found[3:35] != TRACE[3:35]
    assert set(found[3:35]) != {"0"} and set(found[36:52]) != {"0"}


# --- browsers of other origins ---


@pytest.fixture(scope="module")
def open_gateway():
    with Gateway(settings={"cors": {"allow_origins": ["https://shop.example"]}}) as g:
        g.no_limits()
        g.make_sale("sale")
        yield g


def from_origin(origin, **more):
    return {**JSON, "Origin": origin, **more}


def test_a_listed_origin_may_read_what_it_needs(open_gateway):
    answer = open_gateway.public("POST", "/v1/sales/sale/orders", '{"sku":"phone"}', "u", from_origin("https://shop.example"))
    assert answer.status == 202
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert answer.headers["vary"] == "Origin"
    exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert exposed >= {"Location", "Retry-After", "RateLimit", "RateLimit-Policy", "Idempotency-Replayed", "X-Request-Id"}
    assert answer.headers["access-control-allow-credentials"] == "true"
    no = open_gateway.public("POST", "/v1/sales/sale/orders", "{", "u", from_origin("https://shop.example"))
    assert no.status == 400 and no.headers["access-control-allow-origin"] == "https://shop.example"


@pytest.mark.parametrize("origin", ["https://evil.example", "https://shop.example.evil", "http://shop.example", "null"])
def test_another_origin_gets_no_leave(open_gateway, origin):
    answer = open_gateway.public("GET", "/v1/sales/sale/orders", user="u", headers=from_origin(origin))
    assert answer.status == 200 and answer.headers["vary"] == "Origin"
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_preflight_says_what_may_be_sent(open_gateway):
    answer = open_gateway.public("OPTIONS", "/v1/sales/sale/orders", headers={
        "Origin": "https://shop.example", "Access-Control-Request-Method": "POST"})
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "Idempotency-Key" in answer.headers["access-control-allow-headers"]
    assert "Authorization" in answer.headers["access-control-allow-headers"]  # for a proxy that finds out who asks
    assert answer.headers["access-control-allow-credentials"] == "true"


def test_the_status_page_is_open_to_every_origin_and_varies_by_none(open_gateway, gateway):
    for g in (open_gateway, gateway):
        for path in ("/v1/sales/sale", "/v1/sales/no-such-sale"):
            answer = g.public("GET", path, headers={"Origin": "https://evil.example"})
            assert answer.headers["access-control-allow-origin"] == "*" and "vary" not in answer.headers
            assert "access-control-allow-credentials" not in answer.headers
        answer = g.public("OPTIONS", "/v1/sales/sale", headers={"Origin": "https://evil.example",
                                                                "Access-Control-Request-Method": "GET"})
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, "*")


def test_without_listed_origins_nothing_is_said_of_them(gateway):
    answer = gateway.public("GET", "/v1/sales/sale/orders", user="u", headers={"Origin": "https://shop.example"})
    assert answer.status == 200 and "vary" not in answer.headers
    assert not [name for name in answer.headers if name.startswith("access-control")]


# --- IPv6 ---


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_a_listener_on_ipv6_serves_and_trusts_by_its_peers_address():
    with Gateway(settings={"listen": {"host": "::1"}, "trusted_proxies": ["::1"]}).spawn() as g:
        def ask(path, headers):
            connection = http.client.HTTPConnection("::1", g.port, timeout=30)
            try:
                connection.request("GET", path, headers=headers)
                return connection.getresponse().status
            except OSError:
                return None
            finally:
                connection.close()

        wait_until(lambda: ask("/readyz", {}) == 200)
        g.make_sale("sale")
        assert ask("/v1/sales/sale/orders", {"X-User-Id": "u"}) == 200
