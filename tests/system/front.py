"""The proxy references of deploy/, started as they are but for ports and paths; tokens as a shop signs them; servers that pretend to be gateways."""
import base64
import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from penstock import ROOT, call, free_port, wait_until

ORDERS = "/v1/sales/x/orders"


def tool(name):
    for folder in ("/usr/sbin", "/usr/bin"):
        if (pathlib.Path(folder) / name).exists():
            return f"{folder}/{name}"
    return pytest.fail(f"{name} is not installed: tests/run installs it")


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Shop:
    """A key pair, and the tokens that are signed with it."""

    def __init__(self, where):
        self.private, self.public = where / "shop.pem", where / "shop.pub.pem"
        subprocess.run(["openssl", "genrsa", "-out", self.private, "2048"], check=True, capture_output=True)
        subprocess.run(["openssl", "rsa", "-in", self.private, "-pubout", "-out", self.public], check=True, capture_output=True)

    def token(self, claims=None, header=None, sign=None):
        """`claims` as an object or as JSON text; by default those of ann."""
        claims = {"sub": "ann", "exp": int(time.time()) + 600} if claims is None else claims
        text = claims if isinstance(claims, str) else json.dumps(claims)
        signed = ".".join(base64url(part.encode()) for part in (json.dumps(header or {"alg": "RS256"}), text))
        return f"{signed}.{base64url((sign or self.sign)(signed.encode()))}"

    def sign(self, data):
        return subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.private], input=data, check=True, capture_output=True).stdout


class Pretender(BaseHTTPRequestHandler):
    """Answers what the test's script says, and remembers what it was asked."""

    protocol_version = "HTTP/1.1"

    def answer(self, status, **headers):
        self.send_response(status)
        self.send_header("Content-Length", "2")
        for name, value in {**headers, **self.server.script["fields"]}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(b"ok")

    def do_GET(self):
        if self.path == "/readyz":
            self.answer(self.server.script["readyz"])
            return
        self.server.script["asked"].append(self)
        self.answer(200, Cache_Control="public, max-age=1" if "orders" not in self.path else "no-store")

    do_OPTIONS = do_GET

    def do_POST(self):
        self.server.script["asked"].append(self)
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.server.script["wait"])
        if self.server.script["dies"]:
            self.close_connection = True
        else:
            self.answer(202, X_Request_Id=self.headers["X-Request-Id"])

    def values(self, name):
        return self.headers.get_all(name) or []

    def value(self, name):
        return self.headers.get(name)

    def log_message(self, *args):
        pass


class Quiet(ThreadingHTTPServer):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.connections = []

    def get_request(self):
        connection, peer = super().get_request()
        self.connections.append(connection)
        return connection, peer

    def die(self):
        self.shutdown()
        self.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address):
        """Probes hang up early."""


class Pretenders:
    """Three gateways of one script."""

    def __init__(self):
        self.script = {"readyz": 200, "asked": [], "dies": False, "wait": 0, "fields": {}}
        self.servers = [Quiet(("127.0.0.1", 0), Pretender) for _ in range(3)]
        for server in self.servers:
            server.script = self.script
            threading.Thread(target=server.serve_forever, daemon=True).start()

    @property
    def ports(self):
        return [server.server_port for server in self.servers]

    @property
    def asked(self):
        return self.script["asked"]

    def stop(self, count=3):
        for server in self.servers[:count]:
            server.die()
        del self.servers[:count]


def bearer(token, **more):
    return {"Authorization": f"Bearer {token}", **more}


def buy(port, headers=None, path=ORDERS):
    return call(port, "POST", path, {"sku": "phone"}, headers, timeout=20)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return Shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture()
def gateways():
    pretenders = Pretenders()
    yield pretenders
    pretenders.stop()


class Front:
    """A proxy that runs: `port` for buyers, `rehearsal` for rehearsals, `log()`."""

    def __init__(self, where, shop, gateways):
        self.where, self.shop = where, shop
        self.port, self.rehearsal = free_port(), free_port()
        self.errors = where / "errors"
        with open(self.errors, "ab") as errors:
            self.process = subprocess.Popen(self.command(gateways), stderr=errors, stdout=errors, env=self.environment(gateways))

    def environment(self, gateways):
        return None

    def answers(self):
        assert self.process.poll() is None, self.errors.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def __enter__(self):
        wait_until(self.answers, what="the proxy")
        return self

    def __exit__(self, *exc):
        self.process.terminate()
        self.process.wait(20)


class HAProxy(Front):
    def command(self, gateways):
        return [tool("haproxy"), "-f", str(ROOT / "deploy/haproxy/haproxy.cfg")]

    def environment(self, gateways):
        settings = {"PENSTOCK_FRONT": self.port, "PENSTOCK_REHEARSAL": self.rehearsal, "PENSTOCK_STATS": free_port()}
        settings.update({f"PENSTOCK_GATEWAY_{number}": port for number, port in enumerate(gateways, 1)})
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        return {**os.environ, **{name: f"127.0.0.1:{port}" for name, port in settings.items()}, "PENSTOCK_JWT_KEY": str(self.shop.public),
                "PENSTOCK_PROXY_USER": user}

    def log(self):
        return self.errors.read_text()


class Nginx(Front):
    def command(self, gateways):
        site = (ROOT / "deploy/nginx/penstock.conf").read_text(encoding="utf-8")
        changes = [("listen 80 backlog=4096 reuseport", f"listen 127.0.0.1:{self.port}"), ("listen 127.0.0.1:8079", f"listen 127.0.0.1:{self.rehearsal}"),
                   ("/var/lib/nginx", str(self.where)), ("/var/log/nginx", str(self.where)), ("/etc/nginx/penstock/shop.pub.pem", str(self.shop.public)),
                   ("/etc/nginx/penstock/identity.js", str(ROOT / "deploy/nginx/identity.js"))]
        changes += [(f"127.0.0.1:{8080 + i}", f"127.0.0.1:{port}") for i, port in enumerate(gateways)]
        for ours, there in changes:
            assert ours in site, ours
            site = site.replace(ours, there)
        (self.where / "site.conf").write_text(site)
        paths = "".join(f"{kind}_temp_path {self.where}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        main = self.where / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        main.write_text(f"load_module /usr/lib/nginx/modules/ngx_http_js_module.so; {user} daemon off; pid {self.where}/pid; error_log stderr; events {{}} "
                        f"http {{ {paths} include {self.where}/site.conf; }}")
        return [tool("nginx"), "-c", str(main), "-e", str(self.where / "errors")]

    def log(self):
        return (self.where / "penstock.log").read_text()


class NginxWithPages(Nginx):
    """Its reference with the commented locations of pages in the place of the 404."""

    def command(self, gateways):
        command = super().command(gateways)
        site = (self.where / "site.conf").read_text()
        before, _, rest = site.partition("    # location ~ ^/(livez|readyz)$ {")
        pages, _, after = ("    # location ~ ^/(livez|readyz)$ {" + rest).partition("\n\n    # Probes, metrics")
        after = after.partition("    }\n")[2]
        (self.where / "site.conf").write_text(before + re.sub(r"^    # ", "    ", pages, flags=re.M) + "\n" + after)
        return command


class HAProxyWithPages(HAProxy):
    """Its reference, changed to let pages pass."""

    def environment(self, gateways):
        return {**super().environment(gateways), "PENSTOCK_PAGES": "1"}


class NginxWithEcs(Nginx):
    """Its reference with the log format for Elasticsearch."""

    def command(self, gateways):
        command = super().command(gateways)
        site = (self.where / "site.conf").read_text()
        assert site.count("penstock.log penstock;") == 2
        (self.where / "site.conf").write_text(site.replace("penstock.log penstock;", "penstock.log penstock_ecs;"))
        return command


class HAProxyWithEcs(HAProxy):
    """Its reference, changed to log for Elasticsearch."""

    def environment(self, gateways):
        return {**super().environment(gateways), "PENSTOCK_LOG_ECS": "1"}


class HAProxyWithProxyProtocol(HAProxy):
    """Its reference, changed to begin each connection with a PROXY header."""

    def environment(self, gateways):
        return {**super().environment(gateways), "PENSTOCK_SEND_PROXY": "1"}


class HAProxyOverUnix(HAProxyWithProxyProtocol):
    """The same to Unix sockets: `gateways` are their paths."""

    def environment(self, gateways):
        settings = super().environment([1] * len(gateways))
        return {**settings, **{f"PENSTOCK_GATEWAY_{number}": f"unix@{path}" for number, path in enumerate(gateways, 1)}}


class Varnish(Front):
    """Its reference before one origin, the first of `gateways`."""

    def command(self, gateways):
        vcl = (ROOT / "deploy/varnish/penstock.vcl").read_text(encoding="utf-8")
        assert vcl.count('.port = "8081"') == 1
        (self.where / "penstock.vcl").write_text(vcl.replace('.port = "8081"', f'.port = "{gateways[0]}"'))
        return [tool("varnishd"), "-F", "-j", "none", "-n", str(self.where / "varnish"), "-a", f"127.0.0.1:{self.port}", "-f", str(self.where / "penstock.vcl"),
                "-s", "malloc,16m"]

    def log(self):
        return self.errors.read_text()


class Envoy(Front):
    """Its reference."""

    def command(self, gateways):
        python = subprocess.run([ROOT / "tests/python/fetch"], capture_output=True, text=True, check=True).stdout.strip()
        numbers = subprocess.run(["openssl", "rsa", "-pubin", "-in", self.shop.public, "-noout", "-modulus"], capture_output=True, text=True, check=True).stdout
        modulus = bytes.fromhex(numbers.strip().partition("=")[2])
        (self.where / "shop.jwks.json").write_text(json.dumps({"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "e": "AQAB", "n": base64url(modulus)}]}))
        text = (ROOT / "deploy/envoy/envoy.yaml").read_text(encoding="utf-8")
        changes = [("/etc/envoy/shop.jwks.json", str(self.where / "shop.jwks.json")), ("address: 0.0.0.0, port_value: 80}", f"address: 127.0.0.1, port_value: {self.port}}}"),
                   ("port_value: 8079", f"port_value: {self.rehearsal}"), ("port_value: 9901", f"port_value: {free_port()}")]
        changes += [(f"port_value: {8080 + i}", f"port_value: {port}") for i, port in enumerate(gateways)]
        for ours, there in changes:
            assert ours in text, ours
            text = text.replace(ours, there)
        (self.where / "envoy.yaml").write_text(self.changed(text))
        program = next((pathlib.Path(python).parent.parent / "lib").glob("python3*/site-packages/envoy/_bin/envoy"))
        return [str(program), "-c", str(self.where / "envoy.yaml"), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]

    def changed(self, text):
        return text

    def log(self):
        return self.errors.read_text()


class EnvoyWithProxyProtocol(Envoy):
    """Its reference, changed as it says to begin each connection with a PROXY header."""

    def changed(self, text):
        types = "type.googleapis.com/envoy.extensions.transport_sockets"
        socket_of = {"name": "envoy.transport_sockets.upstream_proxy_protocol", "typed_config": {
            "@type": f"{types}.proxy_protocol.v3.ProxyProtocolUpstreamTransport", "config": {"version": "V2"},
            "transport_socket": {"name": "envoy.transport_sockets.raw_buffer", "typed_config": {"@type": f"{types}.raw_buffer.v3.RawBuffer"}}}}
        return text.replace("    type: STATIC\n", f"    type: STATIC\n    transport_socket: {json.dumps(socket_of)}\n", 1)
