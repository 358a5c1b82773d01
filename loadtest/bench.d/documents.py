"""What a change and a second of rest cost with few and with many documents, and how long a start with many takes:
documents.py [--sales N] [--blocks N]."""
import argparse
import json
import os
import pathlib
import sqlite3
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/system"))
from penstock import ANY_VERSION, Gateway  # noqa: E402

NEVER = 2**63 - 1
SALE = json.dumps({"opens_at": "2099-01-01T00:00:00Z", "skus": [{"sku": "phone", "stock": 10}]}, separators=(",", ":"))


def fill(path, sales, blocks):
    """Rows of control.db as a gateway writes them; a hundred thousand PUTs would take minutes of fdatasync."""
    def row(kind, name, text, state=None):
        return kind, name, 1, 1, text, state, 0, NEVER, 0, "bench", "", "bench", ""
    with sqlite3.connect(path) as db:
        state = '{"opening":false,"opened":false,"paused":false,"ended":false}'
        marks = ",".join("?" * 13)
        db.executemany(f"INSERT INTO documents VALUES({marks})", (row("sales", f"sale-{n}", SALE, state) for n in range(sales)))
        db.executemany(f"INSERT INTO documents VALUES({marks})",
                       (row("blocklist/users", f"user-{n}", '{"reason":"bench"}') for n in range(blocks)))
    db.close()


def cpu_s(gateway):
    """User and system time of the gateway so far: it tells the same on a busy machine."""
    ticks = pathlib.Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def change(gateway, path, documents, count=200):
    """Median and worst of `count` PUTs, and what one costs the gateway."""
    took, before = [], cpu_s(gateway)
    for n in range(count):
        started = time.monotonic()
        answer = gateway.admin("PUT", path, documents(n), headers=ANY_VERSION)
        took.append((time.monotonic() - started) * 1e3)
        assert answer.status == 200, answer
    return f"median {statistics.median(took):.1f} ms, worst {max(took):.1f} ms, {(cpu_s(gateway) - before) / count * 1e3:.2f} ms CPU"


def start(gateway):
    started = time.monotonic()
    gateway.start(timeout=120)
    return f"{time.monotonic() - started:.2f} s, {cpu_s(gateway):.2f} s CPU"


def rest(gateway, seconds=5):
    before = cpu_s(gateway)
    time.sleep(seconds)
    return f"{(cpu_s(gateway) - before) / seconds * 1e3:.0f} ms CPU"


def report(gateway, what):
    stocks = (lambda n: {"opens_at": "2099-01-01T00:00:00Z", "skus": [{"sku": "phone", "stock": 11 + n}]})
    print(f"{what}: PUT of a sale {change(gateway, '/admin/v1/sales/sale-0', stocks)};"
          f" PUT of a block {change(gateway, '/admin/v1/blocklist/users/user-0', lambda n: {'reason': f'r{n}'})}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sales", type=int, default=10000)
    parser.add_argument("--blocks", type=int, default=100000)
    given = parser.parse_args()
    for sales, blocks in ((1, 1), (given.sales, given.blocks)):
        with Gateway() as gateway:
            gateway.stop()
            fill(gateway.state / "control.db", sales, blocks)
            print(f"start with {sales} sales and {blocks} blocks: {start(gateway)}", flush=True)
            print(f"a second of rest: {rest(gateway)}", flush=True)
            report(gateway, f"{sales} sales and {blocks} blocks")


if __name__ == "__main__":
    main()
