"""The order log vouches for the audit log: while a sale is open it gets the head of each gateway's audit log once an hour."""
import hashlib
import json

import pytest
from clock import HOUR, Clock
from penstock import PATIENT_LOG, Gateway, wait_until
from test_ctl import OK, REFUSED, USAGE, Desk

HEAD = "penstock.desk.head.v1"


def heads(gateway, sale):
    return gateway.admin("GET", f"/admin/v1/sales/{sale}/log?after=0&limit=1000&type={HEAD}").lines()


@pytest.fixture()
def clocked(tmp_path):
    clock = Clock(tmp_path)
    with Gateway(settings=PATIENT_LOG, env=clock.env) as gateway:
        yield gateway, clock


class Hours:
    """Wall-clock time that passes."""

    def __init__(self, gateway, clock, sale):
        self.gateway, self.clock, self.sale, self.ahead = gateway, clock, sale, 0

    def until_heads(self, count, skip_s):
        """Skips time, and then a minute after the other, because the first head is due a minute after the sale was seen as open."""
        self.ahead += skip_s

        def look():
            self.ahead += 61
            self.clock.jump(self.ahead)
            return len(found := heads(self.gateway, self.sale)) >= count and found

        return wait_until(look, every=0.5, what=f"head {count}")


def test_an_open_sale_gets_the_head_each_hour_and_the_audit_log_is_checked_by_it(clocked, tmp_path):
    gateway, clock = clocked
    desk = Desk(tmp_path, gateway.admin_port, gateway.state / "admin.token")
    sale = gateway.make_sale(stock=10)
    hours = Hours(gateway, clock, sale)
    gateway.limit("user", rate=2)
    assert heads(gateway, sale) == []
    assert "0 hashes in the order log" in desk.out("audit", "verify", "--sale", sale)
    for hour in range(3):
        found = hours.until_heads(hour + 1, HOUR - 600 if hour > 0 else 0)
        assert len(found) == hour + 1
        gateway.limit("user", rate=3 + hour)
    lines = (gateway.state / "audit.log").read_bytes().splitlines(keepends=True)
    for head in found:
        line = lines[head["audit_seq"] - 1]
        assert json.loads(line)["seq"] == head["audit_seq"] and hashlib.sha256(line.rstrip(b"\n")).hexdigest() == head["head"]
        assert head["gateway"] == gateway.read("/admin/v1/settings").json["gateway"] and head["sale"] == sale
    assert "3 hashes in the order log" in desk.out("audit", "verify", "--sale", sale)
    assert gateway.admin("GET", f"/admin/v1/sales/{sale}/audit").json["ok"]

    # A chain that was made anew fits in itself, but not the heads.
    def chain(lines):
        prev, made = "0" * 64, []
        for line in lines:
            entry = json.loads(line)
            entry["prev"] = prev
            made.append(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
            prev = hashlib.sha256(made[-1].rstrip(b"\n")).hexdigest()
        return made

    changed = [line.replace(b'"rate":2,', b'"rate":9,') for line in lines]
    assert changed != lines
    (desk.directory / "changed.log").write_bytes(b"".join(chain(changed)))
    (desk.directory / "cut.log").write_bytes(b"".join(lines[:found[-1]["audit_seq"] - 1]))
    assert "the chain is intact" in desk.run("audit", "verify", "changed.log", status=OK).stdout
    assert "the order log of" in desk.run("audit", "verify", "changed.log", "--sale", sale, status=REFUSED).stderr
    assert "the chain is intact" in desk.run("audit", "verify", "cut.log", status=OK).stdout
    assert "ends with line" in desk.run("audit", "verify", "cut.log", "--sale", sale, status=REFUSED).stderr
    assert "0 hashes in the order log" in desk.out("audit", "verify", "cut.log", "--sale", sale, "--gateway", "another")

    # It is in the log for good: a start reads it back, and the sale's orders are none the worse.
    order = gateway.buy(sale, "ann")
    assert order.status == 202
    gateway.stop()
    gateway.start()
    assert heads(gateway, sale) == found
    assert gateway.admin("GET", f"/admin/v1/orders/{order.json['order_id']}").json["state"] == "accepted"
    assert gateway.admin("GET", f"/admin/v1/sales/{sale}/audit").json["ok"]


def test_records_of_one_type_are_given_out_alone(clocked):
    gateway, _ = clocked
    sale = gateway.make_sale(stock=10)
    assert gateway.buy(sale, "ann").status == 202
    answer = gateway.admin("GET", f"/admin/v1/sales/{sale}/log?after=0&type=penstock.order.accepted.v1")
    assert [line["type"] for line in answer.lines()] == ["penstock.order.accepted.v1"]
    last = answer.headers["penstock-last-seq"]
    answer = gateway.admin("GET", f"/admin/v1/sales/{sale}/log?after={last}&type=penstock.order.accepted.v1")
    assert answer.lines() == [] and answer.headers["penstock-last-seq"] == last
    assert gateway.admin("GET", f"/admin/v1/sales/{sale}/log?type=penstock.order.eaten.v1").status == 422
