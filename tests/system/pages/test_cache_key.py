"""A page is kept under what the shop saw: whatever a stranger says, ordinary visitors get the page that the shop made for them. Each poisoning is played
at the gateway itself, by a stranger and by a trusted proxy, and through each of the proxy references of deploy/."""
import contextlib
import itertools

import pytest
from front import HAProxyWithPages, NginxWithPages, Shop
from pages import change_route, gateway_before, put_route
from penstock import call, raw, wait_until
from upstreams import Reply, Upstream

SHAPERS = ["Host", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Scheme", "X-Forwarded-Server",
           "X-Forwarded-Ssl", "X-Forwarded-Path", "X-Host", "X-Original-Host", "X-Original-URL", "X-Rewrite-URL", "X-Url-Scheme", "Front-End-Https",
           "X-HTTP-Host-Override", "X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override", "Accept-Language"]

# What a visitor sends beside what all send. `Host` takes the place of the ordinary one; a name in `line` is that of the request line.
POISONS = {
    "host": {"Host": "evil.example"},
    "port": {"Host": "shop.example:1337"},
    "absolute form": {"line": "http://evil.example"},
    "forwarded host": {"X-Forwarded-Host": "evil.example"},
    "two forwarded hosts": {"X-Forwarded-Host": "shop.example, evil.example"},
    "scheme": {"X-Forwarded-Proto": "https"},
    "odd scheme": {"X-Forwarded-Proto": "gopher"},
    "forwarded port": {"X-Forwarded-Port": "1337"},
    "prefix": {"X-Forwarded-Prefix": "//evil.example"},
    "forwarded": {"Forwarded": "for=192.0.2.9;host=evil.example;proto=https"},
    "quoted forwarded": {"Forwarded": 'for=192.0.2.9;proto=http;host="evil.example:1337"'},
    "override of the host": {"X-Host": "evil.example", "X-Original-Host": "evil.example", "X-HTTP-Host-Override": "evil.example", "X-Forwarded-Server": "evil.example"},
    "override of the path": {"X-Original-URL": "/admin", "X-Rewrite-URL": "/admin", "X-Forwarded-Path": "/admin"},
    "override of the method": {"X-HTTP-Method-Override": "POST", "X-HTTP-Method": "POST", "X-Method-Override": "POST"},
    "override of the scheme": {"X-Forwarded-Scheme": "https", "X-Forwarded-Ssl": "on", "Front-End-Https": "on", "X-Url-Scheme": "https"},
    "a spelling for other servers": {"X_HTTP_Method_Override": "POST", "X.Original.URL": "/admin"},
    "a stripped variant": {"Connection": "Accept-Language", "Accept-Language": "de"},
    "a stripped scheme": {"Connection": "X-Forwarded-Proto", "X-Forwarded-Proto": "https"},
}


def page_of(request):
    """All of a request by which shops are known to make their pages; a public page in the visitor's language."""
    said = [f"{name}={value}" for name in SHAPERS for value in request.values(name)]
    said += [part for value in request.values("Forwarded") for part in value.replace(",", ";").split(";") if "for=" not in part.lower()]
    return Reply(body="\n".join([request.method, request.target] + said), headers={"Cache-Control": "max-age=100", "Vary": "Accept-Language"})


@pytest.fixture(scope="module")
def shop():
    with Upstream(page_of) as server:
        yield server


@contextlib.contextmanager
def gateway_of(shop, trusted):
    with gateway_before(web=shop, settings={"trusted_proxies": ["127.0.0.0/8"] if trusted else []}) as one:
        put_route(one, "all", path="/", pool="web", methods=["GET", "POST"], cache={"store": "default"})
        yield one


@pytest.fixture(scope="module", params=["a stranger", "a trusted proxy", "haproxy", "nginx"])
def port(request, shop, tmp_path_factory):
    with gateway_of(shop, request.param != "a stranger") as gateway:
        if request.param in ("a stranger", "a trusted proxy"):
            yield gateway.port
            return
        where = tmp_path_factory.mktemp("front")
        with {"haproxy": HAProxyWithPages, "nginx": NginxWithPages}[request.param](where, Shop(where), [gateway.port] * 3) as front:
            wait_until(lambda: get(front.port, "/wait").startswith(b"HTTP/1.1 200"), what="the page behind the proxy")
            yield front.port


def get(port, path, **fields):
    fields = {"Host": "shop.example", "Accept-Language": "en", "Connection": "close", **fields}
    line = f"GET {fields.pop('line', '')}{path} HTTP/1.1\r\n"
    return raw(port, (line + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n").encode())


def body(answer):
    return answer.partition(b"\r\n\r\n")[2]


paths = (f"/p/{number}" for number in itertools.count())


@pytest.mark.parametrize("poison", POISONS)
def test_nobody_gets_a_page_that_a_poisoned_request_has_made(port, poison):
    """CA2: F30."""
    fields = dict(POISONS[poison])
    if "Connection" in fields:
        fields["Connection"] += ", close"
    first, fresh = next(paths), next(paths)
    get(port, first, **fields)
    for said in ({}, {"Accept-Language": "de"}):
        after, want = (get(port, path, **said) for path in (first, fresh))
        assert after.startswith(b"HTTP/1.1 200") and body(after).replace(first.encode(), b"") == body(want).replace(fresh.encode(), b""), after
        assert b"penstock; hit" in get(port, first, **said)


def test_one_page_of_one_origin_is_fetched_once_however_it_is_written(port, shop):
    path = next(paths)
    shop.clear()
    answers = [get(port, path, **fields) for fields in ({}, {"Host": "Shop.Example"}, {"Host": "shop.example:80"}, {"line": "http://shop.example"})]
    assert {body(answer) for answer in answers} == {body(answers[0])} and len(shop.requests) == 1


def test_sites_behind_one_route_share_no_page_and_are_purged_apart(shop):
    """CA2: F30."""
    with gateway_of(shop, False) as gateway:
        def text(host, path="/p/a"):
            return body(get(gateway.port, path, Host=host)).decode()

        def purge(**what):
            assert gateway.admin("POST", "/admin/v1/caches/default/purge", what).status == 200
            shop.clear()
            return [host for host in ("one.example", "two.example", "two.example:8080") if [text(host)] and shop.requests and shop.requests[-1].value("Host") == host]

        assert "Host=one.example" in text("one.example") and "Host=two.example" in text("two.example") and "Host=two.example:8080" in text("two.example:8080")
        assert purge(key="two.example/p/a") == ["two.example"]
        assert purge(prefix="TWO.example:8080/p/") == ["two.example:8080"]
        assert purge(prefix="one.example") == ["one.example"]
        assert purge(key="/p/a") == ["one.example", "two.example", "two.example:8080"]
        assert purge(key="/p/") == [] and purge(prefix="wo.example/") == [] and purge(prefix="/q") == []


def test_what_varies_by_a_field_that_the_gateway_writes_anew_is_not_kept(shop):
    """CA1."""
    with gateway_of(shop, False) as gateway:
        for field in ("X-Forwarded-For", "X-Request-Id", "X-User-Id", "X-HTTP-Method-Override", "Penstock-Rehearsal"):
            shop.serve = lambda request: Reply(body="page", headers={"Cache-Control": "max-age=100", "Vary": field})
            path = next(paths)
            assert b"; stored" not in get(gateway.port, path) + get(gateway.port, path), field
        for field in ("Host", "X-Forwarded-Proto", "Accept-Encoding"):
            shop.serve = lambda request: Reply(body="page", headers={"Cache-Control": "max-age=100", "Vary": field})
            path = next(paths)
            assert b"; stored" in get(gateway.port, path) and b"penstock; hit" in get(gateway.port, path), field
        shop.serve = page_of


def test_what_nobody_could_ask_again_is_kept_only_where_the_shop_says_so(shop):
    with gateway_of(shop, False) as gateway:
        change_route(gateway, "all", cache={"store": "default", "default_ttl_s": 60})
        for status, kept in ((200, True), (404, True), (410, True), (405, False), (414, False), (501, False)):
            shop.serve = lambda request: Reply(status, "page")
            path = next(paths)
            assert (b"; stored" in get(gateway.port, path)) == kept, status
        shop.serve = lambda request: Reply(405, "page", {"Cache-Control": "max-age=60"})
        assert b"; stored" in get(gateway.port, next(paths))
        shop.serve = page_of


def test_a_trusted_proxys_overrides_reach_the_shop_where_nothing_is_kept(shop):
    with gateway_of(shop, True) as gateway:
        put_route(gateway, "plain", path="/plain/", pool="web", methods=["GET", "POST"])
        override = {"X-HTTP-Method-Override": "PATCH"}
        assert "X-HTTP-Method-Override=PATCH" in call(gateway.port, "POST", "/plain/1", b"x", override).text
        assert "X-HTTP-Method-Override=PATCH" in call(gateway.port, "POST", "/p/1", b"x", override).text
        assert "PATCH" not in call(gateway.port, "GET", "/p/1", headers=override).text
    with gateway_of(shop, False) as gateway:
        assert "PATCH" not in call(gateway.port, "POST", "/p/1", b"x", override).text


def test_a_field_that_connection_names_is_written_anew(shop):
    """F30: The shop always learns by which scheme and host the gateway was asked."""
    with gateway_of(shop, True) as gateway:
        said = {"Connection": "close, X-Forwarded-Proto, X-Forwarded-Host", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
        page = body(get(gateway.port, next(paths), **said)).decode().splitlines()
        assert "X-Forwarded-Proto=http" in page and "X-Forwarded-Host=shop.example" in page
