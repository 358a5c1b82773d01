"""Idempotency-Key, and the click without a key: one wish is one order, whenever it is asked again."""
import uuid

import pytest
from penstock import PATIENT_LOG, Gateway
from test_buying import is_no, post, together


def is_replay(answer, order, state="accepted"):
    assert answer.status == 202, answer
    assert answer.headers["idempotency-replayed"] == "true"
    assert answer.json["order_id"] == order["order_id"] and answer.json["state"] == state, answer
    assert answer.headers["location"] == "/v1/orders/" + order["order_id"]


def act(gateway, sale, command):
    assert gateway.admin("POST", f"/admin/v1/sales/{sale}/{command}").status == 200


def settle(gateway, order, what):
    assert gateway.admin("POST", f"/admin/v1/orders/{order['order_id']}/{what}").status == 200


def test_the_same_key_gives_the_same_order(gateway):
    sale = gateway.make_sale(per_user_cap=5)
    order = gateway.buy(sale, "u", key="k").json
    again = gateway.buy(sale, "u", key="k")
    is_replay(again, order)
    assert again.json == order
    assert len(gateway.orders(sale)) == 1


def test_a_quoted_key_and_a_bare_one_are_the_same(gateway):
    sale, key = gateway.make_sale(per_user_cap=5), str(uuid.uuid4())
    order = gateway.buy(sale, "u", headers={"Idempotency-Key": key}).json
    is_replay(gateway.buy(sale, "u", headers={"Idempotency-Key": f'"{key}"'}), order)


def test_another_key_is_another_order(gateway):
    sale = gateway.make_sale(per_user_cap=2)
    assert gateway.buy(sale, "u", key="k1").json["order_id"] != gateway.buy(sale, "u", key="k2").json["order_id"]


@pytest.mark.parametrize("wish", [{"sku": "a", "quantity": 2}, {"sku": "b", "quantity": 1}])
def test_a_key_with_another_payload_is_422(gateway, wish):
    sale = gateway.make_sale(per_user_cap=9, skus=[{"sku": "a", "stock": 9}, {"sku": "b", "stock": 9}])
    assert gateway.buy(sale, "u", sku="a", key="k").status == 202
    is_no(gateway.buy(sale, "u", key="k", **wish), 422, "idempotency_mismatch")
    assert len(gateway.orders(sale)) == 1


def test_keys_of_two_users_have_nothing_to_do_with_each_other(gateway):
    sale = gateway.make_sale(per_user_cap=5)
    a, b = gateway.buy(sale, "a", key="k"), gateway.buy(sale, "b", key="k", quantity=2)
    assert (a.status, b.status) == (202, 202) and a.json["order_id"] != b.json["order_id"]


def test_keys_of_two_sales_have_nothing_to_do_with_each_other(gateway):
    one, two = gateway.make_sale(), gateway.make_sale()
    assert gateway.buy(one, "u", key="k").json["order_id"] != gateway.buy(two, "u", key="k").json["order_id"]


def test_user_and_key_cannot_be_confused(gateway):
    sale = gateway.make_sale(stock=50)
    pairs = [("ab", "c"), ("a", "bc"), ("1:a", "b"), ("1", ":ab"), ("a:1", "b")]
    assert len({gateway.buy(sale, user, key=key).json["order_id"] for user, key in pairs}) == len(pairs)


def test_a_replay_shows_the_order_as_it_is_now(gateway):
    sale = gateway.make_sale(per_user_cap=5)
    order = gateway.buy(sale, "u", key="k").json
    settle(gateway, order, "confirm")
    is_replay(gateway.buy(sale, "u", key="k"), order, "confirmed")


def test_a_released_order_keeps_its_key_and_a_new_try_needs_a_new_one(gateway):
    sale = gateway.make_sale()
    order = gateway.buy(sale, "u", key="k").json
    settle(gateway, order, "cancel")
    again = gateway.buy(sale, "u", key="k")
    is_replay(again, order, "released")
    assert again.json["reason"] == "cancelled"
    is_no(gateway.buy(sale, "u", key="k", quantity=2), 422, "idempotency_mismatch")
    fresh = gateway.buy(sale, "u", key="k2")
    assert fresh.status == 202 and fresh.json["order_id"] != order["order_id"]
    gateway.assert_books(sale)


def test_an_owner_is_told_of_his_order_after_sold_out_pause_and_end(gateway):
    sale = gateway.make_sale(stock=1)
    order = gateway.buy(sale, "u", key="k").json
    is_no(gateway.buy(sale, "other", key="k"), 409, "sold_out")
    is_replay(gateway.buy(sale, "u", key="k"), order)
    is_replay(gateway.buy(sale, "u"), order)
    for command, verdict in (("pause", (503, "paused")), ("end", (409, "ended"))):
        act(gateway, sale, command)
        is_no(gateway.buy(sale, "other", key="k"), *verdict)
        is_replay(gateway.buy(sale, "u", key="k"), order)
        is_replay(gateway.buy(sale, "u"), order)
        is_no(gateway.buy(sale, "u", key="new"), *verdict)


def test_a_no_is_judged_afresh_under_the_same_key(gateway):
    sale = gateway.make_sale(stock=1)
    order = gateway.buy(sale, "first").json
    is_no(gateway.buy(sale, "second", key="k"), 409, "sold_out")
    settle(gateway, order, "cancel")
    answer = gateway.buy(sale, "second", key="k")
    assert answer.status == 202 and "idempotency-replayed" not in answer.headers


def test_a_click_without_a_key_at_a_cap_of_one_is_a_replay(gateway):
    sale = gateway.make_sale()
    order = gateway.buy(sale, "u").json
    is_replay(gateway.buy(sale, "u"), order)
    answer = gateway.buy(sale, "u", quantity=2)
    is_no(answer, 409, "user_limit")
    assert answer.json["order_id"] == order["order_id"]
    answer = gateway.buy(sale, "u", key="k")
    is_no(answer, 409, "user_limit")
    assert answer.json["order_id"] == order["order_id"]


def test_a_click_without_a_key_above_a_cap_of_one_is_a_new_order(gateway):
    sale = gateway.make_sale(per_user_cap=2)
    assert gateway.buy(sale, "u").json["order_id"] != gateway.buy(sale, "u").json["order_id"]
    is_no(gateway.buy(sale, "u"), 409, "user_limit")


def test_a_skus_own_cap_of_one_replays_the_order_of_that_sku(gateway):
    sale = gateway.make_sale(per_user_cap=5, skus=[{"sku": "a", "stock": 9, "per_user_cap": 1}, {"sku": "b", "stock": 9}])
    order = gateway.buy(sale, "u", sku="a").json
    assert gateway.buy(sale, "u", sku="b").status == 202
    is_replay(gateway.buy(sale, "u", sku="a"), order)


def test_after_a_cancelled_order_a_click_without_a_key_buys_again(gateway):
    sale = gateway.make_sale()
    order = gateway.buy(sale, "u").json
    settle(gateway, order, "cancel")
    fresh = gateway.buy(sale, "u")
    assert fresh.status == 202 and fresh.json["order_id"] != order["order_id"]
    assert "idempotency-replayed" not in fresh.headers


def test_a_known_buyers_bad_body_is_still_refused_after_the_end(gateway):
    sale = gateway.make_sale()
    assert gateway.buy(sale, "u", key="k").status == 202
    act(gateway, sale, "end")
    is_no(post(gateway, sale, '{"sku":"phone","quantity":0}', "u", {"Idempotency-Key": "k"}), 422, "quantity")
    is_no(post(gateway, sale, "{", "u", {"Idempotency-Key": "k"}), 400, "malformed")


@pytest.mark.parametrize("cap", [1, 100])
def test_fifty_clicks_at_once_with_one_key_make_one_order(gateway, cap):
    sale = gateway.make_sale(stock=100, per_user_cap=cap)
    answers = together(50, lambda i: gateway.buy(sale, "u", key="k", timeout=30))
    orders = gateway.orders(sale)
    assert len(orders) == 1
    for answer in answers:
        if answer.status == 202:
            assert answer.json["order_id"] == orders[0]["order_id"]
        else:
            is_no(answer, 409, "idempotency_in_progress")
            assert int(answer.headers["retry-after"]) >= 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers if answer.status == 202) == 1
    gateway.assert_books(sale)


def test_fifty_clicks_at_once_without_a_key_make_one_order(gateway):
    sale = gateway.make_sale(stock=100)
    answers = together(50, lambda i: gateway.buy(sale, "u", timeout=30))
    assert {answer.status for answer in answers} == {202}, answers
    assert len({answer.json["order_id"] for answer in answers}) == 1
    assert len(gateway.orders(sale)) == 1


def test_keys_and_caps_are_remembered_over_a_restart():
    with Gateway(settings=PATIENT_LOG) as g:
        g.no_limits()
        sale, other = g.make_sale(stock=5), g.make_sale(stock=5, per_user_cap=2)
        order, freed = g.buy(sale, "u", key="k").json, g.buy(other, "u", key="k").json
        g.buy(other, "u", key="k2")
        settle(g, freed, "cancel")
        assert g.stop() == 0
        g.start()
        is_replay(g.buy(sale, "u", key="k"), order)
        is_replay(g.buy(other, "u", key="k"), freed, "released")
        is_no(g.buy(other, "u", key="k2", quantity=2), 422, "idempotency_mismatch")
        assert g.buy(other, "u", key="k3").status == 202
        is_no(g.buy(other, "u", key="k4"), 409, "user_limit")
        for name in (sale, other):
            g.assert_books(name)
