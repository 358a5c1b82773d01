"""A standby that follows a gateway's journal: what it takes over, and what a confirm waits for. The gateway that is followed dies by
kill -9 and stays away, as a machine that is lost; another gateway is started on the standby's state directory."""
import contextlib
import json
import shutil
import signal
import sqlite3
import subprocess
import threading

import pytest
from load import Load
from penstock import ANY_VERSION, BUILD, PATIENT_LOG, Gateway, wait_until

STANDBY = BUILD / "queue" / "standby" / "penstock-standby"


@pytest.fixture(scope="module")
def gateway():
    with Gateway() as running:
        yield running


class Standby:
    """penstock-standby beside `gateway`; its copy is the state directory of `successor`."""

    def __init__(self, gateway, directory, *options):
        self.gateway, self.directory = gateway, directory
        self.state = directory / "state"
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.token_file = directory / "token"
        self.token_file.write_text(gateway.token)
        self.token_file.chmod(0o600)
        self.log_path = directory / "standby.log"
        self.options = options

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [str(STANDBY), "--gateway", f"http://127.0.0.1:{self.gateway.admin_port}", "--token-file", str(self.token_file),
                 "--state-dir", str(self.state), *self.options], stderr=log, stdout=log)
        return self

    __enter__ = start

    def events(self):
        return [json.loads(line)["event"] for line in self.log_path.read_text().splitlines()]

    def wait_event(self, event):
        wait_until(lambda: event in self.events(), what=f"the standby's {event}")
        return self

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def successor(self, **settings):
        return Gateway(self.directory, settings)


def status(gateway):
    return gateway.admin("GET", "/admin/v1/standby").json


def confirm(gateway, order):
    return gateway.admin("POST", f"/admin/v1/orders/{order}/confirm", {})


@pytest.mark.slow
def test_what_a_confirm_promised_outlives_the_machine(tmp_path):
    """F29: Under load: every order whose confirm was answered 200 is at the successor, and of the others it lost no more than the reported lag."""
    with Gateway(settings={"log": {"confirm_on_standby": True, "ack_timeout_ms": 5000}}) as gateway, \
            Standby(gateway, tmp_path / "b") as standby:
        gateway.no_limits()
        sale = gateway.make_sale(stock=10000000)
        standby.wait_event("caught_up")
        confirmed, stop = [], threading.Event()

        def confirming():
            done = set()
            while not stop.is_set():
                for result in list(load.results):
                    if result.promised and result.order_id not in done:
                        done.add(result.order_id)
                        with contextlib.suppress(OSError, AssertionError):
                            if confirm(gateway, result.order_id).status == 200:
                                confirmed.append(result.order_id)

        with Load(gateway, sale, threads=4, pause=0.005) as load:
            thread = threading.Thread(target=confirming)
            thread.start()
            wait_until(lambda: len(confirmed) >= 20 and load.promised() > 200, 120, what="confirmed orders under load")
            promised = [result.order_id for result in list(load.results) if result.promised]
            gateway.kill()
            stop.set()
            thread.join()
            standby.wait_event("gateway_away")
            assert standby.stop() == 0
            successor = standby.successor(**{name: gateway.settings[name] for name in ("listen", "admin")}).start()
            before = load.promised()
            wait_until(lambda: load.promised() > before + 100, 60, what="buyers who go on at the successor")
        with successor:
            orders = {order["order_id"]: order["state"] for order in successor.orders(sale)}
            assert [o for o in confirmed if orders.get(o) != "confirmed"] == []
            assert sum(o not in orders for o in promised) <= 1000, "one answer of records at most was on its way"
            successor.assert_books(sale)
            assert successor.sale(sale)["state"] == "open"
            assert successor.buy(sale, "late-buyer").status == 202


def test_the_sale_of_a_confirmed_order_outlives_the_machine_however_young_it_is(tmp_path):
    """F29."""
    with Gateway(settings={"log": {"confirm_on_standby": True, "ack_timeout_ms": 5000}}) as gateway, \
            Standby(gateway, tmp_path / "b") as standby:
        standby.wait_event("caught_up")
        sale = gateway.make_sale()
        order = gateway.buy(sale, "ann").json["order_id"]
        assert confirm(gateway, order).status == 200
        gateway.kill()
        standby.wait_event("gateway_away")
        assert standby.stop() == 0
        with standby.successor() as successor:
            assert [(o["order_id"], o["state"]) for o in successor.orders(sale)] == [(order, "confirmed")]
            assert successor.sale(sale)["state"] == "open"
            successor.assert_books(sale)


def test_a_confirm_waits_for_the_standby_and_is_not_said_without_it(tmp_path):
    """F29."""
    with Gateway(settings={"log": {"confirm_on_standby": True, "ack_timeout_ms": 300}}) as gateway:
        sale = gateway.make_sale()
        first, second = (gateway.buy(sale, user).json["order_id"] for user in ("ann", "bob"))
        answer = confirm(gateway, first)
        assert (answer.status, answer.code) == (503, "standby_behind"), answer
        batch = gateway.admin("POST", "/admin/v1/orders:batch", {"confirm": [first], "cancel": [second]})
        assert [(r["status"], r.get("code")) for r in batch.json["results"]] == [(503, "standby_behind"), (200, None)], batch
        with Standby(gateway, tmp_path / "b") as standby:
            standby.wait_event("caught_up")
            assert confirm(gateway, first).status == 200
            third = gateway.buy(sale, "cid").json["order_id"]
            wait_until(lambda: confirm(gateway, third).status == 200, what="a confirm beside a standby")
            standby.process.send_signal(signal.SIGSTOP)
            fourth = gateway.buy(sale, "dan").json["order_id"]
            assert confirm(gateway, fourth).code == "standby_behind"
            assert confirm(gateway, third).code == "standby_behind", "what the standby has is known by its place in the log alone"
            standby.process.send_signal(signal.SIGCONT)
            wait_until(lambda: confirm(gateway, fourth).status == 200, what="a confirm after the standby came back")


def test_without_the_setting_a_confirm_waits_for_nobody():
    with Gateway(settings=PATIENT_LOG) as gateway:
        sale = gateway.make_sale()
        assert confirm(gateway, gateway.buy(sale, "ann").json["order_id"]).status == 200
        assert status(gateway) == {"following": False, "confirm_waits": False, "acknowledged": None, "lag_records": None,
                                   "asked_s_ago": None}


def test_documents_with_their_history_come_with_the_journal(tmp_path):
    """F29."""
    with Gateway() as gateway, Standby(gateway, tmp_path / "b") as standby:
        sale = gateway.make_sale(stock=7)
        standby.wait_event("caught_up")
        gateway.limit("user", rate=17)
        later = gateway.make_sale(stock=3)
        assert gateway.admin("POST", f"/admin/v1/sales/{later}/pause", {}).status == 200
        revision = gateway.admin("GET", "/admin/v1/config").json["revision"]

        def copied():
            with contextlib.closing(sqlite3.connect(f"file:{standby.state}/control.db?mode=ro&immutable=1", uri=True)) as db:
                return db.execute("select max(revision) from documents").fetchone()[0] == revision

        wait_until(copied, what="control.db of the last revision")
        wait_until(lambda: status(gateway)["lag_records"] == 0, what="no lag")
        assert status(gateway)["following"] is True
        assert gateway.metric("penstock_standby_following") == 1
        gateway.kill()
        standby.wait_event("gateway_away")
        standby.stop()
        with standby.successor() as successor:
            assert successor.sale(sale)["state"] == "open" and successor.sale(later)["state"] == "paused"
            rule = successor.admin("GET", "/admin/v1/limits/user")
            assert rule.json["rate"] == 17 and int(rule.headers["etag"].strip('"')) >= 2
            assert len(successor.admin("GET", "/admin/v1/limits/user/versions").json["versions"]) >= 2
            successor.assert_books(sale)


def test_a_standby_that_was_killed_goes_on_where_it_was(tmp_path):
    """F29."""
    with Gateway() as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=5000)
        with Load(gateway, sale, threads=4) as load:
            for _ in range(3):
                before = load.promised()
                with Standby(gateway, tmp_path / "b"):
                    wait_until(lambda: load.promised() > before + 100, what="orders while it follows")
        with Standby(gateway, tmp_path / "b", "--once") as standby:
            assert standby.process.wait(60) == 0, standby.log_path.read_text()
        theirs = gateway.admin("GET", f"/admin/v1/sales/{sale}/log?limit=1000").lines()
        with standby.successor() as successor:
            assert successor.admin("GET", f"/admin/v1/sales/{sale}/log?limit=1000").lines()[:len(theirs)] == theirs
            successor.assert_books(sale)


def test_a_copy_of_another_journal_is_refused_and_left_alone(tmp_path):
    """F29."""
    with Gateway() as one, Gateway() as other:
        sale = one.make_sale()
        other.make_sale(name="elsewhere")
        for user in "abc":
            one.buy(sale, user)
            other.buy("elsewhere", user)
        with Standby(one, tmp_path / "b", "--once") as standby:
            assert standby.process.wait(60) == 0
        before = (standby.state / "journal.db").read_bytes()
        standby.gateway = other
        standby.token_file.write_text(other.token)
        with standby.start():
            assert standby.process.wait(60) == 1
        assert "refused" in standby.events(), standby.log_path.read_text()
        assert (standby.state / "journal.db").read_bytes() == before


def test_what_the_gateway_has_archived_is_followed(tmp_path):
    """Its records are deleted there before or after they were copied; the copy is a journal all the same."""
    with Gateway() as gateway:
        gateway.no_limits()
        gone, kept = gateway.make_sale(rehearsal=True, stock=300), gateway.make_sale()
        order = gateway.buy(kept, "ann").json["order_id"]
        for i in range(200):
            gateway.buy(gone, f"b{i}")
        with Standby(gateway, tmp_path / "b", "--once") as standby:
            assert standby.process.wait(60) == 0, standby.log_path.read_text()
        early = gateway.make_sale(rehearsal=True, stock=300)
        for i in range(200):
            gateway.buy(early, f"b{i}")
        for sale in (gone, early):
            assert gateway.admin("DELETE", f"/admin/v1/sales/{sale}", headers=ANY_VERSION).status == 204

        def records():
            with contextlib.closing(sqlite3.connect(f"file:{gateway.state}/journal.db?mode=ro", uri=True)) as db:
                return db.execute("select count(*) from records where sale in (?, ?)", (gone, early)).fetchone()[0]

        wait_until(lambda: records() == 2, what="the end of the deletion")
        assert gateway.buy(kept, "bob").status == 202
        with standby.start():
            assert standby.process.wait(60) == 0, standby.log_path.read_text()
        with Standby(gateway, tmp_path / "d", "--once") as fresh:
            assert fresh.process.wait(60) == 0, fresh.log_path.read_text()
        for copy in (standby, fresh):
            with copy.successor() as successor:
                assert successor.admin("GET", f"/admin/v1/orders/{order}").json["state"] == "accepted"
                assert len(successor.orders(kept)) == 2
                successor.assert_books(kept)


def test_one_program_has_a_state_directory(tmp_path):
    with Gateway() as gateway, Standby(gateway, tmp_path / "b") as standby:
        standby.wait_event("caught_up")
        with Standby(gateway, tmp_path / "b") as second:
            assert second.process.wait(30) == 1
        successor = standby.successor().spawn()
        assert successor.process.wait(30) == 1
        assert "another process" in successor.log() or "another gateway" in successor.log(), successor.log()


@pytest.mark.parametrize("address", ["", "10.0.0.1:8090", "unix:socket"])
def test_an_address_that_is_none_is_refused_by_name(tmp_path, address):
    """As that of the service is, as long as no drop-in names a gateway."""
    done = subprocess.run([str(STANDBY), "--gateway", address, "--token-file", str(tmp_path), "--state-dir", str(tmp_path)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert done.stderr.startswith(f'penstock-standby: --gateway: "{address}" is not http://HOST:PORT, https://HOST:PORT or unix:/PATH\n'), done.stderr


def test_a_disk_that_is_full_at_the_standby_disturbs_nobody(tmp_path):
    """F29: A directory that cannot be written stands for it."""
    with Gateway() as gateway, Standby(gateway, tmp_path / "b") as standby:
        standby.wait_event("caught_up")
        shutil.move(standby.state, tmp_path / "away")
        sale = gateway.make_sale()
        standby.wait_event("disk_failed")
        assert gateway.buy(sale, "ann").status == 202
        shutil.move(tmp_path / "away", standby.state)
        wait_until(lambda: status(gateway)["lag_records"] == 0, what="the standby follows again")


@pytest.mark.parametrize("path, status_code", [("journal", 422), ("journal?after=-1", 422), ("journal?after=x", 422),
                                               ("journal?after=0&limit=1001", 422), ("journal?after=999999", 409),
                                               ("journal?after=0&sale=x", 422), ("control?revision=-2", 422)])
def test_what_makes_no_sense_is_refused_and_changes_nothing(gateway, path, status_code):
    before = status(gateway)
    answer = gateway.admin("GET", f"/admin/v1/standby/{path}")
    assert answer.status == status_code, answer
    assert status(gateway)["acknowledged"] == before["acknowledged"]


def test_only_an_admin_may_copy(gateway):
    token = gateway.admin("POST", "/admin/v1/tokens", {"role": "operator"})
    assert token.status == 201, token
    for path in ("journal?after=0", "control"):
        assert gateway.admin("GET", f"/admin/v1/standby/{path}", token=token.json["token"]).status == 403
    assert gateway.admin("GET", "/admin/v1/standby", token=token.json["token"]).status == 200
