"""Documents of a shop behind a gateway, for tests of routes: made in one line, read back with their figures; its servers as fixtures; and clients who
ask for pages all at once."""
import contextlib
import socket

import pytest
from penstock import ANY_VERSION, Gateway, wait_until
from upstreams import Upstream

PATCH = {**ANY_VERSION, "Content-Type": "application/merge-patch+json"}
# However busy the machine is, the shop answers in time: who looks at deadlines says otherwise.
PATIENT_ROUTE = {"first_byte_ms": 30000, "total_ms": 60000}


def named_server(name):
    """A fixture of this name: a server that answers with it."""
    @pytest.fixture(name=name)
    def server():
        with Upstream(lambda request: name) as one:
            yield one
    return server


@contextlib.contextmanager
def gateway_before(settings=None, **pools):
    """A gateway without limits, with these pools of one server each."""
    with Gateway(settings=settings) as one:
        one.no_limits()
        for name, server in pools.items():
            put_pool(one, name, server)
        yield one


def put_pool(gateway, name, *servers, **members):
    document = {"endpoints": [{"address": server if isinstance(server, str) else server.address} for server in servers], **members}
    answer = gateway.admin("PUT", f"/admin/v1/pools/{name}", document)
    if answer.status == 428:
        answer = gateway.admin("PUT", f"/admin/v1/pools/{name}", document, ANY_VERSION)
    assert answer.status in (200, 201), answer


def put_route(gateway, name, **members):
    document = {**PATIENT_ROUTE, **members}
    answer = gateway.admin("PUT", f"/admin/v1/routes/{name}", document)
    if answer.status == 428:
        answer = gateway.admin("PUT", f"/admin/v1/routes/{name}", document, ANY_VERSION)
    assert answer.status in (200, 201), answer
    return answer.json


def route(gateway, name):
    answer = gateway.admin("GET", f"/admin/v1/routes/{name}")
    assert answer.status == 200, answer
    return answer.json


def change_route(gateway, name, **members):
    answer = gateway.admin("PATCH", f"/admin/v1/routes/{name}", members, PATCH)
    assert answer.status == 200, answer
    return answer.json


def audit_log(gateway, action):
    return [line for line in gateway.admin("GET", "/admin/v1/audit-log?limit=1000").lines() if line["action"] == action]


def breaker(gateway, name):
    answer = gateway.admin("GET", "/admin/v1/breakers")
    assert answer.status == 200, answer
    return {one["name"]: one for one in answer.json["breakers"]}.get(name)


def wait_breaker(gateway, name, state):
    return wait_until(lambda: (breaker(gateway, name) or {}).get("state") == state, what=f"breaker {name} {state}")


# --- Many at once. ---


def from_client(number):
    """Fields by which a trusted peer, as the tests are, says that it asks for this client: errors of the shop count by client and by page."""
    return {"X-Forwarded-For": f"198.51.{number // 250 % 250}.{number % 250}"}


def crowd(gateway, count, path="/p/1"):
    """So many connections, each of which has asked for the page."""
    socks = [socket.create_connection(("127.0.0.1", gateway.port), timeout=50) for _ in range(count)]
    for sock in socks:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return socks


def read_all(socks):
    """The status, the body and the head of each answer."""
    answers = []
    for sock in socks:
        data = b""
        while part := sock.recv(65536):
            data += part
        sock.close()
        head, _, body = data.partition(b"\r\n\r\n")
        answers.append((int(head.split(b" ")[1]), body, head))
    return answers
