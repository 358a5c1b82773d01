"""What every comparison needs: Penstock and nginx on one core, wrk on the other, and the CPU time of a process from /proc."""
import atexit
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
RELEASE = pathlib.Path(os.environ.get("PENSTOCK_BUILD", ROOT / "build" / "release"))
SCRIPTS = ROOT / "loadtest" / "wrk"
TICK = os.sysconf("SC_CLK_TCK")
SERVER_CORE, LOAD_CORE = "0", "1"
CONNECTIONS = 256
MISSED = []  # the bars that this run has missed; --check ends with 1 for them
RICH = {"mode": "enforce", "rate": 1000000, "period_s": 1, "burst": 1000000}


def judge(holds):
    """What is printed beside a figure and its bar."""
    if not holds:
        MISSED.append(True)
    return "holds" if holds else "MISSED"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(command, **options):
    """A process that does not outlive this one, however it ends."""
    process = subprocess.Popen(command, **options)
    atexit.register(process.terminate)
    return process


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

        def more():
            got = s.recv(65536)
            if not got:
                raise ConnectionError("the answer ended too soon")
            return got
        while b"\r\n\r\n" not in data:
            data += more()
        head, body = data.split(b"\r\n\r\n", 1)
        length = int(re.search(rb"(?i)content-length: *(\d+)", head).group(1))
        while len(body) < length:
            body += more()
        return head + b"\r\n\r\n" + body


def get_request(path):
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def post_request(path, user):
    body = '{"sku":"rehearsal","quantity":1}'
    return (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nX-User-Id: {user}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


class Penstock:
    def __init__(self, directory, settings=None, under=(), patience=15):
        """`under`: a program that runs it."""
        self.port, self.admin_port = free_port(), free_port()
        self.state = directory / "state"
        config = directory / "penstock.json"
        config.write_text(json.dumps({
            "listen": {"port": self.port}, "admin": {"port": self.admin_port}, "state_dir": str(self.state), "workers": 1,
            "trusted_proxies": ["127.0.0.0/8"], "http": {"connections": 20000}, "drain": {"delay_ms": 0, "timeout_ms": 20000}, **(settings or {}),
        }))
        self.log = open(directory / "penstock.log", "w")
        self.process = start(["taskset", "-c", SERVER_CORE, *under, str(RELEASE / "gateway" / "penstock"), "--config", str(config)], stderr=self.log)
        wait_for(lambda: raw_answer(self.port, get_request("/readyz")).startswith(b"HTTP/1.1 200"), "penstock", patience)
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
        self.admin("PUT", f"/admin/v1/sales/{name}", {"open": True, "rehearsal": True, "reservation_ttl_s": 86400, "skus": [{"sku": "rehearsal", "stock": stock}]})
        wait_for(lambda: self.admin("GET", f"/admin/v1/sales/{name}")["state"] == "open", f"sale {name}")

    def limit(self, rule, **members):
        document = self.admin("GET", f"/admin/v1/limits/{rule}")
        document = {k: v for k, v in document.items() if k in (
            "algorithm", "key", "rate", "period_s", "burst", "max_wait_ms", "mode", "applies_to", "sale")}
        document.update(members)
        self.admin("PUT", f"/admin/v1/limits/{rule}", document, {"If-Match": "*"})

    def lift_limits(self):
        for rule in ("user", "ip", "global", "status"):
            self.limit(rule, **RICH)

    def turn_overload_off(self):
        """The controller: no level, no shedding, no limit that adapts."""
        self.admin("PUT", "/admin/v1/overload", {"mode": "off"}, {"If-Match": "*"})

    def metrics(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        connection.request("GET", "/metrics", headers={"Authorization": "Bearer " + self.token})
        text = connection.getresponse().read().decode()
        connection.close()
        return text

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
worker_processes 1; daemon off; pid "{self.directory}/nginx.pid"; error_log "{self.directory}/error.log";
events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path "{self.directory}/tmp"; proxy_temp_path "{self.directory}/tmp";
fastcgi_temp_path "{self.directory}/tmp"; uwsgi_temp_path "{self.directory}/tmp"; scgi_temp_path "{self.directory}/tmp";
server {{ listen 127.0.0.1:{self.port}; {blocks} }} }}""")

    def _start(self):
        self.process = start(["taskset", "-c", SERVER_CORE, "nginx", "-c", str(self.directory / "nginx.conf"), "-e", str(self.directory / "error.log")])
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
        ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(SCRIPTS / script), f"http://127.0.0.1:{subject.port}{path}"],
        capture_output=True, text=True, env={**os.environ, "SALE_USERS": users, "SALE_PREFIX": prefix, "SALE_ANSWERS": "0"}, check=True).stdout
    cpu = cpu_seconds(subject.pids()) - before
    found = re.search(r"WRK (\d+) ([\d.]+) (\d+) (\d+) ([\d.]+) ([\d.]+)", out)
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
