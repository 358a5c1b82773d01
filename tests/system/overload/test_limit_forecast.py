"""The dry run of a limit's change says what it would have refused in the last minute: from the rule's trial, or from a sample."""
import time

import pytest
from penstock import ANY_VERSION, Gateway


@pytest.fixture
def gateway():
    with Gateway() as g:
        g.no_limits()
        yield g


BASE = {"algorithm": "token_bucket", "key": "user", "rate": 1, "period_s": 3600}


def put(gateway, name="probe", **members):
    answer = gateway.admin("PUT", f"/admin/v1/limits/{name}", {**BASE, **members}, ANY_VERSION if name in gateway.admin("GET", "/admin/v1/limits").json["limits"] else None)
    assert answer.status in (200, 201), answer


def dry_run(gateway, name="probe", headers=ANY_VERSION, **members):
    answer = gateway.admin("PUT", f"/admin/v1/limits/{name}?dry_run=1", {**BASE, **members}, headers)
    assert answer.status == 200, answer
    (change,) = answer.json["changes"]
    return change["last_minute"]


def test_a_change_says_from_the_sample_what_it_would_have_refused(gateway):
    put(gateway, burst=100)
    sale = gateway.make_sale(stock=1000, per_user_cap=1000)
    for user in ("ann", "bob"):
        assert {gateway.buy(sale, user).status for _ in range(5)} == {202}
    says = dry_run(gateway, burst=2)
    assert 0 <= says.pop("seconds") <= 60
    assert says == {"source": "sample", "seen": 10, "refused": 6, "error": 0, "one_in": 1, "not_known": None}
    assert dry_run(gateway, burst=4)["refused"] == 2
    assert dry_run(gateway, burst=4, mode="off")["refused"] == 0
    assert dry_run(gateway, burst=7, key="global")["refused"] == 3
    assert dry_run(gateway, burst=3, key="sale", sale=sale)["refused"] == 7
    assert dry_run(gateway, burst=1, key="ip", applies_to=["status"])["seen"] == 0
    assert dry_run(gateway, "new", headers=None, burst=4)["refused"] == 2  # of a rule that there is not yet
    assert gateway.admin("GET", "/admin/v1/limits/probe").json["burst"] == 100


def test_what_other_gates_refuse_is_not_seen(gateway):
    put(gateway, "first", key="ip", burst=3)
    sale = gateway.make_sale(stock=1000, per_user_cap=1000)
    assert [gateway.buy(sale, "ann").status for _ in range(6)] == [202] * 3 + [429] * 3
    assert dry_run(gateway, "new", headers=None, burst=2) | {"seconds": 0} == {"source": "sample", "seconds": 0, "seen": 3, "refused": 1, "error": 0, "one_in": 1, "not_known": None}


@pytest.mark.slow
def test_a_change_to_the_figures_on_trial_says_what_the_trial_has_counted(gateway):
    put(gateway, burst=100, trial={"rate": 1, "burst": 2, "period_s": 3600})
    time.sleep(1)  # the trial's minute begins with the control thread's next tick
    sale = gateway.make_sale(stock=1000, per_user_cap=1000)
    assert {gateway.buy(sale, "ann").status for _ in range(5)} == {202}
    assert dry_run(gateway, burst=2)["source"] == "sample"
    time.sleep(10)
    says = dry_run(gateway, burst=2)
    assert 10 <= says.pop("seconds") <= 15
    assert says == {"source": "trial", "seen": 5, "refused": 3, "error": 0, "one_in": 1, "not_known": None}
    assert dry_run(gateway, burst=3)["source"] == "sample"
