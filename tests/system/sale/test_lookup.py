"""Looking orders up: each buyer sees their own orders, and nobody else's."""
import pytest
from penstock import ANY_VERSION, Gateway
from test_buying import is_no

NOBODYS = "0198c0de-0000-7000-8000-000000000000"


def look(gateway, order, user):
    return gateway.public("GET", f"/v1/orders/{order['order_id']}", user=user)


def settle(gateway, order, what):
    assert gateway.admin("POST", f"/admin/v1/orders/{order['order_id']}/{what}").status == 200


@pytest.mark.parametrize("deed,state,reason", [(None, "accepted", None), ("confirm", "confirmed", None),
                                               ("cancel", "released", "cancelled")])
def test_an_order_shows_its_state(gateway, deed, state, reason):
    sale = gateway.make_sale()
    order = gateway.buy(sale, "u", key="k").json
    if deed:
        settle(gateway, order, deed)
    answer = look(gateway, order, "u")
    assert answer.status == 200 and answer.headers["cache-control"] == "no-store"
    assert answer.json == {**order, "state": state, "reason": reason}


def test_another_users_order_is_404_like_none_at_all(gateway):
    order = gateway.buy(gateway.make_sale(), "owner").json
    strange, none = look(gateway, order, "stranger"), look(gateway, {"order_id": NOBODYS}, "owner")
    is_no(strange, 404, "not_found")
    is_no(none, 404, "not_found")
    assert strange.json["detail"] == none.json["detail"]


@pytest.mark.parametrize("text", ["x", NOBODYS[:-1], NOBODYS + "0", "0198c0de000070008000000000000000", "%30198c0de"])
def test_an_id_that_is_none_is_404(gateway, text):
    is_no(gateway.public("GET", "/v1/orders/" + text, user="u"), 404, "not_found")


def test_looking_needs_an_identity(gateway):
    order = gateway.buy(gateway.make_sale(), "u").json
    is_no(look(gateway, order, None), 401, "unauthenticated")
    is_no(gateway.public("GET", f"/v1/sales/{order['sale']}/orders"), 401, "unauthenticated")


def test_a_blocked_user_looks_nothing_up(gateway):
    order = gateway.buy(gateway.make_sale(), "rogue").json
    assert gateway.admin("PUT", "/admin/v1/blocklist/users/rogue", {"ttl_s": 3600}).status == 201
    is_no(look(gateway, order, "rogue"), 403, "blocked")
    is_no(gateway.public("GET", f"/v1/sales/{order['sale']}/orders", user="rogue"), 403, "blocked")
    assert gateway.admin("DELETE", "/admin/v1/blocklist/users/rogue", headers=ANY_VERSION).status == 204
    assert look(gateway, order, "rogue").status == 200


def test_the_log_has_the_request_id_of_the_answer(gateway):
    sale = gateway.make_sale()
    chosen = gateway.buy(sale, "a", headers={"X-Request-Id": "ticket-4711"})
    given = gateway.buy(sale, "b")
    records = gateway.admin("GET", f"/admin/v1/sales/{sale}/log?after=0&limit=1000").lines()
    ids = {r["order_id"]: r["request_id"] for r in records if "request_id" in r}
    assert chosen.headers["x-request-id"] == "ticket-4711"
    assert ids == {answer.json["order_id"]: answer.headers["x-request-id"] for answer in (chosen, given)}


def test_head_of_an_order_has_no_body(gateway):
    order = gateway.buy(gateway.make_sale(), "u").json
    answer = gateway.public("HEAD", f"/v1/orders/{order['order_id']}", user="u")
    assert (answer.status, answer.text) == (200, "")


def test_a_buyers_own_orders_come_newest_first(gateway):
    sale, other = gateway.make_sale(per_user_cap=5), gateway.make_sale()
    orders = [gateway.buy(sale, "u", key=f"k{i}").json for i in range(3)]
    gateway.buy(other, "u")
    gateway.buy(sale, "stranger")
    settle(gateway, orders[1], "cancel")
    answer = gateway.public("GET", f"/v1/sales/{sale}/orders", user="u")
    assert answer.status == 200 and answer.headers["cache-control"] == "no-store"
    assert [order["order_id"] for order in answer.json["orders"]] == [order["order_id"] for order in reversed(orders)]
    assert [order["state"] for order in answer.json["orders"]] == ["accepted", "released", "accepted"]
    assert answer.json["more"] is False


def test_a_buyer_without_orders_gets_an_empty_list(gateway):
    answer = gateway.public("GET", f"/v1/sales/{gateway.make_sale()}/orders", user="nobody")
    assert (answer.status, answer.json) == (200, {"orders": [], "more": False})


def test_own_orders_of_an_unknown_sale_are_404(gateway):
    is_no(gateway.public("GET", "/v1/sales/no-such-sale/orders", user="u"), 404, "not_found")


def test_a_long_list_says_that_there_is_more_and_fits_its_answer(gateway):
    sku = "s" * 64
    sale = gateway.make_sale("n" * 64, per_user_cap=50, skus=[{"sku": sku, "stock": 50}])
    for i in range(12):
        assert gateway.buy(sale, "u", sku=sku, key=f"{i:02}" + "&" * 62).status == 202
    answer = gateway.public("GET", f"/v1/sales/{sale}/orders", user="u").json
    assert answer["more"] is True
    assert [order["idempotency_key"][:2] for order in answer["orders"]] == ["11", "10", "09", "08", "07", "06", "05", "04"]
    older = gateway.public("GET", f"/v1/sales/{sale}/orders?x=1&before={answer['orders'][-1]['order_id']}", user="u").json
    assert [order["idempotency_key"][:2] for order in older["orders"]] == ["03", "02", "01", "00"] and older["more"] is False
    none = gateway.public("GET", f"/v1/sales/{sale}/orders?before={older['orders'][-1]['order_id']}", user="u").json
    assert none == {"orders": [], "more": False}


def test_a_page_before_what_is_no_order_of_the_caller_in_this_sale_names_the_parameter(gateway):
    sale, other = gateway.make_sale(per_user_cap=5), gateway.make_sale()
    own, elsewhere = gateway.buy(sale, "u").json["order_id"], gateway.buy(other, "u").json["order_id"]
    strangers = gateway.buy(sale, "stranger").json["order_id"]
    unknown = own[:-12] + "0" * 12
    for before in ("", "7", own[:-1], own + "0", elsewhere, strangers, unknown):
        answer = gateway.public("GET", f"/v1/sales/{sale}/orders?before={before}", user="u")
        is_no(answer, 400, "malformed")
        assert "before" in answer.json["detail"]


def test_polling_has_a_limit_of_its_own_that_buying_does_not_share():
    with Gateway() as g:
        g.no_limits()
        g.limit("polling", mode="enforce", rate=1, period_s=60, burst=3)
        sale = g.make_sale(per_user_cap=5)
        order = g.buy(sale, "u").json
        assert [look(g, order, "u").status for _ in range(3)] == [200] * 3
        refused = look(g, order, "u")
        is_no(refused, 429, "user_rate")
        assert refused.json["violated-policies"] == ["polling"]
        assert int(refused.headers["retry-after"]) >= 1
        is_no(g.public("GET", f"/v1/sales/{sale}/orders", user="u"), 429, "user_rate")
        assert g.public("GET", f"/v1/sales/{sale}/orders", user="other").status == 200
        assert g.buy(sale, "u").status == 202
