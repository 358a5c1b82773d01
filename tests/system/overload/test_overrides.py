"""Overrides over real HTTP: what may be set, what the list says, and how an override ends. What each does is tested with what it is about."""
import time

import pytest
from penstock import PATIENT_LOG, Gateway, rfc3339, wait_until, window_s

OVERRIDES = "/admin/v1/overrides"


@pytest.fixture(scope="module")
def gateway():
    with Gateway(settings=PATIENT_LOG) as one:
        yield one


def lines(gateway, action):
    return [line for line in gateway.admin("GET", "/admin/v1/audit-log?limit=1000").lines() if line["action"] == action]


def test_an_override_is_set_replaced_shown_and_ended(gateway):
    wanted = {"value": 1, "until": rfc3339(60), "reason": "the show begins"}
    answer = gateway.admin("PUT", f"{OVERRIDES}/level", wanted)
    assert answer.status == 201, answer
    have = answer.json
    assert {**have, "since": None} == {"target": "level", "gateway": None, "value": 1, "without": 0, "by": "first", "since": None,
                                       "until": wanted["until"], "reason": "the show begins", "run": None}
    assert gateway.admin("PUT", f"{OVERRIDES}/level", {"value": 2, "ttl_s": 60, "reason": "more"}).status == 200
    now = gateway.admin("GET", f"{OVERRIDES}/level").json
    assert (now["value"], now["reason"]) == (2, "more") and now["since"] >= have["since"]
    assert gateway.overrides() == {"level": now}
    assert gateway.metric('penstock_overrides{kind="level"}') == 1 and gateway.metric('penstock_overrides{kind="limit"}') == 0
    assert 0 <= gateway.metric("penstock_override_oldest_seconds") < 60
    answer = gateway.admin("DELETE", f"{OVERRIDES}/level", {"reason": "enough"})
    assert (answer.status, answer.text) == (204, "")
    assert gateway.admin("GET", f"{OVERRIDES}/level").status == gateway.admin("DELETE", f"{OVERRIDES}/level").status == 404
    assert gateway.overrides() == {} and gateway.metric("penstock_override_oldest_seconds") == 0
    put, drop = lines(gateway, "override.put"), lines(gateway, "override.delete")
    assert [(line["who"], line["target"], line["to"]["value"], line["why"]) for line in put] == [
        ("first", "overrides/level", 1, "the show begins"), ("first", "overrides/level", 2, "more")]
    assert [(line["from"]["value"], line["to"], line["why"]) for line in drop] == [(2, None, "enough")]


def test_the_end_of_its_time_is_logged_and_has_an_audit_entry(gateway):
    gateway.override("feature:exports", "off", ttl_s=1)
    wait_until(lambda: gateway.overrides() == {}, what="the end")
    gateway.wait_log("override_ended", '"target":"feature:exports"', '"cause":"ttl"')
    [line] = wait_until(lambda: lines(gateway, "override.expire"), what="the entry")
    assert (line["who"], line["target"], line["from"]["value"]) == ("system", "overrides/feature:exports", "off")
    assert gateway.read("/admin/v1/features/exports").json["state"] == "on"


def test_the_one_for_this_gateway_wins_and_the_other_is_what_it_would_be_without(gateway):
    own = gateway.read("/admin/v1/settings").json["gateway"]
    gateway.override("level", 1)
    mine = gateway.override("level", 3, gateway=own)
    assert (mine["gateway"], mine["value"], mine["without"]) == (own, 3, 1)
    assert gateway.read("/admin/v1/overload?history_s=0").json["level"] == 3
    assert set(gateway.overrides()) == {"level", f"level@{own}"}
    assert gateway.admin("GET", f"{OVERRIDES}/level?gateway={own}").json["value"] == 3
    gateway.end_override("level", f"?gateway={own}")
    assert gateway.read("/admin/v1/overload?history_s=0").json["level"] == 1
    gateway.end_override("level")


def test_a_limit_takes_another_mode_for_a_time(gateway):
    gateway.no_limits()
    gateway.limit("tight", algorithm="fixed_window", key="global", rate=1, period_s=window_s(), applies_to=["order"])
    sale = gateway.make_sale(stock=1000)
    assert [gateway.buy(sale, user).status for user in ("ann", "bob")] == [202, 429]
    assert gateway.override("limit:tight", "shadow")["without"] == "enforce"
    assert gateway.buy(sale, "bob").status == 202 and gateway.read("/admin/v1/limits/tight").json["mode"] == "enforce"
    gateway.end_override("limit:tight")
    assert gateway.buy(sale, "cid").status == 429
    gateway.override("limit:tight", "off", ttl_s=1)
    assert gateway.buy(sale, "cid").status == 202
    wait_until(lambda: gateway.overrides() == {}, what="the end")
    gateway.wait_log("override_ended", '"target":"limit:tight"', '"cause":"ttl"')
    wait_until(lambda: gateway.buy(sale, f"dan-{time.monotonic()}").status == 429, what="refusals")


@pytest.mark.parametrize("target, near", [("levels", "level"), ("feature:export", "feature:exports")])
def test_an_unknown_target_is_named_with_a_near_one(gateway, target, near):
    answer = gateway.admin("PUT", f"{OVERRIDES}/{target}", {"value": 1, "ttl_s": 60, "reason": "a test"})
    assert answer.status == 404 and f'did you mean "{near}"?' in answer.json["detail"], answer


@pytest.mark.parametrize("body, pointers", [
    ({}, ["/value", "/ttl_s", "/reason"]),
    ({"value": 5, "ttl_s": 0, "reason": "x"}, ["/value", "/ttl_s"]),
    ({"value": 1, "ttl_s": 60, "until": "2031-01-01T00:00:00Z", "reason": "x"}, ["/until"]),
    ({"value": 1, "until": "2020-01-01T00:00:00Z", "reason": "x"}, ["/until"]),
    ({"value": 1, "ttl_s": 60, "reason": "x", "gateway": "nobody"}, ["/gateway"]),
    ({"value": 1, "ttl_s": 60, "reason": "x", "for_ever": True}, ["/for_ever"]),
])
def test_what_is_wrong_is_named_and_changes_nothing(gateway, body, pointers):
    answer = gateway.admin("PUT", f"{OVERRIDES}/level", body)
    assert answer.status == 422 and [fault["pointer"] for fault in answer.json["errors"]] == pointers, answer
    assert gateway.overrides() == {}


def test_a_dry_run_sets_nothing(gateway):
    dry = gateway.override("feature:exports", "off", query="?dry_run=1")
    assert dry["dry_run"] is True and (dry["override"]["value"], dry["override"]["without"]) == ("off", "on")
    assert len(dry["levels"]) == 4 and gateway.overrides() == {}
    assert gateway.admin("DELETE", f"{OVERRIDES}/level?dry_run=1").status == 422


def test_a_viewer_reads_and_does_not_set(gateway):
    viewer = gateway.admin("POST", "/admin/v1/tokens", {"role": "viewer"}).json["token"]
    assert gateway.admin("GET", OVERRIDES, token=viewer).status == 200
    assert gateway.admin("PUT", f"{OVERRIDES}/level", {"value": 1, "ttl_s": 60, "reason": "x"}, token=viewer).status == 403
