"""Records that a later version has added to the log, and was then taken back: this one passes over what it does not know, keeps it byte for byte,
and says so; what it must not pass over it refuses by name."""
import contextlib
import json
import sqlite3
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from archives import lines_of
from cluster import Cluster
from desk import Desk
from penstock import BUILD, PATIENT_LOG, Gateway, free_port, rfc3339, wait_until
from settle import Worker, assert_same_orders, buy, orders_in, worker_of

MOVED, SPLIT = "penstock.order.moved.v1", "penstock.order.accepted.v2"
UNKNOWN = "penstock_log_unknown_records_total"
STANDBY = BUILD / "queue" / "standby" / "penstock-standby"


def later(sale, kind=MOVED, **members):
    """As a later version might write it: not in the form in which this one writes."""
    record = {"type": kind, "sale": sale, "epoch": 1, "at": rfc3339(), "note": "caf\u00e9 \u2192 \U0001f600", **members}
    return json.dumps(record, separators=(",", ": "), ensure_ascii=members.get("ascii", False))


def write(state, *records):
    """Into a journal that nobody has open."""
    with contextlib.closing(sqlite3.connect(state / "journal.db")) as db:
        for record in records:
            db.execute("INSERT INTO records (seq, sale, body) SELECT max(seq) + 1, ?, ? FROM records", (json.loads(record)["sale"], record))
        db.commit()


def bodies(state):
    with contextlib.closing(sqlite3.connect(f"file:{state / 'journal.db'}?mode=ro", uri=True)) as db:
        return dict(db.execute("SELECT seq, body FROM records ORDER BY seq").fetchall())


def unknown_in(state):
    return [body for body in bodies(state).values() if MOVED in body or SPLIT in body]


def named(log, event="log_unknown_record"):
    lines = [json.loads(line) for line in log.read_text().splitlines() if f'"{event}"' in line]
    return [line["type"] for line in lines]


@contextlib.contextmanager
def later_gateway(records):
    """A gateway of a later version, as far as a standby asks it."""
    lines = "".join(f'{{"seq":{i + 1},{record[1:]}\n' for i, record in enumerate(records)).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("ETag", '"0"')
            self.send_header("Content-Length", str(len(lines)))
            self.end_headers()
            self.wfile.write(lines)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def taken_back(gateway, *records):
    """The gateway starts again on a log with these at its end."""
    assert gateway.stop() == 0
    write(gateway.state, *records)
    gateway.start()


def test_a_journal_with_records_of_a_later_version_is_read_and_sold_from(tmp_path):
    with Gateway(directory=tmp_path, settings=PATIENT_LOG) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=50)
        first = buy(gateway, sale, 5)
        records = [later(sale), later(sale, SPLIT, ascii=True, order_id=first[0], quantity=7), later(sale), later("another")]
        taken_back(gateway, *records)
        assert gateway.metric(UNKNOWN) == 4
        assert named(gateway.log_path) == [MOVED, SPLIT]
        more = buy(gateway, sale, 5, "v")
        assert {order["order_id"]: order["quantity"] for order in gateway.orders(sale)} == {order: 1 for order in first + more}
        assert gateway.assert_books(sale)["unknown_records"] == 3
        log = gateway.admin("GET", f"/admin/v1/sales/{sale}/log?limit=1000")
        lines = [line for line in log.text.splitlines() if MOVED in line or SPLIT in line]
        assert [line.split(",", 1)[1] for line in lines] == [record[1:] for record in records[:3]]
        desk = Desk(tmp_path, gateway.admin_port, gateway.state / "admin.token")
        assert "3 records are of types that this version does not know" in desk.out("sale", "audit", sale)
        assert gateway.stop() == 0
        gateway.start()  # by its checkpoint, or not
        assert gateway.assert_books(sale)["unknown_records"] == 3 and len(gateway.orders(sale)) == 10
        assert unknown_in(gateway.state) == records


def test_a_critical_record_is_refused_by_name_until_the_later_version_is_back(tmp_path, shop):
    with Gateway(directory=tmp_path, settings=PATIENT_LOG) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=50)
        ids = buy(gateway, sale, 3)
        assert gateway.stop() == 0
        before = bodies(gateway.state)
        write(gateway.state, later(sale), later(sale, SPLIT, critical=True))
        (gateway.state / "fold.checkpoint").unlink(missing_ok=True)
        gateway.spawn()
        assert gateway.process.wait(30) != 0
        said = gateway.log_path.read_text().splitlines()[-1]
        assert f"record {len(before) + 2}: {SPLIT} is a critical record of a later version" in said
        # Settlement writes what comes before it, and ends with its name.
        done = worker_of(gateway, shop).run("--once")
        assert done.returncode == 1
        assert [event for event in done.events if event["event"] == "log_refused" and SPLIT in event["why"]], done.events
        assert set(orders_in(shop, sale)) == set(ids)
        with contextlib.closing(sqlite3.connect(gateway.state / "journal.db")) as db:
            db.execute("DELETE FROM records WHERE body LIKE '%critical%'")
            db.commit()
        gateway.start()
        assert len(gateway.orders(sale)) == 3
        worker_of(gateway, shop).once()
        assert_same_orders(gateway, shop, sale)


def test_settlement_passes_over_unknown_records_and_counts_them(gateway, shop, tmp_path):
    sale = gateway.make_sale(stock=50)
    first = buy(gateway, sale, 3)
    metrics = tmp_path / "settle.prom"
    taken_back(gateway, later(sale, order_id=first[0]), later(sale, SPLIT), later(sale, rehearsal=True), later(sale))
    buy(gateway, sale, 3, "v")
    done = worker_of(gateway, shop, "--metrics-file", str(metrics)).once()
    assert len(assert_same_orders(gateway, shop, sale)) == 6
    assert shop.query("SELECT count(*) FROM penstock_dead_letters") == [("0",)]
    assert [event["type"] for event in done.events if event["event"] == "unknown_record"] == [MOVED, SPLIT]
    assert 'penstock_settle_records_total{type="unknown"} 4\n' in metrics.read_text()


def test_a_standby_keeps_unknown_records_byte_for_byte(tmp_path):
    with Gateway(settings=PATIENT_LOG) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=50)
        buy(gateway, sale, 3)
        taken_back(gateway, later(sale), later(sale, SPLIT, ascii=True))
        state = tmp_path / "b" / "state"
        state.mkdir(parents=True, mode=0o700)
        standby = subprocess.Popen([STANDBY, "--gateway", f"http://127.0.0.1:{gateway.admin_port}", "--token-file", gateway.state / "admin.token",
                                    "--state-dir", state], stderr=subprocess.DEVNULL)
        try:
            wait_until((state / "control.db").exists, what="the copy's beginning")
            buy(gateway, sale, 3, "v")
            wait_until(lambda: bodies(state) == bodies(gateway.state), what="the copy")
            assert len(unknown_in(state)) == 2
        finally:
            standby.terminate()
            assert standby.wait(20) == 0
        gateway.kill()
        with Gateway(directory=tmp_path / "b") as successor:
            assert len(successor.orders(sale)) == 6
            assert successor.assert_books(sale)["unknown_records"] == 2


def test_a_standby_refuses_a_critical_record_by_name(tmp_path):
    """It cannot know what a copy of it would have to do; the gateway that has written it has a standby of its own version."""
    state = tmp_path / "b"
    state.mkdir(mode=0o700)
    (tmp_path / "token").write_text("0" * 32)
    (tmp_path / "token").chmod(0o600)
    with later_gateway([later("spring"), later("spring", SPLIT, critical=True)]) as url:
        done = subprocess.run([STANDBY, "--gateway", url, "--token-file", tmp_path / "token", "--state-dir", state], capture_output=True, text=True,
                              timeout=30)
    refused = json.loads(done.stderr.splitlines()[-1])
    assert done.returncode == 1 and refused["event"] == "refused" and SPLIT in refused["why"], done.stderr
    assert bodies(state) == {}


def test_an_archive_keeps_unknown_records_and_its_hash_holds(tmp_path):
    with Gateway(directory=tmp_path, settings={"log": {"archive_after_h": 0, "ack_timeout_ms": 10000}}) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=50)
        ids = buy(gateway, sale, 6)
        records = [later(sale), later(sale, SPLIT, ascii=True)]
        taken_back(gateway, *records)
        assert gateway.admin("POST", "/admin/v1/orders:batch", {"confirm": ids[:3], "cancel": ids[3:]}).status == 200
        assert gateway.admin("POST", f"/admin/v1/sales/{sale}/end", {}).status == 200
        gateway.wait_state(sale, "archived", 60)
        wait_until(lambda: not unknown_in(gateway.state), 60, what="the journal without its records")
        lines, last_hash, _ = lines_of(gateway.state / "archive" / f"{sale}.ndjson.zst")
        kept = [{name: value for name, value in line.items() if name not in ("prev", "seq")} for line in lines]
        assert [line for line in kept if line["type"] in (MOVED, SPLIT)] == [json.loads(record) for record in records]
        report = gateway.assert_books(sale)
        assert (report["unknown_records"], report["archive"]["orders"], report["archive"]["last_hash"]) == (2, len(ids), last_hash)
        log = gateway.admin("GET", f"/admin/v1/sales/{sale}/log?limit=1000").text
        assert all(record[1:] in log for record in records)


def test_a_cluster_passes_over_unknown_records_and_refuses_a_critical_one(kafka, shop, tmp_path):
    with Cluster(kafka, gateways=2) as cluster:
        sale = cluster.make_sale(stock=50)
        ids = {cluster.sure_buy(cluster[i % 2], sale, f"u{i}").json["order_id"] for i in range(6)}
        kafka.put(cluster.topic, later(sale), key=sale)
        kafka.put(cluster.topic, later(sale, SPLIT), key=sale)
        for gateway in cluster.gateways:
            wait_until(lambda: gateway.metric(UNKNOWN) == 2, what="both records")
            assert named(gateway.log_path) == [MOVED, SPLIT]
            assert gateway.metric("penstock_kafka_foreign_records_total") == 0
            report = gateway.audit(sale)
            assert (report["ok"], report["unknown_records"]) == (True, 2)
        assert cluster.sure_buy(cluster[0], sale, "late").json["state"] == "accepted"
        worker = Worker(shop, "--kafka-brokers", kafka.direct, "--kafka-topic", cluster.topic, "--kafka-group", cluster.topic)
        worker.once()
        assert len(orders_in(shop, sale)) == len(ids) + 1
        assert shop.query("SELECT count(*) FROM penstock_dead_letters") == [("0",)]
        kafka.put(cluster.topic, later(sale, SPLIT, critical=True), key=sale)
        for gateway in cluster.gateways:
            gateway.wait_log("log_unavailable", SPLIT)
            wait_until(lambda: gateway.buy(sale, "refused").status == 503, what="a refusal")
        done = worker.run("--once")
        assert done.returncode == 1
        assert [event for event in done.events if event["event"] == "log_refused" and SPLIT in event["why"]], done.events
        assert cluster[1].stop() == 0  # and what stopped there does not begin behind it
        cluster[1].spawn()
        wait_until(lambda: cluster[1].log_lines().count("critical record") >= 2, 60, what="the refusal of its start")
