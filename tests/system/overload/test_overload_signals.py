"""How loaded the gateway says it is: one sample for metrics and admin API, a history of ten minutes, and figures that show what really
happens to it: orders, a slow log, time in which it could not run, a CPU quota. What cannot be read is absent, never 0."""
import contextlib
import math
import pathlib
import re
import signal
import socket
import time

import pytest
from faults import Disk, processor
from load import Load
from penstock import Gateway, call, free_port, seeds, wait_until
from proxy import Proxy
from upstreams import Reply, Upstream

NAMES = {"loop_delay_ms", "requests_in_flight", "store_latency_ms", "log_latency_ms", "log_backlog", "process_cpu", "machine_cpu", "cpu_pressure",
         "memory", "memory_pressure", "connections", "admitted_rate"}


def overload(gateway, history_s=0):
    answer = gateway.admin("GET", f"/admin/v1/overload?history_s={history_s}")
    assert answer.status == 200, answer
    return answer.json


def values(gateway):
    return {name: one["value"] for name, one in overload(gateway)["signals"].items()}


def measured(gateway):
    """By signal: what the metrics show of values and shares, and the pressure."""
    text = call(gateway.admin_port, "GET", "/metrics").text
    value, share = ({name: float(figure) for name, figure in re.findall(rf'^{metric}{{signal="(\w+)"}} (\S+)$', text, re.M)}
                    for metric in ("penstock_overload_signal", "penstock_overload_signal_ratio"))
    return value, share, float(re.search(r"^penstock_overload_pressure_ratio (\S+)$", text, re.M)[1])


def series(gateway, name, history_s=600):
    """What the seconds of the history say of a signal, those without a figure left out."""
    return [point for point in overload(gateway, history_s)["history"]["signals"][name] if point is not None]


def test_metrics_and_api_show_one_sample(gateway):
    def same_sample():
        before = overload(gateway)
        shown = measured(gateway)
        return (before, shown) if overload(gateway)["at"] == before["at"] else None

    with Load(gateway, gateway.make_sale(stock=100000), threads=2, pause=0.01):
        for _ in range(5):
            said, (value, share, pressure) = wait_until(same_sample, what="two calls within a tenth of a second")
            signals = said["signals"]
            assert set(signals) == NAMES
            assert value == {name: one["value"] for name, one in signals.items() if one["value"] is not None}
            assert share == {name: one["share"] for name, one in signals.items() if one["share"] is not None}
            assert pressure == pytest.approx(said["pressure"], abs=6e-5)
            assert said["pressure"] == max(share.values()) == share[said["highest"]]
            time.sleep(0.13)


def test_a_share_is_the_weighted_value_of_its_threshold(gateway):
    for name, one in overload(gateway)["signals"].items():
        assert ("absent" in one) == (one["value"] is None), name
        if one["value"] is None or one["threshold"] == 0:
            assert one["share"] is None, name
        else:
            assert one["share"] == pytest.approx(one["weight"] * one["value"] / one["threshold"], rel=0.01, abs=1e-4), name


def test_the_counter_in_memory_has_no_latency(gateway):
    signals = overload(gateway)["signals"]
    assert signals["store_latency_ms"]["absent"] == "the counter is in memory"
    assert "store_latency_ms" not in measured(gateway)[0]
    assert "signal_absent" not in gateway.log()


@pytest.mark.slow
def test_orders_show_as_rate_latency_and_answers(gateway):
    def answered(verdict):
        return sum(overload(gateway, 600)["history"]["answers"].get(verdict, []))

    sale = gateway.make_sale(stock=40)
    time.sleep(3.1)  # the orders of tests before are in the history, and not among its last points below
    before = {verdict: answered(verdict) for verdict in ("accepted", "sold_out")}
    longest_ms, started = 0, time.monotonic()
    for i in range(60):
        began = time.monotonic()
        gateway.buy(sale, f"ann-{i}")
        longest_ms = max(longest_ms, (time.monotonic() - began) * 1000)
        time.sleep(max(0.0, started + 0.1 * (i + 1) - time.monotonic()))
    took_s = time.monotonic() - started
    time.sleep(2.1)
    # Each point is a rate: ten a second, also where a pause of the machine has made a second longer and the next one shorter.
    assert answered("accepted") - before["accepted"] == pytest.approx(40, abs=6)
    assert answered("sold_out") - before["sold_out"] == pytest.approx(20, abs=4)
    history = overload(gateway, math.ceil(time.monotonic() - started) + 1)["history"]
    assert max(history["signals"]["admitted_rate"]) >= 20 / max(1, took_s)
    assert 0 < max(history["signals"]["log_latency_ms"]) <= longest_ms * 1.07  # times are counted in steps of an eighth of an octave
    assert all(0 < p50 <= p99 for p50, p99 in zip(history["order_p50_ms"], history["order_p99_ms"]) if p50 is not None)
    assert any(p50 is not None for p50 in history["order_p50_ms"])
    wait_until(lambda: values(gateway)["admitted_rate"] == 0, what="the end")


def test_history_has_a_point_a_second_and_as_many_as_were_asked_for(gateway):
    wait_until(lambda: overload(gateway, 600)["history"]["points"] >= 4)
    for asked in (0, 1, 3):
        history = overload(gateway, asked)["history"]
        assert history["step_s"] == 1 and history["points"] == asked
        assert {len(history[name]) for name in ("pressure", "level", "shed_share", "order_p50_ms", "order_p99_ms")} == {asked}
        assert set(history["signals"]) == NAMES and {len(points) for points in history["signals"].values()} == {asked}
    for wrong in ("601", "11m", "1h30m", "m"):
        assert gateway.admin("GET", f"/admin/v1/overload?history_s={wrong}").status == 422
    assert gateway.admin("GET", "/admin/v1/overload?history_s=10m").status == 200
    assert gateway.admin("GET", "/admin/v1/overload?history=1").status == 422


def test_history_shows_the_level_second_by_second(gateway):
    gateway.override("level", 3)
    wait_until(lambda: overload(gateway, 2)["history"]["level"] == [3, 3], what="two seconds of it")
    gateway.end_override("level")
    levels = wait_until(lambda: (seen := overload(gateway, 60)["history"]["level"])[-2:] == [0, 0] and seen, what="two seconds after it")
    assert levels[levels.index(3):] == sorted(levels[levels.index(3):], reverse=True), levels
    assert set(overload(gateway)["history"]) >= {"level", "shed_share"} and set(overload(gateway, 3)["history"]["shed_share"]) == {0}


def test_who_may_only_look_may_look_and_nobody_else(gateway):
    viewer = gateway.admin("POST", "/admin/v1/tokens", {"role": "viewer"}).json["token"]
    assert gateway.admin("GET", "/admin/v1/overload", token=viewer).status == 200
    assert call(gateway.admin_port, "GET", "/admin/v1/overload").status == 401


def test_connections_and_requests_are_counted_by_every_worker(gateway):
    with Load(gateway, gateway.make_sale(stock=100000), threads=12, pause=0.01):
        wait_until(lambda: gateway.metric("penstock_connections") >= 12, what="all connections")
        wait_until(lambda: values(gateway)["connections"] == pytest.approx(12 / 20000, abs=2e-4), what="their share")


def held(gateway, count, data):
    """So many clients, each of which has sent this and does nothing more."""
    stack = contextlib.ExitStack()
    for _ in range(count):
        sock = stack.enter_context(socket.socket())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", gateway.port))
        sock.sendall(data)
    return stack


def only(name, **rule):
    """The ladder follows this signal alone."""
    signals = {**{other: {"threshold": 0} for other in NAMES}, name: rule}
    return {"seed": seeds({"overload": {"default": {"signals": signals}}})}


def signal_of(gateway, name):
    return overload(gateway)["signals"][name]


@pytest.mark.parametrize("data", [b"", b"GET /v1/sales/s HTTP/1.1\r\nHost: x\r\nX-Half: "], ids=["nothing", "half a head"])
def test_clients_who_hold_all_connections_do_not_raise_the_level(data):
    """They cost memory and no time: the others are served as before."""
    http = {"connections": 400, "connections_per_address": 0, "head_timeout_ms": 60000}
    with Gateway(settings={"workers": 1, "http": http, **only("connections")}) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=1000)
        with held(gateway, 390, data):
            wait_until(lambda: signal_of(gateway, "connections")["value"] > 0.9, what="the connections")
            for number in range(20):
                assert gateway.buy(sale, f"ann-{number}").status == 202
                assert gateway.public("GET", f"/v1/sales/{sale}").status == 200
                time.sleep(0.1)
            assert signal_of(gateway, "connections")["share"] < 0.6 and overload(gateway)["level"] == 0
        with held(gateway, 700, data):  # those above the limit are told so, and count no more
            wait_until(lambda: signal_of(gateway, "connections")["value"] == 1, what="the connections")
            time.sleep(1)
            assert overload(gateway)["level"] == 0 and signal_of(gateway, "connections")["share"] == 0.5


def test_a_request_is_in_flight_while_the_shop_has_it_and_not_while_its_client_sends_or_reads():
    """Thirty of each, where so many would raise the level."""
    page = {"path": "/", "pool": "web", "methods": ["GET", "POST"], "first_byte_ms": 30000, "total_ms": 60000}
    with Upstream(lambda request: b"b" * (1 << 20)) as shop, \
            Gateway(settings={"workers": 1, **only("requests_in_flight", threshold=25)}) as gateway:
        gateway.no_limits()
        assert gateway.admin("PUT", "/admin/v1/pools/web", {"endpoints": [{"address": shop.address}]}).status == 201
        assert gateway.admin("PUT", "/admin/v1/routes/all", page).status == 201
        readers = b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n"
        for length in (1000, 1000000):  # gathered, and an upload
            sender = b"POST /form HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.%d\r\nContent-Length: " + b"%d\r\n\r\nb" % length
            with held(gateway, 30, readers), contextlib.ExitStack() as senders:
                for number in range(30):
                    senders.enter_context(held(gateway, 1, sender.replace(b"%d", b"%d" % number)))
                wait_until(lambda: signal_of(gateway, "requests_in_flight")["value"] == 0, what="the answers that begin")
                time.sleep(1)
                assert signal_of(gateway, "requests_in_flight")["value"] == 0 and overload(gateway)["level"] == 0
        shop.freeze()
        with held(gateway, 30, readers):
            wait_until(lambda: signal_of(gateway, "requests_in_flight")["value"] >= 30 and overload(gateway)["level"] > 0, what="those that wait")
        shop.thaw()


def test_those_who_wait_for_another_requests_page_are_not_in_flight():
    """They cost nothing: 200 connections that ask for a slow page, where 25 would raise the level."""
    with Upstream(lambda request: Reply(200, "page", {"Cache-Control": "max-age=60"})) as shop, \
            Gateway(settings={"workers": 1, **only("requests_in_flight", threshold=25)}) as gateway:
        gateway.no_limits()
        page = {"path": "/", "pool": "web", "cache": {"store": "pages"}, "first_byte_ms": 30000, "total_ms": 60000}
        for path, document in (("caches/pages", {}), ("pools/web", {"endpoints": [{"address": shop.address}]}), ("routes/all", page)):
            assert gateway.admin("PUT", f"/admin/v1/{path}", document).status == 201
        shop.freeze()
        with held(gateway, 200, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"):
            wait_until(lambda: gateway.metric("penstock_connections") >= 200, what="all of them")
            time.sleep(1)
            assert 1 <= signal_of(gateway, "requests_in_flight")["value"] < 5 and overload(gateway)["level"] == 0
        shop.thaw()


def test_busy_processors_alone_do_not_raise_the_level():
    """What hurts others is the loop's delay, which is not judged here."""
    with processor(0.05) as prefix, Gateway(prefix=prefix, settings=only("process_cpu")) as gateway:
        gateway.no_limits()
        with Load(gateway, gateway.make_sale(stock=1), threads=24, timeout=30):
            wait_until(lambda: values(gateway)["process_cpu"] > 0.8, 30, what="the share")
            time.sleep(3)
            assert overload(gateway)["level"] == 0 and max(series(gateway, "process_cpu")) > 0.8
        gateway.kill()


def test_time_in_which_no_worker_runs_is_loop_delay(gateway):
    time.sleep(1.1)
    started = time.monotonic()
    assert gateway.process.poll() is None
    gateway.process.send_signal(signal.SIGSTOP)
    time.sleep(0.6)
    gateway.process.send_signal(signal.SIGCONT)
    wait_until(lambda: max(series(gateway, "loop_delay_ms", math.ceil(time.monotonic() - started)) or [0]) > 300, what="the delay")


def test_a_log_that_is_slow_raises_the_pressure_and_names_itself(tmp_path):
    disk = Disk(tmp_path)
    with Gateway(env=disk.env, settings={"log": {"ack_timeout_ms": 2000}}) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=100000)
        disk.slow_syncs(400_000)
        with Load(gateway, sale, threads=4):
            wait_until(lambda: overload(gateway)["highest"] == "log_latency_ms" and overload(gateway)["pressure"] > 1, what="the pressure")
        disk.hang_syncs()
        with Load(gateway, sale, threads=4):  # nothing ends any more: the age of what waits counts
            wait_until(lambda: overload(gateway)["signals"]["log_latency_ms"]["value"] > 1000, what="the latency")
        disk.heal()
        wait_until(lambda: overload(gateway)["signals"]["log_latency_ms"]["value"] == 0, what="its end")


def test_a_redis_that_is_slow_shows_in_the_latency_of_the_counter(redis):
    port = free_port()
    with Proxy() as proxy:
        proxy.route("redis", port, redis.port)
        with Gateway(settings={"store": {"kind": "redis", "redis": {"url": f"redis://127.0.0.1:{port}/0"}}}) as gateway:
            gateway.no_limits()
            sale = gateway.make_sale(stock=100000)

            def latency():
                latency = overload(gateway)["signals"]["store_latency_ms"]
                assert "absent" not in latency
                return latency

            def latency_ms():
                return latency()["value"]

            assert latency_ms() == 0  # nobody asks
            with Load(gateway, sale, threads=4):
                wait_until(lambda: 0 < latency_ms() < 60, what="a latency")
                proxy.set("redis", delay_ms=60)
                late = wait_until(lambda: 60 < (now := latency())["value"] < 400 and now, what="a latency with the delay")
                assert late["share"] > 1, late
                proxy.set("redis")
                wait_until(lambda: 0 < latency_ms() < 60, what="a latency without it")


def processor_s(gateway):
    """What the kernel has given to its threads."""
    return sum(int(task.read_text().split()[0]) for task in pathlib.Path(f"/proc/{gateway.process.pid}/task").glob("*/schedstat")) / 1e9


def test_processor_time_is_the_share_of_the_quota():
    """The same load: of a machine of cores it uses little, of a twentieth of one core everything."""
    with processor(0.05) as prefix, Gateway(prefix=prefix) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=1)
        with Load(gateway, sale, threads=24, timeout=30):
            wait_until(lambda: values(gateway)["process_cpu"] > 0.8, 30, what="the share")
            used, at, shares = processor_s(gateway), time.monotonic(), []
            while time.monotonic() < at + 3:
                shares.append((time.monotonic(), values(gateway)["process_cpu"]))
                time.sleep(0.1)
            used, passed = processor_s(gateway) - used, time.monotonic() - at
            # Nineteen twentieths of each period it may not run.
            wait_until(lambda: max(series(gateway, "loop_delay_ms") or [0]) > 50, 30, what="the delay")
        late = [share for when, share in shares if when > at + 1]  # each is of the second before it
        assert used / passed < 0.15  # it is far from using a machine
        assert sum(late) / len(late) == pytest.approx(used / passed / 0.05, rel=0.2)
        assert 0.7 < max(series(gateway, "process_cpu")) < 1.7
        gateway.kill()


HIDE = ("unshare", "-m", "sh", "-c", 'for at in $HIDDEN; do mount --bind /dev/null "$at" || exit 9; done; exec "$@"', "sh")


def test_what_cannot_be_read_is_absent_in_both_and_logged_once(tmp_path):
    """A kernel whose files are there and empty."""
    with Gateway(tmp_path, env={"HIDDEN": "/proc/meminfo /proc/stat /proc/pressure/memory"}, prefix=HIDE) as gateway:
        wait_until(lambda: overload(gateway, 600)["history"]["points"] >= 2, what="two seconds of history")
        signals = overload(gateway, 2)["signals"]
        value, share, _ = measured(gateway)
        for name, file in (("memory", "/proc/meminfo"), ("machine_cpu", "/proc/stat")):
            assert signals[name]["value"] is None and signals[name]["share"] is None
            assert file in signals[name]["absent"], signals[name]
            assert name not in value and name not in share
            assert set(overload(gateway, 2)["history"]["signals"][name]) == {None}
            assert sum(f'"signal":"{name}"' in line for line in gateway.log().splitlines() if '"signal_absent"' in line) == 1
        assert signals["connections"]["value"] == 0 and "absent" not in signals["connections"]
        assert call(gateway.port, "GET", "/readyz").status == 200
