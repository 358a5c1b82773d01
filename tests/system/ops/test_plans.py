"""Plans on one gateway: run, over kills at each step, approvals, and what strangers and mistakes send. Their states in virtual time: tests/unit/plans_test.c."""
import json
import time
from threading import Thread

import pytest
from penstock import Gateway, rfc3339, wait_until
from plans import ANY, BLOCK, LEVEL, RATE, ask, in_force, lay_hand_on, prepare, rate, run_of, start, token_of, wait_end

@pytest.fixture(scope="module")
def gateway():
    with Gateway() as it:
        yield it


# --- A run. ---

def test_a_run_does_all_of_it_and_takes_all_of_it_back(gateway):
    prepare(gateway, ttl_s=2)
    run = start(gateway, reason="a drill")
    assert in_force(gateway)
    override = gateway.overrides()["level"]
    assert override["run"] == run and override["reason"] == "a drill"
    wait_end(gateway, run, "expired")
    assert not in_force(gateway)
    lines = [json.loads(line) for line in gateway.admin("GET", "/admin/v1/audit-log?limit=1000").text.splitlines()]
    about = [(line["action"], line["who"]) for line in lines if line["target"] == f"runs/{run}"]
    assert about == [("plan.start", "first"), ("plan.expire", "system")], about


def test_a_dry_run_says_what_would_be_and_changes_nothing(gateway):
    prepare(gateway, "dry", [RATE, BLOCK, LEVEL], when=[{"gateways_min": 2}, {"signal": "pressure", "above": 1000}])
    dry = ask(gateway, "dry", "?dry_run=1").json
    assert dry["would"] == "fail" and [fault["pointer"] for fault in dry["faults"]] == ["/when/0", "/when/1"], dry
    assert [(each["so"], each["is"]) for each in dry["preconditions"]][0] == (False, 1)
    assert [change["document"] for change in dry["changes"]] == ["limits/ip", "blocklist/ips/203.0.113.0/24"]
    assert dry["changes"][0]["difference"] == [{"op": "replace", "path": "/rate", "value": 20}]
    assert "refused" in dry["changes"][0]["last_minute"]
    assert dry["overrides"] == [{"step": 2, "override": "level", "value": 2, "replaces": None}]
    assert [level["level"] for level in dry["levels"]] == [1, 2, 3, 4]
    refused = ask(gateway, "dry")
    assert refused.status == 409 and refused.code == "conflict" and refused.json["pointer"] == "/when/0", refused
    assert not in_force(gateway)


def test_a_run_that_would_lapse_before_its_moment_is_refused_with_both_times(gateway):
    sale = gateway.make_sale(opens_in=2 * 86400, wait=False)
    prepare(gateway, "far", [LEVEL], start={"sale": sale, "before_opening_s": 60})
    opens = gateway.sale(sale)["opens_at"]
    dry = ask(gateway, "far", "?dry_run=1").json
    refused = ask(gateway, "far")
    assert refused.status == 422 and refused.json["pointer"] == "/arm_ttl_s", refused
    for detail in (refused.json["errors"][0]["detail"], dry["faults"][0]["detail"]):
        assert detail.startswith(f"opens at {opens}, after this would lapse at "), detail
    assert dry["would"] == "fail" and dry["faults"][0]["pointer"] == "/arm_ttl_s", dry
    assert ask(gateway, "far", "?dry_run=1", arm_ttl_s="3d").json["would"] == "arm"
    run = start(gateway, "far", arm_ttl_s="3d")
    seen = run_of(gateway, run)
    assert seen["starts_at"] < opens < seen["lapses_at"] and seen["started"] is None, seen
    lay_hand_on(gateway, run, "cancel")
    assert run_of(gateway, run)["starts_at"] is None


def test_a_dry_run_that_would_fail_always_says_why(gateway):
    for name, members in {"past": {"start": {"at": rfc3339(-60)}}, "late": {"start": {"at": rfc3339(3 * 86400)}},
                          "gone": {"start": {"sale": "no-such-sale", "before_opening_s": 0}}, "when": {"when": [{"gateways_min": 2}]}}.items():
        made = gateway.admin("PUT", f"/admin/v1/plans/{name}", {"title": "x", "steps": [LEVEL], "ttl_s": 9, **members})
        if made.status == 422:  # what no plan may say
            continue
        dry = ask(gateway, name, "?dry_run=1").json
        assert dry["would"] == "fail" and dry["faults"], (name, dry)


def test_a_run_that_lapses_before_its_moment_counts_as_failed(gateway):
    """The opening moved behind the lapse: the alert fires as for one that failed at its moment. A signal that does not come is no failure."""
    failed, expired = (f'penstock_plan_runs_total{{end="{end}"}}' for end in ("failed", "expired"))
    before = [gateway.metric(one) for one in (failed, expired)]
    sale = gateway.make_sale(opens_in=3600, wait=False)
    prepare(gateway, "moved", [LEVEL], start={"sale": sale, "before_opening_s": 3598})
    run = start(gateway, "moved", arm_ttl_s=3)
    answer = gateway.admin("PATCH", f"/admin/v1/sales/{sale}", {"opens_at": rfc3339(7200)}, headers=ANY)
    assert answer.status == 200, answer
    wait_end(gateway, run, "expired")
    assert [gateway.metric(one) for one in (failed, expired)] == [before[0] + 1, before[1]]
    prepare(gateway, "calm", [LEVEL], start={"signal": "pressure", "above": 1000, "for_s": 1})
    run = start(gateway, "calm", arm_ttl_s=1)
    wait_end(gateway, run, "expired")
    assert [gateway.metric(one) for one in (failed, expired)] == [before[0] + 1, before[1] + 1]


def test_what_somebody_changed_meanwhile_is_left_to_an_operator(gateway):
    prepare(gateway)
    run = start(gateway)
    gateway.limit("ip", rate=33)
    reverted = lay_hand_on(gateway, run, "revert")
    assert reverted.status == 200 and reverted.json["state"] == "suspended", reverted
    assert reverted.json["why"].startswith("limits/ip /rate was changed since")
    assert rate(gateway) == 33 and not gateway.overrides()
    assert gateway.metric("penstock_plans_suspended") == 1
    assert lay_hand_on(gateway, run, "revert").status == 409
    done = lay_hand_on(gateway, run, "revert", force=True)
    assert done.json["end"] == "reverted" and rate(gateway) == 50
    assert not in_force(gateway)


def test_what_a_run_holds_is_not_deleted_nor_overwritten_by_a_bundle(gateway):
    prepare(gateway)
    run = start(gateway)
    for path in ("/admin/v1/blocklist/ips/203.0.113.0-24", "/admin/v1/plans/page"):
        refused = gateway.admin("DELETE", path, headers=ANY)
        assert (refused.status, refused.code) == (409, "in_use") and run in refused.json["detail"], refused
    bundle = gateway.read("/admin/v1/config?kinds=limits,blocklist/ips").json
    assert bundle["runs"] == [{"run": run, "plan": "page", "state": "active"}]
    base = gateway.read("/admin/v1/config?kinds=limits,blocklist/ips&base=1").json["documents"]
    assert base["limits"]["ip"]["rate"] == 50 and base["blocklist/ips"] == {}
    assert gateway.admin("PUT", "/admin/v1/config", bundle, headers=ANY).status == 200  # as it is
    base = {"limits": base["limits"]}
    refused = gateway.admin("PUT", "/admin/v1/config", {"documents": base}, headers=ANY)
    assert (refused.status, refused.code) == (409, "in_use"), refused
    assert gateway.admin("PUT", "/admin/v1/config?force=1", {"documents": base}, headers=ANY).status == 200
    assert lay_hand_on(gateway, run, "revert").json["end"] == "reverted"
    assert not in_force(gateway)


def test_a_run_waits_for_other_tokens_and_broken_glass_is_counted(gateway):
    bob, eve = token_of(gateway, "bob"), token_of(gateway, "eve")
    prepare(gateway, "two", approvals=2)
    run = start(gateway, "two")
    assert run_of(gateway, run)["state"] == "waiting_approval"
    assert lay_hand_on(gateway, run, "approve").status == 409
    assert lay_hand_on(gateway, run, "approve", token=bob).json["state"] == "waiting_approval"
    assert lay_hand_on(gateway, run, "approve", token=bob).status == 409
    assert lay_hand_on(gateway, run, "approve", token=eve).json["state"] == "active"
    assert in_force(gateway)
    lay_hand_on(gateway, run, "revert")
    assert ask(gateway, "two", break_glass=True).json["pointer"] == "/reason"
    before = gateway.metric("penstock_plan_break_glass_total")
    run = start(gateway, "two", break_glass=True, reason="it burns")
    assert in_force(gateway) and gateway.metric("penstock_plan_break_glass_total") == before + 1
    lines = [json.loads(line) for line in gateway.admin("GET", "/admin/v1/audit-log?limit=1000").text.splitlines()]
    (line,) = [line for line in lines if line["action"] == "plan.start" and line["target"] == f"runs/{run}"]
    assert (line["to"]["break_glass"], line["to"]["force"], line["why"]) == (True, False, "it burns"), line
    lay_hand_on(gateway, run, "revert")


def test_a_viewer_only_looks(gateway):
    viewer = gateway.admin("POST", "/admin/v1/tokens", {"role": "viewer"}).json["token"]
    prepare(gateway)
    run = start(gateway)
    assert ask(gateway, token=viewer).status == 403
    for hand in ("approve", "cancel", "keep", "revert"):
        assert lay_hand_on(gateway, run, hand, token=viewer).status == 403
    assert gateway.admin("GET", f"/admin/v1/runs/{run}", token=viewer).status == 200
    lay_hand_on(gateway, run, "revert")


def test_metrics_count_runs_by_their_end(gateway):
    prepare(gateway, "counted", [LEVEL])
    before = gateway.metric('penstock_plan_runs_total{end="kept"}')
    active = gateway.metric("penstock_plans_active")
    run = start(gateway, "counted")
    assert gateway.metric("penstock_plans_active") == active + 1
    assert gateway.metric('penstock_plan_ends_timestamp_seconds{plan="counted"}') > time.time() + 500
    assert lay_hand_on(gateway, run, "keep").json["end"] == "kept"
    assert gateway.metric('penstock_plan_runs_total{end="kept"}') == before + 1
    assert gateway.metric("penstock_plans_active") == active
    gateway.end_override("level")


# --- Kills. ---

def test_a_kill_at_each_step_leaves_the_run_where_it_was():
    """kill -9 in each state: what was answered is there after the restart, and goes on from there."""
    with Gateway() as gateway:
        def restart():
            gateway.kill()
            gateway.start()

        bob = token_of(gateway, "bob")
        prepare(gateway, approvals=1, start={"at": rfc3339(6)}, ttl_s=5)
        restart()
        run = start(gateway)
        restart()
        assert run_of(gateway, run)["state"] == "waiting_approval"
        assert lay_hand_on(gateway, run, "approve", token=bob).json["state"] == "armed"
        restart()
        assert run_of(gateway, run)["state"] == "armed" and not in_force(gateway)
        wait_until(lambda: run_of(gateway, run)["state"] == "active", 15, what="its moment")
        restart()
        assert in_force(gateway)
        wait_end(gateway, run, "expired", 20)
        restart()
        assert run_of(gateway, run)["end"] == "expired" and not in_force(gateway)
        prepare(gateway, "hand", [RATE], ttl_s=None)
        run = start(gateway, "hand")
        gateway.limit("ip", rate=33)
        lay_hand_on(gateway, run, "revert")
        restart()
        assert run_of(gateway, run)["state"] == "suspended" and rate(gateway) == 33
        assert lay_hand_on(gateway, run, "keep").json["end"] == "kept"


def test_a_run_that_should_have_ended_while_the_gateway_was_down_ends_at_the_start():
    with Gateway() as gateway:
        prepare(gateway, ttl_s=2)
        run = start(gateway)
        gateway.kill()
        time.sleep(2.5)
        gateway.start()
        wait_end(gateway, run, "expired", 5)
        assert not in_force(gateway)


def test_kills_while_runs_begin_and_end_leave_all_steps_or_none():
    """The kill comes at any moment of a change: before it is written, while, and after."""
    with Gateway() as gateway:
        prepare(gateway)
        def begin():
            try:
                ask(gateway)
            except OSError:
                pass  # its answer is unknown

        for i in range(6):
            thread = Thread(target=begin)
            thread.start()
            time.sleep(0.003 * i)
            gateway.kill()
            thread.join()
            gateway.start()
            active = gateway.read("/admin/v1/runs?state=active").json["runs"]
            assert in_force(gateway) == (len(active) == 1), active
            for run in active:
                assert lay_hand_on(gateway, run["run"], "revert").json["end"] == "reverted"
            assert not in_force(gateway)


# --- What strangers and mistakes send. ---

def plan_with(steps, **members):
    return {"title": "t", "ttl_s": 60, "steps": steps, **members}


def nested(depth):
    value = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("plan, pointer", [
    (plan_with([]), "/steps"),
    (plan_with([LEVEL] * 65), "/steps"),
    (plan_with([7]), "/steps/0"),
    (plan_with([{"patch": {}, "put": {}}]), "/steps/0"),
    (plan_with([{"patch": {"kind": "token", "name": "first", "with": {"role": "admin"}}}]), "/steps/0/patch/kind"),
    (plan_with([{"patch": {"kind": "limit", "name": "../x", "with": {"rate": 1}}}]), "/steps/0/patch/name"),
    (plan_with([{"patch": {"kind": "limit", "name": "ip", "with": {"rat": 1}}}]), "/steps/0/patch/with/rat"),
    (plan_with([{"patch": {"kind": "limit", "name": "ip", "with": {"rate": -1}}}]), "/steps/0/patch/with/rate"),
    (plan_with([{"patch": {"kind": "limit", "name": "ip", "with": nested(50)}}]), "/steps/0/patch/with/a"),
    (plan_with([LEVEL, {"override": {"target": "nothing:x", "value": 1}}]), "/steps/1/override/target"),
    (plan_with([LEVEL], ttl_s=None), "/steps/0/override"),
    (plan_with([RATE, LEVEL, RATE]), "/steps/2/patch"),
    (plan_with([LEVEL], start={"at": "2020-01-01T00:00:00Z"}), "/start/at"),
    (plan_with([LEVEL], start={"at": "tomorrow"}), "/start/at"),
    (plan_with([LEVEL], when=[{}] * 17), "/when"),
    (plan_with([LEVEL], text="x" * 2049), "/text"),
    (plan_with([LEVEL], title=""), "/title"),
    (plan_with([LEVEL], approvals=-1), "/approvals"),
    (plan_with([{"put": {"kind": "block_user", "name": f"u{i}", "doc": {"reason": "x" * 256}}} for i in range(64)] , text="x" * 3000), "/text"),
])
def test_a_plan_that_is_wrong_is_refused_with_its_pointer(gateway, plan, pointer):
    refused = gateway.admin("PUT", "/admin/v1/plans/wrong", plan)
    assert refused.status == 422 and refused.json["pointer"] == pointer, refused
    assert gateway.admin("GET", "/admin/v1/plans/wrong").status == 404


def test_the_largest_plan_runs_and_a_larger_one_is_refused(gateway):
    steps = [{"put": {"kind": "block_user", "name": f"u{i}", "doc": {"reason": "春" * 256}}} for i in range(64)]
    prepare(gateway, "large", steps)
    run = start(gateway, "large")
    assert len(run_of(gateway, run)["changes"]) == 64
    assert lay_hand_on(gateway, run, "revert").json["end"] == "reverted"
    assert gateway.admin("GET", "/admin/v1/blocklist/users/u63").status == 404
    routes = [{"put": {"kind": "route", "name": f"r{i}", "doc": {"path": f"/{i}/", "answer": {"body": "x" * 2000}}}} for i in range(40)]
    refused = gateway.admin("PUT", "/admin/v1/plans/larger", plan_with(routes))
    assert refused.status == 422 and refused.json["pointer"] == "/steps", refused


@pytest.mark.parametrize("body, pointer", [({"ttl_s": 604801}, "/ttl_s"), ({"ttl_s": "1"}, "/ttl_s"), ({"arm_ttl_s": 0}, "/arm_ttl_s"),
                                           ({"force": 1}, "/force"), ({"break_glass": True}, "/reason"), ({"steps": []}, "/steps"), ({"reason": 7}, "/reason")])
def test_a_run_is_asked_for_by_known_members_only(gateway, body, pointer):
    prepare(gateway)
    refused = gateway.admin("POST", "/admin/v1/plans/page/runs", body)
    assert refused.status == 422 and refused.json["pointer"] == pointer, refused
    assert not in_force(gateway)


def test_runs_that_are_no_runs_are_not_found(gateway):
    for name in ("x", "01a20c9a-8e74-747d-bfe5-0b42ca038689", "a" * 64):
        assert gateway.admin("GET", f"/admin/v1/runs/{name}").status == 404
    for name in ("%2e%2e", "a" * 65, "%C3%A9"):
        assert gateway.admin("GET", f"/admin/v1/runs/{name}").status == 422
    assert gateway.admin("POST", "/admin/v1/plans/none/runs").status == 404
    assert gateway.admin("GET", "/admin/v1/runs?after=zzz&limit=1").json == {"runs": [], "next": None}
    assert gateway.admin("PUT", "/admin/v1/runs/x", {}).status == 405
    assert gateway.admin("DELETE", "/admin/v1/runs/x").status == 405
    assert "runs" not in gateway.read("/admin/v1/config").json["documents"]


def test_a_second_run_of_a_plan_takes_over_from_the_first_by_force_only(gateway):
    prepare(gateway)
    first = start(gateway)
    refused = ask(gateway)
    assert (refused.status, refused.code) == (409, "in_use") and first in refused.json["detail"], refused
    dry = ask(gateway, query="?dry_run=1").json
    assert dry["would"] == "fail" and {each["run"] for each in dry["conflicts"]} == {first} and len(dry["conflicts"]) == 3, dry
    second = start(gateway, force=True)
    assert run_of(gateway, first)["end"] == "taken_over" and in_force(gateway)
    assert lay_hand_on(gateway, second, "revert").json["end"] == "reverted"
    assert not in_force(gateway) and rate(gateway) == 50


def test_what_became_invalid_since_changes_nothing_at_the_run(gateway):
    gateway.limit("spare", algorithm="token_bucket", key="user", rate=5, period_s=10)
    prepare(gateway, "since", [RATE, {"patch": {"kind": "limit", "name": "spare", "with": {"rate": 1}}}])
    assert gateway.admin("DELETE", "/admin/v1/limits/spare", headers=ANY).status == 204
    refused = ask(gateway, "since")
    assert refused.status == 422 and refused.json["pointer"] == "/steps/1/patch/name", refused
    assert rate(gateway) == 50


def test_no_more_runs_wait_than_there_may_be(gateway):
    prepare(gateway, "many", [LEVEL], start={"signal": "pressure", "above": 1000, "for_s": 0})
    runs = [start(gateway, "many") for _ in range(64)]
    refused = ask(gateway, "many")
    assert refused.status == 409 and refused.code == "conflict", refused
    for run in runs:
        assert lay_hand_on(gateway, run, "cancel").json["end"] == "cancelled"
    page = gateway.read("/admin/v1/runs?plan=many&limit=10").json
    assert len(page["runs"]) == 10 and page["next"] == page["runs"][-1]["run"]
