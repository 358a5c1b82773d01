"""What a cluster finds at its places and is not its own: keys, settings, files. Each is named, with what to do about it, and left as it is; nothing is lost,
and when it is out of the way all goes on. (Topics: test_cluster_kafka.py; passwords and URLs: test_cluster_control.py.)"""
import contextlib
import fcntl
import json
import sqlite3
import time

import pytest
from cluster import Cluster, Redis
from penstock import seeds, wait_until
from test_cluster_kill import spill_at
from proxy import WELL

STOCK = 50


@pytest.fixture(scope="module")
def cluster(kafka):
    """Two gateways; each test leaves them well."""
    with Cluster(kafka, gateways=2) as c:
        yield c


def wait_word(gateway, *words, since=0):
    """Until one line of the log has all of them."""
    def said():
        return any(all(word in line for word in words) for line in gateway.log_lines()[since:].splitlines())

    try:
        wait_until(said, 40, what=f"a line with {words}")
    except AssertionError as fault:
        raise AssertionError(f"{fault}\n{gateway.log_lines()[since:][-3000:]}") from None


def marks(cluster):
    return {gateway: len(gateway.log_lines()) for gateway in cluster.gateways}


@contextlib.contextmanager
def foreign(redis, key, kind="string"):
    """Somebody else's key in the place of ours, which comes back afterwards."""
    kept, put = key + ":kept", {"string": "SET", "list": "RPUSH"}[kind]
    exchange = "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('RENAME', KEYS[1], KEYS[2]) end return redis.call(ARGV[1], KEYS[1], 'foreign')"
    redis.ask("EVAL", exchange, 2, key, kept, put)
    try:
        yield
        assert redis.ask("TYPE", key) == kind, "it was written over"
    finally:
        redis.ask("EVAL", "redis.call('DEL', KEYS[1]) if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('RENAME', KEYS[2], KEYS[1]) end", 2, key, kept)


def exact(cluster, sale, held):
    cluster.wait_rest(sale)
    assert cluster.numbers(sale) == (STOCK - held, held, 0, STOCK)


# --- keys in Redis ---


@pytest.mark.parametrize("name", ["stock", "doubt", "order", "idem", "adjust", "applied"])
def test_a_foreign_key_of_a_sales_counter_is_named_and_left_alone(cluster, name):
    """Nothing is counted wrong: no order is made of it; moved away, all goes on. (`user`: test_cluster_control.py.)"""
    sale = cluster.make_sale(stock=STOCK)
    assert cluster.sure_buy(cluster[0], sale, "u", key="k").status == 202
    exact(cluster, sale, 1)
    epoch = cluster.redis.ask("HGET", f"ps:{{{sale}}}:current", "epoch")
    key, before = f"ps:{{{sale}}}:{epoch}:{name}", marks(cluster)
    with foreign(cluster.redis, key):
        for gateway in cluster.gateways:
            assert gateway.buy(sale, "v", key=f"v{gateway.index}").status == 503
            wait_word(gateway, key, "string", since=before[gateway])
    for gateway in cluster.gateways:
        assert cluster.sure_buy(gateway, sale, f"w{gateway.index}").status == 202
    exact(cluster, sale, 3)


def test_a_foreign_key_that_says_which_epoch_is_installed_is_named(cluster):
    sale = cluster.make_sale(stock=STOCK)
    assert cluster.sure_buy(cluster[0], sale, "u").status == 202
    exact(cluster, sale, 1)
    key, before = f"ps:{{{sale}}}:current", marks(cluster)
    with foreign(cluster.redis, key):
        for gateway in cluster.gateways:
            assert gateway.buy(sale, "v").status == 503
            wait_word(gateway, key, "string", f"127.0.0.1:{cluster.redis_ports[gateway.index]}", since=before[gateway])
        time.sleep(2)
    for gateway in cluster.gateways:
        assert cluster.sure_buy(gateway, sale, f"w{gateway.index}").status == 202
    exact(cluster, sale, 3)


@pytest.mark.parametrize("kind,key", [("string", "ps:gateways"), ("list", "ps:gateways"), ("string", "ps:leader"), ("list", "ps:leader"), ("list", "ps:log")])
def test_a_foreign_key_of_the_cluster_is_named_and_no_order_is_lost(cluster, key, kind):
    sale, before = cluster.make_sale(stock=STOCK), marks(cluster)
    with foreign(cluster.redis, key, kind):
        for gateway in cluster.gateways:
            assert cluster.sure_buy(gateway, sale, f"u{gateway.index}").status == 202
            wait_word(gateway, key, "Redis", since=before[gateway])
    exact(cluster, sale, 2)


@pytest.mark.parametrize("key", ["ps:gateways", "ps:control"])
def test_a_gateway_that_starts_before_a_foreign_key_waits_and_says_so(cluster, key):
    sale = cluster.make_sale(stock=STOCK)
    gateway = cluster[1]
    assert gateway.stop() == 0
    before = marks(cluster)
    with foreign(cluster.redis, key):
        gateway.spawn()
        wait_word(gateway, key, since=before[gateway])
        assert gateway.alive and not gateway.ready()
        assert cluster.sure_buy(cluster[0], sale, "u").status == 202
    cluster.wait_ready(gateway)
    assert cluster.sure_buy(gateway, sale, "v").status == 202
    exact(cluster, sale, 2)


def test_an_operators_change_over_a_foreign_key_is_refused_with_its_name(cluster):
    sale = cluster.make_sale(stock=STOCK)
    with foreign(cluster.redis, "ps:control"):
        answer = cluster[0].admin("POST", f"/admin/v1/sales/{sale}/pause", {"reason": "test"}, timeout=30)
        assert answer.status == 503 and "ps:control" in answer.text, answer
    assert {gateway.sale(sale)["state"] for gateway in cluster.gateways} == {"open"}


def counts_for(cluster):
    return cluster.redis.ask("GET", "ps:log")


def test_a_gateway_of_another_topic_does_nothing_in_a_redis_that_has_one(cluster):
    """It says which topics, which key and what to do; sales, members and limits are not shared; a Redis that forgets stays its cluster's."""
    sale = cluster.make_sale(stock=STOCK)
    assert counts_for(cluster).startswith(f"topic {cluster.topic} of Kafka cluster ")
    topic, members = cluster.kafka.topic(), cluster.redis.ask("HLEN", "ps:gateways")
    stranger = cluster.stranger({"log": {"kafka": {"topic": topic}}}).spawn()
    wait_word(stranger, "redis_of_another_log", f"topic {topic} ", f"topic {cluster.topic} ", "ps:log", "store.redis.url")
    assert stranger.public("GET", "/readyz?verbose").text.count("[-]store failed") == 1
    assert cluster.redis.ask("HLEN", "ps:gateways") == members
    cluster.redis.ask("FLUSHALL")
    for gateway in cluster.gateways:
        assert cluster.sure_buy(gateway, sale, f"u{gateway.index}").status == 202
    exact(cluster, sale, 2)
    assert counts_for(cluster).startswith(f"topic {cluster.topic} ")
    assert stranger.alive and not stranger.ready()
    assert stranger.admin("GET", f"/admin/v1/sales/{sale}").status == 404
    answer = stranger.admin("PUT", "/admin/v1/sales/other", {"opens_at": "2030-01-01T00:00:00Z", "skus": [{"sku": "phone", "stock": 1}]})
    assert answer.status == 503 and "is used for another order log" in answer.text, answer
    stranger.kill()


def test_a_gateway_that_learns_of_another_log_stops_until_redis_is_its_own_again(cluster):
    sale, before = cluster.make_sale(stock=STOCK), marks(cluster)
    assert cluster.sure_buy(cluster[0], sale, "u").status == 202
    answers = []

    def says_no(gateway):
        answers.append(gateway.buy(sale, f"v{len(answers)}"))
        return answers[-1].status == 503

    cluster.redis.ask("SET", "ps:log", "topic theirs of Kafka cluster x")
    for gateway in cluster.gateways:
        wait_word(gateway, "redis_of_another_log", "topic theirs", since=before[gateway])
        wait_word(gateway, "sale_fenced", sale, "Redis counts for another log", since=before[gateway])
        wait_until(lambda: says_no(gateway), 20, 0.1, "no more buys")
    cluster.redis.ask("DEL", "ps:log")
    for gateway in cluster.gateways:
        assert cluster.sure_buy(gateway, sale, f"w{gateway.index}").status == 202
    exact(cluster, sale, 3 + sum(answer.status == 202 for answer in answers))
    assert counts_for(cluster).startswith(f"topic {cluster.topic} ")


def test_a_redis_from_before_the_key_of_the_log_is_taken_up_as_it_is(cluster):
    """An upgrade: gateways that run set it, and so do those that start; nothing is built again."""
    sale = cluster.make_sale(stock=STOCK)
    assert cluster.sure_buy(cluster[0], sale, "u").status == 202
    exact(cluster, sale, 1)
    epoch = cluster.redis.ask("HGET", f"ps:{{{sale}}}:current", "epoch")
    for gateway in cluster.gateways:
        assert gateway.stop() == 0
    cluster.redis.ask("DEL", "ps:log")
    cluster.start_gateways()
    cluster.wait_open(sale)
    for gateway in cluster.gateways:
        assert cluster.sure_buy(gateway, sale, f"v{gateway.index}").status == 202
    exact(cluster, sale, 3)
    assert cluster.redis.ask("HGET", f"ps:{{{sale}}}:current", "epoch") == epoch
    assert counts_for(cluster).startswith(f"topic {cluster.topic} ")


# --- servers ---


def test_a_second_cluster_over_the_same_topic_sells_nothing_of_the_firsts_sale(cluster):
    """F22: a staging system with production's brokers, a Redis of its own and a seed of the live sale's name."""
    sale = cluster.make_sale(stock=STOCK)
    assert cluster.sure_buy(cluster[0], sale, "ann").status == 202
    epoch = cluster.epoch(sale)
    other = cluster.add(Redis(cluster.directory, "other-redis").start())
    stranger = cluster.stranger({"store": {"redis": {"url": f"redis://127.0.0.1:{other.port}/0"}},
                                 "seed": seeds({"sales": {sale: {"opens_at": "2026-01-01T00:00:00Z", "skus": [{"sku": "phone", "stock": STOCK}]}}})}).spawn()
    wait_word(stranger, "sale_refused", sale, "opened by another cluster")
    assert stranger.buy(sale, "bob").status in (404, 503)
    assert other.ask("HGET", f"ps:{{{sale}}}:current", "epoch") == ""
    assert cluster.epoch(sale) == epoch
    assert cluster.sure_buy(cluster[1], sale, "carl").status == 202
    exact(cluster, sale, 2)
    stranger.kill()
    stranger.spawn()  # nor after a restart
    wait_word(stranger, "sale_refused", sale, "opened by another cluster", since=0)
    wait_until(lambda: stranger.log_lines().count("opened by another cluster") >= 2, 60, what="the second refusal")
    assert cluster.epoch(sale) == epoch
    stranger.kill()


def test_a_record_with_an_epoch_that_no_gateway_chooses_costs_its_sale_alone(cluster):
    """F23: sales of the same topic are opened and sold, also after a restart of all."""
    sale, other = cluster.make_sale(stock=STOCK), cluster.make_sale(stock=STOCK)
    cluster.kafka.put(cluster.topic, json.dumps({"type": "penstock.sale.fenced.v1", "sale": sale, "epoch": 2**53 - 1, "gateway": "mallory",
                                                 "partitions": 4, "first": False, "at": "2026-01-01T00:00:00.000Z"}))
    for gateway in cluster.gateways:
        wait_word(gateway, "sale_refused", sale, "mallory", str(2**53 - 1))
    assert cluster.sure_buy(cluster[0], other, "ann").status == 202
    for gateway in cluster.gateways:
        gateway.kill()
    cluster.redis.ask("FLUSHALL")
    cluster.start_gateways()
    assert cluster.sure_buy(cluster[1], other, "bob").status == 202
    assert cluster.sure_buy(cluster[0], cluster.make_sale(stock=STOCK), "carl").status == 202


def test_a_redis_that_cannot_be_reached_is_named(cluster):
    stranger = cluster.stranger({"store": {"redis": {"url": "redis://127.0.0.1:1/0"}}}).spawn()
    wait_word(stranger, "store_unavailable", "127.0.0.1:1")
    assert stranger.public("GET", "/readyz?verbose").text.count("[-]store failed") == 1
    stranger.kill()


def test_a_password_that_kafka_does_not_ask_for_is_told(cluster):
    """SASL against a listener without it."""
    stranger = cluster.stranger({"log": {"kafka": {"properties": {
        "security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN", "sasl.username": "penstock", "sasl.password": "hidden"}}}}).spawn()
    wait_word(stranger, "log_unavailable", cluster.kafka.brokers(0), "SASL PLAIN mechanism handshake failed")
    assert "hidden" not in stranger.log_lines()
    assert not stranger.alive or not stranger.ready()
    if stranger.alive:
        stranger.kill()


def refusal(gateway):
    assert gateway.process.wait(60) == 1, gateway.log()
    return gateway.log()


@pytest.mark.parametrize("properties,words", [
    ({"sasl.mechanism": "NONSENSE", "security.protocol": "sasl_plaintext"}, ["SASL mechanism", "NONSENSE"]),
    ({"security.protocol": "shouted"}, ["security.protocol", "shouted"]),
    ({"enable.idempotence": "false"}, ["enable.idempotence", "sets this itself"]),
])
def test_properties_that_kafkas_client_does_not_take_are_refused_by_name(cluster, properties, words):
    said = refusal(cluster.stranger({"log": {"kafka": {"properties": properties}}}).spawn())
    assert all(word in said for word in words), said


# --- the spill's file ---


def spoil_newer(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        version, = db.execute("PRAGMA user_version").fetchone()
        db.execute(f"PRAGMA user_version = {version + 1}")
        db.commit()

    def heal():
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute(f"PRAGMA user_version = {version}")
            db.commit()

    return heal


def spoil_torn(path):
    whole = path.read_bytes()
    path.write_bytes(b"torn" * 1024 + whole[4096:])
    return lambda: path.write_bytes(whole)


def spoil_held(path):
    lock = open(f"{path}.lock", "a")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock.close


@pytest.mark.parametrize("spoil,words", [(spoil_newer, ["format", "newer program"]), (spoil_torn, ["spill.db", "aside"]),
                                         (spoil_held, ["spill.db.lock", "another process"])])
def test_a_spill_that_cannot_be_used_is_refused_and_its_orders_are_kept(cluster, spoil, words):
    """Exit 1 with the file's name; when it is right again its orders are accepted."""
    sale, gateway = cluster.make_sale(stock=STOCK), cluster[1]
    ids = spill_at(gateway, sale, 3, f"spill-{sale}")
    time.sleep(3)  # what was on its way to Kafka is decided
    ids = [gateway.buy(sale, f"t{i}", timeout=20).json["order_id"] for i in range(3)]
    gateway.kill()
    gateway.kafka_route(WELL)
    with contextlib.closing(sqlite3.connect(gateway.state / "spill.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    heal = spoil(gateway.state / "spill.db")
    before, kept = len(gateway.log_lines()), (gateway.state / "spill.db").read_bytes()
    gateway.spawn()
    assert gateway.process.wait(60) == 1, gateway.log()
    said = gateway.log_lines()[before:]
    assert all(word in said for word in words), said
    assert (gateway.state / "spill.db").read_bytes() == kept
    heal()
    cluster.restart(gateway)

    def accepted():
        answers = [gateway.admin("GET", f"/admin/v1/orders/{order_id}") for order_id in ids]
        return all(answer.status == 200 and answer.json["state"] == "accepted" for answer in answers)

    wait_until(accepted, 60, 0.2, "the drain")
    cluster.wait_rest(sale)
