"""The circuit breakers before Redis and Kafka as operators see and override them: the answers to buyers meanwhile, and the end."""
import contextlib
import time
from datetime import datetime, timezone

import pytest
from cluster import NO_LIMITS, Redis
from described import Described
from load import Load
from penstock import PATIENT_LOG, Gateway, call, free_port, seeds, wait_until
from proxy import CUT, WELL, Proxy

WORKERS = 2
BREAKERS = "/admin/v1/breakers"


@pytest.fixture()
def start(tmp_path):
    """Makes gateways, and ends them."""
    with contextlib.ExitStack() as stack:
        def make(settings):
            directory = tmp_path / "g"
            directory.mkdir()
            gateway = Gateway(directory, settings={"workers": WORKERS, "seed": seeds(NO_LIMITS), **settings})
            stack.enter_context(gateway.start(60))
            gateway.override("level", 0, ttl_s=3600)  # whatever else the machine does
            return gateway

        yield make


@pytest.fixture()
def gateway(start, redis):
    # Patient: a busy machine is no Redis that is away.
    return start({"store": {"kind": "redis", "redis": {"url": f"redis://127.0.0.1:{redis.port}/0", "command_timeout_ms": 3000}}, **PATIENT_LOG})


@pytest.fixture()
def spilling(start, kafka):
    """One in front of Kafka, with a spill."""
    yield start({"log": {"kind": "kafka", **PATIENT_LOG["log"], "kafka": {"brokers": kafka.brokers(0), "topic": kafka.topic(2)}}})
    kafka.well()


def shown(gateway, name):
    return next(breaker for breaker in gateway.admin("GET", BREAKERS).json["breakers"] if breaker["name"] == name)


def force(gateway, name, state, ttl_s=60, **more):
    gateway.override(f"breaker:{name}", state, ttl_s, **more)
    return shown(gateway, name)


def buyers(gateway, sale, who, count=40):
    """So many at once, each over a connection of its own, so that every worker is asked."""
    answers = [gateway.buy(sale, f"{who}-{i}", key=f"{who}-{i}") for i in range(count)]
    return {answer.code if answer.status != 202 else answer.json["state"] for answer in answers}


def seconds_until(text):
    return (datetime.fromisoformat(text.replace("Z", "+00:00")) - datetime.now(timezone.utc)).total_seconds()


def audit_lines(gateway, action):
    return [line for line in gateway.admin("GET", "/admin/v1/audit-log?limit=1000").lines() if line["action"] == action]


def test_a_breaker_shows_its_state_and_the_calls_of_its_window(gateway):
    sale = gateway.make_sale(stock=1000)
    assert buyers(gateway, sale, "b") == {"accepted"}
    wait_until(lambda: shown(gateway, "redis")["window"]["calls"] >= 40, what="the calls")
    breaker = shown(gateway, "redis")
    assert [b["name"] for b in gateway.admin("GET", BREAKERS).json["breakers"]] == ["redis"]
    assert breaker["state"] == "closed" and breaker["why"] is None and breaker["override"] is None
    assert breaker["circuits"] == {"closed": WORKERS, "open": 0, "half_open": 0}
    assert breaker["window"]["failures"] == 0 and breaker["window"]["failure_share"] == 0
    assert -60 < seconds_until(breaker["since"]) <= 0


def test_forced_open_before_redis_every_buyer_is_refused_at_once_and_the_rest_goes_on(gateway, redis):
    sale = gateway.make_sale(stock=1000)
    assert buyers(gateway, sale, "before") == {"accepted"}
    breaker = force(gateway, "redis", "open", 600, reason="Redis is moved")
    assert buyers(gateway, sale, "meanwhile") == {"store_unavailable"}  # of every worker, from the answer on

    assert breaker["state"] == "open" and breaker["why"] == "an operator forced it open"
    assert breaker["circuits"] == {"closed": 0, "open": WORKERS, "half_open": 0}
    assert breaker["override"] == "open" and gateway.overrides()["breaker:redis"]["without"] is None
    began = time.monotonic()
    assert gateway.buy(sale, "one").headers["retry-after"]
    assert time.monotonic() - began < 1.5  # a command may take 3 s
    assert gateway.public("GET", f"/v1/sales/{sale}").status == 200

    ready = gateway.public("GET", "/readyz?verbose")
    assert ready.status == 200 and "[-]breaker_redis failed\n" in ready.text and "[+]store ok" in ready.text, ready.text
    assert str(redis.port) not in ready.text
    assert gateway.metric('penstock_breaker_state{breaker="redis",state="open"}') == WORKERS
    assert gateway.metric('penstock_breaker_state{breaker="redis",state="closed"}') == 0
    assert gateway.metric('penstock_overrides{kind="breaker"}') == 1
    assert gateway.metric('penstock_breaker_openings_total{breaker="redis"}') == 0  # not by itself
    assert gateway.change_sale(sale, per_user_cap=3).status == 200  # the control thread's own link is not forced

    line = audit_lines(gateway, "override.put")[-1]
    assert (line["target"], line["why"], line["from"], line["to"]["value"]) == ("overrides/breaker:redis", "Redis is moved", None, "open")

    # The state is read each 100 ms: an opening that ends sooner is not reported.
    wait_until(lambda: '"event":"breaker_opened","breaker":"redis"' in gateway.log_path.read_text(), what="the opening in the log")
    gateway.end_override("breaker:redis")
    assert (shown(gateway, "redis")["override"], shown(gateway, "redis")["state"]) == (None, "closed")
    assert buyers(gateway, sale, "after") == {"accepted"}
    assert audit_lines(gateway, "override.delete")[-1]["from"]["value"] == "open"
    assert "[+]breaker_redis ok\n" in gateway.public("GET", "/readyz?verbose").text
    wait_until(lambda: '"event":"breaker_closed","breaker":"redis"' in gateway.log_path.read_text(), what="the end in the log")
    gateway.assert_books(sale)


def test_an_override_ends_by_itself_when_its_time_is_over(gateway):
    sale = gateway.make_sale(stock=1000)
    force(gateway, "redis", "open", 6)
    assert buyers(gateway, sale, "meanwhile", 10) == {"store_unavailable"}
    wait_until(lambda: shown(gateway, "redis")["override"] is None, what="the end")
    wait_until(lambda: shown(gateway, "redis")["circuits"]["closed"] == WORKERS, what="closed circuits")
    assert buyers(gateway, sale, "after") == {"accepted"}
    gateway.wait_log("override_ended", '"target":"breaker:redis"')


def test_a_later_override_takes_the_place_of_the_one_before(gateway):
    sale = gateway.make_sale(stock=1000)
    force(gateway, "redis", "open", 600)
    breaker = force(gateway, "redis", "closed", 30)
    assert breaker["state"] == "closed" and breaker["override"] == "closed"
    assert seconds_until(gateway.overrides()["breaker:redis"]["until"]) <= 30
    assert buyers(gateway, sale, "b") == {"accepted"}
    assert audit_lines(gateway, "override.put")[-1]["from"]["value"] == "open"


def test_forced_closed_redis_refusals_do_not_open_it_but_a_lost_redis_does(gateway, redis):
    sale = gateway.make_sale(stock=10000)
    redis.ask("CONFIG", "SET", "maxmemory", "1")  # every reservation is refused: OOM
    wait_until(lambda: buyers(gateway, sale, f"oom-{time.monotonic()}") == {"store_unavailable"}
               and gateway.metric('penstock_breaker_openings_total{breaker="redis"}') > 0, 30, what="an opening by refusals")
    redis.ask("CONFIG", "SET", "maxmemory", "0")  # an override is a document, and they are in Redis, too
    force(gateway, "redis", "closed")
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    opened = gateway.metric('penstock_breaker_openings_total{breaker="redis"}')

    def many_failed():  # asked, and refused by Redis
        assert buyers(gateway, sale, f"forced-{time.monotonic()}") == {"store_unavailable"}
        return shown(gateway, "redis")["window"]["failures"] > 8 * WORKERS

    wait_until(many_failed, 30, what="a window full of failures")
    assert gateway.metric('penstock_breaker_openings_total{breaker="redis"}') == opened
    redis.ask("CONFIG", "SET", "maxmemory", "0")
    wait_until(lambda: buyers(gateway, sale, f"well-{time.monotonic()}", 10) == {"accepted"}, 30, what="orders")

    redis.freeze()

    def lost():  # a frozen one takes connections, for a while
        breaker = shown(gateway, "redis")
        return breaker["state"] != "closed" and breaker["override"] == "closed" and str(redis.port) in (breaker["why"] or "")

    wait_until(lost, what="an opening")
    wait_until(lambda: "[-]breaker_redis failed" in gateway.public("GET", "/readyz?verbose").text, what="the warning")
    redis.thaw()
    wait_until(lambda: shown(gateway, "redis")["state"] == "closed", 30, what="closed circuits")
    wait_until(lambda: buyers(gateway, sale, f"again-{time.monotonic()}", 5) == {"accepted"}, 30, what="orders")


@pytest.mark.slow
def test_a_redis_that_stays_slow_is_spared_by_the_workers_and_the_heartbeat_goes_on(start, redis):
    """OL5: Quick refusals instead of late ones; not for a moment's delay."""
    port = free_port()
    with Proxy() as proxy:
        proxy.route("redis", port, redis.port)
        gateway = start({"store": {"kind": "redis", "redis": {"url": f"redis://127.0.0.1:{port}/0", "command_timeout_ms": 4000}}, **PATIENT_LOG})
        sales = [gateway.make_sale(stock=10000) for _ in range(8)]
        with contextlib.ExitStack() as stack:
            # A worker has two calls of a sale under way, and 20 in 5 s are judged: so many sales do that however slow the machine is.
            crowds = [stack.enter_context(Load(gateway, sale, threads=4, pause=0.05)) for sale in sales]

            def promised():
                return sum(crowd.promised() for crowd in crowds)

            wait_until(lambda: promised() > 50, 30, what="orders")
            proxy.set("redis", late_ms=60)
            time.sleep(3)
            assert shown(gateway, "redis")["openings"] == 0
            proxy.set("redis", late_ms=2500)
            wait_until(lambda: shown(gateway, "redis")["circuits"]["closed"] == 0, 60, what="open circuits")
            breaker = shown(gateway, "redis")
            assert "most replies take 2000 ms or more" in breaker["why"] and breaker["window"]["slow_share"] >= 0.8, breaker
            quick = 0
            for i in range(20):
                began = time.monotonic()
                if gateway.buy(sales[0], f"one-{i}").code == "store_unavailable":
                    quick += time.monotonic() - began < 0.5  # a reply takes 2500 ms
            assert quick >= 10, quick
            assert "[+]store ok" in gateway.public("GET", "/readyz?verbose").text
            proxy.set("redis")
            wait_until(lambda: shown(gateway, "redis")["circuits"]["closed"] == WORKERS, what="closed circuits")
            before = promised()
            wait_until(lambda: promised() > before + 50, 30, what="orders")
        for sale in sales:
            gateway.assert_books(sale)


def test_an_override_needs_redis_and_holds_while_it_is_away_and_over_a_restart(gateway, redis):
    sale = gateway.make_sale(stock=1000)
    assert force(gateway, "redis", "open", 600)["override"] == "open"
    redis.freeze()
    another = {"value": 1, "ttl_s": 1, "reason": "a test"}
    wait_until(lambda: gateway.admin("PUT", "/admin/v1/overrides/level", another).code == "store_unavailable", 30, what="a refusal")
    assert shown(gateway, "redis")["override"] == "open"
    redis.thaw()
    time.sleep(1)
    assert buyers(gateway, sale, "back") == {"store_unavailable"}
    assert gateway.stop() == 0
    gateway.start(60)
    wait_until(lambda: shown(gateway, "redis")["override"] == "open", what="the override after the restart")
    assert buyers(gateway, sale, "again", 5) == {"store_unavailable"}
    gateway.end_override("breaker:redis")
    wait_until(lambda: buyers(gateway, sale, f"again-{time.monotonic()}", 5) == {"accepted"}, 30, what="orders")


def test_answers_are_as_described(gateway):
    admin = Described("gateway/admin/openapi.yaml", gateway.admin)
    path = "/admin/v1/overrides/{target}"
    admin.call(200, "get", BREAKERS)
    admin.call(201, "put", path, {"value": "open", "ttl_s": 60, "reason": "to see it"}, target="breaker:redis")
    admin.call(200, "get", BREAKERS)
    admin.call(422, "put", path, {"value": "half_open", "ttl_s": 60, "reason": "to see it"}, target="breaker:redis")
    admin.call(204, "delete", path, {"reason": "seen"}, target="breaker:redis")
    admin.call(404, "delete", path, target="breaker:kafka")


def test_a_gateway_alone_has_no_breakers(start):
    gateway = start({})
    assert gateway.admin("GET", BREAKERS).json == {"breakers": []}
    for name in ("redis", "kafka"):
        answer = gateway.admin("PUT", f"/admin/v1/overrides/breaker:{name}", {"value": "open", "ttl_s": 60, "reason": "a test"})
        assert answer.code == "not_found", answer
    assert "breaker" not in gateway.public("GET", "/readyz?verbose").text
    assert "penstock_breaker" not in "".join(line for line in call(gateway.admin_port, "GET", "/metrics").text.splitlines() if line[:1] != "#")


# --- Kafka ---


def test_forced_open_before_kafka_orders_are_pending_and_accepted_when_it_ends(spilling, kafka):
    sale = spilling.make_sale(stock=1000)
    first = spilling.buy(sale, "first").json["order_id"]
    breaker = force(spilling, "kafka", "open", 600, reason="broker 2 is replaced")
    assert breaker["state"] == "open" and breaker["circuits"] == {"closed": 0, "open": 1, "half_open": 0}
    assert "an operator forced the breaker open" in breaker["why"]
    assert buyers(spilling, sale, "meanwhile") == {"pending"}
    assert spilling.admin("POST", f"/admin/v1/orders/{first}/confirm").status == 503
    ready = spilling.public("GET", "/readyz?verbose")
    assert ready.status == 200 and "[-]breaker_kafka failed\n" in ready.text, ready.text
    assert spilling.metric('penstock_breaker_state{breaker="kafka",state="open"}') == 1
    assert spilling.metric("penstock_spill_records") == 40
    time.sleep(1.5)  # several looks at brokers that are well
    assert shown(spilling, "kafka")["state"] == "open"

    spilling.end_override("breaker:kafka")
    wait_until(lambda: shown(spilling, "kafka")["state"] == "closed", what="a closed circuit")
    wait_until(lambda: {order["state"] for order in spilling.orders(sale)} == {"accepted"} and len(spilling.orders(sale)) == 41, 30, what="the drain")
    assert spilling.admin("POST", f"/admin/v1/orders/{first}/confirm").status == 200
    spilling.assert_books(sale)

    force(spilling, "kafka", "open", 1)
    wait_until(lambda: shown(spilling, "kafka")["state"] == "closed" and shown(spilling, "kafka")["override"] is None, what="the end")
    assert buyers(spilling, sale, "after") == {"accepted"}
    assert shown(spilling, "kafka")["window"]["calls"] > 0


def test_without_a_spill_forced_open_before_kafka_is_no_log(start, kafka):
    gateway = start({"log": {"kind": "kafka", **PATIENT_LOG["log"], "kafka": {"brokers": kafka.brokers(0), "topic": kafka.topic(2)}, "spill": {"records": 0}}})
    sale = gateway.make_sale(stock=1000)
    force(gateway, "kafka", "open", 600)
    assert buyers(gateway, sale, "meanwhile", 10) == {"log_unavailable"}
    assert gateway.public("GET", "/readyz").status == 503
    gateway.end_override("breaker:kafka")
    wait_until(lambda: gateway.public("GET", "/readyz").status == 200, what="readiness")
    assert buyers(gateway, sale, "after", 10) == {"accepted"}
    assert all(sku["in_doubt"] == 0 for sku in gateway.assert_books(sale)["skus"])


def test_an_override_is_obeyed_while_kafka_is_away(spilling, kafka):
    sale = spilling.make_sale(stock=1000)
    kafka.proxy.set(0, CUT)
    wait_until(lambda: shown(spilling, "kafka")["state"] == "open", 30, what="an opening")
    why = shown(spilling, "kafka")["why"]
    assert why and "operator" not in why
    assert force(spilling, "kafka", "closed", 60)["state"] == "open"  # a forced state makes no broker reachable
    assert force(spilling, "kafka", "open", 60)["override"] == "open"
    kafka.proxy.set(0, WELL)
    time.sleep(1.5)
    assert buyers(spilling, sale, "forced", 5) == {"pending"}
    spilling.end_override("breaker:kafka")
    wait_until(lambda: {order["state"] for order in spilling.orders(sale)} == {"accepted"}, 30, what="the drain")
