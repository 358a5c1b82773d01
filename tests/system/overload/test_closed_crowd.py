"""A crowd of which each waits for its answer before it asks again is a round, not an overload: everybody is served in turn. And after an
overload that was one, the gateway is soon as before."""
import json
import os
import pathlib
import re
import statistics
import subprocess

import pytest
from faults import in_memory, processor
from penstock import ENFORCE, REHEARSE, Gateway

CAPACITY_S, BEFORE_S, OVERLOAD_S, AFTER_S = 2, 5, 6, 20
MS = {"us": 0.001, "ms": 1, "s": 1000}


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * MS[unit]


def cpu_ms(gateway):
    fields = pathlib.Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def crowd(gateway, path, connections, first):
    """The gateway's CPU time for an answer, and the 50th and 99th percentile of the time to one, in ms. All answers must be 200."""
    before = cpu_ms(gateway)
    out = subprocess.run([*first, "wrk", "-t1", f"-c{connections}", "-d6s", "--timeout", "10s", "--latency", f"http://127.0.0.1:{gateway.port}{path}"],
                         capture_output=True, text=True, timeout=60, check=True).stdout
    assert "Non-2xx" not in out and "Socket errors" not in out, out
    return (cpu_ms(gateway) - before) / int(re.search(r"(\d+) requests in", out).group(1)), *(milliseconds(re.search(rf"{share}% +(\S+)", out).group(1)) for share in (50, 99))


@pytest.mark.slow
def test_three_thousand_who_wait_for_their_answers_are_served_in_turn():
    settings = {"workers": 1, "http": {"connections": 8000}, **ENFORCE}
    with processor() as first, Gateway(settings=settings, prefix=first) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=5)
        few = crowd(gateway, f"/v1/sales/{sale}", 256, first)
        many = crowd(gateway, f"/v1/sales/{sale}", 3000, first)
        print("256:", few, "3000:", many)
        assert gateway.metric('penstock_answers_total{verdict="shed"}') == 0
        assert gateway.metric("penstock_unread_total") == 0
        assert many[0] < 2 * few[0], (few, many)
        assert many[2] < 4 * many[1], (few, many)


def rehearse(gateway, report, first, *options):
    done = subprocess.run([*first, str(REHEARSE), "--public", f"http://127.0.0.1:{gateway.port}", "--admin", f"http://127.0.0.1:{gateway.admin_port}",
                           "--state-dir", str(gateway.state), "--in-time", "250ms", "--quiet", "--json", str(report), "--timeout", "5s",
                           "--patience", "50ms", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180)
    assert done.returncode == 0, done.stdout
    return json.loads(report.read_text())


def during(figures, timeline, start_s, end_s):
    at = timeline["slot_ms"] / 1000
    return [figure for i, figure in enumerate(figures) if start_s <= i * at < end_s]


@pytest.mark.soak
def test_ten_seconds_after_ten_times_too_many_have_come_half_of_the_capacity_is_served_as_before(tmp_path):
    """A tenth of a core, and ten thousand connections of which most still wait for an answer when the last has clicked."""
    settings = {"workers": 1, "http": {"connections": 20000}, **ENFORCE}
    plan, report = tmp_path / "plan.json", tmp_path / "report.json"
    with in_memory() as directory, processor() as first, processor(0.1) as tenth, Gateway(directory, settings, prefix=tenth) as gateway:
        gateway.no_limits()
        best = rehearse(gateway, report, first, "--rate", "8000", "--duration", f"{CAPACITY_S}s", "--unique-users", "--connections", "64")
        capacity = best["in_time"]["answers"]["accepted"] / CAPACITY_S
        phases = [(BEFORE_S, capacity / 2), (OVERLOAD_S, capacity * 10), (AFTER_S, capacity / 2)]
        plan.write_text(json.dumps({"repeat_share": 0, "buyers": 0, "stock": int(sum(seconds * rate for seconds, rate in phases)), "phases": [
            {"shape": "constant", "over_ms": seconds * 1000, "clicks": int(seconds * rate)} for seconds, rate in phases]}))
        timeline = rehearse(gateway, report, first, "--plan", str(plan), "--connections", "10000")["timeline"]
        gateway.assert_books(json.loads(report.read_text())["sale"])
    over = BEFORE_S + OVERLOAD_S
    accepted, offered = (sum(during(counts, timeline, over + 10, over + AFTER_S - 1)) for counts in (timeline["answers"]["accepted"], timeline["offered"]))
    admitted = timeline["latency_ms"]["admitted"]
    before, after = (statistics.median(during(admitted["p99"], admitted, *when)) for when in ((1, BEFORE_S - 1), (over + 10, over + AFTER_S - 1)))
    print(f"capacity {capacity:.0f}/s, accepted {accepted} of {offered}, p99 {before} and {after} ms")
    assert accepted > 0.95 * offered
    assert after < 2 * before + 50  # by the part of a period in which the quota is used up
