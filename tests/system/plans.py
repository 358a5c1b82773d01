"""Plans and their runs, as operators call them: what the tests of one gateway, of a cluster and of the examples share."""
from penstock import wait_until

ANY = {"If-Match": "*"}
RATE = {"patch": {"kind": "limit", "name": "ip", "with": {"rate": 20}}}
BLOCK = {"put": {"kind": "block_ip", "name": "203.0.113.0/24", "doc": {"reason": "bots"}}}
LEVEL = {"override": {"target": "level", "value": 2}}


def prepare(gateway, name="page", steps=(RATE, BLOCK, LEVEL), ttl_s=600, **members):
    answer = gateway.admin("PUT", f"/admin/v1/plans/{name}", {"title": name, "steps": list(steps), "ttl_s": ttl_s, **members}, headers=ANY)
    if answer.status == 412:
        answer = gateway.admin("PUT", f"/admin/v1/plans/{name}", {"title": name, "steps": list(steps), "ttl_s": ttl_s, **members})
    assert answer.status in (200, 201), answer
    return name


def ask(gateway, name="page", query="", token=None, **members):
    return gateway.admin("POST", f"/admin/v1/plans/{name}/runs{query}", members, token=token)


def start(gateway, name="page", **members):
    answer = ask(gateway, name, **members)
    assert answer.status == 201, answer
    assert answer.headers["location"] == f"/admin/v1/runs/{answer.json['run']}"
    return answer.json["run"]


def lay_hand_on(gateway, run, hand, token=None, **members):
    return gateway.admin("POST", f"/admin/v1/runs/{run}/{hand}", members, token=token)


def run_of(gateway, run):
    return gateway.read(f"/admin/v1/runs/{run}").json


def rate(gateway):
    return gateway.read("/admin/v1/limits/ip").json["rate"]


def in_force(gateway):
    """Is each step in force? All of them, or none."""
    steps = {rate(gateway) == 20, gateway.admin("GET", "/admin/v1/blocklist/ips/203.0.113.0-24").status == 200,
             "level" in gateway.overrides()}
    assert len(steps) == 1, "some steps are in force, and some are not"
    return steps.pop()


def wait_end(gateway, run, end, timeout=15):
    wait_until(lambda: run_of(gateway, run)["state"] == "ended", timeout, what="the end of the run")
    assert run_of(gateway, run)["end"] == end, run_of(gateway, run)


def token_of(gateway, note):
    return gateway.admin("POST", "/admin/v1/tokens", {"role": "operator", "note": note}).json["token"]
