"""Servers of the shop that speak before they are asked, or leave without a word: what they said is nobody's answer, and no request goes to who has left."""
import contextlib
import http.client
import pathlib
import signal
import socket

import pytest
from faults import preloaded
from pages import put_pool, put_route
from penstock import Gateway, call, wait_until
from upstreams import ACCEPTED, Reply, Upstream

WRONG = ACCEPTED + b"Content-Length: 5\r\n\r\nwrong"

# A new connection is used no earlier than when its server has spoken, or after 200 ms. Only what connects without waiting is meant, and to this port.
LATE = """
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
int connect(int fd, const struct sockaddr *to, socklen_t len)
{
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    int done = real(fd, to, len), error = errno;
    if (to->sa_family == AF_INET && ntohs(((const struct sockaddr_in *)to)->sin_port) == atoi(getenv("SPEAKING_PORT")))
        poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 200);
    errno = error;
    return done;
}
"""


@pytest.fixture
def gateway():
    with Gateway(settings={"workers": 1}) as one:
        one.no_limits()
        yield one


@contextlib.contextmanager
def stopped(gateway):
    """What happens meanwhile, the gateway finds all at once, in its order."""
    threads = pathlib.Path(f"/proc/{gateway.process.pid}/task")
    gateway.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: all((thread / "stat").read_text().rpartition(")")[2].split()[0] == "T" for thread in threads.iterdir()), what="its stop")
    try:
        yield
    finally:
        gateway.process.send_signal(signal.SIGCONT)


class Remembering(Upstream):
    """Its connections may be used by the test, too."""

    def converse(self, connection):
        self.last = connection
        super().converse(connection)


def read_answer(client):
    answer = http.client.HTTPResponse(client)
    answer.begin()
    return answer.status, answer.read()


def asked_before(gateway, request, event):
    """The answer to a request that is at the gateway before this event, and both before the gateway looks."""
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.sendall(b"GET /first HTTP/1.1\r\nHost: shop\r\n\r\n")
        assert read_answer(client) == (200, b"right/first")
        with stopped(gateway):
            client.sendall(request)
            event()
        return read_answer(client)


@pytest.mark.parametrize("request_bytes", [b"GET /second HTTP/1.1\r\nHost: shop\r\n\r\n", b"POST /second HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\n\r\nx"], ids=["GET", "POST"])
@pytest.mark.parametrize("event", ["speaks", "closes"])
def test_what_a_kept_connection_says_unasked_is_nobodys_answer_and_one_that_was_closed_gets_no_request(gateway, event, request_bytes):
    """PG3."""
    with Remembering(lambda request: Reply(body="right" + request.path)) as shop:
        put_pool(gateway, "web", shop)
        put_route(gateway, "all", path="/", pool="web", methods=["GET", "POST"])

        def happens():
            if event == "speaks":
                shop.last.send(WRONG)
            else:
                shop.last.socket.shutdown(socket.SHUT_WR)
        for _ in range(5):
            assert asked_before(gateway, request_bytes, happens) == (200, b"right/second")
        wait_until(lambda: gateway.metric('penstock_upstream_requests_total{pool="web",outcome="ok"}') == 10, what="what is counted after the answer")
        assert shop.connections == 6
        assert sum(gateway.metric(f'penstock_upstream_requests_total{{pool="web",outcome="{outcome}"}}') for outcome in ("reset", "malformed", "error")) == 0


class SpeakingFirst(Upstream):
    """To whoever connects."""

    def converse(self, connection):
        connection.send(WRONG)
        connection.until_closed()


def test_what_a_new_connection_says_unasked_is_nobodys_answer(tmp_path):
    """PG3."""
    with SpeakingFirst() as shop, Gateway(settings={"workers": 1}, env={**preloaded(tmp_path, LATE), "SPEAKING_PORT": str(shop.port)}) as gateway:
        gateway.no_limits()
        put_pool(gateway, "web", shop)
        put_route(gateway, "all", path="/", pool="web")
        for number in range(3):
            answer = call(gateway.port, "GET", f"/{number}")
            assert (answer.status, answer.headers["content-type"]) == (502, "application/problem+json") and answer.code == "bad_gateway"
        wait_until(lambda: gateway.metric('penstock_upstream_requests_total{pool="web",outcome="malformed"}') == 3, what="three that are counted")
        wait_until(lambda: shop.kept == 0, what="the end of its connections")
