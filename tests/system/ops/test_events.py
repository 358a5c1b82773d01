"""The stream of events: the state of a gateway once a second, the same for all readers, whatever they do."""
import http.client
import json
import time

import pytest
from described import Described
from penstock import PATIENT_LOG, Gateway, call

EVENTS = "/admin/v1/events"


class Reader:
    """An open stream; a context manager that leaves it."""

    def __init__(self, gateway, token=None, timeout=30):
        self.connection = http.client.HTTPConnection("127.0.0.1", gateway.admin_port, timeout=timeout)
        self.connection.request("GET", EVENTS, headers={"Authorization": "Bearer " + (token or gateway.token)})
        self.answer = self.connection.getresponse()

    def __enter__(self):
        assert self.answer.status == 200, self.answer.read()
        return self

    def __exit__(self, *exc):
        self.connection.close()

    def next(self):
        """The next event as a dict of its lines; None: the stream has ended."""
        lines = {}
        while True:
            line = self.answer.readline()
            if line == b"":
                return None
            if line == b"\n":
                return lines
            name, _, value = line.decode().rstrip("\n").partition(": ")
            assert name in ("id", "event", "data") and name not in lines, line
            lines[name] = value

    def state(self):
        event = self.next()
        assert event["event"] == "state", event
        return json.loads(event["data"])

    def states(self, count):
        return [self.state() for _ in range(count)]


@pytest.fixture(scope="module")
def gateway():
    with Gateway(settings=PATIENT_LOG) as one:
        one.no_limits()
        yield one


@pytest.fixture(scope="module")
def described():
    return Described("gateway/admin/openapi.yaml", None)


def check(described, state):
    described.check(state, {"$ref": "#/components/schemas/GatewayState"}, "an event")
    assert len(json.dumps(state, separators=(",", ":"))) <= 4096


def test_an_event_a_second_has_the_state_as_it_is_described(gateway, described):
    sale = gateway.make_sale(stock=3, opens_in=-1)
    later = gateway.make_sale(opens_in=3600)
    gateway.override("level", 1, reason="the show begins")
    with Reader(gateway) as reader:
        assert reader.answer.getheader("Content-Type") == "text/event-stream" and reader.answer.getheader("Cache-Control") == "no-store"
        first = reader.next()
        check(described, json.loads(first["data"]))
        began = time.monotonic()
        for user in ("ann", "ben", "cat", "dan"):
            gateway.buy(sale, user)
        second = reader.next()
        assert time.monotonic() - began < 10
    assert [event["id"].split(".")[0] for event in (first, second)] == [first["id"].split(".")[0]] * 2
    assert int(second["id"].split(".")[1]) == int(first["id"].split(".")[1]) + 1
    state = json.loads(second["data"])
    check(described, state)
    assert state["gateway"] == gateway.read("/admin/v1/settings").json["gateway"] and state["ready"] is True and state["level"] == 1
    assert state["scope"] == {"units": "gateway", "rates": "gateway"} and state["next_opening"]["sale"] == later
    shown = state["sales"][0]
    assert (shown["sale"], shown["state"], shown["units_left"], shown["units_held"]) == (sale, "open", 0, 3)
    assert shown["orders_per_s"] > 0 and list(shown["refusals_per_s"]) == ["sold_out"] and shown["sold_out_in_s"] == 0
    assert shown["order_p99_ms"] >= shown["order_p50_ms"] > 0
    assert [(one["target"], one["value"], one["reason"]) for one in state["overrides"]] == [("level", 1, "the show begins")]
    gateway.end_override("level")


def test_a_console_learns_whose_token_it_has(gateway):
    made = gateway.admin("POST", "/admin/v1/tokens", {"role": "viewer", "ttl_s": 600, "note": "console"}).json
    answer = gateway.admin("GET", "/admin/v1/whoami", token=made["token"]).json
    assert answer == {"token": made["id"], "role": "viewer", "note": "console", "expires_at": made["expires_at"],
                      "gateway": gateway.read("/admin/v1/settings").json["gateway"], "version": answer["version"]}
    assert call(gateway.admin_port, "GET", "/admin/v1/whoami").status == 401
