"""What a change and a second of rest cost with few and with many documents, and how long a start with many takes. Then, with plans and the runs that
are kept of them beside none: what the PUT of a limit, the start and end of a run and a page of runs cost, as a ratio:
documents.py [--sales N] [--blocks N] [--plans N] [--runs N]."""
import argparse
import json
import os
import pathlib
import sqlite3
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("PENSTOCK_BUILD", str(ROOT / "build/release"))
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


# --- Plans. ---

STEPS = [{"patch": {"kind": "limit", "name": "ip", "with": {"rate": 20}}}, {"override": {"target": "level", "value": 2}}]
ROUNDS, CALLS = 10, 50


def keep(gateway, plans, runs):
    """One plan and one ended run as the gateway wrote them, as often as wanted, under other names."""
    gateway.admin("PUT", "/admin/v1/plans/plan-0", {"title": "bench", "steps": STEPS, "ttl_s": 600})
    cycle(gateway, 0)
    gateway.stop()
    with sqlite3.connect(gateway.state / "control.db") as db:
        for kind, count, name in (("plans", plans - 1, "'plan-' || n"), ("runs", runs - 1, "printf('01000000-0000-7000-8000-%012d', n)")):
            columns = [row[1] for row in db.execute("PRAGMA table_info(documents)")]
            copied = ", ".join(name if column == "name" else column for column in columns)
            db.execute(f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})"
                       f" INSERT INTO documents SELECT {copied} FROM numbers, (SELECT * FROM documents WHERE kind = '{kind}' LIMIT 1)")
    db.close()
    print(f"start with {plans} plans and {runs} runs: {start(gateway)}", flush=True)


def limit(gateway, n):
    assert gateway.admin("PATCH", "/admin/v1/limits/user", {"rate": 5 + n % 7}, headers=ANY_VERSION).status == 200


def cycle(gateway, n):
    asked = gateway.admin("POST", "/admin/v1/plans/plan-0/runs", {"reason": "bench"})
    assert asked.status == 201, asked
    assert gateway.admin("POST", f"/admin/v1/runs/{asked.json['run']}/revert").json["end"] == "reverted"


def page(gateway, n):
    assert gateway.admin("GET", "/admin/v1/runs?limit=100").status == 200


def cost(gateway, call):
    """Median of the calls in ms, and what one costs the gateway."""
    took, before = [], cpu_s(gateway)
    for n in range(CALLS):
        started = time.monotonic()
        call(gateway, n)
        took.append((time.monotonic() - started) * 1e3)
    return statistics.median(took), (cpu_s(gateway) - before) / CALLS * 1e3


def compare_plans(plans, runs):
    """Rounds in turn, so that what else the machine does hits both alike."""
    rows = []
    with Gateway() as without, Gateway() as kept:
        without.admin("PUT", "/admin/v1/plans/plan-0", {"title": "bench", "steps": STEPS, "ttl_s": 600})
        keep(kept, plans, runs)
        print(f"a second of rest: {rest(without)}, with {plans} plans and {runs} runs {rest(kept)}")
        for what, call in (("PATCH of a limit", limit), ("a run and its revert", cycle), ("a page of 100 runs", page)):
            rounds = [(cost(without, call), cost(kept, call)) for _ in range(ROUNDS)]
            few, many = ([statistics.fmean(one[side][figure] for one in rounds) for figure in (0, 1)] for side in (0, 1))
            rows.append({"what": what, "plans": plans, "runs": runs, "ms": few[0], "ms_kept": many[0], "cpu_ms": few[1], "cpu_ms_kept": many[1],
                         "ratio": many[1] / few[1]})
            print(f"{what}: {few[1]:.2f} ms CPU ({few[0]:.1f} ms); with {plans} plans and {runs} runs {many[1]:.2f} ms CPU ({many[0]:.1f} ms): "
                  f"{many[1] / few[1]:.2f} times the CPU", flush=True)
    return rows


def run(sales=10000, blocks=100000, plans=1000, runs=10000):
    rows = compare_plans(plans, runs)
    for few_sales, few_blocks in ((1, 1), (sales, blocks)):
        with Gateway() as gateway:
            gateway.stop()
            fill(gateway.state / "control.db", few_sales, few_blocks)
            print(f"start with {few_sales} sales and {few_blocks} blocks: {start(gateway)}", flush=True)
            print(f"a second of rest: {rest(gateway)}", flush=True)
            report(gateway, f"{few_sales} sales and {few_blocks} blocks")
    return rows


def main():
    parser = argparse.ArgumentParser()
    for name, count in (("sales", 10000), ("blocks", 100000), ("plans", 1000), ("runs", 10000)):
        parser.add_argument(f"--{name}", type=int, default=count)
    run(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
