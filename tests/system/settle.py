"""Starts settlement workers and the databases that they fill, and looks into these around them."""
import contextlib
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import time

from penstock import BUILD, ROOT, wait_until

SETTLE = BUILD / "queue" / "settle" / "penstock-settle"
POSTGRES = ROOT / "tests" / "postgres"


class Sqlite:
    """A shop's database in one file."""

    name = "sqlite"

    def __init__(self, directory):
        self.path = pathlib.Path(directory) / "shop.db"
        self.url = f"sqlite:{self.path}"

    def query(self, sql):
        with contextlib.closing(sqlite3.connect(self.path, timeout=20)) as connection:
            rows = connection.execute(sql).fetchall()
            connection.commit()
        return [tuple(None if value is None else str(value) for value in row) for row in rows]

    @contextlib.contextmanager
    def session(self, sql):
        """Begins this, and rolls it back at the end."""
        connection = sqlite3.connect(self.path, timeout=20, isolation_level=None)
        connection.execute(sql)
        try:
            yield
        finally:
            connection.close()

    @staticmethod
    def time(column):
        return column


class PostgresServer:
    """One server; a context manager that ends it."""

    def __enter__(self):
        self.directory = subprocess.run([str(POSTGRES), "start", "--for", str(os.getpid())], check=True, capture_output=True, text=True,
                                        timeout=120).stdout.strip()
        self.databases = 0
        return self

    def __exit__(self, *exc):
        self.run("stop")

    def run(self, word):
        subprocess.run([str(POSTGRES), word, self.directory], check=True, timeout=120)

    def database(self):
        self.databases += 1
        name = f"shop{self.databases}"
        subprocess.run(["createdb", "-h", self.directory, "-U", "penstock", name], check=True)
        return Postgres(self, name)


class Postgres:
    """A shop's database on a server."""

    name = "postgres"

    def __init__(self, server, database):
        self.server, self.database = server, database
        self.url = f"host={server.directory} user=penstock dbname={database}"

    def query(self, sql):
        done = subprocess.run(["psql", self.url, "-X", "-q", "-A", "-t", "-F", "\x1f", "-P", "null=\x1e", "-v", "ON_ERROR_STOP=1", "-c", sql],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return [tuple(None if value == "\x1e" else value for value in line.split("\x1f")) for line in done.stdout.split("\n")[:-1]]

    @contextlib.contextmanager
    def session(self, sql):
        """Begins this, and rolls it back at the end."""
        process = subprocess.Popen(["psql", self.url, "-X", "-q"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            process.stdin.write(sql + "\n\\echo begun\n")
            process.stdin.flush()
            assert process.stdout.readline() == "begun\n"
            yield
        finally:
            process.communicate(timeout=20)

    @staticmethod
    def time(column):
        return f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"


class Worker:
    """penstock-settle with these flags."""

    def __init__(self, database, *flags, journal=None, log=None):
        self.flags = ["--database", database.url, "--progress-s", "1", "--log-level", "debug", *flags]
        if journal:
            self.flags += ["--journal", str(journal)]
        self.log_path = log or os.devnull
        self.process = None

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([str(SETTLE), *self.flags], stdout=log, stderr=log)
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, timeout=20):
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def __enter__(self):
        return self if self.process else self.start()

    def __exit__(self, *exc):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()

    def run(self, *flags, timeout=120):
        """To its end; what it has logged is in the result's `events`."""
        done = subprocess.run([str(SETTLE), *self.flags, *flags], capture_output=True, text=True, timeout=timeout)
        done.events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
        return done

    def once(self, *flags, timeout=120):
        done = self.run("--once", *flags, timeout=timeout)
        assert done.returncode == 0, done.stderr[-3000:]
        return done


def kill_now_and_then(workers, kills, dice, at_least=0.3, at_most=1.5, until=lambda: True):
    """Kills one after the other at odd moments, and starts it again: so often, and until this holds."""
    end = time.monotonic() + 120
    while kills > 0 or not until():
        assert time.monotonic() < end, "what the kills go on for did not come"
        time.sleep(dice.uniform(at_least, at_most))
        worker = dice.choice(workers)
        worker.kill()
        worker.start()
        kills -= 1


def buy(gateway, sale, count, prefix="u"):
    return [gateway.buy(sale, f"{prefix}{i}", key=f"{prefix}{i}").json["order_id"] for i in range(count)]


def init(database):
    done = subprocess.run([str(SETTLE), "--init", "--database", database.url], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return database


def gateway_flags(gateway):
    return ["--gateway-url", f"http://127.0.0.1:{gateway.admin_port}", "--gateway-token-file", str(gateway.state / "admin.token")]


def kafka_worker(topic, database, *flags, gateway=None):
    """A worker that reads a topic, and calls this gateway if there is one."""
    return Worker(database, "--kafka-brokers", topic.kafka.direct, "--kafka-topic", topic.name, "--kafka-group", topic.name,
                  *(gateway_flags(gateway) if gateway else []), *flags)


def murmur2(key):
    """As Kafka's producers hash a key, and the gateways."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i:i + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    if whole < len(key):
        h = (h ^ int.from_bytes(key[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & 0x7FFFFFFF


class Topic:
    """A topic of a real broker that is fed from a gateway's journal: what its records say and where they lie is as a cluster's gateways would
    write them, each order's in its partition, fences in all."""

    def __init__(self, kafka, gateway, partitions=3):
        self.kafka, self.gateway, self.partitions, self.copied = kafka, gateway, partitions, 0
        self.name = kafka.topic(partitions)
        self.keys = [next(key for key in map(str, range(1000)) if murmur2(key.encode()) % partitions == i) for i in range(partitions)]
        self.count = [0] * partitions

    def __enter__(self):
        libs = subprocess.run([str(ROOT / "deploy/kafka/fetch")], check=True, capture_output=True, text=True).stdout.strip()
        self.producer = subprocess.Popen(
            ["java", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", f"{libs}/*",
             "org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", self.kafka.direct, "--topic", self.name, "--timeout", "20",
             "--property", "parse.key=true", "--property", "key.separator=|"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        return self

    def __exit__(self, *exc):
        self.producer.stdin.close()
        self.producer.wait(30)

    def put(self, partition, value):
        self.producer.stdin.write(f"{self.keys[partition]}|{value}\n")
        self.producer.stdin.flush()
        self.count[partition] += 1

    def copy(self):
        """What the journal has got since the last time; how many records."""
        with contextlib.closing(sqlite3.connect(f"file:{self.gateway.state / 'journal.db'}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT seq, body FROM records WHERE seq > ? ORDER BY seq", (self.copied,)).fetchall()
        for seq, body in rows:
            event = json.loads(body)
            for partition in range(self.partitions) if ".fenced." in event["type"] else [self.place(event)]:
                self.put(partition, body)
            self.copied = seq
        return len(rows)

    def place(self, event):
        key = event.get("order_id") or event.get("adjust_id") or ""
        return murmur2(key.encode()) % self.partitions


def worker_of(gateway, database, *flags):
    """A worker that reads this gateway's journal and calls it."""
    return Worker(database, *gateway_flags(gateway), *flags, journal=gateway.state / "journal.db", log=gateway.directory / "settle.log")


def orders_in(database, sale, table="orders"):
    """By order id, as the gateway would show them."""
    columns = ["sku", "user_id", "quantity", "state", "reason", database.time("reserved_at"), database.time("pay_by"), "idempotency_key",
               "log_seq"]
    names = ["sku", "user", "quantity", "state", "reason", "reserved_at", "pay_by", "idempotency_key", "seq"]
    found = {}
    for row in database.query(f"SELECT order_id, {', '.join(columns)} FROM {table} WHERE sale = '{sale}'"):
        assert row[0] not in found
        order = dict(zip(names, row[1:]))
        order["quantity"], order["seq"] = int(order["quantity"]), int(order["seq"])
        found[row[0]] = order
    return found


def assert_same_orders(gateway, database, sale, same_seq=True, table="orders"):
    """The shop has each order that the gateway shows, once, in the same state, and no other; and the gateway's books are right. `same_seq`: both
    read the same log."""
    report = gateway.assert_books(sale)
    shown = {}
    for order in gateway.orders(sale):
        if (order["state"], order["reason"]) == ("released", "rejected"):
            continue
        shown[order["order_id"]] = {name: order[name] for name in ("sku", "user", "quantity", "state", "reason", "reserved_at", "pay_by",
                                                                   "idempotency_key", "seq")}
    stored = orders_in(database, sale, table)
    assert stored.keys() == shown.keys(), (len(stored), len(shown))
    for order_id, order in shown.items():
        assert stored[order_id] == (order if same_seq else {**order, "seq": stored[order_id]["seq"]})
    for sku in report["skus"]:
        for state, total in (("accepted", "held"), ("confirmed", "confirmed"), ("released", "released")):
            units = sum(order["quantity"] for order in stored.values() if order["sku"] == sku["sku"] and order["state"] == state)
            assert units == sku[total], (state, units, sku)
    return stored


def assert_results(database):
    """Goods leave on a confirm 200 and on nothing else: the column says so of the orders that are confirmed, and of no other."""
    rows = database.query("SELECT d.order_id, d.decision, d.result, o.state FROM penstock_decisions d JOIN orders o ON o.order_id = d.order_id")
    for order_id, decision, result, state in rows:
        if decision == "confirm":
            assert (result == "confirmed") == (state == "confirmed"), (order_id, result, state)
        else:
            assert (result == "released") == (state == "released"), (order_id, result, state)
    return rows


def decide(database, decision, ids):
    for order_id in ids:
        database.query(f"INSERT INTO penstock_decisions (order_id, decision) VALUES ('{order_id}', '{decision}')")


def wait_stored(database, count, timeout=30):
    wait_until(lambda: int(database.query("SELECT count(*) FROM orders")[0][0]) >= count, timeout, 0.1, f"{count} orders in the database")


def wait_results(database, timeout=30):
    wait_until(lambda: database.query("SELECT count(*) FROM penstock_decisions WHERE result IS NULL") == [("0",)], timeout, 0.1, "all results")


def wait_confirmed(database, count, timeout=60):
    wait_until(lambda: int(database.query("SELECT count(*) FROM orders WHERE state = 'confirmed'")[0][0]) >= count, timeout, 0.3, f"{count} confirmed orders")
