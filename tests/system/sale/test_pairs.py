"""The two pairs for one gateway: a counter in memory over a log in Kafka, and a counter in Redis over a journal. Each keeps what it has promised,
and neither lets a second gateway sell the same units."""
import contextlib
import json
import subprocess
import time

import pytest
from cluster import NO_LIMITS, Redis, fold, records
from load import Load, assert_retries_find_their_orders, judge
from penstock import REHEARSE, Gateway, call, seeds, wait_until
from proxy import CUT, WELL

STOCK = 5000
PARTITIONS = 4
KAFKA_ROUTE = 0


class Pair(Gateway):
    """A gateway that is left to the fixture to end."""

    def __init__(self, directory, settings, started=None):
        directory.mkdir()
        super().__init__(directory, settings={"seed": seeds(NO_LIMITS), "workers": 1, **settings})
        if started is not None:
            started.append(self)

    def restart(self):
        self.kill()
        return self.start(60)

    def rest(self, sale):
        """Until nothing is in doubt and the books agree."""
        wait_until(lambda: (report := self.audit(sale))["ok"] and not any(sku["in_doubt"] for sku in report["skus"]), 60, 0.2, "rest")

    def numbers(self, sale):
        sku = self.assert_books(sale)["skus"][0]
        return tuple(sku[name] for name in ("available", "held", "confirmed", "adjustments"))


@pytest.fixture()
def start(tmp_path):
    """Makes gateways, and ends them."""
    with contextlib.ExitStack() as stack:
        def make(settings, name="g"):
            gateway = Pair(tmp_path / name, settings)
            stack.enter_context(gateway.start(60))
            return gateway

        yield make


@pytest.fixture()
def topic(kafka):
    yield kafka.topic(PARTITIONS)
    kafka.well()


@pytest.fixture()
def memory_and_kafka(kafka, topic):
    return {"log": {"kind": "kafka", "kafka": {"brokers": kafka.brokers(KAFKA_ROUTE), "topic": topic}}}


@pytest.fixture()
def redis_and_journal(redis):
    return {"store": {"kind": "redis", "redis": {"url": f"redis://127.0.0.1:{redis.port}/0"}}}


@pytest.fixture(params=["memory_and_kafka", "redis_and_journal"])
def pair(request):
    """The settings of each of the two."""
    return request.getfixturevalue(request.param)


def promised_more(load, more):
    before = load.promised()
    wait_until(lambda: load.promised() >= before + more, 90, what=f"{more} more promises")


def every_page(gateway, sale, limit):
    found, after = [], 0
    while True:
        answer = gateway.admin("GET", f"/admin/v1/orders?sale={sale}&after={after}&limit={limit}")
        page = answer.lines()
        assert len(page) <= limit
        if not page:
            return found
        found += page
        after = page[-1]["seq"]


def like(order_id, n):
    """An id of the same sale that is no order's."""
    return f"{order_id[:19]}{n:04x}{order_id[23:]}"


def test_a_buyer_whose_order_was_cancelled_buys_again_and_is_not_told_of_that_one(start, redis_and_journal):
    """The counter may hear of the cancel a moment after the buyer does."""
    gateway = start(redis_and_journal)
    sale = gateway.make_sale(stock=STOCK)

    def buy_again(user, key):
        answer = gateway.buy(sale, user, key=key)
        assert (answer.status, answer.code) == (503, "order_pending") or answer.status == 202, answer
        return answer.json if answer.status == 202 else None

    for i in range(10):
        user, key = f"u{i}", "again" if i % 2 else None
        first = gateway.buy(sale, user).json["order_id"]
        assert gateway.admin("POST", f"/admin/v1/orders/{first}/cancel").status == 200
        second = wait_until(lambda: buy_again(user, key), what="the second order")
        assert second["state"] == "accepted" and second["order_id"] != first, second
    gateway.rest(sale)


def test_a_look_up_of_an_order_that_the_log_does_not_show_asks_one_counter(redis, redis_and_journal, start, tmp_path):
    """And not that of each sale that is open: pollers would be multiplied."""
    gateway = start(redis_and_journal)
    sales = [gateway.make_sale(f"rush-{i}", stock=5) for i in range(30)]
    order_id = gateway.buy(sales[7], "u").json["order_id"]
    nobodys = [like(order_id, n) for n in range(5)]
    seen = tmp_path / "monitor"
    with open(seen, "w") as file, subprocess.Popen(["redis-cli", "-h", "127.0.0.1", "-p", str(redis.port), "MONITOR"], stdout=file) as monitor:
        try:
            wait_until(seen.read_text, 20, what="the monitor")
            for one in nobodys:
                assert gateway.public("GET", f"/v1/orders/{one}", user="u").code == "not_found"
                assert gateway.admin("GET", f"/admin/v1/orders/{one}").code == "not_found"
            redis.ask("ECHO", "the end")
            wait_until(lambda: "the end" in seen.read_text(), 20, what="the end of what is monitored")
        finally:
            monitor.kill()
    asked = [line for line in seen.read_text().splitlines() if '"entry"' in line]
    assert len(asked) == 2 * len(nobodys) and all("{rush-7}" in line for line in asked), (len(asked), asked[:3])


def test_what_is_said_while_redis_is_away_is_true_and_spreads_who_asks(redis, redis_and_journal, start):
    gateway = start(redis_and_journal)
    nobodys = like(gateway.buy(gateway.make_sale(stock=5), "u").json["order_id"], 0)
    assert "[+]store ok" in gateway.public("GET", "/readyz?verbose").text
    redis.end()
    wait_until(lambda: "[-]store failed" in gateway.public("GET", "/readyz?verbose").text, 20, what="the check of the store")
    waits = set()
    for n in range(24):
        answer = gateway.public("GET", f"/v1/orders/{nobodys}", user=f"u{n}")
        assert (answer.status, answer.code) == (503, "store_unavailable"), answer
        waits.add(int(answer.headers["retry-after"]))
    assert waits == {1, 2, 3}
    # One that starts now waits for Redis; its log is well, and no metric says otherwise.
    gateway.kill()
    gateway.spawn()

    def refused():
        with contextlib.suppress(OSError):
            return gateway.public("GET", "/readyz").status == 503
        return False

    wait_until(refused, 30, what="a first readyz")
    wait_until(lambda: "[+]log ok" in gateway.public("GET", "/readyz?verbose").text, 20, what="the check of the log")
    before = gateway.metric('penstock_answers_total{verdict="log_unavailable"}')
    assert {gateway.public("GET", "/readyz").status for _ in range(5)} == {503}
    assert gateway.metric('penstock_answers_total{verdict="log_unavailable"}') == before
    redis.start()
    wait_until(lambda: gateway.public("GET", "/readyz?verbose").text.count("[+]store ok") == 1, 30, what="the store again")


# --- what both keep ---


def test_an_order_of_each_fate_and_stock_that_moves_are_exact_and_so_after_a_kill(pair, start):
    """I1 to I6."""
    gateway = start(pair)
    sale = gateway.make_sale(stock=100, reservation_ttl_s=5)
    ids = [gateway.buy(sale, f"u{i}", key=f"k{i}").json["order_id"] for i in range(40)]
    for order_id in ids[:10]:
        assert gateway.admin("POST", f"/admin/v1/orders/{order_id}/confirm").json["state"] == "confirmed"
    for order_id in ids[10:20]:
        assert gateway.admin("POST", f"/admin/v1/orders/{order_id}/cancel").json["reason"] == "cancelled"
    for adjust_id, delta in (("more", 7), ("fewer", -3), ("more", 7)):
        answer = gateway.admin("POST", f"/admin/v1/sales/{sale}/skus/phone/adjust", {"delta": delta, "adjust_id": adjust_id})
        assert answer.status == 200, answer
    too_many = gateway.admin("POST", f"/admin/v1/sales/{sale}/skus/phone/adjust", {"delta": -1000, "adjust_id": "all"})
    assert too_many.status == 409, too_many
    wait_until(lambda: {o["reason"] for o in gateway.orders(sale) if o["order_id"] in ids[20:]} == {"expired"}, 30, what="the expiry")
    gateway.rest(sale)
    assert gateway.numbers(sale) == (94, 0, 10, 104)
    before = {order["order_id"]: order for order in gateway.orders(sale)}
    assert len(before) == 40
    assert [order["order_id"] for order in every_page(gateway, sale, 7)] == list(before)
    shown = {order_id: (order["state"], order["reason"]) for order_id, order in before.items()}
    assert fold(records(gateway, sale)) == shown
    gateway.restart()
    gateway.rest(sale)
    assert gateway.numbers(sale) == (94, 0, 10, 104)
    assert {order["order_id"]: order for order in gateway.orders(sale)} == before
    assert gateway.buy(sale, "u0", key="k0").json["order_id"] == ids[0]
    assert gateway.buy(sale, "late").json["state"] == "accepted"
    assert gateway.admin("POST", f"/admin/v1/orders/{ids[0]}/cancel").code == "order_confirmed"


def test_kills_under_load_break_no_promise(pair, start):
    """I1 to I5."""
    gateway = start(pair)
    sale = gateway.make_sale(stock=STOCK)
    with Load(gateway, sale, threads=6, pause=0.02) as load:
        for _ in range(3):
            promised_more(load, 60)
            gateway.restart()
        promised_more(load, 60)
    gateway.rest(sale)
    judge(gateway, sale, [load], STOCK)
    assert_retries_find_their_orders(gateway, sale, [load])
    judge(gateway, sale, [load], STOCK)


def test_a_sale_sells_out_exactly_over_a_kill(pair, start):
    gateway = start(pair)
    sale = gateway.make_sale(stock=150)
    with Load(gateway, sale, threads=6) as load:
        promised_more(load, 60)
        gateway.restart()
        wait_until(lambda: load.count()["sold_out"] > 20, 60, what="sold out")
        # What was in doubt over the kill comes back to those who still ask.
        wait_until(lambda: gateway.numbers(sale)[:2] == (0, 150), 60, 0.2, "the last units sold")
    gateway.rest(sale)
    assert sum(order["state"] == "accepted" for order in judge(gateway, sale, [load], 150)) == 150


def test_a_rehearsal_proves_its_books(pair, start):
    gateway = start(pair)
    done = subprocess.run(
        [str(REHEARSE), "--public", f"http://127.0.0.1:{gateway.port}", "--admin", f"http://127.0.0.1:{gateway.admin_port}", "--state-dir",
         str(gateway.state), "--buyers", "600", "--stock", "200", "--over", "3s", "--shape", "constant", "--retry", "20", "--quiet",
         "--confirm-share", "0.3", "--cancel-share", "0.3"], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_audit_without_the_counter_names_the_counter(redis_and_journal, redis, start):
    """And not the log, which is well."""
    gateway = start(redis_and_journal)
    sale = gateway.make_sale(stock=10)
    gateway.assert_books(sale)
    redis.freeze()
    answer = wait_until(lambda: (a := gateway.admin("GET", f"/admin/v1/sales/{sale}/audit")).status != 200 and a, 30, what="a refusal")
    assert (answer.status, answer.code) == (503, "store_unavailable"), answer
    redis.thaw()
    wait_until(lambda: gateway.admin("GET", f"/admin/v1/sales/{sale}/audit").status == 200, 30, what="the counter")
    gateway.rest(sale)


# --- memory and Kafka ---


def test_a_counter_in_memory_fences_every_partition_before_it_sells(memory_and_kafka, start):
    """R8: at the first time and at each start; the epochs of all partitions are the same, and rise."""
    gateway = start(memory_and_kafka)
    sale = gateway.make_sale(stock=100)
    for i in range(40):
        assert gateway.buy(sale, f"u{i}").json["state"] == "accepted"
    gateway.restart()
    epochs, orders = {}, set()
    for line in records(gateway, sale):
        partition = line["seq"] >> 43
        if line["type"] == "penstock.sale.fenced.v1":
            assert line["partitions"] == PARTITIONS and line["first"] == (partition not in epochs)
            epochs.setdefault(partition, []).append(line["epoch"])
        else:
            assert line["epoch"] == epochs[partition][-1]
            orders.add(partition)
    assert orders == set(range(PARTITIONS)) == set(epochs)
    assert len({tuple(of) for of in epochs.values()}) == 1
    (first, second), = {tuple(of) for of in epochs.values()}
    assert second > first


def test_a_counter_in_memory_waits_for_a_kafka_that_is_away_at_the_start(memory_and_kafka, start, kafka):
    """F9: It takes nothing for lost that it has not been able to read."""
    gateway = start(memory_and_kafka)
    sale = gateway.make_sale(stock=50)
    order_id = gateway.buy(sale, "u", key="k").json["order_id"]
    gateway.kill()
    kafka.proxy.set(KAFKA_ROUTE, CUT)
    gateway.spawn()

    def served():
        with contextlib.suppress(OSError):
            return call(gateway.port, "GET", f"/v1/sales/{sale}").status == 200
        return False

    wait_until(served, 60, what="the status page")
    assert gateway.public("GET", "/readyz").status == 503
    assert gateway.buy(sale, "early").status == 503
    kafka.proxy.set(KAFKA_ROUTE, WELL)
    wait_until(lambda: gateway.public("GET", "/readyz").status == 200, 60, what="readiness")
    assert gateway.buy(sale, "u", key="k").json["order_id"] == order_id
    assert gateway.buy(sale, "v").json["state"] == "accepted"
    gateway.rest(sale)
    assert gateway.numbers(sale) == (48, 2, 0, 50)


@pytest.mark.parametrize("how", ["restarted", "kept"])
def test_orders_spilled_over_a_counter_in_memory_are_accepted(memory_and_kafka, start, kafka, how):
    """R5: a restart brings them into the log before the fence that would end them."""
    gateway = start(memory_and_kafka)
    sale = gateway.make_sale(stock=50)
    assert gateway.buy(sale, "first").json["state"] == "accepted"
    kafka.proxy.set(KAFKA_ROUTE, CUT)
    numbers = iter(range(10 ** 6))
    spilled = []

    def is_spilled():
        answer = gateway.buy(sale, f"s{next(numbers)}", timeout=20)
        if answer.status == 202:
            spilled.append(answer.json["order_id"])
        return len(spilled) >= 3 and "log_unavailable" in gateway.log()

    wait_until(is_spilled, 60, what="orders in the spill")
    time.sleep(3)  # beyond log.kafka.delivery_timeout_ms: what was on its way is decided
    spilled = [gateway.buy(sale, f"t{i}", timeout=20).json["order_id"] for i in range(5)]
    assert (gateway.state / "spill.db").stat().st_size > 0
    if how == "restarted":
        gateway.kill()
        kafka.proxy.set(KAFKA_ROUTE, WELL)
        gateway.start(60)
    else:
        kafka.proxy.set(KAFKA_ROUTE, WELL)

    def all_accepted():
        return {gateway.admin("GET", f"/admin/v1/orders/{order_id}").json.get("state") for order_id in spilled} == {"accepted"}

    wait_until(all_accepted, 60, 0.2, "the drain")
    gateway.rest(sale)
    available, held, confirmed, adjustments = gateway.numbers(sale)
    assert (available + held, confirmed, adjustments) == (50, 0, 50)
    assert held == sum(order["state"] == "accepted" for order in gateway.orders(sale)) >= 6


def test_a_counter_in_memory_stops_when_another_gateway_sells_the_sale(memory_and_kafka, start):
    """I1: what it still took is void; it says what to do, and a restart without the other one heals it."""
    pair = [start(memory_and_kafka), start(memory_and_kafka, "second")]
    sale = pair[0].make_sale(stock=20, opens_in=6)
    pair[1].make_sale(sale, stock=20, opens_in=6)

    def stopped():
        return [gateway for gateway in pair if "store.kind redis" in gateway.sale(sale).get("refused", "")]

    loser, = wait_until(stopped, 30, what="a word about the other gateway")
    winner, = (gateway for gateway in pair if gateway is not loser)
    loser.wait_log("sale_refused")
    winner.wait_state(sale, "open")
    wait_until(lambda: loser.buy(sale, "late", key="late").code == "fenced", what="a refusal")
    taken = [winner.buy(sale, f"u{i}").json for i in range(6)]
    assert {order["state"] for order in taken} == {"accepted"}
    winner.rest(sale)
    assert winner.numbers(sale) == (14, 6, 0, 20)
    assert winner.stop() == 0
    loser.restart()
    assert loser.buy(sale, "late").json["state"] == "accepted"
    loser.rest(sale)
    assert loser.numbers(sale) == (13, 7, 0, 20)


def test_a_name_that_the_topic_has_sold_under_is_not_used_again(memory_and_kafka, start):
    sale = start(memory_and_kafka).make_sale(stock=20)
    second = start(memory_and_kafka, "second")
    answer = wait_until(lambda: (a := second.admin("PUT", f"/admin/v1/sales/{sale}", {"skus": [{"sku": "phone", "stock": 5}]})).status != 201 and a)
    assert answer.code == "conflict" and "order log" in answer.json["detail"], answer
    second.wait_log("sale_unknown")


# --- Redis and a journal ---


@pytest.mark.parametrize("how", ["flushed", "restarted"])
def test_an_empty_redis_is_filled_from_the_journal_under_load(redis_and_journal, start, redis, how):
    gateway = start(redis_and_journal)
    sale = gateway.make_sale(stock=STOCK)
    with Load(gateway, sale, threads=6, pause=0.02) as load:
        for _ in range(2):
            promised_more(load, 60)
            if how == "flushed":
                redis.ask("FLUSHALL")
            else:
                redis.kill()
                redis.start()
        promised_more(load, 60)
    gateway.rest(sale)
    judge(gateway, sale, [load], STOCK)


def test_of_two_journals_over_one_redis_only_the_first_sells(redis_and_journal, start, tmp_path):
    """I1: the second says why, and what several gateways need; it takes nothing over when the first is gone."""
    first = start(redis_and_journal)
    sale = first.make_sale(stock=20)
    assert first.buy(sale, "u").json["state"] == "accepted"
    second = Pair(tmp_path / "second", redis_and_journal)
    second.spawn()
    try:
        wait_until(lambda: "log.kind kafka" in second.log(), 60, what="a word about the first gateway")
        answer = wait_until(lambda: bought(second, sale), 20, what="an answer")
        assert answer.status in (404, 503), answer
        assert first.buy(sale, "v").json["state"] == "accepted"
        first.kill()
        time.sleep(5)
        assert bought(second, sale).status in (404, 503)
    finally:
        second.kill()
    first.start(60)
    assert first.buy(sale, "w").json["state"] == "accepted"
    first.rest(sale)
    assert first.numbers(sale) == (17, 3, 0, 20)


def bought(gateway, sale):
    with contextlib.suppress(OSError):
        return gateway.buy(sale, "stranger")


def test_a_strangers_empty_stock_of_another_sku_does_no_harm(start, memory_and_kafka, kafka, topic):
    gateway = start(memory_and_kafka)
    sale = gateway.make_sale(stock=3)
    initial = next(line for line in records(gateway, sale) if line["type"] == "penstock.stock.adjusted.v1")
    for name in ("seq", "partition", "offset"):
        initial.pop(name, None)
    adjust_id = f"initial:{sale}/other"
    kafka.put(topic, json.dumps({**initial, "adjust_id": adjust_id, "sku": "other", "delta": 0}), key=adjust_id)
    wait_until(lambda: any(line.get("sku") == "other" for line in records(gateway, sale)), 30, 0.2, "the stranger's record")
    order = gateway.buy(sale, "ann")
    assert (order.status, order.json["state"]) == (202, "accepted"), order
    assert gateway.process.poll() is None


def test_a_strangers_record_of_any_spelling_does_not_stop_who_reads_the_log_page_by_page(start, memory_and_kafka, kafka, topic):
    gateway = start(memory_and_kafka)
    sale = gateway.make_sale(stock=3)
    initial = next(line for line in records(gateway, sale) if line["type"] == "penstock.stock.adjusted.v1")
    initial.pop("seq")

    def strange(sku, **more):
        return json.dumps({**initial, "adjust_id": f"initial:{sale}/{sku}", "sku": sku, "delta": 0, **more})

    for sku, text in (("long", strange("long", comment="x" * 3000)), ("spaced", " " + strange("spaced")), ("placed", strange("placed", seq=1))):
        kafka.put(topic, text, key=f"initial:{sale}/{sku}")
    wait_until(lambda: gateway.buy(sale, "ann").status == 202, 30, what="an order")

    def paged():
        found, after = [], 0
        while True:
            answer = gateway.admin("GET", f"/admin/v1/sales/{sale}/log?after={after}&limit=1")
            assert answer.status == 200, answer
            if not answer.lines():
                return found
            line, = answer.lines()
            after = int(answer.headers["penstock-last-seq"])
            assert line["seq"] == after, line
            found.append(line)

    wait_until(lambda: {"long", "spaced", "placed"} <= {line.get("sku") for line in paged()}, 30, 0.2, "the strangers' records")
    assert any(line["type"] == "penstock.order.accepted.v1" for line in paged())
    assert paged() == records(gateway, sale)
