"""The stream of events: the state of a gateway once a second, the same for all readers, whatever they do."""
import contextlib
import json
import pathlib
import resource
import socket
import time

import pytest
from described import Described
from events import EVENTS, Reader
from penstock import PATIENT_LOG, Gateway, call, wait_until

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


# --- What has no room. ---


def test_with_many_sales_and_overrides_an_event_has_the_busiest_and_says_how_many_it_left_out(gateway, described):
    sales = [gateway.make_sale(f"crowd-{'x' * 50}-{i:02}") for i in range(30)]
    for i in range(40):
        gateway.limit(f"rule-{'y' * 40}-{i:02}", algorithm="token_bucket", key="ip", rate=1000, period_s=1, burst=1000, applies_to=["order"])
        gateway.override(f"limit:rule-{'y' * 40}-{i:02}", "off", ttl_s=600 + i, reason="\u8fd9\u662f" * 100)
    with Reader(gateway) as reader:
        for _ in range(2):  # the first may be a second old, and not know the sales
            reader.next()
        for user in range(3):
            gateway.buy(sales[-1], f"u{user}")
        for _ in range(5):  # the second of the orders may be a later one
            event = reader.next()
            state = json.loads(event["data"])
            if state["sales"][0]["sale"] == sales[-1]:
                break
    check(described, state)
    assert len("".join(f"{name}: {value}\n" for name, value in event.items()).encode()) < 4096
    assert state["sales"][0]["sale"] == sales[-1] and state["truncated"] is True
    assert state["left_out"]["sales"] + len(state["sales"]) >= len(sales) and state["left_out"]["sales"] > 0 and len(state["sales"]) >= 3
    assert state["left_out"]["overrides"] + len(state["overrides"]) == 40 and len(state["overrides"]) >= 2
    assert [one["target"][-2:] for one in state["overrides"]] == [f"{i:02}" for i in range(len(state["overrides"]))]  # those that end first
    assert all(one["reason"] == "\u8fd9\u662f" * 20 for one in state["overrides"]) and state["gateways"]
    for i in range(40):
        gateway.end_override(f"limit:rule-{'y' * 40}-{i:02}")


# --- Methods and versions. ---


def ask(gateway, line, *fields):
    """What comes until two events are there: a stream is never silent."""
    back = b""
    with socket.create_connection(("127.0.0.1", gateway.admin_port), 30) as s:
        s.sendall("\r\n".join([line, "Host: localhost", f"Authorization: Bearer {gateway.token}", *fields, "", ""]).encode())
        while back.count(b"event: state\n") < 2:
            back += s.recv(65536)
    return back


def test_head_and_options_end_at_once_and_http_1_0_gets_the_bare_stream(gateway):
    head = gateway.admin("HEAD", EVENTS)
    assert head.status == 200 and head.headers["content-type"] == "text/event-stream" and head.text == ""
    options = gateway.admin("OPTIONS", EVENTS)
    assert options.status == 204 and options.headers["allow"] == "GET, HEAD, OPTIONS"
    assert gateway.admin("POST", EVENTS).status == 405
    assert gateway.admin("GET", EVENTS + "?since=1").status == 422
    assert call(gateway.admin_port, "GET", EVENTS).status == 401
    fields, _, body = ask(gateway, f"GET {EVENTS} HTTP/1.0").partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in fields and b"Content-Length" not in fields and b"Connection: close" in fields
    assert body.startswith(b"id: ") and body.count(b"event: state\n") >= 2
    fields, _, body = ask(gateway, f"GET {EVENTS} HTTP/1.1", "Last-Event-ID: 1.1").partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in fields and body.count(b"event: state\n") >= 2


# --- Readers that do what they like. ---


def figure(gateway, end):
    return gateway.metric(f'penstock_event_reader_ends_total{{end="{end}"}}')


def readers(gateway):
    return gateway.metric("penstock_event_readers")


def test_a_removed_or_expired_token_ends_its_stream(gateway):
    removed = gateway.admin("POST", "/admin/v1/tokens", {"role": "viewer"}).json
    expiring = gateway.admin("POST", "/admin/v1/tokens", {"role": "viewer", "ttl_s": 3}).json
    before = figure(gateway, "token")
    with Reader(gateway, removed["token"]) as one, Reader(gateway, expiring["token"]) as other, Reader(gateway) as third:
        one.state()
        other.state()
        assert gateway.admin("DELETE", f"/admin/v1/tokens/{removed['id']}", headers={"If-Match": "*"}).status == 204
        for reader in (one, other):
            began = time.monotonic()
            while (event := reader.next())["event"] == "state":
                assert time.monotonic() - began < 30
            assert json.loads(event["data"]) == {"code": "unauthenticated"} and reader.next() is None
        third.state()
    assert figure(gateway, "token") == before + 2


def test_a_reader_that_leaves_is_forgotten(gateway):
    wait_until(lambda: readers(gateway) == 0, what="no reader")
    before = figure(gateway, "left")
    for _ in range(3):
        with Reader(gateway) as reader:
            reader.next()
            assert readers(gateway) >= 1
    wait_until(lambda: readers(gateway) == 0, what="no reader")
    assert figure(gateway, "left") == before + 3


def open_silent(gateway):
    """A connection with small buffers that asks for events and never reads."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    s.connect(("127.0.0.1", gateway.admin_port))
    s.sendall(f"GET {EVENTS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {gateway.token}\r\n\r\n".encode())
    return s


def resident(gateway):
    pages = int(pathlib.Path(f"/proc/{gateway.process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.slow
def test_a_reader_that_never_reads_is_cut_and_the_others_do_not_notice():
    with Gateway(settings={"http": {"body_timeout_ms": 600000}, **PATIENT_LOG}) as gateway:  # its own limit holds
        for i in range(30):
            gateway.make_sale(f"crowd-{'x' * 50}-{i:02}")  # so that events are long
        with contextlib.ExitStack() as stack:
            silent = [stack.enter_context(contextlib.closing(open_silent(gateway))) for _ in range(15)]
            reader = stack.enter_context(Reader(gateway))
            began, seen = time.monotonic(), 0
            while figure(gateway, "slow") < len(silent):
                reader.state()
                seen += 1
                assert time.monotonic() - began < 120
            assert readers(gateway) == 1 and seen > 3
        assert gateway.stop() == 0


@pytest.mark.slow
def test_a_stream_ends_after_a_minute_whether_it_is_read_or_not():
    with Gateway(settings=PATIENT_LOG) as gateway:  # its events are short
        began = time.monotonic()
        with contextlib.closing(socket.create_connection(("127.0.0.1", gateway.admin_port), 30)) as silent, Reader(gateway) as reader:  # default buffers
            silent.sendall(f"GET {EVENTS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {gateway.token}\r\n\r\n".encode())
            seen = 0
            while (event := reader.next()) is not None:
                assert event["event"] == "state"
                seen += 1
            assert 50 <= seen <= 61 and time.monotonic() - began >= 55
            wait_until(lambda: figure(gateway, "age") == 2, 30, what="the end of the silent one")
            assert readers(gateway) == 0
        with Reader(gateway) as again:
            again.state()


def test_of_a_thousand_readers_64_are_served_and_no_operator_is_kept_out(gateway):
    wait_until(lambda: readers(gateway) == 0, what="no reader")
    before, memory = figure(gateway, "full"), resident(gateway)
    with contextlib.ExitStack() as stack:
        served, refused = [], 0
        tokens = [gateway.admin("POST", "/admin/v1/tokens", {"role": "viewer", "ttl_s": 600, "note": f"t{i}"}).json["token"] for i in range(8)]
        for i in range(1000):
            reader = Reader(gateway, tokens[i % len(tokens)])
            stack.callback(reader.connection.close)
            if reader.answer.status == 200:
                served.append(reader)
                continue
            refused += 1
            assert reader.answer.status == 503 and int(reader.answer.getheader("Retry-After")) > 0
            assert json.loads(reader.answer.read())["code"] == "shed"
        assert (len(served), refused) == (64, 936) and readers(gateway) == 64
        assert figure(gateway, "full") == before + 936
        assert gateway.admin("GET", "/admin/v1/sales").status == 200  # a new connection
        events = [reader.next() for reader in served]
        assert all(event["event"] == "state" for event in events)
        assert resident(gateway) - memory < 32 << 20
    wait_until(lambda: readers(gateway) == 0, what="no reader")
    with Reader(gateway) as reader:
        reader.state()


def test_one_token_has_16_streams_and_leaves_the_others_theirs(gateway):
    wait_until(lambda: readers(gateway) == 0, what="no reader")
    viewer = gateway.admin("POST", "/admin/v1/tokens", {"role": "viewer", "ttl_s": 600, "note": "many"}).json["token"]
    with contextlib.ExitStack() as stack:
        def come(token=None):
            reader = Reader(gateway, token)
            stack.callback(reader.connection.close)
            return reader

        crowd = [come(viewer) for _ in range(17)]
        assert [reader.answer.status for reader in crowd] == [200] * 16 + [503]
        assert "this token has 16 readers" in json.loads(crowd[-1].answer.read())["detail"]
        mine = come()
        assert mine.answer.status == 200 and mine.next()["event"] == "state"
        crowd[0].connection.close()  # its place is free as soon as that is seen
        wait_until(lambda: come(viewer).answer.status == 200, what="a place again")
    wait_until(lambda: readers(gateway) == 0, what="no reader")


def test_all_readers_get_the_same_event_and_none_is_made_while_nobody_reads(gateway):
    wait_until(lambda: readers(gateway) == 0, what="no reader")
    with Reader(gateway) as one, Reader(gateway) as other:
        first = one.next()
        seen = [other.next() for _ in range(3)]
        assert {event["id"]: event["data"] for event in [first, one.next(), one.next()]}.items() >= {event["id"]: event["data"] for event in seen[:2]}.items()
    wait_until(lambda: readers(gateway) == 0, what="no reader")
    time.sleep(2)
    with Reader(gateway) as later:
        number = int(later.next()["id"].split(".")[1])
    assert number <= int(seen[-1]["id"].split(".")[1]) + 3


def test_a_drain_ends_every_stream():
    with Gateway(settings={"drain": {"delay_ms": 3000, "timeout_ms": 10000}, **PATIENT_LOG}) as gateway, Reader(gateway) as reader:
        reader.state()
        gateway.admin("POST", "/admin/v1/drain", {"reason": "the end"})
        while (event := reader.next())["event"] == "state":
            pass
        assert json.loads(event["data"]) == {"code": "draining"} and reader.next() is None
        assert gateway.process.wait(20) == 0
