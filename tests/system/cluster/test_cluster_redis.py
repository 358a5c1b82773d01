"""Redis that is away, slow, empty, replaced by another, or lost while it is filled: the counter is only a cache, and every promise
stands in the log."""
import contextlib
import random
import time

import pytest
from cluster import Cluster, Crowd, promised_more
from load import assert_retries_find_their_orders
from penstock import wait_until
from proxy import CUT, HOLD, NO_ANSWERS, NO_REQUESTS, WELL

STOCK = 100000


def probe(gateway, sale, number):
    """A new buyer's answer: its code, or its state."""
    answer = gateway.buy(sale, f"probe-{gateway.index}-{number}", key=f"probe-{number}", timeout=8)
    return answer.code if answer.status != 202 else answer.json["state"]


def wait_refusal(cluster, sale, codes):
    """Every gateway says so, within its deadline, and serves the status page on."""
    for gateway in cluster.living():
        numbers = iter(range(10 ** 6))
        wait_until(lambda: probe(gateway, sale, next(numbers)) in codes, 60, what=f"{codes} of gateway {gateway.index}")
        page = gateway.public("GET", f"/v1/sales/{sale}")
        assert page.status == 200 and page.json["phase"] == "open", page


@pytest.mark.parametrize("how", ["frozen", *(pytest.param(how, marks=pytest.mark.soak) for how in ("refused", "mute", "held"))])
def test_without_redis_buyers_hear_so_and_afterwards_nothing_is_lost(cluster, how):
    """F4, I1 to I5: 503 store_unavailable within the deadline, status pages go on; it goes on by itself."""
    with cluster.busy_sale(STOCK) as (sale, crowd):
        promised_more(crowd, 100)
        if how == "frozen":
            cluster.redis.freeze()
        else:
            cluster.routes({"refused": CUT, "mute": NO_ANSWERS, "held": HOLD}[how])
        wait_refusal(cluster, sale, {"store_unavailable"})
        if how == "frozen":
            cluster.redis.thaw()
        else:
            cluster.routes(WELL)
        promised_more(crowd, 100)


def test_without_redis_since_its_start_a_gateway_does_not_say_that_an_order_is_none(cluster):
    """It may be in doubt there: another gateway has it in its spill."""
    spilling, started = cluster[0], cluster[1]
    sale = cluster.make_sale(stock=10)
    spilling.kafka_route(CUT)
    wait_until(lambda: probe(spilling, sale, f"cut-{time.monotonic()}") == "pending", 60, what="the spill")
    order = spilling.buy(sale, "ann", key="a", timeout=8).json["order_id"]
    started.kill()
    started.redis_route(CUT)
    started.spawn()

    def asked(path, **more):
        with contextlib.suppress(OSError):
            return started.public("GET", path, **more)

    wait_until(lambda: (page := asked("/readyz?verbose")) and "[+]view ok" in page.text, 60, what="the log read")
    for answer in (asked(f"/v1/orders/{order}", user="ann"), started.admin("GET", f"/admin/v1/orders/{order}"),
                   started.admin("GET", f"/admin/v1/sales/{sale}/audit")):
        assert answer.status == 503, answer
    started.redis_route(WELL)
    cluster.wait_ready(started)
    assert asked(f"/v1/orders/{order}", user="ann").json["state"] == "pending"
    spilling.kafka_route(WELL)
    wait_until(lambda: asked(f"/v1/orders/{order}", user="ann").json["state"] == "accepted", 60, what="the drain")
    cluster.wait_rest(sale)


@pytest.mark.soak
def test_connections_to_redis_reset_now_and_then_lose_nothing(cluster):
    """F4: A reply that never came: the reservation may exist, and is closed by a record (R3, R11)."""
    with cluster.busy_sale(STOCK) as (_, crowd):
        for _ in range(10):
            promised_more(crowd, 20)
            cluster.reset_routes()


@pytest.mark.soak
def test_requests_and_replies_swallowed_by_the_network_lose_nothing(cluster):
    """F4."""
    with cluster.busy_sale(STOCK) as (_, crowd):
        for mode in (NO_ANSWERS, NO_REQUESTS, NO_ANSWERS):
            promised_more(crowd, 50)
            cluster[1].redis_route(mode)
            time.sleep(1.5)
            cluster[1].redis_route(WELL)


@pytest.mark.soak
def test_a_slow_redis_delays_and_loses_nothing(cluster):
    """F8."""
    with cluster.busy_sale(STOCK) as (_, crowd):
        promised_more(crowd, 50)
        cluster.routes(WELL, delay_ms=60)
        promised_more(crowd, 50)
        cluster.routes(WELL, delay_ms=400)  # near the deadline: some replies come too late
        time.sleep(3)
        cluster.routes(WELL)
        promised_more(crowd, 100)


def test_scripts_flushed_and_clients_killed_cost_no_more_than_a_round_trip(cluster):
    """F8."""
    with cluster.busy_sale(STOCK) as (sale, crowd):
        before = cluster.epoch(sale)
        for turn in range(6):
            promised_more(crowd, 30)
            cluster.redis.ask("SCRIPT", "FLUSH") if turn % 2 == 0 else cluster.redis.ask("CLIENT", "KILL", "TYPE", "normal")
        promised_more(crowd, 30)
        assert cluster.epoch(sale) == before, "a rebuild for nothing"


# --- counters that are gone: fence and rebuild ---


@pytest.mark.parametrize("how", ["restarted", pytest.param("flushed", marks=pytest.mark.soak)])
def test_an_empty_redis_is_filled_from_the_log_under_load(cluster, how):
    """F5, R2, R8, R9, R10, R15, I8: 503 fenced meanwhile; then exact, whatever was under way."""
    with cluster.busy_sale(STOCK, per_user_cap=1) as (sale, crowd):
        promised_more(crowd, 100)
        for _ in range(3):
            before = cluster.epoch(sale)
            if how == "restarted":
                cluster.redis.kill()
                cluster.redis.start()
            else:
                cluster.redis.ask("FLUSHALL")
            cluster.wait_epoch(sale, before)
            promised_more(crowd, 100)
    assert_retries_find_their_orders(cluster[2], sale, [crowd])
    cluster.judge(sale, [crowd], STOCK)


@pytest.mark.soak
def test_a_sale_that_is_nearly_sold_out_is_not_oversold_by_a_rebuild(cluster):
    """F5, I1, I3: stock must not rise again with an empty counter."""
    stock = 400
    sale = cluster.make_sale(stock=stock)
    with Crowd(cluster, sale) as crowd:
        promised_more(crowd, 200)
        cluster.redis.ask("FLUSHALL")
        promised_more(crowd, 50)
        cluster.redis.ask("FLUSHALL")
        wait_until(lambda: cluster.sure_buy(cluster[0], sale, f"late-{random.random()}").code == "sold_out", 60, what="sold out")
        wait_until(lambda: cluster.numbers(sale)[0] == 0, 60, what="the last units sold")
        cluster.redis.ask("FLUSHALL")
        wait_until(lambda: cluster.sure_buy(cluster[1], sale, f"later-{random.random()}").code == "sold_out", 60, what="sold out again")
    orders = cluster.judge(sale, [crowd], stock)
    assert sum(order["state"] == "accepted" for order in orders.values()) == stock


def test_what_was_cancelled_raised_and_lowered_while_a_sale_was_fenced_counts_once(cluster):
    """R8, R12, R7: effects survive a fence."""
    sale = cluster.make_sale(stock=100)
    orders = [cluster.sure_buy(cluster[i % 3], sale, f"u{i}").json["order_id"] for i in range(30)]
    for turn in range(3):
        cluster.redis.kill()
        mine = orders[turn * 10:turn * 10 + 10]
        for i, order_id in enumerate(mine[:6]):  # the log works: these do not need the counter
            word = "cancel" if i % 2 else "confirm"
            wait_until(lambda: cluster[i % 3].admin("POST", f"/admin/v1/orders/{order_id}/{word}").status == 200, 60, what=word)
        cluster.redis.start()
        answer = wait_until(lambda: (a := cluster[turn].admin("POST", f"/admin/v1/sales/{sale}/skus/phone/adjust",
                                                              {"delta": 10, "adjust_id": f"more-{turn}"})).status == 200 and a, 60, what="a raise")
        assert answer.json, answer
        wait_until(lambda: cluster[turn].admin("POST", f"/admin/v1/sales/{sale}/skus/phone/adjust",
                                               {"delta": -4, "adjust_id": f"less-{turn}"}).status == 200, 60, 0.2, "a lowering")
    cluster.wait_rest(sale)
    # 30 orders: 9 confirmed, 9 cancelled, 12 held; 100 + 3 * (10 - 4) units.
    assert cluster.numbers(sale) == (118 - 21, 12, 9, 118)


@pytest.mark.soak
def test_redis_lost_again_and_again_during_the_rebuild_is_filled_in_the_end(cluster):
    """F6, R9, R14, I8: each loss only yields an epoch that the log has ended already."""
    with cluster.busy_sale(STOCK) as (_, crowd):
        promised_more(crowd, 200)
        dice = random.Random(5)
        for _ in range(12):
            if dice.random() < 0.3:
                cluster.redis.kill()
                cluster.redis.start()
            else:
                cluster.redis.ask("FLUSHALL")
            time.sleep(dice.uniform(0.02, 0.7))
        promised_more(crowd, 200, timeout=90)


@pytest.mark.soak
def test_a_rebuilder_that_is_killed_is_replaced(cluster):
    """F6, R14, I8: whoever begins the rebuild dies; another gateway ends it."""
    with cluster.busy_sale(STOCK) as (sale, crowd):
        for victim in cluster.gateways:
            promised_more(crowd, 100)
            before = cluster.epoch(sale)
            cluster.redis.ask("FLUSHALL")
            others = [gateway for gateway in cluster.gateways if gateway is not victim]
            for gateway in others:
                gateway.freeze()  # so that it is the victim who begins
            wait_until(lambda: cluster.redis.ask("EXISTS", f"ps:{{{sale}}}:lock") == "1" or cluster.epoch(sale) != "", 60, 0.005, "a claim")
            time.sleep(random.uniform(0, 0.6))
            victim.kill()
            for gateway in others:
                gateway.thaw()
            cluster.wait_epoch(sale, before, timeout=90)
            promised_more(crowd, 100, timeout=90)
            cluster.restart(victim)


# --- another server under the same name ---


def test_a_replica_promoted_with_writes_lost_is_rebuilt_before_it_counts(kafka):
    """F5, R10, I1: the replica has fewer reservations than were made; its replication id gives it away."""
    with Cluster(kafka, replica=True) as cluster:
        sale = cluster.make_sale(stock=STOCK)
        with Crowd(cluster, sale) as crowd:
            promised_more(crowd, 150)
            before = cluster.epoch(sale)
            cluster.replica.freeze()  # it misses what comes now
            promised_more(crowd, 150)
            cluster.redis.kill()
            cluster.replica.thaw()
            cluster.replica.promote()
            cluster.lead_to(cluster.replica)
            cluster.redis = cluster.replica
            cluster.wait_epoch(sale, before)
            promised_more(crowd, 150)
        cluster.judge(sale, [crowd], STOCK)


def test_a_deposed_master_that_still_serves_one_gateway_sells_nothing_twice(kafka):
    """F6, R10, I1, I2: that gateway's orders are of an ended epoch: pending or 503, then void; never accepted."""
    stock = 800
    with Cluster(kafka, replica=True) as cluster:
        sale = cluster.make_sale(stock=stock)
        old, new = cluster.redis, cluster.replica
        with Crowd(cluster, sale) as crowd:
            promised_more(crowd, 200)
            before = cluster.epoch(sale)
            new.promote()
            cluster.redis = new
            cluster.lead_to(new, cluster[0], cluster[1])
            cluster.wait_epoch(sale, before)
            time.sleep(5)  # each side may end the other's epochs; neither sells a unit of the other's
            cluster.lead_to(new, cluster[2])
            wait_until(lambda: crowd.count()["sold_out"] > 50, 60, what="sold out")
        cluster.judge(sale, [crowd], stock)


@pytest.mark.soak
@pytest.mark.parametrize("way", ["killed", "frozen"])
def test_sentinel_leads_every_gateway_to_the_new_master(kafka, way):
    """F6."""
    with Cluster(kafka, sentinel=True) as cluster:
        sale = cluster.make_sale(stock=STOCK)
        with Crowd(cluster, sale) as crowd:
            promised_more(crowd, 150)
            before = cluster.epoch(sale)
            old = cluster.redis
            old.kill() if way == "killed" else old.freeze()
            wait_until(lambda: "role:master" in cluster.replica.ask("INFO", "replication", check=False), 60, what="a fail-over")
            cluster.redis = cluster.replica
            cluster.wait_epoch(sale, before, timeout=90)
            promised_more(crowd, 150)
            if way == "frozen":
                old.thaw()
                time.sleep(5)
                promised_more(crowd, 150)
        cluster.judge(sale, [crowd], STOCK)
