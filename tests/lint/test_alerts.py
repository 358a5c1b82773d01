"""The alerts as Prometheus reads them: well-formed, silent while all is well, and each with a page that says what to do."""
import re
import subprocess

import pytest
import yaml
from test_documents import ROOT

RULES = ROOT / "deploy/prometheus/penstock.rules.yml"


def rules():
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def test_prometheus_accepts_the_rules_and_the_scrape():
    for words in (["check", "rules", RULES], ["check", "config", ROOT / "deploy/prometheus/prometheus.yml"]):
        done = subprocess.run(["promtool", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", ["docs/troubleshooting.md", "docs/zh/troubleshooting.md"])
def test_the_runbook_url_of_each_alert_leads_to_a_section_that_says_what_to_do(page):
    """In both languages: the anchor of the English page is also one of the Chinese page, and text follows the heading."""
    text = (ROOT / page).read_text(encoding="utf-8")
    filled = {heading.lower() for heading, body in re.findall(r"^### (\S+)\n+(?!#)(\S)", text, re.M)}
    for rule in rules():
        assert rule["annotations"].get("runbook_url") == f"docs/troubleshooting.md#{rule['alert'].lower()}", rule["alert"]
        assert rule["alert"].lower() in filled, f"{page} has no section {rule['alert']}"


def assert_plan(tmp_path, series, checks):
    """promtool confirms these checks of the rules with these series."""
    plan = tmp_path / "plan.yml"
    plan.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [{"interval": "1m", "input_series": series, "alert_rule_test": checks}]}))
    done = subprocess.run(["promtool", "test", "rules", plan], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def cluster(job, members):
    """The series of one cluster's gateways over ten minutes; `members` is how many members each gateway sees."""
    for number, seen in enumerate(members, 1):
        labels = f'{{job="{job}", instance="{job}-{number}"}}'
        yield {"series": f"up{labels}", "values": "1x10"}
        yield {"series": f"penstock_log_available{labels}", "values": "1x10"}
        yield {"series": f"penstock_cluster_members{labels}", "values": f"{seen}x10"}
        yield {"series": f'penstock_answers_total{{job="{job}", instance="{job}-{number}", verdict="unauthenticated"}}', "values": "0x10"}
        yield {"series": f'penstock_override_oldest_seconds{labels}', "values": "0x10"}
        yield {"series": f'penstock_plans_suspended{labels}', "values": "0x10"}
        yield {"series": f'penstock_plan_break_glass_total{labels}', "values": "0x10"}
        for end, values in (("failed", "0x10"), ("reverted", "0+1x10")):
            yield {"series": f'penstock_plan_runs_total{{job="{job}", instance="{job}-{number}", end="{end}"}}', "values": values}
        yield {"series": f'penstock_route_returns_total{{job="{job}", instance="{job}-{number}", route="product", cause="errors"}}', "values": "0x10"}


@pytest.mark.parametrize("state, alert, since, summary", [
    ("failed", "PenstockDiscoveryFailing", "2m", "gw-1: the endpoints of the pool web are out of date: its file fails"),
    ("held", "PenstockListHeld", "0m", "gw-1: the new list of the pool web has far fewer endpoints; it is held for a minute")])
def test_an_alert_fires_for_a_discovery_that_fails_or_holds_a_list(tmp_path, state, alert, since, summary):
    """Once it has been in that state for so long, and not before."""
    series = [{"series": f'penstock_discovery_state{{instance="gw-1", pool="web", source="file", state="{one}"}}', "values": f"0x3 {int(one == state)}x10"}
              for one in ("waiting", "ok", "failed", "held")]
    fires = {"exp_labels": {"instance": "gw-1", "pool": "web", "source": "file", "state": state, "severity": "ticket"},
             "exp_annotations": {"summary": summary, "runbook_url": f"docs/troubleshooting.md#{alert.lower()}"}}
    due = 4 + int(since[:-1])
    checks = [{"eval_time": f"{minute}m", "alertname": name, "exp_alerts": [fires] if name == alert and minute >= due else []}
              for minute in (3, due, due + 3) for name in ("PenstockDiscoveryFailing", "PenstockListHeld")]
    assert_plan(tmp_path, series, checks)


@pytest.mark.parametrize("jobs, apart", [
    ({"penstock": [0]}, set()), ({"penstock": [3, 3, 3]}, set()), ({"penstock": [3, 3, 3], "penstock-b": [2, 2]}, set()), ({"penstock": [2, 2, 1]}, {"penstock"}),
    ({"penstock": [3, 3]}, {"penstock"}), ({"penstock": [3, 3, 3], "penstock-b": [2, 1]}, {"penstock-b"})],
    ids=["one alone", "three", "two clusters", "three, of which one is not seen", "three, of which one is not scraped", "two clusters, one apart"])
def test_alerts_are_silent_where_all_is_well(tmp_path, jobs, apart):
    series = [row for job, members in jobs.items() for row in cluster(job, members)]
    checks = [{"eval_time": "5m", "alertname": rule["alert"], "exp_alerts": []} for rule in rules() if rule["alert"] != "PenstockMembersApart"]
    checks.append({"eval_time": "5m", "alertname": "PenstockMembersApart", "exp_alerts": [
        {"exp_labels": {"job": job, "severity": "ticket"},
         "exp_annotations": {"summary": f"{job}: not all gateways see each other; do they use the same Redis?",
                             "runbook_url": "docs/troubleshooting.md#penstockmembersapart"}} for job in sorted(apart)]})
    assert_plan(tmp_path, series, checks)


@pytest.mark.parametrize("name, values, labels, alert, summary", [
    ("penstock_route_returns_total", "0 0 0 1x10", {"route": "product", "cause": "errors"}, "PenstockSplitReturned",
     "gw-1 has taken back a split of the route product; cause: errors")])
def test_an_alert_fires_for_a_split_that_the_gateway_took_back(tmp_path, name, values, labels, alert, summary):
    labels = {"instance": "gw-1", **labels}
    series = [{"series": name + "{" + ", ".join(f'{key}="{value}"' for key, value in labels.items()) + "}", "values": values}]
    fires = {"exp_labels": {**labels, "severity": "ticket"}, "exp_annotations": {"summary": summary, "runbook_url": f"docs/troubleshooting.md#{alert.lower()}"}}
    assert_plan(tmp_path, series, [{"eval_time": "0m", "alertname": alert, "exp_alerts": []}, {"eval_time": "5m", "alertname": alert, "exp_alerts": [fires]}])


def test_an_alert_fires_once_for_an_override_that_is_older_than_a_day(tmp_path):
    series = [{"series": f'penstock_override_oldest_seconds{{job="penstock", instance="gw-{n}"}}', "values": "86100+60x20"} for n in (1, 2)]
    fires = {"exp_labels": {"job": "penstock", "severity": "ticket"},
             "exp_annotations": {"summary": "penstock: an override has been in force for more than a day; is it still needed?",
                                 "runbook_url": "docs/troubleshooting.md#penstockoverrideforgotten"}}
    checks = [{"eval_time": f"{minute}m", "alertname": "PenstockOverrideForgotten", "exp_alerts": [fires] if minute == 6 else []} for minute in (0, 5, 6)]
    assert_plan(tmp_path, series, checks)


@pytest.mark.parametrize("name, end, alert, severity, summary", [
    ("penstock_plan_runs_total", {"end": "failed"}, "PenstockPlanFailed", "page", "gw-1: a run of a plan was due and has changed nothing"),
    ("penstock_plan_break_glass_total", {}, "PenstockBreakGlass", "ticket", "gw-1: a plan was run without the approvals that it needs")])
def test_an_alert_fires_for_a_run_of_a_plan_that_fails_or_is_not_approved(tmp_path, name, end, alert, severity, summary):
    labels = {"job": "penstock", "instance": "gw-1", **end}
    series = [{"series": name + "{" + ", ".join(f'{key}="{value}"' for key, value in labels.items()) + "}", "values": "0 0 0 1x20"}]
    fires = {"exp_labels": {**labels, "severity": severity}, "exp_annotations": {"summary": summary, "runbook_url": f"docs/troubleshooting.md#{alert.lower()}"}}
    if alert == "PenstockPlanFailed":
        fires["exp_annotations"]["description"] = "GET /admin/v1/runs?state=ended lists it (failed, or expired before it started); why says what was missing."
    checks = [{"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": [fires] if minute == 5 else []} for minute in (2, 5, 20)]
    assert_plan(tmp_path, series, checks)


def test_an_alert_fires_once_for_a_run_of_a_plan_that_is_suspended_until_somebody_decides(tmp_path):
    series = [{"series": f'penstock_plans_suspended{{job="penstock", instance="gw-{n}"}}', "values": "0x3 1x5 0x5"} for n in (1, 2)]
    fires = {"exp_labels": {"job": "penstock", "severity": "ticket"},
             "exp_annotations": {"summary": "penstock: a run of a plan could not take back all that it has changed",
                                 "runbook_url": "docs/troubleshooting.md#penstockplansuspended"}}
    checks = [{"eval_time": f"{minute}m", "alertname": "PenstockPlanSuspended", "exp_alerts": [fires] if minute == 5 else []} for minute in (3, 5, 12)]
    assert_plan(tmp_path, series, checks)


@pytest.mark.parametrize("ok, at, alert, severity, summary", [
    ("1x90", "0x90", "PenstockAuditStale", "ticket", "gw-1: the sale spring has not been audited for an hour"),
    ("1 0x89", "0+60x90", "PenstockAuditFailed", "page", "gw-1: the audit of the sale spring has found violations"),
    ("1x90", "0+60x90", None, None, None)])
def test_an_alert_fires_for_an_audit_that_fails_and_for_one_that_is_overdue(tmp_path, ok, at, alert, severity, summary):
    """The samples' clock begins at 0, as the time of the first audit."""
    labels = {"instance": "gw-1", "sale": "spring"}
    series = [{"series": f'penstock_audit_{name}{{instance="gw-1", sale="spring"}}', "values": values} for name, values in (("ok", ok), ("timestamp_seconds", at))]
    fires = {"exp_labels": {**labels, "severity": severity},
             "exp_annotations": {"summary": summary, "runbook_url": f"docs/troubleshooting.md#{(alert or '').lower()}"}}
    if alert == "PenstockAuditFailed":
        fires["exp_annotations"]["description"] = "GET /admin/v1/sales/SALE/audit lists them. If the rule is cut, POST /admin/v1/sales/SALE/rebuild rebuilds the counter."
    checks = [{"eval_time": "80m", "alertname": name, "exp_alerts": [fires] if name == alert else []} for name in ("PenstockAuditFailed", "PenstockAuditStale")]
    assert_plan(tmp_path, series, checks)
