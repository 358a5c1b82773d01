"""Documents in the desk: changed with their difference and a reason, never overwritten, nothing dropped, said only when it is so."""
import json

import pytest
from penstock import ANY_VERSION, wait_until


def get(gateway, path):
    return gateway.read("/admin/v1/" + path).json


def patch(gateway, path, members):
    answer = gateway.admin("PATCH", "/admin/v1/" + path, members, ANY_VERSION)
    assert answer.status == 200, answer


@pytest.fixture()
def rule(desk_gateway):
    """A limit rule of the test's own, in its first version."""
    name = "mine"
    desk_gateway.limit(name, algorithm="token_bucket", key="ip", rate=50, burst=70, period_s=10, mode="shadow")
    yield name
    desk_gateway.admin("DELETE", f"/admin/v1/limits/{name}", headers=ANY_VERSION)


def last_audit(gateway):
    return gateway.read("/admin/v1/audit-log?limit=1").lines()[-1]


def test_a_limit_is_changed_after_its_difference_and_with_a_reason(desk, desk_gateway):
    desk_gateway.limit("user", rate=1, burst=5, period_s=3600)
    desk.go("limits/user")
    desk.field("/burst").fill("1")
    desk.press("Save…")
    said = desk.dialog()
    assert "/burst" in said and "5" in said and "would have refused" in said, said
    desk.answer("Make the change", reason="")
    assert get(desk_gateway, "limits/user")["burst"] == 5, "it was sent without a reason"
    desk.answer("Make the change", reason="bots from one network")
    desk.said("is in force")
    assert get(desk_gateway, "limits/user")["burst"] == 1
    assert last_audit(desk_gateway)["why"] == "bots from one network"
    assert [desk_gateway.buy("spring", "ann", key=key).status for key in ("one", "two")] == [202, 429]
    assert "Version 3" in desk.text()


def test_a_change_by_another_operator_is_shown_and_not_overwritten(desk, desk_gateway, rule):
    desk.go(f"limits/{rule}")
    desk.field("/rate").fill("45")
    desk.field("/burst").fill("77")
    patch(desk_gateway, f"limits/{rule}", {"rate": 60, "period_s": 20, "reason": "theirs"})
    desk.press("Save…")
    desk.page.wait_for_selector(".meanwhile")
    said = desk.text(".meanwhile")
    assert all(word in said for word in ("/rate", "45", "60", "/burst", "77", "/period_s", "theirs", "Nothing of yours was saved")), said
    assert get(desk_gateway, f"limits/{rule}")["rate"] == 60
    assert desk.button("Continue with both").is_disabled(), "nothing was chosen for the member that both have changed"
    desk.page.get_by_label("yours", exact=True).check()
    desk.press("Continue with both")
    desk.press("Save…")
    said = desk.dialog()
    assert "/rate" in said and "60" in said and "/period_s" not in said, said
    desk.answer("Make the change")
    desk.said("is in force")
    now = get(desk_gateway, f"limits/{rule}")
    assert (now["rate"], now["burst"], now["period_s"]) == (45, 77, 20), now


def test_a_member_that_the_form_does_not_know_survives_a_save(desk, desk_gateway, rule):
    trial = {"rate": 2, "burst": 3, "period_s": 1}

    def older(route):
        schema = route.fetch().json()
        for member in ("burst", "trial"):
            del schema["properties"][member]
        route.fulfill(json=schema)

    patch(desk_gateway, f"limits/{rule}", {"trial": trial})
    desk.page.route("**/admin/v1/schema/limit*", older)
    desk.go(f"limits/{rule}")
    assert "does not know" in desk.text(".unknown") and "burst" in desk.text(".unknown")
    desk.field("/rate").fill("44")
    desk.press("Save…")
    desk.answer("Make the change")
    desk.said("is in force")
    now = get(desk_gateway, f"limits/{rule}")
    assert (now["rate"], now["burst"], now["trial"]) == (44, 70, trial), now


def test_faults_stand_beside_their_members_and_nothing_is_changed(desk, desk_gateway, rule):
    desk.go(f"limits/{rule}")
    desk.field("/rate").fill("many")
    desk.page.locator('[data-pointer="/trial"]').get_by_label("there is one").check()
    desk.press("Save…")
    desk.page.wait_for_selector('[aria-invalid="true"]')
    assert "whole number" in desk.text('[data-pointer="/rate"] .faults')
    assert "is missing" in desk.text('[data-pointer="/trial/period_s"] .faults')
    assert "Nothing is changed" in desk.text(".says")
    assert get(desk_gateway, f"limits/{rule}")["rate"] == 50
    desk.press("Undo all")
    assert desk.field("/rate").input_value() == "50" and "Nothing is changed" in desk.text(".state")


def test_success_is_said_only_after_the_gateway_has_said_it(desk, desk_gateway, rule):
    desk.page.route("**/admin/v1/limits/mine", lambda route: route.abort() if route.request.method == "PUT" else route.continue_())
    desk.go(f"limits/{rule}")
    desk.field("/rate").fill("44")
    desk.press("Save…")
    desk.answer("Make the change")
    desk.page.wait_for_selector(".refusal")
    assert "may be in force or not" in desk.text(".refusal") and "is in force." not in desk.text(".notices")


def test_a_document_is_made_rolled_back_and_deleted(desk, desk_gateway):
    desk.go("limits?new=1")
    desk.page.fill("#document-name", "fresh")
    desk.field("/rate").fill("9")
    desk.press("Create…")
    desk.answer("Make the change", reason="new")
    desk.page.wait_for_url("**/#/limits/fresh")
    assert get(desk_gateway, "limits/fresh")["rate"] == 9
    patch(desk_gateway, "limits/fresh", {"rate": 8, "reason": "less"})
    desk.go("limits/fresh?view=history")
    assert "less" in desk.text() and "new" in desk.text()
    desk.page.locator("summary").first.click()
    desk.page.get_by_text("/rate").first.wait_for()
    desk.press("Roll back to it…: 1")
    assert "/rate" in desk.dialog()
    desk.answer("Make the change", reason="undo")
    desk.said("Rolled back to version 1")
    assert get(desk_gateway, "limits/fresh")["rate"] == 9
    desk.go("limits/fresh")
    desk.press("Delete…")
    desk.answer("Make the change", reason="not needed")
    desk.page.wait_for_url("**/#/limits")
    assert desk_gateway.admin("GET", "/admin/v1/limits/fresh").status == 404
    desk.go("limits/fresh?view=history")
    desk.press("Roll back to it…: 1")
    desk.answer("Make the change", reason="needed after all")
    wait_until(lambda: desk_gateway.admin("GET", "/admin/v1/limits/fresh").status == 200, what="the limit that was deleted")
    desk_gateway.admin("DELETE", "/admin/v1/limits/fresh", headers=ANY_VERSION)


def test_json_is_one_click_away_and_edits_the_same_document(desk, desk_gateway, rule):
    desk.go(f"limits/{rule}")
    desk.field("/rate").fill("41")
    desk.press("JSON")
    raw = desk.page.locator("textarea.raw")
    document = json.loads(raw.input_value())
    assert document["rate"] == 41
    raw.fill("{")
    desk.press("Save…")
    desk.said("no JSON yet")
    desk.press("Form")
    assert raw.is_visible(), "the text that is no JSON was dropped"
    raw.fill(json.dumps({**document, "burst": 42}))
    desk.press("Form")
    assert desk.field("/burst").input_value() == "42" and desk.field("/rate").input_value() == "41"
    desk.press("Save…")
    desk.answer("Make the change")
    desk.said("is in force")
    assert get(desk_gateway, f"limits/{rule}")["burst"] == 42


def test_the_largest_sale_is_saved_whole(desk, desk_gateway):
    skus = [{"sku": f"sku-{i}", "stock": 1, "attributes": {"text": "ä" * 1000}} for i in range(100)]
    desk.go("sales?new=1")
    desk.page.fill("#document-name", "large")
    desk.press("JSON")
    desk.page.locator("textarea.raw").fill(json.dumps({"skus": skus}))
    desk.press("Form")
    assert "ä" * 1000 in desk.field("/skus/99/attributes").input_value()
    desk.press("Create…")
    desk.answer("Make the change")
    desk.page.wait_for_url("**/#/sales/large")
    desk.settle()
    desk.field("/skus/99/stock").fill("2")
    desk.press("Save…")
    desk.answer("Make the change")
    desk.said("version 2 is in force")
    now = get(desk_gateway, "sales/large")["skus"]
    assert [one["attributes"] for one in now] == [one["attributes"] for one in skus] and now[99]["stock"] == 2


def test_a_document_of_a_mebibyte_is_judged_by_the_gateway_and_a_larger_one_is_not_sent_and_both_are_kept(desk, desk_gateway, rule):
    desk.go(f"limits/{rule}")
    desk.press("JSON")
    raw = desk.page.locator("textarea.raw")
    document = {**json.loads(raw.input_value()), "mine": "x" * 1_048_000}
    raw.fill(json.dumps(document))
    desk.press("Save…")
    desk.page.get_by_text("is unknown").wait_for()
    assert json.loads(raw.input_value()) == document
    document["mine"] += "x" * 1000
    raw.fill(json.dumps(document))
    before = len(desk.sent)
    desk.press("Save…")
    assert "at most 1,048,576" in desk.text(".state")
    assert not [one for one in desk.sent[before:] if one[0] == "PUT"]
    assert json.loads(raw.input_value()) == document and get(desk_gateway, f"limits/{rule}")["rate"] == 50


def test_what_was_typed_is_there_again_after_a_look_at_another_page(desk, desk_gateway, rule):
    desk.go(f"limits/{rule}")
    desk.field("/rate").fill("43")
    desk.go("audit")
    desk.go(f"limits/{rule}")
    assert desk.field("/rate").input_value() == "43" and "not saved: 1" in desk.text(".state")


def test_text_that_is_no_json_yet_is_there_again_after_a_look_at_another_page(desk, desk_gateway, rule):
    desk.go(f"limits/{rule}")
    desk.press("JSON")
    desk.page.fill(".json.raw", '{\n  "rate": 4')
    assert "no JSON yet" in desk.text("#raw-fault") and "line 2" in desk.text("#raw-fault")
    patch(desk_gateway, f"limits/{rule}", {"rate": 51})
    desk.page.get_by_text("Somebody else has changed this document").wait_for()
    assert desk.page.input_value(".json.raw") == '{\n  "rate": 4', "a change by somebody else took its place"
    desk.go("audit")
    desk.go(f"limits/{rule}")
    assert desk.page.input_value(".json.raw") == '{\n  "rate": 4' and "no JSON yet" in desk.text("#raw-fault")
    desk.press("Save…")
    desk.said("no JSON yet")
    desk.press("Undo all")
    desk.press("Form")
    assert desk.field("/rate").input_value() == "50"


def test_what_a_member_has_that_is_no_json_yet_is_there_again(desk, desk_gateway):
    desk.go("plans/page-slow")
    desk.field("/steps/0/patch/with").fill('{"rate": ')
    desk.go("audit")
    desk.go("plans/page-slow")
    assert desk.field("/steps/0/patch/with").input_value() == '{"rate": ' and "no JSON yet" in desk.text('[data-pointer="/steps/0/patch/with"]')
    desk.press("Undo all")


def test_leaving_asks_before_text_is_lost_and_signing_out_forgets_it(desk, desk_gateway, rule):
    desk.go(f"limits/{rule}")
    desk.press("JSON")
    desk.page.locator(".json.raw").press_sequentially("x")
    asked = []
    desk.page.on("dialog", lambda box: (asked.append(box.type), box.dismiss()))
    desk.page.evaluate("location.reload()")
    wait_until(lambda: desk.page.wait_for_timeout(50) or asked, what="the question")
    assert asked == ["beforeunload"] and "x" in desk.page.input_value(".json.raw")
    desk.page.get_by_role("button", name="Sign out").click()
    desk.page.wait_for_selector("#token")
    desk.sign_in()
    desk.live()
    desk.go(f"limits/{rule}")
    assert asked == ["beforeunload"] and not desk.page.locator(".json.raw").count() and "Nothing is changed" in desk.text(".state")


def test_the_form_of_overload_has_a_row_a_signal_and_no_figure_that_the_panel_has(desk, desk_gateway):
    desk.go("overload")
    signals = get(desk_gateway, "overload")["signals"]
    assert desk.page.locator(".editor .rows > fieldset").count() == len(signals) and not desk.page.locator(".editor .measured").count()
    form = desk.text(".editor")
    assert form.count("share = weight × value / threshold") == 1 and "source" not in form
    heights = desk.page.evaluate("() => [...document.querySelectorAll('.rows > fieldset')].map(row => row.getBoundingClientRect().height)")
    assert max(heights) < 140, heights  # what it measures has two lines
    desk.field("/signals/memory/threshold").fill("0.9")
    desk.press("Save…")
    assert "/signals/memory/threshold" in desk.dialog()
    desk.answer("Make the change")
    desk.said("is in force")
    assert get(desk_gateway, "overload")["signals"]["memory"]["threshold"] == 0.9
    patch(desk_gateway, "overload", {"signals": {"memory": {"threshold": 1}}})


def test_a_route_with_every_kind_of_member_is_saved_from_the_form(desk, desk_gateway):
    desk.go("routes/page")
    desk.page.locator('[data-pointer="/request_headers/set"]').get_by_label("Name of a new one").fill("X-Shop")
    desk.press("Add: set", '[data-pointer="/request_headers/set"]')
    desk.field("/request_headers/set/X-Shop").fill("spring")
    desk.page.locator('[data-pointer="/methods"]').get_by_label("POST").check()
    desk.press("Remove: fallback 1", '[data-pointer="/fallback"]')
    desk.field("/split/0/share").fill("0.1")
    desk.page.locator('[data-pointer="/split/0/return"]').get_by_label("there is one").uncheck()
    desk.page.locator('[data-pointer="/cache/query"] select').first.select_option(label="a list")
    desk.press("Add: query", '[data-pointer="/cache/query"]')
    desk.field("/cache/query/0").fill("id")
    desk.press("Save…")
    desk.answer("Make the change")
    desk.said("is in force")
    now = get(desk_gateway, "routes/page")
    assert now["request_headers"]["set"] == {"X-Shop": "spring"} and now["methods"] == ["GET", "HEAD", "POST"]
    assert [(one["kind"], one["body"]) for one in now["fallback"]] == [("static", "<h1>Soon</h1>")]
    assert now["split"] == [{"pool": "green", "share": 0.1, "by": "user", "return": None}] and now["cache"]["query"] == ["id"]


def test_a_limit_is_changed_by_keyboard_alone(desk, desk_gateway, rule):
    desk.go(f"limits/{rule}")
    keyboard = desk.page.keyboard

    def tab_to(what):
        for _ in range(120):
            if desk.page.evaluate(f"() => document.activeElement.matches({json.dumps(what)})"):
                return
            keyboard.press("Tab")
        raise AssertionError(f"no Tab leads to {what}")

    tab_to('[data-pointer="/rate"] input')
    keyboard.press("Control+a")
    keyboard.type("39")
    tab_to(".editor-actions .primary")
    keyboard.press("Enter")
    desk.dialog()
    keyboard.type("by keyboard")
    keyboard.press("Enter")
    desk.said("is in force")
    assert get(desk_gateway, f"limits/{rule}")["rate"] == 39
    assert desk.page.evaluate("() => document.activeElement !== document.body"), "the focus is lost"


def test_text_that_is_no_json_yet_moves_and_goes_with_its_item(desk, desk_gateway):
    desk.go("plans/page-slow")
    desk.field("/steps/0/patch/with").fill('{"rate": ')
    desk.press("Add: steps", '[data-pointer="/steps"]')
    desk.press("Down: steps 1", '[data-pointer="/steps"]')
    assert desk.field("/steps/1/patch/with").input_value() == '{"rate": ', "the text did not move with its item"
    desk.press("Up: steps 2", '[data-pointer="/steps"]')
    desk.press("Remove: steps 4", '[data-pointer="/steps"]')
    desk.press("Save…")
    desk.said("no JSON yet")
    desk.press("Remove: steps 1", '[data-pointer="/steps"]')
    desk.press("Save…")
    assert "/steps/0" in desk.dialog(), "the text of an item that is gone blocks the save"
    desk.page.keyboard.press("Escape")
    desk.press("Undo all")
    desk.field("/steps/0/patch/with").fill('{"rate": ')
    desk.page.locator('[data-pointer="/steps/0"]').get_by_label("Which").first.select_option("override")
    desk.page.locator('[data-pointer="/steps/0"]').get_by_label("Which").first.select_option("patch")
    assert desk.field("/steps/0/patch/with").input_value() == ""
    desk.press("Undo all")


def test_a_member_that_is_no_json_yet_is_not_dropped_by_a_look_at_the_json(desk, desk_gateway):
    desk.go("plans/page-slow")
    desk.field("/steps/0/patch/with").fill('{"rate": ')
    desk.press("JSON")
    desk.said("no JSON yet")
    assert desk.field("/steps/0/patch/with").input_value() == '{"rate": ' and not desk.page.locator(".json.raw").count()
    desk.press("Undo all")


def test_text_that_is_no_json_yet_is_dropped_or_mended_before_two_changes_become_one(desk, desk_gateway, rule):
    desk.go(f"limits/{rule}")
    desk.press("JSON")
    mine = {**json.loads(desk.page.input_value(".json.raw")), "burst": 77}
    desk.page.fill(".json.raw", '{"rate": 4')
    patch(desk_gateway, f"limits/{rule}", {"rate": 51})
    desk.press("Show both changes")
    desk.press("Continue with both")
    desk.said("no JSON yet")
    assert desk.page.input_value(".json.raw") == '{"rate": 4', "what was typed is gone"
    desk.page.fill(".json.raw", json.dumps(mine))
    desk.press("Continue with both")
    desk.page.locator(".meanwhile").get_by_text("/burst").wait_for()
    desk.press("Continue with both")
    merged = json.loads(desk.page.input_value(".json.raw"))
    assert (merged["rate"], merged["burst"]) == (51, 77), "what was typed while both were shown is gone"
    desk.page.fill(".json.raw", '{"rate": 4')
    patch(desk_gateway, f"limits/{rule}", {"rate": 52})
    desk.press("Show both changes")
    desk.press("Drop mine")
    assert json.loads(desk.page.input_value(".json.raw"))["rate"] == 52 and desk.text("#raw-fault") == ""
    desk.press("Form")
    assert desk.field("/rate").input_value() == "52", "the fault of a text that is gone blocks the form"


def leave_while_it_is_sent(desk, path, method, button):
    """Makes a change of this path, and is on another page before the gateway has it."""
    held = []
    desk.page.route(f"**/admin/v1/{path}", lambda route: held.append(route) if route.request.method == method else route.continue_())
    desk.press(button)
    desk.answer("Make the change")
    wait_until(lambda: desk.page.wait_for_timeout(50) or held, what="the change")
    desk.go("audit")
    held[0].continue_()
    desk.said("is deleted" if method == "DELETE" else "is in force")
    desk.settle()
    assert desk.page.url.endswith("#/audit"), "the user was taken off the page"
    desk.page.unroute(f"**/admin/v1/{path}")


def test_a_change_that_is_sent_is_no_draft_and_keeps_nobody_on_its_page(desk, desk_gateway, rule):
    desk.go(f"limits/{rule}")
    desk.field("/rate").fill("44")
    leave_while_it_is_sent(desk, f"limits/{rule}", "PUT", "Save…")
    desk.go(f"limits/{rule}")
    assert desk.field("/rate").input_value() == "44" and "Nothing is changed" in desk.text(".state"), desk.text(".state")
    desk.go("limits?new=1")
    desk.page.fill("#document-name", "fresh")
    desk.field("/rate").fill("9")
    leave_while_it_is_sent(desk, "limits/fresh", "PUT", "Create…")
    desk.go("limits?new=1")
    assert desk.page.input_value("#document-name") == ""
    desk.go("limits/fresh")
    leave_while_it_is_sent(desk, "limits/fresh", "DELETE", "Delete…")


def test_a_document_that_is_deleted_leaves_no_draft(desk, desk_gateway, rule):
    desk.go(f"limits/{rule}")
    desk.press("JSON")
    desk.page.fill(".json.raw", "{")
    desk.press("Delete…")
    desk.answer("Make the change")
    desk.page.wait_for_url("**/#/limits")
    desk_gateway.limit(rule, algorithm="token_bucket", key="ip", rate=50, burst=70, period_s=10, mode="shadow")
    desk.go(f"limits/{rule}")
    assert not desk.page.locator(".json.raw").count() and "Nothing is changed" in desk.text(".state")


def test_the_draft_of_a_new_document_is_not_that_of_a_document_named_null(desk, desk_gateway):
    desk_gateway.limit("null", algorithm="token_bucket", key="ip", rate=50, burst=70, period_s=10, mode="shadow")
    desk.go("limits?new=1")
    desk.page.fill("#document-name", "fresh")
    desk.field("/rate").fill("9")
    desk.go("limits/null")
    assert desk.field("/rate").input_value() == "50" and "Nothing is changed" in desk.text(".state")
    desk.go("limits?new=1")
    assert desk.page.input_value("#document-name") == "fresh"
    desk_gateway.admin("DELETE", "/admin/v1/limits/null", headers=ANY_VERSION)
