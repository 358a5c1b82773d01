"""An address has one spelling for whatever the gateway decides: route, class, cache key, purge, invalidation. The shop sees it as it came. Pages take
what browsers send; the API of sales is strict."""
import json
import random
import urllib.parse

import pytest
from pages import gateway_before, put_route
from penstock import raw
from upstreams import Reply, Upstream

LAMP = "/%E7%81%AF"  # 灯


def page_of(request):
    if request.method == "POST":
        return Reply(body="changed", headers={"Location": request.target})
    vary = {"Vary": "Accept-Language"} if request.path == "/cached/varied" else {}
    return Reply(body=f"{request.number} {request.connection} {request.target}", headers={"Cache-Control": "max-age=100", **vary})


@pytest.fixture(scope="module")
def shop():
    with Upstream(page_of) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(shop):
    with gateway_before(web=shop, settings={"http": {"head_max_kib": 16}}) as one:
        put_route(one, "all", path="/", pool="web", methods=["GET", "POST"])
        put_route(one, "cached", path="/cached/", pool="web", methods=["GET", "POST"], cache={"store": "default"})
        put_route(one, "own", path="/own/", host="shop.example", pool="web", cache={"store": "default"})
        put_route(one, "internal", path="/internal/", answer={"status": 403})
        put_route(one, "odd", path="/%6Fdd%2fpath/", answer={"status": 410})
        yield one


def ask(gateway, target, method="GET", **fields):
    """Status, fields and body."""
    lines = {"Host": "shop.example", "Connection": "close", **fields}
    head = [target if isinstance(target, bytes) else target.encode()]
    sent = method.encode() + b" " + head[0] + b" HTTP/1.1\r\n" + "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items()).encode() + b"\r\n"
    head, _, body = raw(gateway.port, sent).partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), head.decode("latin-1"), body.decode("latin-1")


def is_hit(gateway, target, **fields):
    status, head, _ = ask(gateway, target, **fields)
    assert status == 200, head
    return "; hit" in head


def purge(gateway, **by):
    return gateway.admin("POST", "/admin/v1/caches/default/purge", by)


@pytest.mark.parametrize("path", ["/internal/x", "/%69nternal/x", "/%49nternal/x".replace("%49", "%69"), "/intern%61l/x", "/%69%6E%74%65%72%6e%61%6c/x"])
def test_a_route_is_found_by_each_spelling_of_its_path(gateway, path):
    assert ask(gateway, path)[0] == 403


def test_a_route_may_be_written_in_any_spelling(gateway):
    assert ask(gateway, "/odd%2Fpath/x")[0] == 410 and ask(gateway, "/o%64d%2fpath/x")[0] == 410
    assert ask(gateway, "/odd/path/x")[0] == 200, "an encoded slash is no slash"
    assert gateway.read("/admin/v1/routes/odd").json["path"] == "/odd%2Fpath/"


def test_encoded_dots_are_dots(gateway):
    assert ask(gateway, "/p/%2e%2E/internal/x")[0] == 400


@pytest.mark.parametrize("host", ["shop.example", "SHOP.example", "shop.example.", "shop.example:80", "shop.example.:80"])
def test_a_host_has_one_entry_in_each_spelling(gateway, host):
    ask(gateway, "/own/page")
    assert is_hit(gateway, "/own/page", Host=host)


def test_two_spellings_of_random_addresses_have_one_entry(gateway):
    """Ten thousand are compared in tests/unit/http_address_test.c, on what all of the gateway reads."""
    draws = random.Random(32)
    for i in range(100):
        name = f"{i}" + "".join(draws.choice("abz~._-é[|]{}") for _ in range(8))
        spelt = []
        for _ in range(2):
            spelt.append("".join(draws.choice(["".join(f"%{byte:02x}" for byte in c.encode()), "".join(f"%{byte:02X}" for byte in c.encode()), c]) for c in name))
        assert not is_hit(gateway, f"/cached/{spelt[0]}?q={spelt[1]}")
        assert is_hit(gateway, f"/cached/{spelt[1]}?q={spelt[0]}"), spelt


def test_the_shop_sees_an_address_as_it_came(gateway, shop):
    sent = "/p/%7e%69?filter[color]=%e7|x"
    assert ask(gateway, sent)[2].endswith(sent)
    assert shop.requests[-1].target == sent


def test_a_kept_page_is_asked_for_in_the_spelling_of_its_key(gateway, shop):
    """A shop that tells spellings apart would else show the first visitor's page to all."""
    assert ask(gateway, "/cached/%7e%6B[x]?b=%61&a=1")[0] == 200
    assert shop.requests[-1].target == "/cached/~k%5Bx%5D?a=1&b=a"


@pytest.mark.parametrize("target", ["/p?filter[color]=red", "/p?page[size]=10", "/p?family=A|B", "/[slug].js", "/p?a=`{}^\\", "/灯?x=灯"])
def test_pages_take_what_browsers_send(gateway, shop, target):
    assert ask(gateway, target)[0] == 200
    assert shop.requests[-1].target == target.encode().decode("latin-1")


@pytest.mark.parametrize(("target", "at"), [(b"/p\"x", 3), (b"/<p", 2), (b"/p#x", 3), (b"/p?a=\x01", 6), (b"/a\\b", 3), (b"/p?%zz", 4), (b"/p%4", 3), (b"/%00", 2),
                                            (b"http://shop.example/p%0", 22)])
def test_an_address_that_cannot_be_normalised_is_refused_with_the_bytes_place(gateway, target, at):
    status, _, body = ask(gateway, target)
    assert status == 400 and json.loads(body)["detail"].endswith(f"at its byte {at}"), body


def test_the_api_of_sales_is_strict(gateway):
    assert ask(gateway, "/v1/sales/x?a=[b]")[0] == 400 and ask(gateway, "/v1/sales/灯")[0] == 400 and ask(gateway, "/%761/sales/x?a=[b]")[0] == 400
    assert ask(gateway, "/v1/sales/x?" + 2040 * "a")[0] == 414 and ask(gateway, "/%761/sales/x")[0] == 404


def test_an_address_of_a_page_may_have_target_max_bytes(gateway):
    assert ask(gateway, "/p?" + 8189 * "a")[0] == 200
    assert ask(gateway, "/p?" + 8190 * "a")[0] == 414


@pytest.mark.parametrize("by", [{"key": LAMP}, {"key": "/灯"}, {"key": LAMP.lower()}, {"prefix": "/%7Eu/"}, {"prefix": "SHOP.example.:80/~u"}, {"key": "shop.example:443/~u/1?a=[x]"}])
def test_a_purge_meets_each_spelling(gateway, by):
    by = {name: text.replace("/", "/cached/", 1) for name, text in by.items()}
    targets = ["/cached" + LAMP, "/cached/~u/1?a=[x]"]
    for target in targets:
        ask(gateway, target)
    assert all(is_hit(gateway, target) for target in targets)
    assert purge(gateway, **by).status == 200
    met = "~u" in urllib.parse.unquote(json.dumps(by))
    assert [is_hit(gateway, target) for target in targets] == [met, not met], by


@pytest.mark.parametrize("by", [{"key": "lamp"}, {"key": "https://shop.example/p"}, {"key": "/%zz"}, {"prefix": "/p%4"}, {"prefix": "a b/"}, {"key": "/p#x"}, {"key": "/\x01"}])
def test_a_purge_text_that_is_no_address_is_refused(gateway, by):
    answer = purge(gateway, **by)
    assert answer.status == 422 and list(by)[0] in answer.json["errors"][0]["pointer"], answer


@pytest.mark.parametrize("target", [LAMP.lower(), "/%67one"])
def test_a_change_removes_the_page_in_each_spelling(gateway, target):
    kept = "/cached" + urllib.parse.quote(urllib.parse.unquote(target))
    ask(gateway, kept)
    assert is_hit(gateway, kept)
    assert ask(gateway, "/cached" + target, method="POST", Content_Length=0)[0] == 200
    assert not is_hit(gateway, kept)


def test_strange_languages_do_not_push_out_the_ordinary_page(gateway):
    for _ in range(20):
        ask(gateway, "/cached/varied", Accept_Language="zh")
    hits = 0
    for i in range(20):
        for j in range(16):
            ask(gateway, "/cached/varied", Accept_Language=f"x{i}-{j}")
        hits += is_hit(gateway, "/cached/varied", Accept_Language="zh")
    assert hits == 20
    # A new one that many ask for takes its place among them.
    for _ in range(40):
        ask(gateway, "/cached/varied", Accept_Language="fr")
    for j in range(16):
        ask(gateway, "/cached/varied", Accept_Language=f"y-{j}")
    assert is_hit(gateway, "/cached/varied", Accept_Language="fr")


def test_cookies_are_read_in_all_their_lines():
    with Upstream(lambda _: "old") as web, Upstream(lambda _: "new") as beta, gateway_before(web=web, beta=beta) as gateway:
        put_route(gateway, "all", path="/", pool="web", split=[{"pool": "beta", "share": 0.5, "by": "cookie:sid"}])

        def answered(cookies):
            answer = raw(gateway.port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + cookies + b"\r\n")
            return answer.rpartition(b"\r\n")[2]

        of = {sid: answered(b"Cookie: a=1; sid=%d\r\n" % sid) for sid in range(40)}
        assert set(of.values()) == {b"old", b"new"}
        assert all(answered(b"Cookie: a=1\r\nCookie: b=2; sid=%d\r\n" % sid) == name for sid, name in of.items())


def test_lines_of_a_list_are_one_list(gateway):
    path = "/v1/sales/none"
    lines = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIf-None-Match: \"a\"\r\nIf-None-Match: \"b\"\r\n\r\n"
    assert raw(gateway.port, lines.encode()).startswith(b"HTTP/1.1 404")
    twice = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-User-Id: a\r\nX-User-Id: b\r\n\r\n"
    assert raw(gateway.port, twice.encode()).startswith(b"HTTP/1.1 400")
