"""Whom an overloaded gateway refuses. It is made slow by stopping its process for most of the time, as a host does that gives it a
small share of a processor: what arrives meanwhile waits unread."""
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict

import pytest
from load import Connection, buy_bytes
from penstock import Gateway, wait_until

STOPPED_S, RUNNING_S = 0.06, 0.006
# Workers refuse by themselves; the ladder's level stays at 0.
SIGNALS = ["loop_delay_ms", "requests_in_flight", "store_latency_ms", "log_latency_ms", "log_backlog", "process_cpu", "machine_cpu",
           "cpu_pressure", "memory", "memory_pressure", "connections"]
SHEDDING = {"workers": 1, "policy": {"overload": {"signals": {name: {"weight": 0} for name in SIGNALS}}}}
PAUSE_S = 0.1  # of who was refused, or looks again


class Stutter:
    """Lets the gateway run for a moment now and then. A process of its own: a thread would wait for the crowd's."""

    CODE = """
import os, signal, sys, time
pid, stopped_s, running_s = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
while os.getppid() == int(sys.argv[4]):
    os.kill(pid, signal.SIGSTOP)
    time.sleep(stopped_s)
    os.kill(pid, signal.SIGCONT)
    time.sleep(running_s)
"""

    def __init__(self, gateway):
        self.pid = gateway.process.pid

    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, "-c", self.CODE, *map(str, (self.pid, STOPPED_S, RUNNING_S, os.getpid()))])
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()
        os.kill(self.pid, signal.SIGCONT)


class Crowd:
    """Users who each ask on a connection of their own, again as soon as they are served."""

    def __init__(self, gateway, sale, users, kind="buy"):
        self.gateway, self.sale, self.kind = gateway, sale, kind
        self.heard = defaultdict(list)  # user: statuses
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(f"{kind}-{i}",)) for i in range(users)]

    def request(self, user, number):
        if self.kind == "buy":
            return buy_bytes(self.sale, user, f"{user}-{number}")
        path = {"look-up": f"/v1/sales/{self.sale}/orders", "page": f"/v1/sales/{self.sale}"}[self.kind]
        return f"GET {path} HTTP/1.1\r\nHost: shop\r\nX-User-Id: {user}\r\n\r\n".encode()

    def run(self, user):
        connection, number = Connection(self.gateway.port, 30), 0
        while not self.ended.is_set():
            status = connection.ask(self.request(user, number))[0]
            self.heard[user].append(status)
            number += 1
            if status == 503 or self.kind != "buy":
                time.sleep(PAUSE_S)
        connection.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self.ended.set()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def gateway():
    with Gateway(settings=SHEDDING) as gateway:
        gateway.no_limits()
        yield gateway


def admitted(gateway, kind="order"):
    return gateway.metric(f'penstock_admission_ratio{{class="{kind}"}}')


@contextlib.contextmanager
def overloaded(gateway, sale, below=0.9):
    """From when fewer than `below` of the users are admitted."""
    with Crowd(gateway, sale, 60) as crowd, Stutter(gateway):
        wait_until(lambda: admitted(gateway) < below, 30, what="overload")
        yield crowd


def test_an_overloaded_gateway_refuses_the_same_users_until_it_is_well_again(gateway):
    sale = gateway.make_sale(stock=1000000, per_user_cap=100000)
    with overloaded(gateway, sale, below=0.8) as crowd:
        crowd.heard.clear()
        time.sleep(2)
        heard = {user: statuses for user, statuses in crowd.heard.items() if len(statuses) > 5}
    always = [user for user, statuses in heard.items() if 503 not in statuses]
    never = [user for user, statuses in heard.items() if 202 not in statuses]
    refused = max(heard, key=lambda user: heard[user].count(503) / len(heard[user]))
    # Refused at random, nobody would get one answer alone for two seconds.
    assert always and 503 in heard[refused] and len(always) + len(never) > len(heard) / 3, (len(always), len(never), len(heard))
    wait_until(lambda: admitted(gateway) == 1, 30, what="the end of the overload")
    assert gateway.buy(sale, refused).status == 202
    gateway.assert_books(sale)


def test_a_refused_user_is_told_why_and_when_to_come_back(gateway):
    sale = gateway.make_sale(stock=1000000, per_user_cap=100000)

    def ask():
        return next((no for no in (gateway.buy(sale, f"asker-{i}", timeout=30) for i in range(40)) if no.code == "shed"), None)

    with overloaded(gateway, sale):
        refused = wait_until(ask, 30, what="a refusal")
    assert refused.status == 503 and refused.json["violated-policies"] == ["shed"]
    assert 2 <= int(refused.headers["retry-after"]) <= 21


def test_pages_and_look_ups_give_way_before_orders(gateway):
    sale = gateway.make_sale(stock=1000000, per_user_cap=100000)
    with Crowd(gateway, sale, 5, "page") as pages, Crowd(gateway, sale, 5, "look-up") as look_ups, \
            overloaded(gateway, sale):
        for kind, crowd in (("status", pages), ("order_state", look_ups)):
            wait_until(lambda kind=kind: admitted(gateway, kind) < 0.7 * admitted(gateway), 30, what=kind)
            wait_until(lambda crowd=crowd: any(503 in heard for heard in crowd.heard.values()), 30, what="a refusal")
    wait_until(lambda: admitted(gateway, "other") == 1, 30, what="the end of the overload")
    assert gateway.public("GET", f"/v1/sales/{sale}").status == 200


def test_operators_are_never_shed_and_a_balancer_leaves_the_gateway_in(gateway):
    sale = gateway.make_sale(stock=1000000, per_user_cap=100000)
    orders = [gateway.buy(sale, f"payer-{i}").json["order_id"] for i in range(30)]
    with overloaded(gateway, sale):
        for order in orders:
            answer = gateway.admin("POST", f"/admin/v1/orders/{order}/confirm", timeout=30)
            assert (answer.status, answer.json["state"]) == (200, "confirmed")

        def warning():
            ready = gateway.public("GET", "/readyz?verbose", timeout=30)
            assert ready.status == 200
            return "[-]overload: " in ready.text and "% of the users may order" in ready.text
        wait_until(warning, 30, what="a warning")
        assert gateway.admin("GET", "/readyz", timeout=30).status == 200
    wait_until(lambda: "overload" not in gateway.public("GET", "/readyz?verbose").text, 30)


def test_only_trusted_proxies_are_told_the_level_and_only_under_overload(gateway):
    sale = gateway.make_sale(stock=1000000, per_user_cap=100000)
    assert "penstock-admission" not in gateway.buy(sale, "early").headers
    with overloaded(gateway, sale):
        told = wait_until(lambda: gateway.buy(sale, "asker", timeout=30).headers.get("penstock-admission"), 30)
    levels = dict(member.split("=") for member in told.split(", "))
    assert list(levels) == ["order", "order_state", "status", "other"]
    assert 0 < float(levels["order"]) <= 1 and all(len(level) == 4 for level in levels.values())
    wait_until(lambda: "penstock-admission" not in gateway.buy(sale, "late").headers, 30)


def test_an_operator_who_turns_the_controller_off_has_nobody_shed_and_no_limit_that_follows(gateway):
    sale = gateway.make_sale(stock=1000000, per_user_cap=100000)
    with overloaded(gateway, sale) as crowd:
        assert gateway.admin("PUT", "/admin/v1/overload", {"mode": "off"}, {"If-Match": "*"}, timeout=30).status == 200
        wait_until(lambda: admitted(gateway) == admitted(gateway, "other") == 1, 5, what="everybody")
        wait_until(lambda: gateway.metric('penstock_flow_limit{target="log"}') == 8192, 5, what="no limit")
        shed = gateway.metric('penstock_answers_total{verdict="shed"}')
        heard = sum(map(len, crowd.heard.values()))
        wait_until(lambda: sum(map(len, crowd.heard.values())) > heard + 200, 30, what="answers")
        assert gateway.metric('penstock_answers_total{verdict="shed"}') == shed
        assert gateway.admin("PUT", "/admin/v1/overload", {"mode": "enforce"}, {"If-Match": "*"}, timeout=30).status == 200
        wait_until(lambda: admitted(gateway) < 0.95, 30, what="shedding again")
    wait_until(lambda: gateway.metric('penstock_flow_limit{target="log"}') < 8192, 30, what="the limit as measured")


def test_strangers_are_not_told_the_level():
    with Gateway(settings={**SHEDDING, "trusted_proxies": ["127.0.0.2"]}) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=10)
        with Crowd(gateway, sale, 60, "page"), Stutter(gateway):
            wait_until(lambda: admitted(gateway, "status") < 0.9, 30, what="overload")
            for _ in range(20):
                assert "penstock-admission" not in gateway.public("GET", f"/v1/sales/{sale}/orders", timeout=30).headers
