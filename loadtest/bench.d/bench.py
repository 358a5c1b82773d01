"""Paired, interleaved rounds of Penstock and nginx's static answer of the same size. The server has one core, the load (wrk) the other. What counts is the CPU time of the
whole server process a request, from /proc: on a noisy machine it is far steadier than requests a second. An absolute figure of one machine means nothing; the ratio does.

Cases: sold_out and rate_limited (the price of a "no"), status_page (a cached page), durable_yes (every request a new user, every order committed to the journal before its
answer). Then: sold_out at 2,000 connections against 256; p99 of "yes" at 70 % of the rate found, open loop, against a bare fdatasync of the same run."""
import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import algorithms
import cluster
import connections
import console
import documents
import instructions
import overload
import peers
import rebuild
import restart
import shapes
import upstream
from harness import CONNECTIONS, LOAD_CORE, MISSED, RELEASE, RICH, ROOT, SERVER_CORE, TICK, Nginx, Penstock, get_request, judge, median_row, post_request, raw_answer, wrk

OPEN_LOOP_RUNS = 7
BARS = {"sold_out": 1.0, "rate_limited": 1.0, "status_page": 1.0, "durable_yes": 1.8}
WIDE_BAR = 1.15


def fdatasync_p99(directory, seconds):
    """A 4 KiB append and a bare fdatasync, one after the other, for some seconds."""
    block, times = b"x" * 4096, []
    fd = os.open(directory / "fdatasync", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        os.write(fd, block)
        started = time.monotonic()
        os.fdatasync(fd)
        times.append((time.monotonic() - started) * 1e3)
    os.close(fd)
    times.sort()
    return times[len(times) * 99 // 100]


SPIN = """
import sys, time
last, end, longest, count = time.monotonic(), time.monotonic() + float(sys.argv[1]), 0, 0
while last < end:
    now = time.monotonic()
    if now - last > 0.002:
        longest, count = max(longest, now - last), count + 1
    last = now
print(longest * 1e3, count)
"""


def pauses(seconds):
    """What the machine itself does to a program that never waits, both cores busy: its pauses of more than 2 ms on the server's core."""
    spins = [subprocess.Popen(["taskset", "-c", core, sys.executable, "-c", SPIN, str(seconds)], stdout=subprocess.PIPE, text=True) for core in (SERVER_CORE, LOAD_CORE)]
    longest, count = map(float, [spin.communicate()[0] for spin in spins][0].split())
    return {"longest_ms": round(longest, 2), "a_second": round(count / seconds, 2)}


def stolen_seconds():
    """For which the host gave the server's or the load's core to somebody else, so far."""
    lines = [line.split() for line in pathlib.Path("/proc/stat").read_text().splitlines()]
    return sum(int(fields[8]) / TICK for fields in lines if fields and fields[0] in (f"cpu{SERVER_CORE}", f"cpu{LOAD_CORE}"))


def yes_at_70_percent(penstock, directory, rate, seconds):
    """Through as many connections as the rate was found with."""
    began, stolen = time.monotonic(), stolen_seconds()
    report = directory / "rehearsal.json"
    ran = subprocess.run(
        ["taskset", "-c", LOAD_CORE, str(RELEASE / "loadtest" / "penstock-rehearse"), "--public", f"http://127.0.0.1:{penstock.port}",
         "--admin", f"http://127.0.0.1:{penstock.admin_port}", "--state-dir", str(penstock.state), "--rate", str(int(rate)), "--duration", f"{seconds}s",
         "--unique-users", "--stock", str(int(rate * seconds * 2)), "--connections", str(CONNECTIONS), "--json", str(report), "--summary"],
        capture_output=True, text=True)
    if ran.returncode != 0:
        sys.exit(f"bench: penstock-rehearse failed ({ran.returncode}):\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    stolen = (stolen_seconds() - stolen) / (time.monotonic() - began)
    return {"rate": rate, "p99_ms": json.loads(report.read_text())["latency_ms"]["accepted"]["p99"], "stolen": stolen}


def open_loop(penstock, directory, case, arguments):
    """A machine may be twice as fast as a minute later: each run is at 70 % of the rate that was found just before it."""
    path, script, users = case
    seconds, runs = 10 if arguments.long else 5, []
    for number in range(OPEN_LOOP_RUNS):
        rate = 0.7 * wrk(penstock, path, script, 3, CONNECTIONS, users, f"o{number}")["requests_per_second"]
        runs.append(yes_at_70_percent(penstock, directory, rate, seconds) | {"fdatasync_p99_ms": fdatasync_p99(directory, 2)})
    rate, p99, sync, stolen = (statistics.median(run[key] for run in runs) for key in ("rate", "p99_ms", "fdatasync_p99_ms", "stolen"))
    bar = 5 + 2 * sync
    each = ", ".join(f"{run['p99_ms']:.1f} at {run['rate']:.0f}/s" for run in runs)
    print(f"{'yes, open loop':14} p99 at 70 % of the rate: {p99:.2f} ms, median of {each}; bare fdatasync p99 {sync:.2f} ms "
          f"(bar {bar:.2f} ms, {judge(p99 <= bar)})")
    # Chosen by what the host reports, which no server can influence.
    quiet = sorted(runs, key=lambda run: run["stolen"])[:3]
    print(f"{'':14} the host took {stolen:.1%} of a core meanwhile (median); in the three runs that it disturbed least: "
          + ", ".join(f"{run['p99_ms']:.1f} ms ({run['stolen']:.1%})" for run in quiet))
    paused = pauses(5)
    print(f"{'':14} the machine by itself, both cores busy: {paused['a_second']} pauses of more than 2 ms a second, the longest {paused['longest_ms']} ms")
    return {"rate": rate, "p99_ms": p99, "fdatasync_p99_ms": sync, "bar_ms": bar, "stolen": stolen, "runs": runs, "machine_pauses": paused}


def main():
    parser = argparse.ArgumentParser(prog="loadtest/bench", description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--check", action="store_true", help="ends with 1 if a bar was missed")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds a case (7)")
    parser.add_argument("--seconds", type=int, default=5, help="length of a round (5)")
    parser.add_argument("--long", action="store_true", help="15 rounds of 10 s")
    parser.add_argument("--cluster", action="store_true", help="instead: the counter in Redis, the log in Kafka, and both, beside the default")
    parser.add_argument("--instructions", action="store_true", help="instead: instructions of a \"no\" with the counter in memory and in Redis, by callgrind")
    parser.add_argument("--rebuild", action="store_true", help="instead: seconds until a counter in Redis that lost everything is rebuilt from Kafka, with 100,000 and 1,000,000 orders")
    parser.add_argument("--restart", action="store_true", help="instead: seconds until a gateway is ready and its memory, with 0.1, 1 and 5 million orders, from a checkpoint and without one")
    parser.add_argument("--documents", action="store_true", help="instead: what changes, runs of plans and a start cost with many sales, blocks, plans and kept runs, beside few")
    parser.add_argument("--connections", action="store_true", help="instead: memory of idle connections, and buyers' p99 beside hostile ones")
    parser.add_argument("--console", action="store_true", help="instead: how soon the console is there, what open consoles cost the gateway at rest, and the p99 of buyers beside ten")
    parser.add_argument("--overload", action="store_true", help="instead: orders in time at 1, 2 and 10 times the capacity, log-bound and CPU-bound, with the overload controller and without")
    parser.add_argument("--peers", action="store_true", help="with --overload: log-bound, beside nginx's limit_req and Envoy's adaptive concurrency before the same gateway")
    parser.add_argument("--shapes", metavar="DIR", type=pathlib.Path, help="with --overload: a step, a spike and a sawtooth up to ten times the capacity, each as a page in DIR")
    parser.add_argument("--quick", action="store_true", help="with --overload: shorter runs, for a first look")
    parser.add_argument("--upstream", action="store_true", help="instead: pages of a shop, from the cache and forwarded, beside nginx that does the same")
    parser.add_argument("--algorithms", action="store_true", help="instead: errors and p99 of each way to balance, with one of four endpoints slow, dead or flapping, beside nginx and HAProxy")
    parser.add_argument("--controller", choices=["on", "off", "both"], default="both", help="with --overload: only so")
    parser.add_argument("--case", action="append", choices=[*BARS, *overload.CASES, *upstream.BARS], help="only these cases")
    arguments = parser.parse_args()
    theirs = overload.CASES if arguments.overload else upstream.BARS if arguments.upstream else BARS
    if any(case not in theirs for case in arguments.case or ()):
        parser.error(f"--case: here it is one of {', '.join(theirs)}")
    if arguments.long:
        arguments.rounds, arguments.seconds = 15, 10
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("bench: two cores are needed, one for the server and one for the load")
    if not shutil.which("wrk"):
        sys.exit("bench: wrk is missing")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended"))
    (ROOT / "build").mkdir(exist_ok=True)
    # What slows the disk down in --overload is the only thing that may, and nginx's cache is as fast as can be: in memory, where this is possible.
    place = "/dev/shm" if (arguments.overload or arguments.upstream) and os.access("/dev/shm", os.W_OK) else ROOT / "build"
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=place))
    try:
        if arguments.instructions:
            result = instructions.run(directory)
        elif arguments.rebuild:
            result = rebuild.run(directory)
        elif arguments.restart:
            result = restart.run(directory)
        elif arguments.overload:
            result = run_overload(arguments, directory)
        elif arguments.upstream:
            result = upstream.run(directory, arguments.case or list(upstream.BARS), arguments.rounds, arguments.seconds)
        elif arguments.algorithms:
            result = algorithms.run(directory, arguments.seconds)
        elif arguments.console:
            result = console.run(directory, arguments)
        elif arguments.documents:
            result = documents.run()
        elif arguments.connections:
            result = connections.run(directory, arguments.rounds, arguments.seconds)
        else:
            result = cluster.run(arguments, directory) if arguments.cluster else run(arguments, directory)
        if arguments.json:
            pathlib.Path(arguments.json).write_text(json.dumps(result, indent=1) + "\n")
        if arguments.check and MISSED:
            sys.exit(f"bench: {len(MISSED)} bars were missed")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def run_overload(arguments, directory):
    cases = arguments.case or list(overload.CASES)
    controllers = ["on", "off"] if arguments.controller == "both" else [arguments.controller]
    if arguments.peers:
        return peers.run(directory, arguments.quick)
    if arguments.shapes:
        return shapes.run(directory, cases, controllers, arguments.shapes, arguments.quick)
    return overload.run(directory, cases, controllers, arguments.quick)


def run(arguments, directory):
    penstock = Penstock(directory)
    penstock.lift_limits()
    penstock.make_sale("none", 0)
    penstock.make_sale("plenty", 50_000_000)
    cases = {  # path, wrk script, users
        "sold_out": ("/v1/sales/none/orders", "sale.lua", "many"),
        "rate_limited": ("/v1/sales/plenty/orders", "sale.lua", "one"),
        "status_page": ("/v1/sales/plenty", "page.lua", "one"),
        "durable_yes": ("/v1/sales/plenty/orders", "sale.lua", "many"),
    }
    cases = {case: cases[case] for case in (arguments.case or cases)}

    def prepare(case):
        """rate_limited is the shipped rule; the others pass it."""
        penstock.limit("user", **({"mode": "enforce", "rate": 5, "period_s": 10, "burst": 5} if case == "rate_limited" else RICH))

    answers = {}
    for case, (path, script, _) in cases.items():
        prepare(case)
        request = get_request(path) if script == "page.lua" else post_request(path, "size-probe-0")
        for _ in range(7 if case == "rate_limited" else 1):
            answers[case] = raw_answer(penstock.port, request)
    nginx = Nginx(directory, answers)
    for case, answer in answers.items():
        theirs = len(raw_answer(nginx.port, get_request("/" + case)))
        if abs(theirs - len(answer)) > 0.05 * len(answer):
            sys.exit(f"bench: {case}: answers of {len(answer)} and {theirs} bytes cannot be compared")

    rounds = {(case, name): [] for case in cases for name in ("penstock", "nginx_static")}
    wide = {256: [], 2000: []}
    for number in range(arguments.rounds):
        for case, (path, script, users) in cases.items():
            prepare(case)
            both = [("penstock", penstock, path), ("nginx_static", nginx, "/" + case)]
            random.shuffle(both)
            for name, subject, where in both:
                result = wrk(subject, where, script, arguments.seconds, CONNECTIONS, users, f"r{number}{case}")
                yes = case in ("durable_yes", "status_page")
                if name == "penstock" and (result["not_2xx"] if yes else result["requests"] - result["not_2xx"]) > result["requests"] * 0.001 + 10:
                    sys.exit(f"bench: {case}: not the answers that were to be measured: {result}")
                rounds[case, name].append(result)
        if "sold_out" in cases:
            for connections in random.sample(list(wide), 2):
                wide[connections].append(wrk(penstock, cases["sold_out"][0], "sale.lua", max(2, arguments.seconds // 2), connections, "many", f"w{number}"))
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)

    rows = [median_row(case, name, values) for (case, name), values in rounds.items()]
    result = {"rows": rows, "ratios": {}, "bars": {}}
    print(f"{'case':14}{'subject':14}{'requests/s':>12}{'CPU us/req':>12}{'quartiles':>18}{'p50 ms':>9}{'p99 ms':>9}")
    for row in rows:
        print(f"{row['case']:14}{row['subject']:14}{row['requests_per_second']:12.0f}{row['cpu_us_per_request']:12.2f}"
              f"{str(row['cpu_us_quartiles']):>18}{row['p50_ms']:9.2f}{row['p99_ms']:9.2f}")
    print()
    for case in cases:
        pairs = [a["cpu_us_per_request"] / b["cpu_us_per_request"] for a, b in zip(rounds[case, "penstock"], rounds[case, "nginx_static"])]
        ratio = statistics.median(pairs)
        result["ratios"][case] = round(ratio, 3)
        print(f"{case:14} CPU a request, penstock / nginx: {ratio:.2f}  (bar {BARS[case]}, {judge(ratio <= BARS[case])}); "
              f"answer {len(answers[case])} bytes")
    if wide[256]:
        ratio = statistics.median(a["cpu_us_per_request"] / b["cpu_us_per_request"] for a, b in zip(wide[2000], wide[256]))
        result["ratios"]["connections_2000_to_256"] = round(ratio, 3)
        print(f"{'connections':14} CPU a request, 2,000 / 256 connections: {ratio:.2f}  (bar {WIDE_BAR}, {judge(ratio <= WIDE_BAR)})")
    if "durable_yes" in cases:
        prepare("durable_yes")
        result["yes_open_loop"] = open_loop(penstock, directory, cases["durable_yes"], arguments)
    nginx.stop()
    penstock.stop()
    return result


if __name__ == "__main__":
    main()
