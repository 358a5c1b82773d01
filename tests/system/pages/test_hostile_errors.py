"""One page that always fails, or one stranger who asks for it, neither opens a breaker nor ejects a server nor returns a split; a shop that fails for
everybody does all of it. And nobody can hold a breaker open."""
import contextlib
import threading
import time

import pytest
from pages import breaker, change_route, from_client, named_server, put_pool, put_route, route, wait_breaker
from penstock import Gateway, call, wait_until
from upstreams import Reply, Upstream

SORRY = {"kind": "static", "status": 503, "body": "sorry"}
STRANGER = {"X-Forwarded-For": "203.0.113.66"}


class Shop(Upstream):
    """Its bugs always fail; all of it does while `fails`."""

    def __init__(self):
        super().__init__(self.page)
        self.fails = False

    def page(self, request):
        if request.path == "/health":
            return Reply(500 if self.fails else 200, "health")
        return Reply(500, "bug") if self.fails or "bug" in request.path else "page"


@pytest.fixture()
def shop():
    with Shop() as one:
        yield one


@contextlib.contextmanager
def gateway_before(*servers, **pool):
    with Gateway(settings={"workers": 1}) as one:
        one.no_limits()
        put_pool(one, "web", *servers, **pool)
        put_route(one, "all", path="/", pool="web", fallback=[SORRY])
        yield one


def ask_for_bugs(gateway, ended, path="/bug", fields=STRANGER, pause_s=0.02):
    number = 0
    while not ended.wait(pause_s):
        number += 1
        call(gateway.port, "GET", path.format(number), None, fields)


@contextlib.contextmanager
def background(*calls):
    ended = threading.Event()
    threads = [threading.Thread(target=function, args=(gateway, ended), kwargs=more) for function, gateway, more in calls]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def visit(gateway, count, pause_s=0.02):
    """Visitors, each at an address of its own; the statuses of what they got."""
    seen = []
    for number in range(count):
        seen.append(call(gateway.port, "GET", f"/page/{number % 30}", None, from_client(number)).status)
        time.sleep(pause_s)
    return seen


def state(gateway, name="pool:web"):
    return (breaker(gateway, name) or {"state": "closed"})["state"]


@pytest.mark.parametrize("path", ["/bug", "/bug/{}"], ids=["one page", "many pages"])
def test_one_stranger_opens_no_breaker_for_others_and_ejects_no_server(shop, path):
    """It asks for what fails four times as often as the visitors ask for what does not."""
    with Shop() as other, gateway_before(shop, other) as gateway:
        with background(*[(ask_for_bugs, gateway, {"path": path})] * 4):
            assert set(visit(gateway, 400)) == {200}
        assert state(gateway) == "closed"
        live = gateway.admin("GET", "/admin/v1/pools/web").json["live"]
        assert {one["state"] for one in live} == {"up"} and sum(one["errors"] for one in live) == 0


def test_one_page_that_always_fails_does_not_either_whoever_asks_for_it(shop):
    with Shop() as other, gateway_before(shop, other) as gateway:
        for number in range(300):
            assert call(gateway.port, "GET", "/bug", None, from_client(number)).status == 500
            assert call(gateway.port, "GET", f"/page/{number % 3}", None, from_client(number)).status == 200
        assert state(gateway) == "closed"
        assert {one["state"] for one in gateway.admin("GET", "/admin/v1/pools/web").json["live"]} == {"up"}


def test_a_shop_that_fails_for_everybody_opens_its_breaker_within_some_twenty_requests(shop):
    shop.fails = True
    with gateway_before(shop, outlier={"consecutive_errors": 0}) as gateway:
        statuses = [call(gateway.port, "GET", f"/page/{number}", None, from_client(number)).status for number in range(30)]
        failed = statuses.index(503)
        assert 20 <= failed <= 24 and statuses == [500] * failed + [503] * (30 - failed)  # two of them may share a bit of the sample


def test_a_server_that_fails_for_everybody_is_ejected_at_its_fifth_error(shop):
    with Shop() as broken, gateway_before(shop, broken) as gateway:
        assert set(visit(gateway, 60, pause_s=0)) == {200}
        broken.fails = True
        before = len(broken.requests)
        for number in range(100, 140):
            call(gateway.port, "GET", "/page/1", None, from_client(number))
            time.sleep(0.05)
        wait_until(lambda: {one["address"]: one["state"] for one in gateway.admin("GET", "/admin/v1/pools/web").json["live"]}[broken.address] == "ejected", what="ejection")
        assert len(broken.requests) - before <= 10


def fail_until_open(gateway, shop):
    shop.fails = True
    for number in range(60):
        call(gateway.port, "GET", f"/page/{number}", None, from_client(number))
    wait_breaker(gateway, "pool:web", "open")


def test_no_stranger_holds_a_breaker_open(shop):
    with gateway_before(shop) as gateway:
        fail_until_open(gateway, shop)
        shop.fails = False
        with background((ask_for_bugs, gateway, {"path": "/bug/{}", "pause_s": 0}), (ask_for_bugs, gateway, {"pause_s": 0})):
            began = time.monotonic()
            while state(gateway) != "closed":
                visit(gateway, 5)
                assert time.monotonic() - began < 20
            time.sleep(1)
            assert set(visit(gateway, 100)) == {200}


def test_a_shop_of_one_page_and_one_visitor_comes_back(shop):
    with gateway_before(shop) as gateway:
        fail_until_open(gateway, shop)
        time.sleep(2)
        for _ in range(20):
            call(gateway.port, "GET", "/page/1", None, STRANGER)
            time.sleep(0.1)
        shop.fails = False
        began = time.monotonic()
        while call(gateway.port, "GET", "/page/1", None, STRANGER).text != "page":
            assert time.monotonic() - began < 25
            time.sleep(0.1)


def test_a_pool_with_health_checks_is_probed_by_its_health_path_and_by_no_visitor(shop):
    health = {"path": "/health", "interval_ms": 60000, "timeout_ms": 500, "unhealthy_after": 10}
    with gateway_before(shop, health=health) as gateway:
        fail_until_open(gateway, shop)
        asked = len([one for one in shop.requests if one.path != "/health"])
        time.sleep(1)
        assert set(visit(gateway, 100)) == {503}  # however many come
        assert len([one for one in shop.requests if one.path != "/health"]) == asked
        probes = [one for one in shop.requests if one.path == "/health"]
        assert 1 <= len(probes) < 60 and probes[-1].value("Host") == shop.address
        shop.fails = False
        wait_breaker(gateway, "pool:web", "closed")  # and nobody asks
        assert set(visit(gateway, 20)) == {200}


old, new = named_server("old"), named_server("new")
SPLIT = {"pool": "new", "share": 0.5, "by": "request", "return": {"errors_above": 0.05, "window_s": 10}}


@pytest.fixture()
def split(old, new):
    with Gateway(settings={"workers": 1}) as one:
        one.no_limits()
        put_pool(one, "old", old)
        put_pool(one, "new", new)
        put_route(one, "all", path="/", pool="old", split=[SPLIT])
        yield one


def test_one_stranger_does_not_return_a_split(split, new):
    """What it asks for fails at the new pool alone: half of its requests."""
    new.serve = lambda request: Reply(500, "bug") if "bug" in request.path else "new"
    with background((ask_for_bugs, split, {}), (ask_for_bugs, split, {"path": "/bug/{}"})):
        assert set(visit(split, 600)) == {200}
    assert route(split, "all")["returned"] == [] and state(split, "pool:new") == "closed"
    assert split.metric('penstock_route_judged_total{route="all",pool="new",result="bad"}') == 0
    assert split.metric('penstock_route_requests_total{route="all",pool="new",outcome="error"}') > 100


def test_a_split_that_fails_for_one_visitor_of_five_is_returned(split, new):
    new.serve = lambda request: Reply(500, "broken") if new.connections is not None and len(new.requests) % 5 == 0 else "new"
    end = time.monotonic() + 30
    while route(split, "all")["returned"] == []:
        visit(split, 20)
        assert time.monotonic() < end
    entry, = route(split, "all")["returned"]
    assert entry["why"] == "errors" and 0.08 < entry["new"]["failure_share"] < 0.35 and entry["old"]["failures"] == 0
    change_route(split, "all", split=[])
