"""penstockctl against a real gateway: what it shows, what it changes, what it refuses to do, and how it ends."""
import contextlib
import csv
import datetime
import fcntl
import hashlib
import http.server
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import termios
import threading
import time

import pytest
from desk import AWAY, FAILED, OK, PENSTOCKCTL, REFUSED, USAGE, Desk
from pages import put_pool, put_route
from penstock import ROOT, Gateway, free_port, rfc3339

RULE = {"algorithm": "token_bucket", "key": "user", "rate": 1, "period_s": 10}


@pytest.fixture(scope="module")
def gateway():
    with Gateway() as one:
        one.no_limits()
        yield one


@pytest.fixture()
def desk(gateway, tmp_path):
    yield Desk(tmp_path, gateway.admin_port, gateway.state / "admin.token")
    for rule in gateway.admin("GET", "/admin/v1/limits").json["limits"]:
        if rule not in ("user", "ip", "global", "polling", "status"):
            gateway.admin("DELETE", f"/admin/v1/limits/{rule}", headers={"If-Match": "*"})


def limits(gateway):
    return gateway.admin("GET", "/admin/v1/limits").json["limits"]


# --- Documents. ---


def test_get_shows_every_kind_as_a_table_and_as_the_api_has_it(desk, gateway):
    gateway.make_sale("shown")
    assert desk.out("get", "sale").splitlines()[0].split()[:2] == ["SALE", "STATE"]
    for kind, path, listed in (("limit", "limits", "limits"), ("sale", "sales", "sales"), ("feature", "features", "features"),
                               ("block_user", "blocklist/users", "users")):
        desk.out("get", kind)
        assert set(desk.json("get", kind)) == set(gateway.read(f"/admin/v1/{path}").json[listed]) if listed != "sales" else desk.json("get", kind)
    assert desk.json("get", "limit", "ip") == limits(gateway)["ip"]
    assert desk.json("get", "overload")["mode"] == gateway.read("/admin/v1/overload").json["mode"]
    assert "algorithm" in desk.out("get", "limit", "ip")


def test_describe_says_what_a_document_may_hold(desk):
    text = desk.out("describe", "limit")
    row = next(line for line in text.splitlines() if line.startswith("rate "))
    assert "integer 1 to 1000000" in row and "How many pass in a period" in row, row
    assert any(line.startswith("endpoints[].address ") for line in desk.out("describe", "pool").splitlines())
    assert "每个周期" in desk.out("describe", "limit", LC_ALL="zh_CN.UTF-8")
    assert desk.json("describe", "sale")["properties"]["skus"]["type"] == "array"
    assert "did you mean" in desk.run("describe", "limt", status=USAGE).stderr


def test_a_list_of_several_pages_is_shown_as_one(desk, gateway):
    for i in range(1005):
        assert gateway.admin("PUT", f"/admin/v1/blocklist/users/bot{i:04}", {}).status == 201
    assert len(desk.json("get", "block_user")) == 1005
    assert len(desk.out("get", "block_user").splitlines()) == 1006


def test_names_are_escaped_in_paths_and_controls_in_what_is_shown(desk, gateway):
    desk.run("get", "block_ip", "192.0.2.0/24", status=REFUSED)
    gateway.admin("PUT", "/admin/v1/blocklist/ips/192.0.2.0%2F24", {"reason": "a \u202ereversed\u2066 word"})
    assert desk.json("get", "block_ip", "192.0.2.0/24")["reason"] == "a \u202ereversed\u2066 word"
    for shown in (desk.out("get", "block_ip"), desk.out("get", "block_ip", "192.0.2.0/24"), desk.out("get", "block_ip", "-o", "json")):
        assert "\u202e" not in shown and "\u2066" not in shown
    done = desk.run("get", "limit", "../tokens", status=REFUSED)
    assert "422" in done.stderr  # it is the name of a rule, and no way up
    assert "\x1b" not in desk.run("get", "\x1b[31mred", status=USAGE).stderr


def editor(desk, script):
    path = desk.directory / "editor"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    return str(path)


def test_edit_puts_what_the_editor_leaves(desk, gateway):
    gateway.limit("edited", **RULE)
    out = desk.out("edit", "limit", "edited", "--reason", "a test", EDITOR=editor(desk, 'sed -i s/enforce/shadow/ "$1"'))
    assert out == "changed\n" and limits(gateway)["edited"]["mode"] == "shadow"
    assert gateway.read("/admin/v1/limits/edited/versions").json["versions"][0]["why"] == "a test"
    assert desk.out("edit", "limit", "edited", EDITOR="true") == "nothing was changed\n"


def test_edit_refuses_a_stale_version_and_keeps_the_text(desk, gateway):
    gateway.limit("raced", **RULE)
    change = f"""sed -i 's/"rate": 1,/"rate": 2,/' "$1"
{shlex.join([str(PENSTOCKCTL), "rollback", "limit", "raced", "1"])} >/dev/null
"""
    gateway.limit("raced", rate=7)
    done = desk.run("edit", "limit", "raced", status=REFUSED, EDITOR=editor(desk, change.replace('"rate": 1,', '"rate": 7,')), TMPDIR=str(desk.directory))
    assert "changed it since" in done.stderr and limits(gateway)["raced"]["rate"] == 1
    kept, = desk.directory.glob("penstock-*.json")
    assert json.loads(kept.read_text())["rate"] == 2 and kept.stat().st_mode & 0o77 == 0


def test_an_editor_that_fails_and_a_text_that_is_no_json_change_nothing(desk, gateway):
    gateway.limit("left", **RULE)
    before = limits(gateway)["left"]
    desk.run("edit", "limit", "left", status=FAILED, EDITOR="false")
    desk.run("edit", "limit", "left", status=USAGE, EDITOR=editor(desk, 'echo "{" >"$1"'))
    desk.run("edit", "limit", "left", status=REFUSED, EDITOR=editor(desk, 'echo "{}" >"$1"'))
    assert limits(gateway)["left"] == before


def test_rollback_lists_versions_and_goes_back_to_one(desk, gateway):
    gateway.limit("back", **RULE)
    gateway.limit("back", rate=9)
    assert [one["version"] for one in desk.json("rollback", "limit", "back")] == [2, 1]
    desk.out("rollback", "limit", "back", 1, "--dry-run")
    assert limits(gateway)["back"]["rate"] == 9
    desk.out("rollback", "limit", "back", 1)
    assert limits(gateway)["back"]["rate"] == 1
    desk.run("rollback", "limit", "back", "one", status=USAGE)
    desk.run("rollback", "limit", "back", 99, status=REFUSED)


# --- Files. ---


def test_apply_makes_a_directory_so_and_diff_says_what_would_change(desk, gateway):
    desk.write("d/one.json", "limits", RULE, "one")
    (desk.directory / "d/deep").mkdir()
    (desk.directory / "d/deep/two.yaml").write_text("# a remark\nkind: limit\nname: two\ndocument:\n  algorithm: token_bucket\n  key: user\n"
                                                    "  rate: 2\n  period_s: 10\n")
    (desk.directory / "d/.git").mkdir()
    (desk.directory / "d/.git/x.json").write_text("no JSON")
    assert sorted(desk.out("diff", "-f", "d", status=REFUSED).splitlines()) == ["create limits/one", "create limits/two"]
    assert desk.out("apply", "-f", "d", "--dry-run").endswith("2 documents would change\n") and "one" not in limits(gateway)
    assert desk.out("apply", "-f", "d", "--reason", "a release").endswith("2 documents changed\n")
    assert limits(gateway)["two"]["rate"] == 2 and "ip" in limits(gateway)
    assert gateway.read("/admin/v1/limits/one/versions").json["versions"][0]["why"] == "a release"
    assert desk.out("diff", "-f", "d") == "" and desk.out("apply", "-f", "d") == "0 documents changed\n"
    desk.write("d/one.json", "limits", {**RULE, "rate": 5}, "one")
    assert "- /rate 1\n" in desk.out("diff", "-f", "d", status=REFUSED) and "+ /rate 5\n" in desk.out("diff", "-f", "d", status=REFUSED)


def test_prune_deletes_what_the_files_leave_out_of_their_kinds_and_nothing_that_always_exists(desk, gateway):
    gateway.limit("old", **RULE)
    gateway.make_sale("kept")
    desk.write("d/new.json", "limits", RULE, "new")
    assert "delete limits/old" not in desk.out("apply", "-f", "d", "--dry-run")
    assert "delete limits/old\n" in desk.out("diff", "-f", "d", "--prune", status=REFUSED)
    desk.out("apply", "-f", "d", "--prune")
    assert "old" not in limits(gateway) and {"new", "ip", "user", "global"} <= set(limits(gateway))
    assert gateway.sale("kept")
    gateway.admin("PUT", "/admin/v1/caches/gone", {"bytes": 1 << 20})
    assert "delete caches/gone\n" in desk.out("apply", "-f", "d", "--prune", "--kinds", "limits,caches")
    assert gateway.admin("GET", "/admin/v1/caches/gone").status == 404


def test_a_bundle_that_was_saved_can_be_applied(desk, gateway):
    gateway.limit("saved", **RULE)
    bundle = gateway.read("/admin/v1/config?kinds=limits").text
    (desk.directory / "all.json").write_text(bundle)
    gateway.limit("saved", rate=9)
    desk.out("apply", "-f", "all.json", "--prune")
    assert limits(gateway)["saved"]["rate"] == 1
    assert desk.out("diff", "-f", "-", text=bundle) == ""


def test_what_is_refused_changes_nothing_and_names_file_or_member(desk, gateway):
    before = limits(gateway)
    desk.write("d/good.json", "limits", RULE, "good")
    desk.write("d/wrong.json", "limits", {**RULE, "rate": -1, "key": "shoe"}, "wrong")
    done = desk.run("apply", "-f", "d", status=REFUSED)
    assert "/documents/limits/wrong/rate" in done.stderr and "/documents/limits/wrong/key" in done.stderr
    desk.run("diff", "-f", "d", status=FAILED)
    desk.write("d/wrong.json", "limits", RULE, "good")
    assert "wrong.json" in desk.run("apply", "-f", "d", status=USAGE).stderr
    assert limits(gateway) == before


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefg", "bcdefgh"))
HEAD = "kind: limits\nname: x\ndocument: "


@pytest.mark.parametrize("text, why", [
    (BOMB, "too many nodes"), ("[" * 100 + "]" * 100, ""), ("a: &a [*a]", ""), (HEAD + "{a: 1, a: 2}", "appears twice"),
    (HEAD + "{}\n---\n" + HEAD + "{}", "second document"), (HEAD + "{a: !!python/object:os.system x}", "tags"), (HEAD + '{a: "\\0"}', "NUL"),
    (HEAD + "[]", "must be an object"), ("", "is empty"), ("kind: limits\nname: x\n", "document"), (HEAD + "{}\nmore: 1\n", "more"),
    ("\x00\x01\x02", ""), ("? [a]\n: b\n", "not a string"), ("a: " + "x" * (1 << 20), "longer than"), ("[" * 900, ""), ("[" * 1_000_000, "levels"),
    ("{a: " * 240_000, "levels"), ("- " * 500_000, "levels"),
    (HEAD + "[" + ", ".join(f"&a{i} {i}" for i in range(101)) + "]", "more than 100 anchors"),
    (HEAD + "{" + ", ".join(f"a{i}: &a{i} {{}}, b{i}: *a{i}" for i in range(20_000)) + "}", "more than 100 anchors"),
], ids=lambda value: value[:12] if isinstance(value, str) else None)
def test_a_hostile_file_is_refused_and_nothing_is_sent(desk, text, why):
    (desk.directory / "x.yaml").write_text(text)
    done = desk.run("apply", "-f", "x.yaml", status=USAGE)
    assert "x.yaml" in done.stderr and why in done.stderr


def test_a_pipe_and_a_loop_of_directories_end(desk):
    (desk.directory / "d").mkdir()
    os.mkfifo(desk.directory / "d/pipe.json")
    assert "regular file" in desk.run("apply", "-f", "d", status=USAGE).stderr
    (desk.directory / "d/pipe.json").unlink()
    (desk.directory / "d/loop").symlink_to(desk.directory / "d")
    assert "levels" in desk.run("apply", "-f", "d", status=USAGE).stderr


# --- Overrides, sales, orders, tokens. ---


def test_an_override_is_set_listed_and_ended(desk, gateway):
    desk.run("override", "set", "level", 2, "--ttl", 600, status=USAGE)
    would = desk.json("override", "set", "level", 2, "--ttl", 600, "--reason", "a test", "--dry-run")
    assert would["dry_run"] is True and gateway.overrides() == {}
    desk.out("override", "set", "level", 2, "--ttl", 600, "--reason", "a test")
    desk.out("override", "set", "feature:exports", "off", "--ttl", 600, "--reason", "a test")
    assert {one["target"]: one["value"] for one in desk.json("override", "list")} == {"level": 2, "feature:exports": "off"}
    assert "feature:exports" in desk.out("override", "list")
    assert "level" in desk.run("override", "set", "levle", 2, "--ttl", 600, "--reason", "a test", status=REFUSED).stderr
    desk.out("override", "end", "level")
    desk.out("override", "end", "feature:exports")
    desk.run("override", "end", "level", status=REFUSED)
    assert gateway.overrides() == {}


def test_a_plan_is_run_listed_reverted_and_kept(desk, gateway):
    gateway.limit("planned", **RULE)
    steps = [{"patch": {"kind": "limit", "name": "planned", "with": {"rate": 2}}}, {"override": {"target": "feature:exports", "value": "off"}}]
    assert gateway.admin("PUT", "/admin/v1/plans/slow", {"title": "It is slow", "steps": steps, "ttl_s": 600}).status == 201
    desk.run("run", "slow", status=USAGE)
    would = desk.out("run", "slow", "--dry-run")
    assert re.search(r"would +start", would) and "limits/planned" in would and gateway.overrides() == {}
    desk.run("run", "none", "--reason", "a test", status=REFUSED)
    run = desk.json("run", "slow", "--reason", "a test", "--ttl", 300)["run"]
    assert gateway.read("/admin/v1/limits/planned").json["rate"] == 2 and gateway.overrides()["feature:exports"]["run"] == run
    assert [one["run"] for one in desk.json("runs", "list", "--state", "active")] == [run] and run in desk.out("runs", "list")
    assert re.search(r"limits/planned +- +/rate +1 +2", desk.out("runs", "get", run))
    assert run in desk.run("run", "slow", "--reason", "again", status=REFUSED).stderr
    desk.run("run", "slow", "--dry-run", status=REFUSED)
    later = desk.json("run", "slow", "--reason", "again", "--force")["run"]
    assert desk.json("runs", "get", run)["end"] == "taken_over"
    gateway.limit("planned", **RULE | {"rate": 7})
    suspended = desk.run("runs", "revert", later, "--reason", "it is over", status=REFUSED)
    assert re.search(r"state +suspended", suspended.stdout) and "--force" in suspended.stderr
    assert desk.json("runs", "revert", later, "--force")["end"] == "reverted" and gateway.read("/admin/v1/limits/planned").json["rate"] == 1
    kept = desk.json("run", "slow", "--reason", "for good")["run"]
    assert desk.json("runs", "keep", kept)["end"] == "kept" and gateway.read("/admin/v1/limits/planned").json["rate"] == 2
    desk.out("override", "end", "feature:exports")
    desk.run("runs", "revert", kept, status=REFUSED)


@pytest.fixture()
def operator(desk, gateway, tmp_path):
    """A desk whose token has the role operator."""
    desk.out("token", "new", "operator", "--out", "op.token", "--note", "li.wei")
    yield Desk(tmp_path, gateway.admin_port, tmp_path / "op.token")


def test_an_operator_makes_what_an_operator_may_make(operator, gateway):
    rule = json.dumps(RULE)
    operator.out("limit", "create", "made", rule, "--reason", "a test")
    refused = operator.run("limit", "create", "made", rule, status=REFUSED)
    assert "limits/made exists already" in refused.stderr
    would = operator.out("create", "limit", "other", rule, "--dry-run")
    assert "limits/other" in would and "other" not in limits(gateway)
    operator.out("block", "user", "mallory", "--ttl", "10m", "--reason", "a farm")
    operator.out("block", "ip", "203.0.113.0/24", "--reason", "a farm")
    blocked = gateway.admin("GET", "/admin/v1/blocklist/users/mallory").json
    assert blocked["reason"] == "a farm" and blocked["until"] is not None
    assert gateway.admin("GET", "/admin/v1/blocklist/ips/203.0.113.0-24").json["reason"] == "a farm"
    operator.run("create", status=USAGE)
    operator.run("create", "limit", status=USAGE)
    operator.run("create", "overload", "x", "{}", status=USAGE)
    assert "not a JSON object" in operator.run("create", "limit", "x", "[]", status=USAGE).stderr
    assert "/rate" in operator.run("create", "limit", "x", json.dumps(RULE | {"rate": 0}), status=REFUSED).stderr
    for kind, name in (("block_user", "mallory"), ("block_ip", "203.0.113.0-24")):
        operator.out("delete", kind, name)


def test_create_makes_the_documents_of_files_one_by_one(operator, gateway):
    operator.write("d/a.json", "routes", {"path": "/made/", "pool": "made"}, "made")
    operator.write("d/b.json", "pools", {"endpoints": [{"address": "127.0.0.1:9"}]}, "made")
    assert operator.out("create", "-f", "d").split() == ["pools/made", "is", "created", "routes/made", "is", "created"]
    assert "pools/made exists already" in operator.run("create", "-f", "d", status=REFUSED).stderr
    assert re.search(r"^made +127.0.0.1:9 +\w+ +closed ", operator.out("endpoints", "made"), re.M)
    assert "127.0.0.1:9" in operator.out("endpoints")
    operator.run("endpoints", "none", status=REFUSED)
    for kind in ("route", "pool"):
        operator.out("delete", kind, "made")


def test_who_is_shown_by_the_note_of_the_token(operator, desk, gateway):
    operator.out("override", "set", "level", 2, "--ttl", "10m", "--reason", "a test")
    for of in (operator, desk):
        assert "li.wei" in of.out("override", "list") and "li.wei" in of.out("override", "show", "level")
        assert re.search(r"li\.wei .* override\.put +overrides/level", of.out("audit", "show"))
    assert desk.json("override", "list")[0]["by"].startswith("t")
    desk.out("token", "new", "viewer", "--out", "v.token")
    seen = desk.run("override", "list", "--token-file", "v.token")
    assert "li.wei" not in seen.stdout and seen.stderr == ""
    operator.out("override", "end", "level")


def test_a_time_is_written_with_its_unit(desk, gateway):
    for text in ("1h30m", "10", "1w", "0s", "8d", "-5m"):
        if text != "10":
            desk.run("override", "set", "level", 1, f"--ttl={text}", "--reason", "a test", status=REFUSED if text == "8d" else USAGE)
    for text, seconds in (("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), ("77", 77)):
        until = desk.json("override", "set", "level", 1, "--ttl", text, "--reason", "a test")["until"]
        left = (datetime.datetime.fromisoformat(until.replace("Z", "+00:00")) - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
        assert seconds - 10 < left <= seconds + 1, (text, left)
    for ttl, status in (("10m", 200), ("600", 422), ("1h30m", 422), ("0s", 422), ("8d", 422), (600, 200)):
        answer = gateway.admin("PUT", "/admin/v1/overrides/level", {"value": 1, "ttl_s": ttl, "reason": "a test"})
        assert answer.status == status and (status == 200 or answer.json["pointer"] == "/ttl_s"), answer
    desk.out("override", "end", "level")
    for body, status in (({"ttl_s": "1h"}, 201), ({"ttl_s": "60"}, 422)):
        answer = gateway.admin("POST", "/admin/v1/tokens", {"role": "viewer", **body})
        assert answer.status == status, answer
    assert gateway.admin("PUT", "/admin/v1/limits/timed", {**RULE, "period_s": "2m"}).json["period_s"] == 120


def test_a_run_is_named_by_its_plan_and_armed_for_a_time(desk, gateway):
    steps = [{"override": {"target": "feature:exports", "value": "off"}}]
    plan = {"title": "Far", "steps": steps, "ttl_s": "10m", "start": {"at": rfc3339(3 * 86400)}}
    assert gateway.admin("PUT", "/admin/v1/plans/far", plan).status == 201
    assert "/arm_ttl_s" in desk.run("run", "far", "--reason", "a test", status=REFUSED).stderr
    desk.run("runs", "get", "far", status=REFUSED)
    run = desk.json("run", "far", "--reason", "a test", "--arm-ttl", "4d")["run"]
    assert desk.json("runs", "get", "far")["run"] == run and re.search(r"^far +armed ", desk.out("runs", "list"), re.M)
    second = desk.json("run", "far", "--reason", "a test", "--arm-ttl", "4d")["run"]
    assert "more than one" in desk.run("runs", "cancel", "far", status=REFUSED).stderr
    desk.out("runs", "cancel", second)
    assert desk.json("runs", "cancel", "far")["end"] == "cancelled"


def test_a_reader_that_has_enough_ends_the_command_quietly(desk, gateway):
    for i in range(1200):
        assert gateway.admin("PUT", f"/admin/v1/blocklist/users/many-{i}", {"reason": 100 * "x"}).status in (200, 201)
    done = subprocess.run(f"{shlex.quote(str(PENSTOCKCTL))} get block_user | head -1; echo ${{PIPESTATUS[0]}}", shell=True, executable="/bin/bash",
                          env=desk.env, capture_output=True, text=True, timeout=60)
    assert done.stdout.split("\n")[0].startswith("USER") and done.stdout.split()[-1] == "0" and done.stderr == "", done
    full = subprocess.run(f"{shlex.quote(str(PENSTOCKCTL))} get block_user > /dev/full", shell=True, env=desk.env, capture_output=True, text=True, timeout=60)
    assert full.returncode == FAILED and "standard output cannot be written" in full.stderr


def test_an_export_waits_until_the_overload_ends_and_says_why(desk, gateway):
    sale = gateway.make_sale(stock=3)
    gateway.buy(sale, "ann")
    gateway.override("level", 4)
    try:
        gave_up = desk.run("order", "export", "--sale", sale, "--wait", "1s", status=AWAY)
        assert "answers shed: " in gave_up.stderr and "override set feature:exports on" in gave_up.stderr, gave_up
        timer = threading.Timer(2, lambda: gateway.end_override("level"))
        timer.start()
        done = desk.run("order", "export", "--sale", sale)
        timer.join()
        assert done.stderr.count("asking again until it ends") == 1 and len(done.stdout.splitlines()) == 2, done
    finally:
        gateway.admin("DELETE", "/admin/v1/overrides/level")


def test_a_run_is_approved_by_another_token_cancelled_or_started_without_approval(desk, gateway, tmp_path):
    steps = [{"override": {"target": "feature:exports", "value": "off"}}]
    assert gateway.admin("PUT", "/admin/v1/plans/two", {"title": "Two", "steps": steps, "ttl_s": 600, "approvals": 1}).status == 201
    desk.out("token", "new", "operator", "--out", "other.token", "--note", "the other")
    first, second = (desk.json("run", "two", "--reason", "a test")["run"] for _ in range(2))
    desk.run("runs", "approve", first, status=REFUSED)
    assert desk.json("runs", "approve", first, "--token-file", tmp_path / "other.token")["state"] == "active"
    assert desk.json("runs", "cancel", second)["end"] == "cancelled"
    desk.out("runs", "revert", first)
    desk.run("run", "two", "--break-glass", status=USAGE)
    third = desk.json("run", "two", "--break-glass", "--reason", "it burns")
    assert third["state"] == "active" and third["break_glass"] is True
    desk.out("runs", "revert", third["run"])
    assert gateway.overrides() == {}


def test_a_sale_is_opened_paused_adjusted_audited_and_ended(desk, gateway):
    sale = gateway.make_sale(opens_in=3600, stock=5)
    assert sale in desk.out("sale", "list")
    assert "open" in desk.out("sale", "open", sale)
    gateway.wait_state(sale, "open")
    assert desk.json("sale", "pause", sale, "--reason", "a test")["state"] == "paused"
    desk.out("sale", "resume", sale)
    desk.run("sale", "adjust", sale, "phone", 5, status=USAGE)
    for _ in range(2):
        desk.out("sale", "adjust", sale, "phone", 5, "--id", "more")
    desk.out("sale", "adjust", sale, "phone", -2, "--id", "less")
    assert desk.json("sale", "show", sale)["skus"][0]["available"] == 8 and "phone" in desk.out("sale", "show", sale)
    assert "the audit found no differences" in desk.out("sale", "audit", sale) and desk.json("sale", "audit", sale)["ok"] is True
    assert desk.json("sale", "end", sale)["state"] in ("ended", "settled")
    desk.run("sale", "pause", sale, status=REFUSED)
    assert "pause" in desk.run("sale", "paus", sale, status=USAGE).stderr


def test_an_order_is_shown_confirmed_and_cancelled(desk, gateway):
    sale = gateway.make_sale()
    first, second = (gateway.buy(sale, user).json["order_id"] for user in ("ann", "bob"))
    assert desk.json("order", "show", first)["user"] == "ann"
    assert desk.json("order", "confirm", first)["state"] == "confirmed"
    assert desk.json("order", "cancel", second, "--reason", "a test")["state"] == "released"
    desk.run("order", "cancel", first, status=REFUSED)


def test_an_export_has_each_order_once_and_goes_on_where_it_ended(desk, gateway):
    sale = gateway.make_sale(stock=2000)
    for i in range(1003):
        assert gateway.buy(sale, 'a,"user"' if i == 0 else f"u{i}").status == 202
    rows = list(csv.DictReader(desk.out("order", "export", "--sale", sale).splitlines()))
    assert len(rows) == len({row["order_id"] for row in rows}) == 1003 and rows[0]["user"] == 'a,"user"'
    assert {name: rows[0][name] for name in ("sale", "sku", "quantity", "state", "reason")} == {
        "sale": sale, "sku": "phone", "quantity": "1", "state": "accepted", "reason": ""}
    done = desk.run("order", "export", "--sale", sale, "-o", "ndjson", "--after", rows[499]["seq"])
    rest = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["order_id"] for one in rest] == [row["order_id"] for row in rows[500:]]
    last = rest[-1]["seq"]
    assert f"--after {last}" in done.stderr
    assert desk.out("order", "export", "--sale", sale, "--after", last) == ""
    assert gateway.buy(sale, "late").status == 202
    assert desk.out("order", "export", "--sale", sale, "--after", last).count("\n") == 1
    assert desk.out("order", "export", "--sale", sale, "--state", "released").count("\n") == 1  # the head
    desk.run("order", "export", status=USAGE)
    desk.run("order", "export", "--sale", "nobodys", status=REFUSED)


def test_no_cell_of_an_export_is_a_formula_to_a_spreadsheet(desk, gateway):
    """As OWASP says: users and keys are the buyers' own text."""
    sale = gateway.make_sale(stock=100)
    gateway.no_limits()
    users = ['=HYPERLINK("http://a.test")', "=1+1", "+1", "-1", "@sum", "a=b", "'=1", 'x"y', "plain"]
    for i, user in enumerate(users):
        assert gateway.buy(sale, user, key=f"=key{i}").status == 202
    text = desk.out("order", "export", "--sale", sale)
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["user"] for row in rows] == [f"'{user}" if user[0] in "=+-@" else user for user in users]
    assert [row["idempotency_key"] for row in rows] == [f"'=key{i}" for i in range(len(users))]
    assert f',"\'=1+1",' in text and ',"\'=HYPERLINK(""http://a.test"")",' in text and ",plain," in text
    raw = list(csv.DictReader(desk.out("order", "export", "--sale", sale, "--csv-raw").splitlines()))
    assert [row["user"] for row in raw] == users and [row["idempotency_key"] for row in raw] == [f"=key{i}" for i in range(len(users))]
    assert "--csv-raw" in desk.run("order", "export", "--sale", sale, "-o", "ndjson", "--csv-raw", status=USAGE).stderr


def test_a_token_is_written_to_a_new_file_and_never_over_one(desk, gateway):
    shown = desk.out("token", "new", "viewer", "--note", "a test", "--ttl", 600, "--out", "viewer.token")
    token = (desk.directory / "viewer.token").read_text().strip()
    assert token not in shown and (desk.directory / "viewer.token").stat().st_mode & 0o77 == 0
    desk.run("token", "new", "viewer", "--out", "viewer.token", status=USAGE)
    desk.run("token", "new", "king", "--out", "other.token", status=REFUSED)
    assert (desk.directory / "viewer.token").read_text().strip() == token and not (desk.directory / "other.token").exists()
    desk.run("get", "limit", "--token-file", "viewer.token")
    desk.run("sale", "end", "nobodys", "--token-file", "viewer.token", status=REFUSED)
    made = [one for one in desk.json("token", "list") if one["note"] == "a test"]
    desk.out("token", "remove", made[0]["id"])
    desk.run("get", "limit", "--token-file", "viewer.token", status=REFUSED)
    assert desk.json("token", "new", "viewer", "--ttl", 60)["token"]


def test_audit_show_says_who_has_changed_what(desk, gateway):
    gateway.limit("audited", **RULE)
    lines = [json.loads(line) for line in desk.out("audit", "show", "-o", "ndjson", "--limit", 1).splitlines()]
    assert len(lines) == 1 and lines[0]["target"] == "limits/audited"
    assert "limits/audited" in desk.out("audit", "show", "--after", lines[0]["seq"] - 1)
    assert desk.out("audit", "show", "-o", "ndjson", "--after", lines[0]["seq"]) == ""


@pytest.fixture()
def audit_log(desk, gateway):
    """A copy of the gateway's audit log, as lines; a function that checks changed ones."""
    for rate in (1, 2, 3, 4):
        gateway.limit("chained", **{**RULE, "rate": rate})
    lines = (gateway.state / "audit.log").read_bytes().splitlines(keepends=True)

    def verify(changed, status=REFUSED):
        (desk.directory / "audit.log").write_bytes(b"".join(changed))
        return desk.run("audit", "verify", "audit.log", status=status)

    return lines, verify


def test_audit_verify_finds_each_line_where_it_was_written(desk, gateway, audit_log):
    lines, verify = audit_log
    assert "the chain is intact" in verify(lines, status=OK).stdout
    head = hashlib.sha256(lines[-1].rstrip(b"\n")).hexdigest()
    assert head in desk.out("audit", "verify") and json.loads(lines[0])["prev"] == "0" * 64
    assert "incomplete" in verify([*lines, b'{"seq":'], status=OK).stdout


def test_audit_verify_finds_a_changed_a_missing_and_a_reordered_line(audit_log):
    lines, verify = audit_log
    seq = json.loads(lines[-3])["seq"]
    changed = lines[-3].replace(b'"peer":"127.0.0.1"', b'"peer":"127.0.0.2"')
    assert changed != lines[-3]
    assert f"line {seq} was changed" in verify([*lines[:-3], changed, *lines[-2:]]).stderr
    assert "missing" in verify([*lines[:-3], *lines[-2:]]).stderr
    assert "lines were reordered" in verify([*lines[:-3], lines[-2], lines[-3], lines[-1]]).stderr
    assert "not valid JSON" in verify([*lines[:-3], b"gone\n", *lines[-2:]]).stderr
    without = re.sub(rb'"prev":"[0-9a-f]*",', b"", lines[-2])
    verify([*lines[:-2], without, lines[-1]])
    begun = re.sub(rb'"prev":"[0-9a-f]*"', b'"prev":"' + b"0" * 64 + b'"', lines[-2])
    verify([*lines[:-2], begun])


def test_the_chain_goes_on_after_a_restart_and_into_a_new_file(tmp_path):
    with Gateway(tmp_path) as one:
        desk = Desk(tmp_path, one.admin_port, one.state / "admin.token")
        one.limit("user", rate=2)
        (one.state / "audit.log").rename(tmp_path / "old")
        one.limit("user", rate=3)
        one.stop()
        one.start()
        one.limit("user", rate=4)
        assert "the chain is intact" in desk.out("audit", "verify", "old", one.state / "audit.log")
        desk.run("audit", "verify", one.state / "audit.log", "old", status=REFUSED)
        assert "the chain is intact" in desk.out("audit", "verify")


def test_nodes_lists_the_gateway_that_is_asked(desk, gateway):
    node, = desk.json("nodes")
    assert node["gateway"] == gateway.read("/admin/v1/settings").json["gateway"] and node["this"] and node["alive"] and node["leads"]
    assert node["gateway"] in desk.out("nodes")


def test_top_draws_once_where_there_is_no_terminal(desk, gateway):
    sale = gateway.make_sale(stock=7)
    gateway.override("level", 1)
    out = desk.out("top")
    gateway.end_override("level")
    assert re.search(rf"{sale} +open +7 +0 +0", out) and "level 1" in out and re.search(r"level +1 +0 ", out) and "SIGNAL" in out


def test_top_lives_in_a_terminal_until_q_and_leaves_it_as_it_was(desk, gateway):
    gateway.make_sale("live")
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 60, 0, 0))
    before = termios.tcgetattr(follower)
    process = subprocess.Popen([str(PENSTOCKCTL), "top", "--interval", "1"], stdin=follower, stdout=follower, stderr=follower, env=desk.env)
    shown = b""
    while shown.count(b"\x1b[H") < 2:
        shown += os.read(leader, 65536)
    os.write(leader, b"q")
    assert process.wait(10) == 0 and termios.tcgetattr(follower) == before
    os.set_blocking(leader, False)
    with contextlib.suppress(BlockingIOError):
        while True:  # one read need not give all
            shown += os.read(leader, 65536)
    assert shown.endswith(b"\x1b[?1049l") and b"pressure" in shown
    screen = shown.split(b"\x1b[H")[1].split(b"\x1b[J")[0].split(b"\x1b[K\r\n")
    assert len(screen) <= 12 and all(len(line) <= 60 for line in screen)
    os.close(leader), os.close(follower)


def test_drain_ends_the_gateway(tmp_path):
    with Gateway(tmp_path) as one:
        desk = Desk(tmp_path, one.admin_port, one.state / "admin.token")
        assert "drains" in desk.out("drain", "--reason", "a test")
        assert one.process.wait(30) == 0


# --- Who is called. ---


@pytest.mark.parametrize("words", ["sale pause x", "sale adjust x phone 5 --id y", "watch end ann", "drain", "delete limit ip", "rollback limit ip 1",
                                   "config rollback 1", "cache purge default key /", "run x"])
def test_a_reason_that_is_not_utf_8_is_wrong_usage_and_nothing_is_sent(desk, words):
    """No gateway listens there: a call would say so."""
    none = {"PENSTOCK_ADMIN": f"http://127.0.0.1:{free_port()}"}
    assert "not valid UTF-8" in desk.run(*words.split(), "--reason", "\udcff", status=USAGE, **none).stderr


def test_a_wrong_token_and_none_are_refused_with_the_way_to_name_one(desk):
    (desk.directory / "wrong").write_text("no-such-token\n")
    (desk.directory / "wrong").chmod(0o600)
    assert "401" in desk.run("get", "limit", "--token-file", "wrong", status=REFUSED).stderr
    done = desk.run("get", "limit", status=REFUSED, PENSTOCK_TOKEN_FILE="")
    assert "--token-file" in done.stderr
    (desk.directory / "wrong").chmod(0o644)
    assert "chmod 600" in desk.run("get", "limit", "--token-file", "wrong", status=USAGE).stderr


def test_who_reaches_no_gateway_reads_what_was_tried_and_how_to_name_another(desk):
    away, other = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    none = {"PENSTOCK_ADMIN": "", "PENSTOCK_TOKEN_FILE": ""}
    desk.run("use", "lost", "--admin", other, **none)
    for words, env, tried in ((["--admin", away], none, f"{away} (--admin)"), ([], {**none, "PENSTOCK_ADMIN": away}, f"{away} (PENSTOCK_ADMIN)"),
                              ([], none, f"{other} (the current context)"), (["--admin", "unix:/nowhere/a.sock"], {}, "unix:/nowhere/a.sock (--admin)")):
        line, = desk.run("get", "limit", *words, status=AWAY, **env).stderr.splitlines()
        assert f"{tried}: " in line and "running gateway?" in line, line
        assert "--admin URL" in line and "PENSTOCK_ADMIN" in line and "penstockctl use" in line, line


def test_a_gateway_that_is_away_is_a_status_of_its_own(desk):
    for command in (["get", "limit"], ["rollback", "limit", "ip"]):
        desk.run(*command, "--admin", f"http://127.0.0.1:{free_port()}", status=AWAY)
    desk.run("get", "limit", "--admin", "unix:/nowhere/admin.sock", status=AWAY)
    desk.write("d/x.json", "limits", RULE, "x")
    desk.run("diff", "-f", "d", "--admin", f"http://127.0.0.1:{free_port()}", status=AWAY)


class Busy(http.server.BaseHTTPRequestHandler):
    """A gateway that cannot answer now, such as one whose Redis is away."""

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        text = json.dumps({"code": "store_unavailable", "detail": "Redis did not confirm it"}).encode()
        self.send_response(503)
        self.send_header("Content-Type", "application/problem+json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST = answer

    def log_message(self, *_):
        pass


def test_a_gateway_that_cannot_answer_now_is_not_one_that_refuses(desk):
    """A script, such as the chart's job, asks again, as if the gateway was away."""
    desk.write("d/x.json", "limits", RULE, "x")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}"
        for command in (["get", "limit"], ["apply", "-f", "d"], ["order", "show", "ord_1"]):
            said = desk.run(*command, "--admin", at, status=AWAY).stderr
            assert "503 store_unavailable: Redis did not confirm it" in said
        server.shutdown()


def test_apply_waits_for_a_gateway_that_is_not_there_yet_and_not_for_one_that_refuses(tmp_path):
    """As the chart's job does: its pod asks before the gateways are ready, and before the network lets it through."""
    port = free_port()
    with Gateway(tmp_path) as other:  # for its token only
        token = (other.state / "admin.token").read_text()
    desk = Desk(tmp_path, port, tmp_path / "token")
    (tmp_path / "token").write_text(token)
    (tmp_path / "token").chmod(0o600)
    desk.write("good/x.json", "limits", RULE, "x")
    desk.write("bad/x.json", "limits", {**RULE, "rate": "many"}, "x")
    begun = time.monotonic()
    desk.run("apply", "-f", "good", "--wait", 2, status=AWAY)
    assert 2 <= time.monotonic() - begun < 20
    waiting = subprocess.Popen([PENSTOCKCTL, "apply", "-f", "good", "--wait", "60"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=desk.env, cwd=tmp_path)
    assert "Connection refused" in waiting.stderr.readline()
    with Gateway(tmp_path, {"admin": {"port": port}}) as one:
        out, err = waiting.communicate(timeout=60)
        assert waiting.returncode == OK and out.count("create limits/x") == 1 and "1 document changed" in out, (out, err)
        begun = time.monotonic()
        assert "422" in desk.run("apply", "-f", "bad", "--wait", 60, status=REFUSED).stderr and time.monotonic() - begun < 20
        assert one.process.poll() is None


def test_the_unix_socket_answers_as_the_port_does(tmp_path):
    with Gateway(tmp_path, {"admin": {"unix": {"path": str(tmp_path / "a.sock")}}}) as one:
        desk = Desk(tmp_path, one.admin_port, one.state / "admin.token")
        assert desk.json("get", "limit", PENSTOCK_ADMIN=f"unix:{tmp_path}/a.sock") == desk.json("get", "limit")


def test_a_context_names_a_gateway_and_its_token_goes_nowhere_else(desk, gateway):
    none = {"PENSTOCK_ADMIN": "", "PENSTOCK_TOKEN_FILE": ""}
    desk.run("use", "here", "--admin", f"http://127.0.0.1:{gateway.admin_port}", "--token-file", gateway.state / "admin.token", **none)
    assert desk.json("get", "limit", **none) == limits(gateway)
    desk.run("use", "there", "--admin", f"http://127.0.0.1:{free_port()}", **none)
    desk.run("get", "limit", status=AWAY, **none)
    listed = desk.out("use", **none)
    assert "* " in listed and listed.index("here") < listed.index("there") and gateway.token not in listed
    desk.run("use", "here", **none)
    desk.run("use", "nobody", status=USAGE, **none)
    other = {**none, "PENSTOCK_ADMIN": f"http://127.0.0.1:{gateway.admin_port}"}
    assert "no token was sent" in desk.run("get", "limit", status=REFUSED, **other).stderr
    assert (desk.directory / ".config/penstock/contexts.json").stat().st_mode & 0o77 == 0


# --- The command line. ---


def test_the_command_line_is_judged_before_anything_is_sent(desk):
    for words, why in ((["gett"], "did you mean"), (["sales"], 'did you mean "sale"'), (["frobnicate"], "see penstockctl --help"), (["get"], "usage"), (["get", "limt"], "did you mean"), (["get", "limit", ""], "empty"),
                       (["get", "limit", "--prune"], "--prune"), (["get", "limit", "-o", "xml"], "json"), (["apply"], "-f"),
                       (["get", "limit", "--admin", "ftp://x"], "http://"),
                       (["get", "limit", "--admin", "http://x/?y"], "--admin"), ([], "usage")):
        assert why in desk.run(*words, status=USAGE).stderr


def test_every_command_has_a_help_and_is_completed(desk):
    commands = [line[2:].strip() for line in desk.out("--help").splitlines() if line.startswith("  ") and line[2].islower()]
    assert len(commands) >= 8
    for command in commands:
        words = [word for word in command.split() if word.islower() and "|" not in word]
        assert "usage: penstockctl " + " ".join(words) in desk.out(*words, "--help")
    script = desk.out("completion", "bash")
    (desk.directory / "c").write_text(script)

    def offers(*words):
        line = " ".join(map(shlex.quote, words))
        shell = f". ./c; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _penstockctl; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        return subprocess.run(["bash", "-c", shell], capture_output=True, text=True, cwd=desk.directory, check=True).stdout.split()

    assert offers("penstockctl", "rol") == ["rollback"]
    assert offers("penstockctl", "get", "li") == ["limit"]
    assert offers("penstockctl", "apply", "--dr") == ["--dry-run"]
    assert offers("penstockctl", "get", "limit", "-o", "") == ["table", "json"]
    assert "compdef" in desk.out("completion", "zsh")
    desk.run("completion", "fish", status=USAGE)


def test_explain_shows_what_refused_a_request(desk, gateway):
    ref = gateway.buy("none", "ann").json["ref"]
    told = desk.json("explain", ref)
    assert (told["verdict"], told["status"], told["rule"], told["ref"]) == ("not_found", 404, None, ref)
    assert "not_found" in desk.out("explain", ref)
    for unknown in ("A" * 40, "nonsense"):
        told = desk.run("explain", unknown, status=REFUSED).stderr
        assert "ref_unknown" in told and "40 characters" in told and "member ref" in told, told
    assert "REF" in desk.run("explain", status=USAGE).stderr


def test_explain_shows_what_a_described_order_would_get(desk, gateway):
    sale = gateway.make_sale(stock=3)
    order = ("explain", "--user", "ann", "--ip", "203.0.113.7", "--sale", sale, "--sku", "phone")
    rows = [line.split() for line in desk.out(*order).splitlines()]
    assert rows[:2] == [["verdict", "accepted"], ["status", "202"]]
    assert ["GATE", "VERDICT", "RULE", "LEFT", "WHY"] in rows and ["counter", "pass", "-", "3", "-"] in rows
    question = {"user": "ann", "ip": "203.0.113.7", "sale": sale, "sku": "phone"}
    assert desk.json(*order) == gateway.admin("POST", "/admin/v1/explain", question).json
    assert desk.json(*order, "--quantity", 9)["verdict"] == "user_limit"
    later = gateway.make_sale(opens_in=3600, wait=False)
    order = ("explain", "--user=ann", "--ip=203.0.113.7", f"--sale={later}", "--sku=phone")
    assert desk.json(*order)["verdict"] == "not_started"
    passed = desk.json(*order, "--at", rfc3339(3700))["gates"][0]
    assert (passed["gate"], passed["verdict"]) == ("phase", "pass")
    assert "GATE" not in desk.out("explain", "--user", "ann", "--ip", "203.0.113.7", "--sale", "none", "--sku", "phone")


def test_explain_shows_what_a_described_page_would_get(desk, gateway):
    for pool in ("shop", "beta"):
        put_pool(gateway, pool, "127.0.0.1:9")
    put_route(gateway, "shop", path="/shop/", pool="shop", methods=["GET"], split=[{"pool": "beta", "share": 1, "by": "header:X-Beta=yes"}])
    gateway.admin("PUT", "/admin/v1/blocklist/users/bot", {"reason": "bots"})
    try:
        page = ("explain", "--ip", "203.0.113.7", "--path", "/shop/1?a=2")
        question = {"ip": "203.0.113.7", "path": "/shop/1?a=2"}
        told = desk.json(*page)
        assert told["page"] == gateway.admin("POST", "/admin/v1/explain", question).json["page"] and told["page"]["pool"] == "shop"
        for header in ("x-beta:yes", "X-Beta: yes"):
            assert desk.json(*page, "--header", "X-Other: a: b", "--header", header)["page"]["pool"] == "beta"
        assert ["page.route", "shop"] in [line.split() for line in desk.out(*page).splitlines()]
        assert desk.json(*page, "--method", "POST")["verdict"] == "method_not_allowed"
        assert desk.json(*page, "--user", "bot")["verdict"] == "blocked"
    finally:
        for document in ("routes/shop", "pools/shop", "pools/beta", "blocklist/users/bot"):
            gateway.admin("DELETE", f"/admin/v1/{document}", headers={"If-Match": "*"})


def test_explain_refuses_what_describes_no_request(desk):
    page = ("explain", "--ip", "203.0.113.7", "--path", "/")
    assert "either REF or" in desk.run("explain", "A" * 40, "--ip", "203.0.113.7", status=USAGE).stderr
    assert "NAME: VALUE" in desk.run(*page, "--header", "X-Beta", status=USAGE).stderr
    assert "A twice" in desk.run(*page, "--header", "A: 1", "--header", "A: 2", status=USAGE).stderr
    assert "16 times" in desk.run(*page, *(f"--header=A{i}: 1" for i in range(17)), status=USAGE).stderr
    assert "--quantity" in desk.run("explain", "--quantity", "0", status=USAGE).stderr
    assert "ip" in desk.run("explain", "--path", "/", status=REFUSED).stderr
    assert "sale and sku, or path" in desk.run("explain", "--ip", "203.0.113.7", status=REFUSED).stderr
    assert "address" in desk.run("explain", "--ip", "203.0.113.777", "--path", "/", status=REFUSED).stderr
    assert "at" in desk.run(*page, "--at", "noon", status=REFUSED).stderr


# --- Single changes. ---


def test_patch_changes_the_members_it_names_and_delete_deletes(desk, gateway):
    desk.run("apply", "-f", desk.write("limits/own.json", "limit", RULE, "own"))
    assert "/rate" in desk.out("patch", "limit", "own", '{"rate":7}', "--dry-run") and limits(gateway)["own"]["rate"] == 1
    assert desk.json("patch", "limit", "own", '{"rate":7}', "--reason", "a try")["rate"] == 7
    assert desk.json("get", "limit", "own", 1)["document"]["rate"] == 1
    for words, status, said in (
            (("patch", "limit", "own", '{"rate":-1}'), REFUSED, "rate"), (("patch", "limit", "own", "rate=7"), USAGE, "not a JSON object"),
            (("patch", "limit", "own", "7"), USAGE, "not a JSON object"), (("patch", "limit", "own"), USAGE, "usage:"),
            (("patch", "limit", "none", '{"rate":7}'), REFUSED, "404"), (("get", "limit", "own", "x"), USAGE, "not a version"),
            (("delete", "limit", "ip"), REFUSED, "always exists"), (("delete", "overload", "default"), USAGE, "always one"),
            (("delete", "limit", "none"), REFUSED, "404")):
        assert said in desk.run(*words, status=status).stderr, words
    assert "limits/own" in desk.out("delete", "limit", "own", "--dry-run") and "own" in limits(gateway)
    assert desk.out("delete", "limit", "own", "--reason", "it was a try") == "deleted\n" and "own" not in limits(gateway)


def test_apply_changes_what_a_run_holds_only_when_forced(desk, gateway):
    desk.run("apply", "-f", desk.write("plan.json", "plan", {"title": "t", "ttl_s": 600, "steps": [
        {"patch": {"kind": "limit", "name": "ip", "with": {"rate": 20}}}]}, "held"))
    before = desk.json("get", "limit", "ip")
    run = desk.json("run", "held", "--reason", "a drill")["run"]
    base = desk.directory / "base.json"
    base.write_text(desk.out("config", "export", "--kinds", "limits", "--base"))
    assert json.loads(base.read_text())["documents"]["limits"]["ip"]["rate"] == before["rate"]
    assert json.loads(desk.out("config", "export", "--kinds", "limits"))["documents"]["limits"]["ip"]["rate"] == 20
    assert run in desk.run("apply", "-f", base, status=REFUSED).stderr
    desk.run("apply", "-f", base, "--force")
    assert desk.json("runs", "revert", run)["end"] == "reverted"
    desk.run("delete", "plan", "held")


def test_a_batch_of_orders_says_which_were_refused(desk, gateway):
    gateway.make_sale("batch", stock=5)
    orders = [gateway.buy("batch", f"u{i}", key="k").json["order_id"] for i in range(2)]
    unknown = [f"01a20eb6-0000-7000-8000-{i:012}" for i in range(1001)]  # more than one call takes
    (desk.directory / "ids").write_text("\n".join(orders + unknown) + "\n")
    done = desk.run("order", "batch", "cancel", "-f", "ids", "-o", "json", "--reason", "never paid", status=REFUSED)
    results = {result["order_id"]: result["status"] for result in json.loads(done.stdout)}
    assert [results[order] for order in orders] == [200, 200] and [results[order] for order in unknown] == [404] * 1001
    assert "1001 of 1003 orders were refused" in done.stderr
    assert desk.run("order", "batch", "cancel", "-f", "-", text="\n".join(orders)).stdout.count("released") == 2
    assert "no id" in desk.run("order", "batch", "cancel", "-f", "-", text=" \n", status=USAGE).stderr
    assert "neither confirm nor cancel" in desk.run("order", "batch", "burn", "-f", "ids", status=USAGE).stderr
    strange = desk.run("order", "batch", "cancel", "-f", "-", text="\x1b[31m", status=REFUSED).stderr
    assert "422" in strange and "nothing has happened to 1 of 1 orders" in strange and "\x1b" not in strange
    away = desk.run("order", "batch", "cancel", "-f", "ids", "--admin", f"http://127.0.0.1:{free_port()}", status=AWAY).stderr
    assert "the outcome of 1003 of 1003 orders is unknown" in away


def test_exports_of_orders_and_records_continue_where_they_ended(desk, gateway):
    gateway.make_sale("exported", stock=5)
    for command in (("order", "export", "--sale", "exported", "-o", "ndjson"), ("sale", "log", "exported")):
        gateway.buy("exported", f"{command[0]}-1", key="k")
        first = desk.run(*command)
        after = re.search(r"--after (\d+)", first.stderr)[1]
        gateway.buy("exported", f"{command[0]}-2", key="k")
        more = desk.run(*command, "--after", after)
        assert f"{command[0]}-1" in first.stdout and f"{command[0]}-2" not in first.stdout
        assert f"{command[0]}-2" in more.stdout and f"{command[0]}-1" not in more.stdout


def test_three_commands_of_the_handbook_say_why_a_buyer_was_refused(tmp_path):
    """As docs/troubleshooting.md has them: with the reference, for what holds now, and while the buyer tries."""
    page = (ROOT / "docs/troubleshooting.md").read_text()
    commands = re.search(r"## When one buyer asks why.*?```console\n(.*?)```", page, re.S)[1].splitlines()
    assert len(commands) == 3 and all(command.startswith("penstockctl ") for command in commands)
    with Gateway() as own:
        desk = Desk(tmp_path, own.admin_port, own.state / "admin.token")
        sale = own.make_sale("spring", stock=50, per_user_cap=50)
        address = {"X-Forwarded-For": "203.0.113.7"}
        tries = [own.buy(sale, "u7", key=f"k{i}", headers=address) for i in range(6)]
        assert tries[-1].code == "user_rate", tries
        said = [desk.out(*shlex.split(commands[0].replace("B22Wo_YvUixDgPynbJLjFFWy7rW_LlRQauZXhDUW", tries[-1].json["ref"]))[1:])]
        said.append(desk.out(*shlex.split(commands[1])[1:]))
        desk.run("watch", "follow", "u7", "--once")
        own.buy(sale, "u7", key="k7", headers=address)
        said.append(desk.out(*shlex.split(commands[2])[1:], "--once"))
        for text in said:
            assert "user_rate" in text and re.search(r"\buser\b", text), text
