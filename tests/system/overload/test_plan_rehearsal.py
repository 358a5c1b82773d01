"""A plan that was armed before the peak, at ten times what the gateway can serve: its signal starts it, its TTL ends it, and the report of the
rehearsal shows both moments."""
import json
import subprocess
import threading

import pytest
from faults import Disk, in_memory, processor
from penstock import REHEARSE, Gateway, seeds, wait_until
from plans import lay_hand_on, prepare, run_of, start

TTL_S = 4
STEPS = [{"patch": {"kind": "limit", "name": "global", "with": {"mode": "enforce", "rate": 100, "period_s": 1, "burst": 100}}},
         {"patch": {"kind": "limit", "name": "ip", "with": {"rate": 20}}},
         {"override": {"target": "level", "value": 2}}]


class Operator(threading.Thread):
    """Changes one of the plan's members as soon as the run is active, and looks at what is in force then."""

    def __init__(self, gateway, run):
        super().__init__()
        self.gateway, self.run_id, self.seen = gateway, run, None

    def run(self):
        wait_until(lambda: run_of(self.gateway, self.run_id)["state"] == "active", 60, 0.05, "the signal")
        limits = self.gateway.read("/admin/v1/limits").json["limits"]
        self.seen = limits["global"]["rate"], limits["ip"]["rate"], self.gateway.overrides()["level"]["run"]
        self.gateway.limit("ip", rate=33)


@pytest.mark.slow
def test_at_ten_times_the_capacity_an_armed_plan_starts_holds_and_is_taken_back_and_the_report_shows_it(tmp_path):
    """OL1: F17: A disk that commits 200 orders a second, and a crowd of 2,000 a second."""
    disk = Disk(tmp_path)
    disk.slow_syncs(10000)
    # What else the machine does is not what is looked at.
    overload = {"leave_s": 10, "signals": {name: {"weight": 0} for name in ("machine_cpu", "cpu_pressure", "memory_pressure")}}
    settings = {"seed": seeds({"overload": {"default": overload}}), "log": {"batch_max": 2}}
    files = {form: tmp_path / f"report.{form}" for form in ("json", "html")}
    with in_memory() as directory, processor() as first, Gateway(directory, settings, disk.env, first) as gateway:
        gateway.no_limits()
        busy = gateway.make_sale(stock=1000, rehearsal=True)
        gateway.override("feature:exports", "on", reason="the proof reads the log at once")
        gateway.override("feature:rehearsals", "on", reason="the plan overrides the level, and the crowd is a rehearsal")
        prepare(gateway, "till-first", STEPS, ttl_s=TTL_S, start={"signal": "log_latency_ms", "above": 0.5, "for_s": 1})
        run = start(gateway, "till-first", reason="for the peak")
        assert run_of(gateway, run)["state"] == "armed"
        operator = Operator(gateway, run)
        operator.start()
        done = subprocess.run(
            [*first, str(REHEARSE), "--public", f"http://127.0.0.1:{gateway.port}", "--admin", f"http://127.0.0.1:{gateway.admin_port}",
             "--state-dir", str(gateway.state), "--quiet", "--rate", "2000", "--duration", "14s", "--connections", "2000", "--unique-users",
             "--timeout", "5s", "--json", files["json"], "--html", files["html"]],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        assert done.returncode == 0, done.stdout
        operator.join()
        assert operator.seen == (100, 20, run), operator.seen

        told = run_of(gateway, run)
        assert told["state"] == "suspended" and told["why"].startswith("limits/ip /rate was changed since"), told
        limits = gateway.read("/admin/v1/limits").json["limits"]
        assert (limits["global"]["mode"], limits["ip"]["rate"]) == ("off", 33), limits
        assert "level" not in gateway.overrides()

        report = json.loads(files["json"].read_text())
        assert report["unanswered"] == 0 and report["proof"]["ok"], report["answers"]
        assert report["answers"]["global_rate"] > 1000, report["answers"]
        began, ended = report["gateway_saw"]["plans"]
        assert [(one["what"], one["plan"], one["run"], one["end"]) for one in (began, ended)] == [
            ("started", "till-first", run, None), ("suspended", "till-first", run, None)]
        assert 1000 <= began["at_ms"] < ended["at_ms"] < 14000 and ended["at_ms"] - began["at_ms"] >= TTL_S * 1000, (began, ended)
        limited = report["timeline"]["answers"]["global_rate"]
        slot_ms = report["timeline"]["slot_ms"]
        assert sum(limited[:began["at_ms"] // slot_ms - 1]) == 0, "limited before the plan"
        assert "after the start: plan till-first started" in done.stdout and "after the start: plan till-first suspended" in done.stdout, done.stdout
        page = files["html"].read_text()
        assert page.count('<b class="mark plan"') == 2 and "plan till-first started: " in page and "plan till-first suspended: " in page

        assert lay_hand_on(gateway, run, "revert", force=True).json["end"] == "reverted"
        gateway.assert_books(busy)
