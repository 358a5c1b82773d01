"""Starts real gateways for the system tests and talks to them: only the standard library, only loopback, only ports of its own."""
import contextlib
import fcntl
import functools
import http.client
import itertools
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
import uuid
from datetime import datetime, timedelta, timezone

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PENSTOCK_BUILD", ROOT / "build" / "dev"))
PENSTOCK = BUILD / "gateway" / "penstock"
REHEARSE = BUILD / "loadtest" / "penstock-rehearse"


# Ports for servers are taken in turn from below those that the system gives to outgoing connections, so that no connection takes one between
# its choice and its use. Each process that runs tests has a block of them of its own, for as long as it holds the block's file.
PORTS_FROM, PORTS, BLOCKS = 10000, 500, 40


@functools.cache
def port_block():
    for block in range(BLOCKS):
        file = open(pathlib.Path(tempfile.gettempdir(), f"penstock-ports.{block}"), "w")
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file, itertools.cycle(range(PORTS_FROM + block * PORTS, PORTS_FROM + (block + 1) * PORTS))
    raise AssertionError(f"{BLOCKS} processes hold a block of ports each: {tempfile.gettempdir()}/penstock-ports.*")


def free_port():
    for port in port_block()[1]:
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


def rfc3339(seconds_from_now=0.0):
    at = datetime.now(timezone.utc) + timedelta(seconds=seconds_from_now)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def window_s():
    """A length of limits' windows of which none ends while a test runs: they are counted from the machine's start."""
    return max((86400, 50000), key=lambda length: length - time.monotonic() % length)


def wait_until(check, timeout=30.0, every=0.02, what="the condition"):
    end = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not come within {timeout} s"
        time.sleep(every)


class Answer:
    def __init__(self, response, body):
        self.status = response.status
        self.headers = {k.lower(): v for k, v in response.getheaders()}
        self.raw_headers = response.getheaders()
        self.text = body.decode("utf-8", "replace")

    @property
    def json(self):
        return json.loads(self.text)

    @property
    def code(self):
        return self.json.get("code")

    def lines(self):
        return [json.loads(line) for line in self.text.splitlines() if line]

    def __repr__(self):
        return f"<{self.status} {self.text[:300]}>"


def call(port, method, path, body=None, headers=None, timeout=30):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        headers = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        connection.connect()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who refuses a body need not read all of it: the answer is there
            connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return Answer(response, response.read())
    finally:
        connection.close()


# However busy the machine is, nothing gives way: tests of the ladder say otherwise.
QUIET = {"overload": {"default": {"mode": "off"}}}


def seeds(documents):
    """The seed of a settings file: a bundle."""
    return {"documents": documents}


ENFORCE = {"seed": seeds({"overload": {"default": {}}})}
# However busy the machine is, an order is accepted rather than pending.
PATIENT_LOG = {"log": {"ack_timeout_ms": 10000}}

# Whatever version is there is changed.
ANY_VERSION = {"If-Match": "*"}
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}


class Gateway:
    """One gateway on free ports in a state directory of its own; a context manager that ends it."""

    def __init__(self, directory=None, settings=None, env=None, prefix=()):
        self._temporary = None
        if directory is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="penstock-")
            directory = self._temporary.name
        self.directory = pathlib.Path(directory)
        self.state = self.directory / "state"
        self.config = self.directory / "penstock.json"
        self.log_path = self.directory / "log"
        self.settings = {
            "listen": {"port": free_port()},
            "admin": {"port": free_port()},
            "state_dir": str(self.state),
            "trusted_proxies": ["127.0.0.0/8"],
            "workers": 2,
            "drain": {"delay_ms": 0, "timeout_ms": 10000},
            "limits_table": {"mib": 4},
            "seed": seeds(QUIET),
        }
        self.configure(settings or {})
        self.env = env
        self.prefix = list(prefix)
        self.process = None

    def configure(self, settings):
        for key, value in settings.items():
            if key == "seed":  # by kind
                self.settings["seed"] = seeds({**self.settings["seed"]["documents"], **value["documents"]})
            elif isinstance(value, dict) and isinstance(self.settings.get(key), dict):
                self.settings[key] = {**self.settings[key], **value}
            else:
                self.settings[key] = value
        self.config.write_text(json.dumps(self.settings))

    @property
    def port(self):
        return self.settings["listen"]["port"]

    @property
    def admin_port(self):
        return self.settings["admin"]["port"]

    @property
    def token(self):
        return (self.state / "admin.token").read_text().strip()

    def spawn(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.prefix + [str(PENSTOCK), "--config", str(self.config)], stderr=log,
                                            stdout=log, env={**os.environ, **(self.env or {})})
        return self

    def start(self, timeout=60):
        self.spawn()

        def ready():
            assert self.process.poll() is None, "the gateway ended: " + self.log()
            with contextlib.suppress(OSError):
                return call(self.port, "GET", "/readyz").status == 200
            return False

        wait_until(ready, timeout, what="readiness")
        return self

    def stop(self, timeout=30):
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def log(self):
        return self.log_path.read_text(errors="replace")[-4000:]

    def wait_log(self, *words):
        """A thread of its own writes it, perhaps after the answer of which it tells."""
        for word in words:
            wait_until(lambda: word in self.log(), what=f"'{word}' in the log")

    def __enter__(self):
        return self if self.process else self.start()

    def __exit__(self, *exc):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        ended = self.process.returncode if self.process else 0
        log = "" if ended in (0, -signal.SIGKILL, -signal.SIGTERM) else self.log_path.read_text(errors="replace")
        if self._temporary:
            self._temporary.cleanup()
        assert -ended not in CRASHES, f"the gateway crashed: {signal.Signals(-ended).name}: {log[-4000:]}"
        report = re.search(r"\w+Sanitizer: |runtime error: ", log)
        assert not report, f"the gateway ended with {ended}: {log[max(0, report.start() - 100):][:4000]}"

    # --- calls ---

    def public(self, method, path, body=None, user=None, headers=None, **more):
        headers = dict(headers or {})
        if user is not None:
            headers["X-User-Id"] = user
        return call(self.port, method, path, body, headers, **more)

    def admin(self, method, path, body=None, headers=None, token=None, **more):
        headers = dict(headers or {})
        headers["Authorization"] = "Bearer " + (token or self.token)
        return call(self.admin_port, method, path, body, headers, **more)

    def read(self, path):
        """A GET whose answer for good is wanted: 503 says that Redis or Kafka was slow, and is asked again."""
        def answered():
            answer = self.admin("GET", path, timeout=90)
            return answer if answer.status != 503 else None

        answer = wait_until(answered, 90, 0.2, f"an answer of {self.directory.name} to {path}")
        assert answer.status == 200, answer
        return answer

    def buy(self, sale, user, sku="phone", quantity=1, key=None, headers=None, **more):
        headers = dict(headers or {})
        if key is not None:
            headers["Idempotency-Key"] = f'"{key}"'
        return self.public("POST", f"/v1/sales/{sale}/orders", {"sku": sku, "quantity": quantity}, user, headers, **more)

    # --- overrides ---

    def override(self, target, value, ttl_s=600, reason="a test", query="", **more):
        """Sets it; the answer's document."""
        path = "/admin/v1/overrides/" + urllib.parse.quote(target, safe=":") + query
        answer = self.admin("PUT", path, {"value": value, "ttl_s": ttl_s, "reason": reason, **more})
        assert answer.status in (200, 201), answer
        return answer.json

    def end_override(self, target, query=""):
        answer = self.admin("DELETE", "/admin/v1/overrides/" + urllib.parse.quote(target, safe=":") + query)
        assert answer.status == 204, answer

    def overrides(self):
        """Those that are set, by target; of one for a gateway, target@gateway."""
        return {one["target"] + ("@" + one["gateway"] if one["gateway"] else ""): one for one in self.read("/admin/v1/overrides").json["overrides"]}

    # --- sales ---

    def make_sale(self, name=None, stock=10, opens_in=-1.0, wait=True, skus=None, **document):
        name = name or "sale-" + uuid.uuid4().hex[:8]
        document.setdefault("opens_at", rfc3339(opens_in))
        if document["opens_at"] is not None and document["opens_at"] <= rfc3339():
            document.setdefault("open", True)  # one that is long past is refused without it
        document["skus"] = skus or [{"sku": "phone", "stock": stock}]
        answer = self.admin("PUT", f"/admin/v1/sales/{name}", document)
        assert answer.status == 201, answer
        if wait and opens_in <= 0:
            self.wait_state(name, "open")
        return name

    def sale(self, name):
        answer = self.admin("GET", f"/admin/v1/sales/{name}")
        assert answer.status == 200, answer
        return answer.json

    def wait_state(self, name, state, timeout=30):
        wait_until(lambda: self.sale(name)["state"] == state, timeout, what=f"{name} {state}")

    def change_sale(self, name, **members):
        answer = self.admin("GET", f"/admin/v1/sales/{name}")
        document = {k: v for k, v in answer.json.items()
                    if k not in ("sale", "state", "version", "created_at", "updated_at")}
        for sku in document["skus"]:
            for read_only in ("available", "held", "confirmed", "adjustments", "in_doubt"):
                sku.pop(read_only, None)
        document.update(members)
        return self.admin("PUT", f"/admin/v1/sales/{name}", document, {"If-Match": answer.headers["etag"]})

    def audit(self, name):
        answer = self.admin("GET", f"/admin/v1/sales/{name}/audit", timeout=90)  # the first one reads the whole log
        assert answer.status == 200, answer
        return answer.json

    def assert_books(self, name):
        report = self.audit(name)
        assert report["ok"] is True and report["violations"] == [], report
        return report

    def limit(self, rule, **members):
        answer = self.admin("GET", f"/admin/v1/limits/{rule}")
        document = answer.json if answer.status == 200 else {}
        document = {k: v for k, v in document.items() if k not in ("rule", "name")}
        document.update(members)
        answer = self.admin("PUT", f"/admin/v1/limits/{rule}", document, ANY_VERSION if answer.status == 200 else None)
        assert answer.status in (200, 201), answer
        return answer

    def no_limits(self):
        for rule in ("user", "ip", "global", "polling", "status"):
            self.limit(rule, mode="off")

    def metric(self, name):
        """A metric by its name with labels; 0 if it is not exposed yet."""
        for line in call(self.admin_port, "GET", "/metrics").text.splitlines():
            if line.split(" ")[0] == name:
                return float(line.split(" ")[1])
        return 0.0

    def orders(self, sale, **query):
        query["sale"] = sale
        found, after = [], 0
        while True:
            query["after"], query["limit"] = after, 1000
            answer = self.admin("GET", "/admin/v1/orders?" + urllib.parse.urlencode(query))
            assert answer.status == 200, answer
            page = answer.lines()
            if not page:
                return found
            found += page
            after = page[-1]["seq"]


def raw(port, data, timeout=30.0, chunks=None):
    """Sends bytes as they are; what came back until the peer closed or fell silent."""
    with socket.create_connection(("127.0.0.1", port), timeout) as s:
        s.settimeout(timeout)
        with contextlib.suppress(OSError):
            for part in chunks or [data]:
                s.sendall(part)
        back = b""
        with contextlib.suppress(OSError):
            while True:
                more = s.recv(65536)
                if not more:
                    break
                back += more
        return back
