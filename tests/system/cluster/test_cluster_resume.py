"""How soon a cluster sells again: from the moment Kafka or Redis can be reached again to the first `accepted` of every gateway.

The promise is 2 s on a machine that is not overloaded. Tests share their cores with the servers, the buyers and perhaps other tests. So each
measures three times and judges by the median, and what it allows is the promise, SLACK_S on top, and all that as many times as more threads
want to run than there are cores. The time of the slowest gateway counts each time."""
import contextlib
import os
import socket
import statistics
import threading
import time

import pytest
from cluster import Crowd
from load import Load
from penstock import wait_until
from proxy import CUT, HOLD, NO_ANSWERS, WELL
from test_cluster_kill import promised_more

PROMISE_S = 2.0
SLACK_S = 1.0
ATTEMPTS = 3
STOCK = 1000000
ASKERS = 4  # at each gateway, so that one who waits for an answer of the time before does not hide what the next one hears


class Askers:
    """New buyers at one gateway, all the time, until a buyer who asked after `since` gets `accepted`."""

    def __init__(self, gateway, sale, name):
        self.gateway, self.sale, self.name = gateway, sale, name
        self.since = None  # nobody counts yet
        self.first = None
        self.last_other = None
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.ask, args=(i,), daemon=True) for i in range(ASKERS)]
        for thread in self.threads:
            thread.start()

    def ask(self, index):
        number = 0
        while not self.ended.is_set():
            number += 1
            user = f"{self.name}-{self.gateway.index}-{index}-{number}"
            began = time.monotonic()
            answer = None
            with contextlib.suppress(OSError):
                answer = self.gateway.buy(self.sale, user, key=user, timeout=3)
            if answer is not None and answer.status == 202 and answer.json["state"] == "accepted":
                if self.since is not None and began >= self.since:
                    self.first = self.first or time.monotonic()
                    self.ended.set()
            else:
                self.last_other = (time.monotonic(), answer)
            self.ended.wait(0.05)

    def wait(self):
        assert self.ended.wait(60), f"gateway {self.gateway.index} sells nothing: {self.last_other}"
        for thread in self.threads:
            thread.join(30)
        return self.first - self.since


def connectable(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Start:
    """Of a broker. back() waits until its port is open, ended() for what start() waits for on top."""

    def __init__(self, kafka):
        self.kafka, self.thread = kafka, None

    def back(self):
        self.thread = threading.Thread(target=self.kafka.start, daemon=True)
        self.thread.start()
        wait_until(lambda: connectable(self.kafka.port), 60, 0.01, "the broker's port")

    def ended(self):
        if self.thread is not None:
            self.thread.join(120)


def nothing():
    pass


def measure(cluster, sale, away, back, seconds, name, ended=nothing):
    """For each gateway, the seconds from the server's return to its first accepted order; and how many threads wanted each core."""
    away()
    everybody = [Askers(gateway, sale, name) for gateway in cluster.gateways]
    try:
        time.sleep(seconds)
        back()
        since = time.monotonic()
        for askers in everybody:
            askers.since = since
        took = [askers.wait() for askers in everybody]
    finally:
        for askers in everybody:
            askers.ended.set()
        ended()
    crowding = os.getloadavg()[0] / len(os.sched_getaffinity(0))
    print(f"{name}: " + ", ".join(f"{seconds:.2f} s" for seconds in took) + f"; {crowding:.1f} threads a core", flush=True)
    return took, crowding


def judge_times(attempts):
    times = [max(took) for took, _ in attempts]
    crowding = statistics.median(crowding for _, crowding in attempts)
    allowed = (PROMISE_S + SLACK_S) * max(1.0, crowding)
    assert statistics.median(times) <= allowed, f"from the return to every gateway's first accepted order, and threads a core: {attempts}"


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_admission_resumes_within_two_seconds_of_kafkas_return(cluster, kafka, how):
    """After 30 s without it, with orders on every gateway's disk. Killed: from the moment the new broker's port is open."""
    sale = cluster.make_sale(stock=STOCK)
    start = Start(kafka)
    away, back = (kafka.freeze, kafka.thaw) if how == "frozen" else (kafka.kill, start.back)
    with Crowd(cluster, sale, rate=60) as crowd:
        promised_more(crowd, 50)
        attempts = [measure(cluster, sale, away, back, 30, f"{how}-{attempt}", start.ended) for attempt in range(ATTEMPTS)]
    cluster.judge(sale, [crowd], STOCK)
    judge_times(attempts)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["frozen", *(pytest.param(how, marks=pytest.mark.soak) for how in ("refused", "mute", "held"))])
def test_admission_resumes_within_two_seconds_of_the_return_of_redis_with_its_data(cluster, how):
    sale = cluster.make_sale(stock=STOCK)
    if how == "frozen":
        away, back = cluster.redis.freeze, cluster.redis.thaw
    else:
        mode = {"refused": CUT, "mute": NO_ANSWERS, "held": HOLD}[how]
        away, back = lambda: cluster.routes(mode), lambda: cluster.routes(WELL)
    with Crowd(cluster, sale, rate=60) as crowd:
        promised_more(crowd, 50)
        attempts = [measure(cluster, sale, away, back, 5, f"{how}-{attempt}") for attempt in range(ATTEMPTS)]
    cluster.judge(sale, [crowd], STOCK)
    judge_times(attempts)


@pytest.mark.parametrize("how", ["restarted", "flushed"])
def test_admission_resumes_within_two_seconds_of_the_return_of_an_empty_redis(cluster, how):
    """With some ten thousand orders to count again."""
    sale = cluster.make_sale(stock=STOCK)
    loads = [Load(gateway, sale, threads=6, name=f"filler-{gateway.index}") for gateway in cluster.gateways]
    with contextlib.ExitStack() as stack:
        for load in loads:
            stack.enter_context(load)
        wait_until(lambda: sum(load.promised() for load in loads) >= 20000, 120, 0.2, "orders to count again")
    away, back = (cluster.redis.kill, cluster.redis.start) if how == "restarted" else (nothing, lambda: cluster.redis.ask("FLUSHALL"))
    attempts = [measure(cluster, sale, away, back, 3, f"{how}-{attempt}") for attempt in range(ATTEMPTS)]
    cluster.judge(sale, loads, STOCK)
    judge_times(attempts)
