"""penstock --check-services: what is wrong with Redis, Kafka and the disk is said before a gateway is started on them."""
import json
import os

import pytest
from cluster import Redis
from penstock import Gateway, free_port, wait_until
from test_settings import run

WELL = ("--repl-backlog-ttl", "0")


@pytest.fixture
def check(tmp_path):
    """check(settings) -> exit status, the lines that were said."""
    def check(**settings):
        path = tmp_path / "penstock.json"
        path.write_text(json.dumps({"state_dir": str(tmp_path / "state"), **settings}))
        status, out, err = run("--config", path, "--check-services", timeout=60)
        assert err == "", err
        return status, out.splitlines()
    return check


@pytest.fixture
def redis(tmp_path):
    servers = []

    def start(*options, name="redis"):
        servers.append(Redis(tmp_path, name, options))
        return servers[-1].start()
    yield start
    for server in servers:
        server.end()


def counter(redis, login=""):
    return {"kind": "redis", "redis": {"url": f"redis://{login}127.0.0.1:{redis.port}/0"}}


def log(brokers, topic):
    return {"kind": "kafka", "kafka": {"brokers": brokers, "topic": topic}}


def test_a_gateway_alone_needs_its_disk_only(check, tmp_path):
    assert check() == (0, [f"state_dir {tmp_path}/state: well"])
    assert not (tmp_path / "state").exists()
    status, lines = check(state_dir=str(tmp_path / "no" / "state"))
    assert status == 1 and lines[0].startswith(f"state_dir {tmp_path}/no/state: refused: "), lines
    (tmp_path / "file").write_text("")
    assert check(state_dir=str(tmp_path / "file")) == (1, [f"state_dir {tmp_path}/file: refused: is not a directory"])


def test_it_may_be_asked_while_a_gateway_runs(tmp_path):
    with Gateway(tmp_path).start() as gateway:
        sale = gateway.make_sale(stock=2)
        assert run("--config", gateway.config, "--check-services")[0] == 0
        assert gateway.buy(sale, "ann").status == 202


def test_settings_with_a_fault_are_refused_as_by_the_check_of_the_file(tmp_path):
    (tmp_path / "bad.json").write_text('{"store": {"kind": "paper"}}')
    status, out, err = run("--config", tmp_path / "bad.json", "--check-services")
    assert (status, out) == (1, "") and "store.kind" in err


def test_a_redis_that_counts_is_well(check, redis):
    status, lines = check(store=counter(redis(*WELL)))
    assert status == 0 and lines[1].endswith(": well"), lines


def test_a_redis_that_will_change_its_name_is_warned_of(check, redis):
    status, lines = check(store=counter(redis()))
    assert status == 0 and ": well, but repl-backlog-ttl is 3600: " in lines[1], lines


@pytest.mark.parametrize("options, login, word", [
    (("--maxmemory-policy", "allkeys-lru"), "", "set noeviction"),
    (("--cluster-enabled", "yes"), "", "Redis Cluster"),
    (("--replicaof", "127.0.0.1 1"), "", "not a master"),
    (("--requirepass", "right"), ":wrong@", "WRONGPASS"),
    (("--requirepass", "right"), "", "NOAUTH")], ids=["evicts", "cluster", "replica", "wrong password", "no password"])
def test_a_redis_that_no_gateway_takes_is_refused_by_name(check, redis, options, login, word):
    """F25."""
    server = redis(*WELL, *options)
    status, lines = check(store=counter(server, login))
    assert status == 1 and f"redis 127.0.0.1:{server.port}: refused: " in lines[1] and word in lines[1], lines
    assert "wrong@" not in lines[1]


@pytest.mark.slow
def test_a_redis_that_is_not_there_is_away(check):
    port = free_port()
    status, lines = check(store={"kind": "redis", "redis": {"url": f"redis://127.0.0.1:{port}/0"}})
    assert status == 1 and lines[1].startswith(f"redis 127.0.0.1:{port}: away: "), lines


def test_a_gateway_on_a_redis_cluster_says_so(redis, tmp_path):
    """F25."""
    (tmp_path / "g").mkdir()
    gateway = Gateway(tmp_path / "g", settings={"store": counter(redis("--cluster-enabled", "yes"))})
    gateway.spawn()
    try:
        wait_until(lambda: "Redis Cluster" in gateway.log(), 30, what="the reason")
    finally:
        gateway.__exit__()


def test_a_topic_that_keeps_orders_is_well(check, kafka):
    status, lines = check(log=log(kafka.direct, kafka.topic(2)))
    assert status == 0 and f"kafka {kafka.direct}, topic " in lines[1] and ": well" in lines[1], lines


def test_a_topic_that_no_gateway_takes_is_refused_by_name(check, kafka):
    for topic, word in (("none-" + os.urandom(4).hex(), "no such topic"), (kafka.bad_topic(2, "cleanup.policy=compact"), "cleanup.policy")):
        status, lines = check(log=log(kafka.direct, topic))
        assert status == 1 and ": refused: " in lines[1] and word in lines[1], lines


@pytest.mark.slow
def test_each_service_is_said_although_another_is_away(check, redis, kafka):
    brokers = f"127.0.0.1:{free_port()}"
    status, lines = check(store=counter(redis(*WELL)), log=log(brokers, "orders"))
    assert status == 1 and len(lines) == 3, lines
    assert lines[1].endswith(": well") and lines[2].startswith(f"kafka {brokers}, topic orders: away: "), lines
