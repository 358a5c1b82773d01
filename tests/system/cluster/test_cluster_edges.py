"""What seldom meets in a cluster: an opening and the loss of Redis, of the topic, or the end; documents of a newer version; one gateway, so that nobody
else helps."""
import contextlib
import sqlite3
import subprocess

import pytest
from cluster import Cluster
from penstock import rfc3339, wait_until

SECONDS_AHEAD = 4  # an opening begins two seconds before its time


@pytest.fixture()
def single(kafka):
    """Memory that is freed is overwritten, so that what uses it all the same does not go on by luck."""
    with Cluster(kafka, gateways=1, envs={0: {"MALLOC_PERTURB_": "165", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}}) as c:
        yield c


@contextlib.contextmanager
def control_db_held(gateway):
    """By another program: each write of the gateway waits for two seconds, then fails."""
    database = sqlite3.connect(gateway.state / "control.db", isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        database.execute("ROLLBACK")
        database.close()


def due_soon(gateway, name):
    document = {"opens_at": rfc3339(SECONDS_AHEAD), "skus": [{"sku": "phone", "stock": 5}]}
    assert gateway.admin("PUT", f"/admin/v1/sales/{name}", document).status == 201


def test_an_opening_that_another_log_interrupts_goes_on_when_redis_is_its_own_again(single):
    gateway = single[0]
    due_soon(gateway, "spring")
    with control_db_held(gateway):
        gateway.wait_log("sale_opening")
        single.redis.ask("SET", "ps:log", "topic theirs of Kafka cluster x")
        gateway.wait_log("redis_of_another_log")
    single.redis.ask("DEL", "ps:log")
    single.wait_open("spring", 30)
    assert single.sure_buy(gateway, "spring", "u").json["state"] == "accepted"
    single.wait_rest("spring")
    assert single.numbers("spring") == (4, 1, 0, 5)


def test_a_gateway_that_is_stopped_while_an_opening_is_noted_ends_well_and_opens_it_later(single):
    gateway = single[0]
    due_soon(gateway, "spring")
    with control_db_held(gateway):
        gateway.wait_log("sale_opening")
        assert gateway.stop() == 0
    gateway.spawn()
    single.wait_ready(gateway)
    single.wait_open("spring", 30)
    assert single.numbers("spring") == (5, 0, 0, 5)


def test_a_shared_rule_that_this_gateway_cannot_read_stays_as_it_is_here(single):
    """Written by a newer version: also after a restart, which asks for all that is shared."""
    gateway = single[0]
    rule = {"algorithm": "token_bucket", "key": "user", "rate": 1, "period_s": 10}
    assert gateway.admin("PUT", "/admin/v1/limits/mine", rule).status == 201
    assert gateway.admin("PUT", "/admin/v1/blocklist/users/mallory").status == 201
    before = gateway.read("/admin/v1/limits/mine").json
    top = int(single.redis.ask("ZREVRANGE", "ps:control:revs", "0", "0", "WITHSCORES").split()[-1])
    for entry, text in [("entry/rule/mine", '{"algorithm":"of tomorrow"}'), ("entry/user/mallory", '{"of":"tomorrow"}')]:
        top += 1
        single.redis.ask("HSET", "ps:control", entry, text)
        single.redis.ask("ZADD", "ps:control:revs", str(top), entry)
        wait_until(lambda: f'"document":"{entry}' in gateway.log_lines(), 20, what=f"a word about {entry}")
    assert gateway.stop() == 0
    gateway.spawn()
    single.wait_ready(gateway)
    assert gateway.read("/admin/v1/limits/mine").json == before
    assert gateway.read("/admin/v1/blocklist/users/mallory").json["user"] == "mallory"


def test_a_sale_whose_topic_was_made_anew_is_refused_by_name_and_keeps_no_gateway_from_starting(single, kafka):
    """F7."""
    gateway, sale = single[0], single.make_sale(stock=5)
    assert gateway.stop() == 0
    with contextlib.suppress(subprocess.CalledProcessError):
        kafka.tool("TopicCommand", "--delete", "--topic", single.topic)
    wait_until(lambda: single.topic not in kafka.tool("TopicCommand", "--list").split(), 30, what="the topic's end")
    kafka.topic(single.partitions, single.topic)
    gateway.spawn()
    single.wait_ready(gateway)
    assert "its beginning is lost" in gateway.sale(sale)["refused"] and "partition 0" in gateway.sale(sale)["refused"]
    assert gateway.buy(sale, "u").status == 503
