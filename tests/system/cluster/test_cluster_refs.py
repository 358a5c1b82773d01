"""References of refusals in a cluster: every gateway opens those of the others, nobody else does, and a gateway that has no key yet answers
all the same."""
import contextlib
import re
import shutil

import pytest
from cluster import PATIENT, Cluster, Member
from penstock import wait_until, window_s
from proxy import CUT, WELL

FORM = re.compile(r"^[A-Za-z0-9_-]{40}$")


@pytest.fixture(scope="module")
def pair(kafka):
    with Cluster(kafka, gateways=2, settings=PATIENT) as c:
        yield c


def refused(gateway):
    """The reference of a refusal by this gateway: a new cluster may not have its key in the first moment."""
    ref = wait_until(lambda: gateway.public("GET", "/none").json.get("ref"), 30, 0.05, f"a reference of gateway {gateway.index}")
    assert FORM.match(ref), ref
    return ref


def explain(gateway, ref):
    return gateway.admin("GET", f"/admin/v1/explain/{ref}")


def assert_opens(gateway, ref, verdict="not_found"):
    """Also if the gateway hears of the key only now."""
    story = wait_until(lambda: (answer := explain(gateway, ref)).status == 200 and answer.json, 30, 0.05, f"{ref} open at gateway {gateway.index}")
    assert (story["ref"], story["verdict"]) == (ref, verdict), story
    return story


@contextlib.contextmanager
def newcomer(cluster, index):
    """A gateway with an empty state, on the way to Redis of the one with this index; it is not started."""
    gateway = Member(cluster, index, cluster.settings, name=f"new-{len(cluster.strangers)}")
    cluster.strangers.append(gateway)
    gateway.state.mkdir(mode=0o700)
    for name in ("tokens.json", "admin.token"):
        shutil.copy2(cluster[0].state / name, gateway.state / name)
    try:
        yield gateway
    finally:
        if gateway.alive:
            gateway.kill()


@contextlib.contextmanager
def without_redis(cluster, index):
    cluster[index].redis_route(CUT)
    try:
        yield
    finally:
        cluster[index].redis_route(WELL)


def first_no(gateway):
    """What a gateway says to a request for nothing as soon as it listens."""
    def asked():
        assert gateway.alive, gateway.log()
        with contextlib.suppress(OSError):
            return gateway.public("GET", "/none")

    return wait_until(asked, 30, 0.05, "an answer")


def test_any_gateway_opens_the_references_of_the_others_and_all_say_the_same(pair):
    sale = pair.make_sale(stock=5)
    rule = {"algorithm": "fixed_window", "key": "user", "rate": 1, "period_s": window_s(), "mode": "enforce", "applies_to": ["order"], "sale": sale}
    pair[0].limit("of-the-pair", **rule)
    names = set()
    for at, gateway in enumerate(pair.gateways):
        refused(gateway)
        wait_until(lambda: gateway.admin("GET", "/admin/v1/limits/of-the-pair").status == 200, 30, 0.05, "the limit")
        no = wait_until(lambda: (answer := gateway.buy(sale, f"ann-{at}", quantity=0)).code == "user_rate" and answer, 30, 0.05, "a limited order")
        stories = [assert_opens(other, no.json["ref"], "user_rate") for other in (pair[at], pair[1 - at])]
        assert stories[0]["rule"] == {"kind": "limit", "name": "of-the-pair", "deleted": False, "changed": False}
        wait_until(lambda: explain(pair[1 - at], no.json["ref"]).json == stories[0], 30, 0.1, "the same story at the other gateway")
        names.add(stories[0]["gateway"])
    assert len(names) == 2 and None not in names


def test_a_gateway_that_joins_opens_older_references_and_its_own_are_opened(pair):
    older = [refused(gateway) for gateway in pair.gateways]
    with newcomer(pair, 1) as joined:
        joined.spawn()
        pair.wait_ready(joined)
        for ref in older:
            assert explain(joined, ref).status == 200
        newer = refused(joined)
        for gateway in (*pair.gateways, joined):
            assert_opens(gateway, newer)
    for gateway in pair.gateways:  # and after it has gone
        assert_opens(gateway, newer)


def test_a_reference_of_another_cluster_is_unknown(kafka, pair):
    with Cluster(kafka, gateways=1, settings=PATIENT) as others:
        foreign, own = refused(others[0]), refused(pair[0])
        assert_opens(others[0], foreign)
        for gateway, ref in ((pair[0], foreign), (pair[1], foreign), (others[0], own)):
            answer = explain(gateway, ref)
            assert (answer.status, answer.code) == (404, "ref_unknown"), answer


def test_a_gateway_started_without_redis_refuses_with_the_keys_it_has(pair):
    """One that was here before has them on its disk."""
    older = refused(pair[1])
    assert pair[1].stop() == 0
    with without_redis(pair, 1):
        pair[1].spawn()
        no = first_no(pair[1])
        assert no.status >= 400 and FORM.match(no.json["ref"]), no
        assert_opens(pair[0], no.json["ref"], no.code)
        assert_opens(pair[1], older)
        assert not pair[1].ready()
    pair.wait_ready(pair[1])
    assert_opens(pair[0], refused(pair[1]))


def test_a_new_gateway_started_without_redis_refuses_without_a_reference_and_makes_no_key(pair):
    """A key of its own would be one that the cluster does not have."""
    ref = refused(pair[0])
    with newcomer(pair, 1) as alone:
        with without_redis(pair, 1):
            alone.spawn()
            no = first_no(alone)
            assert no.status >= 400 and no.code and "ref" not in no.json and "penstock-ref" not in no.headers, no
            assert explain(alone, ref).code == "ref_unknown"
            assert alone.alive and not alone.ready()
        pair.wait_ready(alone)
        assert_opens(pair[0], refused(alone))
        assert_opens(alone, ref)
