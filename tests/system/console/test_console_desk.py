"""The desk in the desk: sales, plans, overrides, explanations, watches, the audit log, tokens."""
import contextlib
import csv
import re

from browser import new_token
from console_pages import Operator
from penstock import ANY_VERSION, wait_until


def run_of(desk):
    """The run whose page is open."""
    desk.page.wait_for_url("**/#/runs/*")
    desk.settle()
    return desk.page.url.rsplit("/", 1)[1]


def run(gateway, name):
    return gateway.read(f"/admin/v1/runs/{name}").json


@contextlib.contextmanager
def plan(gateway, name, **members):
    answer = gateway.admin("PUT", f"/admin/v1/plans/{name}", {"title": "A drill", "ttl_s": 900, **members})
    assert answer.status == 201, answer
    yield
    assert gateway.admin("DELETE", f"/admin/v1/plans/{name}", headers=ANY_VERSION).status == 204


def test_a_sale_is_paused_resumed_adjusted_audited_and_ended(desk, desk_gateway):
    name = desk_gateway.make_sale(stock=10)
    desk.go(f"sales/{name}")
    desk.press("Pause")
    desk.answer("Pause", reason="the price is wrong")
    desk.said("is paused now")
    assert desk_gateway.sale(name)["state"] == "paused"
    desk.press("Resume")
    desk.answer("Resume")
    desk.said("is open now")
    desk.press("Adjust stock: phone")
    desk.answer("Adjust the stock of phone", Units_to_add="5")
    desk.said("15 are left now")
    assert desk_gateway.sale(name)["skus"][0]["available"] == 15
    desk.press("Audit")
    assert "The counter agrees with the log" in desk.dialog()
    desk.answer("Close", reason=None)
    desk.press("Rebuild the counter")
    desk.answer("Rebuild the counter")
    desk.said("built anew")
    desk.press("End for good")
    desk.answer("End for good", reason="over")
    desk.page.get_by_text("settled", exact=True).wait_for()
    assert desk_gateway.sale(name)["state"] == "settled" and not desk.button("Pause").count()


def test_a_plan_is_tried_run_and_taken_back(desk, desk_gateway):
    desk.go("plans/page-slow")
    desk.press("Dry run")
    said = desk.dialog()
    assert all(word in said for word in ("It would start now", "true", "the sale spring is open", "limits/ip", "/rate", "50", "20", "blocklist/ips/198.51.100.0/24", "level")), said
    assert desk_gateway.read("/admin/v1/limits/ip").json["rate"] == 50
    desk.answer("Close", reason=None)
    desk.press("Run…")
    desk.answer("Run now", reason="the page is slow")
    name = run_of(desk)
    assert run(desk_gateway, name)["state"] == "active" and desk_gateway.read("/admin/v1/limits/ip").json["rate"] == 20
    assert re.search(r"ends in 1[45] min", desk.text()), desk.text()
    desk.press("Revert")
    desk.answer("Revert", reason="it is over")
    desk.page.get_by_text("ended: reverted").first.wait_for()
    assert desk_gateway.read("/admin/v1/limits/ip").json["rate"] == 50 and "level" not in desk_gateway.overrides()


def test_a_plan_with_a_start_is_armed_and_cancelled(desk, desk_gateway):
    with plan(desk_gateway, "later", steps=[{"override": {"target": "level", "value": 1}}], start={"signal": "pressure", "above": 50, "for_s": 10}):
        desk.go("plans/later")
        desk.press("Arm…")
        assert "It would wait" in desk.dialog()
        desk.answer("Arm now", reason="for the opening")
        name = run_of(desk)
        assert run(desk_gateway, name)["state"] == "armed" and "lapses in" in desk.text()
        desk.press("Cancel the run")
        desk.answer("Cancel the run", reason="")
        assert run(desk_gateway, name)["state"] == "armed", "it was cancelled without a reason"
        desk.answer("Cancel the run", reason="it is quiet")
        desk.page.get_by_text("ended: cancelled").first.wait_for()
        assert run(desk_gateway, name)["end"] == "cancelled"


def test_a_plan_that_cannot_start_says_why_and_changes_nothing(desk, desk_gateway):
    with plan(desk_gateway, "never", steps=[{"patch": {"kind": "limit", "name": "ip", "with": {"rate": 20}}}], when=[{"sale": "spring", "state": "paused"}]):
        desk.go("plans/never")
        desk.press("Dry run")
        said = desk.dialog()
        assert "It would fail" in said and "false" in said and "(now: open)" in said, said
        desk.answer("Close", reason=None)
        desk.press("Run…")
        desk.answer("Run now")
        desk.page.get_by_text("The run was refused").wait_for()
        assert "/when/0" in desk.dialog()
        desk.answer("Close", reason=None)
        assert not [one for one in desk_gateway.read("/admin/v1/runs?plan=never").json["runs"]]


def test_a_conflict_with_another_run_is_said_once(desk, desk_gateway):
    steps = [{"patch": {"kind": "limit", "name": "polling", "with": {"burst": 9}}}, {"override": {"target": "feature:mirror", "value": "off"}}]
    with plan(desk_gateway, "first", steps=steps), plan(desk_gateway, "second", steps=steps, when=[{"sale": "spring", "state": "paused"}]):
        made = desk_gateway.admin("POST", "/admin/v1/plans/first/runs", {"reason": "a test"}).json["run"]
        desk.go("plans/second")
        desk.press("Dry run")
        said = desk.dialog()
        assert said.count("limits/polling/burst") == 1 and said.count("overrides/feature:mirror") == 1 and "/when/0" not in said, said
        assert said.count(made) == 2 and said.count("the sale spring is paused") == 1, said
        desk.answer("Close", reason=None)
        assert desk_gateway.admin("POST", f"/admin/v1/runs/{made}/revert", {"reason": "a test"}).status == 200


def test_what_somebody_has_changed_since_suspends_a_run_until_it_is_decided(desk, desk_gateway):
    with plan(desk_gateway, "slow", steps=[{"patch": {"kind": "limit", "name": "polling", "with": {"burst": 9}}}]):
        desk.go("plans/slow")
        desk.press("Run…")
        desk.answer("Run now")
        name = run_of(desk)
        desk_gateway.limit("polling", burst=7)
        desk.press("Revert")
        desk.answer("Revert")
        desk.page.get_by_text("suspended", exact=True).wait_for()
        assert "Left as it is: it was changed since; the version in force is by first. It is now 7" in desk.text(), desk.text()
        desk.press("Revert")
        desk.page.locator("dialog[open]").get_by_label("Also what others have changed since").check()
        desk.answer("Revert")
        desk.page.get_by_text("ended: reverted").first.wait_for()
        assert run(desk_gateway, name)["end"] == "reverted" and desk_gateway.read("/admin/v1/limits/polling").json["burst"] == 5


def test_another_token_approves_and_the_one_that_has_started_is_not_offered_it(browser, desk, desk_gateway):
    with plan(desk_gateway, "two", steps=[{"override": {"target": "feature:exports", "value": "off"}}], approvals=1):
        desk.go("plans/two")
        desk.press("Run…")
        assert "break glass" in desk.dialog()
        desk.answer("Run now")
        name = run_of(desk)
        assert not desk.button("Approve").count() and "other tokens must approve" in desk.text()
        with Operator(browser, desk_gateway, new_token(desk_gateway, "operator")[1]) as other:
            other.go(f"runs/{name}")
            other.press("Approve")
            other.answer("Approve", reason="agreed")
            other.page.get_by_text("active", exact=True).first.wait_for()
            other.press("Revert")
            other.answer("Revert")
            other.page.get_by_text("ended: reverted").first.wait_for()


def test_an_override_is_set_on_what_exists_and_ended_by_its_button(desk, desk_gateway):
    desk.go("overrides")
    desk.page.select_option("#override-kind", "limit")
    desk.page.locator("#override-target option", has_text="limit:status").wait_for(state="attached")
    desk.page.select_option("#override-target", "limit:status")
    desk.page.select_option("#override-value", "off")
    desk.press("5 min")
    desk.press("Override…")
    said = desk.dialog()
    assert "limit:status" in said and "enforce" in said and "off" in said and "300 s" in said, said
    desk.answer("Make the change", reason="a rehearsal")
    desk.said("limit:status is off now")
    now = desk_gateway.overrides()["limit:status"]
    assert (now["value"], now["reason"]) == ("off", "a rehearsal")
    desk.press("End: limit:status")
    desk.answer("End it", reason="it is over")
    desk.said("has ended")
    assert "limit:status" not in desk_gateway.overrides()


def test_enter_in_a_reason_does_the_thing_once_and_opens_nothing(desk, desk_gateway):
    """Also in the dialogs that ask for more than a reason, and where the focus goes back to the button that opened it."""
    desk_gateway.override("limit:status", "off")
    desk.go("overrides")
    desk.press("End: limit:status")
    desk.page.get_by_role("dialog").get_by_role("textbox").fill("it is over")
    desk.page.keyboard.press("Enter")
    desk.said("has ended")
    assert desk.page.get_by_role("dialog").count() == 0 and "limit:status" not in desk_gateway.overrides()
    sale = desk_gateway.make_sale()
    desk.go(f"sales/{sale}")
    desk.press("Pause")
    desk.page.get_by_role("dialog").get_by_role("textbox").fill("a test")
    desk.page.keyboard.press("Enter")
    wait_until(lambda: desk_gateway.sale(sale)["state"] == "paused")
    desk.settle()
    assert desk.page.get_by_role("dialog").count() == 0


def test_a_wrong_override_is_refused_beside_the_form(desk, desk_gateway):
    desk.go("overrides")
    desk.page.fill("#override-ttl", "forever")
    desk.press("Override…")
    desk.page.get_by_text("/ttl_s").wait_for()
    assert "level" not in desk_gateway.overrides()


def test_a_refusal_and_a_described_order_are_explained_gate_by_gate(desk, desk_gateway):
    ref = desk_gateway.buy("spring", "mallory").json["ref"]
    desk.go(f"explain?ref={ref}")
    desk.page.get_by_text("on the blocklist").first.wait_for()
    assert "blocked" in desk.text(".answer") and desk_gateway.read("/admin/v1/settings").json["gateway"] in desk.text(".answer")
    form = desk.page.locator("form", has_text="An order")
    for label, value in {"User": "mallory", "Address": "192.0.2.1", "Sale": "spring", "SKU": "phone"}.items():
        form.get_by_label(label, exact=True).fill(value)
    form.get_by_role("button", name="Explain").click()
    form.locator(".gates li").first.wait_for()
    gates = form.locator(".gates li").all_inner_texts()
    assert gates[0].startswith("pass phase") and gates[-1].startswith("blocked blocklist"), gates
    page = desk.page.locator("form", has_text="A page")
    page.get_by_label("Address", exact=True).fill("192.0.2.1")
    page.get_by_label("Path", exact=True).fill("/p/1")
    page.get_by_role("button", name="Explain").click()
    page.get_by_text("The way of the page").wait_for()
    assert "blue" in page.inner_text()


def test_a_watch_shows_what_a_buyer_gets(desk, desk_gateway):
    desk.go("watches")
    desk.press("Watch a buyer")
    desk.answer("Watch a buyer", User="carol", reason="ticket 4712")
    desk.page.wait_for_url("**/#/watches/carol")
    desk_gateway.buy("spring", "carol", sku="tablet")
    desk.page.get_by_text("/v1/sales/{sale}/orders").first.wait_for()
    desk.press("End the watch")
    desk.answer("End the watch")
    desk.said("has ended")
    assert desk_gateway.admin("GET", "/admin/v1/watches/carol").status == 404


def test_the_audit_log_says_who_and_what_and_whether_its_chain_holds(desk, desk_gateway):
    desk_gateway.limit("global", rate=19000, reason="a smaller machine")
    desk.go("audit")
    assert "The chain of these" in desk.text() and "holds" in desk.text()
    desk.page.fill("#audit-why", "a smaller machine")
    row = desk.page.locator("tbody tr").first
    assert "limits/global" in row.inner_text() and "first" in row.inner_text()
    row.locator("summary").click()
    row.get_by_text("/rate").wait_for()
    assert "20000" in row.inner_text() and "19000" in row.inner_text()

    def forge(route):
        text = route.fetch().text()
        route.fulfill(body=text.replace("a smaller machine", "a larger machine"), content_type="application/x-ndjson")

    desk.page.route("**/admin/v1/audit-log*", forge)
    desk_gateway.limit("global", rate=20000)
    desk.go("audit")
    assert "The chain is broken before line" in desk.text()


def test_a_cache_is_purged(desk, desk_gateway):
    desk.go("caches/default")
    desk.press("Purge…")
    desk.page.locator("dialog[open] select").select_option("prefix")
    desk.answer("Purge", **{"Path, beginning or tag": "/p/"})
    desk.said("is purged")
    assert desk_gateway.read("/admin/v1/audit-log?limit=1").lines()[-1]["action"] == "cache.purge"


def test_a_tokens_secret_is_shown_once(desk, desk_gateway):
    desk.go("tokens")
    desk.press("Create a token")
    desk.answer("Create a token", Note="Ann", reason="she is new")
    desk.page.get_by_text("is not shown again").wait_for()
    secret = desk.page.input_value("#secret")
    assert desk_gateway.admin("GET", "/admin/v1/sales", token=secret).status == 200
    desk.answer("I have it", reason=None)
    assert secret not in desk.page.content()
    made = [one for one in desk_gateway.read("/admin/v1/tokens").json["tokens"] if one["note"] == "Ann"][0]
    desk.press(f"Remove: {made['id']}")
    desk.answer("Remove", reason="she has left")
    desk.said("is removed")
    assert desk_gateway.admin("GET", "/admin/v1/sales", token=secret).status == 401


def with_formula(route):
    answer = route.fetch()
    route.fulfill(response=answer, body=answer.text().replace("check: connection refused", "=1+1"))


def test_every_endpoint_of_every_pool_is_on_one_page_and_in_a_file(desk, desk_gateway):
    desk_gateway.admin("PUT", "/admin/v1/pools/checked", {"endpoints": [{"address": "127.0.0.1:9"}, {"address": "127.0.0.1:11"}], "health": {"path": "/health", "interval_ms": 100, "timeout_ms": 100}})
    try:
        wait_until(lambda: all(one["state"] == "down" for one in desk_gateway.read("/admin/v1/pools/checked").json["live"]), what="the checks")
        desk.go("endpoints")
        heads = desk.page.locator("tbody tr.head")
        heads.filter(has_text="0 / 2").wait_for()
        assert [name.split()[0] for name in heads.all_inner_texts()] == ["blue", "checked", "green"]
        assert desk.page.locator("tbody tr:not(.head)").count() == 4 and "check: connection refused" in desk.text() and "/health 100 ms" in heads.nth(1).inner_text()
        assert "4 endpoints in 3 pools, 2 of them not in use" in desk.text()
        with desk.page.expect_download() as download:
            desk.press("Download CSV")
        rows = list(csv.DictReader(download.value.path().read_text(encoding="utf-8").splitlines()))
        assert sorted((row["pool"], row["address"], row["state"], row["weight"]) for row in rows) == [
            ("blue", "127.0.0.1:9", "up", "1"), ("checked", "127.0.0.1:11", "down", "1"), ("checked", "127.0.0.1:9", "down", "1"), ("green", "127.0.0.1:10", "up", "2")]
        assert rows[1]["why"] == "check: connection refused" and rows[0]["why"] == rows[0]["p99_ms"] == "" and rows[0]["requests"] == "0"
        desk.page.route("**/admin/v1/pools*", lambda route: with_formula(route))
        desk.page.get_by_text("=1+1").first.wait_for()
        with desk.page.expect_download() as download:
            desk.press("Download CSV")
        text = download.value.path().read_text(encoding="utf-8")
        assert ",\"'=1+1\"" in text and ",=1+1" not in text  # a spreadsheet runs none
        desk.page.unroute("**/admin/v1/pools*")
        desk.page.route("**/admin/v1/pools*", lambda route: route.abort())
        desk.page.wait_for_timeout(1500)
        with desk.page.expect_download() as download:
            desk.press("Download CSV")
        assert desk.text("main time") and download.value.suggested_filename.endswith(desk.page.get_attribute("main time", "datetime")[:19].replace(":", "") + "Z.csv")
    finally:
        desk_gateway.admin("DELETE", "/admin/v1/pools/checked", headers=ANY_VERSION)
