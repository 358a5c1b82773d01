"""Which of a pool's servers get the requests, on a running gateway before real servers: the shares of each algorithm, a server that is killed, slow or drained
while requests come, and an algorithm that is changed under them."""
import collections
import contextlib
import http.client
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from pages import PATIENT_ROUTE
from penstock import ANY_VERSION, ROOT, Gateway, free_port, wait_until
from upstreams import Reply, Upstream

UNWEIGHTED = ("round_robin", "least_connections", "least_response_time", "random", "two_choices")
WEIGHTED = ("weighted_round_robin", "weighted_least_connections", "source_ip_hash", "consistent_hash", "weighted_random")
BY_LOAD = ("least_connections", "weighted_least_connections", "least_response_time", "two_choices", "consistent_hash")
CLIENTS = 8

# A process that can be killed: it answers its port.
SERVER = """
import sys, time
from upstreams import Reply, Upstream
Upstream(lambda request: Reply(body=sys.argv[1]), port=int(sys.argv[1])).start()
time.sleep(3600)
"""


class Process:
    """A server of the shop in a process of its own."""

    def __init__(self):
        self.port, self.process = free_port(), None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen([sys.executable, "-c", SERVER, str(self.port)], cwd=ROOT / "tests/system")
        wait_until(self.answers, 20, what="the server")
        return self

    def answers(self):
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        return False

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.kill()


class Visitors:
    """They ask for pages one after the other, each on a connection of its own, and count who has answered, or how it went wrong."""

    def __init__(self, gateway, clients=CLIENTS, requests=None):
        self.gateway, self.requests = gateway, requests
        self.answers, self.took_s = collections.Counter(), collections.defaultdict(list)
        self.lock, self.end = threading.Lock(), False
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(clients)]

    def run(self, client):
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=60)
        draw = random.Random(client)
        count = 0
        while not self.end and (self.requests is None or count < self.requests):
            count += 1
            fields = {"X-Forwarded-For": f"10.{client}.{draw.randrange(256)}.{draw.randrange(256)}"}
            began = time.monotonic()
            try:
                connection.request("GET", f"/{draw.random()}", headers=fields)
                response = connection.getresponse()
                body = response.read().decode()
                who = body if response.status == 200 else str(response.status)
            except (OSError, http.client.HTTPException) as error:
                who = type(error).__name__
                connection.close()
            with self.lock:
                self.answers[who] += 1
                self.took_s[who].append(time.monotonic() - began)
            if self.requests is None:
                time.sleep(0.002)
        connection.close()

    def clear(self):
        """What was counted so far."""
        with self.lock:
            answers, self.answers = self.answers, collections.Counter()
        return answers

    def next(self, count):
        """So many answers, or a few more, from now on."""
        self.clear()
        wait_until(lambda: self.answers.total() >= count, what=f"{count} answers")
        return self.clear()

    def wait_for(self, servers):
        """Until these have answered, and nobody else, of a hundred answers."""
        ports = {str(server.port) for server in servers}
        wait_until(lambda: set(self.next(100)) == ports, every=0, what=f"answers of {ports} alone")

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def join(self):
        for thread in self.threads:
            thread.join()

    def __exit__(self, *exc):
        self.end = True
        self.join()


@pytest.fixture(scope="module")
def gateway():
    with Gateway() as one:
        one.no_limits()
        yield one


@pytest.fixture
def shop():
    """Four servers, each of which answers its port."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(named(Upstream())) for _ in range(4)]


def named(server):
    server.serve = lambda request: str(server.port)
    return server


def figure(gateway, name, **labels):
    """Of the pool; the gateway has counted the tests before, too."""
    return gateway.metric(f'penstock_upstream_{name}{{pool="web"' + "".join(f',{key}="{value}"' for key, value in labels.items()) + "}")


def endpoint(server, **members):
    return {"address": server.address, **members}


def route(gateway, servers, weights=None, **pool):
    """All pages go to these servers."""
    members = [endpoint(server, weight=weight) for server, weight in zip(servers, weights or [1] * len(servers))]
    for path, document in (("pools/web", {"endpoints": members, **pool}), ("routes/all", {"path": "/", "pool": "web", **PATIENT_ROUTE})):
        exists = gateway.admin("GET", "/admin/v1/" + path).status == 200
        answer = gateway.admin("PUT", "/admin/v1/" + path, document, ANY_VERSION if exists else None)
        assert answer.status in (200, 201), answer


def patch(gateway, **members):
    answer = gateway.admin("PATCH", "/admin/v1/pools/web", members, {**ANY_VERSION, "Content-Type": "application/merge-patch+json"})
    assert answer.status == 200, answer
    return answer.json


def live(gateway):
    return {int(its["address"].rpartition(":")[2]): its for its in gateway.admin("GET", "/admin/v1/pools/web").json["live"]}


def load(gateway, requests, clients=CLIENTS):
    """The shares of the servers, by port, of so many requests without a fault."""
    with Visitors(gateway, clients, requests // clients) as visitors:
        visitors.join()
    answers = visitors.clear()
    assert all(who.isdigit() and len(who) > 3 for who in answers), answers
    return {int(who): count / answers.total() for who, count in answers.items()}


# --- Shares. ---


@pytest.mark.parametrize("algorithm", UNWEIGHTED + WEIGHTED)
def test_each_server_gets_its_share(gateway, shop, algorithm):
    weights = [1, 2, 3, 4]
    route(gateway, shop, weights, algorithm=algorithm)
    for server in shop:
        server.delay_s = 0.02  # so that enough is under way for those that go by it
    shares = load(gateway, 2400, 24)
    within = 0.2 if algorithm == "least_response_time" else 0.06  # which of four equal servers is the fastest is chance
    for server, weight in zip(shop, weights):
        due = weight / 10 if algorithm in WEIGHTED else 0.25
        assert abs(shares.get(server.port, 0) - due) < within, (algorithm, shares)
        wait_until(lambda: live(gateway)[server.port]["requests"] == len(server.requests), what="the count of the last answer")
        its = live(gateway)[server.port]
        assert (its["state"], its["why"], its["breaker"], its["weight"], its["weight_now"], its["errors"]) == ("up", None, "closed", weight, weight, 0)
        assert its["connections"] >= 1 and its["in_flight"] == 0
        assert 0 < its["p50_ms"] <= its["p99_ms"] and its["ewma_ms"] > 0


def test_round_robin_goes_exactly_in_turn(gateway, shop):
    route(gateway, shop, algorithm="round_robin")
    with Visitors(gateway, 1, 400) as visitor:  # one connection is one worker
        visitor.join()
    assert set(visitor.answers.values()) == {100}


def ask(gateway, path="/", **headers):
    answer = gateway.public("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert answer.status == 200, answer
    return answer.text


@pytest.mark.parametrize("algorithm, hash_by, fields", [
    ("source_ip_hash", None, lambda i: {"X-Forwarded-For": f"198.51.100.{i}"}),
    ("consistent_hash", "header:X-Cart", lambda i: {"X-Cart": f"c{i}"}),
    ("consistent_hash", "cookie:sid", lambda i: {"Cookie": f"a=b; sid=s{i}"}),
    ("consistent_hash", "path", lambda i: {}),
])
def test_a_hash_keeps_its_key_at_one_server_and_moves_only_those_of_one_that_goes(gateway, shop, algorithm, hash_by, fields):
    def homes():
        return {i: ask(gateway, f"/{i}" if hash_by == "path" else f"/{random.random()}", **fields(i)) for i in range(60)}
    route(gateway, shop, algorithm=algorithm, hash_by=hash_by)
    before = homes()
    assert homes() == before and len(set(before.values())) == 4
    gone = str(shop[1].port)
    route(gateway, [shop[0], shop[2], shop[3]], algorithm=algorithm, hash_by=hash_by)
    assert all(now == before[i] or before[i] == gone for i, now in homes().items())
    route(gateway, shop, algorithm=algorithm, hash_by=hash_by)
    assert homes() == before


# --- Changes under load. ---


def test_the_algorithm_is_changed_live_without_a_lost_request(gateway, shop):
    """PG8."""
    route(gateway, shop, [1, 2, 3, 4])
    with Visitors(gateway) as visitors:
        for algorithm in (*UNWEIGHTED, *WEIGHTED, "round_robin"):
            assert patch(gateway, algorithm=algorithm)["algorithm"] == algorithm
            answers = visitors.next(50)
            assert set(answers) <= {str(server.port) for server in shop}, (algorithm, answers)


@pytest.mark.parametrize("algorithm", UNWEIGHTED + WEIGHTED)
def test_a_server_that_is_slow_gets_fewer_requests_where_load_is_looked_at(gateway, shop, algorithm):
    """By who was asked while the others have answered 300 times: where load is looked at, by the time of all of them it has not answered once."""
    route(gateway, shop, algorithm=algorithm)
    shop[0].delay_s = 60 if algorithm in BY_LOAD else 0.05
    with Visitors(gateway) as visitors:
        visitors.next(300)
        asked = [len(server.requests) for server in shop]
        visitors.end, shop[0].delay_s = True, 0
        shop[0].cut()  # who waits there goes home
    share = asked[0] / sum(asked)
    assert share < 0.08 if algorithm in BY_LOAD else 0.1 < share < 0.4, asked
    ports = {str(server.port) for server in shop}
    assert set(visitors.clear()) <= (ports | {"502"} if algorithm in BY_LOAD else ports)


@pytest.mark.parametrize("algorithm", UNWEIGHTED + WEIGHTED)
def test_a_server_that_is_killed_is_left_out_and_comes_back(gateway, algorithm):
    """PG9."""
    with Process() as mortal, named(Upstream()) as second, named(Upstream()) as third:
        route(gateway, [mortal, second, third], algorithm=algorithm, outlier={"eject_ms": 600})
        with Visitors(gateway) as visitors:
            wait_until(lambda: visitors.answers[str(mortal.port)] > 0, what="an answer of the mortal one")
            mortal.kill()
            its = wait_until(lambda: (its := live(gateway)[mortal.port])["state"] == "ejected" and its, what="ejection")
            assert its["why"].endswith("errors in a row") and its["weight_now"] == 0 and its["errors"] >= 5
            wait_until(lambda: live(gateway)[mortal.port]["breaker"] == "open", what="its breaker")
            visitors.wait_for([second, third])
            mortal.start()
            visitors.clear()
            wait_until(lambda: visitors.answers[str(mortal.port)] > 10, 60, what="its return")
            its = live(gateway)[mortal.port]
            assert (its["state"], its["why"], its["weight_now"]) == ("up", None, 1)
            visitors.wait_for([mortal, second, third])
        assert gateway.admin("GET", "/admin/v1/pools/web").json["panic"] is False


def test_what_a_kill_breaks_is_at_most_what_was_under_way(gateway):
    """Requests that were not sent yet, or refused, go to another server."""
    with Process() as mortal, named(Upstream()) as second:
        route(gateway, [mortal, second], algorithm="round_robin", retry_budget=1)  # however many are refused until it is left out
        with Visitors(gateway) as visitors:
            wait_until(lambda: visitors.answers[str(mortal.port)] > 50, what="some answers")
            mortal.kill()
            wait_until(lambda: live(gateway)[mortal.port]["state"] == "ejected", what="ejection")
            wait_until(lambda: visitors.answers.total() > 400, what="what came afterwards")
        broken = {who: count for who, count in visitors.clear().items() if who not in (str(mortal.port), str(second.port))}
        assert set(broken) <= {"502"} and sum(broken.values()) <= CLIENTS, broken


def test_a_drained_server_gets_nothing_new_and_loses_nothing(gateway, shop):
    for server in shop:
        server.delay_s = 0.05
    route(gateway, shop, drain_ms=60000)
    with Visitors(gateway) as visitors:
        wait_until(lambda: live(gateway)[shop[0].port]["in_flight"] > 0, what="requests to it")
        members = [endpoint(server, drain=server is shop[0]) for server in shop]
        patch(gateway, endpoints=members)
        its = live(gateway)[shop[0].port]
        assert (its["state"], its["weight_now"]) == ("draining", 0)
        wait_until(lambda: live(gateway)[shop[0].port]["in_flight"] == 0, what="the end of what was under way")
        drained = len(shop[0].requests)
        patch(gateway, drain_ms=500)
        wait_until(lambda: live(gateway)[shop[0].port]["connections"] == 0, what="the end of its connections")
        wait_until(lambda: shop[0].kept == 0, what="their end there")
        visitors.next(50)
        assert len(shop[0].requests) == drained
        patch(gateway, endpoints=[endpoint(server) for server in shop])
        wait_until(lambda: len(shop[0].requests) > drained, what="requests to it again")
        assert live(gateway)[shop[0].port]["state"] == "up"
    assert set(visitors.clear()) <= {str(server.port) for server in shop}


def test_a_server_that_joins_starts_slowly(gateway, shop):
    """Its share is between those of its weight before and after; the slow start ends when its time is over."""
    route(gateway, shop[:3], slow_start_ms=60000)
    with Visitors(gateway) as visitors:
        visitors.next(1)
        route(gateway, shop, slow_start_ms=60000)
        its = live(gateway)[shop[3].port]
        assert its["state"] == "slow_start" and 0.1 <= its["weight_now"] < 0.4
        early = visitors.next(300)
        weight = live(gateway)[shop[3].port]["weight_now"]
        assert its["weight_now"] <= weight < 0.4
        patch(gateway, slow_start_ms=1000)
        wait_until(lambda: live(gateway)[shop[3].port]["state"] == "up", what="the end of slow start")
        late = visitors.next(300)
    assert 0 < early[str(shop[3].port)] / early.total() < weight / (3 + weight) + 0.06 and 0.2 < late[str(shop[3].port)] / late.total() < 0.3, (early, weight, late)
    assert live(gateway)[shop[3].port]["weight_now"] == 1


def test_a_server_whose_check_fails_gets_nothing_until_it_passes(gateway, shop):
    health = {"path": "/healthz", "interval_ms": 300, "timeout_ms": 300, "healthy_after": 2, "unhealthy_after": 3}
    route(gateway, shop, health=health, slow_start_ms=60000)
    with Visitors(gateway, 4) as visitors:
        shop[0].serve = lambda request: Reply(503) if request.path == "/healthz" else str(shop[0].port)
        its = wait_until(lambda: (its := live(gateway)[shop[0].port])["state"] == "down" and its, what="the verdict of the check")
        assert (its["why"], its["weight_now"]) == ("check: status 503", 0)
        visitors.wait_for(shop[1:])
        named(shop[0])
        wait_until(lambda: live(gateway)[shop[0].port]["state"] == "slow_start", what="its return")
        patch(gateway, slow_start_ms=500)
        wait_until(lambda: live(gateway)[shop[0].port]["state"] == "up", what="the end of its slow start")
        visitors.wait_for(shop)
    gateway.wait_log("endpoint_down", "endpoint_up")


def test_a_pool_in_panic_uses_all_it_has(gateway, shop):
    outlier = {"ejected_share_max": 1.0, "eject_ms": 60000, "consecutive_errors": 3}
    ejections = figure(gateway, "ejections_total", reason="errors_in_row")
    route(gateway, shop, outlier=outlier)
    for server in shop[:3]:
        server.stop()
    with Visitors(gateway, 4) as visitors:
        began = wait_until(lambda: (its := gateway.admin("GET", "/admin/v1/pools/web").json)["panic"] and its["panic_since"], what="panic")
        states = {its["state"] for its in live(gateway).values()}
        assert states == {"up", "ejected"} and all(its["weight_now"] == 1 for its in live(gateway).values())
        gateway.wait_log("pool_panic", "endpoint_ejected")
        assert figure(gateway, "panic") == 1
        wait_until(lambda: figure(gateway, "ejections_total", reason="errors_in_row") >= ejections + 3, what="three ejections")
        for server in shop[:3]:
            server.start()
        patch(gateway, outlier={**outlier, "eject_ms": 500})
        wait_until(lambda: {its["state"] for its in live(gateway).values()} == {"up"}, what="all up")
        assert began and wait_until(lambda: not (its := gateway.admin("GET", "/admin/v1/pools/web").json)["panic"] and its,
                                    what="the end of the panic")["panic_since"] is None
        gateway.wait_log("pool_panic_over", "endpoint_up")
        visitors.wait_for(shop)


def test_a_server_far_slower_than_the_others_is_ejected_when_the_document_says_so(gateway, shop):
    """PG9: Half a second slower: the others are faster than a tenth of one on any machine."""
    shop[0].delay_s = 0.5
    ejections = figure(gateway, "ejections_total", reason="latency")
    route(gateway, shop, outlier={"latency_factor": 5, "requests_min": 20})
    with Visitors(gateway):
        its = wait_until(lambda: (its := live(gateway)[shop[0].port])["state"] == "ejected" and its, what="ejection")
    assert its["why"].endswith("times the pool's median latency") and its["errors"] == 0
    assert figure(gateway, "ejections_total", reason="latency") == ejections + 1


def test_what_is_measured_is_no_fault_in_a_put_and_changes_nothing(gateway, shop):
    pool = "/admin/v1/pools/calm"
    assert gateway.admin("PUT", pool, {"endpoints": [endpoint(shop[0])]}).status == 201
    document = gateway.admin("GET", pool).json
    assert (document["panic"], document["panic_since"]) == (False, None)
    assert gateway.admin("PUT", pool, document, ANY_VERSION).status == 200
    assert gateway.admin("PUT", pool, {**document, "panic": True, "panic_since": "2026-11-01T00:00:00Z"}, ANY_VERSION).status == 200
    document = gateway.admin("GET", pool).json
    assert (document["panic"], document["panic_since"]) == (False, None)
