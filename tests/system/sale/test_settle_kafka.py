"""The settlement worker on a real topic: each order once, whoever is killed; what makes no sense is put aside; what is away is named."""
import contextlib
import json
import os
import random
import signal
import sqlite3
import threading
import time
import uuid

import pytest
from load import Load
from penstock import PATIENT_LOG, Gateway, wait_until
from settle import (PostgresServer, Topic, assert_results, assert_same_orders, buy, init, kafka_worker, kill_now_and_then, orders_in,
                    wait_results, wait_stored)


@pytest.fixture()
def postgres():
    with PostgresServer() as server:
        yield init(server.database())


@pytest.fixture()
def gateway():
    with Gateway(settings=PATIENT_LOG) as g:
        g.no_limits()
        yield g


@pytest.fixture()
def topic(kafka, gateway):
    with Topic(kafka, gateway) as t:
        yield t


def copy_until(topic, stop):
    while not stop.wait(0.05):
        topic.copy()


def settle_all(topic, database, gateway):
    """Until nothing is left: confirms go through the gateway's journal into the topic."""
    worker = kafka_worker(topic, database, "--auto-confirm", gateway=gateway)
    while topic.copy() > 0 or positions(database) != topic.count:
        worker.once()


def positions(database):
    rows = database.query("SELECT log_partition, log_seq FROM penstock_offsets ORDER BY log_partition")
    return [int(seq) for _, seq in rows]


def test_two_workers_that_are_killed_in_the_middle_store_and_confirm_each_order_of_a_topic_once(gateway, topic, postgres):
    """F14."""
    database = postgres
    sale = gateway.make_sale(stock=100000)
    dice = random.Random(7)
    workers = [kafka_worker(topic, database, "--batch", "20", "--auto-confirm", "--gateway-timeout-ms", "500",
                            "--kafka-properties", '{"session.timeout.ms":"6000"}', gateway=gateway) for _ in range(2)]
    stop = threading.Event()
    copier = threading.Thread(target=copy_until, args=(topic, stop))
    copier.start()
    with Load(gateway, sale, threads=3) as load:
        try:
            for worker in workers:
                worker.start()
            kill_now_and_then(workers, 8, dice, until=lambda: load.promised() > 100)
            load.stop()
            wait_stored(database, load.promised(), 60)
            assert [worker.stop() for worker in workers] == [0, 0]
        finally:
            for worker in workers:
                worker.kill()
            stop.set()
            copier.join()
    settle_all(topic, database, gateway)
    stored = assert_same_orders(gateway, database, sale, same_seq=False)
    assert {order["state"] for order in stored.values()} == {"confirmed"}
    assert len(assert_results(database)) == len(stored)
    assert database.query("SELECT count(*) FROM penstock_dead_letters") == [("0",)]
    # Positions and epochs are those of the topic, for each partition.
    assert positions(database) == topic.count
    epochs = database.query(f"SELECT log_partition, epoch FROM penstock_epochs WHERE sale = '{sale}' ORDER BY log_partition")
    assert [row[0] for row in epochs] == ["0", "1", "2"] and len({row[1] for row in epochs}) == 1


def test_poison_in_a_topic_goes_to_table_and_topic_with_its_reason_and_holds_nobody_up(gateway, topic, kafka, shop):
    sale = gateway.make_sale(stock=10)
    letters = kafka.topic(1)
    buy(gateway, sale, 2)
    topic.copy()
    topic.put(1, "gibberish")
    topic.put(2, '{"type":"penstock.order.accepted.v1"}')
    buy(gateway, sale, 3, "later")
    topic.copy()
    worker = kafka_worker(topic, shop, "--kafka-dead-letter-topic", letters)
    wait_until(lambda: worker.once() and positions(shop) == topic.count, 30, what="all records stored")
    assert len(assert_same_orders(gateway, shop, sale, same_seq=False)) == 5
    rows = shop.query("SELECT log_partition, log_seq, reason, CAST(record AS TEXT) FROM penstock_dead_letters ORDER BY log_partition")
    assert [(row[0], row[3]) for row in rows] == [("1", "gibberish"), ("2", '{"type":"penstock.order.accepted.v1"}')]
    assert "is missing" in rows[1][2]
    sent = kafka.tool("consumer.ConsoleConsumer", "--topic", letters, "--from-beginning", "--max-messages", "2", "--timeout-ms", "20000", "--property",
                      "print.headers=true").splitlines()
    for partition, seq, reason, record in rows:
        assert [line for line in sent if f"penstock_place:{partition}/{int(seq) - 1}" in line and f"penstock_reason:{reason}" in line and
                line.endswith(record)], (sent, rows)


def test_many_dead_letters_on_a_slow_way_do_not_keep_the_shop_waiting(gateway, topic, kafka, shop):
    """They are sent within the transaction, together: one after the other they would hold its lock for a minute."""
    letters = kafka.topic(1)
    for i in range(100):
        topic.put(0, f"gibberish {i}")
    kafka.proxy.set(0, delay_ms=150)
    worker = kafka_worker(topic, shop, "--kafka-dead-letter-topic", letters, "--kafka-brokers", kafka.brokers(0))
    try:
        with worker:
            def stored():
                with contextlib.closing(sqlite3.connect(shop.path, timeout=4)) as connection:
                    connection.execute("INSERT OR IGNORE INTO penstock_decisions (order_id, decision) VALUES (?, 'confirm')", (str(uuid.uuid4()),))
                    connection.commit()
                return shop.query("SELECT count(*) FROM penstock_dead_letters") == [("100",)]

            wait_until(stored, 60, 0.1, "all of them in the table")
            assert worker.stop() == 0
    finally:
        kafka.well()
    sent = kafka.tool("consumer.ConsoleConsumer", "--topic", letters, "--from-beginning", "--max-messages", "100", "--timeout-ms", "20000")
    assert sorted(sent.splitlines()) == sorted(f"gibberish {i}" for i in range(100))


def test_a_worker_waits_for_a_broker_that_stands_still_and_names_it(gateway, topic, kafka, shop):
    sale = gateway.make_sale(stock=10)
    ids = buy(gateway, sale, 2)
    topic.copy()
    done = kafka_worker(topic, shop, "--patience-s", "1").run("--once", "--kafka-brokers", "127.0.0.1:1")
    assert done.returncode == 1 and "127.0.0.1:1" in [event for event in done.events if event["event"] == "log_away"][0]["where"], done.stderr
    done = kafka_worker(topic, shop, "--patience-s", "1").run("--once", "--kafka-topic", "nothing")
    assert done.returncode == 1 and any(event.get("where") == "nothing" and kafka.direct in event["why"] for event in done.events), done.stderr
    with kafka_worker(topic, shop) as worker:
        wait_stored(shop, 2)
        kafka.freeze()
        time.sleep(1)
        ids += buy(gateway, sale, 2, "meanwhile")
        topic.copy()
        time.sleep(2)
        kafka.thaw()
        wait_stored(shop, 4, 60)
        assert worker.stop() == 0
    assert orders_in(shop, sale).keys() == set(ids)


def test_a_worker_that_stands_still_is_passed_over_and_does_no_harm_when_it_wakes(gateway, topic, shop):
    sale = gateway.make_sale(stock=100000)
    flags = ["--batch", "20", "--auto-confirm", "--kafka-properties", '{"session.timeout.ms":"6000"}']
    with kafka_worker(topic, shop, *flags, gateway=gateway) as first, kafka_worker(topic, shop, *flags, gateway=gateway) as second:
        buy(gateway, sale, 20, "a")
        topic.copy()
        wait_stored(shop, 20)
        os.kill(first.process.pid, signal.SIGSTOP)
        buy(gateway, sale, 60, "b")
        topic.copy()
        wait_stored(shop, 80, 60)
        os.kill(first.process.pid, signal.SIGCONT)
        buy(gateway, sale, 20, "c")
        topic.copy()
        wait_stored(shop, 100, 60)
        wait_results(shop, 60)
        assert [first.stop(), second.stop()] == [0, 0]
    settle_all(topic, shop, gateway)
    assert len(assert_same_orders(gateway, shop, sale, same_seq=False)) == 100
    assert_results(shop)


@pytest.mark.slow
def test_a_topic_that_was_made_anew_is_not_read_on(gateway, topic, kafka, shop):
    sale = gateway.make_sale(stock=10)
    buy(gateway, sale, 4)
    topic.copy()
    worker = kafka_worker(topic, shop)
    wait_until(lambda: worker.once() and positions(shop) == topic.count, 30, what="all records stored")
    with Topic(kafka, gateway) as other:
        other.put(0, "something else")
        other.put(1, "something else")
        other.put(2, "something else")
        done = kafka_worker(other, shop).run("--once")
        assert done.returncode == 1 and done.events[-2]["event"] == "log_refused", done.stderr
        assert "partition" in done.events[-2]["why"] and "offset" in done.events[-2]["why"]


def delete_records(kafka, topic, partition, before, directory):
    """What retention does: the records before this offset are gone."""
    file = directory / "delete.json"
    file.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic.name, "partition": partition, "offset": before}]}))
    kafka.tool("DeleteRecordsCommand", "--offset-json-file", file)


def test_a_worker_whose_records_are_gone_names_them_and_goes_on_only_when_told_to(gateway, topic, kafka, shop, tmp_path):
    """Partition 1 was never read, partition 2 up to its second record, when what follows is deleted."""
    metrics = tmp_path / "settle.prom"
    worker = kafka_worker(topic, shop, "--metrics-file", str(metrics))
    topic.put(2, "junk")
    topic.put(2, "junk")
    wait_until(lambda: worker.once() and positions(shop) == topic.count, 30, what="what is there stored")
    for partition in (1, 1, 1, 2, 2):
        topic.put(partition, "an order that nobody has settled")
    sale = gateway.make_sale(stock=10)
    ids = buy(gateway, sale, 6)
    topic.copy()
    wait_until(lambda: kafka_ends(kafka, topic) == topic.count, 30, what="all records in the topic")
    delete_records(kafka, topic, 1, 3, tmp_path)
    delete_records(kafka, topic, 2, 4, tmp_path)
    lost = [(topic.name, 1, 0, 3), (topic.name, 2, 2, 4)]
    for _ in range(2):
        done = worker.run("--once")
        assert done.returncode == 1 and orders_in(shop, sale) == {}, done.stderr
        seen = [event for event in done.events if event["event"] == "records_lost"]
        assert sorted((event["topic"], event["partition"], event["offset"], event["first_offset"]) for event in seen) == lost, done.stderr
        refused = [event for event in done.events if event["event"] == "log_refused"]
        assert len(refused) == 1 and refused[0]["where"] == topic.name and "kafka.skip_lost" in refused[0]["why"], done.stderr
        assert "penstock_settle_lost_records_total 5\n" in metrics.read_text()
    done = worker.once("--kafka-skip-lost")
    seen = [event for event in done.events if event["event"] == "records_lost"]
    assert sorted((event["topic"], event["partition"], event["offset"], event["first_offset"]) for event in seen) == lost, done.stderr
    assert "penstock_settle_lost_records_total 5\n" in metrics.read_text()
    wait_until(lambda: worker.once() and positions(shop) == topic.count, 30, what="what is there stored")
    assert orders_in(shop, sale).keys() == set(ids)


def kafka_ends(kafka, topic):
    lines = kafka.tool("GetOffsetShell", "--topic", topic.name).split()
    return [int(line.rsplit(":", 1)[1]) for line in sorted(lines)]


def test_what_is_gone_is_passed_over_once_also_where_nothing_stands_behind_it(gateway, topic, kafka, shop, tmp_path):
    topic.put(1, "an order that nobody has settled")
    wait_until(lambda: kafka_ends(kafka, topic) == topic.count, 30, what="the record in the topic")
    delete_records(kafka, topic, 1, 1, tmp_path)
    worker = kafka_worker(topic, shop)
    assert worker.run("--once").returncode == 1
    assert [event["partition"] for event in worker.once("--kafka-skip-lost").events if event["event"] == "records_lost"] == [1]
    for flags in ([], ["--kafka-skip-lost"]):
        assert [event for event in worker.once(*flags).events if event["event"] == "records_lost"] == []


def test_a_worker_ends_when_it_is_told_to_though_the_broker_has_fallen_silent(gateway, topic, kafka, shop):
    sale = gateway.make_sale(stock=10)
    buy(gateway, sale, 2)
    topic.copy()
    with kafka_worker(topic, shop) as worker:
        wait_stored(shop, 2)
        kafka.freeze()
        try:
            time.sleep(1)
            assert worker.stop(30) == 0
        finally:
            kafka.thaw()


def test_a_worker_ends_when_it_is_told_to_though_nobody_hears_how_far_it_has_come(gateway, topic, kafka, shop):
    """What it has stored it tells the broker, too, which is silent by then."""
    sale = gateway.make_sale(stock=10)
    buy(gateway, sale, 2)
    topic.copy()
    with kafka_worker(topic, shop) as worker:
        wait_stored(shop, 2, 60)  # it has joined its group
        buy(gateway, sale, 2, "more")
        with shop.session("BEGIN IMMEDIATE"):
            topic.copy()
            time.sleep(2)  # it has read them
            kafka.freeze()
        try:
            wait_stored(shop, 4)
            assert worker.stop(30) == 0
        finally:
            kafka.thaw()
