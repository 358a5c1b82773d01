"""The capacity before the day: the knee of a gateway whose disk is slow, and the bundle that follows from it."""
import json
import os
import signal
import subprocess

import pytest
from faults import build_library, in_memory
from penstock import REHEARSE, ROOT, Gateway, free_port, wait_until

# A commit of at most 4 orders takes at least 20 ms: below 200 orders a second, far below what any machine here can send.
SETTINGS = {"log": {"batch_max": 4}, "http": {"idle_timeout_ms": 6000, "connections": 3000}}
CAPACITY = 200


@pytest.fixture(scope="module")
def slow_disk(tmp_path_factory):
    library = tmp_path_factory.mktemp("slow") / "slow_sync.so"
    build_library(ROOT / "loadtest/bench.d/slow_sync.c", library)
    return {"LD_PRELOAD": str(library), "SLOW_SYNC_US": "20000"}


@pytest.fixture
def gateway(slow_disk):
    with in_memory() as directory, Gateway(directory, SETTINGS, slow_disk) as g:
        yield g


def words_of(gateway, *options):
    return list(map(str, [REHEARSE, "--public", f"http://127.0.0.1:{gateway.port}", "--admin", f"http://127.0.0.1:{gateway.admin_port}", "--state-dir", gateway.state,
                          "--find-capacity", "--rate", 100, "--duration", "1s", *options]))


def find(gateway, *options):
    return subprocess.run(words_of(gateway, *options), capture_output=True, text=True, timeout=300)


def documents(gateway):
    return gateway.admin("GET", "/admin/v1/config").json["documents"]


@pytest.mark.slow
def test_the_bundle_of_a_search_is_taken_as_it_is_and_changes_nothing_else(gateway, tmp_path):
    bundle, report = tmp_path / "bundle.json", tmp_path / "report.json"
    mine = gateway.make_sale(stock=10)
    gateway.limit("user", rate=7)
    gateway.limit("mine", algorithm="token_bucket", key="sale", rate=5000, period_s=1)
    gateway.admin("PUT", "/admin/v1/blocklist/users/mallory", {})
    done = find(gateway, "--thresholds", "goodput=95%,p99=500ms", "--margin", "0.6", "--duration", "2s", "--bundle", bundle, "--json", report, "--live", free_port())
    assert done.returncode == 0 and done.stderr.count("live: http://") == 1, done
    found = json.loads(report.read_text())
    knee = found["held"]
    assert CAPACITY / 8 <= knee <= 1.2 * CAPACITY and knee < found["broken"], done.stdout
    assert found["margin"] == 0.6 and found["limit"]["rate"] == int(0.6 * knee) and f"Knee: {knee} clicks a second" in done.stdout
    assert all(step["held"] == all(row["ok"] for row in step["thresholds"]) for step in found["steps"])
    assert found["burst_step"]["held"] and found["burst_step"]["burst"] == found["limit"]["burst"]
    assert json.loads(bundle.read_text()) == found["bundle"] and '"limits"' in done.stdout

    assert all("admitted_rate" in step["signals"] for step in found["steps"])
    at_knee = [step for step in found["steps"] if step["held"] and step["rate"] == knee][-1]["signals"]["admitted_rate"]
    calm = max(step["signals"]["admitted_rate"] for step in [*found["steps"], found["burst_step"]] if step["held"] and step["rate"] <= found["limit"]["rate"])
    assert ("admitted_rate" in found["thresholds"]) == (calm <= 0.8 * at_knee), "a threshold that a busy machine's calm passes, too, is not proposed"
    for name, threshold in found["thresholds"].items():
        assert f"{name:20} {threshold:g}" in done.stdout, done.stdout
    assert at_knee <= found["thresholds"].get("admitted_rate", at_knee) <= 1.02 * at_knee
    settings = found["settings"]
    assert f'"http": {{"connections": {settings["http"]["connections"]}}}  (now 3000)' in done.stdout and settings["now"] == {"connections": 3000, "idle_timeout_ms": 6000}
    assert f"LimitNOFILE={settings['limit_nofile']}" in done.stdout
    assert settings["http"]["connections"] == max(16, 6 * knee) and settings["proxy_connections"] == -(-knee // 4)  # 250 ms
    with Gateway(settings={"http": settings["http"]}):  # a gateway takes them
        pass

    before = documents(gateway)
    revision = gateway.admin("GET", "/admin/v1/config").headers["etag"]
    assert revision == f'"{found["revision"]}"', "the search leaves no change behind"
    put = gateway.admin("PUT", "/admin/v1/config", bundle.read_bytes(), {"If-Match": revision, "Content-Type": "application/json"})
    assert put.status == 200, put
    after = documents(gateway)
    assert after["limits"]["global"] == {**before["limits"]["global"], "rate": int(0.6 * knee), "period_s": 1, "burst": found["limit"]["burst"], "mode": "enforce"}
    assert after["overload"]["default"]["signals"] == {name: {**rule, **({"threshold": found["thresholds"][name]} if name in found["thresholds"] else {})}
                                                       for name, rule in before["overload"]["default"]["signals"].items()}
    del before["limits"]["global"], after["limits"]["global"], before["overload"], after["overload"]
    assert after == before and after["limits"]["user"]["rate"] == 7 and "mine" in after["limits"] and "mallory" in after["blocklist/users"]
    assert gateway.sale(mine)["state"] == "open"
    assert gateway.buy(mine, "ann").status == 202


def test_a_limit_that_refuses_ends_the_search_and_is_named(gateway, tmp_path):
    """Its knee would be that of the limit: the next limit would be lower, and so on."""
    gateway.limit("global", rate=50, burst=50)
    done = find(gateway, "--thresholds", "goodput=95%", "--bundle", tmp_path / "b.json", "--json", tmp_path / "r.json")
    assert done.returncode == 1 and "NO CAPACITY WAS FOUND" in done.stdout and "global_rate" in done.stdout and "shadow" in done.stdout, done
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["found"] is False and "global_rate" in report["why_not"] and "bundle" not in report
    assert (tmp_path / "b.json").read_text() == ""


def test_a_search_that_nobody_is_let_into_says_why():
    with Gateway(settings={"trusted_proxies": []}) as g:
        done = find(g)
        assert done.returncode == 1 and "trusted_proxies" in done.stdout, done


def test_a_search_that_is_stopped_says_so_and_ends_its_sale(gateway):
    running = subprocess.Popen(words_of(gateway, "--duration", "20s"), stdout=subprocess.PIPE, text=True)
    running.stdout.readline()
    override = wait_until(lambda: gateway.overrides().get("level"), what="the level's override")
    assert override["value"] == 0 and "capacity" in override["reason"], override
    running.send_signal(signal.SIGINT)
    out = running.communicate(timeout=60)[0]
    assert running.returncode == 1 and "told to stop" in out, out
    sales = [sale for sale in gateway.admin("GET", "/admin/v1/sales").json["sales"] if sale["sale"].startswith("rehearsal-")]
    assert gateway.overrides() == {}
    assert sales and {sale["state"] for sale in sales} <= {"ended", "settled", "archived"}, sales


def test_an_operators_override_of_the_level_is_left_as_it_is(gateway):
    gateway.override("level", 1, reason="a quiet day")
    running = subprocess.Popen(words_of(gateway), stdout=subprocess.PIPE, text=True)
    running.stdout.readline()
    running.stdout.readline()  # a step is over
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert gateway.overrides()["level"]["reason"] == "a quiet day"


def test_a_token_that_may_not_read_the_documents_is_said_before_anybody_comes(gateway, tmp_path):
    made = gateway.admin("POST", "/admin/v1/tokens", {"role": "operator", "note": "rehearsals"})
    (tmp_path / "token").write_text(made.json["token"])
    os.chmod(tmp_path / "token", 0o600)
    done = find(gateway, "--token-file", tmp_path / "token")
    assert done.returncode == 1 and "403" in done.stderr and done.stdout == "", done
    assert gateway.admin("GET", "/admin/v1/sales").json["sales"] == []
