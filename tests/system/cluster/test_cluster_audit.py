"""What an audit sees of a counter in Redis: each item that differs from the log is named, or no buyer sees a difference; and the way back."""
import pytest
from cluster import Cluster
from mutations import RawRedis, mutations
from penstock import ANY_VERSION, wait_until

STOCK = 40

# What an audit does not name when it is changed, and why no buyer sees a difference.
NEW_FIELD = "a field or an entry of something that does not exist: nobody asks for it"
IN_LOG = "a repeated key finds its order in the log, before Redis is asked"
GUARD = "it is there for an effect that comes a second time; the sum of the SKU's units would name one that counted twice"
AGAIN = "effects that come again change nothing, and one that is left out is named by what it should have changed"
DECIDED = "the log knows what was decided of it, and is asked first"
SURVIVORS = {
    "stock repeat": NEW_FIELD, "stock/confirmed repeat": NEW_FIELD, "stock/held repeat": NEW_FIELD, "stock/in_doubt repeat": NEW_FIELD,
    "stock/in_doubt delete": "it is 0 at rest, as one that is missing",
    "stock/reserved_total delete": "no count: until when gateways may say sold out", "stock/reserved_total repeat": NEW_FIELD,
    "stock/reserved_total shift": "no count: until when gateways may say sold out",
    "order/held repeat": NEW_FIELD, "order/confirmed repeat": NEW_FIELD, "order/given back repeat": NEW_FIELD, "order/lowered repeat": NEW_FIELD,
    "order/given back delete": DECIDED, "order/lowered delete": DECIDED, "order/lowered shift": DECIDED,
    "user repeat": "a buyer who has bought nothing has less of a cap left, and all others what they had",
    "idem delete": IN_LOG, "idem repeat": NEW_FIELD, "idem shift": IN_LOG,
    "adjust delete": GUARD, "adjust repeat": NEW_FIELD, "adjust shift": GUARD,
    "applied delete": AGAIN, "applied repeat": AGAIN, "applied shift": AGAIN,
}


@pytest.fixture(scope="module")
def cluster(kafka):
    """Two gateways; each test leaves them well."""
    with Cluster(kafka, gateways=2) as c:
        yield c


@pytest.fixture(scope="module")
def redis(cluster):
    return RawRedis(cluster.redis.port)


def key(cluster, sale, name):
    return f"ps:{{{sale}}}:{cluster.epoch(sale)}:{name}"


def buy(cluster, sale, user, **more):
    answer = cluster.sure_buy(cluster[0], sale, user, **more)
    assert answer.status in (200, 201, 202), answer
    return answer.json["order_id"]


def command(cluster, order, verb):
    wait_until(lambda: cluster[0].admin("POST", f"/admin/v1/orders/{order}/{verb}").status == 200, 30, what=f"{verb} of {order}")


def report(cluster, sale, at=0):
    answer = cluster[at].admin("GET", f"/admin/v1/sales/{sale}/audit", timeout=90)
    assert answer.status == 200, answer
    return answer.json


def wait_named(cluster, sale, words):
    """Every gateway's audit reports it, once pending work has ended."""
    for at in range(2):
        found = wait_until(lambda: (r := report(cluster, sale, at)) and not r["ok"] and r, 60, what="a violation")
        assert any(v["rule"] == "cut" and words in v["text"] for v in found["violations"]), found


def rebuild(cluster, sale, at=1):
    before = cluster.epoch(sale)
    answer = cluster[at].admin("POST", f"/admin/v1/sales/{sale}/rebuild", {"reason": "the audit says stranded"}, timeout=30)
    assert answer.status == 200, answer
    assert answer.json == {"sale": sale, "epoch": int(cluster.epoch(sale))} and cluster.epoch(sale) != before
    cluster.wait_rest(sale)


def test_units_stranded_by_a_lost_key_are_named_and_counted_anew(cluster):
    """F24: Without `:order` Redis does not give back what is cancelled; the log does."""
    sale = cluster.make_sale(stock=10)
    orders = [buy(cluster, sale, f"u{i}") for i in range(5)]
    cluster.wait_rest(sale)
    cluster.redis.ask("DEL", key(cluster, sale, "order"))
    for order in orders:
        command(cluster, order, "cancel")
    wait_named(cluster, sale, "5 units stranded")
    rebuild(cluster, sale)
    assert cluster.numbers(sale) == (10, 0, 0, 10)
    for number in range(10):
        buy(cluster, sale, f"v{number}")
    cluster.wait_rest(sale)


def test_units_that_redis_has_moved_from_held_to_confirmed_are_named(cluster):
    """F24: The sum is right, and yet they would never come back."""
    sale = cluster.make_sale(stock=10, per_user_cap=2)
    buy(cluster, sale, "ann", quantity=2)
    cluster.wait_rest(sale)
    for field, delta in (("phone/held", -2), ("phone/confirmed", 2)):
        cluster.redis.ask("HINCRBY", key(cluster, sale, "stock"), field, delta)
    wait_named(cluster, sale, "the counter has 2 units confirmed, the log 0")
    rebuild(cluster, sale)


def test_a_buyer_whose_units_are_forgotten_is_named_before_they_buy_again(cluster):
    """F24: The cap would let them have as many again."""
    sale = cluster.make_sale(stock=10)
    first = buy(cluster, sale, "ann")
    cluster.wait_rest(sale)
    cluster.redis.ask("DEL", key(cluster, sale, "user"))
    wait_named(cluster, sale, "has 0 units for the order's buyer, by the log it must be 1")
    found = report(cluster, sale)
    assert [(v["order_id"], v["sku"]) for v in found["violations"]] == [(first, "phone")]
    rebuild(cluster, sale)
    assert cluster.sure_buy(cluster[0], sale, "ann", key="again").code == "user_limit"


def test_units_in_doubt_without_an_entry_are_named(cluster):
    """F24: Nobody would ever settle them."""
    sale = cluster.make_sale(stock=10)
    buy(cluster, sale, "ann")
    cluster.wait_rest(sale)
    for field, delta in (("phone", -3), ("phone/in_doubt", 3)):
        cluster.redis.ask("HINCRBY", key(cluster, sale, "stock"), field, delta)
    wait_named(cluster, sale, "3 units in doubt, but its entries in doubt add up to 0")
    rebuild(cluster, sale)
    assert cluster.numbers(sale) == (9, 1, 0, 10)


def test_a_busy_sale_is_audited_without_a_false_alarm(cluster):
    with cluster.busy_sale(100000, rate=300) as (sale, crowd):
        for turn in range(12):
            reached = len(crowd.results)
            wait_until(lambda: len(crowd.results) >= reached + 100, 60, what="more buyers")
            found = report(cluster, sale, turn % 2)
            assert found["ok"], found


def test_a_busy_sale_that_is_counted_anew_breaks_no_promise(cluster):
    with cluster.busy_sale(100000, rate=300) as (sale, crowd):
        for turn in range(3):
            reached = len(crowd.results)
            wait_until(lambda: len(crowd.results) >= reached + 100, 60, what="more buyers")
            before = cluster.epoch(sale)
            answer = cluster[turn % 2].admin("POST", f"/admin/v1/sales/{sale}/rebuild", {}, timeout=30)
            assert answer.status == 200 and cluster.epoch(sale) != before, answer


def test_only_operators_have_a_sale_counted_anew_and_it_is_written_down(cluster):
    sale = cluster.make_sale(stock=10)
    path = f"/admin/v1/sales/{sale}/rebuild"
    viewer = cluster[0].admin("POST", "/admin/v1/tokens", {"role": "viewer"}).json["token"]
    assert cluster[0].admin("POST", path, {}, token=viewer).status == 403
    assert cluster[0].admin("POST", "/admin/v1/sales/none/rebuild", {}).status == 404
    assert cluster[0].admin("POST", path, {"epoch": 1}).status == 422
    rebuild(cluster, sale, at=0)
    line = [line for line in cluster[0].admin("GET", "/admin/v1/audit-log?limit=1000").lines() if line["action"] == "sale.rebuild"][-1]
    assert (line["target"], line["why"]) == (f"sales/{sale}", "the audit says stranded")


def mixed_sale(cluster):
    """Orders in every state, with and without a key, of buyers with one and with two; stock that was raised and lowered."""
    sale = cluster.make_sale(stock=STOCK, per_user_cap=5)
    orders = [buy(cluster, sale, f"u{i}", quantity=1 + i % 2) for i in range(4)]
    again = buy(cluster, sale, "u0", key="second")
    command(cluster, orders[1], "confirm")
    command(cluster, orders[2], "cancel")
    command(cluster, again, "confirm")
    for name, delta in (("more", 5), ("less", -3)):
        answer = cluster[0].admin("POST", f"/admin/v1/sales/{sale}/skus/phone/adjust", {"delta": delta, "adjust_id": name})
        assert answer.status == 200, answer
    cluster.wait_rest(sale)
    return sale


@pytest.mark.parametrize("samples", [1, pytest.param(None, marks=pytest.mark.soak)])
def test_every_item_of_a_counter_that_is_changed_is_named_or_makes_no_difference(cluster, redis, samples):
    """F24."""
    sale = mixed_sale(cluster)
    survivors = []
    for mutation in mutations(redis, sale, cluster.epoch(sale), samples=samples):
        mutation.make()
        if report(cluster, sale)["ok"]:
            survivors.append(mutation.name)
        mutation.undo()
    cluster.wait_rest(sale)
    print("\n".join(sorted(set(survivors))))
    assert set(survivors) <= set(SURVIVORS), sorted(set(survivors) - set(SURVIVORS))
    assert samples or set(survivors) == set(SURVIVORS), sorted(set(SURVIVORS) - set(survivors))  # one that is named now


def test_the_leader_alone_audits_a_sale_that_nobody_asks_about(cluster):
    def made():
        return [gateway.metric('penstock_audits_total{result="ok"}') for gateway in cluster.gateways]

    sale = cluster.make_sale(stock=10)
    order = buy(cluster, sale, "ann")
    command(cluster, order, "confirm")
    cluster.wait_rest(sale)
    before, leads = made(), [gateway.metric("penstock_cluster_leader") for gateway in cluster.gateways]
    assert sorted(leads) == [0, 1]
    assert cluster[0].admin("POST", f"/admin/v1/sales/{sale}/end", headers=ANY_VERSION).status == 200
    wait_until(lambda: made() != before, 60, what="an audit")
    assert all(now == then for now, then, leader in zip(made(), before, leads) if not leader)
