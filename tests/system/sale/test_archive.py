"""Sales that are over give everything back: their records go into an archive that anybody can check, and gateway, counter and journal let go."""
import json
import pathlib
import sqlite3

import pytest
from archive_readers import archive_under_readers
from archives import lines_of
from faults import Disk
from penstock import ANY_VERSION, Gateway, rfc3339, wait_until

AT_ONCE = {"log": {"archive_after_h": 0, "ack_timeout_ms": 10000}}


def journal(gateway, sql):
    with sqlite3.connect(f"file:{gateway.state / 'journal.db'}?mode=ro", uri=True) as db:
        return db.execute(sql).fetchall()


def record_of(gateway, sale):
    """The body of the sale's sale.archived in the journal; None: there is none."""
    rows = journal(gateway, f"SELECT body FROM records WHERE sale = '{sale}' AND body LIKE '%sale.archived%'")
    assert len(rows) <= 1, rows
    return json.loads(rows[0][0]) if rows else None


def sell(gateway, orders=20, confirmed=12, **document):
    """A sale of which some orders were confirmed and the others cancelled; its name and the orders' ids."""
    sale = gateway.make_sale(stock=100, **document)
    ids = []
    for i in range(orders):
        answer = gateway.buy(sale, f"user-{i}", key=f"key-{i}")
        assert answer.status == 202, answer
        ids.append(answer.json["order_id"])
    answer = gateway.admin("POST", "/admin/v1/orders:batch", {"confirm": ids[:confirmed], "cancel": ids[confirmed:]})
    assert answer.status == 200, answer
    return sale, ids


def end(gateway, sale):
    assert gateway.admin("POST", f"/admin/v1/sales/{sale}/end", {}).status == 200


def wait_archived(gateway, sale, timeout=60):
    gateway.wait_state(sale, "archived", timeout)
    wait_until(lambda: journal(gateway, f"SELECT count(*) FROM records WHERE sale = '{sale}'")[0][0] == 1, timeout, what="records gone")


def assert_archived(gateway, sale, ids, confirmed=12):
    """All that is said of an archived sale, from outside."""
    lines, last_hash, sha256 = lines_of(gateway.state / "archive" / f"{sale}.ndjson.zst")
    record = record_of(gateway, sale)
    released = len(ids) - confirmed
    assert (record["last_hash"], record["sha256"], record["lines"]) == (last_hash, sha256, len(lines))
    assert record["orders"] == len(ids)
    numbers = [{"sku": "phone", "adjustments": 100, "held": 0, "confirmed": confirmed, "released": released}]
    assert record["skus"] == numbers == lines[-1]["skus"]
    assert lines[-1]["type"] == "archive.end" and lines[-1]["lines"] == len(lines)
    assert [line["order_id"] for line in lines if line.get("type") == "penstock.order.accepted.v1"] == ids
    assert "user-" not in json.dumps(lines) and "key-" not in json.dumps(lines)
    shown = gateway.sale(sale)
    assert shown["state"] == "archived"
    assert (shown["skus"][0]["confirmed"], shown["skus"][0]["held"], shown["skus"][0]["adjustments"]) == (confirmed, 0, 100)
    assert gateway.public("GET", f"/v1/sales/{sale}").json["phase"] == "ended"
    assert gateway.buy(sale, "late").code == "ended"
    assert gateway.buy(sale, "user-0", key="key-0").code == "ended"
    for path in (f"/v1/orders/{ids[0]}", f"/v1/sales/{sale}/orders"):
        answer = gateway.public("GET", path, user="user-0")
        assert (answer.status, answer.code) == (410, "archived"), answer


def test_a_sale_that_is_over_is_archived_and_everything_lets_go_of_it():
    with Gateway(settings=AT_ONCE) as gateway:
        sale, ids = sell(gateway)
        live = gateway.make_sale(stock=5)
        kept = gateway.buy(live, "ann").json["order_id"]
        end(gateway, sale)
        assert gateway.sale(sale)["state"] == "settled"
        wait_archived(gateway, sale)
        assert_archived(gateway, sale, ids)
        for _ in range(2):
            assert gateway.public("GET", f"/v1/orders/{kept}", user="ann").json["state"] == "accepted"
            gateway.assert_books(live)
            assert gateway.stop() == 0
            gateway.start()
            assert_archived(gateway, sale, ids)


def test_an_archive_answers_what_operators_ask_of_an_archived_sale():
    with Gateway(settings=AT_ONCE) as gateway:
        sale, ids = sell(gateway, orders=30, confirmed=25)
        before, log = gateway.orders(sale), gateway.admin("GET", f"/admin/v1/sales/{sale}/log").lines()
        end(gateway, sale)
        wait_archived(gateway, sale)
        order = gateway.admin("GET", f"/admin/v1/orders/{ids[0]}")
        assert (order.status, order.json["state"], order.json["sale"]) == (200, "confirmed", sale), order
        assert gateway.admin("GET", f"/admin/v1/orders/{ids[-1]}").json["reason"] == "cancelled"
        after = gateway.orders(sale)
        hidden = {"user": None, "idempotency_key": None}
        assert [{**order, **hidden} for order in after] == [{**order, **hidden} for order in before]
        assert {order["user"] for order in after}.isdisjoint(order["user"] for order in before)
        assert [o["order_id"] for o in gateway.orders(sale, user="user-3")] == [ids[3]]
        assert len(gateway.orders(sale, state="released")) == 5
        pages, place = [], 0
        while page := gateway.admin("GET", f"/admin/v1/orders?sale={sale}&state=confirmed&after={place}&limit=7"):
            pages += page.lines()
            place = int(page.headers["penstock-last-seq"])
            if len(page.lines()) < 7:
                break
        assert [order["order_id"] for order in pages] == ids[:25]
        records = gateway.admin("GET", f"/admin/v1/sales/{sale}/log").lines()
        assert [(r["seq"], r["type"]) for r in records] == [(r["seq"], r["type"]) for r in log]
        report = gateway.assert_books(sale)
        assert (report["skus"][0]["confirmed"], report["archive"]["orders"]) == (25, 30)
        # What was decided is said again, for ever.
        assert gateway.admin("POST", f"/admin/v1/orders/{ids[0]}/confirm").json["state"] == "confirmed"
        assert gateway.admin("POST", f"/admin/v1/orders/{ids[-1]}/cancel").json["state"] == "released"
        for order, action, code in ((ids[0], "cancel", "order_confirmed"), (ids[-1], "confirm", "order_cancelled")):
            answer = gateway.admin("POST", f"/admin/v1/orders/{order}/{action}")
            assert (answer.status, answer.code) == (409, code), answer
        answer = gateway.admin("POST", f"/admin/v1/sales/{sale}/skus/phone/adjust", {"delta": 5, "adjust_id": "late"})
        assert (answer.status, answer.code) == (410, "archived")
        answer = gateway.admin("POST", f"/admin/v1/sales/{sale}/rebuild", {})
        assert (answer.status, answer.code) == (410, "archived"), answer
        answer = gateway.admin("DELETE", f"/admin/v1/sales/{sale}", headers=ANY_VERSION)
        assert (answer.status, answer.code) == (409, "sale_has_orders")
        # A file that somebody has touched is found out, one that is gone is said.
        path = gateway.state / "archive" / f"{sale}.ndjson.zst"
        text = bytearray(path.read_bytes())
        text[len(text) // 2] ^= 1
        path.write_bytes(text)
        assert gateway.admin("GET", f"/admin/v1/sales/{sale}/audit").status == 500
        path.unlink()
        answer = gateway.admin("GET", f"/admin/v1/orders/{ids[0]}")
        assert (answer.status, answer.code) == (410, "archived"), answer


def memory_kib(gateway):
    for line in pathlib.Path(f"/proc/{gateway.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def test_a_rehearsal_is_deleted_with_what_is_held_of_it_and_leaves_nothing():
    with Gateway(settings=AT_ONCE) as gateway:
        sale = gateway.make_sale(stock=5000, rehearsal=True, per_user_cap=1)
        gateway.no_limits()
        ids = [gateway.buy(sale, f"user-{i}").json["order_id"] for i in range(1500)]
        size = (gateway.state / "journal.db").stat().st_size + (gateway.state / "journal.db-wal").stat().st_size
        assert gateway.sale(sale)["skus"][0]["held"] == 1500
        for path in ("", "?dry_run=1"):
            assert gateway.admin("DELETE", f"/admin/v1/sales/{sale}{path}", headers={"If-Match": '"77"'}).status == 412
        answer = gateway.admin("DELETE", f"/admin/v1/sales/{sale}", {"reason": "done"}, ANY_VERSION)
        assert answer.status == 204, answer
        assert gateway.admin("GET", f"/admin/v1/sales/{sale}").status == 404
        assert gateway.buy(sale, "late").status == 404
        assert gateway.admin("GET", f"/admin/v1/orders/{ids[0]}").status == 404
        wait_until(lambda: journal(gateway, "SELECT count(*) FROM records")[0][0] == 1, what="records gone")
        record = record_of(gateway, sale)
        assert record["discarded"] and record["rehearsal"] and record["orders"] == 1500 and record["skus"][0]["held"] == 1500
        assert not (gateway.state / "archive").exists()
        answer = gateway.admin("PUT", f"/admin/v1/sales/{sale}", {"opens_at": rfc3339(), "skus": [{"sku": "a", "stock": 1}]})
        assert answer.status == 409, answer
        live = gateway.make_sale(stock=3)
        assert gateway.buy(live, "ann").status == 202
        # The file itself gets shorter when the WAL is next copied into it.
        wait_until(lambda: journal(gateway, "PRAGMA page_count")[0][0] * 4096 < size / 4, what="pages returned")
        assert gateway.stop() == 0
        gateway.start()
        gateway.assert_books(live)
        assert gateway.admin("GET", f"/admin/v1/sales/{sale}").status == 404
        assert "sale_unknown" not in gateway.log_path.read_text()


def test_only_a_rehearsal_goes_without_an_archive():
    with Gateway(settings=AT_ONCE) as gateway:
        sale = gateway.make_sale(stock=5)
        assert gateway.buy(sale, "ann").status == 202
        answer = gateway.admin("DELETE", f"/admin/v1/sales/{sale}", headers=ANY_VERSION)
        assert (answer.status, answer.code) == (409, "sale_has_orders"), answer
        assert record_of(gateway, sale) is None


@pytest.mark.slow
def test_an_order_that_is_held_keeps_its_sale_out_of_the_archive():
    with Gateway(settings=AT_ONCE) as gateway:
        sale = gateway.make_sale(stock=5, reservation_ttl_s=8)
        over = gateway.make_sale(stock=5)
        order = gateway.buy(sale, "ann").json["order_id"]
        end(gateway, sale)
        end(gateway, over)
        wait_archived(gateway, over)
        assert gateway.sale(sale)["state"] == "ended"
        assert gateway.public("GET", f"/v1/orders/{order}", user="ann").status == 200
        wait_archived(gateway, sale)  # it expires
        assert gateway.admin("GET", f"/admin/v1/orders/{order}").json["reason"] == "expired"


def test_as_shipped_a_sale_stays_for_a_week():
    with Gateway() as gateway:
        sale, _ = sell(gateway)
        end(gateway, sale)
        over = gateway.make_sale("over", stock=1)
        end(gateway, over)
        gateway.settings["log"] = AT_ONCE["log"]
        assert gateway.sale(sale)["state"] == "settled"
        assert gateway.stop() == 0
        gateway.configure({})
        gateway.start()
        wait_archived(gateway, sale)


# --- What breaks meanwhile. ---

def not_archived(gateway, sale, words):
    wait_until(lambda: words in gateway.sale(sale).get("not_archived", ""), what=f"'{words}' in the sale's document")
    assert "sale_not_archived" in gateway.log_path.read_text()
    assert record_of(gateway, sale) is None
    other = gateway.make_sale(stock=1)
    assert gateway.buy(other, "ann").status == 202  # service goes on


@pytest.mark.slow
def test_a_directory_that_is_gone_is_said_and_nothing_is_dropped(tmp_path):
    """F27."""
    away = tmp_path / "archives"
    with Gateway(settings={**AT_ONCE, "archive": {"dir": str(away)}}) as gateway:
        sale, ids = sell(gateway)
        end(gateway, sale)
        not_archived(gateway, sale, str(away))
        assert gateway.public("GET", f"/v1/orders/{ids[0]}", user="user-0").json["state"] == "confirmed"
        away.mkdir()
        wait_archived(gateway, sale)
        assert "not_archived" not in gateway.sale(sale)
        assert lines_of(away / f"{sale}.ndjson.zst")[1] == record_of(gateway, sale)["last_hash"]


@pytest.mark.slow
def test_a_full_disk_is_said_and_nothing_is_dropped(tmp_path):
    """F27."""
    disk = Disk(tmp_path)
    with Gateway(settings=AT_ONCE, env=disk.env) as gateway:
        sale, ids = sell(gateway)
        disk.fail_writes((f"{sale}.ndjson.zst.new",))
        end(gateway, sale)
        not_archived(gateway, sale, "No space left")
        assert gateway.public("GET", f"/v1/orders/{ids[0]}", user="user-0").json["state"] == "confirmed"
        assert not list((gateway.state / "archive").iterdir())
        disk.heal()
        disk.fail_syncs((f"{sale}.ndjson.zst.new",))
        not_archived(gateway, sale, "syncing")
        disk.heal()
        wait_archived(gateway, sale)
        assert_archived(gateway, sale, ids)


@pytest.mark.slow
def test_an_archive_is_handed_to_a_command_and_only_its_good_end_counts(tmp_path):
    command, kept = tmp_path / "keep", tmp_path / "kept"
    command.write_text("#!/bin/sh\nexit 3\n")
    command.chmod(0o755)
    with Gateway(settings={**AT_ONCE, "archive": {"command": str(command)}}) as gateway:
        sale, ids = sell(gateway)
        end(gateway, sale)
        not_archived(gateway, sale, "status 3")
        command.write_text(f'#!/bin/sh\ncp "$1" {kept}\necho "$2" >> {tmp_path}/archived\n')
        wait_archived(gateway, sale)
        assert_archived(gateway, sale, ids)
        assert (tmp_path / "archived").read_text() == f"{sale}\n"
        assert lines_of(kept)[2] == record_of(gateway, sale)["sha256"]


def test_readers_are_answered_alike_before_while_and_after_a_sale_is_archived():
    """F27, I6: A confirmed order is never pending, unknown, or missing from a list, an export, a log or an audit."""
    with Gateway(settings=AT_ONCE) as gateway:
        gateway.no_limits()
        faults, asked = archive_under_readers([gateway], 6, 3, gateway.make_sale)
        assert not faults, (asked, faults[:5])


def test_an_order_of_an_archived_sale_is_found_by_its_request():
    with Gateway(settings=AT_ONCE) as gateway:
        sale = gateway.make_sale(stock=5)
        bought = gateway.buy(sale, "ann")
        request, order = bought.headers["x-request-id"], bought.json["order_id"]
        assert gateway.admin("POST", f"/admin/v1/orders/{order}/confirm").status == 200
        for archived in (False, True):
            found = gateway.admin("GET", f"/admin/v1/orders?sale={sale}&request_id={request}").lines()
            assert [(one["order_id"], one["state"]) for one in found] == [(order, "confirmed")]
            if not archived:
                end(gateway, sale)
                wait_archived(gateway, sale)


def test_an_archive_that_differs_is_kept_and_the_new_one_is_read(tmp_path):
    """F27: The log was restored from a backup: the archive of before may be the only proof of what it says."""
    with Gateway(settings=AT_ONCE) as gateway:
        sale, ids = sell(gateway)
        directory = gateway.state / "archive"
        directory.mkdir(mode=0o700)
        (directory / f"{sale}.ndjson.zst").write_bytes(b"of another history")
        end(gateway, sale)
        wait_archived(gateway, sale)
        assert (directory / f"{sale}.ndjson.zst").read_bytes() == b"of another history"
        new = directory / f"{sale}+2.ndjson.zst"
        assert lines_of(new)[2] == record_of(gateway, sale)["sha256"]
        gateway.wait_log('"archive_differs"')
        assert gateway.audit(sale)["archive"]["file"] == str(new)
        assert gateway.admin("GET", f"/admin/v1/orders/{ids[0]}").json["state"] == "confirmed"
        assert len(gateway.admin("GET", f"/admin/v1/orders?sale={sale}").lines()) == len(ids)


POINTS = {
    "the archive is being written": lambda gateway, path: path.with_name(path.name + ".new").exists(),
    "the archive is in its place": lambda gateway, path: path.exists(),
    "the record is in the log": lambda gateway, path: record_of(gateway, path.name.removesuffix(".ndjson.zst")),
    "records are being deleted": lambda gateway, path: journal(gateway, "SELECT dropped FROM meta")[0][0] > 0,
}


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_point_leaves_a_sale_archived_once_or_not_yet(point, tmp_path):
    """F27: A slow disk gives each point its time."""
    disk = Disk(tmp_path)
    with Gateway(settings=AT_ONCE, env=disk.env) as gateway:
        gateway.no_limits()
        sale, ids = sell(gateway, orders=90, confirmed=60)
        disk.order("write", (f"{sale}.ndjson.zst.new",), "delay 300000")
        disk.order("sync", (f"{sale}.ndjson.zst.new", "journal.db-wal"), "delay 200000")
        end(gateway, sale)
        path = gateway.state / "archive" / f"{sale}.ndjson.zst"
        wait_until(lambda: POINTS[point](gateway, path), what=point)
        gateway.kill()
        before = lines_of(path)[2] if path.exists() else None
        disk.heal()
        gateway.start()
        wait_archived(gateway, sale)
        assert_archived(gateway, sale, ids, 60)
        assert before in (None, lines_of(path)[2]), "one that is written anew is the same: a record may name it already"
