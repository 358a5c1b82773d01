"""The settlement worker beside a real gateway: each order lands in the shop's database once, whoever is killed when, and the shop's books
are the gateway's."""
import json
import random
import shutil
import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from load import Load
from penstock import PATIENT_LOG, Gateway, wait_until
from rehearsal import make_twin, mark, new_key
from settle import (PostgresServer, Sqlite, Worker, assert_results, assert_same_orders, buy, decide, init, kill_now_and_then, orders_in,
                    wait_results, wait_stored, worker_of)

NOBODYS = "01900000-0000-7000-8000-00000000dead"
REHEARSALS = "penstock_rehearsal_orders"
PATIENT = ("--gateway-timeout-ms", "20000")  # however busy the machine is, an answer is not late


@pytest.fixture(scope="module")
def postgres():
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    if request.param == "sqlite":
        return init(Sqlite(tmp_path))
    return init(request.getfixturevalue("postgres").database())


@pytest.fixture()
def gateway():
    with Gateway(settings=PATIENT_LOG) as g:
        g.no_limits()
        yield g


# --- each order once ---


def test_the_shop_gets_each_order_in_the_state_that_the_log_says(gateway, database):
    sale = gateway.make_sale(stock=100, per_user_cap=5)
    ids = buy(gateway, sale, 30)
    odd = "用户-\"'\\{},%s"
    assert gateway.buy(sale, odd.encode().decode("latin-1"), quantity=3).status == 202
    for order_id in ids[:10]:
        gateway.admin("POST", f"/admin/v1/orders/{order_id}/confirm")
    for order_id in ids[10:15]:
        gateway.admin("POST", f"/admin/v1/orders/{order_id}/cancel")
    worker = worker_of(gateway, database)
    worker.once()
    stored = assert_same_orders(gateway, database, sale)
    assert len(stored) == 31 and [o["quantity"] for o in stored.values() if o["user"] == odd] == [3]
    for order_id in ids[15:20]:
        gateway.admin("POST", f"/admin/v1/orders/{order_id}/confirm")
    worker.once()
    worker.once()
    assert_same_orders(gateway, database, sale)


def test_two_workers_that_are_killed_in_the_middle_store_and_confirm_each_order_once(gateway, database):
    """F14."""
    sale = gateway.make_sale(stock=100000)
    dice = random.Random(2)
    workers = [worker_of(gateway, database, "--batch", "7", "--auto-confirm", "--gateway-timeout-ms", "500") for _ in range(2)]
    with Load(gateway, sale, threads=4) as load:
        try:
            for worker in workers:
                worker.start()
            kill_now_and_then(workers, 20, dice, 0.01, 0.3, lambda: load.promised() > 200)
            load.stop()
            for order_id in buy(gateway, sale, 5, "late"):
                gateway.admin("POST", f"/admin/v1/orders/{order_id}/cancel")
            wait_stored(database, load.promised())
        finally:
            for worker in workers:
                worker.kill()
    worker_of(gateway, database, "--auto-confirm").once()
    stored = assert_same_orders(gateway, database, sale)
    rows = assert_results(database)
    assert len(rows) >= len(stored) - 5
    assert {order["state"] for order in stored.values()} <= {"confirmed", "released"}
    for result in load.results:
        if result.promised:
            assert stored[result.order_id]["user"] == result.user
    assert database.query("SELECT count(*) FROM penstock_dead_letters") == [("0",)]


def test_a_gateway_that_is_killed_under_its_workers_loses_nothing(gateway, shop):
    sale = gateway.make_sale(stock=100000)
    workers = [worker_of(gateway, shop, "--batch", "20", "--auto-confirm", "--gateway-timeout-ms", "500") for _ in range(2)]
    with workers[0], workers[1], Load(gateway, sale, threads=4) as load:
        for _ in range(3):
            before = load.promised()
            wait_until(lambda: load.promised() > before + 100, 30, what="orders under way")
            gateway.kill()
            gateway.start()
        load.stop()
        wait_stored(shop, load.promised())
        assert [worker.stop() for worker in workers] == [0, 0]
    worker_of(gateway, shop, "--auto-confirm").once()
    stored = assert_same_orders(gateway, shop, sale)
    assert all(order["state"] == "confirmed" for order in stored.values())
    assert_results(shop)


@pytest.mark.slow
def test_a_database_that_crashes_under_its_worker_has_each_order_once(gateway):
    with PostgresServer() as server:
        shop = init(server.database())
        sale = gateway.make_sale(stock=100000)
        with worker_of(gateway, shop, "--batch", "100", "--auto-confirm") as worker, Load(gateway, sale, threads=2) as load:
            for _ in range(3):
                before = load.promised()
                wait_until(lambda: load.promised() > before + 100, 30, what="orders under way")
                server.run("kill")
                server.run("again")
            load.stop()
            wait_stored(shop, load.promised())
            assert worker.stop() == 0
        worker_of(gateway, shop, "--auto-confirm").once()
        assert_same_orders(gateway, shop, sale)
        assert_results(shop)


def test_several_logs_in_one_database_stay_apart(gateway, shop):
    with Gateway(settings=PATIENT_LOG) as other:
        other.no_limits()
        sales = [g.make_sale(stock=10) for g in (gateway, other)]
        for g, sale in zip((gateway, other), sales):
            buy(g, sale, 3)
            worker_of(g, shop, "--name", sale).once()
        for g, sale in zip((gateway, other), sales):
            worker_of(g, shop, "--name", sale).once()
            assert_same_orders(g, shop, sale)


# --- rehearsals and records that make no sense ---


def test_rehearsals_are_dropped_or_kept_apart_and_never_among_real_orders(gateway, database):
    """Of a twin beside its sale, by the way that orders go: bought, decided, confirmed."""
    sale = gateway.make_sale(stock=10)
    twin, key = make_twin(gateway, sale), new_key(gateway)
    buy(gateway, sale, 2)
    for n in range(3):
        assert gateway.buy(sale, f"load-{n}", headers=mark(key)).status == 202
    done = worker_of(gateway, database, "--name", "dropped").once()
    assert len(orders_in(database, sale)) == 2 and orders_in(database, twin, REHEARSALS) == {}
    assert done.events[-1]["records"] == 9
    database.query("DELETE FROM orders")
    worker_of(gateway, database, "--name", "kept", "--rehearsals", "--auto-confirm").once()
    assert_same_orders(gateway, database, sale)
    stored = assert_same_orders(gateway, database, twin, table=REHEARSALS)
    assert orders_in(database, twin) == orders_in(database, sale, REHEARSALS) == {}
    assert {order["state"] for order in stored.values()} == {"confirmed"}
    for table, count in (("penstock_decisions", "2"), ("penstock_rehearsal_decisions", "3")):
        assert database.query(f"SELECT count(*) FROM {table} WHERE result = 'confirmed'") == [(count,)]


def test_a_record_that_makes_no_sense_is_put_aside_and_the_next_one_counts(gateway, shop):
    sale = gateway.make_sale(stock=10)
    buy(gateway, sale, 2)
    assert gateway.stop() == 0
    journal = gateway.state / "journal.db"
    with sqlite3.connect(journal) as connection:
        end, = connection.execute("SELECT max(seq) FROM records").fetchone()
        body, = connection.execute("SELECT body FROM records WHERE seq = ?", (end,)).fetchone()
        connection.execute("INSERT INTO records VALUES (?, ?, ?)", (end + 1, sale, '{"type":"gibberish"}'))
        event = {**json.loads(body), "order_id": NOBODYS}
        connection.execute("INSERT INTO records VALUES (?, ?, ?)", (end + 2, sale, json.dumps(event)))
    connection.close()
    done = Worker(shop, journal=journal).once()
    assert [event["event"] for event in done.events].count("dead_letter") == 1
    assert NOBODYS in orders_in(shop, sale) and len(orders_in(shop, sale)) == 3
    (reason, seq, record), = shop.query("SELECT reason, log_seq, CAST(record AS TEXT) FROM penstock_dead_letters")
    assert "type" in reason and int(seq) == end + 1 and record == '{"type":"gibberish"}'


def test_a_journal_that_was_restored_from_a_backup_is_not_read_on(gateway, shop, tmp_path):
    sale = gateway.make_sale(stock=10)
    buy(gateway, sale, 2)
    assert gateway.stop() == 0
    journal, backup = gateway.state / "journal.db", tmp_path / "backup.db"
    shutil.copy(journal, backup)
    gateway.start()
    buy(gateway, sale, 2, "lost")
    worker_of(gateway, shop).once()
    before = orders_in(shop, sale)
    assert gateway.stop() == 0
    shutil.copy(backup, journal)
    gateway.start()
    buy(gateway, sale, 5, "after")
    done = worker_of(gateway, shop).run("--once")
    assert done.returncode == 1 and "restored" in done.events[-2]["why"], done.stderr
    assert orders_in(shop, sale) == before


# --- decisions ---


def test_what_the_shop_decides_is_done_and_the_result_tells(gateway, database):
    sale = gateway.make_sale(stock=100)
    paid, unwanted, both, taken, gone = (buy(gateway, sale, 3, name) for name in ("p", "n", "b", "t", "g"))
    for order_id in taken:
        gateway.admin("POST", f"/admin/v1/orders/{order_id}/confirm")
    for order_id in gone:
        gateway.admin("POST", f"/admin/v1/orders/{order_id}/cancel")
    worker = worker_of(gateway, database)
    worker.once()
    decide(database, "confirm", paid + both + gone + [NOBODYS])
    decide(database, "cancel", unwanted + taken)
    worker.once()
    results = {row[0]: row[1] for row in database.query("SELECT order_id, result FROM penstock_decisions")}
    assert [results[i] for i in paid + both] == ["confirmed"] * 6
    assert [results[i] for i in unwanted] == ["released"] * 3
    assert [results[i] for i in taken] == ["order_confirmed"] * 3
    assert [results[i] for i in gone] == ["order_cancelled"] * 3
    assert results[NOBODYS] == "not_found"
    assert_same_orders(gateway, database, sale)
    assert_results(database)
    # The shop changes its mind about some: asked anew, and the log's word stands.
    database.query(f"UPDATE penstock_decisions SET decision = 'cancel', result = NULL WHERE order_id = '{both[0]}'")
    worker.once()
    assert database.query(f"SELECT result FROM penstock_decisions WHERE order_id = '{both[0]}'") == [("order_confirmed",)]


def test_an_order_that_was_not_paid_in_time_is_not_given_out(gateway, shop):
    sale = gateway.make_sale(stock=10, reservation_ttl_s=5)
    late, = buy(gateway, sale, 1)
    worker = worker_of(gateway, shop)
    wait_until(lambda: (worker.once(), orders_in(shop, sale)[late]["state"])[1] == "released", 60, 0.3, "expiry")
    assert orders_in(shop, sale)[late]["reason"] == "expired"
    decide(shop, "confirm", [late])
    worker.once()
    assert shop.query("SELECT result FROM penstock_decisions") == [("order_expired",)]
    assert_same_orders(gateway, shop, sale)


def test_thousands_of_decisions_go_in_batches(gateway, shop):
    sale = gateway.make_sale(stock=3000)
    with Load(gateway, sale, threads=6) as load:
        wait_until(lambda: load.promised() >= 2200, 60, what="orders")
    done = worker_of(gateway, shop, "--auto-confirm").once()
    stored = assert_same_orders(gateway, shop, sale)
    assert all(order["state"] == "confirmed" for order in stored.values())
    assert done.events[-1]["confirmed"] == len(stored)
    assert_results(shop)


def test_a_clock_that_is_set_back_keeps_no_decision_waiting(gateway, database):
    """Until the time at which it was to be asked again has come once more, its order would have expired."""
    sale = gateway.make_sale(stock=10)
    worker = worker_of(gateway, database)
    worker.once()
    decide(database, "confirm", buy(gateway, sale, 3))
    hour = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '1 hour')" if database.name == "sqlite" else "now() + interval '1 hour'"
    database.query(f"UPDATE penstock_decisions SET tries = 1, sent_at = {hour}, retry_at = {hour}")
    worker.once()
    assert database.query("SELECT DISTINCT result FROM penstock_decisions") == [("confirmed",)]


def test_decisions_wait_for_a_gateway_that_is_away(gateway, shop):
    sale = gateway.make_sale(stock=10)
    ids = buy(gateway, sale, 3)
    with worker_of(gateway, shop, "--auto-confirm") as worker:
        wait_results(shop)
        gateway.kill()
        shop.query("UPDATE penstock_decisions SET result = NULL")
        wait_until(lambda: "gateway_away" in (gateway.directory / "settle.log").read_text(), what="the worker notices")
        assert shop.query("SELECT count(*) FROM penstock_decisions WHERE result IS NULL") == [("3",)]
        gateway.start()
        wait_results(shop)
        assert worker.stop() == 0
    assert {row[0] for row in assert_results(shop)} == set(ids)


class Strange(BaseHTTPRequestHandler):
    """A gateway that answers as the test's script says; then each confirm is done."""

    def do_POST(self):
        wish = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers["Authorization"], wish))
        script = self.server.script
        status, body, headers = script.pop(0)(wish) if script else done_all(wish)
        if status == 0:
            time.sleep(body)
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def results_of(wish, status=200, **more):
    items = [{"order_id": i, "action": action, "status": status, **more} for action in ("confirm", "cancel") for i in wish[action]]
    return 200, json.dumps({"results": items, "later": True}).encode(), {}


def done_all(wish):
    return results_of(wish)


@pytest.fixture()
def strange():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Strange)
    server.asked, server.script = [], []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def strange_worker(gateway, shop, strange, tmp_path, *flags):
    token = tmp_path / "token"
    token.write_text("secret\nmore\n")
    token.chmod(0o600)
    return Worker(shop, "--gateway-url", f"http://127.0.0.1:{strange.server_port}/", "--gateway-token-file", str(token),
                  "--gateway-timeout-ms", "300", *flags, journal=gateway.state / "journal.db")


@pytest.mark.slow
def test_an_answer_that_is_none_is_asked_for_again(gateway, shop, strange, tmp_path):
    sale = gateway.make_sale(stock=10)
    ids = buy(gateway, sale, 3)
    answers = [lambda wish: results_of(wish, 503, code="order_pending"), lambda wish: results_of(wish, 404, code="not_found"),
               lambda wish: results_of(wish, 409, code="something_new"), lambda wish: (500, b"oops", {}), lambda wish: (200, b"oops", {}),
               lambda wish: (200, b'{"results":[]}', {}), lambda wish: (200, b"[" * 200000, {}), lambda wish: results_of(wish, "200"),
               lambda wish: results_of({**wish, "confirm": list(reversed(wish["confirm"]))}),
               lambda wish: (429, b"", {"Retry-After": "1"}), lambda wish: (302, b"", {"Location": "http://127.0.0.1:1/"}),
               lambda wish: (0, 1, {})]
    strange.script[:] = answers
    done = strange_worker(gateway, shop, strange, tmp_path, "--auto-confirm").once()
    assert shop.query("SELECT DISTINCT result FROM penstock_decisions") == [("confirmed",)]
    assert len(strange.asked) > len(answers) and strange.script == []
    path, authorization, wish = strange.asked[-1]
    assert path == "/admin/v1/orders:batch" and authorization == "Bearer secret" and set(wish["confirm"]) <= set(ids)
    assert any("not from a gateway" in event["why"] for event in done.events if event["event"] == "gateway_away")
    assert done.events[-1]["confirmed"] == 3


@pytest.mark.slow
def test_an_order_is_not_found_only_when_gateways_have_said_so_several_times(gateway, database, strange, tmp_path):
    """A call that nobody answered says nothing of it."""
    unknown = []

    def not_found(wish):
        unknown.append(wish)
        return results_of(wish, 404, code="not_found")

    strange.script[:] = [lambda wish: (500, b"", {})] * 6 + [not_found] * 20
    decide(database, "confirm", [NOBODYS])
    strange_worker(gateway, database, strange, tmp_path, *PATIENT).once()
    assert database.query("SELECT result FROM penstock_decisions") == [("not_found",)]
    assert len(unknown) == 6


def test_a_token_that_is_not_taken_is_named_and_not_tried_at_once_again(gateway, shop, strange, tmp_path):
    buy(gateway, gateway.make_sale(stock=10), 3)
    strange.script[:] = [lambda wish: (401, b"", {})] * 9
    done = strange_worker(gateway, shop, strange, tmp_path, "--auto-confirm", "--patience-s", "1", *PATIENT).run("--once")
    assert done.returncode == 1 and len(strange.asked) == 1
    assert "401" in done.events[-2]["why"] and "operator" in done.events[-2]["why"]


def test_the_next_gateway_is_asked_when_one_is_away(gateway, shop, tmp_path):
    sale = gateway.make_sale(stock=10)
    buy(gateway, sale, 3)
    worker = worker_of(gateway, shop, "--auto-confirm")
    worker.flags[worker.flags.index("--gateway-url"):0] = ["--gateway-url", "http://127.0.0.1:1"]
    worker.once()
    assert_results(shop)
    assert shop.query("SELECT DISTINCT result FROM penstock_decisions") == [("confirmed",)]


def test_once_gives_up_when_there_is_no_progress(gateway, shop, tmp_path):
    sale = gateway.make_sale(stock=10)
    buy(gateway, sale, 3)
    gateway.kill()
    done = worker_of(gateway, shop, "--auto-confirm", "--patience-s", "1").run("--once")
    assert done.returncode == 1 and done.events[-2]["event"] == "no_progress", done.stderr
    assert len(orders_in(shop, sale)) == 3


@pytest.mark.soak
def test_once_gives_up_when_calls_are_answered_and_nothing_is_decided(gateway, shop, strange, tmp_path):
    """As by a gateway that has lost its log."""
    buy(gateway, gateway.make_sale(stock=10), 3)
    strange.script[:] = [lambda wish: results_of(wish, 503, code="log_unavailable")] * 100
    done = strange_worker(gateway, shop, strange, tmp_path, "--auto-confirm", "--patience-s", "11").run("--once", timeout=50)
    assert done.returncode == 1 and done.events[-2]["event"] == "no_progress", done.stderr


def test_the_next_gateway_is_asked_when_one_decides_nothing(gateway, shop, strange, tmp_path):
    """A gateway that has lost its log says so of each order, in a call that is answered; another one may have the log."""
    buy(gateway, gateway.make_sale(stock=10), 3)
    strange.script[:] = [lambda wish: results_of(wish, 503, code="log_unavailable")] * 100
    worker = strange_worker(gateway, shop, strange, tmp_path, "--auto-confirm", "--gateway-url", f"http://127.0.0.1:{gateway.admin_port}")
    worker.flags[worker.flags.index("--gateway-token-file") + 1] = str(gateway.state / "admin.token")
    with worker:
        wait_until(lambda: shop.query("SELECT count(*) FROM penstock_decisions WHERE result = 'confirmed'") == [("3",)], 60, 0.1, "confirms")
        assert worker.stop() == 0
    assert strange.asked


# --- the program ---


def test_sigterm_ends_a_worker_between_two_transactions(gateway, database):
    sale = gateway.make_sale(stock=100000)
    with Load(gateway, sale, threads=4) as load:
        for pause in (0.02, 0.1, 0.4):
            worker = worker_of(gateway, database, "--auto-confirm", "--batch", "5")
            worker.log_path = gateway.directory / f"settle-{pause}.log"
            worker.start()
            wait_until(lambda: '"started"' in worker.log_path.read_text(), what="the start")
            time.sleep(pause)
            assert worker.stop() == 0
    assert load.promised() > 0
    worker_of(gateway, database, "--auto-confirm").once()
    assert_same_orders(gateway, database, sale)


def test_metrics_are_written_whole(gateway, shop, tmp_path):
    sale = gateway.make_sale(stock=10)
    buy(gateway, sale, 4)
    metrics = tmp_path / "settle.prom"
    worker_of(gateway, shop, "--auto-confirm", "--metrics-file", str(metrics)).once()
    values = dict(line.rsplit(" ", 1) for line in metrics.read_text().splitlines() if not line.startswith("#"))
    assert values['penstock_settle_orders_total{state="accepted"}'] == "4"
    assert values['penstock_settle_decisions_total{result="confirmed"}'] == "4"
    assert values["penstock_settle_lag_records"] == values["penstock_settle_decisions_open"] == "0"
    assert [path.name for path in tmp_path.glob("settle.prom*")] == ["settle.prom"]


def test_a_start_that_cannot_work_says_why(gateway, shop, tmp_path):
    journal = gateway.state / "journal.db"

    def refused(status, words, *flags, database=shop):
        done = Worker(database).run(*flags)
        assert done.returncode == status and words in done.stdout + done.stderr, (flags, done.stderr)

    refused(2, "journal")
    refused(2, "--journal", "--jurnal", str(journal))
    refused(2, "batch", "--journal", str(journal), "--batch", "0")
    refused(1, "there is no journal", "--journal", str(tmp_path / "nothing"))
    (tmp_path / "file").write_text("no database at all, just text" * 100)
    refused(1, "not a database", "--journal", str(journal), "--database", f"sqlite:{tmp_path / 'file'}")
    refused(1, "--init", "--journal", str(journal), "--database", f"sqlite:{tmp_path / 'new.db'}")
    assert not (tmp_path / "new.db").exists()
    refused(1, "start_failed", "--journal", str(journal), "--database", f"host={tmp_path} user=x dbname=x")
    done = Worker(shop).run("--help")
    assert done.returncode == 0 and "--gateway-token-file" in done.stdout
    assert json.loads(Worker(shop).run("--print-default-config").stdout)["batch"] == 1000


def test_a_wrong_password_and_a_missing_right_are_named(gateway, postgres):
    sale = gateway.make_sale(stock=10)
    buy(gateway, sale, 2)
    shop = init(postgres.database())
    shop.query("CREATE ROLE guarded LOGIN PASSWORD 'right'")
    refused = worker_of(gateway, shop)

    def as_guarded(password, patience_s=1):
        refused.flags[refused.flags.index("--database") + 1] = shop.url.replace("user=penstock", f"user=guarded password={password}")
        return refused.run("--once", "--patience-s", str(patience_s))

    done = as_guarded("wrong")
    assert done.returncode == 1 and done.events[-1]["event"] == "start_failed"
    assert postgres.directory in done.events[-1]["why"] and "password authentication failed" in done.events[-1]["why"]
    assert "wrong" not in done.stderr
    tables = ["orders", "penstock_void", "penstock_offsets", "penstock_epochs", "penstock_dead_letters", "penstock_decisions", "penstock_schema", "penstock_rehearsal_orders",
              "penstock_rehearsal_decisions"]
    for missing in ("penstock_schema", "penstock_offsets", "orders"):
        shop.query("GRANT SELECT, INSERT, UPDATE ON " + ", ".join(tables) + " TO guarded")
        shop.query(f"REVOKE ALL ON {missing} FROM guarded")
        done = as_guarded("right")
        assert done.returncode == 1
        said, = {(event["where"], event["why"]) for event in done.events if f"permission denied for table {missing}" in event.get("why", "") and event["where"]}
        assert shop.database in said[0] and postgres.directory in said[0], done.stderr
        assert orders_in(shop, sale) == {}
    shop.query("GRANT SELECT, INSERT, UPDATE ON " + ", ".join(tables) + " TO guarded")
    assert as_guarded("right", 30).returncode == 0
    assert_same_orders(gateway, shop, sale)


def test_a_database_in_which_somebody_holds_a_lock_is_waited_for(gateway, database):
    sale = gateway.make_sale(stock=10)
    buy(gateway, sale, 3)
    worker_of(gateway, database).once()
    buy(gateway, sale, 3, "more")
    hold = "BEGIN IMMEDIATE;" if database.name == "sqlite" else "BEGIN; LOCK TABLE penstock_offsets;"
    with database.session(hold), worker_of(gateway, database) as worker:
        wait_until(lambda: "database_away" in worker.log_path.read_text(), 30, what="it is said")
        assert worker.stop() == 0
    worker_of(gateway, database).once()
    assert len(assert_same_orders(gateway, database, sale)) == 6
