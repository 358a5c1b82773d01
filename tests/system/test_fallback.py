"""What answers in the place of a pool: in the order of the route's document, whenever the pool does not answer, the ladder says so, or an operator
does. Real servers behind a real gateway."""
import time

import pytest
from pages import audit_log, change_route, put_pool, put_route, route
from penstock import Gateway, free_port, wait_until
from upstreams import Misbehaving, Reply, Upstream

SORRY = {"kind": "static", "status": 200, "content_type": "text/plain", "body": "sorry\n"}


@pytest.fixture()
def shop():
    with Upstream(lambda request: "shop") as server:
        yield server


@pytest.fixture()
def backup():
    with Upstream(lambda request: "backup") as server:
        yield server


@pytest.fixture()
def gateway(shop, backup):
    with Gateway() as one:
        one.no_limits()
        put_pool(one, "web", shop)
        put_pool(one, "backup", backup)
        put_pool(one, "dead", f"127.0.0.1:{free_port()}")
        put_route(one, "product", path="/p/", pool="web", fallback=[SORRY])
        yield one


def get(gateway, path="/p/1", **more):
    return gateway.public("GET", path, **more)


# --- In order. ---


def test_a_dead_pool_is_answered_by_the_next_thing_in_order(gateway):
    put_route(gateway, "product", path="/p/", pool="dead", fallback=[{"kind": "pool", "pool": "backup"}, SORRY])
    answer = get(gateway)
    assert (answer.status, answer.text, answer.headers["penstock-fallback"]) == (200, "backup", "pool; why=failed")
    put_route(gateway, "product", path="/p/", pool="dead", fallback=[SORRY])
    answer = get(gateway)
    assert (answer.status, answer.text, answer.headers["penstock-fallback"]) == (200, "sorry\n", "static; why=failed")
    assert answer.headers["content-type"] == "text/plain"
    put_route(gateway, "product", path="/p/", pool="dead", fallback=[{"kind": "problem"}])
    answer = get(gateway)
    assert (answer.status, answer.code, answer.headers["penstock-fallback"]) == (502, "bad_gateway", "problem; why=failed")
    put_route(gateway, "product", path="/p/", pool="dead")
    answer = get(gateway)
    assert (answer.status, answer.code) == (502, "bad_gateway") and "penstock-fallback" not in answer.headers


def test_a_fallback_pool_that_is_dead_as_well_is_passed_over(gateway, backup):
    backup.stop()
    put_route(gateway, "product", path="/p/", pool="dead", fallback=[{"kind": "pool", "pool": "backup"}, {"kind": "pool", "pool": "web"}, SORRY])
    assert get(gateway).text == "shop"
    put_route(gateway, "product", path="/p/", pool="dead", fallback=[{"kind": "pool", "pool": "backup"}, SORRY])
    answer = get(gateway)
    assert (answer.text, answer.headers["penstock-fallback"]) == ("sorry\n", "static; why=failed")


def test_an_answer_of_the_shop_is_the_shops_whatever_its_status(gateway, shop):
    shop.serve = lambda request: Reply(503, "closed for today")
    answer = get(gateway)
    assert (answer.status, answer.text) == (503, "closed for today") and "penstock-fallback" not in answer.headers


def test_a_deadline_that_passes_is_answered_by_the_fallback(gateway, shop):
    shop.delay_s = 5
    change_route(gateway, "product", first_byte_ms=200)
    began = time.monotonic()
    answer = get(gateway)
    assert (answer.text, answer.headers["penstock-fallback"]) == ("sorry\n", "static; why=deadline")
    assert 0.15 < time.monotonic() - began < 1.5


@pytest.mark.parametrize("way", ["refuses", "closes_before_head", "resets_before_head", "resets_in_head"])
def test_whatever_goes_wrong_before_the_answer_begins_is_answered_by_the_fallback(gateway, way):
    with Misbehaving(way) as bad:
        put_pool(gateway, "web", bad)
        answer = get(gateway)
        assert (answer.status, answer.text) == (200, "sorry\n"), answer


def test_no_endpoint_is_answered_by_the_fallback(gateway, shop):
    document = {"endpoints": [{"address": shop.address, "drain": True}]}
    assert gateway.admin("PUT", "/admin/v1/pools/web", document, {"If-Match": "*"}).status == 200
    answer = get(gateway)
    assert (answer.text, answer.headers["penstock-fallback"]) == ("sorry\n", "static; why=no_endpoint")


def test_a_body_that_was_sent_to_one_pool_is_not_sent_to_another(gateway, backup):
    with Misbehaving("closes_before_head") as bad:
        put_pool(gateway, "web", bad)
        put_route(gateway, "product", path="/p/", methods=["POST"], pool="web", fallback=[{"kind": "pool", "pool": "backup"}, SORRY])
        answer = gateway.public("POST", "/p/1", body=b"x" * 1000)
        assert answer.text == "sorry\n" and backup.requests == []


def test_head_gets_the_head_of_the_fallback(gateway):
    put_route(gateway, "product", path="/p/", pool="dead", fallback=[SORRY])
    answer = gateway.public("HEAD", "/p/1")
    assert (answer.status, answer.text, answer.headers["content-length"]) == (200, "", "6")


# --- By an operator. ---


def test_an_operator_takes_a_route_from_its_pool_for_a_while(gateway, shop):
    answer = gateway.admin("POST", "/admin/v1/routes/product/fallback", {"ttl_s": 600, "reason": "the shop is moved"})
    assert answer.status == 200 and answer.json["pin"]["reason"] == "the shop is moved", answer
    shop.clear()
    answer = get(gateway)
    assert (answer.text, answer.headers["penstock-fallback"]) == ("sorry\n", "static; why=order") and shop.requests == []
    answer = gateway.admin("POST", "/admin/v1/routes/product/restore")
    assert answer.status == 200 and answer.json["pin"] is None
    assert get(gateway).text == "shop"
    assert [line["why"] for line in audit_log(gateway, "route.fallback")] == ["the shop is moved"]
    assert len(audit_log(gateway, "route.restore")) == 1


def test_the_order_ends_by_itself_and_outlives_a_restart(shop, tmp_path):
    with Gateway(tmp_path) as gateway:
        gateway.no_limits()
        put_pool(gateway, "web", shop)
        put_route(gateway, "product", path="/p/", pool="web", fallback=[SORRY])
        assert gateway.admin("POST", "/admin/v1/routes/product/fallback", {"ttl_s": 8}).status == 200
    with Gateway(tmp_path) as gateway:
        assert route(gateway, "product")["pin"]["by"] == "first" and get(gateway).text == "sorry\n"
        wait_until(lambda: get(gateway).text == "shop", 12)
        assert route(gateway, "product")["pin"] is None


def test_an_order_without_a_time_or_for_a_route_without_a_fallback_is_refused(gateway):
    assert gateway.admin("POST", "/admin/v1/routes/product/fallback", {}).status == 422
    answer = gateway.admin("POST", "/admin/v1/routes/product/fallback", {"ttl_s": 0})
    assert answer.status == 422 and answer.json["pointer"] == "/ttl_s"
    assert gateway.admin("POST", "/admin/v1/routes/product/fallback", {"ttl_s": 60, "state": "on"}).status == 422
    assert gateway.admin("POST", "/admin/v1/routes/other/fallback", {"ttl_s": 60}).status == 404
    change_route(gateway, "product", fallback=[])
    answer = gateway.admin("POST", "/admin/v1/routes/product/fallback", {"ttl_s": 60})
    assert (answer.status, answer.code) == (409, "conflict")
    assert get(gateway).text == "shop"


# --- By the ladder. ---


def test_classes_give_way_in_order_and_core_never(gateway):
    with Gateway(settings={"policy": {"overload": {}}}) as one:
        one.no_limits()
        with Upstream(lambda request: "shop") as shop:
            put_pool(one, "web", shop)
            for name in ("core", "important", "normal", "extra"):
                put_route(one, name, path=f"/{name}/", pool="web", **{"class": name})
            put_route(one, "soft", path="/soft/", pool="web", fallback=[SORRY], **{"class": "extra"})
            for level, off in ((1, {"extra"}), (2, {"extra"}), (3, {"extra", "normal"}), (4, {"extra", "normal", "important"})):
                assert one.admin("POST", "/admin/v1/overload/pin", {"level": level, "ttl_s": 600}).status == 200
                for name in ("core", "important", "normal", "extra"):
                    answer = get(one, f"/{name}/")
                    if name not in off:
                        assert (answer.status, answer.text) == (200, "shop"), (level, name, answer)
                        continue
                    assert (answer.status, answer.code) == (503, "shed") and int(answer.headers["retry-after"]) >= 1
                    assert answer.json["violated-policies"] == [f"routes_{name}"]
                answer = get(one, "/soft/")
                assert (answer.text, answer.headers["penstock-fallback"]) == ("sorry\n", "static; why=level")
            assert one.admin("POST", "/admin/v1/overload/unpin").status == 200
            assert get(one, "/extra/").text == "shop"
