"""A restart refuses nobody: the service manager keeps the sockets, the kernel queues who comes meanwhile, and the next process takes both."""
import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time

import pytest
from load import Connection, buy_bytes
from manager import Clicks, Managed, listening
from penstock import PATIENT_LOG, Gateway, call, free_port, wait_until

PUBLIC, ADMIN = "stored-public", "stored-admin"


@pytest.fixture
def place():
    """A directory with a short name: the path of a Unix socket has at most 107 bytes."""
    directory = tempfile.mkdtemp(dir="/tmp", prefix="pr-")
    yield directory
    shutil.rmtree(directory)


def ended(gateway):
    """What a start said that failed."""
    gateway.spawn()
    assert gateway.process.wait(30) == 1
    return gateway.log()


def buys(sale):
    return lambda number: buy_bytes(sale, f"u{number}", f"k{number}")


# --- Under load. ---


@pytest.mark.parametrize("kept", [0, 50], ids=["a connection a click", "kept connections"])
def test_a_restart_under_load_answers_every_click(kept):
    """By SIGTERM, as a package's upgrade does it: nobody has to ask twice."""
    with Managed(settings={"drain": {"delay_ms": 1000, "timeout_ms": 10000}, **PATIENT_LOG}) as gateway:
        gateway.no_limits()
        gateway.make_sale("sale", stock=200)
        with Clicks(buys("sale"), [gateway.port], kept=kept) as clicks:
            clicks.wait(1000)
            for _ in range(2):
                gateway.restart(signal.SIGTERM)
                clicks.wait(1000)
        clicks.assert_all_answered()
        assert clicks.statuses.keys() <= {202, 409, 503}, clicks.statuses
        assert clicks.statuses[202] >= 200, clicks.statuses
        gateway.assert_books("sale")


def test_a_kill_under_load_cuts_only_what_the_process_had_accepted():
    """A click that a dead process had accepted is asked once more, and all others wait for the next process."""
    with Managed(settings=PATIENT_LOG) as gateway:
        gateway.no_limits()
        gateway.make_sale("sale", stock=200)
        with Clicks(buys("sale"), [gateway.port], retries=True) as clicks:
            clicks.wait(1000)
            for _ in range(2):
                gateway.restart(signal.SIGKILL)
                clicks.wait(1000)
        clicks.assert_all_answered()
        assert clicks.statuses.keys() <= {202, 409, 503}, clicks.statuses
        gateway.assert_books("sale")


def test_who_comes_while_no_process_runs_waits_for_the_next_one():
    with Managed() as gateway:
        gateway.make_sale("sale", stock=10)
        gateway.kill()
        waiting = [Connection(gateway.port, 30) for _ in range(50)]
        operator = Connection(gateway.admin_port, 30)
        for number, connection in enumerate(waiting):
            connection.send(buy_bytes("sale", f"u{number}", f"k{number}"))
        operator.send(f"GET /admin/v1/sales/sale HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {gateway.token}\r\n\r\n".encode())
        gateway.spawn()
        assert {connection.answer()[0] for connection in waiting} <= {202, 409, 503}
        assert operator.answer()[0] in (200, 503)


def test_a_drain_answers_who_was_accepted_and_leaves_the_rest_in_the_queue():
    with Managed() as gateway:
        kept = Connection(gateway.port, 30)
        assert kept.ask(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")[0] == 200 and not kept.closing
        fresh = Connection(gateway.port, 30)
        time.sleep(0.2)  # accepted, and silent yet
        gateway.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        assert fresh.ask(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")[0] == 200 and fresh.closing
        gateway.process.wait(30)
        late = Connection(gateway.port, 30)
        late.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        gateway.spawn()
        assert late.answer()[0] == 200


# --- The store. ---


def test_the_sockets_are_stored_once_and_taken_back():
    with Managed() as gateway:
        assert gateway.names() == [ADMIN, PUBLIC, PUBLIC]
        before = [os.fstat(fd).st_ino for _, fd in gateway.stored]
        gateway.restart(signal.SIGTERM)
        assert [os.fstat(fd).st_ino for _, fd in gateway.stored] == before
        assert call(gateway.port, "GET", "/livez").status == 200
        assert [said for said in gateway.messages if "FDSTORE" in said and said["FDNAME"] == ADMIN] == [{"FDSTORE": "1", "FDNAME": ADMIN}]


@pytest.mark.parametrize("workers", [1, 3])
def test_with_other_workers_all_stored_sockets_are_served(workers):
    with Managed() as gateway:
        gateway.kill()
        gateway.configure({"workers": workers})
        waiting = [Connection(gateway.port, 30) for _ in range(40)]  # in the queues of both
        gateway.spawn()
        assert {connection.ask(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")[0] for connection in waiting} == {200}


def test_a_changed_address_drops_the_stored_sockets():
    with Managed() as gateway:
        old = gateway.port
        gateway.stop()
        gateway.configure({"listen": {"port": free_port()}})
        gateway.start()
        assert {"FDSTOREREMOVE": "1", "FDNAME": PUBLIC} in gateway.messages
        assert gateway.names() == [ADMIN, PUBLIC, PUBLIC]
        with pytest.raises(ConnectionRefusedError):
            call(old, "GET", "/livez")
        assert "stored_socket_dropped" in gateway.log_path.read_text()


def test_without_a_store_nothing_is_stored():
    with Managed(room=None) as gateway:
        assert gateway.names() == []
    with Managed(room=2) as gateway:
        assert gateway.names() == [] and "FileDescriptorStoreMax= of the unit is too small" in gateway.log_path.read_text()


def test_what_another_version_has_stored_is_removed():
    with Managed() as gateway:
        gateway.stop()
        other = listening()
        gateway.stored.append(("stored-future", os.dup(other.fileno())))
        gateway.stored.append((PUBLIC, os.open("/dev/null", os.O_RDONLY)))
        gateway.start()
        assert {"FDSTOREREMOVE": "1", "FDNAME": "stored-future"} in gateway.messages
        assert call(gateway.port, "GET", "/livez").status == 200
        other.close()


# --- Sockets of units. ---


@pytest.mark.parametrize("count", [1, 2, 5])
def test_sockets_of_units_are_served(count):
    """One is shared by both workers; several are dealt out to them."""
    public, admin = [listening()], listening()
    public += [listening(port=public[0].getsockname()[1]) for _ in range(count - 1)]
    ports = {"listen": {"port": public[0].getsockname()[1]}, "admin": {"port": admin.getsockname()[1]}}
    with Managed(settings=ports, handed=[("public", one) for one in public] + [("admin", admin)]) as gateway:
        assert {call(gateway.port, "GET", "/livez").status for _ in range(40)} == {200}
        assert gateway.admin("GET", "/admin/v1/sales").status == 200
        assert gateway.names() == []  # the manager has them


def test_a_unix_socket_of_a_unit_is_served(place):
    s = socket.socket(socket.AF_UNIX)
    s.bind(place + "/p.sock")
    s.listen()
    with Managed(settings={"listen": {"port": free_port(), "unix": {"path": place + "/p.sock"}}}, handed=[("public-unix", s)]):
        assert curl(place + "/p.sock", "/livez").startswith("200")
    assert os.path.exists(place + "/p.sock")  # it is the unit's


def test_what_is_no_socket_of_this_service_is_refused(place):
    plain, udp, unix = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX)
    unix.bind(place + "/x.sock")
    unix.listen()
    public = listening()
    port = public.getsockname()[1]
    for handed, why in (
            ([("public", plain)], "LISTEN_FDS: what is named public is no TCP stream socket that listens"),
            ([("public", udp)], "LISTEN_FDS: what is named public is no TCP stream socket that listens"),
            ([("public", unix)], "LISTEN_FDS: what is named public is no TCP stream socket that listens"),
            ([("public-unix", public)], "LISTEN_FDS: what is named public-unix is no Unix stream socket that listens"),
            ([("penstock.socket", public)], "LISTEN_FDNAMES: a socket is named penstock.socket, but only public, public-unix, admin and admin-unix are known"),
            ([("public-unix", unix)], "listen.unix.path: the settings say null, but the socket public-unix of the service manager is " + place),
            ([("public", public)], f"listen.port: the settings say 127.0.0.1 port {{}}, but the socket public of the service manager is bound to 127.0.0.1 port {port}")):
        gateway = Managed(handed=handed)
        assert why.format(gateway.port) in ended(gateway)
    other = Managed(settings={"listen": {"port": port, "host": "::1"}}, handed=[("public", public)])
    assert "the settings say ::1 port" in ended(other)


def test_sockets_for_another_process_are_left_alone():
    public = listening()
    with Managed(handed=[("public", public)], listen_env={"LISTEN_PID": "1"}) as gateway:
        assert gateway.port != public.getsockname()[1] and call(gateway.port, "GET", "/livez").status == 200


# --- The Unix socket. ---


def curl(path, url, *more):
    done = subprocess.run(["curl", "-sS", "-w", "\n%{http_code}", "--unix-socket", path, *more, "http://localhost" + url], text=True, capture_output=True, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return f"{status} {body}"


def test_the_public_listener_serves_a_unix_socket_whose_peers_are_trusted(place):
    path = place + "/public.sock"
    with Gateway(settings={"listen": {"port": free_port(), "unix": {"path": path, "mode": "0606"}}, "trusted_proxies": []}) as gateway:
        gateway.make_sale("sale", stock=1)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o606
        order = ["-d", '{"sku":"phone"}', "-H", "Content-Type: application/json", "-H", "X-User-Id: ann", "-H", "X-Forwarded-For: 198.51.100.7"]
        assert gateway.buy("sale", "ann").status == 401
        assert curl(path, "/v1/sales/sale/orders", *order).startswith("202")
    assert not os.path.exists(path)


def test_all_workers_serve_the_unix_socket(place):
    path = place + "/public.sock"
    with Gateway(settings={"listen": {"port": free_port(), "unix": {"path": path}}, "workers": 3}), contextlib.ExitStack() as stack:
        for _ in range(60):
            s = stack.enter_context(socket.socket(socket.AF_UNIX))
            s.connect(path)
            s.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            assert s.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_unix_socket_begins_with_a_proxy_header_too(place):
    path = place + "/public.sock"
    settings = {"listen": {"port": free_port(), "proxy_protocol": "v1", "unix": {"path": path}}, "trusted_proxies": []}
    gateway = Gateway(settings=settings).spawn()
    with gateway:
        wait_until(lambda: os.path.exists(path), what="the socket")
        assert wait_until(lambda: curl(path, "/readyz", "--haproxy-protocol").startswith("200"), what="readiness")
        with pytest.raises(subprocess.CalledProcessError):
            curl(path, "/livez")
        with socket.create_connection(("127.0.0.1", gateway.port)) as s, contextlib.suppress(ConnectionResetError):  # nobody is trusted there
            s.sendall(b"PROXY UNKNOWN\r\nGET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            assert s.recv(1) == b""


def test_a_stored_unix_socket_whose_file_is_gone_is_opened_again(place):
    path = place + "/public.sock"
    with Managed(settings={"listen": {"port": free_port(), "unix": {"path": path}}}) as gateway:
        assert gateway.names() == [ADMIN, PUBLIC, PUBLIC, "stored-public-unix"]
        gateway.stop()
        assert os.path.exists(path)
        gateway.start()
        assert curl(path, "/livez").startswith("200")
        gateway.stop()
        os.unlink(path)
        gateway.start()
        assert curl(path, "/livez").startswith("200") and gateway.names() == [ADMIN, PUBLIC, PUBLIC, "stored-public-unix"]


def test_one_path_is_for_one_listener(place):
    gateway = Gateway(settings={"listen": {"unix": {"path": place + "/a"}}, "admin": {"port": free_port(), "unix": {"path": place + "/a"}}})
    assert "admin.unix.path: the public listener has the same socket" in ended(gateway)
