"""Settlement behind a cluster: whatever is killed, the shop's database has each order once, as every gateway shows it."""
import random
import subprocess
import time

import pytest
from cluster import Cluster, Crowd, promised_more
from penstock import REHEARSE, ROOT, wait_until
from settle import Worker, assert_results, kill_now_and_then, orders_in, wait_confirmed, wait_stored

STOCK = 100000


def worker_of(cluster, database, *flags):
    urls = [word for gateway in cluster.gateways for word in ("--gateway-url", f"http://127.0.0.1:{gateway.admin_port}")]
    return Worker(database, "--kafka-brokers", cluster.kafka.direct, "--kafka-topic", cluster.topic, "--kafka-group", cluster.topic, *urls,
                  "--gateway-token-file", str(cluster[0].state / "admin.token"), "--gateway-timeout-ms", "1000", *flags,
                  log=cluster.directory / "settle.log")


def assert_books_agree(cluster, database, sale, crowd):
    """The shop's orders are those of every gateway, in the same state; nothing void is among them."""
    orders = cluster.judge(sale, [crowd], STOCK, settled=True, timeout=90)
    shown = {i: (order["user"], order["quantity"], order["state"], order["reason"]) for i, order in orders.items() if order["reason"] != "rejected"}

    def stored():
        return {i: (order["user"], order["quantity"], order["state"], order["reason"]) for i, order in orders_in(database, sale).items()}

    wait_until(lambda: stored() == shown, 60, 0.5, "the shop's books as the gateways'")
    return shown


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.soak), 2])
def test_workers_killed_in_the_middle_settle_each_order_once(cluster, shop, count):
    """F14."""
    sale = cluster.make_sale(stock=STOCK)
    dice = random.Random(count)
    workers = [worker_of(cluster, shop, "--batch", "7", "--auto-confirm") for _ in range(count)]
    with Crowd(cluster, sale, rate=100) as crowd:
        try:
            for worker in workers:
                worker.start()
            kill_now_and_then(workers, 8, dice)
            crowd.stop()
            wait_confirmed(shop, crowd.promised())
        finally:
            for worker in workers:
                worker.kill()
    worker_of(cluster, shop, "--auto-confirm").once()
    shown = assert_books_agree(cluster, shop, sale, crowd)
    assert {state for _, _, state, _ in shown.values()} == {"confirmed"}
    assert_results(shop)
    assert shop.query("SELECT count(*) FROM penstock_dead_letters") == [("0",)]


@pytest.mark.soak
def test_the_shop_settles_nothing_void_when_redis_and_gateways_are_lost_under_it(cluster, shop):
    """Appends of an ended epoch are void for the shop as they are for the gateways (R2)."""
    sale = cluster.make_sale(stock=STOCK)
    with worker_of(cluster, shop, "--auto-confirm") as worker, Crowd(cluster, sale, rate=150) as crowd:
        for turn in range(3):
            promised_more(crowd, 80)
            before = cluster.epoch(sale)
            cluster.redis.ask("FLUSHALL")
            cluster[turn].kill()
            cluster.wait_epoch(sale, before, timeout=90)
            cluster.restart(cluster[turn])
        promised_more(crowd, 80)
        crowd.stop()
        cluster.wait_rest(sale)
        wait_confirmed(shop, crowd.promised())
        assert worker.stop() == 0
    worker_of(cluster, shop, "--auto-confirm").once()
    assert_books_agree(cluster, shop, sale, crowd)
    assert_results(shop)


@pytest.mark.soak
def test_settlement_waits_for_kafka_and_goes_on(cluster, kafka, shop):
    sale = cluster.make_sale(stock=STOCK)
    with worker_of(cluster, shop, "--auto-confirm") as worker, Crowd(cluster, sale, rate=100) as crowd:
        promised_more(crowd, 50)
        kafka.freeze()
        time.sleep(5)
        kafka.thaw()
        promised_more(crowd, 50, timeout=90)
        crowd.stop()
        wait_stored(shop, crowd.promised(), 90)
        assert worker.stop() == 0
    worker_of(cluster, shop, "--auto-confirm").once()
    assert_books_agree(cluster, shop, sale, crowd)


@pytest.mark.slow
@pytest.mark.parametrize("share", [pytest.param("0", marks=pytest.mark.soak), "0.4"])
def test_a_rehearsals_books_agree_over_a_kill(cluster, shop, tmp_path, share):
    """What deploy/quickstart --cluster shows: the rehearsal's proof, every gateway and the shop's database."""
    report = tmp_path / "report.json"
    for rule in ("user", "ip", "global", "status"):
        cluster[0].limit(rule, mode="off")
    with worker_of(cluster, shop, "--rehearsals") as worker:
        rehearsal = subprocess.Popen(
            [str(REHEARSE), "--public", f"http://127.0.0.1:{cluster[0].port}", "--admin", f"http://127.0.0.1:{cluster[0].admin_port}", "--state-dir",
             str(cluster[0].state), "--buyers", "2000", "--stock", "900", "--over", "4s", "--shape", "constant", "--retry", "40", "--quiet",
             "--confirm-share", share, "--cancel-share", share, "--json", str(report)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(1.5)
        cluster[2].kill()
        text, _ = rehearsal.communicate(timeout=120)
        assert rehearsal.returncode == 0, text
        cluster.restart(cluster[2])
        urls = [f"http://127.0.0.1:{gateway.admin_port}" for gateway in cluster.gateways]
        reconcile = [str(ROOT / "deploy/cluster/reconcile"), "--rehearsal", str(report), "--shop", str(shop.path),
                     "--token-file", str(cluster[0].state / "admin.token"), *urls]
        done = subprocess.run(reconcile, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and done.stdout.endswith("The books agree.\n"), done.stdout + done.stderr
        assert worker.stop() == 0
    shop.query("DELETE FROM penstock_rehearsal_orders WHERE order_id = (SELECT max(order_id) FROM penstock_rehearsal_orders)")  # and it would say so
    done = subprocess.run([*reconcile, "--patience", "2"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "DO NOT AGREE" in done.stdout, done.stdout + done.stderr


def test_a_record_that_is_not_ours_is_put_aside_by_the_shop(kafka, shop):
    with Cluster(kafka, gateways=1) as cluster:
        sale = cluster.make_sale(stock=10)
        cluster.sure_buy(cluster[0], sale, "u")
        kafka.put(cluster.topic, "this is no event")
        cluster.sure_buy(cluster[0], sale, "v")
        done = worker_of(cluster, shop).once()
        assert [event["event"] for event in done.events].count("dead_letter") == 1
        assert len(orders_in(shop, sale)) == 2
        assert shop.query("SELECT CAST(record AS TEXT) FROM penstock_dead_letters") == [("this is no event",)]
