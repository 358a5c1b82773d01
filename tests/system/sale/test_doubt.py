"""What is in doubt stays reserved, and what the log may hold already is not changed behind its back: adjustments,
openings and orders whose record a failing disk has swallowed, and books that are put together from two states."""
import threading
import time

import pytest
from clock import HOUR, Clock
from cluster import PATIENT, Redis
from faults import Disk, in_memory
from penstock import ANY_VERSION, Gateway, rfc3339, seeds, wait_until

SLOW = {"log": {"ack_timeout_ms": 3000, "retry_ms": 1000}}


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path)


def start(disk, settings=None):
    gateway = Gateway(settings=settings or SLOW, env=disk.env).start()
    gateway.no_limits()
    return gateway


def sku(gateway, sale, index=0):
    return gateway.sale(sale)["skus"][index]


def adjust(gateway, sale, delta, adjust_id, name="phone"):
    return gateway.admin("POST", f"/admin/v1/sales/{sale}/skus/{name}/adjust", {"delta": delta, "adjust_id": adjust_id})


def is_ready(gateway):
    return gateway.public("GET", "/readyz").status == 200


def test_a_lowering_in_doubt_keeps_its_units_however_often_it_is_asked_again(disk):
    with start(disk) as gateway:
        sale = gateway.make_sale(stock=10)
        disk.fail_syncs()
        answer = adjust(gateway, sale, -6, "less")
        assert (answer.status, answer.code) == (503, "order_pending"), answer
        assert (sku(gateway, sale)["available"], sku(gateway, sale)["in_doubt"]) == (4, 6)
        answer = adjust(gateway, sale, -6, "less")
        assert answer.status == 503, answer
        assert (sku(gateway, sale)["available"], sku(gateway, sale)["in_doubt"]) == (4, 6)
        disk.heal()
        wait_until(lambda: is_ready(gateway), 15, what="ready again")
        now = sku(gateway, sale)
        assert (now["available"], now["in_doubt"]) == (now["adjustments"], 0), now
        gateway.assert_books(sale)
        answer = adjust(gateway, sale, -6, "less")
        assert answer.status == (200 if now["adjustments"] == 4 else 409), answer
        gateway.assert_books(sale)


@pytest.mark.parametrize("change", ["stock", "skus", "delete"])
def test_a_sale_whose_opening_is_in_doubt_is_not_changed_behind_the_logs_back(disk, change):
    with start(disk, {"log": {"ack_timeout_ms": 1000, "retry_ms": 3000}}) as gateway:
        disk.fail_syncs(once=True)
        sale = gateway.make_sale(stock=10, wait=False)
        wait_until(lambda: not is_ready(gateway), what="the log away")
        if change == "delete":
            answer = gateway.admin("DELETE", f"/admin/v1/sales/{sale}", headers=ANY_VERSION)
        elif change == "stock":
            answer = gateway.change_sale(sale, skus=[{"sku": "phone", "stock": 3}])
        else:
            answer = gateway.change_sale(sale, skus=[{"sku": "case", "stock": 3}])
        assert answer.status == 409, answer
        gateway.wait_state(sale, "open")
        assert sku(gateway, sale)["stock"] == sku(gateway, sale)["available"] == 10
        gateway.assert_books(sale)


def test_a_sale_whose_opening_is_in_doubt_sends_nobody_back_to_its_document(disk):
    with start(disk, {"log": {"ack_timeout_ms": 1000, "retry_ms": 3000}}) as gateway:
        disk.fail_syncs(once=True)
        sale = gateway.make_sale(stock=10, wait=False)
        wait_until(lambda: not is_ready(gateway), what="the log away")
        assert gateway.change_sale(sale, skus=[{"sku": "phone", "stock": 3}]).code == "use_adjust"
        answer = adjust(gateway, sale, -7, "less")
        assert (answer.status, answer.code) == (503, "fenced"), answer
        gateway.wait_state(sale, "open")
        answer = adjust(gateway, sale, -7, "less")
        assert answer.status == 200, answer
        gateway.assert_books(sale)


def test_a_sale_of_other_skus_than_the_log_has_is_not_sold_from():
    """control.db was lost and the settings name the sale otherwise: its SKUs are not those of the log."""
    with Gateway() as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(skus=[{"sku": "phone", "stock": 10}])
        assert gateway.buy(sale, "ann").status == 202
        assert gateway.stop() == 0
        for path in gateway.state.glob("control.db*"):
            path.unlink()
        gateway.configure({"seed": seeds({"sales": {sale: {"opens_at": rfc3339(-10), "skus": [{"sku": "case", "stock": 2}]}}})})
        gateway.start()
        gateway.no_limits()
        refused = wait_until(lambda: gateway.sale(sale).get("refused"), what="the refusal of the sale")
        sold = [gateway.buy(sale, f"u{i}", sku="case").status for i in range(5)]
        assert sold.count(202) == 0, sold
        assert "phone" in refused
        assert "[-]sales failed" in gateway.public("GET", "/readyz?verbose").text


def test_adjustments_at_once_never_pass_what_can_be_counted():
    with Gateway(settings={"log": {"ack_timeout_ms": 5000}}) as gateway:
        sale = gateway.make_sale(stock=10)
        most = 2**53 - 1 - 10
        answers = []
        threads = [threading.Thread(target=lambda i=i: answers.append(adjust(gateway, sale, most, f"a{i}"))) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(a.status for a in answers) == [200] + 7 * [409], answers
        gateway.assert_books(sale)
        gateway.kill()
        gateway.start()
        assert sku(gateway, sale)["adjustments"] == 2**53 - 1


def test_units_that_come_and_go_without_end_do_no_harm():
    with Gateway(settings={"log": {"ack_timeout_ms": 5000}}) as gateway:
        gateway.no_limits()
        most = 2**53 - 1
        sale = gateway.make_sale(stock=most, per_user_cap=most)
        for i in range(3):
            answer = gateway.buy(sale, "ann", quantity=most, key=f"k{i}")
            assert answer.json["state"] == "accepted", answer
            assert gateway.admin("POST", f"/admin/v1/orders/{answer.json['order_id']}/cancel").status == 200
        gateway.assert_books(sale)
        gateway.kill()
        gateway.start()
        assert sku(gateway, sale)["available"] == most
        gateway.assert_books(sale)


@pytest.mark.parametrize("key", ["k", None])
def test_the_buyer_of_the_last_unit_is_not_told_sold_out_while_his_order_is_in_doubt(disk, key):
    with start(disk, {"log": {"ack_timeout_ms": 300}}) as gateway:
        sale = gateway.make_sale(stock=1)
        disk.hang_syncs()
        first = gateway.buy(sale, "ann", key=key)
        assert (first.status, first.json["state"]) == (202, "pending"), first
        time.sleep(0.05)
        again = gateway.buy(sale, "ann", key=key)
        assert again.status == 202 and again.json["order_id"] == first.json["order_id"], again
        other = gateway.buy(sale, "bob", key=key)
        assert (other.status, other.code) == (409, "sold_out"), other
        disk.heal()
        wait_until(lambda: gateway.buy(sale, "ann", key=key).json["state"] == "accepted", what="the log's word")
        assert gateway.buy(sale, "bob", key=key).code == "sold_out"
        gateway.assert_books(sale)


@pytest.mark.parametrize("key", ["k", None])
def test_many_clicks_at_once_for_the_last_unit_never_hear_sold_out(key):
    with Gateway(settings={"log": {"ack_timeout_ms": 5000}}) as gateway:
        gateway.no_limits()
        for _ in range(10):
            sale, answers = gateway.make_sale(stock=1), []
            threads = [threading.Thread(target=lambda sale=sale: answers.append(gateway.buy(sale, "ann", key=key))) for _ in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            kinds = {a.json.get("code") or a.json["state"] for a in answers}
            assert kinds <= {"accepted", "pending", "idempotency_in_progress"}, kinds
            assert len({a.json["order_id"] for a in answers if a.status == 202}) == 1


def test_an_order_in_doubt_is_not_called_unknown_after_its_gateways_clock_was_hours_ahead(tmp_path, disk):
    """Ids keep the latest time that the clock has shown: those of orders made since are hours ahead. The counter is in Redis, which the gateway
    does not ask for each id."""
    clock, redis = Clock(tmp_path), Redis(tmp_path).start()
    settings = {"log": {"ack_timeout_ms": 300}, "store": {"kind": "redis", "redis": {"url": f"redis://127.0.0.1:{redis.port}/0", **PATIENT["store"]["redis"]}}}
    env = clock.env | disk.env | {"LD_PRELOAD": f"{clock.env['LD_PRELOAD']}:{disk.env['LD_PRELOAD']}"}
    try:
        with in_memory() as directory, Gateway(directory, settings, env).start() as gateway:
            gateway.no_limits()
            sale = gateway.make_sale(stock=10, opens_in=-2 * HOUR)
            clock.jump(3 * HOUR)
            assert gateway.buy(sale, "ann").json["state"] == "accepted"
            clock.jump(0)
            disk.hang_syncs()
            order = gateway.buy(sale, "bob").json
            assert order["state"] == "pending", order
            answer = gateway.admin("POST", f"/admin/v1/orders/{order['order_id']}/confirm")
            assert (answer.status, answer.code) == (503, "order_pending"), answer
            disk.heal()
            wait_until(lambda: gateway.admin("POST", f"/admin/v1/orders/{order['order_id']}/confirm").status == 200, 20, what="the confirmation")
    finally:
        redis.end()
