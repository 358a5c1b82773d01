"""HAProxy before the gateways, and the settings of Redis, as deploy/ has them: on servers that the test makes up, a buy is never sent twice."""
import contextlib
import os
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from penstock import ROOT, call, free_port, wait_until


class Pretender(BaseHTTPRequestHandler):
    """Says what the test's script tells it to say."""

    protocol_version = "HTTP/1.1"

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def do_GET(self):
        self.answer(self.server.script["readyz"] if self.path == "/readyz" else 200)

    def do_POST(self):
        self.server.script["asked"] += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.server.script["wait"])
        if self.server.script["dies"]:
            self.close_connection = True
        else:
            self.answer(202)

    def log_message(self, *args):
        pass


class Quiet(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """HAProxy's probes hang up early."""


@pytest.fixture()
def front():
    """A port that HAProxy serves, and the script of the three behind it."""
    script = {"readyz": 200, "asked": 0, "dies": False, "wait": 0}
    port, stats = free_port(), free_port()
    servers = [Quiet(("127.0.0.1", 0), Pretender) for _ in range(3)]
    env = {**os.environ, "PENSTOCK_FRONT": f"127.0.0.1:{port}", "PENSTOCK_STATS": f"127.0.0.1:{stats}"}
    for number, server in enumerate(servers, 1):
        server.script = script
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env[f"PENSTOCK_GATEWAY_{number}"] = f"127.0.0.1:{server.server_port}"
    process = subprocess.Popen(["/usr/sbin/haproxy", "-f", str(ROOT / "deploy/haproxy/cluster.cfg")], env=env, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: up(port), what="HAProxy")
        yield port, script, servers
    finally:
        process.terminate()
        process.wait(20)
        for server in servers:
            server.shutdown()
            server.server_close()


def up(port):
    with contextlib.suppress(OSError):
        return call(port, "GET", "/v1/sales/x").status == 200


def buy(port):
    return call(port, "POST", "/v1/sales/x/orders", {"sku": "phone"}, timeout=20)


def test_a_buy_whose_gateway_dies_is_not_sent_to_another_one(front):
    port, script, _ = front
    assert buy(port).status == 202 and script["asked"] == 1
    script.update(dies=True, asked=0)
    answer = buy(port)
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "no_answer", "1")
    assert script["asked"] == 1


def test_gateways_that_are_not_ready_are_asked_when_no_other_is(front):
    """Kafka away: they serve status pages, and know what to say to a buyer."""
    port, script, _ = front
    script["readyz"] = 503
    until = time.monotonic() + 2
    while time.monotonic() < until:
        assert buy(port).status == 202 and call(port, "GET", "/v1/sales/x").status == 200


def test_without_any_gateway_buyers_are_told_to_ask_again(front):
    port, _, servers = front
    for server in servers:
        server.shutdown()
        server.server_close()
    answer = wait_until(lambda: (a := buy(port)).code == "no_gateway" and a, what="a refusal")
    assert answer.status == 503 and answer.headers["retry-after"] == "1"


def test_a_gateway_that_leaves_finishes_what_it_has_begun(front):
    port, script, _ = front
    script["wait"] = 2
    answers = []
    thread = threading.Thread(target=lambda: answers.append(buy(port)))
    thread.start()
    time.sleep(0.3)
    script["readyz"] = 503
    thread.join(20)
    assert [answer.status for answer in answers] == [202]


def test_probes_and_the_admin_listener_are_not_for_the_outside(front):
    port, _, _ = front
    for path in ("/readyz", "/livez", "/metrics", "/admin/v1/sales", "/", "/v1/sales/x/orders/y"):
        assert call(port, "GET", path).status == 404
    assert call(port, "POST", "/v1/sales/x/orders", b"x" * 5000).status == 413


def test_redis_takes_the_reference_settings(tmp_path):
    port = free_port()
    process = subprocess.Popen(["redis-server", str(ROOT / "deploy/redis/redis.conf"), "--port", str(port), "--dir", str(tmp_path)],
                               stdout=subprocess.DEVNULL)

    def ask(*words):
        return subprocess.run(["redis-cli", "-p", str(port), *words], capture_output=True, text=True).stdout.split()

    try:
        wait_until(lambda: ask("PING") == ["PONG"], what="Redis")
        assert ask("CONFIG", "GET", "maxmemory-policy")[1] == "noeviction"
        assert ask("CONFIG", "GET", "save") == ["save"]
        watch = tmp_path / "sentinel.conf"
        watch.write_text((ROOT / "deploy/redis/sentinel.conf").read_text().replace("port 26379", f"port {free_port()}"))
        sentinel = subprocess.Popen(["redis-server", str(watch), "--sentinel"], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
        wait_until(lambda: "Sentinel ID" in sentinel.stdout.readline(), what="a Sentinel")
        sentinel.kill()
        sentinel.wait()
    finally:
        process.kill()
        process.wait()
