"""Traces: which requests have one, what their spans say, and a collector that is away, slow, or refuses. Each body is read by the protocol's own messages."""
import json
import pathlib
import shutil
import subprocess
import time

import pytest
from faults import build_library
from penstock import BUILD, ROOT, Gateway, call, wait_until
from receivers import Collector
from settle import Sqlite, Worker, gateway_flags, init
from upstreams import Reply, Upstream

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{CALLER}-00"
SAMPLED = f"00-{TRACE}-{CALLER}-01"
SERVER = 2


def tracing(collector, **more):
    return {"tracing": {"endpoint": f"http://127.0.0.1:{collector.port}", **more}}


def buy(gateway, user, **fields):
    return call(gateway.port, "POST", "/v1/sales/sale/orders", {"sku": "phone", "quantity": 1}, {"X-User-Id": user, **{name.replace("_", "-"): value for name, value in fields.items()}})


def requests(spans):
    return [span for span in spans if span["kind"] == SERVER]


def record_of(gateway):
    return next(json.loads(line) for line in gateway.admin("GET", "/admin/v1/sales/sale/log?after=0&type=penstock.order.accepted.v1").text.splitlines())


def ends(gateway):
    return {end: gateway.metric(f'penstock_trace_spans_total{{end="{end}"}}') for end in ("exported", "dropped", "refused", "failed")}


@pytest.fixture()
def collector():
    with Collector() as collector:
        yield collector


# --- What a trace shows. ---


def test_an_accepted_order_shows_its_steps_below_the_request_and_the_caller(collector, tmp_path):
    with Gateway(tmp_path, tracing(collector, accepted_one_in=1)) as gateway:
        gateway.make_sale("sale", stock=1)
        before, answer, after = time.time() - 1, buy(gateway, "ann-secret", traceparent=PARENT), time.time() + 1
        assert answer.status == 202
        spans = collector.wait(lambda spans: len(spans) >= 4)
        request, = requests(spans)
        assert (request["name"], request["trace"], request["parent"], request["failed"]) == ("POST /v1/sales/{sale}/orders", TRACE, CALLER, False)
        assert {name: request[name] for name in ("service.name", "service.version", "service.instance.id")} == {
            "service.name": "penstock", "service.version": gateway.admin("GET", "/admin/v1/settings").json["version"], "service.instance.id": (gateway.state / "gateway.id").read_text().strip()}
        said = request["is"]
        assert (said["http.request.method"], said["http.route"], said["http.response.status_code"]) == ("POST", "/v1/sales/{sale}/orders", 202)
        assert (said["penstock.verdict"], said["penstock.sale"]) == ("accepted", "sale")
        assert (said["penstock.request_id"], said["penstock.order_id"]) == (answer.headers["x-request-id"], answer.json["order_id"])
        steps = [span for span in spans if span["parent"] == request["span"]]
        assert [step["name"] for step in steps] == ["reserve", "append", "read back"] and {step["trace"] for step in steps} == {TRACE}
        assert request["begin"] <= steps[0]["begin"] and steps[-1]["end"] <= request["end"]
        assert all(step["end"] == then["begin"] for step, then in zip(steps, steps[1:]))
        assert before < request["begin"] / 1e9 < request["end"] / 1e9 < after
        # The record continues the trace from this request.
        assert record_of(gateway)["traceparent"] == f"00-{TRACE}-{request['span']}-01"
        assert "secret" not in "".join(body for body, _ in collector.got)
        wait_until(lambda: ends(gateway) == {"exported": 4, "dropped": 0, "refused": 0, "failed": 0}, what="the count")


def test_a_request_without_a_valid_traceparent_begins_a_trace(collector, tmp_path):
    with Gateway(tmp_path, tracing(collector, accepted_one_in=1)) as gateway:
        gateway.make_sale("sale", stock=2)
        assert buy(gateway, "ann").status == buy(gateway, "bob", traceparent="00-" + "0" * 32 + f"-{CALLER}-01").status == 202
        found = requests(collector.wait(lambda spans: len(requests(spans)) == 2))
        assert [span["parent"] for span in found] == ["", ""] and len({span["trace"] for span in found}) == 2


def test_a_page_that_the_shop_failed_shows_route_and_server(collector, tmp_path):
    with Gateway(tmp_path, tracing(collector)) as gateway, Upstream({"/good": Reply(body="yes"), "/bad": Reply(500, "no")}) as behind:
        for path, document in (("pools/web", {"endpoints": [{"address": behind.address}]}), ("routes/all", {"path": "/", "pool": "web"})):
            assert gateway.admin("PUT", f"/admin/v1/{path}", document).status == 201
        assert [call(gateway.port, "GET", path).status for path in ("/good?secret=1", "/bad?secret=2")] == [200, 500]
        span, = collector.wait(lambda spans: spans)
        assert (span["name"], span["failed"], span["is"]["penstock.route"], span["is"]["penstock.endpoint"]) == ("GET all", True, "all", behind.address)
        assert "secret" not in collector.got[0][0]


def test_the_payment_days_later_belongs_to_the_trace_of_the_click(collector, tmp_path):
    (tmp_path / "gateway").mkdir()
    with Gateway(tmp_path / "gateway", tracing(collector, accepted_one_in=1)) as gateway:
        shop = init(Sqlite(tmp_path))
        gateway.make_sale("sale", stock=2)
        order = buy(gateway, "ann", traceparent=PARENT).json["order_id"]
        worker = Worker(shop, *gateway_flags(gateway), "--tracing-endpoint", f"http://127.0.0.1:{collector.port}", "--metrics-file", str(tmp_path / "metrics"), journal=gateway.state / "journal.db")
        worker.once()
        # Another process, which knows of the click only what the database keeps.
        shop.query(f"INSERT INTO penstock_decisions (order_id, decision) VALUES ('{order}', 'confirm')")
        worker.once()
        worker.once()
        spans = collector.wait(lambda spans: requests(spans) and "settle confirmed" in {span["name"] for span in spans})
        request, = requests(spans)
        settled = [span for span in spans if span["service.name"] == "penstock-settle"]
        assert [span["name"] for span in settled] == ["settle accepted", "settle confirmed"]
        assert {(span["trace"], span["parent"], span["is"]["penstock.order_id"]) for span in settled} == {(TRACE, request["span"], order)}
        assert len({span["service.instance.id"] for span in settled}) == 2
        assert 'penstock_settle_trace_spans_total{end="exported"}' in (tmp_path / "metrics").read_text()


def test_an_order_that_is_not_traced_keeps_its_callers_traceparent(collector, tmp_path):
    with Gateway(tmp_path, tracing(collector, accepted_one_in=0)) as gateway:
        gateway.make_sale("sale", stock=1)
        assert buy(gateway, "ann", traceparent=SAMPLED).status == 202
        assert record_of(gateway)["traceparent"] == SAMPLED
    assert collector.got == []


# --- Which requests have one. ---


def test_every_500_and_every_watched_user_is_traced_and_no_refusal_unless_asked(collector, tmp_path):
    with Gateway(tmp_path, tracing(collector, accepted_one_in=0)) as gateway:
        gateway.make_sale("sale", stock=1)
        assert gateway.admin("PUT", "/admin/v1/watches/wanda", {"reason": "asked", "ttl_s": 600}).status in (200, 201)
        assert [buy(gateway, user).status for user in ("wanda", "ann", "wanda")] == [202, 409, 202]  # the last one is a repeat
        # Sampled or not, a stranger does not decide.
        assert buy(gateway, "bob", traceparent=SAMPLED).status == 409
        assert call(gateway.port, "GET", "/v1/sales/sale", headers={"traceparent": SAMPLED}).status == 200
        spans = requests(collector.wait(lambda spans: len(requests(spans)) >= 2))
        assert [span["is"]["http.response.status_code"] for span in spans] == [202, 202]


@pytest.mark.parametrize("rules,traced", [({"refused_one_in": 1}, [409, 404]), ({"other_one_in": 1}, [200]), ({"follow_sampled": True}, [202, 409, 200, 404])])
def test_the_settings_say_which_other_answers_are_traced(collector, tmp_path, rules, traced):
    with Gateway(tmp_path, tracing(collector, **{"accepted_one_in": 0, **rules})) as gateway:
        gateway.make_sale("sale", stock=1)
        sampled = {"traceparent": SAMPLED}
        statuses = [buy(gateway, "ann", **sampled).status, buy(gateway, "bob", **sampled).status, call(gateway.port, "GET", "/v1/sales/sale", headers=sampled).status,
                    call(gateway.port, "GET", "/none", headers=sampled).status, call(gateway.port, "GET", "/readyz", headers=sampled).status]
        assert statuses == [202, 409, 200, 404, 200]
        if rules == {"follow_sampled": True}:  # not sampled: not traced
            assert buy(gateway, "cid", traceparent=PARENT).status == 409
    assert sorted(span["is"]["http.response.status_code"] for span in requests(collector.spans())) == sorted(traced)


def test_one_in_so_many_orders_is_traced(collector, tmp_path):
    with Gateway(tmp_path, tracing(collector, accepted_one_in=5)) as gateway:
        gateway.make_sale("sale", stock=300)
        gateway.no_limits()
        assert {buy(gateway, f"user-{i}").status for i in range(300)} == {202}
    assert 20 < len(requests(collector.spans())) < 120  # 60; a tenth of a millionth of all runs is outside


# --- A collector with troubles. ---


def events(gateway):
    return [json.loads(line)["event"] for line in gateway.log_path.read_text().splitlines() if '"traces_' in line]


def test_a_collector_that_is_away_costs_no_answer_is_logged_once_and_gets_the_spans_later(collector, tmp_path):
    with Gateway(tmp_path, tracing(collector, accepted_one_in=1)) as gateway:
        gateway.make_sale("sale", stock=10)
        collector.down()
        assert buy(gateway, "ann").status == 202
        wait_until(lambda: "traces_not_sent" in events(gateway), what="the event")
        assert buy(gateway, "bob").status == 202
        time.sleep(1.5)
        collector.up()
        collector.wait(lambda spans: len(requests(spans)) == 2, timeout=60)
        wait_until(lambda: events(gateway) == ["traces_not_sent", "traces_sent"], what="the events")
        assert ends(gateway) == {"exported": 8, "dropped": 0, "refused": 0, "failed": 0}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_collector_that_asks_to_wait_gets_the_same_spans_again_after_that_time(collector, tmp_path, status):
    at = []

    def wait(request, body):
        at.append(time.monotonic())
        return status, '{"message":"slow down"}', {"Retry-After": "2"}

    with Gateway(tmp_path, tracing(collector, accepted_one_in=1)) as gateway:
        gateway.make_sale("sale", stock=1)
        collector.answers.append(wait)
        assert buy(gateway, "ann").status == 202
        assert len(collector.wait(lambda spans: spans)) == 4
        assert time.monotonic() - at[0] > 1.5
        why = next(line for line in gateway.log_path.read_text().splitlines() if "traces_not_sent" in line)
        assert f"{status}: slow down" in why and ends(gateway)["exported"] == 4


@pytest.mark.parametrize("answer,refused", [((200, '{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too many"}}', {}), 3), ((400, '{"message":"too many"}', {}), 4), ((401, "too many", {}), 4)])
def test_what_a_collector_refuses_is_counted_logged_once_and_not_sent_again(collector, tmp_path, answer, refused):
    with Gateway(tmp_path, tracing(collector, accepted_one_in=1)) as gateway:
        gateway.make_sale("sale", stock=10)
        for i, user in enumerate(("ann", "bob")):
            collector.answers.append(answer)
            assert buy(gateway, user).status == 202
            wait_until(lambda: ends(gateway)["refused"] == (i + 1) * refused, what="the count")
        assert events(gateway) == ["traces_refused"] and collector.got == []
        assert buy(gateway, "cid").status == 202
        collector.wait(lambda spans: len(requests(spans)) == 1)
        wait_until(lambda: events(gateway) == ["traces_refused", "traces_sent"], what="the events")


def test_a_collector_that_does_not_answer_holds_up_neither_buyers_nor_the_end(collector, tmp_path):
    collector.answers += [lambda request, body: time.sleep(30) or (200, "{}", {})]
    with Gateway(tmp_path, {**tracing(collector, accepted_one_in=1, other_one_in=1), "workers": 1}) as gateway:
        gateway.make_sale("sale", stock=10)
        gateway.no_limits()
        assert buy(gateway, "ann").status == 202
        wait_until(lambda: not collector.answers, what="the body")
        for _ in range(2000):
            assert call(gateway.port, "GET", "/v1/sales/sale").status == 200
        wait_until(lambda: ends(gateway)["dropped"] > 1000, what="spans without room")
        began = time.monotonic()
        assert gateway.stop() == 0 and time.monotonic() - began < 15


def test_a_name_server_that_is_silent_holds_up_no_end(tmp_path):
    build_library(ROOT / "tests/system/slow_names.c", tmp_path / "slow_names.so")
    settings = {"tracing": {"endpoint": "http://collector.example:4318", "accepted_one_in": 1}}
    with Gateway(tmp_path, settings, env={"LD_PRELOAD": str(tmp_path / "slow_names.so")}) as gateway:
        gateway.make_sale("sale", stock=1)
        assert buy(gateway, "ann").status == 202
        wait_until(lambda: "traces_not_sent" in events(gateway), what="the event")
        began = time.monotonic()
        assert gateway.stop() == 0 and time.monotonic() - began < 20


def test_an_answer_without_sense_is_no_trouble(collector, tmp_path):
    with Gateway(tmp_path, tracing(collector, accepted_one_in=1)) as gateway:
        gateway.make_sale("sale", stock=10)
        for i, text in enumerate(["", "[" * 1000, '{"partialSuccess":{"rejectedSpans":"' + "9" * 99 + '"}}', "\x00" * 99, '{"partialSuccess":{"rejectedSpans":99}}']):
            collector.answers.append((200, text, {}))
            assert buy(gateway, f"user-{i}").status == 202
            wait_until(lambda: sum(ends(gateway).values()) == 4 * (i + 1), what="the count")
        assert ends(gateway) == {"exported": 16, "dropped": 0, "refused": 4, "failed": 0}


# --- Settings. ---


def test_headers_come_from_a_file_that_others_cannot_read_and_no_answer_shows_them(collector, tmp_path):
    headers = tmp_path / "headers"
    headers.write_text("# of the tenant\nAuthorization: Bearer sesame\n\nX-Tenant: a b\n")
    headers.chmod(0o600)
    with Gateway(tmp_path, tracing(collector, accepted_one_in=1, headers_file=str(headers))) as gateway:
        gateway.make_sale("sale", stock=1)
        assert buy(gateway, "ann").status == 202
        collector.wait(lambda spans: spans)
        sent = collector.got[0][1]
        assert (sent["Authorization"], sent["X-Tenant"]) == ("Bearer sesame", "a b")
        assert "sesame" not in gateway.admin("GET", "/admin/v1/settings").text + gateway.log_path.read_text()


@pytest.mark.parametrize("settings,names", [({"endpoint": "127.0.0.1:4318"}, "tracing.endpoint"), ({"endpoint": "http://user:secret@host"}, "tracing.endpoint"), ({"endpoint": "unix:/run/x"}, "tracing.endpoint"),
                                            ({"endpoint": "http://host?a=b"}, "tracing.endpoint"), ({"headers_file": "/no/such"}, "tracing.headers_file"), ({"headers_file": "bad"}, "tracing.headers_file"),
                                            ({"headers_file": "open"}, "tracing.headers_file"), ({"accepted_one_in": -1}, "tracing.accepted_one_in")])
def test_a_setting_with_a_fault_is_named(tmp_path, settings, names):
    for name, text, mode in (("bad", "no header\n", 0o600), ("open", "A: b\n", 0o644)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    if settings.get("headers_file") in ("bad", "open"):
        settings = {"headers_file": str(tmp_path / settings["headers_file"])}
    gateway = Gateway(tmp_path, {"tracing": settings})
    done = subprocess.run([BUILD / "gateway/penstock", "--config", gateway.config, "--check-config"], capture_output=True, text=True)
    assert done.returncode == 1 and names in done.stderr, done.stderr


# --- A real collector. ---


@pytest.mark.soak
def test_the_collector_of_opentelemetry_takes_the_spans(tmp_path):
    """Built by its own builder with the receiver for OTLP and the exporters debug and file."""
    if shutil.which("go") is None:
        pytest.skip("go is not installed, which builds the collector")
    built = subprocess.run([ROOT / "tests/tools/collector"], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    with Collector() as place:
        port = place.port
    (tmp_path / "collector.yaml").write_text(f"""
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
exporters: {{file: {{path: "{tmp_path}/spans.json", flush_interval: 100ms}}, debug: {{}}}}
service: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: {{receivers: [otlp], exporters: [file, debug]}}}}}}
""")
    with open(tmp_path / "collector.log", "wb") as log:
        process = subprocess.Popen([built.stdout.strip(), "--config", str(tmp_path / "collector.yaml")], stdout=log, stderr=log)
    try:
        wait_until(lambda: "Everything is ready" in (tmp_path / "collector.log").read_text(), what="the collector")
        with Gateway(tmp_path, tracing(place, accepted_one_in=1)) as gateway:
            gateway.make_sale("sale", stock=200)
            gateway.no_limits()
            assert {buy(gateway, f"user-{i}", traceparent=PARENT).status for i in range(200)} == {202}
            wait_until(lambda: sum(ends(gateway).values()) == 800, timeout=90, what="the count")
            assert ends(gateway)["exported"] == 800, (tmp_path / "collector.log").read_text()[-2000:]

        def names():
            lines = pathlib.Path(tmp_path / "spans.json").read_text().splitlines()
            return [span["name"] for line in lines for resource in json.loads(line)["resourceSpans"] for scope in resource["scopeSpans"] for span in scope["spans"]]

        wait_until(lambda: len(names()) == 800, what="the spans in the file")
        assert {name: names().count(name) for name in set(names())} == {"POST /v1/sales/{sale}/orders": 200, "reserve": 200, "append": 200, "read back": 200}
    finally:
        process.terminate()
        process.wait(30)
