"""Active checks of a pool's endpoints, seen by the requests of buyers."""
import pytest
from pages import PATCH, PATIENT_ROUTE
from penstock import ANY_VERSION, Gateway, wait_until
from upstreams import Reply, Upstream

# Who is well is never checked late three times in a row, however busy the machine is.
HEALTH = {"path": "/healthz", "interval_ms": 300, "timeout_ms": 300, "healthy_after": 2, "unhealthy_after": 3}


@pytest.fixture(scope="module")
def gateway():
    with Gateway() as g:
        yield g


def serving(name):
    """A server that says who it is, and how it is: `well` may be changed."""
    def serve(request):
        if request.path == "/healthz":
            return Reply(200 if server.well else 503)
        return Reply(200, name)

    server = Upstream(serve)
    server.well = True
    return server


def put(gateway, pool, route, endpoints, **more):
    have = gateway.admin("GET", f"/admin/v1/pools/{pool}").status == 200
    answer = gateway.admin("PUT", f"/admin/v1/pools/{pool}", {"endpoints": [{"address": e.address} for e in endpoints], "health": HEALTH,
                                                              "panic_share": 0, **more}, ANY_VERSION if have else None)
    assert answer.status in (200, 201), answer
    if gateway.admin("GET", f"/admin/v1/routes/{pool}").status != 200:
        answer = gateway.admin("PUT", f"/admin/v1/routes/{pool}", {"path": route, "pool": pool, **PATIENT_ROUTE})
        assert answer.status == 201, answer


def who(gateway, path, count=8):
    answers = [gateway.public("GET", path) for _ in range(count)]
    return {answer.text for answer in answers if answer.status == 200}, [answer for answer in answers if answer.status != 200]


def test_an_endpoint_whose_check_fails_gets_nothing_until_it_is_well_again(gateway):
    """PG9."""
    with serving("a") as a, serving("b") as b:
        put(gateway, "web", "/a/", [a, b])
        wait_until(lambda: who(gateway, "/a/")[0] == {"a", "b"}, what="both")
        b.well = False
        wait_until(lambda: who(gateway, "/a/")[0] == {"a"}, what="the sick one out")
        assert who(gateway, "/a/", 40) == ({"a"}, [])
        b.well = True
        wait_until(lambda: who(gateway, "/a/")[0] == {"a", "b"}, what="both again")


def test_a_dead_endpoint_of_a_new_pool_is_used_no_longer_than_a_check(gateway):
    with serving("a") as a, serving("b") as b:
        b.stop()
        put(gateway, "fresh", "/b/", [a, b])
        wait_until(lambda: who(gateway, "/b/", 20) == ({"a"}, []), what="the dead one out")
        b.start()
        wait_until(lambda: who(gateway, "/b/")[0] == {"a", "b"}, what="both")


def test_a_frozen_endpoint_fails_by_its_time_out(gateway):
    with serving("a") as a, serving("b") as b:
        put(gateway, "slow", "/c/", [a, b], outlier={"consecutive_errors": 0, "success_share_min": 0})  # the checks alone judge
        wait_until(lambda: who(gateway, "/c/")[0] == {"a", "b"}, what="both")
        assert gateway.admin("PATCH", "/admin/v1/routes/slow", {"first_byte_ms": 200}, PATCH).status == 200  # who meets it does not wait for long
        b.freeze()
        wait_until(lambda: all(gateway.public("GET", "/c/").text == "a" for _ in range(10)), what="the frozen one out")
        b.thaw()
        wait_until(lambda: who(gateway, "/c/")[0] == {"a", "b"}, what="both")


def test_checks_are_requests_of_their_own_and_end_with_the_document(gateway):
    with serving("a") as a:
        put(gateway, "asked", "/d/", [a])
        wait_until(lambda: len(a.requests) >= 3, what="checks")
        check = a.requests[0]
        assert (check.method, check.target) == ("GET", "/healthz")
        assert check.value("Host") == a.address and check.value("User-Agent").startswith("penstock/") and check.value("Connection") == "close"
        put(gateway, "asked", "/d/", [a], health=None)
        a.clear()
        assert gateway.public("GET", "/d/").text == "a"
        wait_until(lambda: [r.path for r in a.requests if r.path != "/healthz"] == ["/d/"], what="the request")
        assert len(a.requests) <= 2  # one check may have been under way


def test_bad_rules_of_checks_are_refused_by_name(gateway):
    for health, pointer in (({"interval_ms": 10}, "/health/interval_ms"), ({"path": "x"}, "/health/path"), ({"expect": []}, "/health/expect"),
                            ({"timeout_ms": 5000}, "/health/timeout_ms"), ({"healty_after": 1}, "/health/healty_after")):
        answer = gateway.admin("PUT", "/admin/v1/pools/bad", {"endpoints": [{"address": "127.0.0.1:9"}], "health": health})
        assert answer.status == 422 and answer.json["errors"][0]["pointer"] == pointer, (health, answer)
    assert gateway.admin("GET", "/admin/v1/pools/bad").status == 404
