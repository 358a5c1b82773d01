"""`penstock --probe live` and `--probe ready`: what a container's health check runs. It asks the admin listener of the settings that it is given,
has two seconds for that whatever listens there, and says what it found in one line."""
import contextlib
import json
import signal
import socket
import subprocess
import threading
import time

import pytest
from penstock import PENSTOCK, Gateway, free_port


def probe(config, what="ready"):
    """(exit status, the line)"""
    done = subprocess.run([str(PENSTOCK), "--probe", what, "--config", str(config)], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    lines = (done.stdout + done.stderr).splitlines()
    assert len(lines) == 1, (done.stdout, done.stderr)
    return done.returncode, lines[0]


@contextlib.contextmanager
def listener(answer):
    """A server that calls answer(connection) for each; the settings of a gateway whose admin listener it pretends to be."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection = server.accept()[0]
                    with connection, contextlib.suppress(OSError):
                        answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def settings(tmp_path, **more):
    config = tmp_path / "penstock.json"
    config.write_text(json.dumps({"state_dir": str(tmp_path / "state"), **more}))
    return config


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "::1"])
def test_a_gateway_is_probed_wherever_its_admin_listener_is(host):
    with Gateway(settings={"admin": {"host": host, "port": free_port()}, "workers": 1}) as gateway:
        assert probe(gateway.config, "live") == (0, "live")
        assert probe(gateway.config, "ready") == (0, "ready")
        assert gateway.stop() == 0
        status, line = probe(gateway.config)
        assert status == 1 and line == f"not ready: the admin listener at {host} port {gateway.admin_port} cannot be reached: Connection refused"


def test_a_gateway_is_probed_by_its_unix_socket(tmp_path):
    """Also where the port is a free one, which nobody knows."""
    path = tmp_path / "admin.sock"
    with Gateway(tmp_path, settings={"admin": {"port": 0, "unix": {"path": str(path)}}, "workers": 1}) as gateway:
        assert probe(gateway.config) == (0, "ready")
        assert gateway.stop() == 0
        assert probe(gateway.config) == (1, f"not ready: the admin listener at {path} cannot be reached: No such file or directory")


def test_a_gateway_that_drains_is_live_and_not_ready():
    with Gateway(settings={"drain": {"delay_ms": 5000}, "workers": 1}) as gateway:
        gateway.process.send_signal(signal.SIGTERM)
        gateway.wait_log("draining")
        assert probe(gateway.config, "live") == (0, "live")
        assert probe(gateway.config, "ready") == (1, "not ready: status 503: failed: serving")


def test_a_port_that_nobody_knows_is_refused_by_the_name_of_its_setting(tmp_path):
    status, line = probe(settings(tmp_path, admin={"port": 0}))
    assert status == 1 and line.startswith("not ready: admin.port: 0 takes any free port")


def test_settings_that_are_wrong_are_named(tmp_path):
    status, line = probe(settings(tmp_path, admin={"prot": 1}))
    assert status == 1 and "admin.prot" in line


def test_another_word_is_refused():
    done = subprocess.run([str(PENSTOCK), "--probe", "well"], capture_output=True, text=True)
    assert done.returncode == 2 and 'live or ready, not "well"' in done.stderr


def test_who_is_silent_gets_two_seconds(tmp_path):
    with listener(lambda connection: connection.recv(1 << 20) and connection.recv(1)) as port:
        before = time.monotonic()
        assert probe(settings(tmp_path, admin={"port": port})) == (1, f"not ready: the admin listener at 127.0.0.1 port {port} does not answer within 2 s")
        assert 1.9 < time.monotonic() - before < 10


def test_who_sends_byte_after_byte_gets_two_seconds_for_all(tmp_path):
    def slowly(connection):
        for byte in b"HTTP/1.1 200 OK\r\n" * 100:
            connection.send(bytes([byte]))
            time.sleep(0.2)

    with listener(slowly) as port:
        before = time.monotonic()
        assert "does not answer within 2 s" in probe(settings(tmp_path, admin={"port": port}))[1]
        assert 1.9 < time.monotonic() - before < 10


HOSTILE = {
    "nothing": b"",
    "another protocol": b"-ERR unknown command\r\n",
    "a head cut short": b"HTTP/1.1 200 OK\r\nContent-Le",
    "a bare LF": b"HTTP/1.1 200 OK\n\n",
    "no end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
    "many fields": b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 2000 + b"\r\n",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_who_is_no_gateway_is_not_taken_for_one(tmp_path, what):
    with listener(lambda connection: connection.recv(4096) and connection.sendall(HOSTILE[what])) as port:
        status, line = probe(settings(tmp_path, admin={"port": port}))
    assert status == 1 and line.startswith("not ready: ") and len(line) < 400, line


def test_what_a_stranger_sends_is_not_printed(tmp_path):
    """Health checks' outputs are shown by other programs: no control bytes, one line, bounded."""
    body = b"[-]log\x1b[31m failed\n[-]\x07\n" + b"[-]" + b"a" * 10000 + b"\n[-]\n" * 100
    answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with listener(lambda connection: connection.recv(4096) and connection.sendall(answer)) as port:
        status, line = probe(settings(tmp_path, admin={"port": port}))
    assert status == 1 and line.startswith("not ready: status 503: failed: log") and line.isprintable() and len(line) < 400, line
