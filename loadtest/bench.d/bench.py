"""Paired, interleaved rounds of Penstock and nginx's static answer of the same size. The server has one core, the load (wrk) the other. What counts is the CPU time of the
whole server process a request, from /proc: on a noisy machine it is far steadier than requests a second. An absolute figure of one machine means nothing; the ratio does.

Cases: sold_out and rate_limited (the price of a "no"), status_page (a cached page), durable_yes (every request a new user, every order committed to the journal before its
answer). Then: sold_out at 2,000 connections against 256; p99 of "yes" at 70 % of the rate found, open loop, against a bare fdatasync of the same run."""
import argparse
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone

ROOT = pathlib.Path(__file__).resolve().parents[2]
RELEASE = pathlib.Path(os.environ.get("PENSTOCK_BUILD", ROOT / "build" / "release"))
HERE = pathlib.Path(__file__).resolve().parent
TICK = os.sysconf("SC_CLK_TCK")
SERVER_CORE, LOAD_CORE = "0", "1"
BARS = {"sold_out": 1.15, "rate_limited": 1.15, "status_page": 1.15, "durable_yes": 2.0}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def wait_for(check, what, seconds=15):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if check():
                return
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit(f"bench: {what} did not come within {seconds} s")


def raw_answer(port, request):
    """One whole answer, head and body, as bytes."""
    with socket.create_connection(("127.0.0.1", port), 5) as s:
        s.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += s.recv(65536)
        head, body = data.split(b"\r\n\r\n", 1)
        length = int(re.search(rb"(?i)content-length: *(\d+)", head).group(1))
        while len(body) < length:
            body += s.recv(65536)
        return head + b"\r\n\r\n" + body


def get_request(path):
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def post_request(path, user):
    body = '{"sku":"rehearsal","quantity":1}'
    return (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nX-User-Id: {user}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


class Penstock:
    def __init__(self, directory):
        self.port, self.admin_port = free_port(), free_port()
        self.state = directory / "state"
        config = directory / "penstock.json"
        config.write_text(json.dumps({
            "listen": {"port": self.port}, "admin": {"port": self.admin_port}, "state_dir": str(self.state), "workers": 1,
            "trusted_proxies": ["127.0.0.0/8"], "http": {"connections": 20000}, "drain": {"delay_ms": 0, "timeout_ms": 20000},
        }))
        self.log = open(directory / "penstock.log", "w")
        self.process = subprocess.Popen(["taskset", "-c", SERVER_CORE, str(RELEASE / "gateway" / "penstock"), "--config", str(config)], stderr=self.log)
        wait_for(lambda: raw_answer(self.port, get_request("/readyz")).startswith(b"HTTP/1.1 200"), "penstock")
        self.token = (self.state / "admin.token").read_text().strip()

    def pids(self):
        return [self.process.pid]

    def admin(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        connection.request(method, path, json.dumps(body) if body is not None else None,
                           {"Authorization": "Bearer " + self.token, "Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        if response.status >= 300:
            sys.exit(f"bench: {method} {path}: {response.status} {text}")
        return json.loads(text) if text else None

    def make_sale(self, name, stock):
        opens = (datetime.now(timezone.utc) - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.admin("PUT", f"/admin/v1/sales/{name}", {"opens_at": opens, "rehearsal": True, "reservation_ttl_s": 86400, "skus": [{"sku": "rehearsal", "stock": stock}]})
        wait_for(lambda: self.admin("GET", f"/admin/v1/sales/{name}")["state"] == "open", f"sale {name}")

    def limit(self, rule, **members):
        document = self.admin("GET", f"/admin/v1/limits/{rule}")
        document = {k: v for k, v in document.items() if k in (
            "algorithm", "key", "rate", "period_s", "burst", "max_wait_ms", "mode", "applies_to", "sale")}
        document.update(members)
        self.admin("PUT", f"/admin/v1/limits/{rule}", document)

    def stop(self):
        self.process.terminate()
        if self.process.wait(30) != 0:
            sys.exit("bench: penstock did not end well")


class Nginx:
    """One worker; a location a case, each with a body that makes the whole answer as long as Penstock's."""

    def __init__(self, directory, answers):
        self.port = free_port()
        self.directory = directory
        locations = []
        for case, answer in answers.items():
            status = int(answer.split()[1])
            locations.append((case, status, answer))
        self._write(locations, {})
        self._start()
        pads = {}
        for case, status, answer in locations:
            pads[case] = max(0, len(answer) - len(raw_answer(self.port, get_request("/" + case))))
        self.stop()
        self._write(locations, pads)
        self._start()

    def _write(self, locations, pads):
        blocks = "".join(
            f'location = /{case} {{ default_type application/json; return {status} "{"x" * (1 + pads.get(case, 0))}"; }}\n'
            for case, status, _ in locations)
        (self.directory / "nginx.conf").write_text(f"""
worker_processes 1; daemon off; pid {self.directory}/nginx.pid; error_log {self.directory}/error.log;
events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {self.directory}/tmp; proxy_temp_path {self.directory}/tmp;
fastcgi_temp_path {self.directory}/tmp; uwsgi_temp_path {self.directory}/tmp; scgi_temp_path {self.directory}/tmp;
server {{ listen 127.0.0.1:{self.port}; {blocks} }} }}""")

    def _start(self):
        self.process = subprocess.Popen(["taskset", "-c", SERVER_CORE, "nginx", "-c", str(self.directory / "nginx.conf"), "-e", str(self.directory / "error.log")])
        wait_for(lambda: socket.create_connection(("127.0.0.1", self.port), 1).close() is None, "nginx")

    def pids(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid] + [int(child) for child in children]

    def stop(self):
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(15)


def wrk(subject, path, script, seconds, connections, users, prefix):
    before = cpu_seconds(subject.pids())
    out = subprocess.run(
        ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / script), f"http://127.0.0.1:{subject.port}{path}"],
        capture_output=True, text=True, env={**os.environ, "BENCH_USERS": users, "BENCH_PREFIX": prefix}, check=True).stdout
    cpu = cpu_seconds(subject.pids()) - before
    found = re.search(r"BENCH (\d+) ([\d.]+) (\d+) (\d+) ([\d.]+) ([\d.]+)", out)
    if not found or int(found.group(1)) == 0:
        sys.exit(f"bench: wrk made nothing of {path}:\n{out}")
    requests, duration = int(found.group(1)), float(found.group(2))
    return {"requests": requests, "requests_per_second": requests / duration, "cpu_us_per_request": cpu / requests * 1e6,
            "errors": int(found.group(3)), "not_2xx": int(found.group(4)), "p50_ms": float(found.group(5)), "p99_ms": float(found.group(6))}


def median_row(case, name, rounds):
    def quartiles(key):
        values = [r[key] for r in rounds]
        q = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
        return q[0], statistics.median(values), q[2]
    low, middle, high = quartiles("cpu_us_per_request")
    return {"case": case, "subject": name, "requests_per_second": round(quartiles("requests_per_second")[1], 1), "cpu_us_per_request": round(middle, 3),
            "cpu_us_quartiles": [round(low, 3), round(high, 3)], "p50_ms": round(quartiles("p50_ms")[1], 3), "p99_ms": round(quartiles("p99_ms")[1], 3), "rounds": len(rounds)}


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


def yes_at_70_percent(penstock, directory, rate, seconds):
    report = directory / "rehearsal.json"
    ran = subprocess.run(
        ["taskset", "-c", LOAD_CORE, str(RELEASE / "loadtest" / "penstock-rehearse"), "--public", f"http://127.0.0.1:{penstock.port}",
         "--admin", f"http://127.0.0.1:{penstock.admin_port}", "--state-dir", str(penstock.state), "--rate", str(int(rate)), "--duration", f"{seconds}s",
         "--unique-users", "--stock", str(int(rate * seconds * 2)), "--json", str(report), "--summary"], capture_output=True, text=True)
    if ran.returncode != 0:
        sys.exit(f"bench: penstock-rehearse failed ({ran.returncode}):\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return json.loads(report.read_text())


def main():
    parser = argparse.ArgumentParser(prog="loadtest/bench", description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds a case (7)")
    parser.add_argument("--seconds", type=int, default=5, help="length of a round (5)")
    parser.add_argument("--long", action="store_true", help="15 rounds of 10 s")
    parser.add_argument("--case", action="append", choices=list(BARS), help="only these cases")
    arguments = parser.parse_args()
    if arguments.long:
        arguments.rounds, arguments.seconds = 15, 10
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("bench: two cores are needed, one for the server and one for the load")
    if not shutil.which("wrk"):
        sys.exit("bench: wrk is missing")
    (ROOT / "build").mkdir(exist_ok=True)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=ROOT / "build"))
    try:
        run(arguments, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def run(arguments, directory):
    penstock = Penstock(directory)
    rich = {"mode": "enforce", "rate": 1000000, "period_s": 1, "burst": 1000000}
    for rule in ("user", "ip", "global"):
        penstock.limit(rule, **rich)
    penstock.make_sale("none", 0)
    penstock.make_sale("plenty", 50_000_000)
    cases = {  # path, wrk script, users
        "sold_out": ("/v1/sales/none/orders", "post.lua", "many"),
        "rate_limited": ("/v1/sales/plenty/orders", "post.lua", "one"),
        "status_page": ("/v1/sales/plenty", "get.lua", "one"),
        "durable_yes": ("/v1/sales/plenty/orders", "post.lua", "many"),
    }
    cases = {case: cases[case] for case in (arguments.case or cases)}

    def prepare(case):
        """rate_limited is the shipped rule; the others pass it."""
        penstock.limit("user", **({"mode": "enforce", "rate": 5, "period_s": 10, "burst": 5} if case == "rate_limited" else rich))

    answers = {}
    for case, (path, script, _) in cases.items():
        prepare(case)
        request = get_request(path) if script == "get.lua" else post_request(path, "size-probe-0")
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
                result = wrk(subject, where, script, arguments.seconds, 256, users, f"r{number}{case}")
                yes = case in ("durable_yes", "status_page")
                if name == "penstock" and (result["not_2xx"] if yes else result["requests"] - result["not_2xx"]) > result["requests"] * 0.001 + 10:
                    sys.exit(f"bench: {case}: not the answers that were to be measured: {result}")
                rounds[case, name].append(result)
        if "sold_out" in cases:
            for connections in random.sample(list(wide), 2):
                wide[connections].append(wrk(penstock, cases["sold_out"][0], "post.lua", max(2, arguments.seconds // 2), connections, "many", f"w{number}"))
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
        print(f"{case:14} CPU a request, penstock / nginx: {ratio:.2f}  (bar {BARS[case]}, {'holds' if ratio <= BARS[case] else 'MISSED'}); "
              f"answer {len(answers[case])} bytes")
    if wide[256]:
        ratio = statistics.median(a["cpu_us_per_request"] / b["cpu_us_per_request"] for a, b in zip(wide[2000], wide[256]))
        result["ratios"]["connections_2000_to_256"] = round(ratio, 3)
        print(f"{'connections':14} CPU a request, 2,000 / 256 connections: {ratio:.2f}  (bar 1.2, {'holds' if ratio <= 1.2 else 'MISSED'})")
    if "durable_yes" in cases:
        prepare("durable_yes")
        rate = 0.7 * next(r["requests_per_second"] for r in rows if r["case"] == "durable_yes" and r["subject"] == "penstock")
        report = yes_at_70_percent(penstock, directory, rate, 10 if not arguments.long else 30)
        sync = fdatasync_p99(directory, 3)
        p99 = report["latency_ms"]["accepted"]["p99"]
        bar = 5 + 2 * sync
        result["yes_open_loop"] = {"rate": rate, "p99_ms": p99, "fdatasync_p99_ms": sync, "bar_ms": bar}
        print(f"{'yes, open loop':14} p99 at {rate:.0f}/s (70 %): {p99:.2f} ms; bare fdatasync p99 {sync:.2f} ms (bar {bar:.2f} ms, {'holds' if p99 <= bar else 'MISSED'})")
    nginx.stop()
    penstock.stop()
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
