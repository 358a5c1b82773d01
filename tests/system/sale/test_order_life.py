"""What becomes of an order: paid, cancelled or expired; and of a sale: stock moved, paused, ended, changed under way."""
import random
import threading
import time
from datetime import datetime

import pytest
from penstock import PATIENT_LOG, Gateway, rfc3339, wait_until
from test_buying import is_no, together

NOBODYS = "0198c0de-0000-7000-8000-000000000000"


def settle(gateway, order, what):
    return gateway.admin("POST", f"/admin/v1/orders/{order['order_id']}/{what}")


def state_of(gateway, order):
    answer = gateway.admin("GET", f"/admin/v1/orders/{order['order_id']}")
    assert answer.status == 200, answer
    return answer.json["state"], answer.json["reason"]


def numbers(gateway, sale, sku=0):
    found = gateway.sale(sale)["skus"][sku]
    return tuple(found[name] for name in ("available", "held", "confirmed", "adjustments"))


def adjust(gateway, sale, delta, adjust_id, sku="phone"):
    return gateway.admin("POST", f"/admin/v1/sales/{sale}/skus/{sku}/adjust", {"delta": delta, "adjust_id": adjust_id})


def command(gateway, sale, word):
    return gateway.admin("POST", f"/admin/v1/sales/{sale}/{word}")


# --- confirm and cancel ---


def test_a_confirmed_order_stays_sold(gateway):
    sale = gateway.make_sale(stock=2)
    order = gateway.buy(sale, "u").json
    for _ in range(3):
        answer = settle(gateway, order, "confirm")
        assert (answer.status, answer.json["state"]) == (200, "confirmed")
    assert numbers(gateway, sale) == (1, 0, 1, 2)
    is_no(settle(gateway, order, "cancel"), 409, "order_confirmed")
    assert state_of(gateway, order) == ("confirmed", None)
    gateway.assert_books(sale)


def test_a_cancelled_order_gives_its_units_back_once(gateway):
    sale = gateway.make_sale(stock=5, per_user_cap=3)
    order = gateway.buy(sale, "u", quantity=3).json
    assert numbers(gateway, sale) == (2, 3, 0, 5)
    for _ in range(3):
        answer = settle(gateway, order, "cancel")
        assert (answer.status, answer.json["state"], answer.json["reason"]) == (200, "released", "cancelled")
    assert numbers(gateway, sale) == (5, 0, 0, 5)
    is_no(settle(gateway, order, "confirm"), 409, "order_cancelled")
    gateway.assert_books(sale)


def test_an_order_that_is_none_is_404(gateway):
    for what in ("confirm", "cancel"):
        answer = settle(gateway, {"order_id": NOBODYS}, what)
        is_no(answer, 404, "not_found")
        assert answer.json["detail"] == "no such order"


def test_a_sold_out_sale_sells_again_what_was_cancelled(gateway):
    sale = gateway.make_sale(stock=1)
    order = gateway.buy(sale, "u").json
    is_no(gateway.buy(sale, "v"), 409, "sold_out")
    settle(gateway, order, "cancel")
    assert gateway.buy(sale, "v").status == 202
    is_no(gateway.buy(sale, "u"), 409, "sold_out")
    gateway.assert_books(sale)


def test_a_user_who_cancelled_may_buy_again_up_to_his_cap(gateway):
    sale = gateway.make_sale(stock=9, per_user_cap=2)
    orders = [gateway.buy(sale, "u", key=f"k{i}").json for i in range(2)]
    is_no(gateway.buy(sale, "u", key="k2"), 409, "user_limit")
    settle(gateway, orders[0], "cancel")
    assert gateway.buy(sale, "u", key="k2").status == 202
    is_no(gateway.buy(sale, "u", key="k3"), 409, "user_limit")
    gateway.assert_books(sale)


def test_a_batch_settles_each_order_by_itself(gateway):
    sale = gateway.make_sale(stock=9)
    a, b, c, d = (gateway.buy(sale, f"u{i}").json["order_id"] for i in range(4))
    settle(gateway, {"order_id": d}, "cancel")
    wish = {"confirm": [a, d, NOBODYS], "cancel": [b, c]}
    for _ in range(2):
        answer = gateway.admin("POST", "/admin/v1/orders:batch", wish)
        assert answer.status == 200, answer
        results = answer.json["results"]
        assert [(item["order_id"], item["action"], item["status"], item.get("code"), item.get("state")) for item in results] == [
            (a, "confirm", 200, None, "confirmed"), (d, "confirm", 409, "order_cancelled", "released"),
            (NOBODYS, "confirm", 404, "not_found", None), (b, "cancel", 200, None, "released"),
            (c, "cancel", 200, None, "released")]
    assert numbers(gateway, sale) == (8, 0, 1, 9)
    gateway.assert_books(sale)


def test_a_batch_that_wants_both_of_one_order_decides_it_once(gateway):
    sale = gateway.make_sale()
    order = gateway.buy(sale, "u").json["order_id"]
    answer = gateway.admin("POST", "/admin/v1/orders:batch", {"confirm": [order], "cancel": [order]})
    statuses = [item["status"] for item in answer.json["results"]]
    assert sorted(statuses) == [200, 409], answer
    gateway.assert_books(sale)


def test_a_batch_that_names_an_order_twice_writes_it_down_once(gateway):
    sale = gateway.make_sale()
    paid, dropped = (gateway.buy(sale, user).json["order_id"] for user in ("ann", "bob"))
    answer = gateway.admin("POST", "/admin/v1/orders:batch", {"confirm": [paid, paid], "cancel": [dropped, dropped, dropped]})
    assert [result["status"] for result in answer.json["results"]] == [200] * 5, answer
    records = gateway.admin("GET", f"/admin/v1/sales/{sale}/log").lines()
    assert [record["order_id"] for record in records if record["type"].endswith("order.confirmed.v1")] == [paid]
    assert [record["order_id"] for record in records if record["type"].endswith("order.released.v1")] == [dropped]
    line = gateway.admin("GET", "/admin/v1/audit-log?limit=1").lines()[0]
    assert line["to"] == {"confirmed": [paid], "cancelled": [dropped]}, line


def test_confirms_and_cancels_at_once_leave_one_winner(gateway):
    sale = gateway.make_sale(stock=20)
    for i in range(5):
        order = gateway.buy(sale, f"u{i}").json
        answers = together(10, lambda n: (n % 2, settle(gateway, order, "cancel" if n % 2 else "confirm")))
        confirmed = state_of(gateway, order)[0] == "confirmed"
        for cancels, answer in answers:
            assert answer.status == (200 if cancels != confirmed else 409), (confirmed, answers)
    gateway.assert_books(sale)


# --- expiry ---


@pytest.fixture(scope="module")
def expired():
    """A gateway on which unpaid orders have just expired; all cases share the one wait."""
    with Gateway(settings=PATIENT_LOG) as g:
        g.no_limits()
        shop = {"g": g}
        for name, document in {"plain": {}, "paid": {}, "sold_out": {"stock": 1}, "paused": {}, "ended": {}, "keyed": {},
                               "restarted": {}}.items():
            sale = g.make_sale(name.replace("_", "-"), reservation_ttl_s=5, **document)
            shop[name] = g.buy(sale, "u", key="k").json
            if name == "paid":
                assert settle(g, shop[name], "confirm").status == 200
        for name, word in (("paused", "pause"), ("ended", "end")):
            assert command(g, shop[name]["sale"], word).status == 200
        assert g.stop() == 0
        g.start()
        shop["ready_at"] = time.time()
        names = [name for name in shop if name not in ("g", "paid", "ready_at")]
        wait_until(lambda: all(state_of(g, shop[name])[0] == "released" for name in names), 150, 0.1, "expiry")  # a minute after a start at the earliest
        yield shop


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "sold_out", "paused", "ended", "restarted"])
def test_an_unpaid_order_expires_whatever_became_of_its_sale(expired, name):
    g, order = expired["g"], expired[name]
    shown = g.public("GET", f"/v1/orders/{order['order_id']}", user="u")
    assert shown.json == {**order, "state": "released", "reason": "expired"}
    assert state_of(g, order) == ("released", "expired")
    assert numbers(g, order["sale"])[1:3] == (0, 0)
    g.assert_books(order["sale"])


def test_no_order_expires_before_two_seconds_past_its_deadline(expired):
    order = expired["plain"]
    log = expired["g"].admin("GET", f"/admin/v1/sales/{order['sale']}/log?after=0&limit=100").lines()
    released = [record for record in log if record.get("order_id") == order["order_id"]][-1]

    def seconds(text):
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()

    assert released["reason"] == "expired"
    expired_at, deadline = seconds(released["at"]), seconds(order["pay_by"])
    assert deadline + 2.0 <= expired_at < max(deadline, expired["ready_at"] + 60.0) + 10.0


def test_a_paid_order_does_not_expire(expired):
    assert state_of(expired["g"], expired["paid"]) == ("confirmed", None)


def test_a_late_payment_is_told_that_the_order_has_expired(expired):
    is_no(settle(expired["g"], expired["plain"], "confirm"), 409, "order_expired")
    assert settle(expired["g"], expired["plain"], "cancel").status == 200
    assert state_of(expired["g"], expired["plain"]) == ("released", "expired")


def test_what_has_expired_is_sold_again(expired):
    g, order = expired["g"], expired["sold_out"]
    assert g.buy(order["sale"], "v").status == 202
    is_no(g.buy(order["sale"], "w"), 409, "sold_out")
    is_no(settle(g, order, "confirm"), 409, "order_expired")
    g.assert_books(order["sale"])


def test_the_key_of_an_expired_order_shows_it_and_a_new_key_buys_again(expired):
    g, order = expired["g"], expired["keyed"]
    again = g.buy(order["sale"], "u", key="k")
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.json["order_id"], again.json["state"], again.json["reason"]) == (order["order_id"], "released", "expired")
    fresh = g.buy(order["sale"], "u", key="k2")
    assert fresh.status == 202 and fresh.json["order_id"] != order["order_id"]
    g.assert_books(order["sale"])


# --- stock ---


def test_more_stock_opens_a_sold_out_sale(gateway):
    sale = gateway.make_sale(stock=1)
    gateway.buy(sale, "a")
    is_no(gateway.buy(sale, "b"), 409, "sold_out")
    answer = adjust(gateway, sale, 2, "more")
    assert answer.status == 200 and answer.json["available"] == 2, answer
    assert [gateway.buy(sale, f"c{i}").status for i in range(3)] == [202, 202, 409]
    assert gateway.assert_books(sale)["skus"][0]["adjustments"] == 3


def test_an_adjustment_counts_once_for_its_id(gateway):
    sale = gateway.make_sale(stock=1)
    assert [adjust(gateway, sale, 2, "more").status for _ in range(3)] == [200] * 3
    assert numbers(gateway, sale) == (3, 0, 0, 3)
    is_no(adjust(gateway, sale, 3, "more"), 409, "conflict")
    assert {answer.status for answer in together(10, lambda i: adjust(gateway, sale, 1, "same"))} <= {200, 409}
    assert adjust(gateway, sale, 1, "same").status == 200
    assert numbers(gateway, sale) == (4, 0, 0, 4)
    gateway.assert_books(sale)


def test_stock_is_lowered_only_by_what_is_left(gateway):
    sale = gateway.make_sale(stock=5)
    gateway.buy(sale, "a")
    is_no(adjust(gateway, sale, -5, "too-much"), 409, "conflict")
    assert adjust(gateway, sale, -4, "all-but-sold").status == 200
    is_no(gateway.buy(sale, "b"), 409, "sold_out")
    assert adjust(gateway, sale, -4, "all-but-sold").status == 200
    assert numbers(gateway, sale) == (0, 1, 0, 1)
    gateway.assert_books(sale)


def test_an_adjustment_is_remembered_over_a_restart():
    with Gateway(settings=PATIENT_LOG) as g:
        g.no_limits()
        sale = g.make_sale(stock=5)
        assert adjust(g, sale, 3, "up").status == adjust(g, sale, -2, "down").status == 200
        assert g.stop() == 0
        g.start()
        assert adjust(g, sale, 3, "up").status == adjust(g, sale, -2, "down").status == 200
        assert numbers(g, sale) == (6, 0, 0, 6)
        is_no(adjust(g, sale, 1, "down"), 409, "conflict")
        g.assert_books(sale)


def test_stock_never_goes_below_zero_while_all_pull_at_it(gateway):
    sale = gateway.make_sale(stock=60)
    sold, lowered, raised = [], [], []

    def pull(i):
        dice = random.Random(i)
        for n in range(12):
            if i % 4 == 0:
                delta = dice.choice((-3, -2, 2))
                if adjust(gateway, sale, delta, f"a{i}-{n}").status == 200:
                    (lowered if delta < 0 else raised).append(abs(delta))
                continue
            answer = gateway.buy(sale, f"u{i}-{n}")
            if answer.status != 202:
                continue
            if dice.random() < 0.4:
                assert settle(gateway, answer.json, "cancel").status == 200
            else:
                sold.append(1)

    together(16, pull)
    report = gateway.assert_books(sale)["skus"][0]
    assert report["adjustments"] == 60 + sum(raised) - sum(lowered)
    assert report["held"] == len(sold) and report["available"] == report["adjustments"] - len(sold) >= 0


# --- pause, resume, end, change ---


def test_pause_resume_and_end_are_idempotent_and_end_is_final(gateway):
    sale = gateway.make_sale()
    for word, state in (("pause", "paused"), ("resume", "open"), ("pause", "paused")):
        for _ in range(2):
            answer = command(gateway, sale, word)
            assert (answer.status, answer.json["state"]) == (200, state)
    is_no(gateway.buy(sale, "u"), 503, "paused")
    assert int(gateway.buy(sale, "u").headers["retry-after"]) >= 1
    assert gateway.buy(sale, "u").json["violated-policies"] == ["paused"]
    command(gateway, sale, "resume")
    order = gateway.buy(sale, "u").json
    for _ in range(2):
        assert command(gateway, sale, "end").status == 200
    for word in ("pause", "resume"):
        is_no(command(gateway, sale, word), 409, "ended")
    is_no(gateway.buy(sale, "v"), 409, "ended")
    assert settle(gateway, order, "confirm").status == 200
    gateway.assert_books(sale)


def test_pause_and_end_are_remembered_over_a_restart():
    with Gateway(settings=PATIENT_LOG) as g:
        g.no_limits()
        paused, ended, gone = g.make_sale(), g.make_sale(), g.make_sale(stock=1)
        g.buy(gone, "u")
        command(g, paused, "pause")
        command(g, ended, "end")
        assert g.stop() == 0
        g.start()
        is_no(g.buy(paused, "u"), 503, "paused")
        is_no(g.buy(ended, "u"), 409, "ended")
        is_no(g.buy(gone, "v"), 409, "sold_out")
        command(g, paused, "resume")
        assert g.buy(paused, "u").status == 202
        for sale in (paused, ended, gone):
            g.assert_books(sale)


def test_a_changed_cap_and_deadline_hold_for_new_orders_only(gateway):
    sale = gateway.make_sale(stock=9, reservation_ttl_s=100)
    first = gateway.buy(sale, "u", key="k1").json
    is_no(gateway.buy(sale, "u", key="k2"), 409, "user_limit")
    assert gateway.change_sale(sale, per_user_cap=2, reservation_ttl_s=1000).status == 200
    second = gateway.buy(sale, "u", key="k2").json

    def seconds(order):
        reserved, pay_by = (datetime.fromisoformat(order[name].replace("Z", "+00:00")) for name in ("reserved_at", "pay_by"))
        return (pay_by - reserved).total_seconds()

    assert (seconds(first), seconds(second)) == (100.0, 1000.0)
    assert gateway.public("GET", f"/v1/orders/{first['order_id']}", user="u").json["pay_by"] == first["pay_by"]
    assert gateway.change_sale(sale, per_user_cap=1).status == 200
    is_no(gateway.buy(sale, "u", key="k3"), 409, "user_limit")
    gateway.assert_books(sale)


def test_an_opened_sales_stock_changes_by_adjustment_only(gateway):
    sale = gateway.make_sale(stock=5)
    is_no(gateway.change_sale(sale, skus=[{"sku": "phone", "stock": 6}]), 409, "use_adjust")
    assert numbers(gateway, sale) == (5, 0, 0, 5)


def test_a_sale_whose_document_changes_while_it_opens_sells_what_the_document_says(gateway):
    """The initial stock goes into the log two seconds ahead of the opening; a change comes before it, or not at all."""
    sale = gateway.make_sale(stock=1, opens_in=2.4)
    stock, done = 1, threading.Event()

    def change(first):
        nonlocal stock
        wish = first
        while not done.is_set():
            wish += 2
            answer = gateway.change_sale(sale, skus=[{"sku": "phone", "stock": wish}, {"sku": f"more-{wish}", "stock": wish}])
            if answer.status == 200:
                stock = max(stock, wish)
            elif answer.status == 409:
                return

    threads = [threading.Thread(target=change, args=(i,)) for i in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    done.set()
    gateway.wait_state(sale, "open")
    shown = gateway.sale(sale)["skus"]
    assert [(sku["stock"], sku["adjustments"], sku["available"]) for sku in shown] == [(shown[0]["stock"],) * 3] * len(shown)
    page = gateway.public("GET", f"/v1/sales/{sale}").json["skus"]
    assert [(sku["sku"], sku["available"]) for sku in page] == [(sku["sku"], sku["stock"]) for sku in shown]
    gateway.assert_books(sale)


def test_an_order_of_a_sale_that_closed_can_still_be_settled(gateway):
    sale = gateway.make_sale(stock=2)
    paid, unpaid = gateway.buy(sale, "a").json, gateway.buy(sale, "b").json
    assert gateway.change_sale(sale, closes_at=rfc3339(2)).status == 200
    wait_until(lambda: gateway.buy(sale, "c").code == "ended", every=0.1)
    assert settle(gateway, paid, "confirm").status == settle(gateway, unpaid, "cancel").status == 200
    is_no(gateway.buy(sale, "d"), 409, "ended")
    assert numbers(gateway, sale) == (1, 0, 1, 2)
    gateway.assert_books(sale)
