"""How long a start takes and how much memory it needs, by the number of orders: after a clean end (the fold's checkpoint is there), without a
checkpoint, when all of the log is read, and when the sale was dropped. A journal is filled without a gateway, then read by one; a topic of Kafka
(its counter is in Redis) by buyers."""
import contextlib
import shutil
import signal
import sqlite3
import subprocess
import time

import harness
import rebuild
from cluster import Kafka, Redis

ORDERS = (100_000, 1_000_000, 5_000_000)
KAFKA_ORDERS = (100_000, 1_000_000)
BARS = {1_000_000: 1.0}  # seconds, from a checkpoint
SALE, SKU = "plenty", "rehearsal"


def memory_mb(gateway):
    for line in open(f"/proc/{gateway.process.pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0


def started(directory, settings=None, patience=600):
    began = time.monotonic()
    gateway = harness.Penstock(directory, settings, patience=patience)
    return gateway, time.monotonic() - began


def measure(directory, orders, kind, log="journal", settings=None):
    gateway, seconds = started(directory, settings)
    row = {"log": log, "orders": orders, "start": kind, "ready_s": round(seconds, 2), "cpu_s": round(harness.cpu_seconds(gateway.pids()), 2), "rss_mb": memory_mb(gateway)}
    gateway.process.send_signal(signal.SIGTERM)
    gateway.process.wait(60)
    bar = BARS.get(orders) if (log, kind) == ("journal", "checkpoint") else None
    print(f"{log:7} {orders:>9} orders, {kind:10}: ready in {seconds:6.2f} s, {row['cpu_s']:6.2f} s of CPU, {row['rss_mb']:>5} MB" +
          (f"  (bar {bar:.0f} s, {harness.judge(seconds <= bar)})" if bar else ""), flush=True)
    return row


def rows_in(journal):
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=30)) as db:
        return db.execute("SELECT count(*) FROM records").fetchone()[0]


def forget(directory):
    """Drops the sale, and waits until memory and journal have let go of it. The memory before and after, in MB."""
    gateway, _ = started(directory)
    before = memory_mb(gateway)
    gateway.admin("DELETE", f"/admin/v1/sales/{SALE}", {"reason": "bench"}, {"If-Match": "*"})
    harness.wait_for(lambda: rows_in(gateway.state / "journal.db") < 10, "the end of the sale's records", 600)
    time.sleep(3)  # what is freed is seen a second later at the latest
    after = memory_mb(gateway)
    gateway.process.send_signal(signal.SIGTERM)
    gateway.process.wait(60)
    print(f"{'':9}         the sale dropped: {before} MB before, {after} MB after", flush=True)
    return {"before_mb": before, "after_mb": after}


def measure_kafka(directory):
    """All of the topic is read where there is no checkpoint, and the counter in Redis stays."""
    rows = []
    with contextlib.ExitStack() as stack:
        redis, kafka = Redis(directory), Kafka(directory)
        stack.callback(redis.stop)
        stack.callback(kafka.stop)
        settings = {"store": redis.settings(0), "log": kafka.topic("restart")}
        gateway, _ = started(directory, settings)
        gateway.lift_limits()
        gateway.make_sale(SALE, 50_000_000)
        filled = 0
        for orders in KAFKA_ORDERS:
            rebuild.fill(gateway, orders - filled)
            filled += rebuild.orders(gateway)  # that it has counted since its start
            gateway.process.send_signal(signal.SIGTERM)
            gateway.process.wait(60)
            (directory / "state" / "fold.checkpoint").unlink(missing_ok=True)
            rows.append(measure(directory, filled, "whole log", "Kafka", settings))
            rows.append(measure(directory, filled, "checkpoint", "Kafka", settings))
            gateway, _ = started(directory, settings)
        gateway.process.kill()
    return rows


def run(directory, sizes=ORDERS):
    rows = measure_kafka(directory)
    for orders in sizes:
        place = directory / str(orders)
        place.mkdir()
        gateway, _ = started(place)
        gateway.make_sale(SALE, 50_000_000)
        gateway.process.send_signal(signal.SIGTERM)
        gateway.process.wait(60)
        subprocess.run([harness.RELEASE / "loadtest" / "fill-log", place / "state" / "journal.db", SALE, SKU, str(orders), "0"], check=True)
        (place / "state" / "fold.checkpoint").unlink(missing_ok=True)
        rows.append(measure(place, orders, "whole log"))
        rows.append(measure(place, orders, "checkpoint"))
        rows.append({"orders": orders, "dropped": forget(place)})
        rows.append(measure(place, orders, "dropped"))
        shutil.rmtree(place)
    return {"restart": rows}
