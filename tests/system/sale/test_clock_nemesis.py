"""Clocks that are set to anything, in a run and between two: of gateways, of Redis, of the broker. What an order may live is measured by the
test's own monotonic clock, which nobody sets. SEED=N plays one run again."""
import contextlib
import os
import random
import struct
import time

import cluster as cluster_module
import pytest
from clock import HOUR, Clock, clocks  # noqa: F401 (a fixture)
from cluster import Cluster, Kafka, Redis, states
from penstock import BUILD, PATIENT_LOG, Gateway, wait_until

DAY = 24 * HOUR
# The last is of 1970. (With a wall clock below the monotonic one libfaketime makes threads wait for ever.)
WRONG = [HOUR, -HOUR, 8 * DAY, -8 * DAY, 30 * DAY - int(time.time())]
TTL = 20
FOR_EVER = {"opens_at": "1970-01-01T00:00:00.001Z", "reservation_ttl_s": TTL, "per_user_cap": 1}


class Order:
    def __init__(self, user, offset, asked):
        self.user, self.offset, self.asked = user, offset, asked
        self.order_id = None
        self.kept = True  # is it promised that it does not expire early?

    def __repr__(self):
        return f"{self.user} (offset {self.offset} s, asked {time.monotonic() - self.asked:.1f} s ago)"


class Story:
    """What was done, for whoever reads a failure."""

    def __init__(self):
        self.seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
        self.random = random.Random(self.seed)
        self.began, self.lines = time.monotonic(), [f"SEED={self.seed}"]

    def say(self, *words):
        self.lines.append(f"{time.monotonic() - self.began:6.1f} " + " ".join(map(str, words)))

    def __str__(self):
        return "\n".join(self.lines)


def forget_promises(orders, last, now):
    """A start: the newest order was reserved under `last`, or an earlier clock, and the earliest clock that counts shows `now`. (protocol.md,
    which clocks an expiry needs)"""
    for order in orders:
        if last > order.offset and now > order.offset:
            order.kept = False


def note_ends(story, orders, shown):
    """Takes those out that have expired; their number."""
    now, judged = time.monotonic(), 0
    for order in list(orders):
        state, reason = shown[order.order_id]
        if state == "accepted":
            continue
        assert (state, reason) == ("released", "expired"), f"{order}\n{story}"
        assert not order.kept or now - order.asked >= TTL, f"{order} expired early\n{story}"
        story.say(order, "has expired", "" if order.kept else "(nothing was promised)")
        orders.remove(order)
        judged += order.kept
    return judged


# --- one gateway ---


class Alone:
    def __init__(self, directory, story, name):
        directory.mkdir()
        self.clock, self.story, self.name = Clock(directory), story, name
        self.offset, self.orders, self.judged = 0, [], 0
        self.newest = 0  # the clock under which the newest order was reserved
        self.gateway = Gateway(env=self.clock.env, settings=PATIENT_LOG).start()
        self.gateway.no_limits()
        self.gateway.make_sale("s", stock=1000, **FOR_EVER)
        self.bought = 0

    def step(self, offset):
        self.clock.jump(offset)
        self.offset = offset
        self.story.say(self.name, "clock", offset)

    def restart(self, offset):
        self.gateway.kill()
        self.step(offset)
        forget_promises(self.orders, self.newest, offset)
        self.gateway.start()
        self.story.say(self.name, "restarted")

    def buy(self):
        self.bought += 1
        order = Order(f"{self.name}-{self.bought}", self.offset, time.monotonic())
        answer = self.gateway.buy("s", order.user)
        assert answer.status == 202, f"{answer}\n{self.story}"
        order.order_id = answer.json["order_id"]
        self.newest = self.offset
        self.orders.append(order)
        self.story.say(order, "bought")

    def watch(self):
        shown = {order["order_id"]: (order["state"], order["reason"]) for order in self.gateway.orders("s")}
        self.judged += note_ends(self.story, self.orders, shown)


@pytest.mark.soak
def test_whatever_the_clock_of_a_gateway_shows_no_order_expires_early(tmp_path):
    """F15, F21."""
    story = Story()
    with contextlib.ExitStack() as stack:
        actors = [Alone(tmp_path / str(i), story, f"g{i}") for i in range(4)]
        for actor in actors:
            stack.callback(actor.gateway.__exit__)
        for _ in range(8):
            for actor in actors:
                for _ in range(story.random.randint(1, 3)):
                    actor.buy()
                do = story.random.choice([actor.step, actor.restart, actor.restart])
                do(story.random.choice([0, 0, *WRONG]))
            until = time.monotonic() + story.random.uniform(2, 30)
            while time.monotonic() < until:
                for actor in actors:
                    actor.watch()
                time.sleep(0.2)
        for actor in actors:
            actor.step(0)
        # What was bought while the clock was right, or behind, is due by now; what was bought ahead waits until then.
        until = time.monotonic() + 60 + 60 + TTL + 30
        while any(order.offset <= 0 for actor in actors for order in actor.orders):
            assert time.monotonic() < until, [order for actor in actors for order in actor.orders] + [str(story)]
            for actor in actors:
                actor.watch()
            time.sleep(0.2)
        assert sum(actor.judged for actor in actors) > 10, story
        for actor in actors:
            actor.gateway.assert_books("s")


# --- a cluster ---


class Server:
    """The wall clock of a server that is no gateway: tests/contract/set_clock.c."""

    def __init__(self, path):
        self.path, self.offset = path, 0
        self.set(0)
        self.env = {"LD_PRELOAD": str(next((BUILD / "tests/contract").glob("libset_clock.so"))), "SET_CLOCK": str(path)}

    def set(self, offset):
        self.offset = offset
        with open(self.path, "r+b" if self.path.exists() else "wb") as file:
            file.write(struct.pack("=q", offset))


@contextlib.contextmanager
def preloaded(clock):
    """Servers that are started here go by that clock."""
    before = dict(os.environ)
    os.environ.update(clock.env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture()
def world(tmp_path, monkeypatch, clocks):  # noqa: F811
    """Two gateways, a Redis and a broker, and the clock of each."""
    redis_clock, broker_clock = Server(tmp_path / "redis-clock"), Server(tmp_path / "broker-clock")

    class ClockedRedis(Redis):
        def start(self):
            with preloaded(redis_clock):
                return super().start()

    class ClockedKafka(Kafka):
        def start(self):
            with preloaded(broker_clock):
                super().start()

    monkeypatch.setattr(cluster_module, "Redis", ClockedRedis)
    with ClockedKafka() as kafka, Cluster(kafka, gateways=2, envs={i: clocks[i].env for i in range(2)}) as cluster:
        yield cluster, clocks, redis_clock, broker_clock


@pytest.mark.soak
def test_whatever_the_clocks_of_a_cluster_show_no_order_expires_early(world):
    """F15, F21: each clock is set by itself, so two of them seldom agree."""
    cluster, clocks, redis_clock, broker_clock = world
    story, orders, judged = Story(), [], 0
    newest = 0
    sale = cluster.make_sale(stock=1000, **FOR_EVER)

    def step(i, offset):
        clocks[i].jump(offset)
        story.say("gateway", i, "clock", offset)

    def restart(i, offset):
        cluster[i].kill()
        step(i, offset)
        forget_promises(orders, newest, min(redis_clock.offset, offset))
        cluster.restart(cluster[i])
        story.say("gateway", i, "restarted")

    def watch():
        nonlocal judged
        judged += note_ends(story, orders, states(cluster[0], [order.order_id for order in orders]))

    def set_one():
        which = story.random.choice(["step", "restart", "restart", "redis", "broker"])
        offset = story.random.choice([0, 0, *WRONG])
        if which in ("redis", "broker"):
            (redis_clock if which == "redis" else broker_clock).set(offset)
            story.say(which, "clock", offset)
        else:
            (step if which == "step" else restart)(story.random.randrange(2), offset)

    for number in range(10):
        for buyer in range(story.random.randint(1, 3)):
            order = Order(f"u{number}-{buyer}", redis_clock.offset, time.monotonic())
            order.order_id = cluster.sure_buy(cluster[buyer % 2], sale, order.user).json["order_id"]

            def decided():
                shown = states(cluster[0], [order.order_id])[order.order_id]
                return shown is None or shown[0] != "pending"

            wait_until(decided, 60, 0.1, f"a decision of {order}\n{story}\n")
            if states(cluster[0], [order.order_id])[order.order_id] == ("accepted", None):  # else a jump of Redis made it void
                orders.append(order)
                newest = redis_clock.offset
                story.say(order, "bought")
            else:
                newest = max(newest, redis_clock.offset)
        set_one()
        until = time.monotonic() + story.random.uniform(2, 25)
        while time.monotonic() < until:
            watch()
            time.sleep(0.2)
    for i in range(2):
        step(i, 0)
    redis_clock.set(0)
    broker_clock.set(0)
    until = time.monotonic() + 60 + 60 + TTL + 60
    while any(order.offset <= 0 for order in orders):
        assert time.monotonic() < until, [*orders, str(story)]
        watch()
        time.sleep(0.2)
    assert judged > 5, story
    cluster.wait_rest(sale)
