"""The status page: what a whole audience polls, so what caches may do with it matters as much as what it says."""
import re
import time
from datetime import datetime

import pytest
from penstock import call, rfc3339, wait_until
from test_buying import is_no

NEAR = {"max-age": 1, "stale-while-revalidate": 2, "stale-if-error": 30}
FAR = {"max-age": 2, "stale-while-revalidate": 5, "stale-if-error": 60}


def page(gateway, sale, **headers):
    return gateway.public("GET", f"/v1/sales/{sale}", headers={k.replace("_", "-"): v for k, v in headers.items()})


def fresh_page(gateway, sale):
    """As it is built now: a page may be 100 ms old on each worker."""
    time.sleep(0.12)
    return page(gateway, sale)


def directives(field):
    parts = [part.strip().split("=") for part in field.split(",")]
    return {part[0]: int(part[1]) for part in parts if len(part) == 2}


def command(gateway, sale, word):
    assert gateway.admin("POST", f"/admin/v1/sales/{sale}/{word}").status == 200


def test_the_page_shows_the_sale_and_what_is_left(gateway):
    opens, closes = rfc3339(-5), rfc3339(3600)
    sale = gateway.make_sale(opens_at=opens, closes_at=closes, attributes={"banner": "双十一"}, skus=[
        {"sku": "phone", "stock": 3, "price": {"amount": "9.90", "currency": "CNY"}, "attributes": {"colour": "red"}},
        {"sku": "case", "stock": 1}])
    gateway.buy(sale, "a")
    gateway.buy(sale, "b", sku="case")
    answer = fresh_page(gateway, sale)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json == {
        "sale": sale, "phase": "open", "opens_at": opens, "closes_at": closes,
        "skus": [{"sku": "phone", "availability": "in_stock", "available": 2,
                  "price": {"amount": "9.90", "currency": "CNY"}, "attributes": {"colour": "red"}},
                 {"sku": "case", "availability": "sold_out", "available": 0, "price": None, "attributes": {}}],
        "attributes": {"banner": "双十一"}}


def test_an_open_page_may_be_cached_for_a_second_by_everybody(gateway):
    answer = page(gateway, gateway.make_sale())
    assert answer.headers["cache-control"] == "public, max-age=1, stale-while-revalidate=2, stale-if-error=30"
    assert answer.headers["cdn-cache-control"] == "max-age=2, stale-while-revalidate=5, stale-if-error=60"
    assert answer.headers["surrogate-control"] == answer.headers["cdn-cache-control"]
    assert "vary" not in answer.headers and "s-maxage" not in str(answer.raw_headers).lower()
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "date" in answer.headers


def test_the_etag_is_strong_and_the_same_on_every_worker_while_nothing_changes(gateway):
    sale = gateway.make_sale()
    tags = {fresh_page(gateway, sale).headers["etag"] for _ in range(6)}
    assert len(tags) == 1 and re.match(r'^"[0-9a-f]{16}"$', tags.pop())


@pytest.mark.parametrize("field", ["{}", "*", '"other", {}', 'W/{}', '"x",{},"y"', '"x",\t{}\t,"y"'])
def test_a_matching_etag_is_304_without_a_body_and_with_the_cache_rules(gateway, field):
    sale = gateway.make_sale()
    first = page(gateway, sale)
    answer = page(gateway, sale, If_None_Match=field.format(first.headers["etag"]))
    assert (answer.status, answer.text) == (304, "")
    for name in ("etag", "cache-control", "cdn-cache-control", "surrogate-control"):
        assert answer.headers[name] == first.headers[name]
    # RFC 9110, 8.6: the length of the page, or none.
    assert answer.headers.get("content-length") in (None, first.headers["content-length"])


def test_another_etag_or_a_sale_that_has_moved_is_200(gateway):
    sale = gateway.make_sale()
    first = page(gateway, sale).headers["etag"]
    assert page(gateway, sale, If_None_Match='"' + "0" * 16 + '"').status == 200
    assert page(gateway, sale, If_None_Match=first[:-2] + '"').status == 200
    gateway.buy(sale, "a")
    time.sleep(0.12)
    answer = page(gateway, sale, If_None_Match=first)
    assert answer.status == 200 and answer.headers["etag"] != first


def test_head_has_the_head_of_get_and_no_body(gateway):
    sale = gateway.make_sale()
    get, head = page(gateway, sale), gateway.public("HEAD", f"/v1/sales/{sale}")
    assert (head.status, head.text) == (200, "")
    for name in ("content-length", "content-type", "etag", "cache-control"):
        assert head.headers[name] == get.headers[name]


def test_an_unknown_sale_is_404_and_not_to_be_stored(gateway):
    is_no(page(gateway, "no-such-sale"), 404, "not_found")


def test_nobody_needs_an_identity_to_look(gateway):
    assert page(gateway, gateway.make_sale(), X_User_Id="two words").status == 200


@pytest.mark.parametrize("opens_in", [1.5, 2.6, 4.4, 20.5])
def test_before_the_opening_no_cache_may_keep_the_page_past_it(gateway, opens_in):
    sale = gateway.make_sale(opens_in=opens_in + 2)
    opens = datetime.fromisoformat(gateway.sale(sale)["opens_at"].replace("Z", "+00:00")).timestamp()
    time.sleep(max(0.0, opens - opens_in - time.time()))
    asked = time.time()
    answer = page(gateway, sale)
    assert answer.json["phase"] == "scheduled"
    for name, wish in (("cache-control", NEAR), ("cdn-cache-control", FAR), ("surrogate-control", FAR)):
        rules = directives(answer.headers[name])
        assert set(rules) == set(wish)
        assert asked + rules["max-age"] + rules["stale-while-revalidate"] <= opens
        assert asked + rules["max-age"] + rules["stale-if-error"] <= opens
        assert rules["max-age"] <= wish["max-age"]
    if opens_in > 10:
        assert directives(answer.headers["cache-control"])["max-age"] == 1


def test_in_the_last_second_before_the_opening_a_page_may_be_kept_for_one_second(gateway):
    """The crowd reloads just then: what no cache may keep would all come here."""
    sale = gateway.make_sale(opens_in=3.3)
    opens = datetime.fromisoformat(gateway.sale(sale)["opens_at"].replace("Z", "+00:00")).timestamp()
    time.sleep(max(0.0, opens - 0.9 - time.time()))
    seen = 0
    while time.time() < opens - 0.05:
        answer = page(gateway, sale)
        if time.time() > opens:
            break
        seen += 1
        assert (answer.json["phase"], answer.json["opens_at"] is not None) == ("scheduled", True)
        for name in ("cache-control", "cdn-cache-control", "surrogate-control"):
            assert directives(answer.headers[name]) == {"max-age": 1, "stale-while-revalidate": 0, "stale-if-error": 0}
        time.sleep(0.05)
    assert seen


def test_a_sale_far_ahead_is_cached_like_an_open_one(gateway):
    assert directives(page(gateway, gateway.make_sale(opens_in=3600)).headers["cache-control"]) == NEAR


def test_a_sale_opens_at_its_millisecond_on_every_worker(gateway):
    sale = gateway.make_sale(opens_in=4.3)
    opens = datetime.fromisoformat(gateway.sale(sale)["opens_at"].replace("Z", "+00:00")).timestamp()
    early, late, n = [], [], 0
    while len(late) < 10:
        n += 1  # a connection each: the kernel spreads them over the workers
        before = time.time()
        phase = page(gateway, sale).json["phase"]
        verdict = gateway.buy(sale, f"u{n}")
        after = time.time()
        if after < opens:
            assert (phase, verdict.code) == ("scheduled", "not_started"), (opens - after, verdict)
            early.append(n)
        elif before >= opens:
            assert (phase, verdict.status, verdict.json.get("state") or verdict.code) in (
                ("open", 202, "accepted"), ("open", 409, "sold_out")), (before - opens, phase, verdict)
            late.append(n)
        time.sleep(0.003 if opens - time.time() < 0.1 else 0.02)
    assert early
    gateway.assert_books(sale)


def test_the_page_follows_pause_resume_and_end(gateway):
    sale = gateway.make_sale(stock=4)
    for word, phase in (("pause", "paused"), ("resume", "open"), ("end", "ended")):
        command(gateway, sale, word)
        assert {page(gateway, sale).json["phase"] for _ in range(8)} == {phase}  # at once, on all workers


def test_a_sale_closes_at_closes_at(gateway):
    sale = gateway.make_sale()
    assert page(gateway, sale).json["phase"] == "open"
    assert gateway.change_sale(sale, closes_at=rfc3339(0.5)).status == 200
    wait_until(lambda: time.time() > datetime.fromisoformat(
        gateway.sale(sale)["closes_at"].replace("Z", "+00:00")).timestamp())
    assert {page(gateway, sale).json["phase"] for _ in range(8)} == {"ended"}
    is_no(gateway.buy(sale, "u"), 409, "ended")


def test_a_draft_has_no_opening_yet(gateway):
    answer = gateway.admin("PUT", "/admin/v1/sales/draft", {"skus": [{"sku": "phone", "stock": 1}]})
    assert answer.status == 201 and answer.json["state"] == "draft"
    assert page(gateway, "draft").json["phase"] == "scheduled"
    assert page(gateway, "draft").json["opens_at"] is None
    is_no(gateway.buy("draft", "u"), 409, "not_started")


def test_a_hundred_skus_with_full_attributes_fit_the_page(gateway):
    attributes = {"text": "\"ö\n" * 290}
    sale = gateway.make_sale(attributes=attributes, skus=[
        {"sku": f"sku-{i}", "stock": i, "price": {"amount": "1", "currency": "EUR"}, "attributes": attributes}
        for i in range(100)])
    body = page(gateway, sale).json
    assert [sku["available"] for sku in body["skus"]] == list(range(100))
    assert body["attributes"] == attributes and body["skus"][99]["attributes"] == attributes
    assert gateway.buy(sale, "u", sku="sku-77").status == 202
    assert fresh_page(gateway, sale).json["skus"][77]["available"] == 76


def test_probes_answer_and_tell_strangers_no_addresses(gateway):
    assert call(gateway.port, "GET", "/livez").text == "ok\n"
    for port in (gateway.port, gateway.admin_port):
        answer = call(port, "GET", "/readyz?verbose")
        assert answer.status == 200 and answer.headers["cache-control"] == "no-store"
        assert [line for line in answer.text.splitlines() if line.startswith("[")] == [
            "[+]started ok", "[+]serving ok", "[+]log ok", "[+]sales ok", "[+]limits ok"]
    public = call(gateway.port, "GET", "/readyz?verbose").text
    assert "127.0.0.1" not in public and "backlog" not in public
