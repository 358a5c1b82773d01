"""Signals under load: what SIGTERM finishes, what SIGHUP leaves alone, what SIGSTOP costs, and what systemd is told."""
import fcntl
import os
import signal
import socket
import subprocess
import threading
import time

import pytest
from faults import Disk
from load import Connection, Load, assert_retries_find_their_orders, buy_bytes, judge
from penstock import PATIENT_LOG, PENSTOCK, Gateway, wait_until

STOCK = 1000000


def term(gateway):
    gateway.process.send_signal(signal.SIGTERM)


def ask_later(port, request):
    """Sends a request now; a function that waits for its answer."""
    connection, result = Connection(port, 30), []

    def wait():
        try:
            result.append(connection.ask(request))
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=wait)
    thread.start()

    def answer():
        thread.join(30)
        connection.close()
        return result[0]

    return answer


# --- SIGTERM ---


@pytest.mark.slow
def test_sigterm_under_load_serves_on_for_its_delay_and_loses_nothing():
    """F16."""
    with Gateway(settings={"drain": {"delay_ms": 4000}, **PATIENT_LOG}) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=STOCK)
        with Load(gateway, sale) as load:
            wait_until(lambda: load.promised() > 200, 30, what="orders")
            started = time.monotonic()
            term(gateway)
            wait_until(lambda: gateway.public("GET", "/readyz").status == 503, 3.5, what="readyz to fail")
            assert "[-]serving failed" in gateway.public("GET", "/readyz?verbose").text
            assert gateway.public("GET", "/livez").status == 200
            assert gateway.buy(sale, "late").json["state"] == "accepted"  # a new connection, a new order
            assert gateway.process.wait(30) == 0
            assert 3.9 < time.monotonic() - started < 30
            gateway.start()
            before = load.promised()
            wait_until(lambda: load.promised() > before + 200, 30, what="orders after the restart")
        judge(gateway, sale, [load], STOCK)
        assert_retries_find_their_orders(gateway, sale, [load])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_drain_answers_what_a_limit_holds_back(number):
    with Gateway(settings=PATIENT_LOG) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=10)
        gateway.limit("global", algorithm="leaky_bucket", key="global", rate=1, period_s=2, burst=1, max_wait_ms=10000,
                      applies_to=["order"], mode="enforce")
        assert gateway.buy(sale, "first").status == 202
        held = ask_later(gateway.port, buy_bytes(sale, "held", "k"))
        wait_until(lambda: "penstock_limit_waiting 1" in gateway.admin("GET", "/metrics").text, what="a held request")
        gateway.process.send_signal(number)
        status, body = held()
        assert status == 202 and b'"accepted"' in body, body
        assert gateway.process.wait(30) == 0


def test_a_drain_takes_the_rest_of_a_request_that_has_begun():
    with Gateway(settings=PATIENT_LOG) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=10)
        request = buy_bytes(sale, "slow", "k")
        connection = Connection(gateway.port, 30)
        connection.socket.sendall(request[:-10])
        idle = Connection(gateway.port, 30)  # says nothing: nobody waits for it
        assert idle.ask(buy_bytes(sale, "other", "k"))[0] == 202
        term(gateway)
        wait_until(lambda: gateway.process.poll() is not None or refuses(gateway.port), what="the listen sockets to close")
        time.sleep(0.5)
        status, body = connection.ask(request[-10:])
        assert status == 202 and b'"accepted"' in body and connection.closing, body
        assert gateway.process.wait(30) == 0


def refuses(port):
    try:
        Connection(port, 2).close()
        return False
    except OSError:
        return True


def test_a_drain_waits_for_the_log_and_tells_the_buyer(tmp_path):
    disk = Disk(tmp_path)
    with Gateway(settings={"log": {"ack_timeout_ms": 20000}, "drain": {"delay_ms": 0, "timeout_ms": 20000}}, env=disk.env) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=10)
        disk.hang_syncs()
        waits = [ask_later(gateway.port, buy_bytes(sale, f"u{i}", "k")) for i in range(5)]
        wait_until(lambda: gateway.sale(sale)["skus"][0]["in_doubt"] == 5, what="five reservations")
        term(gateway)
        time.sleep(0.5)
        assert gateway.process.poll() is None
        disk.heal()
        for wait in waits:
            status, body = wait()
            assert status == 202 and b'"accepted"' in body, body
        assert gateway.process.wait(30) == 0


@pytest.mark.slow
def test_a_disk_that_hangs_does_not_hold_up_the_end_for_ever(tmp_path):
    """Its orders were answered `pending`; whatever they are after the restart, the books agree."""
    disk = Disk(tmp_path)
    with Gateway(settings={"drain": {"delay_ms": 0, "timeout_ms": 1000}}, env=disk.env) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=10)
        disk.hang_syncs()
        bought = gateway.buy(sale, "ann", key="k")
        assert bought.json["state"] == "pending", bought
        term(gateway)
        assert gateway.process.wait(30) == 1  # it could not write all it had
        assert "log_not_flushed" in gateway.log()
        disk.heal()
        gateway.configure(PATIENT_LOG)
        gateway.start()
        assert gateway.buy(sale, "ann", key="k").json["state"] == "accepted"
        assert gateway.assert_books(sale)["skus"][0]["held"] == 1


@pytest.mark.slow
def test_a_control_store_that_hangs_does_not_hold_up_the_end_for_ever(tmp_path):
    disk = Disk(tmp_path)
    with Gateway(settings={"drain": {"delay_ms": 0, "timeout_ms": 1000}}, env=disk.env) as gateway:
        sale = gateway.make_sale(stock=10)
        disk.hang_syncs(("control.db-wal",))
        change = threading.Thread(target=lambda: pause_in_vain(gateway, sale))
        change.start()
        wait_until(lambda: disk.hangs("sync", "control.db-wal"), what="the change at the disk")
        term(gateway)
        assert gateway.process.wait(30) == 1
        change.join()
        disk.heal()
        gateway.start()
        assert gateway.sale(sale)["state"] in ("open", "paused")


def pause_in_vain(gateway, sale):
    try:
        assert gateway.admin("POST", f"/admin/v1/sales/{sale}/pause", timeout=60).status != 200
    except OSError:
        pass


def test_a_second_sigterm_cuts_the_delay_short_and_no_request():
    with Gateway(settings={"drain": {"delay_ms": 20000, "timeout_ms": 25000}, **PATIENT_LOG}) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=STOCK)
        with Load(gateway, sale) as load:
            wait_until(lambda: load.promised() > 100, 30, what="orders")
            term(gateway)
            wait_until(lambda: gateway.public("GET", "/readyz").status == 503, what="readyz to fail")
            started = time.monotonic()
            term(gateway)
            assert gateway.process.wait(30) == 0
            assert time.monotonic() - started < 15
            gateway.configure({"drain": {"delay_ms": 0}})
            gateway.start()
        judge(gateway, sale, [load], STOCK)
        assert_retries_find_their_orders(gateway, sale, [load])


def test_a_drain_does_not_wait_for_those_who_say_nothing():
    with Gateway(settings={"drain": {"delay_ms": 0, "timeout_ms": 25000}}) as gateway:
        silent = [Connection(gateway.port, 30) for _ in range(50)]
        started = time.monotonic()
        assert gateway.stop() == 0
        assert time.monotonic() - started < 10
        for connection in silent:
            assert connection.socket.recv(1) == b""
            connection.close()


# --- SIGHUP ---


def test_sighup_under_load_disturbs_nobody():
    with Gateway(settings=PATIENT_LOG) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=STOCK)
        with Load(gateway, sale) as load:
            for turn in range(30):
                gateway.configure({"logging": {"level": ("info", "debug")[turn % 2]}})
                gateway.process.send_signal(signal.SIGHUP)
                time.sleep(0.03)
        assert not any(result.unanswered for result in load.results)
        assert set(load.count()) == {"accepted"}
        judge(gateway, sale, [load], STOCK)


# --- While it starts ---


def starting(disk):
    """A gateway that hangs in its start: its journal's disk does."""
    disk.hang_syncs()
    gateway = Gateway(env=disk.env).spawn()
    wait_until(lambda: not refuses(gateway.port), 20, what="a listen socket")
    return gateway


def test_sighup_during_the_start_is_no_end(tmp_path):
    disk = Disk(tmp_path)
    with starting(disk) as gateway:
        for _ in range(3):
            gateway.process.send_signal(signal.SIGHUP)
            time.sleep(0.1)
        disk.heal()
        wait_until(lambda: gateway.process.poll() is not None or gateway.public("GET", "/readyz").status == 200, 20, what="readiness")
        assert gateway.process.poll() is None
        assert gateway.stop() == 0


def test_sigterm_during_the_start_ends_it(tmp_path):
    disk = Disk(tmp_path)
    with starting(disk) as gateway:
        term(gateway)
        assert gateway.process.wait(20) in (0, -signal.SIGTERM)
        disk.heal()
        gateway.start()
        assert gateway.stop() == 0


# --- A log that nobody reads ---


@pytest.mark.parametrize("how", ["stands_still", "is_gone"])
def test_a_reader_of_the_log_that_fails_holds_up_nothing(how):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    gateway = Gateway(settings=PATIENT_LOG)
    gateway.process = subprocess.Popen([str(PENSTOCK), "--config", str(gateway.config)], stderr=writer)
    os.close(writer)
    with gateway:
        if how == "is_gone":
            os.close(reader)
        wait_until(lambda: not refuses(gateway.port) and gateway.public("GET", "/readyz").status == 200, 20, what="readiness")
        gateway.no_limits()
        for i in range(100):  # each of these is a line
            assert gateway.admin("PUT", f"/admin/v1/blocklist/users/u{i}", {"reason": "x"}).status == 201
        sale = gateway.make_sale(stock=5)
        assert gateway.buy(sale, "ann").json["state"] == "accepted"
        started = time.monotonic()
        assert gateway.stop() == 0
        assert time.monotonic() - started < 20
    if how == "stands_still":
        os.close(reader)


# --- SIGSTOP ---


def test_a_gateway_that_is_stopped_for_a_while_loses_nothing():
    with Gateway(settings=PATIENT_LOG) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=STOCK)
        with Load(gateway, sale) as load:
            wait_until(lambda: load.promised() > 200, 30, what="orders")
            gateway.process.send_signal(signal.SIGSTOP)
            time.sleep(3)
            gateway.process.send_signal(signal.SIGCONT)
            before = load.promised()
            wait_until(lambda: load.promised() > before + 200, 30, what="orders again")
        judge(gateway, sale, [load], STOCK)
        assert_retries_find_their_orders(gateway, sale, [load])
        assert gateway.process.poll() is None and gateway.public("GET", "/readyz").status == 200
        assert "wall_clock_jumped" not in gateway.log()


# --- systemd ---


class Notified:
    """The socket that systemd would listen on."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(0.2)
        self.path, self.heard = str(path), []

    def wait_for(self, word, timeout=15):
        def came():
            try:
                self.heard += self.socket.recv(4096).decode().split("\n")
            except socket.timeout:
                pass
            return word in self.heard
        wait_until(came, timeout, what=word)

    def listen(self, seconds):
        self.heard.clear()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self.heard += self.socket.recv(4096).decode().split("\n")
            except socket.timeout:
                pass
        return self.heard


def test_systemd_is_told_of_readiness_life_and_the_end(tmp_path):
    notified = Notified(tmp_path / "notify")
    gateway = Gateway(env={"NOTIFY_SOCKET": notified.path, "WATCHDOG_USEC": "900000"},
                      prefix=["sh", "-c", 'WATCHDOG_PID=$$ exec "$0" "$@"'])
    with gateway.spawn():
        notified.wait_for("READY=1")
        assert gateway.public("GET", "/readyz").status == 200
        assert notified.heard.count("READY=1") == 1
        notified.wait_for("WATCHDOG=1")
        assert notified.listen(2).count("WATCHDOG=1") >= 2
        term(gateway)
        notified.wait_for("STOPPING=1")
        assert gateway.process.wait(30) == 0


def test_systemd_shows_what_the_gateway_does(tmp_path):
    """By STATUS=, which `systemctl status` prints."""
    notified = Notified(tmp_path / "notify")
    gateway = Gateway(env={"NOTIFY_SOCKET": notified.path}, settings={"drain": {"delay_ms": 500}})
    with gateway.spawn():
        notified.wait_for("STATUS=Starting: reads the order log")
        notified.wait_for(f"STATUS=Ready: listens on 127.0.0.1 port {gateway.port}, admin on 127.0.0.1 port {gateway.admin_port}")
        term(gateway)
        notified.wait_for("STATUS=Draining: finishes what it has accepted")
        assert gateway.process.wait(30) == 0


@pytest.mark.parametrize("settings, why", [({"listn": {}}, 'listn: is unknown; did you mean "listen"?'),
                                           ({"state_dir": "/proc/none\nREADY=1"}, "/proc/none?READY=1: cannot be created"),
                                           ({"listen": {"host": "192.0.2.1"}}, "listen.host: 192.0.2.1 is no address of this machine")])
def test_systemd_shows_why_a_start_failed(tmp_path, settings, why):
    notified = Notified(tmp_path / "notify")
    gateway = Gateway(env={"NOTIFY_SOCKET": notified.path}, settings=settings).spawn()
    assert gateway.process.wait(30) == 1
    status = [line for line in notified.listen(0.5) if line.startswith("STATUS=")][-1]
    assert status.startswith("STATUS=Failed: ") and why in status, status
    assert "READY=1" not in notified.heard


def test_systemd_hears_nothing_more_of_a_gateway_that_stands_still(tmp_path):
    notified = Notified(tmp_path / "notify")
    gateway = Gateway(env={"NOTIFY_SOCKET": notified.path, "WATCHDOG_USEC": "900000"},
                      prefix=["sh", "-c", 'WATCHDOG_PID=$$ exec "$0" "$@"'])
    with gateway.spawn():
        notified.wait_for("WATCHDOG=1")
        gateway.process.send_signal(signal.SIGSTOP)
        notified.listen(0.5)
        assert "WATCHDOG=1" not in notified.listen(1.5)
        gateway.process.send_signal(signal.SIGCONT)
        notified.wait_for("WATCHDOG=1")


def test_no_watchdog_is_fed_that_is_meant_for_another_process(tmp_path):
    notified = Notified(tmp_path / "notify")
    gateway = Gateway(env={"NOTIFY_SOCKET": notified.path, "WATCHDOG_USEC": "300000", "WATCHDOG_PID": str(os.getpid())})
    with gateway.spawn():
        notified.wait_for("READY=1")
        assert "WATCHDOG=1" not in notified.listen(1)
