"""Gateways of a cluster whose wall clocks are an hour apart: times of orders come from Redis, one clock for all, and an order expires only
when two clocks agree."""
import time

import pytest
from clock import HOUR, LIBRARIES, clocks  # noqa: F401 (a fixture)
from cluster import Cluster, Crowd, Kafka, promised_more, states
from penstock import wait_until
from proxy import CUT, WELL
from test_cluster_control import everywhere, settle

DAY = 24 * HOUR

assert LIBRARIES, "libfaketime is missing: install faketime"


@pytest.fixture()
def cluster(kafka, clocks):
    with Cluster(kafka, envs={i: clock.env for i, clock in enumerate(clocks)}) as c:
        yield c


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [pytest.param(HOUR, marks=pytest.mark.soak), -HOUR], ids=["ahead", "back"])
def test_a_gateway_whose_clock_jumps_sells_and_settles_as_the_others(cluster, clocks, seconds):
    """F15, I6, and nothing expires early: the orders have three hours."""
    sale = cluster.make_sale(stock=100000, opens_in=-2 * HOUR, reservation_ttl_s=3 * HOUR)
    with Crowd(cluster, sale, rate=120) as crowd:
        promised_more(crowd, 60)
        clocks[1].jump(seconds)
        promised_more(crowd, 120)
        cluster[1].kill()  # and starts again under the wrong time
        cluster.restart(cluster[1])
        promised_more(crowd, 60)
        clocks[1].jump(0)
        promised_more(crowd, 60)
    cluster.judge(sale, [crowd], 100000)
    reserved = sorted(order["reserved_at"] for order in cluster[0].orders(sale))
    assert reserved[0][:13] == reserved[-1][:13] or reserved[-1][14:16] < "05", "times of different clocks"


@pytest.mark.soak
def test_no_order_is_expired_by_a_keeper_whose_clock_is_wrong(cluster, clocks):
    """Whoever has the keeper's lease, with its clock an hour ahead, back or right: unpaid orders of five seconds expire, others do not."""
    long = cluster.make_sale(stock=10, opens_in=-2 * HOUR, reservation_ttl_s=1800)
    kept = [cluster.sure_buy(cluster[i], long, f"u{i}").json["order_id"] for i in range(3)]
    clocks[0].jump(HOUR)
    clocks[1].jump(-HOUR)
    for keeper in (0, 1):  # the lease goes round
        time.sleep(4)
        cluster[keeper].freeze()
        time.sleep(4)
        cluster[keeper].thaw()
    for gateway in cluster.gateways:
        assert set(states(gateway, kept).values()) == {("accepted", None)}
    assert settle(cluster[0], kept[0], "confirm") == 200
    everywhere(cluster, lambda g: states(g, kept)[kept[0]] == ("confirmed", None), "the confirmation")
    cluster.wait_rest(long)
    assert cluster.numbers(long) == (7, 2, 1, 10)


@pytest.mark.soak
def test_orders_expire_by_the_agreement_of_two_clocks(cluster, clocks):
    """F15."""
    sale = cluster.make_sale(stock=10, opens_in=-2 * HOUR, reservation_ttl_s=5)
    clocks[0].jump(HOUR)
    ids = [cluster.sure_buy(cluster[i], sale, f"u{i}").json["order_id"] for i in range(3)]
    wait_until(lambda: set(states(cluster[2], ids).values()) == {("released", "expired")}, 120, 0.5, "expiry")
    cluster.wait_rest(sale)
    assert cluster.numbers(sale) == (10, 0, 0, 10)


@pytest.mark.soak
def test_an_order_that_lies_in_a_spill_for_hours_is_pending_wherever_it_is_asked_about(cluster, clocks):
    """One gateway's way to Kafka has been cut for three hours: the ids of what it has spilled are as old."""
    sale = cluster.make_sale(stock=10, opens_in=-4 * HOUR, reservation_ttl_s=6 * HOUR)
    clocks[0].jump(-3 * HOUR)
    cluster[0].kafka_route(CUT)
    order = wait_until(lambda: (a := cluster[0].buy(sale, f"u{time.monotonic()}", timeout=8)).status == 202 and a.json["state"] == "pending" and
                       a.json["order_id"], 60, 0.2, "the spill")
    time.sleep(1)
    for verb in ("confirm", "cancel"):
        answer = cluster[1].admin("POST", f"/admin/v1/orders/{order}/{verb}")
        assert (answer.status, answer.code) == (503, "order_pending"), answer
    cluster[0].kafka_route(WELL)
    wait_until(lambda: states(cluster[1], [order])[order] == ("accepted", None), 60, 0.2, "the drain")
    assert settle(cluster[1], order, "confirm") == 200
    cluster.wait_rest(sale)


def test_orders_of_gateways_whose_clocks_are_days_back_are_not_deleted_by_retention(clocks):
    """F15, I2: the broker dates the records: none is older than the topic keeps them (seven days), whatever the gateways' clocks say."""
    quick = ("log.retention.check.interval.ms=500", "log.initial.task.delay.ms=500")
    with Kafka(settings=quick) as kafka:
        make = kafka.bad_topic
        kafka.topic = lambda partitions: make(partitions, "message.timestamp.type=LogAppendTime", "retention.ms=604800000")
        short = make(1, "retention.ms=1000")
        with Cluster(kafka, gateways=2, envs={i: clock.env for i, clock in enumerate(clocks)}) as cluster:
            for clock in clocks:
                clock.jump(-8 * DAY)
            for gateway in cluster.gateways:
                gateway.kill()
                cluster.restart(gateway)
            sale = cluster.make_sale(stock=100, opens_in=-9 * DAY, reservation_ttl_s=1800)
            ids = [cluster.sure_buy(cluster[i % 2], sale, f"u{i}").json["order_id"] for i in range(12)]
            assert wait_until(lambda: cluster[0].admin("POST", f"/admin/v1/orders/{ids[0]}/confirm", timeout=30).status == 200, 30, what="a confirm")
            kafka.put(short, "soon gone")
            wait_until(lambda: kafka.tool("GetOffsetShell", "--topic", short, "--time", "earliest").strip() == f"{short}:0:1", 60, 1, "retention at work")
            for gateway in cluster.gateways:
                gateway.kill()
                cluster.restart(gateway)
            found = states(cluster[0], ids)
            assert found.pop(ids[0]) == ("confirmed", None) and set(found.values()) == {("accepted", None)}, found
