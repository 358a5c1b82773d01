"""kill -9 under load: what was promised is there after the restart, once, and the stock is exact."""
import json
import subprocess
import time

import pytest
from faults import Disk
from load import Load, assert_retries_find_their_orders, judge
from penstock import PATIENT_LOG, REHEARSE, Gateway, wait_until


def rehearse(gateway, *options):
    return subprocess.Popen(
        [str(REHEARSE), "--public", f"http://127.0.0.1:{gateway.port}", "--admin", f"http://127.0.0.1:{gateway.admin_port}",
         "--state-dir", str(gateway.state), "--quiet", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def proof_of(process, report, timeout=120):
    """The rehearsal's report; its proof must hold."""
    text, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, text
    return json.loads(report.read_text())


def kill_under_load(gateway, load, more=200):
    """Kills while orders are being made, and starts again."""
    before = load.promised()
    wait_until(lambda: load.promised() >= before + more, 30, what="orders under way")
    gateway.kill()
    gateway.start()


def test_what_was_accepted_before_a_kill_is_there_once_after_the_restart():
    """F1."""
    stock = 100000
    with Gateway() as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=stock)
        with Load(gateway, sale) as load:
            for _ in range(3):
                kill_under_load(gateway, load)
            wait_until(lambda: load.promised() >= 800, 30, what="orders after the last restart")
        assert any(result.unanswered for result in load.results)
        judge(gateway, sale, [load], stock)
        assert_retries_find_their_orders(gateway, sale, [load])
        judge(gateway, sale, [load], stock)


def test_a_sale_that_sells_out_over_a_kill_sells_every_unit_once():
    """F1."""
    stock = 600
    with Gateway() as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=stock)
        with Load(gateway, sale) as load:
            kill_under_load(gateway, load, more=150)
            wait_until(lambda: load.count()["sold_out"] > 300, 30, what="sold out")
        orders = judge(gateway, sale, [load], stock)
        assert sum(order["state"] == "accepted" for order in orders) == stock
        assert_retries_find_their_orders(gateway, sale, [load])


def test_what_was_pending_at_a_kill_is_accepted_or_never_was(tmp_path):
    """F1: Acknowledgements that come too late: almost every answer is a perhaps."""
    stock, disk = 100000, Disk(tmp_path)
    disk.slow_syncs(30000)
    with Gateway(settings={"log": {"ack_timeout_ms": 10}}, env=disk.env) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=stock)
        with Load(gateway, sale) as load:
            for turn in range(1, 4):
                wait_until(lambda: load.count()["pending"] > turn * 30, 30, what="orders that are pending")
                gateway.kill()
                gateway.start()
        wait_until(lambda: gateway.sale(sale)["skus"][0]["in_doubt"] == 0, what="the end of every doubt")
        ids = {order["order_id"] for order in judge(gateway, sale, [load], stock)}
        pending = [result for result in load.results if result.state == "pending"]
        assert any(result.order_id in ids for result in pending)
        for result in pending:
            order = gateway.public("GET", f"/v1/orders/{result.order_id}", user=result.user)
            if result.order_id in ids:
                assert order.json["state"] == "accepted", order
            else:
                assert order.status == 404, order
            again = gateway.buy(sale, result.user, key=result.key, timeout=30)
            assert again.status == 202 and (again.json["order_id"] == result.order_id) == (result.order_id in ids), again
        wait_until(lambda: gateway.sale(sale)["skus"][0]["in_doubt"] == 0, what="the end of every doubt")
        judge(gateway, sale, [load], stock)


def test_confirmed_and_cancelled_orders_stay_so_over_a_kill():
    """F1."""
    with Gateway(settings=PATIENT_LOG) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=3)
        ids = [gateway.buy(sale, f"u{i}", key=f"k{i}").json["order_id"] for i in range(3)]
        assert gateway.buy(sale, "late").code == "sold_out"
        assert gateway.admin("POST", f"/admin/v1/orders/{ids[0]}/confirm").status == 200
        assert gateway.admin("POST", f"/admin/v1/orders/{ids[1]}/cancel").status == 200
        gateway.kill()
        gateway.start()
        states = {order["order_id"]: order["state"] for order in gateway.orders(sale)}
        assert [states[i] for i in ids] == ["confirmed", "released", "accepted"]
        assert gateway.admin("POST", f"/admin/v1/orders/{ids[0]}/confirm").status == 200
        assert gateway.admin("POST", f"/admin/v1/orders/{ids[1]}/confirm").code == "order_cancelled"
        replay = gateway.buy(sale, "u1", key="k1")
        assert (replay.status, replay.json["state"], replay.json["reason"]) == (202, "released", "cancelled")
        assert gateway.buy(sale, "late").json["state"] == "accepted"
        assert gateway.buy(sale, "later").code == "sold_out"
        sku = gateway.assert_books(sale)["skus"][0]
        assert (sku["confirmed"], sku["held"], sku["available"]) == (1, 2, 0)


def test_a_kill_while_a_sale_is_being_opened_opens_it_once_with_its_stock():
    with Gateway() as gateway:
        gateway.no_limits()
        for pause in (0.0, 0.001, 0.003, 0.01, 0.03):
            sale = gateway.make_sale(stock=7, wait=False)
            time.sleep(pause)
            gateway.kill()
            gateway.start()
            gateway.wait_state(sale, "open")
            wait_until(lambda: gateway.buy(sale, "u", key="k").status == 202, what="the first order")
            sku = gateway.assert_books(sale)["skus"][0]
            assert (sku["adjustments"], sku["held"], sku["available"]) == (7, 1, 6)


def test_the_rehearsals_own_proof_holds_over_a_kill(tmp_path):
    report = tmp_path / "report.json"
    with Gateway(settings={"http": {"connections": 4000}}) as gateway:
        gateway.no_limits()
        process = rehearse(gateway, "--buyers", "15000", "--stock", "5000", "--over", "2s", "--shape", "constant",
                           "--retry", "40", "--connections", "400", "--json", str(report))
        wait_until(lambda: any(s["sale"].startswith("rehearsal-") for s in
                               gateway.admin("GET", "/admin/v1/sales").json["sales"]), what="the rehearsal's sale")
        time.sleep(0.7)
        gateway.kill()
        gateway.start()
        proof_of(process, report)


# --- The long part. ---

@pytest.mark.soak
def test_twenty_kills_at_the_peak_lose_nothing(tmp_path):
    """F1."""
    stock = 1000000
    with Gateway() as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=stock)
        with Load(gateway, sale, threads=12) as load:
            for kill in range(20):
                kill_under_load(gateway, load, more=100 + 150 * (kill % 5))
                if kill % 5 == 4:
                    gateway.assert_books(sale)
        judge(gateway, sale, [load], stock)
        assert_retries_find_their_orders(gateway, sale, [load], most=2000)
        judge(gateway, sale, [load], stock)


@pytest.mark.soak
def test_rehearsals_with_a_kill_each_prove_themselves_ten_times(tmp_path):
    with Gateway(settings={"http": {"connections": 4000}}) as gateway:
        gateway.no_limits()
        for turn in range(10):
            report = tmp_path / f"report-{turn}.json"
            process = rehearse(gateway, "--buyers", "30000", "--stock", "8000", "--over", "4s", "--seed", str(turn + 1),
                               "--retry", "60", "--connections", "800", "--json", str(report))
            time.sleep(0.6 + 0.3 * turn)
            gateway.kill()
            gateway.start()
            proof_of(process, report, timeout=300)
