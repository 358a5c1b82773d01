"""How long buyers get "not now" when Redis loses everything: a gateway over a real Redis and Kafka takes orders, FLUSHALL, and a client that
asks again until it is accepted. The counter is rebuilt from the log meanwhile. Nothing is pinned; Redis, Kafka and the gateway share what the
machine has."""
import contextlib
import http.client
import json
import statistics
import subprocess
import sys
import time

import harness
from cluster import Kafka, Redis, counted

BARS_S = {100_000: 2.0, 1_000_000: 10.0}
FLUSHES = 3
PATIENCE_S = 60


def buy(gateway, user):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    connection.request("POST", "/v1/sales/plenty/orders", '{"sku":"rehearsal","quantity":1}', {"Content-Type": "application/json", "X-User-Id": user})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer.get("state") or answer["code"]


def orders(gateway):
    return counted(gateway)[1]


def fill(gateway, goal):
    while orders(gateway) < goal:
        seconds = max(1, min(20, (goal - orders(gateway)) // 10_000))
        harness.wrk(gateway, "/v1/sales/plenty/orders", "sale.lua", seconds, harness.CONNECTIONS, "many", f"{goal}-{time.monotonic_ns()}-")


def lose(gateway, redis, mark):
    """Seconds from FLUSHALL to the next accepted order."""
    time.sleep(2)
    began = time.monotonic()
    subprocess.run(["redis-cli", "-p", str(redis.port), "FLUSHALL"], check=True, capture_output=True)
    asked, refused = 0, False
    while time.monotonic() - began < PATIENCE_S:
        answer = buy(gateway, f"{mark}-{asked}")
        asked += 1
        if answer == "accepted" and refused:
            return time.monotonic() - began
        refused |= answer != "accepted"
        time.sleep(0.01)
    sys.exit(f"bench: no order was accepted for {PATIENCE_S} s after FLUSHALL")


def run(directory):
    rows = []
    with contextlib.ExitStack() as stack:
        redis = Redis(directory)
        stack.callback(redis.stop)
        kafka = Kafka(directory)
        stack.callback(kafka.stop)
        gateway = harness.Penstock(directory, {"store": redis.settings(0), "log": kafka.topic("rebuild")})
        stack.callback(gateway.process.kill)
        gateway.lift_limits()
        gateway.make_sale("plenty", 50_000_000)
        harness.wait_for(lambda: buy(gateway, "first") == "accepted", "a yes")
        for goal, bar in BARS_S.items():
            fill(gateway, goal)
            taken = [lose(gateway, redis, f"{goal}-{number}") for number in range(FLUSHES)]
            row = {"orders": orders(gateway), "seconds": round(statistics.median(taken), 2), "bar_s": bar}
            rows.append(row)
            print(f"{row['orders']:>9} orders: {row['seconds']:.2f} s from FLUSHALL to the next accepted order, median of {', '.join(f'{t:.2f}' for t in taken)}"
                  f"  (bar {bar:.0f}, {harness.judge(row['seconds'] <= bar)})", flush=True)
        gateway.stop()
    return {"rebuild": rows}
