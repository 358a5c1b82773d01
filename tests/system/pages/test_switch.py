"""Splits of a route on running gateways: who goes where, who stays when a share changes, and a split that is taken back by itself. In a cluster
also while one of the gateways dies."""
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cluster import Cluster, allowed_s
from pages import PATIENT_ROUTE, audit_log, change_route, from_client, gateway_before, named_server, put_pool, put_route, route
from penstock import ANY_VERSION, Gateway, wait_until
from upstreams import Reply

USERS = [f"user-{n}" for n in range(2000)]


def answered_by(gateway, user=None, headers=None, path="/p/1"):
    answer = gateway.public("GET", path, user=user, headers=headers)
    assert answer.status == 200, answer
    return answer.text


def those_in(gateway, name, users=None):
    return {user for user in users or USERS if answered_by(gateway, user) == name}


old, new = named_server("old"), named_server("new")


@pytest.fixture()
def gateway(old, new):
    with gateway_before(old=old, new=new) as one:
        put_route(one, "product", path="/p/", pool="old")
        yield one


# --- Who goes where. ---


def test_a_share_of_users_goes_to_the_new_pool_and_they_stay_when_it_grows(gateway):
    """PG11."""
    change_route(gateway, "product", split=[{"pool": "new", "share": 0.1}])
    tenth = those_in(gateway, "new")
    assert 150 < len(tenth) < 250
    assert those_in(gateway, "new") == tenth  # the same ones each time
    change_route(gateway, "product", split=[{"pool": "new", "share": 0.3}])
    third = those_in(gateway, "new")
    assert 520 < len(third) < 680 and tenth < third
    change_route(gateway, "product", split=[{"pool": "new", "share": 0.1}])
    assert those_in(gateway, "new") == tenth
    change_route(gateway, "product", split=[{"pool": "new", "share": 0}])
    assert those_in(gateway, "new") == set()
    change_route(gateway, "product", split=[{"pool": "new", "share": 1}])
    assert len(those_in(gateway, "new")) == len(USERS)


def test_an_override_sets_the_share_for_a_time_and_the_document_stays(gateway):
    change_route(gateway, "product", split=[{"pool": "new", "share": 0.1}])
    tenth = those_in(gateway, "new")
    assert gateway.override("split:product:new", 0.3)["without"] == 0.1
    assert tenth < those_in(gateway, "new") and gateway.metric('penstock_route_split_ratio{route="product",pool="new",split="0"}') == 0.3
    assert [split["share"] for split in route(gateway, "product")["split"]] == [0.1]
    gateway.end_override("split:product:new")
    assert those_in(gateway, "new") == tenth


def test_an_override_of_a_share_must_fit_and_goes_with_its_split(gateway, new):
    put_pool(gateway, "newer", new)
    change_route(gateway, "product", split=[{"pool": "new", "share": 0.1}, {"pool": "newer", "share": 0.2}])
    path, wanted = "/admin/v1/overrides/split:product:", {"value": 0.81, "ttl_s": 60, "reason": "a test"}
    answer = gateway.admin("PUT", path + "new", wanted)
    assert (answer.status, answer.json["pointer"]) == (422, "/value"), answer
    answer = gateway.admin("PUT", path + "old", wanted)
    assert answer.status == 404 and "did you mean" in answer.json["detail"], answer
    gateway.override("split:product:newer", 0.8)
    change_route(gateway, "product", split=[{"pool": "new", "share": 0.1}])
    assert gateway.overrides() == {}
    change_route(gateway, "product", split=[{"pool": "new", "share": 0.1, "by": "cookie:a"}, {"pool": "new", "share": 0.1, "by": "cookie:b"}])
    answer = gateway.admin("PUT", path + "new", {**wanted, "value": 0.2})
    assert (answer.status, answer.code) == (409, "conflict"), answer


@pytest.mark.slow
def test_the_same_users_are_in_after_a_restart(old, new, tmp_path):
    """PG11."""
    for _ in range(2):
        with Gateway(tmp_path) as gateway:
            gateway.no_limits()
            if _ == 0:
                put_pool(gateway, "old", old)
                put_pool(gateway, "new", new)
                put_route(gateway, "product", path="/p/", pool="old", split=[{"pool": "new", "share": 0.1}])
                before = those_in(gateway, "new")
            else:
                assert those_in(gateway, "new") == before != set()


def test_a_cookie_or_a_header_chooses(gateway):
    change_route(gateway, "product", split=[{"pool": "new", "share": 1, "by": "header:X-Beta=1"}, {"pool": "new", "share": 0.5, "by": "cookie:sid"}])
    assert answered_by(gateway, headers={"X-Beta": "1"}) == "new"
    assert answered_by(gateway, headers={"X-Beta": "0"}) == answered_by(gateway) == "old"
    by_cookie = {sid: answered_by(gateway, headers={"Cookie": f"a=1; sid={sid}"}) for sid in range(200)}
    assert 60 < sum(name == "new" for name in by_cookie.values()) < 140
    assert all(answered_by(gateway, headers={"Cookie": f"sid={sid}"}) == name for sid, name in by_cookie.items())


def test_by_request_the_share_is_exact_and_nobody_sticks(gateway):
    change_route(gateway, "product", split=[{"pool": "new", "share": 0.2, "by": "request"}])
    names = [answered_by(gateway, "ann") for _ in range(2000)]
    assert 380 <= names.count("new") <= 420


# --- The automatic return. ---


def keep_asking(gateway, stop, users=USERS, seconds=60):
    """Each request a different user at another address, until `stop` is true, which is asked five times a second: the admin listener has a limit of its own."""
    end = time.monotonic() + seconds
    due = 0
    while time.monotonic() < end:
        for number, user in enumerate(users):
            gateway.public("GET", "/p/1", user=user, headers=from_client(number))
            if time.monotonic() >= due:
                due = time.monotonic() + 0.2
                if stop():
                    return True
    return False


def returned(gateway):
    return route(gateway, "product")["returned"]


SPLIT = {"pool": "new", "share": 0.5, "return": {"errors_above": 0.1, "window_s": 10}}


def test_a_pool_that_fails_is_left_by_itself_and_the_audit_says_the_figures(gateway, new):
    """PG12."""
    change_route(gateway, "product", split=[SPLIT])
    new.serve = lambda request: Reply(500, "broken")
    assert keep_asking(gateway, lambda: returned(gateway) != [], USERS[:40])
    entry, = returned(gateway)
    assert entry["why"] == "errors" and entry["split"]["share"] == 0.5
    assert entry["new"]["requests"] >= 50 and entry["new"]["failure_share"] == 1 and entry["old"]["failures"] == 0
    assert those_in(gateway, "new", USERS[:200]) == set()  # and nobody meets a failure any more
    line, = audit_log(gateway, "route.return")
    assert line["who"] == "system" and line["target"] == "routes/product"
    assert line["from"]["share"] == 0.5 and line["to"] == entry
    gateway.wait_log("split_returned")


def test_while_the_breaker_of_the_new_pool_is_open_its_users_have_the_old_one(gateway, new):
    change_route(gateway, "product", split=[{**SPLIT, "return": None}])
    mine = those_in(gateway, "new", USERS[:100])
    gateway.override("breaker:pool:new", "open")
    assert those_in(gateway, "new", USERS[:100]) == set()
    gateway.end_override("breaker:pool:new")
    assert those_in(gateway, "new", USERS[:100]) == mine


def test_what_was_taken_back_stays_so_over_a_restart_until_the_split_is_another_one(old, new, tmp_path):
    """PG12."""
    with Gateway(tmp_path) as gateway:
        gateway.no_limits()
        put_pool(gateway, "old", old)
        put_pool(gateway, "new", new)
        put_route(gateway, "product", path="/p/", pool="old", split=[SPLIT])
        new.serve = lambda request: Reply(500, "broken")
        assert keep_asking(gateway, lambda: returned(gateway) != [], USERS[:40])
    new.serve = lambda request: "new"
    with Gateway(tmp_path) as gateway:
        assert len(returned(gateway)) == 1 and those_in(gateway, "new", USERS[:100]) == set()
        change_route(gateway, "product", total_ms=50000)  # not the split
        assert len(returned(gateway)) == 1 and those_in(gateway, "new", USERS[:100]) == set()
        change_route(gateway, "product", split=[{**SPLIT, "share": 0.4}])
        assert returned(gateway) == [] and 20 < len(those_in(gateway, "new", USERS[:100])) < 60
        change_route(gateway, "product", split=[SPLIT])  # the old one does not bring it back
        assert returned(gateway) == [] and those_in(gateway, "new", USERS[:100]) != set()


def test_an_operator_gives_it_its_share_again(gateway, new):
    change_route(gateway, "product", split=[SPLIT])
    new.serve = lambda request: Reply(500, "broken")
    assert keep_asking(gateway, lambda: returned(gateway) != [], USERS[:40])
    new.serve = lambda request: "new"
    answer = gateway.admin("POST", "/admin/v1/routes/product/resume", {"reason": "it was mended"})
    assert answer.status == 200 and answer.json["returned"] == []
    wait_until(lambda: 30 < len(those_in(gateway, "new", USERS[:100])) < 70)  # its breaker closes by probes
    assert audit_log(gateway, "route.resume")[0]["why"] == "it was mended"
    assert not keep_asking(gateway, lambda: returned(gateway) != [], USERS[:100], seconds=3)  # judged anew
    assert gateway.admin("POST", "/admin/v1/routes/product/resume").status == 200  # nothing to do
    assert gateway.admin("POST", "/admin/v1/routes/nothing/resume").status == 404


def test_a_slow_pool_is_left_for_its_latency(gateway, new):
    """PG12: A second slower: whatever the machine does beside, the old pool is faster than a third of it."""
    change_route(gateway, "product", split=[{"pool": "new", "share": 0.5, "return": {"p99_above": 3, "window_s": 30}}])
    slow = those_in(gateway, "new", USERS[:60])
    new.delay_s = 1
    end = threading.Event()

    def wait_for_it(user):
        while not end.is_set():
            gateway.public("GET", "/p/1", user=user)

    with ThreadPoolExecutor(20) as pool:
        for user in list(slow)[:20]:
            pool.submit(wait_for_it, user)
        try:
            assert keep_asking(gateway, lambda: returned(gateway) != [], [user for user in USERS[:60] if user not in slow])
        finally:
            end.set()
    entry, = returned(gateway)
    assert entry["why"] == "latency" and entry["new"]["p99_ms"] > 3 * entry["old"]["p99_ms"]


# --- In a cluster. ---


@pytest.fixture(scope="module")
def cluster(kafka):
    with Cluster(kafka, gateways=2) as both:
        yield both


def seconds_until(check):
    began = time.monotonic()
    wait_until(check, every=0.005)
    return time.monotonic() - began


def wait_split(gateway, share):
    wait_until(lambda: (found := gateway.admin("GET", "/admin/v1/routes/product")).status == 200
               and [split["share"] for split in found.json.get("split", [])] == [share], what="the split at the other gateway")


def test_a_switch_is_in_force_at_the_other_gateway_within_a_second_and_back_as_fast(cluster, old, new):
    """By the median of three each way: one pause of the machine is no slow switch."""
    first, second = cluster[0], cluster[1]
    put_pool(first, "old", old)
    put_pool(first, "new", new)
    put_route(first, "product", path="/p/", pool="old")
    wait_until(lambda: second.public("GET", "/p/1").status == 200)
    took_s = {"new": [], "old": []}
    for share, name in 3 * ((1, "new"), (0, "old")):
        change_route(first, "product", split=[{"pool": "new", "share": share}])
        took_s[name].append(seconds_until(lambda: answered_by(second, "ann") == name))
    assert all(statistics.median(seconds) < allowed_s(1) for seconds in took_s.values()), took_s
    change_route(first, "product", split=[{"pool": "new", "share": 0.5}])
    wait_split(second, 0.5)
    assert those_in(first, "new", USERS[:200]) == those_in(second, "new", USERS[:200])


def test_a_return_at_one_gateway_is_one_at_the_other_within_a_second(cluster, old, new):
    first, second = cluster[0], cluster[1]
    put_pool(first, "old", old)
    put_pool(first, "new", new)
    put_route(first, "product", path="/p/", pool="old", split=[SPLIT])
    wait_split(second, 0.5)
    new.serve = lambda request: Reply(500, "broken")
    assert keep_asking(first, lambda: returned(first) != [], USERS[:40]), first.log()[-3000:]
    assert seconds_until(lambda: returned(second) != []) < allowed_s(1)
    assert returned(first) == returned(second)
    assert all(second.public("GET", "/p/1", user=user).text == "old" for user in USERS[:100])


def test_a_gateway_that_dies_in_the_middle_of_a_switch_leaves_one_that_is_whole(cluster, old, new):
    first, second = cluster[0], cluster[1]
    put_pool(first, "old", old)
    put_pool(first, "new", new)
    new.serve = lambda request: "new"
    stop = threading.Event()
    failed = []

    def watch():
        while not stop.is_set():
            answer = second.public("GET", "/p/1", user="ann")
            if answer.status != 200 or answer.text not in ("old", "new"):
                failed.append(answer)

    watcher = threading.Thread(target=watch)
    put_route(first, "product", path="/p/", pool="old", split=[{"pool": "new", "share": 0}])
    wait_split(second, 0)
    watcher.start()
    try:
        killer = threading.Timer(0.005, first.kill)
        killer.start()
        try:
            first.admin("PATCH", "/admin/v1/routes/product", {"split": [{"pool": "new", "share": 1}]},
                        {**ANY_VERSION, "Content-Type": "application/merge-patch+json"})
        except OSError:
            pass  # it died before it could answer
        killer.join()
        time.sleep(1)  # what it could still write is there

        def share_and_answer():
            return route(second, "product")["split"][0]["share"], answered_by(second, "ann")

        wait_until(lambda: share_and_answer() in ((0, "old"), (1, "new")), what="one that is whole")
        change_route(second, "product", split=[{"pool": "new", "share": 1}])  # goes on without the dead one
        assert answered_by(second, "ann") == "new"
        cluster.restart(first)
        wait_split(first, 1)
        assert answered_by(first, "ann") == "new"
    finally:
        stop.set()
        watcher.join()
    assert not failed, failed[:3]


# --- Mirrors. ---


def mirrored(gateway):
    return {result: gateway.metric(f'penstock_route_mirrors_total{{route="product",result="{result}"}}') for result in ("sent", "failed", "left_out")}


def wait_copied(gateway):
    wait_until(lambda: gateway.metric('penstock_upstream_in_flight{pool="new"}') == 0, what="the end of what is copied")


def test_a_share_of_gets_is_copied_to_another_pool_whose_answers_are_dropped(gateway, old, new):
    change_route(gateway, "product", methods=["GET", "POST"], mirror={"pool": "new", "share": 0.5})
    new.serve = lambda request: "nobody sees this" * 10000
    for n in range(200):
        assert answered_by(gateway, path=f"/p/{n}?a=1") == "old"
        if n % 20 == 19:  # a worker copies 64 at once at most
            wait_copied(gateway)
    assert 90 <= len(new.requests) <= 110 and len(old.requests) == 200
    assert all(request.value("Penstock-Mirror") == "?1" and request.method == "GET" for request in new.requests)
    assert not any(request.values("Penstock-Mirror") for request in old.requests)
    copies = {request.target for request in new.requests}
    assert copies < {request.target for request in old.requests}
    wait_until(lambda: mirrored(gateway) == {"sent": len(new.requests), "failed": 0, "left_out": 0})
    before = len(new.requests)
    assert all(gateway.public("POST", "/p/1", body=b"x").status == 200 for _ in range(20))
    wait_copied(gateway)
    assert len(new.requests) == before and mirrored(gateway)["sent"] == before


def test_a_mirror_that_is_frozen_or_dead_costs_buyers_nothing_and_is_not_tried_again(gateway, new):
    new.freeze()
    change_route(gateway, "product", mirror={"pool": "new", "share": 1})
    began = time.monotonic()
    assert {answered_by(gateway) for _ in range(300)} == {"old"}
    assert time.monotonic() - began < PATIENT_ROUTE["first_byte_ms"] / 1e3  # so not even one of them has waited for a copy
    assert mirrored(gateway)["sent"] <= 2 * 64 and mirrored(gateway)["left_out"] >= 300 - 2 * 64 - mirrored(gateway)["failed"]
    new.thaw()
    new.stop()
    assert {answered_by(gateway) for _ in range(100)} == {"old"}
    assert gateway.metric('penstock_upstream_retries_total{pool="new"}') == 0


def test_mirrors_are_what_the_ladder_ends_first(gateway, new):
    change_route(gateway, "product", mirror={"pool": "new", "share": 1}, **{"class": "core"})
    gateway.override("feature:mirror", "off")
    assert answered_by(gateway) == "old" and mirrored(gateway)["left_out"] == 1
    assert gateway.admin("GET", "/admin/v1/features/mirror").json["level"] == 1
    gateway.end_override("feature:mirror")
    answered_by(gateway)
    wait_until(lambda: len(new.requests) == 1)


def test_metrics_say_the_share_in_force_and_what_was_taken_back(gateway, new):
    change_route(gateway, "product", split=[SPLIT])
    share = 'penstock_route_split_ratio{route="product",pool="new",split="0"}'
    assert gateway.metric(share) == 0.5
    new.serve = lambda request: Reply(500, "broken")
    assert keep_asking(gateway, lambda: returned(gateway) != [], USERS[:40])
    assert gateway.metric(share) == 0
    assert gateway.metric('penstock_route_returns_total{route="product",cause="errors"}') == 1
    assert gateway.metric('penstock_route_requests_total{route="product",pool="new",outcome="error"}') >= 20
