"""Documents of a shop behind a gateway, for tests of routes: made in one line, read back with their figures."""
from penstock import ANY_VERSION, wait_until

PATCH = {**ANY_VERSION, "Content-Type": "application/merge-patch+json"}


def put_pool(gateway, name, *servers, **members):
    document = {"endpoints": [{"address": server if isinstance(server, str) else server.address} for server in servers], **members}
    answer = gateway.admin("PUT", f"/admin/v1/pools/{name}", document)
    if answer.status == 428:
        answer = gateway.admin("PUT", f"/admin/v1/pools/{name}", document, ANY_VERSION)
    assert answer.status in (200, 201), answer


def put_route(gateway, name, **members):
    answer = gateway.admin("PUT", f"/admin/v1/routes/{name}", members)
    if answer.status == 428:
        answer = gateway.admin("PUT", f"/admin/v1/routes/{name}", members, ANY_VERSION)
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


def wait_breaker(gateway, name, state, timeout=10):
    return wait_until(lambda: (breaker(gateway, name) or {}).get("state") == state, timeout, what=f"breaker {name} {state}")
