"""A start from fold.checkpoint shows what a start from the whole log shows; a checkpoint that is not of this log, or damaged, is not used."""
import shutil

import pytest
from penstock import Gateway


def orders_of(gateway, sale):
    return sorted((order["order_id"], order["state"], order["user"], order["idempotency_key"], order["quantity"], order["pay_by"], order["seq"])
                  for order in gateway.orders(sale))


def fill(gateway, sale, first, count):
    """Orders in every state."""
    ids = []
    for number in range(first, first + count):
        answer = gateway.buy(sale, f"user-{number}", key=f"018f3c5a-7d2e-7b31-9c04-{number:012x}" if number % 2 else f"key {number}".replace(" ", "-"))
        assert answer.status == 202, answer
        ids.append(answer.json["order_id"])
    for action, chosen in (("confirm", ids[::3]), ("cancel", ids[1::3])):
        for order_id in chosen:
            assert gateway.admin("POST", f"/admin/v1/orders/{order_id}/{action}").status == 200
    return ids


def assert_repeats_find_theirs(gateway, sale, number, order_id):
    key = f"018f3c5a-7d2e-7b31-9c04-{number:012x}" if number % 2 else f"key-{number}"
    again = gateway.buy(sale, f"user-{number}", key=key)
    assert again.status == 202 and again.json["order_id"] == order_id, again


@pytest.fixture
def filled():
    with Gateway() as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=500)
        yield gateway, sale, fill(gateway, sale, 0, 30)


def test_a_start_from_a_checkpoint_goes_on_where_the_end_was(filled):
    gateway, sale, ids = filled
    before = orders_of(gateway, sale)
    gateway.stop()
    assert (gateway.state / "fold.checkpoint").stat().st_mode & 0o777 == 0o600
    gateway.start()
    gateway.wait_log('"event":"checkpoint_loaded"', '"orders":30')
    assert orders_of(gateway, sale) == before
    for number in (0, 1, 2, 29):
        assert_repeats_find_theirs(gateway, sale, number, ids[number])
    assert gateway.sale(sale)["skus"][0]["available"] == 500 - 20
    gateway.assert_books(sale)


def test_a_kill_behind_a_checkpoint_loses_nothing(filled):
    """F28."""
    gateway, sale, ids = filled
    for turn in range(1, 4):
        gateway.stop()
        gateway.start()
        ids += fill(gateway, sale, 30 * turn, 30)
        state = gateway.admin("POST", f"/admin/v1/orders/{ids[2]}/cancel").status  # of before the checkpoint
        assert state == 200
        before = orders_of(gateway, sale)
        gateway.kill()
        gateway.start()
        assert orders_of(gateway, sale) == before
        assert_repeats_find_theirs(gateway, sale, 5, ids[5])
        gateway.assert_books(sale)


def test_a_damaged_checkpoint_is_thrown_away(filled):
    """F28."""
    gateway, sale, _ = filled
    before = orders_of(gateway, sale)
    for damage in (lambda data: data[:-1], lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:], lambda data: b"", lambda data: b"x" * 5000):
        gateway.stop()
        file = gateway.state / "fold.checkpoint"
        file.write_bytes(damage(file.read_bytes()))
        gateway.start()
        gateway.wait_log('"event":"checkpoint_refused"')
        assert orders_of(gateway, sale) == before
        gateway.assert_books(sale)


def test_a_checkpoint_of_another_state_of_the_journal_is_thrown_away(filled):
    """F28."""
    gateway, sale, _ = filled
    gateway.stop()
    shutil.copy(gateway.state / "journal.db", gateway.state / "backup.db")
    gateway.start()
    before = orders_of(gateway, sale)
    fill(gateway, sale, 100, 10)
    gateway.stop()
    shutil.copy(gateway.state / "backup.db", gateway.state / "journal.db")
    gateway.start()
    gateway.wait_log('"event":"checkpoint_refused"', "does not exist")
    assert orders_of(gateway, sale) == before
    gateway.assert_books(sale)
