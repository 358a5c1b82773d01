"""Endpoints that a pool's document does not name itself: from a file, from DNS, and by registration."""
import itertools
import json
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cluster import PATIENT, Cluster, allowed_s
from dns import Dns
from faults import in_memory
from pages import PATIENT_ROUTE
from penstock import ANY_VERSION, Gateway, call, wait_until
from upstreams import Upstream

names = (f"pool{n}" for n in itertools.count())


@pytest.fixture(scope="module")
def dns():
    with Dns() as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of the files that pools may name."""
    return tmp_path_factory.mktemp("pools")


@pytest.fixture(scope="module")
def gateway(dns, folder):
    with Gateway(settings={"upstream": {"dns_servers": [dns.address], "endpoint_dir": str(folder)}}) as g:
        yield g


@pytest.fixture()
def shops():
    """Four servers that say which one they are."""
    started = [Upstream({"/": str(n)}) for n in range(4)]
    for n, shop in enumerate(started):
        shop.serve = lambda request, n=n: str(n)
        shop.__enter__()
    yield started
    for shop in started:
        shop.__exit__(None, None, None)


def put_pool(gateway, discovery, endpoints=(), **more):
    pool = next(names)
    answer = gateway.admin("PUT", f"/admin/v1/pools/{pool}", {"discovery": discovery, "endpoints": list(endpoints), "panic_share": 0, **more})
    assert answer.status == 201, answer
    answer = gateway.admin("PUT", f"/admin/v1/routes/{pool}", {"path": f"/{pool}/", "pool": pool, **PATIENT_ROUTE})
    assert answer.status == 201, answer
    return pool


def who(gateway, pool, count=12):
    """Which servers answer; None for a refusal."""
    answers = [gateway.public("GET", f"/{pool}/") for _ in range(count)]
    return {int(answer.text) if answer.status == 200 else None for answer in answers}


def wait_who(gateway, pool, wanted, timeout=30.0):
    wait_until(lambda: who(gateway, pool) == set(wanted), timeout, what=f"answers of {wanted}")


def discovered(gateway, pool):
    return gateway.admin("GET", f"/admin/v1/pools/{pool}").json["discovered"]


def replace(path, document):
    other = path.with_suffix(".new")
    other.write_text(document if isinstance(document, str) else json.dumps(document))
    os.rename(other, path)


def endpoint(pool, shop):
    return f"/admin/v1/pools/{pool}/endpoints/{shop.address}"


def register(gateway, pool, shop, status=201, token=None, **body):
    answer = gateway.admin("PUT", endpoint(pool, shop), body, token=token)
    assert answer.status == status, answer
    return answer


def audit(gateway):
    return gateway.admin("GET", "/admin/v1/audit-log?after=0&limit=1000").lines()


# --- files ---


def test_a_replaced_file_is_in_force_within_a_second(gateway, shops, folder):
    path = folder / "endpoints.json"
    replace(path, [{"address": shops[0].address}])
    pool = put_pool(gateway, {"file": path.name}, [{"address": shops[3].address}])
    wait_who(gateway, pool, {0, 3})
    took_s = []
    for _ in range(3):
        for wanted in ({0, 1}, {0, 1, 2}):
            replace(path, {"endpoints": [{"address": shops[n].address, "zone": "of an older version"} for n in wanted]})
            began = time.monotonic()
            wait_who(gateway, pool, wanted | {3})  # the document's own is always there
            took_s.append(time.monotonic() - began)
    assert statistics.median(took_s) < allowed_s(1), took_s
    why = None
    for bad in ("{", "[]", [{"address": "shop"}], [{"address": "192.0.2.1:80"}]):
        replace(path, bad)
        wait_until(lambda: discovered(gateway, pool)["why"] not in (None, why), what=f"the look at {bad}")
        assert who(gateway, pool) == {0, 1, 2, 3}, bad
        shown = discovered(gateway, pool)
        assert (shown["source"], shown["state"], shown["endpoints"]) == ("file", "failed", 3), shown
        why = shown["why"]
    gateway.wait_log("discovery_failed")


def test_a_list_that_shrinks_is_held_until_the_document_changes(gateway, shops, folder):
    path = folder / "endpoints.json"
    replace(path, [{"address": shop.address} for shop in shops])
    pool = put_pool(gateway, {"file": path.name})
    wait_who(gateway, pool, {0, 1, 2, 3})
    replace(path, [{"address": shops[0].address}])
    wait_until(lambda: discovered(gateway, pool)["state"] == "held", what="the state held")
    assert discovered(gateway, pool)["why"].startswith("1 of 4 endpoints are left") and discovered(gateway, pool)["endpoints"] == 4
    gateway.wait_log("discovery_held")
    assert who(gateway, pool, 20) == {0, 1, 2, 3}
    answer = gateway.admin("PATCH", f"/admin/v1/pools/{pool}", {"discovery": {"shrink_share_min": 0}}, ANY_VERSION)
    assert answer.status == 200, answer
    wait_who(gateway, pool, {0})
    assert discovered(gateway, pool)["state"] == "ok"


def metrics(gateway, pool, source):
    """Its state, when it last said what is in force, and how often it failed."""
    states = [state for state in ("waiting", "ok", "failed", "held") if gateway.metric(f'penstock_discovery_state{{pool="{pool}",source="{source}",state="{state}"}}')]
    return states, *(gateway.metric(f'penstock_discovery_{name}{{pool="{pool}",source="{source}"}}') for name in ("success_time_seconds", "failures_total"))


def test_metrics_tell_the_state_of_a_discovery_by_pool_and_source(gateway, shops, folder):
    path = folder / "list.json"
    pool = put_pool(gateway, {"file": path.name})
    wait_until(lambda: metrics(gateway, pool, "file")[0] == ["failed"], what="its failure")
    states, success, failures = metrics(gateway, pool, "file")
    assert success == 0 and failures >= 1
    wait_until(lambda: metrics(gateway, pool, "file")[2] > failures, what="another look")  # each one counts
    began = time.time()
    replace(path, [{"address": shop.address} for shop in shops])
    wait_until(lambda: metrics(gateway, pool, "file")[0] == ["ok"], what="its list")
    _, first, failures = metrics(gateway, pool, "file")
    assert began - 0.01 <= first <= time.time()
    wait_until(lambda: metrics(gateway, pool, "file")[1] > first, what="another look")  # also at what has not changed
    replace(path, [{"address": shops[0].address}])
    wait_until(lambda: metrics(gateway, pool, "file")[0] == ["held"], what="its shorter list")
    _, last, again = metrics(gateway, pool, "file")
    time.sleep(1.5)
    assert metrics(gateway, pool, "file")[1:] == (last, failures) and again == failures  # neither good nor failed
    assert gateway.admin("PATCH", f"/admin/v1/pools/{pool}", {"discovery": {"file": None, "registration": True}}, ANY_VERSION).status == 200
    assert "waiting" in metrics(gateway, pool, "registration")[0] or "ok" in metrics(gateway, pool, "registration")[0]
    text = call(gateway.admin_port, "GET", "/metrics").text
    assert f'penstock_discovery_state{{pool="{pool}",source="file"' not in text  # one source at a time
    assert gateway.admin("PUT", "/admin/v1/pools/named", {"endpoints": [{"address": shops[0].address}]}).status == 201
    assert 'penstock_discovery_state{pool="named"' not in call(gateway.admin_port, "GET", "/metrics").text


# --- DNS ---


def test_answers_of_dns_are_followed_by_their_ttl(gateway, dns, shops):
    port = shops[0].port
    with Upstream(lambda request: "9", port=port, host="127.0.0.2"):
        dns.table[("ttl.test", "A")] = [(1, "127.0.0.1")]
        pool = put_pool(gateway, {"dns": "ttl.test", "port": port})
        wait_who(gateway, pool, {0})
        dns.table[("ttl.test", "A")] = [(1, "127.0.0.1"), (1, "127.0.0.2")]
        wait_who(gateway, pool, {0, 9}, 10)
        dns.table[("ttl.test", "A")] = [(3600, "127.0.0.2")]
        wait_who(gateway, pool, {9}, 10)
        dns.table[("ttl.test", "A")] = [(1, "127.0.0.1")]
        time.sleep(1.5)
        assert who(gateway, pool) == {9}  # for an hour


def test_srv_records_name_ports_and_weights(gateway, dns, shops):
    dns.table[("_http._tcp.srv.test", "SRV")] = [(60, (1, 30, shops[0].port, "a.srv.test")), (60, (1, 10, shops[1].port, "a.srv.test")),
                                                 (60, (2, 10, shops[2].port, "a.srv.test"))]
    dns.table[("a.srv.test", "A")] = [(60, "127.0.0.1")]
    pool = put_pool(gateway, {"srv": "_http._tcp.srv.test"}, algorithm="weighted_round_robin")
    wait_who(gateway, pool, {0, 1})
    served = [gateway.public("GET", f"/{pool}/").text for _ in range(40)]
    assert {name: served.count(name) for name in "01"} in ({"0": n, "1": 40 - n} for n in range(28, 33))


def test_the_last_list_stays_while_dns_is_dead(gateway, dns, shops):
    dns.table[("dead.test", "A")] = [(1, "127.0.0.1")]
    pool = put_pool(gateway, {"dns": "dead.test", "port": shops[0].port})
    wait_who(gateway, pool, {0})
    dns.dead = True
    try:
        wait_until(lambda: f'"pool":"{pool}","source":"dns","why":"A of dead.test: no DNS server answers in time"' in gateway.log(), 20,
                   what="a failure in the log")
        assert who(gateway, pool) == {0}
    finally:
        dns.dead = False
    dns.table[("dead.test", "A")] = []
    time.sleep(1.5)
    assert who(gateway, pool) == {0}


# --- registration ---


def test_a_registered_endpoint_is_in_force_when_it_is_answered_and_goes_without_heart_beats(gateway, shops):
    pool = put_pool(gateway, {"registration": True})
    assert who(gateway, pool) == {None}
    answer = register(gateway, pool, shops[0], ttl_s=60)
    assert answer.headers["location"] == endpoint(pool, shops[0])
    assert {k: answer.json[k] for k in ("pool", "address", "ttl_s", "weight", "by")} == {
        "pool": pool, "address": shops[0].address, "ttl_s": 60, "weight": 1, "by": "first"}
    assert who(gateway, pool) == {0}
    register(gateway, pool, shops[1], ttl_s=2)
    assert who(gateway, pool) == {0, 1}
    end = time.monotonic() + 4  # longer than one and a half TTL
    while time.monotonic() < end:
        last = time.monotonic()
        register(gateway, pool, shops[1], 200, ttl_s=2)
        assert who(gateway, pool) == {0, 1}
        time.sleep(0.2)
    wait_who(gateway, pool, {0})
    assert time.monotonic() - last >= 1.9
    assert gateway.admin("GET", endpoint(pool, shops[1])).status == 404
    listed = gateway.admin("GET", f"/admin/v1/pools/{pool}/endpoints").json["endpoints"]
    assert [e["address"] for e in listed] == [shops[0].address]

    def about():
        return [line["action"] for line in audit(gateway) if line["target"].endswith(f"{pool}/{shops[1].address}")]

    wait_until(lambda: about() == ["endpoint.register", "endpoint.expire"], what="the line of its end")


def test_who_leaves_is_out_at_once_and_may_come_back(gateway, shops):
    pool = put_pool(gateway, {"registration": True})
    for shop in shops[:3]:
        register(gateway, pool, shop)
    assert who(gateway, pool) == {0, 1, 2}
    for shop in shops[:2]:
        assert gateway.admin("DELETE", endpoint(pool, shop)).status == 204
        assert gateway.admin("DELETE", endpoint(pool, shop)).status == 404
    assert who(gateway, pool) == {2}
    register(gateway, pool, shops[0])
    assert who(gateway, pool) == {0, 2}
    about = [line["action"] for line in audit(gateway) if line["target"].endswith(f"{pool}/{shops[0].address}")]
    assert about == ["endpoint.register", "endpoint.leave", "endpoint.register"]


def test_another_weight_is_in_force_when_it_is_answered(gateway, shops):
    pool = put_pool(gateway, {"registration": True}, algorithm="weighted_round_robin")
    register(gateway, pool, shops[0])
    register(gateway, pool, shops[1])
    assert register(gateway, pool, shops[1], 200, weight=0).json["weight"] == 0
    assert who(gateway, pool) == {0}


def registrar(gateway, *pools):
    """A token that may register in these pools: its document, with the secret."""
    made = gateway.admin("POST", "/admin/v1/tokens", {"role": "registrar", "note": "the orchestrator", "pools": list(pools)})
    assert made.status == 201, made
    return made.json


def test_a_registrar_may_register_and_nothing_else(gateway, shops):
    pool = put_pool(gateway, {"registration": True})
    made = registrar(gateway, pool)
    token = made["token"]
    answer = register(gateway, pool, shops[0], token=token)
    assert answer.json["by"] == made["id"]
    register(gateway, pool, shops[0], 200, token=token)
    assert gateway.admin("GET", f"/admin/v1/pools/{pool}/endpoints", token=token).json["endpoints"][0]["address"] == shops[0].address
    assert gateway.admin("GET", endpoint(pool, shops[0]), token=token).status == 200
    for method, path in (("GET", f"/admin/v1/pools/{pool}"), ("GET", "/admin/v1/pools"), ("GET", "/admin/v1/settings"), ("GET", "/metrics"),
                         ("PUT", f"/admin/v1/pools/{pool}"), ("POST", "/admin/v1/drain"), ("GET", "/admin/v1/audit-log")):
        answer = gateway.admin(method, path, {} if method != "GET" else None, token=token)
        assert answer.status == (200 if path == "/metrics" else 403), (path, answer)
    assert gateway.admin("DELETE", endpoint(pool, shops[0]), token=token).status == 204
    made = gateway.admin("POST", "/admin/v1/tokens", {"role": "viewer"})
    assert gateway.admin("PUT", endpoint(pool, shops[0]), {}, token=made.json["token"]).status == 403
    assert gateway.admin("GET", f"/admin/v1/pools/{pool}/endpoints", token=made.json["token"]).status == 200


def test_a_registrar_has_the_pools_of_its_token_alone(gateway, shops):
    mine, also, other = (put_pool(gateway, {"registration": True}) for _ in range(3))
    made = registrar(gateway, mine, also)
    register(gateway, mine, shops[0], token=made["token"])
    register(gateway, also, shops[0], token=made["token"])
    register(gateway, other, shops[1])
    for pool in (other, "nowhere"):  # whether it is there is not for it to know
        for method, path in (("PUT", endpoint(pool, shops[1])), ("PUT", endpoint(pool, shops[2])), ("DELETE", endpoint(pool, shops[1])),
                             ("GET", endpoint(pool, shops[1])), ("GET", f"/admin/v1/pools/{pool}/endpoints")):
            answer = gateway.admin(method, path, {} if method == "PUT" else None, token=made["token"])
            assert (answer.status, answer.code) == (403, "forbidden") and pool in answer.json["detail"], (path, answer)
    assert [e["address"] for e in gateway.admin("GET", f"/admin/v1/pools/{other}/endpoints").json["endpoints"]] == [shops[1].address]


def test_a_registrar_has_its_own_endpoints_alone(gateway, shops):
    pool = put_pool(gateway, {"registration": True}, algorithm="weighted_round_robin")
    one, two = registrar(gateway, pool), registrar(gateway, pool)
    register(gateway, pool, shops[0], token=one["token"])
    for body in ({}, {"weight": 2}):
        answer = register(gateway, pool, shops[0], 403, token=two["token"], **body)
        assert answer.code == "forbidden" and shops[0].address in answer.json["detail"], answer
    assert gateway.admin("DELETE", endpoint(pool, shops[0]), token=two["token"]).status == 403
    assert gateway.admin("GET", endpoint(pool, shops[0]), token=two["token"]).json["by"] == one["id"]
    register(gateway, pool, shops[0], 200, weight=3)  # an operator may, and it stays the registrar's
    assert register(gateway, pool, shops[0], 200, token=one["token"], weight=3).json["by"] == one["id"]
    assert gateway.stop() == 0
    gateway.start()
    assert gateway.admin("DELETE", endpoint(pool, shops[0]), token=two["token"]).status == 403
    register(gateway, pool, shops[0], 200, token=one["token"], weight=3)
    assert gateway.admin("DELETE", endpoint(pool, shops[0])).status == 204  # an operator may remove any
    register(gateway, pool, shops[0], token=two["token"])  # who has left is nobody's
    assert gateway.admin("DELETE", endpoint(pool, shops[0]), token=two["token"]).status == 204
    register(gateway, pool, shops[1])
    assert gateway.admin("DELETE", endpoint(pool, shops[1]), token=one["token"]).status == 403


def test_a_registrar_from_before_pools_registers_nowhere(shops):
    """Its token is of a version whose tokens named no pools."""
    with Gateway() as gateway:
        pool = put_pool(gateway, {"registration": True})
        made = registrar(gateway, pool)
        assert gateway.stop() == 0
        path = gateway.state / "tokens.json"
        document = json.loads(path.read_text())
        old = next(token for token in document["tokens"] if token["id"] == made["id"])
        del old["pools"]
        path.write_text(json.dumps(document))
        gateway.start()
        answer = register(gateway, pool, shops[0], 403, token=made["token"])
        assert pool in answer.json["detail"] and "pools" in answer.json["detail"], answer
        listed = {token["id"]: token for token in gateway.admin("GET", "/admin/v1/tokens").json["tokens"]}
        assert listed[made["id"]]["pools"] == [] and "pools" not in listed["first"]
        gateway.wait_log("registrar_without_pools", made["id"])
        register(gateway, pool, shops[0])


@pytest.mark.parametrize("address, body, status, pointer", [
    ("127.0.0.1", {}, 422, "/address"), ("shop:80", {}, 422, "/address"), ("127.0.0.1:0", {}, 422, "/address"),
    ("192.0.2.1:80", {}, 422, "/address"), ("169.254.169.254:80", {}, 422, "/address"),
    ("127.0.0.1:80", {"ttl_s": 0}, 422, "/ttl_s"), ("127.0.0.1:80", {"ttl_s": 3601}, 422, "/ttl_s"), ("127.0.0.1:80", {"ttl_s": "15"}, 422, "/ttl_s"),
    ("127.0.0.1:80", {"weight": -1}, 422, "/weight"), ("127.0.0.1:80", {"zone": "east"}, 422, "/zone"),
    ("127.0.0.1:80", {"tll_s": 1}, 422, "/tll_s"),
    ("127.0.0.1:80", [], 422, ""), ("127.0.0.1:80", "{", 400, None)])
def test_bad_registrations_are_refused_by_name(gateway, address, body, status, pointer):
    pool = put_pool(gateway, {"registration": True})
    answer = gateway.admin("PUT", f"/admin/v1/pools/{pool}/endpoints/{address}", body, {"Content-Type": "application/json"})
    assert answer.status == status, answer
    if pointer is not None:
        assert answer.json.get("pointer", "") == pointer, answer
    assert gateway.admin("GET", f"/admin/v1/pools/{pool}/endpoints").json["endpoints"] == []


def test_only_pools_with_registration_take_registrations(gateway, shops):
    assert register(gateway, "nowhere", shops[0], 404).code == "not_found"
    answer = gateway.admin("PUT", "/admin/v1/pools/fixed", {"endpoints": [{"address": shops[0].address}]})
    assert answer.status == 201, answer
    answer = register(gateway, "fixed", shops[1], 409)
    assert "registration" in answer.json["detail"]
    assert gateway.admin("GET", "/admin/v1/pools/fixed/endpoints").json["endpoints"] == []


def test_registrations_outlive_a_restart_and_end_while_the_gateway_is_down(shops):
    with Gateway() as gateway:
        pool = put_pool(gateway, {"registration": True})
        register(gateway, pool, shops[0], ttl_s=60)
        register(gateway, pool, shops[1], ttl_s=1)
        assert gateway.stop() == 0
        time.sleep(1.6)
        gateway.start()
        wait_who(gateway, pool, {0})
        assert [e["address"] for e in gateway.admin("GET", f"/admin/v1/pools/{pool}/endpoints").json["endpoints"]] == [shops[0].address]


@pytest.mark.slow
def test_five_hundred_endpoints_cost_one_change_a_second():
    """Two pools of 250 with a TTL of 15 s, whose heartbeats come each 5 s: they are written once a second at most, and the audit log has none."""
    def beat(which):
        for pool, address in which:
            answer = gateway.admin("PUT", f"/admin/v1/pools/{pool}/endpoints/{address}", {"ttl_s": 15})
            assert answer.status in (200, 201), answer

    def beat_all():
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(beat, [addresses[n::4] for n in range(4)]))

    with in_memory() as directory, Gateway(directory) as gateway:  # where nothing else is registered, and no slow disk lets one end
        pools = [put_pool(gateway, {"registration": True}) for _ in range(2)]
        addresses = [(pool, f"127.0.1.{n}:9") for pool in pools for n in range(250)]
        beat_all()
        lines, revision = lines_about(gateway, pools), store_revision(gateway)
        began = time.monotonic()
        while time.monotonic() < began + 10.5:
            at = time.monotonic()
            beat_all()
            time.sleep(max(0.0, min(at + 5, began + 12) - time.monotonic()))
        changes, took = store_revision(gateway) - revision, time.monotonic() - began
        print(f"{changes} changes in {took:.1f} s")
        assert 1 <= changes <= took + 1
        assert lines_about(gateway, pools) == lines
        for pool in pools:
            assert len(gateway.admin("GET", f"/admin/v1/pools/{pool}/endpoints").json["endpoints"]) == 250


def store_revision(gateway):
    """It rises by one with each change."""
    return int(gateway.admin("GET", "/admin/v1/config").headers["etag"].strip('"'))


def lines_about(gateway, pools):
    """How many lines the audit log has about endpoints of these pools."""
    count, after = 0, 0
    while True:
        page = gateway.admin("GET", f"/admin/v1/audit-log?after={after}&limit=1000").lines()
        if not page:
            return count
        after = page[-1]["seq"]
        count += sum(line["target"].startswith(tuple(f"registrations/{pool}/" for pool in pools)) for line in page)


# --- a cluster ---


@pytest.mark.slow
def test_a_registration_at_one_gateway_serves_at_all_and_outlives_redis(kafka, shops):
    with Cluster(kafka, gateways=2, settings=PATIENT) as cluster:
        a, b = cluster.gateways
        pool = put_pool(a, {"registration": True})
        other = registrar(b, pool)
        register(a, pool, shops[0], ttl_s=4)
        wait_who(b, pool, {0})
        assert b.admin("DELETE", endpoint(pool, shops[0]), token=other["token"]).status == 403
        register(b, pool, shops[0], 403, token=other["token"], ttl_s=4)
        register(b, pool, shops[1], ttl_s=4)
        wait_who(a, pool, {0, 1})
        for _ in range(7):  # heartbeats at either
            register(b, pool, shops[0], 200, ttl_s=4)
            register(a, pool, shops[1], 200, ttl_s=4)
            time.sleep(1)
        assert who(a, pool) == who(b, pool) == {0, 1}
        assert a.admin("DELETE", endpoint(pool, shops[0])).status == 204
        wait_who(b, pool, {1})
        cluster.redis.freeze()
        try:
            end = time.monotonic() + 7
            while time.monotonic() < end:  # longer than one and a half TTL
                assert a.admin("PUT", endpoint(pool, shops[1]), {"ttl_s": 4}, timeout=60).status in (200, 503)
                time.sleep(0.5)
            assert who(a, pool) == who(b, pool) == {1}
        finally:
            cluster.redis.thaw()
        wait_until(lambda: a.admin("PUT", endpoint(pool, shops[1]), {"ttl_s": 4}, timeout=60).status in (200, 201), 60, 0.5, "a registration")
        wait_who(b, pool, {1})
        wait_until(lambda: b.admin("GET", endpoint(pool, shops[1])).status == 200, what="it at the other gateway")
