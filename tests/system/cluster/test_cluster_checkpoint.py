"""Gateways whose log is in Kafka start from their checkpoints and read the topic's tail alone; one that is not of this topic, or damaged, is
thrown away, named, and all is read."""
import contextlib
import shutil
import time

import pytest
from cluster import Cluster, Redis, states
from penstock import Gateway, wait_until
from proxy import CUT, WELL

STOCK = 100000
LOADED, REFUSED = '"event":"checkpoint_loaded"', '"event":"checkpoint_refused"'


def seen(gateway, words):
    return gateway.log_lines().count(words)


def strangers(gateway):
    """Records of a stranger that this start has read."""
    return gateway.metric("penstock_kafka_foreign_records_total") or 0


def fill(cluster, sale, name, count=12):
    """Orders in every state; those that are accepted."""
    ids = [cluster.sure_buy(cluster.living()[i % len(cluster.living())], sale, f"{name}-{i}").json["order_id"] for i in range(count)]
    for action, chosen in (("confirm", ids[::3]), ("cancel", ids[1::3])):
        for order_id in chosen:
            decide(cluster, order_id, action)
    return ids[2::3]


def decide(cluster, order_id, action, at=None):
    gateway = at or cluster.living()[0]
    wait_until(lambda: gateway.admin("POST", f"/admin/v1/orders/{order_id}/{action}").status == 200, 60, what=f"{action} of {order_id}")


def raise_stock(cluster, sale, units):
    gateway = cluster.living()[0]
    answer = gateway.admin("POST", f"/admin/v1/sales/{sale}/skus/phone/adjust", {"delta": units, "adjust_id": f"more-{time.monotonic_ns()}"})
    assert answer.status in (200, 201, 202), answer


def start(cluster, *gateways):
    for gateway in gateways:
        gateway.spawn()
    for gateway in gateways:
        cluster.wait_ready(gateway)


def assert_agree(cluster, sale):
    """All audits agree with each other and with Redis, and only orders hold units."""
    cluster.wait_rest(sale)
    assert len({cluster.numbers(sale, gateway) for gateway in cluster.gateways}) == 1
    shown = [{order["order_id"]: (order["state"], order["reason"]) for order in gateway.orders(sale)} for gateway in cluster.gateways]
    assert all(orders == shown[0] for orders in shown)


def test_a_gateway_starts_from_its_checkpoint_while_the_others_sell_cancel_and_raise_stock(cluster, kafka):
    with cluster.busy_sale(STOCK, rate=100) as (sale, _):
        kafka.fill(cluster.topic, 40)
        first = cluster[2]
        left = fill(cluster, sale, "before")
        wait_until(lambda: strangers(first) == 40, what="the stranger's records")
        assert first.stop() == 0
        decide(cluster, left[0], "cancel")
        decide(cluster, left[1], "confirm")
        fill(cluster, sale, "away")
        before = seen(first, LOADED)
        start(cluster, first)
        assert seen(first, LOADED) == before + 1 and seen(first, REFUSED) == 0
        assert strangers(first) == 0, "it has read what its checkpoint has"
        assert states(first, left[:2]) == {left[0]: ("released", "cancelled"), left[1]: ("confirmed", None)}
        decide(cluster, left[2], "cancel", at=first)  # of before the checkpoint
        fill(cluster, sale, "after")
    assert_agree(cluster, sale)


def test_stock_that_is_raised_and_orders_that_are_cancelled_meanwhile_are_for_sale_behind_a_checkpoint(cluster):
    sale = cluster.make_sale(stock=12)
    left = fill(cluster, sale, "before")
    gateway = cluster[1]
    assert gateway.stop() == 0
    decide(cluster, left[0], "cancel")
    raise_stock(cluster, sale, 5)
    start(cluster, gateway)
    assert seen(gateway, LOADED) == 1
    assert_agree(cluster, sale)
    assert cluster.numbers(sale, gateway) == (4 + 1 + 5, 3, 4, 17)
    for i in range(10):
        cluster.sure_buy(gateway, sale, f"more-{i}")
    assert gateway.buy(sale, "too-late").code == "sold_out"
    assert_agree(cluster, sale)


@pytest.mark.parametrize("ends", ["stop", "kill"])
def test_all_gateways_start_from_their_checkpoints_at_once_with_effects_that_redis_lacks(cluster, ends):
    """What is decided while Redis is away is in the log, in the fold and in the checkpoint, and Redis still gets it."""
    sale = cluster.make_sale(stock=30)
    left = fill(cluster, sale, "before", 24)
    cluster.wait_rest(sale)
    before = cluster.epoch(sale)
    cluster.redis.freeze()
    for gateway in cluster.gateways:  # what is sent before would be read after the thaw
        wait_until(lambda: "[-]store failed" in gateway.public("GET", "/readyz?verbose").text, 60, what="a gateway that knows of it")
    for order_id in left[:5]:
        decide(cluster, order_id, "cancel")
    for gateway in cluster.gateways:
        wait_until(lambda: set(states(gateway, left[:5]).values()) == {("released", "cancelled")}, 60, what="the cancels at every gateway")
    if ends == "stop":
        for gateway in cluster.gateways:
            assert gateway.stop(60) == 0
            assert (gateway.state / "fold.checkpoint").exists()
    else:
        for gateway in cluster.gateways:
            gateway.kill()
    cluster.redis.thaw()
    start(cluster, *cluster.gateways)
    cluster.wait_open(sale)
    for gateway in cluster.gateways:
        assert seen(gateway, LOADED) == (ends == "stop")
    assert_agree(cluster, sale)
    assert cluster.numbers(sale) == (30 - 24 + 8 + 5, 3, 8, 30)
    assert ends == "kill" or cluster.epoch(sale) != before, "Redis lacked what was cancelled"
    for i in range(19):
        cluster.sure_buy(cluster[i % 3], sale, f"more-{i}")
    assert cluster[0].buy(sale, "too-late").code == "sold_out"
    assert_agree(cluster, sale)


@pytest.mark.slow
def test_nothing_is_counted_anew_when_redis_has_all_that_the_checkpoints_have(cluster):
    sale = cluster.make_sale(stock=50)
    fill(cluster, sale, "before", 24)
    cluster.wait_rest(sale)
    before = cluster.epoch(sale)
    for _ in range(2):
        for gateway in cluster.gateways:
            assert gateway.stop() == 0
        start(cluster, *cluster.gateways)
        cluster.wait_open(sale)
        assert_agree(cluster, sale)
    assert cluster.epoch(sale) == before
    for gateway in cluster.gateways:
        assert seen(gateway, LOADED) == 2 and seen(gateway, '"event":"sale_rebuilt"') == 0


@pytest.mark.slow
def test_kills_behind_a_checkpoint_and_while_one_is_written_lose_nothing(cluster):
    """F28."""
    with cluster.busy_sale(STOCK, rate=150) as (sale, _):
        for turn, gateway in enumerate(cluster.gateways * 2):
            fill(cluster, sale, f"turn-{turn}")
            if turn % 2:
                gateway.kill()
            else:  # the last checkpoint is written at the end
                file = gateway.state / "fold.checkpoint.new"
                gateway.process.terminate()
                with contextlib.suppress(AssertionError):
                    wait_until(lambda: file.exists() or not gateway.alive, 20, 0.0005)
                gateway.kill()
            start(cluster, gateway)
            assert seen(gateway, REFUSED) == 0
    assert_agree(cluster, sale)


@pytest.mark.slow
def test_a_gateway_that_starts_while_kafka_is_away_takes_its_checkpoint_when_it_is_back(cluster, kafka):
    sale = cluster.make_sale(stock=50)
    kafka.fill(cluster.topic, 40)
    left = fill(cluster, sale, "before", 24)
    gateway = cluster[1]
    assert gateway.stop() == 0
    decide(cluster, left[0], "cancel")
    whole = (gateway.state / "fold.checkpoint").read_bytes()
    gateway.kafka_route(CUT)
    for turn in range(2):  # one that ends before it has seen Kafka leaves the file as it is
        gateway.spawn()
        wait_until(lambda: serves_pages(gateway, sale), 60, what="the status page")
        assert gateway.buy(sale, "early").code == "log_unavailable"
        assert gateway.public("GET", f"/v1/orders/{left[1]}", user="before-5").status == 503
        if turn == 0:
            assert gateway.stop() == 0
        assert (gateway.state / "fold.checkpoint").read_bytes() == whole
    assert seen(gateway, LOADED) == seen(gateway, REFUSED) == 0
    gateway.kafka_route(WELL)
    cluster.wait_ready(gateway)
    assert seen(gateway, LOADED) == 1 and seen(gateway, REFUSED) == 0 and strangers(gateway) == 0
    assert states(gateway, left[:2]) == {left[0]: ("released", "cancelled"), left[1]: ("accepted", None)}
    cluster.sure_buy(gateway, sale, "behind")
    assert_agree(cluster, sale)


def serves_pages(gateway, sale):
    with contextlib.suppress(OSError):
        return gateway.alive and gateway.public("GET", f"/v1/sales/{sale}").status == 200
    return False


@pytest.mark.slow
def test_a_checkpoint_that_is_torn_or_of_another_topic_is_thrown_away_and_named(cluster, kafka):
    """F28."""
    sale = cluster.make_sale(stock=50)
    fill(cluster, sale, "before", 24)
    cluster.wait_rest(sale)
    gateway = cluster[0]
    file = gateway.state / "fold.checkpoint"
    assert gateway.stop() == 0
    whole = file.read_bytes()
    with Cluster(kafka, gateways=1) as other:
        name = other.make_sale(stock=50)
        fill(other, name, "elsewhere", 24)
        assert other[0].stop() == 0
        shutil.copy2(other[0].state / "fold.checkpoint", file)
    for wrong, why in ((None, "another record is in its place"), (whole[:-7], "digest does not match"), (b"", "it is incomplete")):
        if wrong is not None:
            file.write_bytes(wrong)
        before = seen(gateway, REFUSED), seen(gateway, LOADED)
        start(cluster, gateway)
        assert (seen(gateway, REFUSED), seen(gateway, LOADED)) == (before[0] + 1, before[1])
        assert why in gateway.log_lines()
        assert gateway.admin("GET", f"/admin/v1/sales/{sale}").status == 200
        assert_agree(cluster, sale)
        assert gateway.stop() == 0
    start(cluster, gateway)  # by the one that it has written since
    assert LOADED in gateway.log_lines().rsplit(REFUSED, 1)[1]
    assert_agree(cluster, sale)


@pytest.mark.slow
def test_a_checkpoint_that_is_older_than_the_beginning_of_the_topic_is_thrown_away_and_named(cluster, kafka):
    """F28."""
    sale = cluster.make_sale(stock=50)
    fill(cluster, sale, "before", 24)
    gateway = cluster[0]
    assert gateway.stop() == 0
    kafka.fill(cluster.topic, 40)
    kafka.tool("DeleteRecordsCommand", "--offset-json-file", offsets(cluster))
    gateway.spawn()
    wait_until(lambda: seen(gateway, REFUSED) and "another record is in its place" in gateway.log_lines(), 60, what="the refusal")


def offsets(cluster):
    path = cluster.directory / "offsets.json"
    partitions = ",".join(f'{{"topic": "{cluster.topic}", "partition": {i}, "offset": -1}}' for i in range(cluster.partitions))
    path.write_text(f'{{"partitions": [{partitions}], "version": 1}}')
    return path


def test_a_checkpoint_that_was_written_with_a_counter_in_memory_is_not_used_with_redis(tmp_path):
    """It does not know which effects Redis lacks."""
    redis = Redis(tmp_path).start()
    try:
        with Gateway() as gateway:
            sale = gateway.make_sale(stock=20)
            assert gateway.buy(sale, "first").status == 202
            for kind, said in (("memory", LOADED), ("redis", REFUSED), ("redis", LOADED), ("memory", LOADED)):
                assert gateway.stop() == 0
                gateway.configure({**gateway.settings, "store": {"kind": kind, "redis": {"url": f"redis://127.0.0.1:{redis.port}/0"}}})
                before = {words: gateway.log_path.read_text().count(words) for words in (LOADED, REFUSED)}
                gateway.start()
                wait_until(lambda: gateway.sale(sale)["state"] == "open" and gateway.buy(sale, f"{kind}-{said}").status == 202, what="a sale")
                now = {words: gateway.log_path.read_text().count(words) for words in (LOADED, REFUSED)}
                assert now == {words: before[words] + (words == said) for words in before}, (kind, now)
            assert "it was written with a counter in memory" in gateway.log_path.read_text()
            gateway.assert_books(sale)
    finally:
        redis.end()
