"""What Prometheus scrapes: valid names, every class of answers timed, units of open sales, and no series that cannot move."""
import contextlib
import http.client
import json
import subprocess
import time

import pytest
from penstock import PATIENT_LOG, ROOT, Gateway, call, raw


@pytest.fixture(scope="module")
def gateway():
    with Gateway(settings={"metrics": {"sales_max": 3}, **PATIENT_LOG}) as one:
        one.no_limits()
        yield one


def scrape(gateway):
    answer = call(gateway.admin_port, "GET", "/metrics")
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return answer.text


def values(gateway):
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in scrape(gateway).splitlines() if not line.startswith("#"))}


def units(gateway, sale):
    prefix = f'penstock_sale_units{{sale="{sale}",state="'
    return {name[len(prefix):-2]: value for name, value in values(gateway).items() if name.startswith(prefix)}


def test_promtool_finds_nothing(gateway):
    gateway.make_sale()
    done = subprocess.run(["promtool", "check", "metrics"], input=scrape(gateway), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_process_is_described_by_the_usual_names(gateway):
    seen = values(gateway)
    assert abs(seen["process_start_time_seconds"] - time.time()) < 600
    assert seen["process_virtual_memory_bytes"] >= seen["process_resident_memory_bytes"] > 1 << 20
    assert 10 < seen["process_open_fds"] < seen["process_max_fds"]
    for _ in range(200):
        gateway.public("GET", "/livez")
    assert values(gateway)["process_cpu_seconds_total"] > seen["process_cpu_seconds_total"] > 0


@pytest.mark.parametrize("kind, ask", [
    ("order", lambda gateway, sale: gateway.buy(sale, "ann")), ("content", lambda gateway, sale: gateway.public("GET", f"/v1/sales/{sale}")),
    ("refused", lambda gateway, sale: gateway.public("GET", "/v1/sales/nothing")), ("unavailable", lambda gateway, sale: gateway.buy(sale, "ben"))])
def test_every_class_of_answers_is_timed(gateway, kind, ask):
    sale = gateway.make_sale(stock=1)
    if kind == "unavailable":
        gateway.admin("POST", f"/admin/v1/sales/{sale}/pause")
    count, first, last = (f'penstock_answer_duration_seconds_{name}' for name in (f'count{{class="{kind}"}}', f'bucket{{class="{kind}",le="5e-05"}}',
                                                                                   f'bucket{{class="{kind}",le="+Inf"}}'))
    before, began = values(gateway), time.monotonic()
    ask(gateway, sale)
    took, after = time.monotonic() - began, values(gateway)
    assert after[count] == before[count] + 1 and after[last] == before[last] + 1 and first in after
    total = f'penstock_answer_duration_seconds_sum{{class="{kind}"}}'
    assert 0 < after[total] - before[total] < took
    gateway.admin("POST", f"/admin/v1/sales/{sale}/end")


def test_units_of_an_open_sale_are_left_held_or_confirmed(gateway):
    sale = gateway.make_sale(skus=[{"sku": "phone", "stock": 5}, {"sku": "case", "stock": 7}])
    assert units(gateway, sale) == {"left": 12, "held": 0, "confirmed": 0}
    order = gateway.buy(sale, "ann").json["order_id"]
    for user in ("ben", "cat"):
        assert gateway.buy(sale, user, sku="case").status == 202
    assert units(gateway, sale) == {"left": 9, "held": 3, "confirmed": 0}
    assert gateway.admin("POST", f"/admin/v1/orders/{order}/confirm").status == 200
    assert units(gateway, sale) == {"left": 9, "held": 2, "confirmed": 1}
    gateway.admin("POST", f"/admin/v1/sales/{sale}/pause")
    assert units(gateway, sale) == {"left": 9, "held": 2, "confirmed": 1}
    gateway.admin("POST", f"/admin/v1/sales/{sale}/end")
    assert units(gateway, sale) == {}


def test_at_most_sales_max_sales_are_shown_and_they_are_the_first_by_name(gateway):
    names = [gateway.make_sale(name) for name in ("aa-4", "aa-1", "aa-3", "aa-2")]
    shown = {name.split('"')[1] for name in values(gateway) if name.startswith("penstock_sale_units")}
    assert shown == {"aa-1", "aa-2", "aa-3"}
    for name in names:
        gateway.admin("POST", f"/admin/v1/sales/{name}/end")


def test_what_a_listener_refuses_is_counted_for_that_listener(gateway):
    public, admin = 'penstock_http_refused_total{verdict="malformed"}', 'penstock_admin_http_refused_total{verdict="malformed"}'
    before = values(gateway)
    raw(gateway.port, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (values(gateway)[public], values(gateway)[admin]) == (before[public] + 1, before[admin])
    raw(gateway.admin_port, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (values(gateway)[public], values(gateway)[admin]) == (before[public] + 1, before[admin] + 1)


def test_counters_by_verdict_have_no_series_that_cannot_move(gateway):
    seen = values(gateway)
    for verdict in ("created", "use_adjust", "precondition_failed", "misdirected", "headers_too_large"):
        assert f'penstock_answers_total{{verdict="{verdict}"}}' not in seen
    for verdict in ("accepted", "sold_out", "forbidden", "not_found"):
        assert f'penstock_http_refused_total{{verdict="{verdict}"}}' not in seen


# --- OpenMetrics. ---

OPEN = "application/openmetrics-text"
PROMETHEUS = f"{OPEN};version=1.0.0,{OPEN};version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
PARSE = """
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
families = list(text_string_to_metric_families(sys.stdin.read()))
print(json.dumps([[f.name, f.type, f.unit, [[s.name, s.labels, s.value, s.exemplar and s.exemplar.labels] for s in f.samples]] for f in families]))
"""


@pytest.mark.parametrize("accept, is_open", [
    (PROMETHEUS, True), (OPEN, True), (f"{OPEN}; version=1.0.0; charset=utf-8", True), (f"text/plain;q=0.2, {OPEN};q=0.3", True), (f"{OPEN}, text/plain", True),
    ("*/*", False), (None, False), ("", False), ("text/plain", False), (f"{OPEN};q=0, */*", False), (f"{OPEN};version=2.0.0", False), (f"text/plain, {OPEN};q=0.9", False),
    ("application/*", False), (f"{OPEN};q=high", False), (";,=" * 500, False), ("text/html", False)])
def test_who_names_open_metrics_gets_them_and_all_others_the_older_text(gateway, accept, is_open):
    answer = call(gateway.admin_port, "GET", "/metrics", headers={} if accept is None else {"Accept": accept})
    assert answer.status == 200 and answer.headers["vary"] == "Accept"
    kind = "application/openmetrics-text; version=1.0.0; charset=utf-8" if is_open else "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["content-type"] == kind and answer.text.endswith("# EOF\n") == is_open


def test_the_parser_of_prometheus_reads_open_metrics_with_units_and_exemplars(gateway):
    gateway.make_sale("traced")
    trace, unsampled = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b74bf92f3577b34da6"
    for user, field in (("ann", f"00-{trace}-00f067aa0ba902b7-01"), ("ben", f"00-{unsampled}-00f067aa0ba902b7-00"), ("cat", "00-nothing"), ("dan", None)):
        assert gateway.buy("traced", user, headers={} if field is None else {"traceparent": field}).status == 202
    text = call(gateway.admin_port, "GET", "/metrics", headers={"Accept": PROMETHEUS}).text
    python = subprocess.run([ROOT / "tests/python/fetch"], capture_output=True, text=True, check=True).stdout.strip()
    done = subprocess.run([python, "-c", PARSE], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    families = {name: (kind, unit, samples) for name, kind, unit, samples in json.loads(done.stdout)}
    assert families["penstock_answers"][0] == "counter" and families["process_cpu_seconds"][:2] == ("counter", "seconds")
    kind, unit, samples = families["penstock_answer_duration_seconds"]
    assert (kind, unit) == ("histogram", "seconds")
    assert {exemplar["trace_id"] for *_, exemplar in samples if exemplar} == {trace}
    newer, older = ({line.split(" # ")[0].rsplit(" ", 1)[0] for line in lines.splitlines() if line.startswith(("penstock_answer", "process_", "penstock_log"))}
                    for lines in (text, scrape(gateway)))
    assert newer == older and len(newer) > 100  # the same series, whichever is scraped
    gateway.admin("POST", "/admin/v1/sales/traced/end")


def test_no_trace_of_a_stranger_becomes_an_exemplar():
    """Only a trusted proxy says which traces are kept; a client of its own could have any written there."""
    traces = [f"{number:032x}" for number in range(1, 4)]
    with Gateway(settings={"trusted_proxies": ["127.0.0.1"]}) as gateway:
        gateway.make_sale("traced")
        for source, trace in zip(("127.0.0.9", "127.0.0.1", "127.0.0.9"), traces):
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20, source_address=(source, 0))
            with contextlib.closing(connection):
                connection.request("GET", "/v1/sales/traced", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
                assert connection.getresponse().status == 200
        text = call(gateway.admin_port, "GET", "/metrics", headers={"Accept": PROMETHEUS}).text
    assert [trace for trace in traces if trace in text] == traces[1:2]


def test_the_answers_to_each_open_sale_are_counted_apart(gateway):
    one, other = gateway.make_sale("apart-a", stock=1), gateway.make_sale("apart-b", stock=5)
    for sale, user in ((one, "ann"), (one, "ben"), (one, "cat"), (other, "ann")):
        gateway.buy(sale, user)
    gateway.public("GET", f"/v1/sales/{other}")
    series = {name: value for name, value in values(gateway).items() if name.startswith("penstock_sale_answers_total") and "apart-" in name}
    assert series == {f'penstock_sale_answers_total{{sale="{one}",verdict="accepted"}}': 1, f'penstock_sale_answers_total{{sale="{one}",verdict="sold_out"}}': 2,
                      f'penstock_sale_answers_total{{sale="{other}",verdict="accepted"}}': 1}
    for sale in (one, other):
        gateway.admin("POST", f"/admin/v1/sales/{sale}/end")
