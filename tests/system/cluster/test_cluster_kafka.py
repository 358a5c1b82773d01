"""Kafka that is away, slow, loses data or is unfit to keep orders: every accepted order is in Kafka, and none is lost."""
import errno
import time

import pytest
from cluster import Cluster, Crowd, promised_more, records, states
from faults import Disk
from penstock import wait_until
from proxy import CUT, HOLD, NO_ANSWERS, NO_REQUESTS, WELL
from test_cluster_redis import probe, wait_refusal

STOCK = 100000
SPILL = ("spill.db", "spill.db-wal")


def pending(load):
    return load.count()["pending"]


def wait_accepted(cluster, crowd, sale, timeout=90):
    """Until every order that was answered `pending` is accepted or void, and most are accepted."""
    ids = [result.order_id for result in crowd.results if result.state == "pending"]
    assert ids
    cluster.wait_rest(sale, timeout)
    became = states(cluster.living()[0], ids[-200:])
    assert {state for state in became.values()} <= {("accepted", None), ("released", "rejected"), None}, became
    return sum(state == ("accepted", None) for state in became.values()), len(became)


def test_gateways_that_start_without_kafka_say_so_and_are_ready_by_themselves(cluster):
    """F9: readyz 503, status pages served, buy 503 log_unavailable."""
    sale = cluster.make_sale(stock=STOCK)
    ids = [cluster.sure_buy(gateway, sale, f"u{gateway.index}").json["order_id"] for gateway in cluster.gateways]
    for gateway in cluster.gateways:
        assert gateway.stop() == 0
    cluster.routes(CUT, of="kafka")
    for gateway in cluster.gateways:
        gateway.spawn()
    for gateway in cluster.gateways:
        page = wait_until(lambda: gateway.alive and answers(gateway, sale), 60, what="the status page")
        assert page.status == 200 and page.json["sale"] == sale, page
        assert gateway.public("GET", "/readyz").status == 503
        assert gateway.buy(sale, "early").code == "log_unavailable"
        for order_id, user in zip(ids, ("u0", "u1", "u2")):  # not read yet is not unknown
            assert gateway.public("GET", f"/v1/orders/{order_id}", user=user).status == 503
            assert gateway.admin("GET", f"/admin/v1/orders/{order_id}").status == 503
            assert gateway.admin("POST", f"/admin/v1/orders/{order_id}/confirm").status == 503
    cluster.routes(WELL, of="kafka")
    for gateway in cluster.gateways:
        cluster.wait_ready(gateway)
        assert set(states(gateway, ids).values()) == {("accepted", None)}
        assert cluster.sure_buy(gateway, sale, f"v{gateway.index}").json["state"] == "accepted"
    cluster.wait_rest(sale)
    assert cluster.numbers(sale) == (STOCK - 6, 6, 0, STOCK)


def answers(gateway, sale):
    try:
        return gateway.public("GET", f"/v1/sales/{sale}")
    except OSError:
        return None


@pytest.mark.parametrize("how,seconds", [("frozen", 5), *(pytest.param(how, seconds, marks=pytest.mark.soak) for how, seconds in
                                                           (("cut", 5), ("frozen", 30), ("killed", 30)))])
def test_orders_are_pending_while_kafka_is_away_and_accepted_afterwards(cluster, kafka, how, seconds):
    """F10, R1, R5, I2: spilled to disk; confirm and cancel wait; the drain makes them accepted."""
    sale = cluster.make_sale(stock=STOCK)
    with Crowd(cluster, sale, rate=150) as crowd:
        promised_more(crowd, 100)
        first = next(result.order_id for result in crowd.results if result.promised)
        if how == "cut":
            cluster.routes(CUT, of="kafka")
        else:
            kafka.freeze() if how == "frozen" else kafka.kill()
        wait_until(lambda: pending(crowd) > 30, 60, what="orders that are pending")
        for gateway in cluster.gateways:
            wait_until(lambda: probe(gateway, sale, f"away-{time.monotonic()}") == "pending", 60, what="the spill")
            assert gateway.admin("POST", f"/admin/v1/orders/{first}/confirm", timeout=60).status == 503
            assert gateway.admin("POST", f"/admin/v1/orders/{first}/cancel", timeout=60).status == 503
            assert gateway.public("GET", f"/v1/sales/{sale}").status == 200
        time.sleep(seconds)
        cluster.routes(WELL, of="kafka")
        kafka.well()
        promised_more(crowd, 100, timeout=90)
    accepted, of = wait_accepted(cluster, crowd, sale)
    assert accepted >= of * 0.9, (accepted, of)  # nothing but the outage was in their way
    cluster.judge(sale, [crowd], STOCK, settled=True)  # a confirm or cancel that was answered 503 may have been done


@pytest.mark.soak
def test_a_gateway_that_restarts_in_a_long_outage_keeps_its_spilled_orders(cluster):
    """F10: Nobody closes them as another's that is dead: they are accepted when Kafka is back, minutes later."""
    sale = cluster.make_sale(stock=STOCK)
    cluster.routes(CUT, of="kafka")
    wait_until(lambda: probe(cluster[0], sale, f"away-{time.monotonic()}") == "pending", 60, what="the spill")
    ids = [cluster.sure_buy(cluster[0], sale, f"spilled-{i}").json["order_id"] for i in range(20)]
    wait_until(lambda: all(state == ("pending", None) or state is None for state in states(cluster[0], ids).values()), 30, what="all of them in doubt")
    cluster[0].kill()
    cluster[0].spawn()
    time.sleep(150)  # a dead gateway's orders are given up after two minutes
    cluster.routes(WELL, of="kafka")
    cluster.wait_ready(cluster[0])
    cluster.wait_rest(sale)
    for gateway in cluster.gateways:
        assert set(states(gateway, ids).values()) == {("accepted", None)}


@pytest.mark.soak
def test_one_gateway_that_has_lost_kafka_spills_and_the_others_go_on(cluster):
    with cluster.busy_sale(STOCK) as (sale, crowd):
        promised_more(crowd, 100)
        cluster[0].kafka_route(CUT)
        wait_until(lambda: probe(cluster[0], sale, f"cut-{time.monotonic()}") == "pending", 60, what="the spill")
        promised_more(crowd, 100)
        for gateway in cluster.gateways[1:]:
            assert probe(gateway, sale, f"well-{gateway.index}") == "accepted"
        time.sleep(3)
        cluster[0].kafka_route(WELL)
        promised_more(crowd, 100)


def test_a_keeper_that_has_lost_kafka_alone_leaves_its_duties_to_another(cluster):
    """R8: a unit that is cancelled comes back, though one that cannot know of it is alive and has Redis."""
    def keepers():
        return [gateway for gateway in cluster.gateways if "penstock_cluster_leader 1\n" in gateway.admin("GET", "/metrics").text]

    def is_back():
        left = int(cluster.redis.ask("HGET", f"ps:{{{sale}}}:{cluster.epoch(sale)}:stock", "phone"))
        return left + other.sale(sale)["skus"][0]["in_doubt"] == 10

    sale = cluster.make_sale(stock=10)
    cut = wait_until(keepers, 30, what="a keeper")[0]
    other = next(gateway for gateway in cluster.gateways if gateway is not cut)
    order = cluster.sure_buy(other, sale, "ann").json["order_id"]
    cut.kafka_route(CUT)
    wait_until(lambda: probe(cut, sale, f"cut-{time.monotonic()}") == "pending", 60, what="the spill")
    assert other.admin("POST", f"/admin/v1/orders/{order}/cancel", timeout=60).status == 200
    wait_until(lambda: keepers() not in ([], [cut]), 20, 0.1, "another keeper")
    wait_until(is_back, 20, 0.1, "the unit")
    cut.kafka_route(WELL)
    cluster.wait_rest(sale)


def test_a_lowering_in_doubt_keeps_its_units_whichever_gateway_is_asked_again(cluster):
    """R3, R12: nobody gives back units that a record of another gateway may have taken for good."""
    sale = cluster.make_sale(stock=10)

    def lower(gateway):
        return gateway.admin("POST", f"/admin/v1/sales/{sale}/skus/phone/adjust", {"delta": -4, "adjust_id": "damaged"}, timeout=60)

    cluster[1].kafka_route(CUT)
    wait_until(lambda: probe(cluster[1], sale, f"cut-{time.monotonic()}") == "pending", 60, what="the spill")
    cluster[0].kafka_route(HOLD)
    assert lower(cluster[0]).code == "order_pending"  # its record is on the way
    for _ in range(3):
        assert lower(cluster[1]).status == 503
        time.sleep(0.3)
        sku = cluster[2].sale(sale)["skus"][0]
        assert sku["available"] <= 6 and sku["in_doubt"] >= 4, sku
    cluster.routes(WELL, of="kafka")
    assert wait_until(lambda: (a := lower(cluster[1])).status != 503 and a, 60, 0.2, "an answer").status == 200
    cluster.wait_rest(sale)
    assert cluster[2].sale(sale)["skus"][0]["adjustments"] == 6


def once_each(gateway, sale):
    """No order's record says two different things, however often it was sent."""
    bodies = {}
    for line in records(gateway, sale):
        if line["type"] == "penstock.order.accepted.v1":
            body = {name: value for name, value in line.items() if name != "seq"}
            assert bodies.setdefault(line["order_id"], body) == body
    return bodies


@pytest.mark.parametrize("mode", [NO_ANSWERS, *(pytest.param(mode, marks=pytest.mark.soak) for mode in (NO_REQUESTS, HOLD))])
def test_acknowledgements_lost_on_the_way_make_no_order_twice(cluster, mode):
    """F11, R3, I2, I4: unknown is sent again as the same order; consumers see one."""
    with cluster.busy_sale(STOCK, rate=150) as (sale, crowd):
        for _ in range(2):
            promised_more(crowd, 60)
            cluster.routes(mode, of="kafka")
            time.sleep(3)
            cluster.routes(WELL, of="kafka")
        promised_more(crowd, 60, timeout=90)
    assert len(once_each(cluster[0], sale)) >= crowd.promised()


@pytest.mark.soak
def test_a_slow_kafka_makes_orders_pending_and_loses_nothing(cluster):
    """F11."""
    with cluster.busy_sale(STOCK, rate=100) as (_, crowd):
        promised_more(crowd, 50)
        cluster.routes(WELL, delay_ms=300, of="kafka")
        wait_until(lambda: pending(crowd) > 50, 60, what="orders that are pending")
        cluster.routes(WELL, of="kafka")
        promised_more(crowd, 100)


@pytest.mark.soak
def test_connections_to_kafka_reset_now_and_then_lose_nothing(cluster):
    with cluster.busy_sale(STOCK) as (_, crowd):
        for _ in range(6):
            promised_more(crowd, 30)
            cluster.reset_routes("kafka")


@pytest.mark.soak
def test_redis_and_kafka_lost_together_come_back_exact(cluster, kafka):
    """I8, R8, R13: with Kafka away the sale stays fenced; what had spilled under the old epoch is void, nothing promised is."""
    with cluster.busy_sale(STOCK, rate=150) as (sale, crowd):
        promised_more(crowd, 100)
        cluster.routes(CUT, of="kafka")
        wait_until(lambda: pending(crowd) > 30, 60, what="orders that are pending")
        cluster.redis.ask("FLUSHALL")
        wait_refusal(cluster, sale, {"fenced", "store_unavailable", "log_unavailable"})
        cluster.routes(WELL, of="kafka")
        promised_more(crowd, 100, timeout=90)


# --- the spill is full, or has no disk ---


def test_a_full_spill_stops_admission_before_stock_is_touched(kafka):
    """F10."""
    room = 40
    with Cluster(kafka, settings={"log": {"spill": {"records": room}}}) as cluster:
        sale = cluster.make_sale(stock=STOCK)
        with Crowd(cluster, sale, rate=150) as crowd:
            promised_more(crowd, 50)
            cluster.routes(CUT, of="kafka")
            wait_refusal(cluster, sale, {"log_backlog"})

            def stock_rests():
                """Over two seconds, in which 300 buyers come."""
                left = cluster.redis.ask("HGETALL", f"ps:{{{sale}}}:{cluster.epoch(sale)}:stock")
                time.sleep(2)
                return left == cluster.redis.ask("HGETALL", f"ps:{{{sale}}}:{cluster.epoch(sale)}:stock")

            wait_until(stock_rests, 30, what="stock that nobody touches")
            cluster.routes(WELL, of="kafka")
            promised_more(crowd, 100, timeout=90)
        cluster.judge(sale, [crowd], STOCK)


@pytest.mark.parametrize("error", [errno.ENOSPC, pytest.param(errno.EIO, marks=pytest.mark.soak)])
def test_a_spill_whose_disk_fails_refuses_and_gives_back(kafka, tmp_path, error):
    """F13: What neither Kafka nor the disk has taken is released at once: 503 log_unavailable."""
    disk = Disk(tmp_path)
    with Cluster(kafka, envs={0: disk.env}) as cluster:
        sale = cluster.make_sale(stock=STOCK)
        with Crowd(cluster, sale, rate=100) as crowd:
            promised_more(crowd, 50)
            disk.fail_writes(SPILL, error) if error == errno.ENOSPC else disk.fail_syncs(SPILL, error)
            cluster.routes(CUT, of="kafka")
            wait_until(lambda: probe(cluster[0], sale, f"full-{time.monotonic()}") in ("log_unavailable", "log_backlog"), 60, what="refusals")
            wait_until(lambda: probe(cluster[1], sale, f"room-{time.monotonic()}") == "pending", 60, what="the others' spill")
            time.sleep(1)
            disk.heal()
            wait_until(lambda: probe(cluster[0], sale, f"healed-{time.monotonic()}") == "pending", 60, what="the disk used again")
            cluster.routes(WELL, of="kafka")
            promised_more(crowd, 50, timeout=90)
        cluster.judge(sale, [crowd], STOCK)


@pytest.mark.soak
def test_without_a_spill_kafka_away_is_a_refusal(kafka):
    with Cluster(kafka, settings={"log": {"spill": {"records": 0}}}) as cluster:
        sale = cluster.make_sale(stock=STOCK)
        with Crowd(cluster, sale, rate=100) as crowd:
            promised_more(crowd, 50)
            cluster.routes(CUT, of="kafka")
            wait_refusal(cluster, sale, {"log_unavailable"})
            cluster.routes(WELL, of="kafka")
            promised_more(crowd, 50, timeout=90)
        cluster.judge(sale, [crowd], STOCK)


# --- topics that are not fit ---


def refused(cluster, topic, *words):
    """A gateway that is pointed at this topic does not start, and says why."""
    stranger = cluster.stranger({"log": {"kafka": {"topic": topic}}})
    stranger.spawn()
    assert stranger.process.wait(30) == 1, stranger.log()
    for word in words:
        assert word in stranger.log(), stranger.log()


def test_a_topic_that_would_lose_orders_is_refused_with_what_to_change(kafka):
    """F7, F25."""
    with Cluster(kafka, gateways=1, settings={"log": {"kafka": {"partitions_min": 3}}}) as cluster:
        refused(cluster, kafka.bad_topic(2, "retention.ms=-1"), "partitions", "2", "3")
        refused(cluster, kafka.bad_topic(4, "cleanup.policy=compact"), "cleanup.policy", "delete")
        refused(cluster, kafka.bad_topic(4, "retention.ms=3600000"), "retention")
        refused(cluster, kafka.bad_topic(4, "retention.ms=-1"), "message.timestamp.type", "CreateTime", "LogAppendTime")
        refused(cluster, "nobody-made-this", "nobody-made-this")


def test_a_sale_whose_beginning_the_topic_has_lost_is_not_served(cluster, kafka):
    """F7: The message names partition and offset; another sale of the same topic goes on."""
    sale = cluster.make_sale(stock=50)
    for i in range(12):
        cluster.sure_buy(cluster[i % 3], sale, f"u{i}")
    whole = cluster.make_sale(stock=50)
    for gateway in cluster.gateways:
        assert gateway.stop() == 0
    ends = dict(line.split(":")[1:] for line in kafka.tool("GetOffsetShell", "--topic", cluster.topic).splitlines())
    file = cluster.directory / "delete.json"
    first = min(ends, key=int)
    file.write_text('{"partitions":[{"topic":"%s","partition":%s,"offset":2}],"version":1}' % (cluster.topic, first))
    kafka.tool("DeleteRecordsCommand", "--offset-json-file", str(file))
    for gateway in cluster.gateways:
        gateway.spawn()
    gateway = cluster[0]
    wait_until(lambda: answers(gateway, sale) is not None, 60, what="the gateway")
    wait_until(lambda: "partition" in gateway.log_lines() and "offset" in gateway.log_lines(), 60, what="a word about partition and offset")
    for _ in range(20):
        assert gateway.buy(sale, "late").status == 503
        time.sleep(0.1)
    assert gateway.process.poll() is None and whole


def delete_records(cluster, partition, before):
    """What retention does."""
    file = cluster.directory / "delete.json"
    file.write_text('{"partitions":[{"topic":"%s","partition":%d,"offset":%d}],"version":1}' % (cluster.topic, partition, before))
    cluster.kafka.tool("DeleteRecordsCommand", "--offset-json-file", str(file))


def test_what_retention_has_deleted_is_named_to_who_reads_the_log_and_who_audits(kafka):
    with Cluster(kafka, gateways=1, partitions=2) as cluster:
        sale, gateway = cluster.make_sale(stock=100), cluster[0]
        first = 1 << 43  # the place before the first record of partition 1

        def read(after):
            return gateway.admin("GET", f"/admin/v1/sales/{sale}/log?after={after}", timeout=30)

        for i in range(24):
            cluster.sure_buy(gateway, sale, f"u{i}")
        cluster.wait_rest(sale)
        assert gateway.audit(sale)["ok"]
        end = max(line["seq"] for line in read(first).lines()) - first
        assert end > 4
        delete_records(cluster, 1, 3)
        answer = read(first + 1)
        assert answer.status == 404 and "partition 1 from offset 1 to 2 are gone" in answer.text and f"after {first + 3}" in answer.text, answer
        assert [line["seq"] - first for line in read(first + 3).lines()] == list(range(4, end + 1))
        assert gateway.audit(sale)["ok"]  # it had read them before
        for i in range(24, 48):
            cluster.sure_buy(gateway, sale, f"u{i}")
        wait_until(lambda: len(gateway.orders(sale)) == 48, 30, what="all orders in the log")
        more = max(line["seq"] for line in read(first + 3).lines()) - first
        delete_records(cluster, 1, more)
        for begins in (end, 0):  # it goes on where the last audit ended; then from the beginning
            answer = gateway.admin("GET", f"/admin/v1/sales/{sale}/audit", timeout=30)
            assert answer.status == 404 and f"partition 1 from offset {begins} to {more - 1} are gone" in answer.text, answer


def test_records_that_are_not_ours_are_named_by_offset_and_passed_over(cluster, kafka):
    """I7: nobody counts them, and nobody stumbles."""
    sale = cluster.make_sale(stock=STOCK)
    with Crowd(cluster, sale) as crowd:
        promised_more(crowd, 50)
        kafka.put(cluster.topic, "this is no event")
        kafka.put(cluster.topic, '{"type":"penstock.order.accepted.v1","order_id":"nonsense"}')
        promised_more(crowd, 50)
    wait_until(lambda: all("offset" in gateway.log_lines() for gateway in cluster.gateways), 60, what="a word about the offset")
    orders = cluster.judge(sale, [crowd], STOCK)
    cluster[1].kill()
    cluster.restart(cluster[1])  # also when they are read back
    assert cluster.judge(sale, [crowd], STOCK) == orders

