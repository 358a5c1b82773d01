"""What a gateway does with ten times too many, in two cases that make its capacity small. Server on one core, load on the other.

- log_bound: every fsync and fdatasync takes 5 ms (the files are in memory, /dev/shm) and a commit holds at most 16 orders. Half of the core is left over.
- cpu_bound: the gateway may use a tenth of a core (a cgroup quota with the period of container runtimes, 100 ms). A "no" costs about half of a "yes", so not even the "no"s fit.

First the peak: as many clicks as 16, 64 or 256 connections take, one after the other, so that nobody waits long, with the controller and
without; the best of the six. Then, each time with a gateway that was just started, an
open-loop crowd of 1, 2 and 10 times the peak: evenly spaced clicks whose moments do not depend on the answers, every click another user, with 5 s until they give up, on 10,000 kept
connections as proxies hold them. A click that finds none of them free for 50 ms is not sent, since what it would measure then is the wait in the load tool; it counts as unanswered.

In time is what was answered `accepted` at most 250 ms after the click's planned moment. goodput_share: in-time orders a second by those at the peak. p99_admitted_ms: of `accepted` and `pending`,
from the planned moment, the first second included. unanswered_share: of all clicks. back_to_l0_s: from the last planned click until the level is, and stays, 0.
without_controller: the same with the overload controller off, by the same peak. Each figure is of one run: two runs differ by some percent."""
import json
import pathlib
import subprocess
import sys
import threading
import time
from datetime import datetime

from cgroup import Group
from harness import LOAD_CORE, RELEASE, ROOT, Penstock, cpu_seconds, judge

SYNC_US, BATCH = 5000, 16
SLOW_SYNC = ROOT / "build" / "slow_sync.so"
CPU_SHARE = 0.1
IN_TIME_MS = 250
CROWD = ("--connections", "10000", "--timeout", "5s", "--patience", "50ms")
PEAK_CONNECTIONS, PEAK_OFFERED = (16, 64, 256), 12000
BARS = {"goodput_share": 0.9, "p99_admitted_ms": 60, "unanswered_share": 0, "back_to_l0_s": 60, "goodput_share_2x": 0.6, "goodput_share_10x": 0.6}


class Bound:
    """A case: a gateway whose capacity is small. It, the load and the proxies come before what else the machine does, where a control group for that may be made."""

    def __init__(self, name, directory):
        self.name, self.directory, self.count = name, directory, 0
        self.first = self.group = Group("first")
        if name == "cpu_bound":
            self.group = Group("gateway", CPU_SHARE)
            if self.group.path is None:
                sys.exit(f"bench: cpu_bound needs a cgroup with the cpu controller, v1 or v2, that this user may make groups in: {self.group.why_not}")
        else:
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(SLOW_SYNC), str(ROOT / "loadtest" / "bench.d" / "slow_sync.c")], check=True)

    def start(self, controller):
        self.count += 1
        place = self.directory / f"{self.name}-{controller}-{self.count}"
        place.mkdir()
        slow = self.name == "log_bound"
        preload = ["env", f"LD_PRELOAD={SLOW_SYNC}", f"SLOW_SYNC_US={SYNC_US}"] if slow else []
        penstock = Penstock(place, {"log": {"batch_max": BATCH}} if slow else {}, [*self.group.under(), *preload])
        penstock.lift_limits()
        if controller == "off":
            penstock.turn_overload_off()
        penstock.admin("PUT", "/admin/v1/overrides/feature:exports", {"value": "on", "ttl_s": 3600, "reason": "the proof of each run reads the log at once"})
        return penstock


def rehearse(bound, penstock, *crowd, port=None):
    """The report; `port`: of a proxy before the gateway. The order log must be in order; that nobody got an order is a result here."""
    path = penstock.state / "rehearsal.json"
    ran = subprocess.run(
        [*bound.first.under(), "taskset", "-c", LOAD_CORE, str(RELEASE / "loadtest" / "penstock-rehearse"), "--public", f"http://127.0.0.1:{port or penstock.port}",
         "--admin", f"http://127.0.0.1:{penstock.admin_port}", "--state-dir", str(penstock.state), "--in-time", f"{IN_TIME_MS}ms", "--quiet", "--json", str(path), *crowd], capture_output=True, text=True)
    report = json.loads(path.read_text()) if ran.returncode < 2 and path.exists() else None
    if report is None or not report["proof"]["made"] or any(not check["ok"] for check in report["proof"]["checks"] if check["name"] != "tried"):
        sys.exit(f"bench: penstock-rehearse failed ({ran.returncode}):\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return report


def steady(rate, seconds):
    return "--rate", str(int(rate)), "--duration", f"{seconds}s", "--unique-users"


def goodput(report, seconds):
    return report["in_time"]["answers"].get("accepted", 0) / seconds


def figures(report, seconds, peak):
    return {"goodput_share": round(goodput(report, seconds) / peak, 3), "p99_admitted_ms": round(report["latency_ms"]["admitted"]["p99"], 1),
            "unanswered_share": round(report["unanswered"] / report["offered"], 5)}


def show(name, report, seconds, peak, memory_kb, cpu):
    """`cpu`: seconds that the gateway has used, its part in the proof included."""
    answers = ", ".join(f"{code} {number}" for code, number in sorted(report["answers"].items(), key=lambda item: -item[1]))
    print(f"  {name:4} offered {report['offered'] / seconds:6.0f}/s  in time {goodput(report, seconds):6.0f}/s = {goodput(report, seconds) / peak:.2f} of the peak  "
          f"p99 of the admitted {report['latency_ms']['admitted']['p99']:.0f} ms  unanswered {report['unanswered'] / report['offered']:.2%}  "
          f"most memory {memory_kb / 1024:.0f} MB\n       {answers}; never sent {report['client']['never_sent']}\n       CPU: gateway {cpu / report['offered'] * 1e6:.0f} us a click, "
          f"{cpu / seconds:.2f} cores, load {report['client']['cpu_us_per_click']:.0f} us, {report['client']['cpu_us_per_click'] * report['offered'] / 1e6 / report['duration_s']:.2f} cores", flush=True)


def most_memory_kb(penstock):
    status = pathlib.Path(f"/proc/{penstock.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


class Watch(threading.Thread):
    """The level, twice a second."""

    def __init__(self, penstock):
        super().__init__(daemon=True)
        self.penstock, self.seen, self.ended = penstock, [], threading.Event()

    def run(self):
        while not self.ended.wait(0.5):
            try:
                self.seen.append((time.time(), self.penstock.admin("GET", "/admin/v1/overload")["level"]))
            except OSError:
                pass  # too busy to say

    def back_after(self, report, patience):
        """Seconds from the last planned click until the level is 0 and stays so for 3 s; None: it does not come back within the patience."""
        over = datetime.fromisoformat(report["started_at"].replace("Z", "+00:00")).timestamp() + sum(p["over_ms"] for p in report["plan"]["phases"]) / 1e3
        while True:
            raised = max([at for at, level in self.seen if level > 0], default=0)
            now = time.time()
            if now > over + 3 and now > raised + 3:
                break
            if now > over + patience:
                return None
            time.sleep(0.1)
        return max(0.0, round(raised - over, 1))

    def stop(self):
        self.ended.set()
        self.join()
        levels = sorted({level for _, level in self.seen})
        return f"levels seen: {levels}"


def offer(bound, controller, peak, times, seconds, watched=0, front=None):
    """One crowd for a new gateway, behind a proxy of the class `front`: the report, and when the level was back at 0 (None: not within the time `watched`, or not watched)."""
    penstock, watch, back = bound.start(controller), None, None
    if watched and controller == "on":
        watch = Watch(penstock)
        watch.start()
    used = cpu_seconds(penstock.pids())
    proxy = front(bound, penstock, peak) if front else None
    report = rehearse(bound, penstock, *steady(peak * times, seconds), *CROWD, port=proxy and proxy.port)
    show(f"{times}x", report, seconds, peak, most_memory_kb(penstock), cpu_seconds(penstock.pids()) - used)
    if watch:
        back = watch.back_after(report, watched)
        print(f"       back to L0 after {back} s; {watch.stop()}", flush=True)
    if proxy:
        proxy.stop()
    penstock.stop()
    return report, back


def find_peak(bound, seconds, quick):
    """With the controller or without: the better one."""
    found = []
    for controller in ("on", "off"):
        penstock = bound.start(controller)
        for connections in PEAK_CONNECTIONS[1:] if quick else PEAK_CONNECTIONS:
            report = rehearse(bound, penstock, *steady(PEAK_OFFERED, seconds), "--connections", str(connections), "--timeout", "5s", "--patience", "20ms")
            found.append((goodput(report, seconds), connections, controller))
        penstock.stop()
    peak, connections, controller = max(found)
    if peak < 100:
        sys.exit(f"bench: {bound.name}: a peak of {peak:.0f} orders a second cannot be measured against")
    print(f"{bound.name}: peak {peak:.0f} orders/s in time, at {connections} connections, controller {controller} "
          f"({', '.join(f'{controller}, {n}: {rate:.0f}' for rate, n, controller in found)})", flush=True)
    return peak


def log_bound(bound, controller, peak, quick):
    if not quick:
        for times in (1, 2):
            offer(bound, controller, peak, times, 5)
    seconds = 5 if quick else 10
    report, back = offer(bound, controller, peak, 10, seconds, watched=20 if quick else 75)
    return {**figures(report, seconds, peak), "back_to_l0_s": back}


def cpu_bound(bound, controller, peak, quick):
    seconds = 5 if quick else 8
    return {f"goodput_share_{times}x": round(goodput(offer(bound, controller, peak, times, seconds)[0], seconds) / peak, 3) for times in (2, 10)}


CASES = {"log_bound": log_bound, "cpu_bound": cpu_bound}


def nothing():
    """What is not measured is null."""
    return {"goodput_share": None, "p99_admitted_ms": None, "unanswered_share": None, "back_to_l0_s": None, "cpu_bound": {"goodput_share_2x": None, "goodput_share_10x": None}}


def say_bars(found):
    figures = {key: found[key] for key in ("goodput_share", "p99_admitted_ms", "unanswered_share", "back_to_l0_s")} | found["cpu_bound"]
    for key, bar in BARS.items():
        if figures[key] is None and key != "back_to_l0_s":
            continue
        holds = figures[key] is not None and (figures[key] >= bar if key.startswith("goodput") else figures[key] <= bar)
        print(f"{key}: {figures[key]}  (bar {bar}, {judge(holds)})")


def run(directory, cases, controllers, quick):
    print(f"load on the machine before: {pathlib.Path('/proc/loadavg').read_text().split()[0]}")
    found = {"on": nothing(), "off": nothing()}
    for case in cases:
        bound = Bound(case, directory)
        peak = find_peak(bound, 2 if quick else 3, quick)
        for controller in controllers:
            print(f"{case}, controller {controller}:", flush=True)
            result = CASES[case](bound, controller, peak, quick)
            found[controller].update({"cpu_bound": result} if case == "cpu_bound" else result)
    if "on" in controllers:
        say_bars(found["on"])
    return {**found["on"], "without_controller": found["off"]}
