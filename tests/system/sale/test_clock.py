"""A wall clock that jumps by an hour: limits and deadlines do not notice, sales open and end by it, and no order expires
because of it. libfaketime moves the gateway's wall clock and leaves its monotonic one alone."""
import time

import pytest
from clock import HOUR, Clock
from load import Connection, buy_bytes
from penstock import PATIENT_LOG, Gateway, call, rfc3339, wait_until

@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path)


def make(clock, /, **settings):
    gateway = Gateway(env=clock.env, settings={**PATIENT_LOG, **settings}).start()
    gateway.no_limits()
    return gateway


def jumps(gateway):
    return gateway.log_path.read_text().count("wall_clock_jumped")


def state(gateway, sale, user):
    return next(o for o in gateway.orders(sale) if o["user"] == user)["state"]


@pytest.mark.slow
def test_no_order_expires_at_once_when_the_wall_clock_jumps(tmp_path):
    """F15: Two gateways jump, a third does not and shows that the time was ripe."""
    gateways, clocks = {}, {}
    try:
        for name in ("ahead", "back", "still"):
            (tmp_path / name).mkdir()
            clocks[name] = Clock(tmp_path / name)
            gateways[name] = make(clocks[name])
            gateways[name].make_sale("s", stock=2, opens_in=-2 * HOUR, reservation_ttl_s=5)
        for name in gateways:  # the orders' 5 s begin when all is ready
            assert gateways[name].buy("s", "ann", key="k").json["state"] == "accepted"
        clocks["ahead"].jump(HOUR)
        clocks["back"].jump(-HOUR)
        for name in ("ahead", "back"):
            wait_until(lambda: jumps(gateways[name]) == 1, what="a jump noticed")
            assert gateways[name].buy("s", "ann", key="k").json["state"] == "accepted"
        wait_until(lambda: state(gateways["still"], "s", "ann") == "released", 30, what="an expiry")
        time.sleep(1)
        for name in ("ahead", "back"):
            assert state(gateways[name], "s", "ann") == "accepted"
            assert gateways[name].assert_books("s")["skus"][0]["held"] == 1
            assert jumps(gateways[name]) == 1
        assert jumps(gateways["still"]) == 0
    finally:
        for gateway in gateways.values():
            gateway.__exit__()


def test_limits_go_by_the_time_that_has_passed(clock):
    """F15."""
    with make(clock) as gateway:
        sale = gateway.make_sale(stock=100, per_user_cap=100)
        gateway.limit("user", algorithm="token_bucket", key="user", rate=1, period_s=600, burst=1, mode="enforce")
        assert gateway.buy(sale, "ann").status == 202
        clock.jump(HOUR)
        assert gateway.buy(sale, "ann").code == "user_rate"  # the hour has not passed
        for algorithm in ("token_bucket", "fixed_window", "sliding_window"):
            clock.jump(0)
            gateway.limit("user", algorithm=algorithm, key="user", rate=1, period_s=1, burst=1, mode="enforce")
            wait_until(lambda: gateway.buy(sale, algorithm).code == "user_rate", every=0, what="a refusal")
            clock.jump(-HOUR // 4)
            clock.jump(0)
            wait_until(lambda: gateway.buy(sale, algorithm).status == 202, 15, every=0.2, what="a new unit of " + algorithm)


def test_limits_refill_while_the_wall_clock_stands_in_the_past(clock):
    with make(clock) as gateway:
        sale = gateway.make_sale(stock=100, opens_in=-2 * HOUR)
        gateway.limit("user", algorithm="token_bucket", key="user", rate=1, period_s=1, burst=1, mode="enforce",
                      applies_to=["order"])
        clock.jump(-HOUR)
        assert gateway.buy(sale, "ann").status == 202
        wait_until(lambda: gateway.buy(sale, "ann", key="other").code == "user_limit", 10, every=0.2, what="a new unit")


@pytest.mark.parametrize("seconds", [HOUR, -HOUR], ids=["ahead", "back"])
def test_deadlines_of_connections_go_by_the_time_that_has_passed(clock, seconds):
    """F15."""
    with make(clock, http={"head_timeout_ms": 1500, "body_timeout_ms": 1500}) as gateway:
        sale = gateway.make_sale(stock=10, opens_in=-2 * HOUR)
        request = buy_bytes(sale, "ann", "k")
        in_time, late = Connection(gateway.port, 30), Connection(gateway.port, 30)
        started = time.monotonic()
        for connection in (in_time, late):
            connection.socket.sendall(request[:-5])
        clock.jump(seconds)
        time.sleep(0.3)
        assert in_time.ask(request[-5:])[0] == 202  # not cut at once
        assert late.ask(b"")[0] == 408  # and not never
        assert 1.4 < time.monotonic() - started < 20
        for connection in (in_time, late):
            connection.close()


def test_windows_of_sales_follow_the_wall_clock(clock):
    """F15."""
    with make(clock) as gateway:
        later = gateway.make_sale(stock=5, opens_in=HOUR // 2)
        no = gateway.buy(later, "ann")
        assert no.code == "not_started" and int(no.headers["retry-after"]) > 1000
        clock.jump(HOUR)
        gateway.wait_state(later, "open")
        assert gateway.buy(later, "ann").json["state"] == "accepted"
        assert gateway.public("GET", f"/v1/sales/{later}").json["phase"] == "open"
        clock.jump(0)
        assert gateway.buy(later, "bob").code == "not_started"
        clock.jump(HOUR)
        assert gateway.buy(later, "bob").json["state"] == "accepted"
        gateway.assert_books(later)


def test_a_sale_ends_by_the_wall_clock(clock):
    with make(clock) as gateway:
        sale = gateway.make_sale(stock=5, closes_at=rfc3339(HOUR // 2))
        assert gateway.buy(sale, "ann", key="k").status == 202
        clock.jump(HOUR)
        assert gateway.buy(sale, "bob").code == "ended"
        assert gateway.buy(sale, "ann", key="k").status == 202  # ann still has the order
        assert call(gateway.port, "GET", f"/v1/sales/{sale}").json["phase"] == "ended"


@pytest.mark.parametrize("seconds", [HOUR, -HOUR], ids=["ahead", "back"])
def test_a_restart_under_another_time_keeps_order_and_books(clock, seconds):
    """A run that begins can only go by the wall clock: the orders here have three hours."""
    with make(clock) as gateway:
        sale = gateway.make_sale(stock=10, opens_in=-2 * HOUR, reservation_ttl_s=3 * HOUR)
        ids = [gateway.buy(sale, f"u{i}").json["order_id"] for i in range(3)]
        clock.jump(seconds)
        ids += [gateway.buy(sale, f"v{i}").json["order_id"] for i in range(3)]
        gateway.kill()
        gateway.start()
        ids += [gateway.buy(sale, f"w{i}").json["order_id"] for i in range(3)]
        clock.jump(0)
        ids.append(gateway.buy(sale, "x").json["order_id"])
        assert gateway.buy(sale, "y").code == "sold_out"
        assert [o["order_id"] for o in gateway.orders(sale)] == ids and len(set(ids)) == 10
        gateway.assert_books(sale)
        gateway.kill()
        gateway.start()
        assert [o["order_id"] for o in gateway.orders(sale)] == ids
        gateway.assert_books(sale)


AT_ONCE = {"log": {**PATIENT_LOG["log"], "archive_after_h": 0}}
DAYS = 8 * 24 * HOUR


def make_paid(gateway, **sale):
    """A sale that goes on for an hour, with a paid order."""
    name = gateway.make_sale(stock=5, opens_in=-2 * HOUR, closes_at=rfc3339(HOUR), **sale)
    order = gateway.buy(name, "ann").json["order_id"]
    assert gateway.admin("POST", f"/admin/v1/orders/{order}/confirm").status == 200
    return name


def is_archived(gateway, sale):
    return gateway.admin("GET", f"/admin/v1/sales/{sale}").json["state"] == "archived"


@pytest.mark.parametrize("starts", [False, True], ids=["while it runs", "at a start"])
def test_a_clock_that_is_days_ahead_for_a_moment_archives_nothing(clock, starts):
    """F15, F21: An archive is final, so the wall clock alone does not decide it."""
    with make(clock, **AT_ONCE) as gateway:
        sale = make_paid(gateway)
        if starts:
            gateway.kill()
        clock.jump(DAYS)
        if starts:
            gateway.start()
        for _ in range(8):
            time.sleep(1)
            assert not is_archived(gateway, sale)
        clock.jump(0)
        wait_until(lambda: gateway.buy(sale, "bob").status == 202, what="the sale goes on")
        gateway.assert_books(sale)


def test_each_jump_begins_the_rest_of_a_sale_anew_and_what_stays_due_is_archived(clock):
    with make(clock, **AT_ONCE, clock={"archive_rest_s": 8}) as gateway:
        sale = make_paid(gateway)
        for days in range(1, 4):
            clock.jump(days * DAYS)
            wait_until(lambda: jumps(gateway) == days, what="a jump noticed")
            last = time.monotonic()
            time.sleep(4)
            assert not is_archived(gateway, sale)
        wait_until(lambda: is_archived(gateway, sale), 30, what="an archive")
        assert time.monotonic() - last >= 8
        clock.jump(0)
        wait_until(lambda: jumps(gateway) == 4, what="a jump noticed")
        assert gateway.buy(sale, "bob").code == "ended"  # whatever its document says


def test_what_an_operator_has_ended_needs_no_clock(clock):
    with make(clock, **AT_ONCE) as gateway:
        sale = make_paid(gateway)
        assert gateway.admin("POST", f"/admin/v1/sales/{sale}/end", {}).status == 200
        wait_until(lambda: is_archived(gateway, sale), 30, what="an archive")


def test_a_start_days_ahead_deletes_no_document_that_is_in_force_by_the_right_time(clock):
    """F21: A block of an hour is not in force days later, but it stays until the clock is believed."""
    with make(clock) as gateway:
        sale = gateway.make_sale(stock=5, opens_in=-2 * HOUR, closes_at=rfc3339(30 * 24 * HOUR))
        assert gateway.admin("PUT", "/admin/v1/blocklist/users/eve", {"ttl_s": HOUR}).status < 300
        assert gateway.buy(sale, "eve").code == "blocked"
        gateway.kill()
        clock.jump(DAYS)
        gateway.start()
        assert gateway.buy(sale, "eve", key="a").status == 202
        gateway.limit("other", algorithm="token_bucket", key="user", rate=10, period_s=1, burst=1, mode="shadow")  # a change
        gateway.kill()
        clock.jump(0)
        gateway.start()
        assert gateway.buy(sale, "eve", key="b").code == "blocked"


def expired_since(gateway, ttl_s=5):
    """Until an order that is bought now has expired, and with it whatever else was due."""
    mark = gateway.make_sale(stock=1, opens_in=-2 * HOUR, reservation_ttl_s=ttl_s)
    gateway.buy(mark, "mark")
    wait_until(lambda: state(gateway, mark, "mark") == "released", 60, what="an expiry")


@pytest.mark.parametrize("seconds", [HOUR, 8 * 24 * HOUR, -HOUR, -8 * 24 * HOUR, -int(time.time())], ids=["1h", "8d", "-1h", "-8d", "1970"])
def test_no_order_expires_at_once_when_a_start_is_under_another_time(clock, seconds):
    """F21: Orders that the log shows at the start; those that are made after it expire in time."""
    with make(clock) as gateway:
        sale = gateway.make_sale(stock=10, opens_in=-2 * HOUR, closes_at=rfc3339(30 * 24 * HOUR), reservation_ttl_s=1800)
        assert gateway.buy(sale, "ann", key="k").json["state"] == "accepted"
        gateway.kill()
        clock.jump(seconds)
        gateway.start()
        if seconds > -HOUR:  # else no sale is open
            expired_since(gateway)
        else:
            clock.jump(0)
            wait_until(lambda: jumps(gateway) == 1, what="a jump noticed")
        assert state(gateway, sale, "ann") == "accepted"
        assert gateway.assert_books(sale)["skus"][0]["held"] == 1


# --- The long part. ---


@pytest.mark.soak
def test_an_order_has_the_time_that_the_log_left_it_whatever_the_time_at_the_start(clock):
    """F21: The clock stays an hour ahead; the order had 100 s when the gateway was stopped."""
    with make(clock) as gateway:
        sale = gateway.make_sale(stock=1, opens_in=-2 * HOUR, closes_at=rfc3339(24 * HOUR), reservation_ttl_s=100)
        bought = time.monotonic()
        assert gateway.buy(sale, "ann").json["state"] == "accepted"
        gateway.kill()
        clock.jump(HOUR)
        gateway.start()
        wait_until(lambda: state(gateway, sale, "ann") == "released", 150, what="an expiry")
        assert time.monotonic() - bought >= 100
        assert gateway.buy(sale, "bob").status == 202


@pytest.mark.soak
def test_a_clock_that_is_put_right_within_a_minute_of_the_start_does_no_harm(clock):
    """F21: Also where the log itself was written under the wrong time."""
    with make(clock) as gateway:
        sale = gateway.make_sale(stock=2, opens_in=-2 * HOUR, closes_at=rfc3339(24 * HOUR), reservation_ttl_s=1800)
        assert gateway.buy(sale, "ann").json["state"] == "accepted"
        clock.jump(HOUR)
        wait_until(lambda: jumps(gateway) == 1, what="a jump noticed")
        assert gateway.buy(sale, "bob").json["state"] == "accepted"
        gateway.kill()
        gateway.start()
        time.sleep(40)
        assert state(gateway, sale, "ann") == "accepted"
        clock.jump(0)
        wait_until(lambda: jumps(gateway) == 2, what="a jump noticed")
        time.sleep(70)
        assert state(gateway, sale, "ann") == "accepted"


@pytest.mark.soak
def test_a_clock_that_is_set_again_and_again_is_told(clock):
    """While it lasts nothing expires."""
    with make(clock) as gateway:
        sale = gateway.make_sale(stock=1, opens_in=-2 * HOUR, reservation_ttl_s=5)
        assert gateway.buy(sale, "ann").json["state"] == "accepted"
        assert gateway.metric("penstock_expiry_paused") == 0
        for number in range(1, 9):
            clock.jump(5 * (number % 2))
            wait_until(lambda: jumps(gateway) + gateway.log().count('"expiry_stalled"') == number, what="a jump noticed")
            assert gateway.metric("penstock_expiry_paused") == 1
            time.sleep(45)
            assert state(gateway, sale, "ann") == "accepted"
        assert '"event":"expiry_stalled"' in gateway.log()
        wait_until(lambda: state(gateway, sale, "ann") == "released", 60, what="an expiry")
        assert gateway.metric("penstock_expiry_paused") == 0


@pytest.mark.soak
def test_orders_expire_a_minute_after_the_clock_has_jumped(tmp_path):
    gateways = []
    try:
        for path, name in ((HOUR,), "ahead"), ((HOUR, 0), "ahead and back"), ((-HOUR, 0), "back and ahead"):
            (tmp_path / name).mkdir()
            clock = Clock(tmp_path / name)
            gateway = make(clock)
            gateways.append(gateway)
            gateway.make_sale("s", stock=1, opens_in=-2 * HOUR, reservation_ttl_s=5)
            assert gateway.buy("s", "ann").json["state"] == "accepted"
            for number, seconds in enumerate(path, 1):
                clock.jump(seconds)
                wait_until(lambda: jumps(gateway) == number, what="a jump noticed")
        time.sleep(50)
        assert [state(gateway, "s", "ann") for gateway in gateways] == ["accepted"] * 3
        for gateway in gateways:
            wait_until(lambda: state(gateway, "s", "ann") == "released", 60, what="an expiry")
            assert gateway.assert_books("s")["skus"][0]["available"] == 1
            assert gateway.buy("s", "bob").status == 202
    finally:
        for gateway in gateways:
            gateway.__exit__()
