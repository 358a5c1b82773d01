"""What operators stumble over in their first hours with a gateway, and what it says then."""
import json

import pytest

from penstock import ANY_VERSION, Gateway, call, rfc3339, wait_until

SKUS = [{"sku": "phone", "stock": 3}]


@pytest.fixture(scope="module")
def gateway():
    with Gateway() as g:
        g.no_limits()
        yield g


def pointers(answer):
    return [(error["pointer"], error["detail"]) for error in answer.json["errors"]]


# --- Openings. ---


def test_an_opening_long_past_opens_a_sale_only_when_it_is_meant(gateway):
    path, wrong_year = "/admin/v1/sales/wrong-year", {"opens_at": "2025-12-24T20:00:00+08:00", "skus": SKUS}
    for dry_run in ("", "?dry_run=1"):
        answer = gateway.admin("PUT", path + dry_run, wrong_year)
        assert (answer.status, answer.json["pointer"]) == (422, "/opens_at"), answer
        assert '"open":true' in answer.json["detail"], answer
    assert gateway.admin("GET", path).status == 404
    assert gateway.admin("PUT", path, {**wrong_year, "opens_at": rfc3339(3600)}).status == 201
    answer = gateway.admin("PATCH", path, {"opens_at": wrong_year["opens_at"]}, ANY_VERSION)
    assert (answer.status, answer.json["pointer"]) == (422, "/opens_at"), answer
    assert gateway.sale("wrong-year")["state"] == "scheduled"
    answer = gateway.admin("PUT", "/admin/v1/config?kinds=sales", {"documents": {"sales": {"in-a-bundle": wrong_year}}}, ANY_VERSION)
    assert (answer.status, answer.json["pointer"]) == (422, "/documents/sales/in-a-bundle/opens_at"), answer
    answer = gateway.admin("PATCH", path, {"opens_at": wrong_year["opens_at"], "open": True}, ANY_VERSION)
    assert (answer.status, answer.json["state"], answer.json["opens_at"]) == (200, "open", "2025-12-24T12:00:00.000Z"), answer
    assert "open" not in answer.json


def test_a_sale_is_opened_now_by_saying_so_and_again_changes_nothing(gateway):
    path, document = "/admin/v1/sales/at-once", {"open": True, "skus": SKUS}
    dry = gateway.admin("PUT", path + "?dry_run=1", document)
    assert dry.json["changes"][0]["opens"] == "now", dry
    made = gateway.admin("PUT", path, document)
    assert (made.status, made.json["state"]) == (201, "open"), made
    again = gateway.admin("PUT", path, document, ANY_VERSION)
    assert (again.status, again.headers["etag"], again.json["opens_at"]) == (200, made.headers["etag"], made.json["opens_at"]), again
    answer = gateway.admin("PUT", "/admin/v1/sales/later", {"open": True, "opens_at": rfc3339(60), "skus": SKUS})
    assert (answer.status, answer.json["pointer"]) == (422, "/open"), answer
    dry = gateway.admin("PUT", "/admin/v1/sales/later?dry_run=1", {"opens_at": rfc3339(60), "skus": SKUS})
    assert "opens" not in dry.json["changes"][0], dry


def test_a_sale_that_has_ended_without_an_order_can_be_deleted(gateway):
    def delete(name):
        return gateway.admin("DELETE", f"/admin/v1/sales/{name}", headers=ANY_VERSION)

    gateway.make_sale("mistake")
    assert (delete("mistake").status, delete("mistake").code) == (409, "sale_has_orders")
    assert gateway.admin("POST", "/admin/v1/sales/mistake/end").status == 200
    wait_until(lambda: delete("mistake").status == 204, what="the deletion")
    assert gateway.admin("GET", "/admin/v1/sales/mistake").status == 404
    assert gateway.public("GET", "/v1/sales/mistake").status == 404
    answer = gateway.admin("PUT", "/admin/v1/sales/mistake", {"skus": SKUS})
    assert (answer.status, answer.code) == (409, "conflict"), "a name is used once"

    gateway.make_sale("bought")
    assert gateway.buy("bought", "ann").status == 202
    assert gateway.admin("POST", "/admin/v1/sales/bought/end").status == 200
    order = gateway.orders("bought")[0]["order_id"]
    assert gateway.admin("POST", f"/admin/v1/orders/{order}/cancel").status == 200
    wait_until(lambda: gateway.sale("bought")["skus"][0]["held"] == 0, what="the release")
    assert (delete("bought").status, delete("bought").code) == (409, "sale_has_orders")


def test_a_deleted_sale_stays_away_over_a_restart(tmp_path):
    with Gateway(tmp_path) as gateway:
        gateway.make_sale("mistake")
        assert gateway.admin("POST", "/admin/v1/sales/mistake/end").status == 200
        wait_until(lambda: gateway.admin("DELETE", "/admin/v1/sales/mistake", headers=ANY_VERSION).status == 204, what="the deletion")
        assert gateway.stop() == 0
        gateway.start()
        assert gateway.admin("GET", "/admin/v1/sales/mistake").status == 404
        assert "sale_unknown" not in gateway.log()


def test_a_seeded_sale_opens_however_long_ago_its_opening_was(tmp_path):
    seed = {"sale": "shoes", "opens_at": "2020-01-01T00:00:00Z", "skus": SKUS}
    with Gateway(tmp_path, settings={"sales": [seed]}) as gateway:
        gateway.wait_state("shoes", "open")
        assert gateway.buy("shoes", "ann").status == 202
        assert gateway.stop() == 0
        gateway.start()
        gateway.wait_state("shoes", "open")
        assert len(gateway.orders("shoes")) == 1
        assert "seed_ignored" not in gateway.log()
