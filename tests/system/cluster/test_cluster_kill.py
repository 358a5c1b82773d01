"""Gateways of a cluster that die, freeze or leave: the others go on, and every doubt that was left behind is closed by a record."""
import time

import pytest
from cluster import Cluster, Crowd, promised_more, states
from load import assert_retries_find_their_orders
from penstock import wait_until
from proxy import CUT, WELL

STOCK = 100000


def doubts(gateway, sale):
    return sum(sku["in_doubt"] for sku in gateway.audit(sale)["skus"])


def test_gateways_killed_under_load_break_no_promise_and_leave_no_doubt(cluster):
    """F2, I1 to I5, R3, R11, R13: the survivors close what the dead one had reserved."""
    sale = cluster.make_sale(stock=STOCK)
    with Crowd(cluster, sale) as crowd:
        for victim in cluster.gateways:
            promised_more(crowd, 150)
            victim.kill()
            promised_more(crowd, 150)
            cluster.restart(victim)
        promised_more(crowd, 150)
    assert any(result.unanswered for result in crowd.results)
    cluster.judge(sale, [crowd], STOCK)
    assert_retries_find_their_orders(cluster[0], sale, [crowd])
    cluster.judge(sale, [crowd], STOCK)


@pytest.mark.soak
def test_reservations_of_a_gateway_that_stays_dead_end_without_it(cluster):
    """F2, R3: by the other gateways' records, within some ten seconds."""
    with cluster.busy_sale(STOCK, timeout=60) as (_, crowd):
        promised_more(crowd, 200)
        cluster[1].kill()
        promised_more(crowd, 200)


@pytest.mark.soak
def test_a_sale_that_sells_out_over_a_kill_sells_every_unit_once(cluster):
    stock = 700
    sale = cluster.make_sale(stock=stock)
    with Crowd(cluster, sale) as crowd:
        promised_more(crowd, 250)
        cluster[2].kill()
        wait_until(lambda: crowd.count()["sold_out"] > 200, 60, what="sold out")
        cluster.wait_rest(sale)
        promised_more(crowd, 0)
        wait_until(lambda: cluster.numbers(sale)[0] == 0, 60, what="the last units sold")
    orders = cluster.judge(sale, [crowd], stock)
    assert sum(order["state"] == "accepted" for order in orders.values()) == stock


@pytest.mark.soak
def test_a_frozen_gateway_that_wakes_up_does_no_harm(cluster):
    """R1, R3, R13: what it had reserved was given up by a record meanwhile, and what it says afterwards is what the log shows."""
    with cluster.busy_sale(STOCK) as (_, crowd):
        for victim in (cluster[0], cluster[1]):
            promised_more(crowd, 100)
            victim.freeze()
            time.sleep(7)  # longer than the others wait for it
            victim.thaw()
            promised_more(crowd, 100)


@pytest.mark.soak
def test_a_gateway_that_leaves_under_load_loses_nothing(cluster):
    with cluster.busy_sale(STOCK) as (_, crowd):
        for leaver in cluster.gateways[:2]:
            promised_more(crowd, 100)
            assert leaver.stop() == 0
            promised_more(crowd, 100)
            cluster.restart(leaver)


@pytest.mark.parametrize("frozen", ["redis", pytest.param("kafka", marks=pytest.mark.soak)])
def test_a_gateway_told_to_leave_while_a_server_is_frozen_leaves_in_time(cluster, kafka, frozen):
    """F16."""
    sale = cluster.make_sale(stock=STOCK)
    server = cluster.redis if frozen == "redis" else kafka
    with Crowd(cluster, sale) as crowd:
        promised_more(crowd, 100)
        server.freeze()
        time.sleep(1)
        assert cluster[0].stop(30) == 0
        server.thaw()
        promised_more(crowd, 100)
        cluster.restart(cluster[0])
        promised_more(crowd, 100)
    cluster.judge(sale, [crowd], STOCK)


@pytest.mark.soak
def test_the_whole_cluster_killed_at_once_comes_back_with_every_promise(cluster):
    """F2, I2, I8: nothing but the log is needed."""
    with cluster.busy_sale(STOCK) as (sale, crowd):
        promised_more(crowd, 200)
        for gateway in cluster.gateways:
            gateway.kill()
        cluster.redis.kill()
        cluster.redis.start()
        cluster.start_gateways()
        promised_more(crowd, 200)
    assert_retries_find_their_orders(cluster[1], sale, [crowd])


def spill_at(gateway, sale, count, name):
    """Orders that only this gateway's disk has."""
    gateway.kafka_route(CUT)
    ids = []

    def spilled():
        answer = gateway.buy(sale, f"{name}-{len(ids)}", key=f"{name}-{len(ids)}")
        if answer.status == 202:
            assert answer.json["state"] == "pending", answer  # R5
            ids.append(answer.json["order_id"])
        return len(ids) >= count

    wait_until(spilled, 60, what="spilled orders")
    return ids


def test_orders_spilled_by_a_gateway_that_restarts_are_accepted(cluster):
    """F3, R5, R13: the restarted gateway drains what it finds on its disk; nobody else does."""
    sale = cluster.make_sale(stock=50)
    ids = spill_at(cluster[0], sale, 5, "spill")
    cluster[0].kill()
    cluster[0].kafka_route(WELL)
    cluster.restart(cluster[0])
    wait_until(lambda: set(states(cluster[1], ids).values()) == {("accepted", None)}, 60, what="the drain")
    cluster.wait_rest(sale)
    assert cluster.numbers(sale) == (50 - len(ids), len(ids), 0, 50)


@pytest.mark.soak
@pytest.mark.parametrize("disk", ["kept", "lost"])
def test_orders_spilled_by_a_gateway_that_stays_away_become_void_and_stay_so(cluster, disk):
    """F3, R3, R5, I1: void after two minutes, the units are on sale again; what is drained later changes nothing."""
    stock = 20
    sale = cluster.make_sale(stock=stock)
    ids = spill_at(cluster[0], sale, 5, "spill")
    time.sleep(1)  # a heartbeat says that it has spilled
    cluster[0].kill()
    time.sleep(60)
    assert doubts(cluster[1], sale) == len(ids), "given up too early"
    wait_until(lambda: doubts(cluster[1], sale) == 0, 120, 0.5, "the end of patience")
    assert cluster.numbers(sale) == (stock, 0, 0, stock)
    sold = [cluster.sure_buy(cluster[1], sale, f"u{i}").json["order_id"] for i in range(stock)]
    assert cluster[2].buy(sale, "late").code == "sold_out"
    cluster[0].kafka_route(WELL)
    if disk == "lost":
        for file in cluster[0].state.glob("spill*"):
            file.unlink()
    cluster.restart(cluster[0])
    time.sleep(5)
    cluster.wait_rest(sale)
    for gateway in cluster.gateways:
        assert set(states(gateway, sold).values()) == {("accepted", None)}
        assert set(states(gateway, ids).values()) <= {("released", "rejected"), None}
    assert cluster.numbers(sale) == (0, stock, 0, stock)


@pytest.mark.soak
def test_twenty_kills_at_the_peak_lose_nothing(kafka):
    """F2."""
    with Cluster(kafka) as cluster:
        sale = cluster.make_sale(stock=1000000)
        with Crowd(cluster, sale, rate=400) as crowd:
            for kill in range(20):
                victim = cluster[kill % 3]
                promised_more(crowd, 50 + 40 * (kill % 5))
                victim.kill()
                time.sleep(0.5 * (kill % 4))
                cluster.restart(victim)
        cluster.judge(sale, [crowd], 1000000)
