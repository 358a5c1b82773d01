"""A journal or a control store whose disk is full, fails or hangs: nobody is promised what is not durable, what was
reserved is given back, pages are served on, and all goes on by itself when the disk is well again."""
import contextlib
import errno
import os
import subprocess
import threading
import time
import uuid

import pytest
from faults import CONTROL, Disk, mounted
from load import Load, assert_retries_find_their_orders, judge
from penstock import ANY_VERSION, Gateway, rfc3339, wait_until


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path)


def make(disk, settings=None):
    gateway = Gateway(settings=settings, env=disk.env).start()
    gateway.no_limits()
    return gateway


def ready(gateway):
    return gateway.public("GET", "/readyz").status == 200


def sku(gateway, sale):
    return gateway.sale(sale)["skus"][0]


def assert_away(gateway, sale, order_id, known=None):
    """What a gateway says while its journal is away. `known` is a user's confirmed-to-be-there order."""
    for path in ("/readyz", "/readyz?verbose"):
        assert gateway.public("GET", path).status == 503
    assert "[-]log failed" in gateway.public("GET", "/readyz?verbose").text
    assert gateway.public("GET", "/livez").status == 200
    assert gateway.public("GET", f"/v1/sales/{sale}").status == 200
    no = gateway.buy(sale, "nobody", key="n")
    assert (no.status, no.code) == (503, "log_unavailable") and int(no.headers["retry-after"]) >= 1, no
    assert gateway.public("GET", f"/v1/orders/{order_id}", user=known).json["state"] == "accepted"
    assert gateway.buy(sale, known, key="first").json["order_id"] == order_id
    for what in ("confirm", "cancel"):
        assert gateway.admin("POST", f"/admin/v1/orders/{order_id}/{what}").status == 503
    assert sku(gateway, sale)["available"] + sku(gateway, sale)["held"] + sku(gateway, sale)["in_doubt"] == 10


def assert_well(gateway, sale, user):
    wait_until(lambda: ready(gateway), 15, what="ready again")
    answer = gateway.buy(sale, user)
    assert (answer.status, answer.json["state"]) == (202, "accepted"), answer
    gateway.assert_books(sale)


# --- The journal. ---


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO], ids=["full", "read_only", "broken"])
def test_a_journal_that_cannot_be_written_refuses_orders_and_comes_back_by_itself(disk, error):
    """F13."""
    with make(disk) as gateway:
        sale = gateway.make_sale(stock=10)
        first = gateway.buy(sale, "ann", key="first").json["order_id"]
        disk.fail_writes(error=error)
        answer = gateway.buy(sale, "bob", key="b")
        assert (answer.status, answer.code) == (503, "log_unavailable"), answer
        assert sku(gateway, sale)["available"] == 9 and sku(gateway, sale)["in_doubt"] == 0
        assert_away(gateway, sale, first, known="ann")
        disk.heal()
        assert_well(gateway, sale, "bob")
        assert [o["user"] for o in gateway.orders(sale)] == ["ann", "bob"]
        assert sku(gateway, sale)["available"] == 8


def test_a_commit_that_fails_leaves_its_order_pending_until_a_record_closes_it(disk):
    """F13."""
    with make(disk, {"log": {"ack_timeout_ms": 3000}}) as gateway:
        sale = gateway.make_sale(stock=10)
        first = gateway.buy(sale, "ann", key="first").json["order_id"]
        disk.fail_syncs()
        answer = gateway.buy(sale, "bob", key="b")
        assert (answer.status, answer.json["state"]) == (202, "pending"), answer
        order = f"/v1/orders/{answer.json['order_id']}"
        assert gateway.public("GET", order, user="bob").json["state"] == "pending"
        assert sku(gateway, sale)["in_doubt"] == 1
        assert gateway.buy(sale, "bob", key="b").code == "log_unavailable"  # and no second order for the key
        assert sku(gateway, sale)["in_doubt"] == 1
        assert_away(gateway, sale, first, known="ann")
        disk.heal()
        wait_until(lambda: ready(gateway), 15, what="ready again")
        assert sku(gateway, sale)["in_doubt"] == 0
        log = gateway.admin("GET", f"/admin/v1/sales/{sale}/log").lines()
        records = [(r["type"], r.get("reason")) for r in log if r.get("order_id") == answer.json["order_id"]]
        rejected = ("penstock.order.released.v1", "rejected")
        came_back = records == [("penstock.order.accepted.v1", None), rejected]
        assert came_back or records == [rejected], records
        final = gateway.public("GET", order, user="bob")
        if came_back:
            assert final.json["state"] == "accepted", final
        else:  # the record that closes an order does not name its buyer, who finds none
            assert final.status == 404, final
        assert_well(gateway, sale, "cat")
        mine = gateway.buy(sale, "bob", key="b").json  # the key is free, and so is the unit
        assert mine["state"] == "accepted" and (mine["order_id"] == answer.json["order_id"]) == came_back
        gateway.assert_books(sale)


@pytest.mark.parametrize("healed_first", [True, False], ids=["healed_first", "while_it_fails"])
def test_a_kill_after_a_failed_commit_leaves_one_truth(disk, healed_first):
    """F13."""
    with make(disk, {"log": {"retry_ms": 60000}}) as gateway:
        sale = gateway.make_sale(stock=10)
        gateway.buy(sale, "ann")
        disk.fail_syncs()
        bought = gateway.buy(sale, "bob", key="b")
        assert bought.json["state"] == "pending", bought
        if healed_first:
            disk.heal()
        gateway.kill()
        disk.heal()
        gateway.start()
        order = gateway.public("GET", f"/v1/orders/{bought.json['order_id']}", user="bob")
        mine = gateway.buy(sale, "bob", key="b").json
        assert mine["state"] == "accepted", mine
        if order.status == 200:  # the commit was there after all
            assert order.json["state"] == "accepted" and mine["order_id"] == bought.json["order_id"]
        else:
            assert order.status == 404 and mine["order_id"] != bought.json["order_id"]
        gateway.assert_books(sale)
        assert sku(gateway, sale)["held"] == 2


def serves(gateway):
    with contextlib.suppress(OSError):
        return gateway.public("GET", "/livez").status == 200
    return False


def test_a_start_on_a_slow_disk_tells_what_the_log_has_and_nothing_definite_that_is_wrong(disk):
    """Opened sales are not served yet: their new epoch is still being written."""
    with make(disk) as gateway:
        sale, over = gateway.make_sale(stock=10), gateway.make_sale(stock=10)
        order, ended = gateway.buy(sale, "ann", key="a").json["order_id"], gateway.buy(over, "ann", key="e").json["order_id"]
        assert gateway.admin("POST", f"/admin/v1/sales/{over}/end", {}).status == 200
        adjust = f"/admin/v1/sales/{sale}/skus/phone/adjust", {"delta": 5, "adjust_id": "more"}
        assert gateway.admin("POST", *adjust).status == 200
        gateway.kill()
        disk.order("write", ["journal.db-wal"], "delay 1000000")  # for each page
        gateway.spawn()
        wait_until(lambda: serves(gateway), 60, what="a page")
        page = gateway.public("GET", f"/v1/sales/{sale}")
        assert (page.json["skus"][0]["available"], page.headers["cache-control"]) == (14, "no-store"), page
        for name, known, key in ((sale, order, "a"), (over, ended, "e")):
            assert [o["order_id"] for o in gateway.public("GET", f"/v1/sales/{name}/orders", user="ann").json["orders"]] == [known]
            assert gateway.buy(name, "ann", key=key).json["order_id"] == known
        assert gateway.buy(over, "bob").code == "ended"
        assert gateway.buy(sale, "bob").status == 503
        assert (answer := gateway.admin("POST", *adjust)).status == 503, answer
        disk.heal()
        assert_well(gateway, sale, "bob")
        again = gateway.admin("POST", *adjust)
        assert (again.status, again.json["adjustments"], again.json["available"]) == (200, 15, 13), again
        assert "max-age" in gateway.public("GET", f"/v1/sales/{sale}").headers["cache-control"]


def test_a_disk_that_hangs_makes_orders_pending_and_then_accepted(disk):
    with make(disk, {"log": {"ack_timeout_ms": 200}}) as gateway:
        sale = gateway.make_sale(stock=10)
        disk.hang_syncs()
        answers = [gateway.buy(sale, f"u{i}", key="k") for i in range(3)]
        assert [t.json["state"] for t in answers] == ["pending"] * 3, answers
        assert gateway.public("GET", f"/v1/sales/{sale}").status == 200
        again = gateway.buy(sale, "u0", key="k")
        assert (again.status, again.json["order_id"], again.json["state"]) == (202, answers[0].json["order_id"], "pending")
        assert again.headers["idempotency-replayed"] == "true"
        disk.heal()
        for i, t in enumerate(answers):
            wait_until(lambda: gateway.public("GET", f"/v1/orders/{t.json['order_id']}", user=f"u{i}").json["state"] == "accepted")
        gateway.assert_books(sale)


def test_a_queue_that_is_full_sheds_before_it_touches_stock(disk):
    with make(disk, {"log": {"ack_timeout_ms": 200, "queue": 64, "batch_max": 8}}) as gateway:
        sale = gateway.make_sale(stock=1000)
        disk.hang_syncs()
        answers = []
        threads = [threading.Thread(target=lambda t=t: answers.extend(gateway.buy(sale, f"u{t}-{i}") for i in range(12)))
                   for t in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        pending = [a for a in answers if a.status == 202]
        refused = [a for a in answers if a.status == 503]
        assert len(pending) + len(refused) == 120 and refused, [a for a in answers if a.status not in (202, 503)]
        assert all(a.json["state"] == "pending" for a in pending) and {a.code for a in refused} == {"log_backlog"}
        assert sku(gateway, sale)["in_doubt"] == len(pending)
        disk.heal()
        wait_until(lambda: sku(gateway, sale)["in_doubt"] == 0)
        assert sku(gateway, sale)["held"] == len(pending)
        assert_well(gateway, sale, "after")


def test_faults_under_load_lose_no_promise_and_no_unit(disk):
    """F13."""
    stock = 100000
    with make(disk) as gateway:
        sale = gateway.make_sale(stock=stock)
        with Load(gateway, sale) as load:
            for turn in range(6):
                before = load.promised()
                wait_until(lambda: load.promised() > before + 50, 20, what="orders between two faults")
                if turn % 3 == 0:
                    disk.fail_writes()
                elif turn % 3 == 1:
                    disk.fail_syncs()
                else:
                    disk.fail_syncs(once=True)
                time.sleep(0.4)
                disk.heal()
        wait_until(lambda: ready(gateway), 15, what="ready again")
        judge(gateway, sale, [load], stock)
        gateway.kill()
        gateway.start()
        judge(gateway, sale, [load], stock)
        pending = [t for t in load.results if t.status == 202 and not t.promised]
        for result in pending:
            order = gateway.public("GET", f"/v1/orders/{result.order_id}", user=result.user)
            assert order.status == 404 or order.json["state"] in ("accepted", "released"), order
        assert_retries_find_their_orders(gateway, sale, [load])


def fill(path):
    with open(path, "wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC


def test_a_file_system_without_room_refuses_and_recovers(tmp_path):
    """F13."""
    stock = 100000
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=12m,mode=0700", "none") as done:
        if not done:
            pytest.fail("needs the right to mount a file system")
        with Gateway(directory=tmp_path / "small") as gateway:
            gateway.log_path = tmp_path / "log"
            gateway.no_limits()
            sale = gateway.make_sale(stock=stock)
            with Load(gateway, sale) as load:
                wait_until(lambda: load.promised() > 100, 20, what="orders")
                fill(tmp_path / "small" / "filler")
                wait_until(lambda: gateway.buy(sale, "probe-" + os.urandom(4).hex()).code == "log_unavailable", 60,
                           what="a full disk noticed")
                assert gateway.public("GET", "/readyz").status == 503
                assert gateway.public("GET", f"/v1/sales/{sale}").status == 200
                (tmp_path / "small" / "filler").unlink()
                wait_until(lambda: ready(gateway), 15, what="ready again")
                before = load.promised()
                wait_until(lambda: load.promised() > before + 100, 20, what="orders again")
            judge(gateway, sale, [load], stock)
            gateway.kill()
            gateway.start()
            judge(gateway, sale, [load], stock)
            assert_retries_find_their_orders(gateway, sale, [load])


def test_a_limit_on_file_sizes_is_a_full_disk_and_no_death():
    """The kernel sends a deadly signal with it."""
    stock = 100000
    with Gateway(prefix=["prlimit", f"--fsize={1 << 20}:unlimited"]) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=stock)
        with Load(gateway, sale) as load:
            wait_until(lambda: load.count()["log_unavailable"], 60, what="a journal at its limit")
            assert gateway.public("GET", f"/v1/sales/{sale}").status == 200
            large = {"opens_at": rfc3339(3600), "skus": [{"sku": f"{n:064}", "stock": 1} for n in range(100)]}
            wait_until(lambda: gateway.admin("PUT", f"/admin/v1/sales/{uuid.uuid4()}", large).status == 503, 60,
                       what="a control store at its limit")
            assert gateway.process.poll() is None
            subprocess.run(["prlimit", "--pid", str(gateway.process.pid), "--fsize=unlimited:unlimited"], check=True)
            wait_until(lambda: ready(gateway), 15, what="ready again")
            assert gateway.admin("PUT", "/admin/v1/blocklist/users/x", {"reason": "x"}).status == 201
        judge(gateway, sale, [load], stock)


# --- The control store. ---


def test_a_control_store_that_cannot_be_written_refuses_changes_and_changes_nothing(disk):
    with make(disk) as gateway:
        sale = gateway.make_sale(stock=10)
        rule = gateway.admin("GET", "/admin/v1/limits/user").json
        before = gateway.sale(sale)
        disk.fail_writes(CONTROL)
        document = {"opens_at": rfc3339(-1), "skus": [{"sku": "phone", "stock": 1}]}
        attempts = [("PUT", "/admin/v1/sales/new", document), ("POST", f"/admin/v1/sales/{sale}/pause", None),
                    ("PUT", "/admin/v1/limits/user", {**rule, "rate": 99, "mode": "enforce"}),
                    ("PUT", "/admin/v1/blocklist/users/ann", {"reason": "x"})]
        for method, path, body in attempts:
            answer = gateway.admin(method, path, body, ANY_VERSION if path.endswith("limits/user") else None)
            assert answer.status == 503, (path, answer)
        assert gateway.admin("GET", "/admin/v1/sales/new").status == 404
        assert gateway.sale(sale) == before
        assert gateway.admin("GET", "/admin/v1/limits/user").json == rule
        assert gateway.buy(sale, "ann").json["state"] == "accepted"  # neither paused nor blocked; the journal is another file
        disk.heal()
        for method, path, body in attempts:
            answer = gateway.admin(method, path, body, ANY_VERSION if path.endswith("limits/user") else None)
            assert answer.status in (200, 201, 204), (path, answer)
        gateway.wait_state(sale, "paused")
        assert gateway.buy(sale, "bob").code == "paused"


def test_a_sale_that_cannot_be_noted_as_opened_opens_when_it_can(disk):
    with make(disk) as gateway:
        sale = gateway.make_sale(stock=5, opens_in=7)  # opened from 2 s before opens_at on
        disk.fail_writes(CONTROL)
        wait_until(lambda: "opening_not_noted" in gateway.log(), 20, what="a failed opening")
        disk.heal()
        wait_until(lambda: "sale_served" in gateway.log(), what="the opening")
        gateway.kill()
        gateway.start()
        report = gateway.assert_books(sale)
        assert report["skus"][0]["adjustments"] == report["skus"][0]["available"] == 5


@pytest.mark.slow
def test_a_control_commit_that_fails_is_not_in_force(disk):
    with make(disk) as gateway:
        sale = gateway.make_sale(stock=10)
        disk.fail_syncs(CONTROL)
        # What the file holds is unknown, so nothing is said before it can be read again, or the request's time is over.
        assert gateway.admin("POST", f"/admin/v1/sales/{sale}/pause", timeout=30).status == 503
        assert gateway.sale(sale)["state"] == "open" and gateway.buy(sale, "ann").status == 202
        disk.heal()
        assert gateway.admin("POST", f"/admin/v1/sales/{sale}/pause").status == 200
        gateway.kill()
        gateway.start()
        assert gateway.sale(sale)["state"] == "paused"
        assert gateway.admin("POST", f"/admin/v1/sales/{sale}/resume").status == 200
        assert gateway.buy(sale, "bob").status == 202
