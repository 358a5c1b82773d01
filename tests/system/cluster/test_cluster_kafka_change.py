"""A log that changes under its readers, and brokers whose read-back proves nothing: the gateways promise nothing that a restart of all of them
would not show, and say why."""
import os
import pathlib
import time

import pytest
from cluster import NO_LIMITS, Cluster, Crowd, Kafka, promised_more, states
from kafka_three import Three
from penstock import Gateway, seeds, wait_until
from proxy import CUT, WELL
from test_cluster_kafka import answers


def closed(gateway, words):
    return wait_until(lambda: words in gateway.log_lines(), 60, 0.1, f"a word about \"{words}\"") and gateway.public("GET", "/readyz").status == 503


def assert_promises_nothing(gateway, sale, order_id, seconds):
    """Buyers may get `pending`, or an answer that asks them to come again."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answer = gateway.buy(sale, f"stranger-{time.monotonic_ns()}")
        assert answer.status == 503 or answer.json["state"] == "pending", answer
        assert gateway.admin("POST", f"/admin/v1/orders/{order_id}/confirm", timeout=30).status == 503
        time.sleep(0.1)


@pytest.mark.slow
def test_another_cluster_at_the_same_address_gets_no_promise_and_the_own_one_goes_on(kafka):
    """F26, I2, I6: With a longer topic of the same name. What was promised before is there when the address leads back, without a restart."""
    with Cluster(kafka, gateways=2) as cluster, Kafka(like=kafka) as other:
        sale = cluster.make_sale(stock=1000)
        ids = [cluster.sure_buy(cluster[i % 2], sale, f"u{i}").json["order_id"] for i in range(12)]
        other.topic(cluster.partitions, cluster.topic)
        other.fill(cluster.topic)
        kafka.lead_to(other)
        assert_promises_nothing(cluster[0], sale, ids[0], 6)
        for gateway in cluster.gateways:
            assert closed(gateway, "is cluster another-cluster-AAAAAA, but the orders are in cluster penstockAAAAAAAAAAAAAA")
        kafka.lead_to(kafka)
        for gateway in cluster.gateways:
            cluster.wait_ready(gateway)
            assert set(states(gateway, ids).values()) == {("accepted", None)}
        cluster.sure_buy(cluster[0], sale, "afterwards")
        assert wait_until(lambda: cluster[0].admin("POST", f"/admin/v1/orders/{ids[0]}/confirm", timeout=30).status == 200, 30, what="a confirm")
        for gateway in cluster.gateways:
            gateway.kill()
            cluster.restart(gateway)
        cluster.wait_rest(sale)
        for gateway in cluster.gateways:
            found = states(gateway, ids)
            assert found.pop(ids[0])[0] == "confirmed" and set(found.values()) == {("accepted", None)}


def test_a_topic_made_anew_while_a_gateway_is_frozen_gets_no_promise(kafka):
    """F26: Nor does the gateway sell on after a restart: the sale's beginning is gone."""
    with Cluster(kafka, gateways=1) as cluster:
        gateway = cluster[0]
        sale = cluster.make_sale(stock=1000)
        ids = [cluster.sure_buy(gateway, sale, f"u{i}").json["order_id"] for i in range(12)]
        gateway.freeze()
        kafka.tool("TopicCommand", "--delete", "--topic", cluster.topic)
        kafka.topic(cluster.partitions, cluster.topic)
        kafka.fill(cluster.topic)
        gateway.thaw()
        assert_promises_nothing(gateway, sale, ids[0], 6)
        assert closed(gateway, "is not the one that was read there")
        gateway.kill()
        gateway.spawn()
        wait_until(lambda: answers(gateway, sale), 60, what="the status page")
        wait_until(lambda: "its beginning is lost" in gateway.log_lines(), 60, what="a word about the sale")
        assert gateway.buy(sale, "late").status == 503


@pytest.mark.parametrize("how", ["truncated", "made anew", "restored"])
def test_what_is_promised_while_the_log_changes_is_there_after_a_restart_of_all(kafka, how):
    """F26, I2: Under load: the topic loses its last records and grows again, or is another one; or comes back as it was, and all goes on."""
    with Cluster(kafka) as cluster:
        sale = cluster.make_sale(stock=100000)
        with Crowd(cluster, sale, rate=120) as crowd:
            promised_more(crowd, 100)
            kafka.kill()
            change(kafka, cluster, how)
            if how == "restored":
                promised_more(crowd, 60)
                wait_until(lambda: all(gateway.ready() for gateway in cluster.gateways), 60, what="gateways that are ready")
            else:
                before = crowd.promised()
                for gateway in cluster.gateways:
                    assert closed(gateway, "Bring the topic back")
                time.sleep(3)
                assert crowd.promised() == before
        if how == "restored":
            for gateway in cluster.gateways:
                gateway.kill()
            cluster.start_gateways()
            cluster.judge(sale, [crowd], 100000)


def change(kafka, cluster, how):
    """Kafka is down, and comes back; gateways reach it when all is done."""
    cluster.routes(CUT, of="kafka")
    parts = [pathlib.Path(kafka.directory) / "data" / f"{cluster.topic}-{i}" for i in range(cluster.partitions)]
    for part in parts if how == "truncated" else []:
        log = part / "00000000000000000000.log"
        os.truncate(log, log.stat().st_size - 1)  # recovery drops the torn batch
    if how == "truncated":
        (parts[0].parent / "replication-offset-checkpoint").unlink()
    kafka.start()
    if how == "made anew":
        kafka.tool("TopicCommand", "--delete", "--topic", cluster.topic)
        kafka.topic(cluster.partitions, cluster.topic)
    if how != "restored":
        kafka.fill(cluster.topic, 2000)
    cluster.routes(WELL, of="kafka")


# --- brokers ---


def refused_by(brokers, topic, directory, *words):
    gateway = Gateway(directory, settings={"seed": seeds(NO_LIMITS), "workers": 1, "log": {"kind": "kafka", "kafka": {"brokers": brokers, "topic": topic}}})
    gateway.spawn()
    try:
        assert gateway.process.wait(60) == 1, gateway.log()
    finally:
        if gateway.process.poll() is None:
            gateway.kill()
    for word in words:
        assert word in gateway.log_path.read_text(), gateway.log()


@pytest.mark.slow
def test_a_kafka_older_than_3_7_is_refused_by_name(tmp_path):
    """F25."""
    with Kafka(version="3.6.2") as old:
        refused_by(old.direct, old.topic(4), tmp_path, "Kafka 3.7 or newer is needed, and broker 1 is older")


@pytest.mark.parametrize("versions,old", [(("3.6.2", "3.6.2", "3.6.2"), "1"), (("3.9.1", "3.9.1", "3.6.2"), "3")], ids=["all", "one"])
def test_three_brokers_of_which_one_is_older_than_3_7_are_refused_by_name(tmp_path, versions, old):
    """F25."""
    with Three(versions, release="3.6-IV2" if versions[0] != versions[2] else None) as three:
        refused_by(three.direct, three.topic(4), tmp_path, "Kafka 3.7 or newer is needed, and broker ", *([f"broker {old} is older"] if old == "3" else []))


def test_no_accepted_order_is_lost_with_the_last_broker_in_sync(tmp_path):
    """R2, I2: two of three brokers are gone, buyers come, and the third dies with its disk."""
    with Three() as three, Cluster(three, gateways=2) as cluster:
        sale = cluster.make_sale(stock=100000)
        with Crowd(cluster, sale, rate=60) as crowd:
            promised_more(crowd, 60)
            for node in three.nodes[1:]:
                node.stop()
            wait_until(lambda: crowd.count()["pending"] > 100, 60, what="orders that are pending")
            three.nodes[0].lose_disk()
            for node in three.nodes[1:]:
                node.start()
            promised_more(crowd, 60, timeout=120)
        cluster.judge(sale, [crowd], 100000, timeout=180)
