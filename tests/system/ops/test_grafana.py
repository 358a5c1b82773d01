"""The dashboards of Grafana over a real Prometheus that scrapes a real gateway while a sale runs: every query of every panel has an answer."""
import contextlib
import json
import threading
import time

import pytest
from penstock import PATIENT_LOG, ROOT, Gateway, wait_until
from prometheus import Prometheus

PRINTED = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "deploy/grafana").glob("*.json"))}
# What may have no sample, because nothing of it happened: no order was pending, no limit refused; a gateway alone has no breaker.
MAY_BE_EMPTY = {"Pending", "Circuits that are not closed"}


def rush(gateway, sale, stop):
    """A crowd that buys, comes again, is refused, and pays now and then."""
    for number in range(100000):
        if stop.is_set():
            return
        with contextlib.suppress(OSError):
            answer = gateway.buy(sale, f"u{number}", headers={"traceparent": f"00-{number + 1:032x}-00f067aa0ba902b7-01"})
            gateway.public("GET", "/v1/sales/nothing")
            gateway.public("GET", f"/v1/sales/{sale}")
            if number % 10 == 0 and answer.status == 202:
                gateway.admin("POST", f"/admin/v1/orders/{answer.json['order_id']}/confirm")


@pytest.fixture(scope="module")
def scraped():
    """A Prometheus that has scraped a gateway for ten seconds of a sale, and the span."""
    with Gateway(settings=PATIENT_LOG) as gateway:
        gateway.no_limits()
        gateway.limit("sale-wide", algorithm="token_bucket", key="global", rate=40, period_s=1, burst=40, applies_to=["order"], mode="enforce")
        sale, stop = gateway.make_sale(stock=100000, per_user_cap=100000), threading.Event()
        gateway.override("feature:mirror", "off")
        crowd = [threading.Thread(target=rush, args=(gateway, sale, stop)) for _ in range(2)]
        with Prometheus(gateway.admin_port) as prometheus:
            begin = time.time()
            for thread in crowd:
                thread.start()
            gateway.audit(sale)
            time.sleep(12)
            gateway.admin("POST", f"/admin/v1/sales/{sale}/pause")
            time.sleep(3)
            stop.set()
            for thread in crowd:
                thread.join()
            yield prometheus, begin, time.time(), gateway


def queries():
    return [pytest.param(panel, target, id=f"{name}: {panel['title'].split(' · ')[0]}, {target['refId']}")
            for name, dashboard in PRINTED.items() for panel in dashboard["panels"] for target in panel["targets"]]


def filled_in(text, gateway=".+"):
    return text.replace("$gateway", gateway).replace("$sale", ".+").replace("$__rate_interval", "5s")


@pytest.mark.parametrize("panel, target", queries())
def test_a_panel_has_an_answer_during_a_sale(scraped, panel, target):
    prometheus, begin, end, gateway = scraped
    for chosen in (".+", f"127.0.0.1:{gateway.admin_port}"):
        series = prometheus.series(filled_in(target["expr"], chosen), begin, end)
        samples = [value for _, values in series for value in values if value == value]
        assert samples or panel["title"].split(" · ")[0] in MAY_BE_EMPTY, target["expr"]
        assert len(series) <= 80, len(series)
        assert all(value >= 0 for value in samples), (target["expr"], min(samples, default=0))
    assert prometheus.series(filled_in(target["expr"], "another:1"), begin, end) == []  # the variable is in every selector


@pytest.mark.parametrize("query", sorted({one["query"]["query"] for dashboard in PRINTED.values() for one in dashboard["templating"]["list"] if one["type"] == "query"}))
def test_a_variable_has_values(scraped, query):
    prometheus = scraped[0]
    metric, label = query.removeprefix("label_values(").removesuffix(")").split(", ")
    assert all(label in labels for labels in prometheus.ask("series", **{"match[]": metric})) and prometheus.ask("series", **{"match[]": metric})


def test_the_answers_to_a_sale_show_orders_and_both_kinds_of_no(scraped):
    prometheus, begin, end, _ = scraped
    panel = next(panel for panel in PRINTED["sale"]["panels"] if panel["title"].startswith("Answers to requests to buy"))
    seen = {labels["verdict"]: max(values) for labels, values in prometheus.series(filled_in(panel["targets"][0]["expr"]), begin, end)}
    assert min(seen["accepted"], seen["global_rate"], seen["paused"]) > 0, seen


def test_exemplars_lead_from_a_duration_to_a_trace(scraped):
    prometheus, begin, end, _ = scraped

    def stored():
        return prometheus.ask("query_exemplars", query='penstock_answer_duration_seconds_bucket{class="order"}', start=begin, end=end + 5)

    found = [exemplar for one in wait_until(stored, 15, what="exemplars") for exemplar in one["exemplars"]]
    assert all(int(one["labels"]["trace_id"], 16) > 0 and len(one["labels"]["trace_id"]) == 32 and 0 < float(one["value"]) < 60 for one in found) and found
