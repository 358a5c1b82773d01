"""Audits of one gateway with a journal: what they find in a log that was changed, when they give way, and those that nobody asks for.
(A counter in Redis: test_cluster_audit.py; the rules one by one: tests/unit/audit_test.c.)"""
import json
import sqlite3
import uuid

import pytest
from load import Load, judge
from mutations import changed_record
from penstock import ANY_VERSION, PATIENT_LOG, Gateway, call, wait_until


def mixed_sale(gateway):
    sale = gateway.make_sale(stock=20)
    orders = [gateway.buy(sale, f"u{i}", key=f"k{i}").json["order_id"] for i in range(4)]
    for order, verb in ((orders[0], "confirm"), (orders[1], "cancel")):
        assert gateway.admin("POST", f"/admin/v1/orders/{order}/{verb}").status == 200
    for name, delta in (("more", 5), ("less", -3)):
        assert gateway.admin("POST", f"/admin/v1/sales/{sale}/skus/phone/adjust", {"delta": delta, "adjust_id": name}).status == 200
    gateway.assert_books(sale)
    return sale


def journal(gateway):
    return sqlite3.connect(gateway.state / "journal.db", timeout=30, isolation_level=None)


@pytest.mark.parametrize("how", ["deleted", "shifted"])
def test_every_record_that_is_gone_or_changed_is_named(gateway, how):
    """The gateway remembers what it has read: a log that has lost or changed an accepted record is found out while it runs."""
    sale = mixed_sale(gateway)
    db = journal(gateway)
    rows = db.execute("SELECT seq, sale, body FROM records WHERE sale = ? ORDER BY seq", (sale,)).fetchall()
    assert {json.loads(body)["type"].split(".")[2] for _, _, body in rows} == {"accepted", "confirmed", "released", "adjusted", "fenced"}
    for seq, name, body in rows:
        if how == "deleted":
            db.execute("DELETE FROM records WHERE seq = ?", (seq,))
        else:
            db.execute("UPDATE records SET body = ? WHERE seq = ?", (changed_record(body), seq))
        found = gateway.audit(sale)
        db.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", (seq, name, body))
        assert not found["ok"], (how, body)
        if how == "deleted" and "order.accepted" in body:
            assert ("lost", json.loads(body)["order_id"]) in [(v["rule"], v.get("order_id")) for v in found["violations"]], found
    db.close()
    gateway.assert_books(sale)


def test_a_sale_counted_anew_among_buyers_breaks_no_promise(gateway):
    sale = gateway.make_sale(stock=100000)
    with Load(gateway, sale) as load:
        for turn in range(4):
            reached = len(load.results)
            wait_until(lambda: len(load.results) > reached + 100, 60, what="more buyers")
            before = gateway.sale(sale)
            answer = gateway.admin("POST", f"/admin/v1/sales/{sale}/rebuild", {"reason": f"turn {turn}"})
            assert answer.status == 200 and before["state"] == "open", answer
            assert gateway.audit(sale)["ok"]
    wait_until(lambda: not any(sku["in_doubt"] for sku in gateway.audit(sale)["skus"]), 60, what="rest")
    judge(gateway, sale, [load], 100000)


def many_orders(gateway, sale, count):
    """More of the sale's only order, written into the journal behind the gateway's back."""
    gateway.stop()
    db = journal(gateway)
    last, body = db.execute("SELECT max(seq), (SELECT body FROM records WHERE sale = ? AND body LIKE '%accepted%') FROM records", (sale,)).fetchone()
    record = json.loads(body)
    db.execute("BEGIN")
    for number in range(count):
        record.update(order_id=str(uuid.UUID(int=(0x0190 << 112) | (7 << 76) | (2 << 62) | number)), user=f"user-{number}")
        db.execute("INSERT INTO records VALUES (?, ?, ?)", (last + 1 + number, sale, json.dumps(record, separators=(",", ":"))))
    db.execute("COMMIT")
    db.close()
    gateway.start()


def test_a_large_audit_gives_way_under_overload_and_a_small_one_does_not():
    with Gateway(settings=PATIENT_LOG) as own:
        large, small = own.make_sale(stock=20000), own.make_sale(stock=5)
        assert own.buy(large, "ann").status == 202
        many_orders(own, large, 10000)
        own.assert_books(large)
        own.override("feature:exports", "off")
        answer = own.admin("GET", f"/admin/v1/sales/{large}/audit")
        assert (answer.status, answer.code) == (503, "shed") and answer.json["violated-policies"] == ["exports"]
        own.assert_books(small)
        own.end_override("feature:exports")
        report = own.assert_books(large)
        assert report["skus"][0]["held"] == 10001


def metrics(gateway, name):
    return {line.split(" ")[0]: float(line.split(" ")[1]) for line in call(gateway.admin_port, "GET", "/metrics").text.splitlines() if line.startswith(name + "{")}


def test_a_sale_that_ends_is_audited_by_itself_until_all_is_settled(gateway):
    sale, other = gateway.make_sale(stock=5), gateway.make_sale(stock=5, rehearsal=True)
    order = gateway.buy(sale, "ann").json["order_id"]
    assert gateway.admin("POST", f"/admin/v1/orders/{order}/confirm").status == 200
    made = gateway.metric('penstock_audits_total{result="ok"}')
    for name in (sale, other):
        assert gateway.admin("POST", f"/admin/v1/sales/{name}/end", headers=ANY_VERSION).status == 200
    wait_until(lambda: gateway.metric('penstock_audits_total{result="ok"}') > made, 60, what="an audit")
    assert f'penstock_audit_ok{{sale="{sale}"}}' not in metrics(gateway, "penstock_audit_ok")  # nothing can change any more
    assert not [line for line in gateway.log().splitlines() if '"audit_violation"' in line and sale in line]


def test_an_audit_that_finds_something_shows_in_metrics_and_log(gateway):
    sale = mixed_sale(gateway)
    db = journal(gateway)
    seq, name, body = db.execute("SELECT seq, sale, body FROM records WHERE sale = ? AND body LIKE '%confirmed%'", (sale,)).fetchone()
    db.execute("DELETE FROM records WHERE seq = ?", (seq,))
    found = gateway.admin("POST", f"/admin/v1/sales/{sale}/end", headers=ANY_VERSION)
    assert found.status == 200
    label = f'{{sale="{sale}"}}'
    wait_until(lambda: metrics(gateway, "penstock_audit_ok").get("penstock_audit_ok" + label) == 0, 60, what="a violation")
    assert gateway.metric("penstock_audit_violations" + label) > 0 and gateway.metric("penstock_audit_timestamp_seconds" + label) > 1.7e9
    gateway.wait_log('"audit_violation"', sale)
    db.execute("INSERT INTO records VALUES (?, ?, ?)", (seq, name, body))
    db.close()
    gateway.assert_books(sale)
    assert metrics(gateway, "penstock_audit_ok")["penstock_audit_ok" + label] == 1  # two orders are still held


@pytest.mark.soak
def test_an_open_sale_is_audited_each_minute(gateway):
    sale = mixed_sale(gateway)
    label = f'penstock_audit_timestamp_seconds{{sale="{sale}"}}'
    first = gateway.metric(label)
    second = wait_until(lambda: (at := gateway.metric(label)) > first and at, 150, 0.5, "an audit")
    wait_until(lambda: gateway.metric(label) >= second + 59, 150, 0.5, "the next one")
