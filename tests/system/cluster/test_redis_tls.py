"""Redis that speaks TLS alone: the gateway buys through deploy/redis/stunnel.conf, and a server with a strange certificate counts nothing."""
import contextlib
import os
import shutil
import subprocess

import pytest

from penstock import ROOT, Gateway, free_port, wait_until

STUNNEL = shutil.which("stunnel4", path=os.environ["PATH"] + ":/usr/sbin")
pytestmark = pytest.mark.skipif(STUNNEL is None, reason="stunnel4 is not installed")


def run(*words, cwd):
    subprocess.run(words, check=True, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make_ca(directory, name):
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt", cwd=directory)


@contextlib.contextmanager
def started(*words, cwd):
    process = subprocess.Popen(words, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def redis_port(tmp_path):
    """A Redis with no port but that of TLS; its certificate is of ours.crt, for redis.test."""
    port = free_port()
    make_ca(tmp_path, "ours")
    make_ca(tmp_path, "strange")
    (tmp_path / "names").write_text("subjectAltName=DNS:redis.test")
    run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=redis.test", "-keyout", "redis.key", "-out", "redis.csr", cwd=tmp_path)
    run("openssl", "x509", "-req", "-in", "redis.csr", "-CA", "ours.crt", "-CAkey", "ours.key", "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "redis.crt",
        cwd=tmp_path)
    with started("redis-server", str(ROOT / "deploy/redis/redis.conf"), "--port", "0", "--tls-port", str(port), "--tls-cert-file", "redis.crt",
                 "--tls-key-file", "redis.key", "--tls-auth-clients", "no", cwd=tmp_path):
        wait_until(lambda: subprocess.run(["redis-cli", "--tls", "--insecure", "-p", str(port), "PING"], capture_output=True).stdout == b"PONG\n", what="Redis")
        yield port


def stunnel(directory, accept, connect, ca):
    """The reference as it stands, but for what it says to adapt."""
    text = (ROOT / "deploy/redis/stunnel.conf").read_text()
    for old, new in [("accept = 127.0.0.1:6380", f"accept = 127.0.0.1:{accept}"), ("connect = redis.example:6379", f"connect = 127.0.0.1:{connect}"),
                     ("checkHost = redis.example", "checkHost = redis.test"), ("CAfile = /etc/ssl/certs/ca-certificates.crt", f"CAfile = {directory / ca}")]:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (directory / "stunnel.conf").write_text(text)
    return started(STUNNEL, str(directory / "stunnel.conf"), cwd=directory)


@contextlib.contextmanager
def counting_at(port):
    """A gateway that has begun to start: it is ready once it reaches Redis."""
    gateway = Gateway(settings={"store": {"kind": "redis", "redis": {"url": f"redis://127.0.0.1:{port}/0"}}})
    with gateway.spawn():
        yield gateway


def wait_ready(gateway):
    def ready():
        with contextlib.suppress(OSError):
            return gateway.public("GET", "/readyz").status == 200
        return False

    wait_until(ready, 30, what="readiness")


def test_a_gateway_buys_through_stunnel_and_goes_on_when_stunnel_comes_back(tmp_path, redis_port):
    accept = free_port()
    with counting_at(accept) as gateway:
        with stunnel(tmp_path, accept, redis_port, "ours.crt"):
            wait_ready(gateway)
            sale = gateway.make_sale(stock=5)
            wait_until(lambda: gateway.buy(sale, "ann").status in (200, 202), 30, what="a buy")
        wait_until(lambda: gateway.buy(sale, "bob", key="b").status == 503, 30, what="a refusal without stunnel")
        with stunnel(tmp_path, accept, redis_port, "ours.crt"):
            wait_until(lambda: gateway.buy(sale, "bob", key="b").status in (200, 202), 30, what="a buy")


def test_a_redis_with_a_strange_certificate_is_not_counted_with(tmp_path, redis_port):
    accept = free_port()
    with stunnel(tmp_path, accept, redis_port, "strange.crt"):
        with counting_at(accept) as gateway:
            wait_until(lambda: "store_unavailable" in gateway.log(), 30, what="the word that Redis is away")
            assert gateway.public("GET", "/readyz?verbose").text.count("[-]store failed") == 1
