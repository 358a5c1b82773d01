"""The listeners of the admin API. Clients that send nothing, partial requests or garbage keep no operator out. Beside the port there may be a
Unix socket."""
import contextlib
import grp
import os
import pathlib
import resource
import shutil
import socket
import stat
import subprocess
import threading
import time

import pytest
from examples import commands, paste
from penstock import Gateway, call, free_port, wait_until

CROWD = 400


def resident(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def connect(gateway):
    return socket.create_connection(("127.0.0.1", gateway.admin_port), 30)


def connect_unix(gateway):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(30)
    s.connect(gateway.settings["admin"]["unix"]["path"])
    return s


def unix_settings(directory, **more):
    return {"admin": {"port": free_port(), "unix": {"path": str(directory / "admin.sock"), **more}}}


@pytest.fixture
def place():
    """A directory with a short name: the path of a Unix socket has at most 107 bytes."""
    directory = pathlib.Path(subprocess.check_output(["mktemp", "-d", "/tmp/penstock-XXXXXX"], text=True).strip())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def gateway(place):
    with Gateway(settings=unix_settings(place)) as running:
        yield running


DOORS = {"port": connect, "unix": connect_unix}
SAID = {
    "nothing": b"",
    "half a head": b"GET /admin/v1/settings HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    "half a body": b"PUT /admin/v1/sales/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{",
    "no token": b"GET /admin/v1/settings HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a wrong token": b"GET /admin/v1/settings HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer pst_wrong\r\n\r\n",
    "answers not read": b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100,
    "garbage": os.urandom(4096),
}


def ask(connection, gateway):
    """One answer on a connection that stays open; its status."""
    connection.sendall(b"GET /admin/v1/tokens HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + gateway.token.encode() + b"\r\n\r\n")
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(1)
        assert more, "the connection ended"
        head += more
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    while length:
        length -= len(connection.recv(length))
    return int(head.split()[1])


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("said", SAID)
def test_a_crowd_keeps_no_operator_out(gateway, door, said):
    """More come all the time, as those are cut that say nothing."""
    crowd, end = [], threading.Event()
    known = DOORS[door](gateway)
    assert ask(known, gateway) == 200

    def probe():
        with contextlib.suppress(OSError):
            return call(gateway.admin_port, "GET", "/readyz", timeout=30).status == 200

    def come():
        while not end.is_set():
            with contextlib.suppress(OSError):
                s = DOORS[door](gateway)
                s.setblocking(False)
                crowd.append(s)
                s.send(SAID[said])
            while len(crowd) > CROWD:
                crowd.pop(0).close()
            end.wait(0.001)

    thread = threading.Thread(target=come)
    thread.start()
    try:
        wait_until(lambda: len(crowd) >= CROWD - 50, 60, what="a crowd")
        for _ in range(20):
            with DOORS[door](gateway) as fresh:
                assert ask(fresh, gateway) == 200
            assert ask(known, gateway) == 200  # who has shown a token keeps the connection
            time.sleep(0.02)
        wait_until(probe, 30, what="an answer without a token")
    finally:
        end.set()
        thread.join()
        for s in [*crowd, known]:
            s.close()
    assert gateway.process.poll() is None
    assert gateway.stop() == 0


# --- Bodies of strangers. ---


def send_long(gateway, token=None, size=1000000, chunked=False, path="/admin/v1/limits/user"):
    """A PUT of which only the end of the body is missing."""
    s = connect(gateway)
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    with contextlib.suppress(ConnectionError):
        s.sendall(f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{authorization}{length}\r\n\r\n".encode())
        s.sendall((f"{size:x}\r\n".encode() if chunked else b"") + b" " * (size - 1))
    return s


def status_of(s):
    with s, contextlib.suppress(ConnectionError):
        return int(s.recv(4096).split()[1])


@pytest.mark.parametrize("token", [None, "pst_wrong"])
@pytest.mark.parametrize("chunked", [False, True])
def test_nobody_without_a_token_fills_places_with_long_bodies(gateway, token, chunked):
    """The head says that it is refused: its body takes 4 KiB, not 1 MiB."""
    before = resident(gateway.process.pid)
    crowd = [send_long(gateway, token, chunked=chunked) for _ in range(100)]
    assert resident(gateway.process.pid) - before < 8 << 20
    assert gateway.admin("GET", "/admin/v1/sales").status == 200
    if not chunked:
        assert {status_of(s) for s in crowd} <= {401, 429, 503}
    for s in crowd:
        s.close()


def test_a_body_of_a_stranger_is_refused_as_before_and_one_of_an_operator_is_taken_whole(gateway):
    for token, size, status in ((None, 100, 401), (None, 5000, 401), (None, 2000000, 401), (gateway.token, 900000, 422), (gateway.token, 2000000, 413)):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = call(gateway.admin_port, "PUT", "/admin/v1/limits/user", b"{" + b" " * (size - 2) + b"}", {**headers, "Content-Type": "application/json", "If-Match": "*"})
        assert answer.status == status, (token, size, answer)
    wrong = {"Authorization": "Bearer pst_wrong", "Content-Type": "application/json"}
    seen = [call(gateway.admin_port, "PUT", "/admin/v1/limits/user", b" " * 100000, wrong).status for _ in range(12)]
    assert seen == [401] * 10 + [429] * 2  # each is counted once


# --- Pages of other sites. ---


def test_what_a_page_of_another_site_asks_is_refused_whatever_its_token(gateway):
    sale = gateway.make_sale()
    for site in ("cross-site", "same-site", "Cross-Site", "", "anything"):
        for method, path, body in (("GET", "/admin/v1/sales", None), ("HEAD", "/admin/v1/events", None), ("GET", "/admin/v1/nothing", None), ("GET", "/metrics", None),
                                   ("POST", f"/admin/v1/sales/{sale}/pause", {"reason": "not me"}), ("OPTIONS", "/admin/v1/sales", None)):
            answer = gateway.admin(method, path, body, headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"})
            assert answer.status == 403 and (method == "HEAD" or answer.code == "forbidden"), (site, method, path, answer)
    assert gateway.sale(sale)["state"] == "open"
    assert call(gateway.admin_port, "GET", "/admin/v1/sales", headers={"Sec-Fetch-Site": "cross-site"}).status == 403  # not 401: a token is no matter
    for site in ("same-origin", "none"):
        assert gateway.admin("GET", "/admin/v1/sales", headers={"Sec-Fetch-Site": site}).status == 200
        assert gateway.admin("POST", f"/admin/v1/sales/{sale}/pause", {"reason": "me"}, headers={"Sec-Fetch-Site": site}).status == 200
    assert call(gateway.admin_port, "GET", "/readyz", headers={"Sec-Fetch-Site": "cross-site"}).status == 200


# --- The Unix socket. ---


@pytest.mark.parametrize("page", ["docs/deploy.md", "docs/zh/deploy.md"])
def test_the_unix_socket_is_used_as_documented(gateway, tmp_path, page):
    sale = gateway.make_sale()
    (tmp_path / "header").write_text(f"Authorization: Bearer {gateway.token}\n")
    script = next(line for line in commands(page, "console").splitlines() if "--unix-socket" in line)
    output = paste(script, tmp_path, {"/root/admin.header": tmp_path / "header", "/run/penstock/admin.sock": gateway.settings["admin"]["unix"]["path"]})
    assert f'"sale":"{sale}"' in output


def test_operators_may_use_a_unix_socket(gateway):
    path = gateway.settings["admin"]["unix"]["path"]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660

    def curl(*arguments):
        return subprocess.run(["curl", "-sS", "--unix-socket", path, *arguments], text=True, capture_output=True, check=True).stdout

    sales = "http://localhost/admin/v1/sales/shoes"
    assert '"unauthenticated"' in curl(sales)
    token = ["-H", f"Authorization: Bearer {gateway.token}"]
    body = '{"opens_at":"2030-01-01T00:00:00Z","skus":[{"sku":"a","stock":1}]}'
    assert '"sale":"shoes"' in curl(*token, "-X", "PUT", "-H", "Content-Type: application/json", "-d", body, sales)
    assert '"misdirected"' in curl(*token, "-H", "Host: evil.example", sales)
    assert "penstock_answers_total" in curl("http://localhost/metrics")
    line = gateway.admin("GET", "/admin/v1/audit-log?limit=10").lines()[-1]
    assert (line["peer"], line["who"]) == ("unix", "first")
    assert gateway.stop() == 0
    assert not os.path.exists(path)


def test_wrong_tokens_on_the_socket_slow_nobody_on_the_port(gateway):
    for _ in range(12):
        with connect_unix(gateway) as s:
            s.sendall(SAID["a wrong token"])
            reply = s.recv(4096)
    assert reply.startswith(b"HTTP/1.1 429 "), reply
    assert gateway.admin("GET", "/admin/v1/tokens", token="pst_" + "x" * 43).status == 401
    assert gateway.admin("GET", "/admin/v1/tokens").status == 200


def test_mode_and_group_are_those_of_the_settings(place):
    group = grp.getgrgid(os.getgid()).gr_name
    with Gateway(settings=unix_settings(place, mode="0606", group=group)):
        is_ = os.stat(place / "admin.sock")
        assert (stat.S_IMODE(is_.st_mode), is_.st_gid) == (0o606, os.getgid())


def refusal(settings):
    """What a start that fails says."""
    gateway = Gateway(settings=settings).spawn()
    try:
        assert gateway.process.wait(20) == 1, gateway.log()
        return gateway.log()
    finally:
        gateway.__exit__()


def test_a_socket_left_behind_is_replaced(place):
    path = place / "admin.sock"
    with Gateway(settings=unix_settings(place)) as gateway:
        gateway.kill()
        assert path.exists()
        gateway.start()
        with connect_unix(gateway) as s:
            assert ask(s, gateway) == 200
        assert gateway.stop() == 0
    assert not path.exists()


def test_what_is_no_socket_or_belongs_to_another_stays_and_the_start_says_so(place):
    path = place / "admin.sock"
    path.write_text("mine")
    assert "penstock: admin.unix.path: " + str(path) + " is there and is no socket" in refusal(unix_settings(place))
    assert path.read_text() == "mine"
    path.unlink()
    (place / "real").write_text("mine")
    path.symlink_to(place / "real")
    assert "is no socket" in refusal(unix_settings(place)) and path.is_symlink()
    path.unlink()
    with Gateway(settings=unix_settings(place)) as gateway:
        assert f"penstock: admin.unix.path: another program listens on {path}" in refusal(unix_settings(place))
        with connect_unix(gateway) as s:
            assert ask(s, gateway) == 200
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        assert "another program listens" in refusal(unix_settings(place))
    path.unlink()
    assert "admin.unix.path: cannot listen on" in refusal(unix_settings(place / "no" / "directory"))
    assert "admin.unix.group: there is no group nobodys-group" in refusal(unix_settings(place, group="nobodys-group"))
    assert not path.exists()


@pytest.mark.parametrize("unix, fault", [
    ({"path": "admin.sock"}, "admin.unix.path: must be an absolute path"),
    ({"path": "/" + "x" * 107}, "admin.unix.path: "),
    ({"path": 7}, "admin.unix.path: "),
    ({"mode": "660x"}, 'admin.unix.mode: '),
    ({"mode": "1777"}, 'admin.unix.mode: must be a mode in octal, such as 0660, not "1777"'),
    ({"mode": "0880"}, 'admin.unix.mode: must be a mode in octal, such as 0660, not "0880"'),
    ({"mode": "66"}, "admin.unix.mode: "),
    ({"mode": 660}, "admin.unix.mode: "),
    ({"mode": None}, "admin.unix.mode: "),
    ({"group": ""}, "admin.unix.group: "),
    ({"socket": "/x"}, "admin.unix.socket: "),
])
def test_bad_settings_are_named(unix, fault):
    assert fault in refusal({"admin": {"port": 0, "unix": unix}})
