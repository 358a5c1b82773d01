"""The dashboards of Grafana: printed from their table, and what Grafana's own linter looks for: a variable for the data source, units, titles,
descriptions, legends, rates over $__rate_interval, the variable in every selector; and no metric that is not there."""
import importlib.machinery
import importlib.util
import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/grafana"
UNITS = {"short", "reqps", "s", "percentunit", "bytes", "bool_yes_no"}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def load():
    loader = importlib.machinery.SourceFileLoader("grafana_print", str(FOLDER / "print"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("grafana_print", loader))
    loader.exec_module(module)
    return module


PRINT = load()


@pytest.fixture(params=["sale", "gateway", "cluster"])
def dashboard(request):
    return json.loads((FOLDER / f"{request.param}.json").read_text(encoding="utf-8"))


def expressions(dashboard):
    return [(panel["title"], target) for panel in dashboard["panels"] for target in panel["targets"]]


def documented():
    """The metrics with their types and labels."""
    text = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
    parts = re.findall(r"^- \*\*`(\w+)`\*\* \((\w+)\):\n((?:  .*\n)+)", text, re.M)
    labels = {name: re.findall(r"^  Label `(\w+)`|^  Labels?: (.*)", rest, re.M) for name, _, rest in parts}
    return {name: (kind, {word for found in labels[name] for word in re.findall(r"\w+", " ".join(found))}) for name, kind, _ in parts}


@pytest.mark.parametrize("name", PRINT.DASHBOARDS)
def test_a_dashboard_is_the_one_that_its_table_prints(name):
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == PRINT.text_of(name), "deploy/grafana/print"


def test_there_is_a_dashboard_of_a_sale_of_a_gateway_and_of_a_cluster():
    assert set(PRINT.DASHBOARDS) == {path.stem for path in FOLDER.glob("*.json")} == {"sale", "gateway", "cluster"}


def test_a_dashboard_can_be_provisioned_as_it_is(dashboard):
    assert "__inputs" not in dashboard and "id" not in dashboard and dashboard["uid"].startswith("penstock-") and dashboard["editable"] is False
    names = [one["name"] for one in dashboard["templating"]["list"]]
    assert names == ["datasource", "gateway", "sale"][:len(names)] and len(names) >= 2 and ("sale" in names) == (dashboard["uid"] == "penstock-sale")
    source = dashboard["templating"]["list"][0]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    assert all(one["datasource"] == SOURCE and one["multi"] and one["allValue"] == ".+" for one in dashboard["templating"]["list"][1:])


def test_a_panel_says_what_it_shows_in_two_languages_and_in_which_unit(dashboard):
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids)) and 10 <= len(ids) <= 16
    titles = [panel["title"] for panel in dashboard["panels"]]
    assert len(titles) == len(set(titles))
    for panel in dashboard["panels"]:
        english, _, chinese = panel["title"].partition(" · ")
        assert english.isascii() and re.search(r"[\u4e00-\u9fffA-Za-z]", chinese), panel["title"]
        assert panel["description"].endswith(".") and panel["fieldConfig"]["defaults"]["unit"] in UNITS and panel["datasource"] == SOURCE
        assert panel["targets"] and len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_no_two_panels_overlap(dashboard):
    taken = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells


def test_every_selector_has_the_gateway_and_every_rate_its_interval(dashboard):
    for title, target in expressions(dashboard):
        expression = target["expr"]
        selectors = re.findall(r"\b((?:penstock|process)_\w+|up)\{([^}]*)\}", expression)
        assert selectors and len(selectors) == len(re.findall(r"\{", expression)), (title, expression)
        assert all('instance=~"$gateway"' in matchers for _, matchers in selectors), (title, expression)
        ranges = re.findall(r"\[([^\]]*)\]", expression)
        assert set(ranges) <= {"$__rate_interval"} and "irate" not in expression, (title, expression)
        assert target["legendFormat"] and target["datasource"] == SOURCE, title


def test_every_metric_and_label_is_there_and_counters_are_shown_as_rates(dashboard):
    known = documented()
    assert len(known) > 50
    for title, target in expressions(dashboard):
        expression = target["expr"]
        for name, matchers in re.findall(r"\b((?:penstock|process)_\w+)\{([^}]*)\}", expression):
            base = re.sub(r"_(bucket|count|sum)$", "", name)
            kind, labels = known[base if known.get(base, ("",))[0] == "histogram" else name]
            used = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", matchers)) - {"instance"}
            assert used <= labels, (title, name, used, labels)
            if kind != "gauge":
                assert re.search(rf"(rate|increase)\({name}\{{", expression), (title, expression)
        wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        grouped = {word for group in re.findall(r"\bby \(([^)]*)\)", expression) for word in re.findall(r"\w+", group)}
        assert wanted <= grouped, (title, target["legendFormat"], grouped)
        assert not grouped & {"user", "order", "order_id", "request_id", "address", "ip"}, title
