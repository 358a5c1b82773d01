"""Plans on three gateways: a run is the whole cluster's, whoever is asked, and whoever dies. On one gateway: ops/test_plans.py."""
import contextlib
import json
import threading
import time
from datetime import datetime

import pytest
from cluster import PATIENT, Cluster, Redis, allowed_s
from desk import Desk
from penstock import ROOT, rfc3339, wait_until
from plans import BLOCK, LEVEL, RATE, ask, lay_hand_on, prepare, run_of, start, token_of


@pytest.fixture(scope="module")
def calm(kafka):
    """Three gateways for tests that end none of them."""
    with Cluster(kafka, settings=PATIENT) as c:
        yield c


def in_force(gateway):
    """Are the documents of RATE and BLOCK so, and does a live run say so? By one read, of one revision: all of it, or none."""
    bundle = gateway.read("/admin/v1/config?kinds=limits,blocklist/ips").json
    seen = {bundle["documents"]["limits"]["ip"]["rate"] == 20, "203.0.113.0/24" in bundle["documents"]["blocklist/ips"],
            any(run["state"] == "active" for run in bundle["runs"])}
    assert len(seen) == 1, f"gateway {gateway.index} has half a run: {bundle}"
    return seen.pop()


def everywhere(cluster, check, what, timeout=60):
    for gateway in cluster.living():
        wait_until(lambda: check(gateway), timeout, 0.02, f"{what} at gateway {gateway.index}")


def wait_prepared(cluster, name="page"):
    everywhere(cluster, lambda g: g.admin("GET", f"/admin/v1/plans/{name}").status == 200, "the plan")


def wait_state(cluster, run, state, timeout=60):
    def there(gateway):
        answer = gateway.admin("GET", f"/admin/v1/runs/{run}")
        return answer.status == 200 and answer.json["state"] == state

    everywhere(cluster, there, f"{state} of {run}", timeout)


def leader_of(cluster):
    return wait_until(lambda: next((g for g in cluster.living() if g.metric("penstock_cluster_leader") == 1), None), what="a leader")


def lines(cluster, run, action):
    """What each living gateway's own audit log says of it: who did it."""
    found = []
    for gateway in cluster.living():
        for line in gateway.admin("GET", "/admin/v1/audit-log?limit=1000").text.splitlines():
            line = json.loads(line)
            found += [(gateway.index, line["who"])] if line["target"] == f"runs/{run}" and line["action"] == action else []
    return found


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_a_run_started_through_one_gateway_is_in_force_on_all_within_a_second(calm):
    took_s, ended_s = [], []
    for gateway in calm.gateways:
        prepare(gateway, steps=[RATE, BLOCK, LEVEL])
        wait_prepared(calm)
        began = time.monotonic()
        run = start(gateway, reason="it is slow")
        assert in_force(gateway), "answered, and not in force"
        everywhere(calm, in_force, "the run")
        took_s.append(time.monotonic() - began)
        everywhere(calm, lambda g: g.overrides().get("level", {}).get("run") == run, "its override")
        assert all(run_of(g, run) == run_of(gateway, run) for g in calm.gateways)
        other, began = calm[(gateway.index + 1) % 3], time.monotonic()
        reverted = lay_hand_on(other, run, "revert")
        assert reverted.json["end"] == "reverted" and not in_force(other), reverted
        everywhere(calm, lambda g: not in_force(g), "the end")
        ended_s.append(time.monotonic() - began)
        everywhere(calm, lambda g: "level" not in g.overrides(), "the end of its override")
    assert sorted(took_s)[1] < allowed_s(1) and sorted(ended_s)[1] < allowed_s(1), (took_s, ended_s)  # the median: see test_cluster_control


def test_a_run_ends_everywhere_by_its_time_and_says_so_once(calm):
    prepare(calm[1], "short", [RATE, BLOCK, LEVEL], ttl_s=2)
    wait_prepared(calm, "short")
    run = start(calm[2], "short")
    wait_state(calm, run, "ended")
    everywhere(calm, lambda g: not in_force(g) and "level" not in g.overrides(), "the end")
    assert [who for _, who in lines(calm, run, "plan.expire")] == ["system"]
    assert sum(g.metric('penstock_plan_runs_total{end="expired"}') for g in calm.gateways) == 1


def test_a_run_is_approved_through_other_gateways_and_two_at_once_begin_it_once(calm):
    tokens = [token_of(g, "other") for g in calm.gateways]  # each gateway has its own
    prepare(calm[0], "approved", [RATE, BLOCK], approvals=1)
    wait_prepared(calm, "approved")
    for turn in range(4):
        run = start(calm[0], "approved")
        wait_state(calm, run, "waiting_approval")
        answers, gate = [], threading.Barrier(2)

        def approve(gateway):
            gate.wait()
            answers.append(lay_hand_on(gateway, run, "approve", token=tokens[gateway.index]))

        threads = [threading.Thread(target=approve, args=(calm[index],)) for index in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(answer.status for answer in answers) in ([200, 409], [200, 412]), (turn, answers)
        everywhere(calm, in_force, "the run")
        assert len(run_of(calm[0], run)["approved"]) == 1
        assert len(run_of(calm[0], run)["changes"]) == 2
        assert lay_hand_on(calm[0], run, "approve").status == 409
        assert lay_hand_on(calm[0], run, "revert").json["end"] == "reverted"
        everywhere(calm, lambda g: not in_force(g), "the end")


def test_of_two_runs_of_one_plan_asked_of_two_gateways_at_once_one_is_in_force(calm):
    prepare(calm[0], "both", [RATE, BLOCK])
    wait_prepared(calm, "both")
    for turn in range(4):
        answers, gate = [], threading.Barrier(3)

        def begin(gateway):
            gate.wait()
            answers.append(ask(gateway, "both"))

        threads = [threading.Thread(target=begin, args=(gateway,)) for gateway in calm.gateways]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        begun = [answer for answer in answers if answer.status == 201]
        assert len(begun) == 1 and {answer.status for answer in answers} <= {201, 409, 412}, (turn, answers)
        everywhere(calm, in_force, "the run")
        assert lay_hand_on(calm[turn % 3], begun[0].json["run"], "revert").json["end"] == "reverted"
        everywhere(calm, lambda g: not in_force(g), "the end")


def test_a_page_of_runs_continues_at_any_gateway(calm):
    prepare(calm[0], "paged", [LEVEL], start={"signal": "pressure", "above": 1000, "for_s": 0})
    wait_prepared(calm, "paged")
    runs = [start(calm[i % 3], "paged") for i in range(11)]
    for run in runs[:4]:
        assert lay_hand_on(calm[1], run, "cancel").json["end"] == "cancelled"
    for run in runs:
        wait_state(calm, run, "ended" if run in runs[:4] else "armed")

    def pages(query):
        found, after, at = [], "", 0
        while after is not None:
            page = calm[at % 3].read(f"/admin/v1/runs?plan=paged&limit=3{after}{query}").json
            assert len(page["runs"]) <= 3
            found, at = found + page["runs"], at + 1
            after = f"&after={page['next']}" if page["next"] else None
        return found

    assert [run["run"] for run in pages("")] == sorted(runs)
    assert {run["run"] for run in pages("&state=armed")} == set(runs[4:])
    assert {run["run"] for run in pages("&state=ended")} == set(runs[:4])
    for run in runs[4:]:
        lay_hand_on(calm[2], run, "cancel")


# --- Kills. ---


def test_the_successor_of_a_killed_leader_ends_a_run_in_time(cluster):
    """The leader dies while a run is active; and it dies while one is armed: its successor starts that, once, and ends it."""
    prepare(cluster[0], "active", [RATE, BLOCK, LEVEL], ttl_s=6)
    wait_prepared(cluster, "active")
    leader = leader_of(cluster)
    run = start(leader, "active")
    leader.kill()
    everywhere(cluster, in_force, "the run")
    wait_state(cluster, run, "ended")
    told = run_of(cluster.living()[0], run)
    assert told["end"] == "expired" and seconds(told["ended"]) - seconds(told["until"]) < allowed_s(3), told
    everywhere(cluster, lambda g: not in_force(g) and "level" not in g.overrides(), "the end")
    cluster.restart(leader)
    everywhere(cluster, lambda g: run_of(g, run) == told and not in_force(g), "the end")

    at = rfc3339(8)
    prepare(cluster[0], "armed", [RATE, BLOCK, LEVEL], ttl_s=3, start={"at": at})
    wait_prepared(cluster, "armed")
    run = start(cluster[0], "armed")
    wait_state(cluster, run, "armed")
    leader = leader_of(cluster)
    leader.kill()
    everywhere(cluster, in_force, "the armed run")
    began = run_of(cluster.living()[0], run)
    assert 0 <= seconds(began["started"]) - seconds(at) < allowed_s(3), began
    wait_state(cluster, run, "ended")
    assert run_of(cluster.living()[0], run)["end"] == "expired"
    assert [who for _, who in lines(cluster, run, "plan.start") if who == "system"] == ["system"]
    cluster.restart(leader)
    everywhere(cluster, lambda g: run_of(g, run)["end"] == "expired" and not in_force(g), "the end")


def test_a_leader_that_was_frozen_over_the_moment_does_not_start_the_run_again(cluster):
    """It wakes, leads no more, and may not know that yet."""
    for turn in range(2):
        prepare(cluster[0], f"once-{turn}", [RATE, BLOCK], ttl_s=8, start={"at": rfc3339(5)})
        wait_prepared(cluster, f"once-{turn}")
        run = start(cluster[0], f"once-{turn}")
        wait_state(cluster, run, "armed")
        leader = leader_of(cluster)
        leader.freeze()
        others = [g for g in cluster.gateways if g is not leader]
        for gateway in others:
            wait_until(lambda: run_of(gateway, run)["state"] == "active", what="the start by the successor")
        told = run_of(others[0], run)
        leader.thaw()
        everywhere(cluster, in_force, "the run")
        assert all(run_of(g, run) == told for g in cluster.gateways)
        assert len([who for _, who in lines(cluster, run, "plan.start") if who == "system"]) == 1
        wait_state(cluster, run, "ended")
        everywhere(cluster, lambda g: run_of(g, run)["end"] == "expired" and not in_force(g), "the end")


def test_kills_while_runs_begin_and_end_leave_all_steps_or_none_on_every_gateway(cluster):
    """The kill comes at any moment of a change: before Redis has it, before control.db has it, after."""
    prepare(cluster[0], steps=[RATE, BLOCK])
    wait_prepared(cluster)

    def live(gateway):
        return [run["run"] for run in gateway.read("/admin/v1/runs?state=active").json["runs"]]

    def try_to(what, gateway, *rest):
        with contextlib.suppress(OSError):  # its answer is unknown
            what(gateway, *rest)

    def agreed():
        seen = [(in_force(g), live(g)) for g in cluster.living()]
        return len(seen) == 3 and all(one == seen[0] for one in seen) and seen[0][0] == (len(seen[0][1]) == 1) and seen

    for turn in range(8):
        victim, beginning = cluster[turn % 3], turn % 2 == 0
        if not beginning:
            run = start(cluster[(turn + 1) % 3])
            everywhere(cluster, in_force, "the run")
        words = (ask, victim) if beginning else (lay_hand_on, victim, run, "revert")
        thread = threading.Thread(target=try_to, args=words)
        thread.start()
        time.sleep(0.004 * (turn // 2))
        victim.kill()
        thread.join(30)
        for gateway in cluster.living():
            in_force(gateway)
        cluster.restart(victim)
        for run in wait_until(agreed, what="one view of the runs")[0][1]:
            assert lay_hand_on(victim, run, "revert").json["end"] == "reverted"
        everywhere(cluster, lambda g: not in_force(g), "the end")


def test_a_leader_killed_while_a_run_expires_leaves_it_to_its_successor(cluster):
    prepare(cluster[0], "brief", [RATE, BLOCK], ttl_s=2)
    wait_prepared(cluster, "brief")
    for turn in range(4):
        run = start(cluster[turn % 3], "brief")
        wait_state(cluster, run, "active")
        leader, until = leader_of(cluster), seconds(run_of(cluster[0], run)["until"])
        time.sleep(max(0, until - time.time()) + 0.03 * turn)
        leader.kill()
        wait_state(cluster, run, "ended")
        everywhere(cluster, lambda g: run_of(g, run)["end"] == "expired" and not in_force(g), "the end")
        cluster.restart(leader)
        everywhere(cluster, lambda g: run_of(g, run)["end"] == "expired" and not in_force(g), "the end")


def test_a_leader_killed_while_an_armed_run_starts_has_started_all_of_it_or_its_successor_does(cluster):
    for turn in range(4):
        at = rfc3339(5)
        prepare(cluster[0], f"at-{turn}", [RATE, BLOCK], ttl_s=8, start={"at": at})
        wait_prepared(cluster, f"at-{turn}")
        run = start(cluster[turn % 3], f"at-{turn}")
        wait_state(cluster, run, "armed")
        leader = leader_of(cluster)
        time.sleep(max(0, seconds(at) - time.time()) + 0.03 * turn)
        leader.kill()
        everywhere(cluster, in_force, "the run")
        began = run_of(cluster.living()[0], run)["started"]
        assert 0 <= seconds(began) - seconds(at) < allowed_s(3), began
        cluster.restart(leader)
        everywhere(cluster, lambda g: run_of(g, run)["started"] == began, "one start")
        wait_state(cluster, run, "ended")
        everywhere(cluster, lambda g: run_of(g, run)["end"] == "expired" and not in_force(g), "the end")


@pytest.mark.parametrize("first", [0, 2])
def test_a_run_whose_time_ended_while_every_gateway_was_down_is_ended_by_the_first_that_starts(cluster, first):
    prepare(cluster[0], "night", [RATE, BLOCK, LEVEL], ttl_s=4)
    wait_prepared(cluster, "night")
    run = start(cluster[1], "night")
    wait_state(cluster, run, "active")
    for gateway in cluster.gateways:
        gateway.kill()
    time.sleep(4.5)
    cluster.restart(cluster[first])
    wait_state(cluster, run, "ended", 20)
    assert run_of(cluster[first], run)["end"] == "expired" and not in_force(cluster[first])
    assert "level" not in cluster[first].overrides()
    for gateway in cluster.gateways:
        if not gateway.alive:
            cluster.restart(gateway)
    everywhere(cluster, lambda g: run_of(g, run)["end"] == "expired" and not in_force(g), "the end")


def test_a_run_that_is_over_while_redis_is_away_ends_its_overrides_in_time_and_the_rest_later(cluster):
    prepare(cluster[0], "outage", [RATE, BLOCK, LEVEL], ttl_s=3)
    wait_prepared(cluster, "outage")
    run = start(cluster[0], "outage")
    wait_state(cluster, run, "active")
    everywhere(cluster, lambda g: "level" in g.overrides(), "the override")
    cluster.redis.freeze()
    until = seconds(run_of(cluster[0], run)["until"])
    everywhere(cluster, lambda g: "level" not in g.overrides(), "the end of the override")
    assert time.time() - until < allowed_s(3)
    assert all(in_force(g) and run_of(g, run)["state"] == "active" for g in cluster.gateways)
    cluster.redis.thaw()
    wait_state(cluster, run, "ended")
    everywhere(cluster, lambda g: run_of(g, run)["end"] == "expired" and not in_force(g), "the end")


# --- The shipped plan. ---


def test_redis_is_moved_under_the_shipped_plan_and_no_order_is_lost(cluster, tmp_path):
    """deploy/plans/redis-moves.yaml: to a new, empty Redis, while buyers click. The other shipped plans: ops/test_shipped_plans.py."""
    sale, first = cluster.make_sale(stock=40), cluster[0]
    desk = Desk(tmp_path, first.admin_port, first.state / "admin.token")
    orders = [cluster.sure_buy(cluster[i % 3], sale, f"u{i}").json["order_id"] for i in range(6)]
    cluster.wait_rest(sale)
    desk.run("apply", "-f", ROOT / "deploy/plans/redis-moves.yaml", "--reason", "prepared")
    dry = desk.json("run", "redis-moves", "--dry-run")
    assert dry["would"] == "start" and [one["override"] for one in dry["overrides"]] == [
        "breaker:redis", "feature:order_state_fresh", "feature:exact_stock"], dry
    run = desk.json("run", "redis-moves", "--reason", "a new machine")["run"]
    everywhere(cluster, lambda g: {b["name"]: b for b in g.read("/admin/v1/breakers").json["breakers"]}["redis"]["override"] == "open", "the open breaker")
    assert {g.buy(sale, "meanwhile", key="k").code for g in cluster.gateways} == {"store_unavailable"}
    for gateway in cluster.gateways:
        looked = gateway.public("GET", f"/v1/orders/{orders[0]}", user="u0")
        assert looked.status == 200 and looked.json["state"] == "accepted", looked
        assert gateway.public("GET", f"/v1/sales/{sale}").json["skus"][0]["available"] == "plenty"

    new = cluster.add(Redis(cluster.directory, "new").start())
    cluster.lead_to(new)
    cluster.redis.kill()
    wait_until(lambda: int(new.ask("HEXISTS", "ps:control", f"runs/{run}")) == 1, what="the documents in the new Redis")

    def reverted():
        answer = lay_hand_on(first, run, "revert")
        return answer.status == 200 and answer.json

    told = wait_until(reverted, 30, 0.2, "the end of the run")
    assert told["end"] == "reverted", told
    everywhere(cluster, lambda g: not g.overrides(), "the end")
    for i, gateway in enumerate(cluster.gateways):
        assert cluster.sure_buy(gateway, sale, f"v{i}").status == 202
    cluster.wait_rest(sale)
    assert cluster.numbers(sale) == (31, 9, 0, 40)
