"""What one who misbehaves on the way of orders can do to those who buy: nothing. Neither who sends half an order, leaves, reads nothing, waits in a leaky
bucket or asks for orders that are not there, nor a sale whose counter is broken or that everybody wants, moves the limits and breakers before Redis and
the log, or costs the buyers of another sale their orders."""
import contextlib
import json
import socket
import struct
import threading
import time
import uuid

import pytest
from pages import breaker
from penstock import PATIENT_LOG, Gateway, seeds

SECONDS = 4
SIGNALS = ["loop_delay_ms", "requests_in_flight", "store_latency_ms", "log_latency_ms", "log_backlog", "process_cpu", "machine_cpu", "cpu_pressure",
           "memory", "memory_pressure", "connections", "admitted_rate"]
# The limits follow latency, and the ladder follows nothing: this machine may be busy.
ENFORCE = {"seed": seeds({"overload": {"default": {"signals": {name: {"threshold": 0} for name in SIGNALS}}}})}


@pytest.fixture(params=["memory", "redis"])
def gateway(request):
    settings = {"workers": 1, **PATIENT_LOG, **ENFORCE}
    server = None
    if request.param == "redis":
        server = request.getfixturevalue("redis")
        settings["store"] = {"kind": "redis", "redis": {"url": f"redis://127.0.0.1:{server.port}/0"}}
    with Gateway(settings=settings) as one:
        one.redis = server
        one.no_limits()
        yield one


def order(sale, user, quantity=1, sku="phone"):
    body = json.dumps({"sku": sku, "quantity": quantity}).encode()
    return f"POST /v1/sales/{sale}/orders HTTP/1.1\r\nHost: x\r\nX-User-Id: {user}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def connect(gateway):
    return socket.create_connection(("127.0.0.1", gateway.port), 20)


def buy_well(gateway, sale, seen, ended):
    """Buyers, 20 a second, one after the other."""
    number = 0
    while not ended.wait(0.05):
        number += 1
        began = time.monotonic()
        answer = gateway.buy(sale, f"good-{number}")
        seen.append((answer.code if answer.status != 202 else answer.json["state"], time.monotonic() - began))


@contextlib.contextmanager
def background(*calls):
    ended = threading.Event()
    threads = [threading.Thread(target=function, args=(*args, ended)) for function, *args in calls]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def limits(gateway):
    return {target: gateway.metric(f'penstock_flow_limit{{target="{target}"}}') for target in (["log", "store"] if gateway.redis else ["log"])}


def assert_unharmed(gateway, before, seen):
    assert len(seen) > 30 and {code for code, _ in seen} == {"accepted"}, seen
    assert sorted(took for _, took in seen)[len(seen) * 9 // 10] < 0.5, seen
    after = limits(gateway)
    assert all(after[target] >= before[target] for target in before), (before, after)
    if gateway.redis:
        assert breaker(gateway, "redis")["state"] == "closed" and breaker(gateway, "redis")["openings"] == 0


# --- Those who misbehave; each until `ended`. ---


def send_halves(gateway, sale, ended):
    with contextlib.ExitStack() as stack:
        for number in range(300):
            stack.enter_context(connect(gateway)).sendall(order(sale, f"half-{number}")[:-5])
        ended.wait()


def leave(gateway, sale, ended):
    """Each resets its connection right behind its order."""
    number = 0
    while not ended.wait(0.005):
        number += 1
        sock = connect(gateway)
        sock.sendall(order(sale, f"gone-{number}"))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


def read_nothing(gateway, sale, ended):
    """Connections full of orders whose answers nobody reads."""
    with contextlib.ExitStack() as stack:
        for number in range(50):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", gateway.port))
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                for turn in range(200):
                    sock.send(order(sale, f"deaf-{number}-{turn}"))
        ended.wait()


def wait_in_a_bucket(gateway, sale, ended):
    gateway.limit("slow", key="sale", sale=sale, algorithm="leaky_bucket", rate=10, period_s=1, burst=100, max_wait_ms=5000)
    with contextlib.ExitStack() as stack:
        for number in range(300):
            stack.enter_context(connect(gateway)).sendall(order(sale, f"held-{number}"))
        ended.wait()


def ask_for_what_is_not_there(gateway, sale, ended):
    """Ids of orders that fit the sale, from 50 connections of one user."""
    known = gateway.buy(sale, "asks").json["order_id"]
    socks = [connect(gateway) for _ in range(50)]
    while not ended.is_set():
        for sock in socks:
            other = str(uuid.UUID(int=uuid.UUID(known).int ^ 0xff))
            sock.sendall(b"".join(f"GET /v1/orders/{other} HTTP/1.1\r\nHost: x\r\nX-User-Id: asks\r\n\r\n".encode() for _ in range(20)))
        for sock in socks:
            sock.recv(1 << 16)
    for sock in socks:
        sock.close()


def want_what_is_sold_out(gateway, sale, ended):
    """A crowd for the last units, and long after them, with orders of all that a buyer may have."""
    socks = [connect(gateway) for _ in range(100)]
    number = 0
    while not ended.is_set():
        for sock in socks:
            number += 1
            sock.sendall(order(sale, f"crowd-{number}"))
        for sock in socks:
            sock.recv(1 << 16)
    for sock in socks:
        sock.close()


HOSTILE = {"halves": send_halves, "leaves": leave, "deaf": read_nothing, "bucket": wait_in_a_bucket, "not there": ask_for_what_is_not_there,
           "crowd": want_what_is_sold_out}


@pytest.mark.parametrize("kind", HOSTILE)
def test_who_misbehaves_in_one_sale_takes_no_order_from_another_one(gateway, kind):
    other, sale = gateway.make_sale(stock=100), gateway.make_sale(stock=100000)
    gateway.buy(sale, "first")
    before, seen = limits(gateway), []
    with background((buy_well, gateway, sale, seen), (HOSTILE[kind], gateway, other)):
        time.sleep(SECONDS)
    assert_unharmed(gateway, before, seen)


def test_a_sale_whose_counter_is_broken_costs_another_one_nothing(redis):
    with Gateway(settings={"workers": 1, "store": {"kind": "redis", "redis": {"url": f"redis://127.0.0.1:{redis.port}/0"}}, **PATIENT_LOG, **ENFORCE}) as gateway:
        gateway.redis = redis
        gateway.no_limits()
        broken, sale = gateway.make_sale(stock=100), gateway.make_sale(stock=100000)
        for name in (sale, broken):
            gateway.buy(name, "first")
        key = next(key for key in redis.ask("KEYS", "*").splitlines() if broken in key and key.endswith("user"))
        redis.ask("DEL", key)
        redis.ask("SET", key, "somebody else's")
        before, seen = limits(gateway), []
        with background((buy_well, gateway, sale, seen), (want_what_is_sold_out, gateway, broken)):
            time.sleep(SECONDS)
        assert gateway.buy(broken, "ann").code == "store_unavailable"
        assert_unharmed(gateway, before, seen)
