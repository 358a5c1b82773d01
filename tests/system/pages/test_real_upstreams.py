"""Shops as they are: nginx and HAProxy as servers behind the gateway, from Debian, with their defaults but for ports and paths."""
import http.client
import os
import random
import subprocess
import zlib

import pytest
from front import tool
from penstock import Gateway, call, free_port, wait_until
from test_forwarding import route
from upstreams import Upstream

PAGE = "<p>A lamp.</p>\n" * 500
PICTURE = random.Random(1).randbytes(5 << 20)


class Server:
    def __init__(self, where):
        self.port, self.where = free_port(), where
        self.address = f"127.0.0.1:{self.port}"
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command(), stderr=open(self.where / "errors", "ab"))

        def answers():
            assert self.process.poll() is None, (self.where / "errors").read_text()
            try:
                return call(self.port, "GET", "/page.html").status == 200
            except OSError:
                return False
        wait_until(answers, what=type(self).__name__)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


class Nginx(Server):
    """Files, and what only nginx does by itself: 304, ranges, gzip in chunks, a redirect, 413, and connections that end after 20 requests."""

    def command(self):
        root, config = self.where / "files", self.where / "nginx.conf"
        root.mkdir(exist_ok=True)
        (root / "page.html").write_text(PAGE)
        (root / "picture.jpg").write_bytes(PICTURE)
        paths = "".join(f"{kind}_temp_path {self.where}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(f"""{user} daemon off; pid {self.where}/pid; error_log stderr; events {{}}
http {{ {paths} access_log off; keepalive_requests 20; gzip on; gzip_types text/html; gzip_proxied any; client_max_body_size 1m;
server {{ listen 127.0.0.1:{self.port}; root {root}; location /moved {{ return 301 /page.html; }} location /nothing {{ return 204; }}
location /take {{ proxy_pass http://127.0.0.1:1; }} }} }}""")
        return [tool("nginx"), "-c", str(config), "-e", str(self.where / "errors")]


class HAProxy(Server):
    """Before another server, so that it forwards itself."""

    def __init__(self, where):
        self.behind = Upstream(lambda request: PAGE if request.method in ("GET", "HEAD") and request.path == "/page.html" else f"{request.method} {request.length} {request.checksum}").start()
        super().__init__(where)

    def command(self):
        config = self.where / "haproxy.cfg"
        config.write_text(f"""
defaults
  mode http
  timeout connect 1s
  timeout client 10s
  timeout server 10s
listen all
  bind {self.address}
  server one {self.behind.address}
""")
        return [tool("haproxy"), "-f", str(config)]

    def stop(self):
        super().stop()
        self.behind.stop()


@pytest.fixture(params=[Nginx, HAProxy], ids=["nginx", "haproxy"])
def server(request, tmp_path):
    one = request.param(tmp_path)
    yield one
    one.stop()


@pytest.fixture(scope="module")
def gateway():
    with Gateway(settings={"workers": 1}) as one:
        one.no_limits()
        yield one
        assert one.stop() == 0


def test_a_thousand_pages_arrive_whole_over_kept_connections(gateway, server):
    """PG2: Also where the server ends each connection after 20 requests, which costs none."""
    route(gateway, [server])
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    for _ in range(1000):
        connection.request("GET", "/page.html")
        answer = connection.getresponse()
        assert (answer.status, answer.read().decode()) == (200, PAGE)
    connection.close()


def test_a_server_that_is_started_again_costs_no_page(gateway, server):
    """GETs only wait until it is back; connections that it has closed are not used."""
    route(gateway, [server])
    assert {call(gateway.port, "GET", "/page.html").status for _ in range(10)} == {200}
    Server.stop(server)
    assert call(gateway.port, "GET", "/page.html").status == 502
    server.start()
    assert {call(gateway.port, "GET", "/page.html").status for _ in range(10)} == {200}


def test_head_range_conditions_gzip_redirects_and_no_content_of_nginx(gateway, tmp_path):
    server = Nginx(tmp_path)
    route(gateway, [server])
    whole = call(gateway.port, "GET", "/page.html")
    head = call(gateway.port, "HEAD", "/page.html")
    assert (head.status, head.text, head.headers["content-length"], head.headers["etag"]) == (200, "", str(len(PAGE)), whole.headers["etag"])
    assert call(gateway.port, "GET", "/page.html", headers={"If-None-Match": whole.headers["etag"]}).status == 304
    some = call(gateway.port, "GET", "/page.html", headers={"Range": "bytes=3-8"})
    assert (some.status, some.text, some.headers["content-range"]) == (206, PAGE[3:9], f"bytes 3-8/{len(PAGE)}")
    assert call(gateway.port, "GET", "/page.html", headers={"Range": "bytes=99999-"}).status == 416
    packed = call(gateway.port, "GET", "/page.html", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip" and packed.headers["transfer-encoding"] == "chunked"
    assert call(gateway.port, "GET", "/moved").status == 301 and call(gateway.port, "GET", "/nothing").status == 204
    assert call(gateway.port, "GET", "/missing").status == 404 and call(gateway.port, "POST", "/take", b"x").status == 502
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.request("GET", "/picture.jpg")
    assert connection.getresponse().read() == PICTURE
    connection.close()
    assert call(gateway.port, "POST", "/take", b"x" * 1000000).status == 502
    server.stop()


def test_a_body_that_nginx_finds_too_large_has_its_413(gateway, tmp_path):
    """It answers as soon as it has the head, and closes."""
    server = Nginx(tmp_path)
    route(gateway, [server], body_max=10 << 20)
    for _ in range(3):
        assert call(gateway.port, "POST", "/take", b"x" * (3 << 20)).status == 413
    server.stop()


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_pass_through_haproxy_as_they_were(gateway, tmp_path, chunked):
    """PG2."""
    server = HAProxy(tmp_path)
    route(gateway, [server], body_max=10 << 20)
    for method in ("POST", "PUT", "PATCH"):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        connection.request(method, "/take", iter([PICTURE[:100], PICTURE[100:]]), {} if chunked else {"Content-Length": str(len(PICTURE))}, encode_chunked=chunked)
        assert connection.getresponse().read().decode() == f"{method} {len(PICTURE)} {zlib.crc32(PICTURE)}"
        connection.close()
    server.stop()
