"""Mistakes that operators make in their first hours with a gateway, and its answers."""
import contextlib
import json
import socket
import subprocess

import pytest

from penstock import ANY_VERSION, REHEARSE, Gateway, free_port, raw, rfc3339, seeds, wait_until

SKUS = [{"sku": "phone", "stock": 3}]


@pytest.fixture(scope="module")
def gateway():
    with Gateway() as g:
        g.no_limits()
        yield g


def pointers(answer):
    return [(error["pointer"], error["detail"]) for error in answer.json["errors"]]


# --- Openings. ---


def test_an_opening_long_past_opens_a_sale_only_when_it_is_meant(gateway):
    path, wrong_year = "/admin/v1/sales/wrong-year", {"opens_at": "2025-12-24T20:00:00+08:00", "skus": SKUS}
    for dry_run in ("", "?dry_run=1"):
        answer = gateway.admin("PUT", path + dry_run, wrong_year)
        assert (answer.status, answer.json["pointer"]) == (422, "/opens_at"), answer
        assert '"open":true' in answer.json["detail"], answer
    assert gateway.admin("GET", path).status == 404
    assert gateway.admin("PUT", path, {**wrong_year, "opens_at": rfc3339(3600)}).status == 201
    answer = gateway.admin("PATCH", path, {"opens_at": wrong_year["opens_at"]}, ANY_VERSION)
    assert (answer.status, answer.json["pointer"]) == (422, "/opens_at"), answer
    assert gateway.sale("wrong-year")["state"] == "scheduled"
    answer = gateway.admin("PUT", "/admin/v1/config?kinds=sales", {"documents": {"sales": {"in-a-bundle": wrong_year}}}, ANY_VERSION)
    assert (answer.status, answer.json["pointer"]) == (422, "/documents/sales/in-a-bundle/opens_at"), answer
    answer = gateway.admin("PATCH", path, {"opens_at": wrong_year["opens_at"], "open": True}, ANY_VERSION)
    assert (answer.status, answer.json["state"], answer.json["opens_at"]) == (200, "open", "2025-12-24T12:00:00.000Z"), answer
    assert "open" not in answer.json


def test_a_sale_is_opened_now_by_saying_so_and_again_changes_nothing(gateway):
    path, document = "/admin/v1/sales/at-once", {"open": True, "skus": SKUS}
    dry = gateway.admin("PUT", path + "?dry_run=1", document)
    assert dry.json["changes"][0]["opens"] == "now", dry
    made = gateway.admin("PUT", path, document)
    assert (made.status, made.json["state"]) == (201, "open"), made
    again = gateway.admin("PUT", path, document, ANY_VERSION)
    assert (again.status, again.headers["etag"], again.json["opens_at"]) == (200, made.headers["etag"], made.json["opens_at"]), again
    answer = gateway.admin("PUT", "/admin/v1/sales/later", {"open": True, "opens_at": rfc3339(60), "skus": SKUS})
    assert (answer.status, answer.json["pointer"]) == (422, "/open"), answer
    dry = gateway.admin("PUT", "/admin/v1/sales/later?dry_run=1", {"opens_at": rfc3339(60), "skus": SKUS})
    assert "opens" not in dry.json["changes"][0], dry


def test_a_sale_that_has_ended_without_an_order_can_be_deleted(gateway):
    def delete(name):
        return gateway.admin("DELETE", f"/admin/v1/sales/{name}", headers=ANY_VERSION)

    gateway.make_sale("mistake")
    assert (delete("mistake").status, delete("mistake").code) == (409, "sale_has_orders")
    assert gateway.admin("POST", "/admin/v1/sales/mistake/end").status == 200
    wait_until(lambda: delete("mistake").status == 204, what="the deletion")
    assert gateway.admin("GET", "/admin/v1/sales/mistake").status == 404
    assert gateway.public("GET", "/v1/sales/mistake").status == 404
    answer = gateway.admin("PUT", "/admin/v1/sales/mistake", {"skus": SKUS})
    assert (answer.status, answer.code) == (409, "conflict"), "a name is used once"

    gateway.make_sale("bought")
    assert gateway.buy("bought", "ann").status == 202
    assert gateway.admin("POST", "/admin/v1/sales/bought/end").status == 200
    order = gateway.orders("bought")[0]["order_id"]
    assert gateway.admin("POST", f"/admin/v1/orders/{order}/cancel").status == 200
    wait_until(lambda: gateway.sale("bought")["skus"][0]["held"] == 0, what="the release")
    assert (delete("bought").status, delete("bought").code) == (409, "sale_has_orders")


def test_a_deleted_sale_stays_away_over_a_restart(tmp_path):
    with Gateway(tmp_path) as gateway:
        gateway.make_sale("mistake")
        assert gateway.admin("POST", "/admin/v1/sales/mistake/end").status == 200
        wait_until(lambda: gateway.admin("DELETE", "/admin/v1/sales/mistake", headers=ANY_VERSION).status == 204, what="the deletion")
        assert gateway.stop() == 0
        gateway.start()
        assert gateway.admin("GET", "/admin/v1/sales/mistake").status == 404
        assert "sale_unknown" not in gateway.log()


def test_a_seeded_sale_opens_however_long_ago_its_opening_was(tmp_path):
    seed = seeds({"sales": {"shoes": {"opens_at": "2020-01-01T00:00:00Z", "skus": SKUS}}})
    with Gateway(tmp_path, settings={"seed": seed}) as gateway:
        gateway.wait_state("shoes", "open")
        assert gateway.buy("shoes", "ann").status == 202
        assert gateway.stop() == 0
        gateway.start()
        gateway.wait_state("shoes", "open")
        assert len(gateway.orders("shoes")) == 1
        assert "seed_ignored" not in gateway.log()


# --- What was saved is put back. ---


def bundle(gateway, kinds):
    return gateway.admin("GET", f"/admin/v1/config?kinds={kinds}").json


def test_a_saved_bundle_is_put_back_after_others_have_changed_something(gateway):
    saved = bundle(gateway, "limits,blocklist/users")
    saved["documents"]["blocklist/users"]["mallory"] = gateway.admin(
        "PUT", "/admin/v1/blocklist/users/mallory", {"reason": "a farm"}).json  # with what only reading shows
    assert gateway.admin("PATCH", "/admin/v1/limits/ip", {"rate": 7}, ANY_VERSION).status == 200
    assert gateway.admin("DELETE", "/admin/v1/blocklist/users/mallory", headers=ANY_VERSION).status == 204
    revision = bundle(gateway, "limits")["revision"]
    stale = gateway.admin("PUT", "/admin/v1/config", saved, {"If-Match": f'"{revision}"'})
    assert (stale.status, stale.json["pointer"]) == (422, "/revision"), stale
    answer = gateway.admin("PUT", "/admin/v1/config", saved, ANY_VERSION)
    assert answer.status == 200 and set(answer.json["documents"]) == {"limits", "blocklist/users"}, answer
    assert answer.json["documents"]["limits"] == saved["documents"]["limits"]
    assert gateway.admin("GET", "/admin/v1/blocklist/users/mallory").json["reason"] == "a farm"


def test_a_put_of_one_kind_is_answered_with_that_kind(gateway):
    for path in ("/admin/v1/config", "/admin/v1/config?kinds=limits"):
        answer = gateway.admin("PUT", path, {"documents": bundle(gateway, "limits")["documents"]}, ANY_VERSION)
        assert answer.status == 200 and set(answer.json["documents"]) == {"limits"}, answer


@pytest.mark.parametrize("path, change", [
    ("sales/saved", {"per_user_cap": 3}), ("features/exports", {"level": 4}), ("overload", {"leave_s": 31}), ("pools/saved", {"slow_start_ms": 5})])
def test_a_saved_document_is_put_back_over_whatever_version_is_there(gateway, path, change):
    path = "/admin/v1/" + path
    documents = {"sales/saved": {"skus": SKUS}, "pools/saved": {"endpoints": [{"address": "127.0.0.1:9"}]}}
    document = documents.get(path.removeprefix("/admin/v1/"))
    if document:
        assert gateway.admin("PUT", path, document).status == 201
    saved = gateway.admin("GET", path).json
    assert gateway.admin("PATCH", path, change, ANY_VERSION).status == 200
    strict = gateway.admin("PUT", path, saved, {"If-Match": gateway.admin("GET", path).headers["etag"]})
    if "version" in saved:
        assert (strict.status, strict.json["pointer"]) == (422, "/version"), strict
    answer = gateway.admin("PUT", path, saved, ANY_VERSION)
    assert answer.status == 200, answer
    member = next(iter(change))
    assert answer.json[member] == saved[member]
    again = gateway.admin("PUT", path, saved, ANY_VERSION)
    assert (again.status, again.headers["etag"]) == (200, answer.headers["etag"]), "nothing is left to change"


# --- All documents as they were. ---


def test_all_documents_go_back_to_a_revision_as_a_whole(gateway):
    def rollback(revision, query="", headers=None):
        return gateway.admin("POST", "/admin/v1/config/rollback?kinds=limits,blocklist/ips" + query, {"revision": revision, "reason": "undo"}, headers)

    before = bundle(gateway, "limits,blocklist/ips")
    assert gateway.admin("PATCH", "/admin/v1/limits/ip", {"rate": 9}, ANY_VERSION).status == 200
    assert gateway.admin("PUT", "/admin/v1/limits/night", {"algorithm": "token_bucket", "key": "ip", "rate": 1, "period_s": 1, "burst": 1, "mode": "off"}).status == 201
    assert gateway.admin("PUT", "/admin/v1/blocklist/ips/198.51.100.0-24", {"reason": "bots", "ttl_s": 600}).status == 201
    after = bundle(gateway, "limits,blocklist/ips")

    listed = gateway.admin("GET", "/admin/v1/config/versions?kinds=limits,blocklist/ips").json["versions"]
    newest = listed[0]
    assert (newest["revision"], newest["documents"], newest["count"]) == (after["revision"], ["blocklist/ips/198.51.100.0/24"], 1), newest
    assert [v["revision"] for v in listed] == sorted((v["revision"] for v in listed), reverse=True)

    dry = rollback(before["revision"], "&dry_run=1")
    assert {(c["document"], c["action"]) for c in dry.json["changes"]} == {
        ("limits/ip", "change"), ("limits/night", "delete"), ("blocklist/ips/198.51.100.0/24", "delete")}, dry
    assert bundle(gateway, "limits,blocklist/ips") == after
    assert rollback(before["revision"], headers={"If-Match": f'"{before["revision"]}"'}).status == 412
    answer = rollback(before["revision"], headers={"If-Match": f'"{after["revision"]}"'})
    assert (answer.status, answer.json["documents"]) == (200, before["documents"]), answer
    line = gateway.admin("GET", "/admin/v1/audit-log?limit=1").lines()[0]
    assert (line["action"], line["why"], set(line["to"])) == ("config.rollback", "undo", {
        "limits/ip", "limits/night", "blocklist/ips/198.51.100.0/24"}), line
    assert rollback(after["revision"]).json["documents"]["limits"] == after["documents"]["limits"], "and forth again"


@pytest.mark.parametrize("body, pointer", [
    ({}, "/revision"), ({"revision": 0}, "/revision"), ({"revision": "1"}, "/revision"), ({"revision": 1, "version": 1}, "/version")])
def test_a_bad_roll_back_names_its_fault(gateway, body, pointer):
    answer = gateway.admin("POST", "/admin/v1/config/rollback", body)
    assert (answer.status, answer.json["pointer"]) == (422, pointer), answer
    assert gateway.admin("POST", "/admin/v1/config/rollback", {"revision": 10 ** 9}).status == 404


def test_a_roll_back_with_a_document_that_cannot_go_back_changes_nothing(gateway):
    before = bundle(gateway, "limits")["revision"]
    sale = gateway.make_sale()
    assert gateway.buy(sale, "ann").status == 202
    assert gateway.admin("PATCH", "/admin/v1/limits/ip", {"rate": 11}, ANY_VERSION).status == 200
    answer = gateway.admin("POST", "/admin/v1/config/rollback", {"revision": before})
    assert (answer.status, answer.json["pointer"]) == (409, f"/documents/sales/{sale}"), answer
    assert gateway.admin("GET", "/admin/v1/limits/ip").json["rate"] == 11


def test_a_revision_whose_versions_are_no_longer_kept_is_404(gateway):
    limit = "/admin/v1/limits/often"
    assert gateway.admin("PUT", limit, {"algorithm": "token_bucket", "key": "ip", "rate": 1, "period_s": 1, "burst": 1, "mode": "off"}).status == 201
    first = bundle(gateway, "limits")["revision"]
    for rate in range(2, 106):
        assert gateway.admin("PATCH", limit, {"rate": rate}, ANY_VERSION).status == 200
    answer = gateway.admin("POST", "/admin/v1/config/rollback?kinds=limits", {"revision": first})
    assert answer.status == 404 and "limits/often" in answer.json["detail"], answer


def test_a_purge_of_nothing_is_refused(gateway):
    answer = gateway.admin("POST", "/admin/v1/caches/default/purge", {"key": ""})
    assert (answer.status, answer.json["pointer"]) == (422, "/key"), answer


# --- Lists with filters. ---


def names(gateway, query):
    answer = gateway.admin("GET", "/admin/v1/sales" + query)
    assert answer.status == 200, answer
    return [sale["sale"] for sale in answer.json["sales"]]


def test_sales_are_listed_by_state_and_by_whether_they_are_rehearsals(gateway):
    real, rehearsed = gateway.make_sale("f-real"), gateway.make_sale("f-rehearsed", rehearsal=True)
    later, over = gateway.make_sale("f-later", opens_in=3600), gateway.make_sale("f-over", rehearsal=True)
    assert gateway.admin("POST", f"/admin/v1/sales/{over}/end").status == 200
    mine = {real, rehearsed, later, over}
    assert mine & set(names(gateway, "?rehearsal=true")) == {rehearsed, over}
    assert mine & set(names(gateway, "?rehearsal=false")) == {real, later}
    assert mine & set(names(gateway, "?rehearsal=true&state=open")) == {rehearsed}
    assert mine & set(names(gateway, "?state=scheduled,open")) == {real, rehearsed, later}
    assert mine <= set(names(gateway, ""))
    page = gateway.admin("GET", "/admin/v1/sales?rehearsal=true&after=f-&limit=1").json
    assert [s["sale"] for s in page["sales"]] == [over] and page["next"] == over, page
    assert mine & set(names(gateway, f"?rehearsal=true&after={page['next']}")) == {rehearsed}


@pytest.mark.parametrize("path, words", [
    ("sales?rehearsal=yes", "false, true"), ("sales?state=opened", 'did you mean "open"'), ("sales?state=open,", "one of"),
    ("limits?state=open", "unknown query parameter"), ("sales?stat=open", 'did you mean "state"'),
    ("orders?state=confirmd", 'did you mean "confirmed"')])
def test_a_filter_that_there_is_not_is_named(gateway, path, words):
    answer = gateway.admin("GET", "/admin/v1/" + path)
    assert answer.status == 422 and words in answer.json["detail"], answer


# --- "Why did u7 get 429?" ---


def test_an_order_is_found_by_the_request_id_of_its_answer(gateway):
    sale = gateway.make_sale(stock=20)
    ids = [gateway.buy(sale, f"u{i}").headers["x-request-id"] for i in range(3)]
    own = gateway.buy(sale, "own", headers={"X-Request-Id": "checkout-4711"})
    assert own.status == 202, own
    assert own.headers["x-request-id"] == "checkout-4711"

    def found(request_id, **query):
        more = "".join(f"&{k}={v}" for k, v in query.items())
        answer = gateway.admin("GET", f"/admin/v1/orders?sale={sale}&request_id={request_id}{more}")
        assert answer.status == 200, answer
        return [order["user"] for order in answer.lines()]

    wait_until(lambda: len(gateway.orders(sale)) == 4, what="four orders")

    assert [found(request_id) for request_id in ids] == [["u0"], ["u1"], ["u2"]]
    assert found("checkout-4711") == ["own"] and found("checkout-471") == [] and found("nobody") == []
    assert found("checkout-4711", state="confirmed") == [] and found("checkout-4711", user="own") == ["own"]
    answer = gateway.admin("GET", f"/admin/v1/orders?request_id={ids[0]}")
    assert answer.status == 422 and '"sale"' in answer.json["detail"], answer


def access_lines(gateway):
    return [json.loads(line) for line in gateway.log_path.read_text().splitlines() if '"event":"access"' in line]


def test_the_access_log_says_which_limit_has_refused_whom_in_which_sale():
    with Gateway(settings={"workers": 1, "access_log": {"every": 1}}) as gateway:
        gateway.limit("user", rate=1, burst=1, period_s=3600)
        sale = gateway.make_sale(per_user_cap=5)
        taken, refused = gateway.buy(sale, "u7", key="a"), gateway.buy(sale, "u7", key="b")
        assert (taken.status, refused.code) == (202, "user_rate")
        gateway.wait_log(refused.headers["x-request-id"])
        line = next(at for at in access_lines(gateway) if at["request_id"] == refused.headers["x-request-id"])
        assert (line["sale"], line["verdict"], line["rule"], line["address"]) == (sale, "user_rate", "user", None), line
        line = next(at for at in access_lines(gateway) if at["request_id"] == taken.headers["x-request-id"])
        assert (line["sale"], line["verdict"], line["rule"]) == (sale, "accepted", None), line
        assert "u7" not in gateway.log_path.read_text()


def test_the_access_log_names_addresses_where_the_settings_want_them():
    with Gateway(settings={"access_log": {"every": 1, "addresses": True}}) as gateway:
        answer = gateway.public("GET", "/v1/sales/nothing", headers={"X-Forwarded-For": "203.0.113.9"})
        gateway.wait_log(answer.headers["x-request-id"])
        line = next(at for at in access_lines(gateway) if at["request_id"] == answer.headers["x-request-id"])
        assert (line["address"], line["sale"], line["verdict"]) == ("203.0.113.9", None, "not_found"), line


# --- Tokens. ---


def test_a_token_is_removed_only_by_who_says_that_it_is_meant(gateway):
    made = gateway.admin("POST", "/admin/v1/tokens", {"role": "viewer", "ttl_s": 600, "note": "for tonight"})
    path = f"/admin/v1/tokens/{made.json['id']}"
    assert rfc3339(590) < made.json["expires_at"] < rfc3339(610)
    assert gateway.admin("DELETE", path).status == 428
    assert gateway.admin("DELETE", path, headers={"If-Match": '"2"'}).status == 412
    assert gateway.admin("GET", "/admin/v1/sales", token=made.json["token"]).status == 200
    assert gateway.admin("DELETE", path, headers={"If-Match": made.headers["etag"]}).status == 204
    assert gateway.admin("DELETE", path, headers=ANY_VERSION).status == 404


def test_all_faults_of_a_token_are_named_at_once(gateway):
    answer = gateway.admin("POST", "/admin/v1/tokens", {"role": "viewer", "pools": ["a"], "ttl_s": "week", "note": "a\nb", "colour": 1})
    assert answer.status == 422 and {pointer for pointer, _ in pointers(answer)} == {"/pools", "/ttl_s", "/note", "/colour"}, answer


def test_a_rehearsal_with_an_unknown_token_names_the_remedy(gateway, tmp_path):
    (tmp_path / "token").write_text("pst_" + "x" * 43 + "\n")
    (tmp_path / "token").chmod(0o600)
    run = subprocess.run([REHEARSE, "--public", f"http://127.0.0.1:{gateway.port}", "--admin", f"http://127.0.0.1:{gateway.admin_port}",
                          "--token-file", tmp_path / "token", "--buyers", "1", "--stock", "1"], capture_output=True, text=True, timeout=60)
    assert run.returncode != 0 and "--token-file" in run.stderr and "401" in run.stderr, run


# --- Words that help. ---


RULE = {"algorithm": "token_bucket", "key": "user", "rate": 1, "period_s": 10, "mode": "off"}


def test_a_limit_for_a_sale_that_there_is_not_is_refused_unless_it_is_meant(gateway):
    sale, path = gateway.make_sale("eleventh"), "/admin/v1/limits/of-a-sale"
    answer = gateway.admin("PUT", path, {**RULE, "sale": "elevenht"})
    assert (answer.status, answer.json["pointer"]) == (422, "/sale"), answer
    assert 'did you mean "eleventh"?' in answer.json["detail"] and '"allow_unknown":true' in answer.json["detail"], answer
    assert gateway.admin("PUT", path, {**RULE, "sale": sale}).status == 201
    assert gateway.admin("POST", f"/admin/v1/sales/{sale}/end").status == 200
    in_use = wait_until(lambda: (a := gateway.admin("DELETE", f"/admin/v1/sales/{sale}", headers=ANY_VERSION)).code == "in_use" and a, what="in_use")
    assert "of-a-sale" in in_use.json["detail"]
    early = gateway.admin("PUT", path, {**RULE, "sale": "twelfth", "allow_unknown": True}, ANY_VERSION)
    assert early.status == 200 and early.json["allow_unknown"] is True, early
    assert gateway.admin("DELETE", f"/admin/v1/sales/{sale}", headers=ANY_VERSION).status == 204
    saved = bundle(gateway, "limits")
    assert gateway.admin("DELETE", path, headers=ANY_VERSION).status == 204
    assert gateway.admin("PUT", "/admin/v1/config", saved, ANY_VERSION).status == 200, "what was saved is put back"
    assert gateway.admin("DELETE", path, headers=ANY_VERSION).status == 204


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_range_with_its_slash_is_told_how_it_is_written_in_a_path(gateway, method):
    answer = gateway.admin(method, "/admin/v1/blocklist/ips/198.51.100.0/24")
    assert answer.status == 404 and answer.json["detail"].endswith("/admin/v1/blocklist/ips/198.51.100.0-24"), answer
    assert gateway.admin(method, "/admin/v1/blocklist/ips/a/b").json["detail"] == "no such path"


def test_an_adjustment_names_all_its_faults_and_its_detail_what_is_missing(gateway):
    path = f"/admin/v1/sales/{gateway.make_sale()}/skus/phone/adjust"
    answer = gateway.admin("POST", path, {"dleta": 5, "adjust_id": "a b"})
    assert answer.status == 422 and pointers(answer)[0] == ("/delta", "is missing") and answer.json["detail"] == "/delta: is missing", answer
    assert dict(pointers(answer)).keys() == {"/delta", "/adjust_id", "/dleta"} and 'did you mean "delta"' in dict(pointers(answer))["/dleta"]
    answer = gateway.admin("POST", path, {"delta": 0, "adjust_id": 7})
    assert dict(pointers(answer)).keys() == {"/delta", "/adjust_id"}, answer


def test_a_word_that_begins_alike_is_near(gateway):
    answer = gateway.admin("PUT", "/admin/v1/sales/words", {"per_user_limit": 2, "skus": SKUS})
    assert answer.status == 422 and 'did you mean "per_user_cap"?' in answer.json["detail"], answer


# --- A start. ---


def test_a_start_that_fails_for_its_settings_leaves_no_state_behind(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        stopped = Gateway(tmp_path, settings={"admin": {"port": taken.getsockname()[1]}}).spawn()
        assert stopped.process.wait(30) == 1 and not stopped.state.exists(), stopped.log()
        stopped.state.mkdir(mode=0o700)
        assert stopped.spawn().process.wait(30) == 1 and stopped.state.exists(), "it was there before"


def test_what_is_shipped_has_the_date_of_the_first_start(tmp_path):
    began = rfc3339()
    with Gateway(tmp_path) as gateway:
        for path in ("limits/user", "caches/default", "overload"):
            first = gateway.admin("GET", f"/admin/v1/{path}/versions").json["versions"][-1]
            assert (first["version"], first["who"]) == (1, "penstock") and began <= first["at"] <= rfc3339(), first


def test_a_start_is_no_overload(tmp_path):
    """However high its signals are: what starts has much to read. Not ready for ever: its Redis is away."""
    with Gateway(tmp_path) as gateway:
        tight = {"mode": "enforce", "enter_ticks": 1, "leave_s": 3600, "signals": {"memory": {"threshold": 0.0001, "weight": 1}}}
        assert gateway.admin("PUT", "/admin/v1/overload", tight, ANY_VERSION).status == 200
        wait_until(lambda: gateway.admin("GET", "/admin/v1/overload?history_s=0").json["level"] > 0, what="a level, once it is ready")
        assert gateway.stop() == 0
        gateway.configure({"store": {"kind": "redis", "redis": {"url": f"redis://127.0.0.1:{free_port()}/0"}}})
        gateway.spawn()

        def overload():
            with contextlib.suppress(OSError):
                return gateway.admin("GET", "/admin/v1/overload?history_s=10").json

        seen = wait_until(lambda: (its := overload()) and sum((p or 0) > 1 for p in its["history"]["pressure"]) >= 2 and its, what="two seconds of pressure")
        assert seen["level"] == 0 and "overload_level_raised" not in gateway.log_path.read_text().split('"event":"stopped"')[-1], seen
        assert gateway.public("GET", "/readyz").status == 503


# --- Answers in a terminal. ---


def test_every_json_answer_ends_with_one_newline(gateway):
    sale = gateway.make_sale(stock=5)
    bought = gateway.buy(sale, "ann", key="k")
    order = bought.json["order_id"]
    wait_until(lambda: len(gateway.orders(sale)) == 1, what="the order")
    answers = [
        bought, gateway.buy(sale, "ann", key="k"), gateway.buy(sale, "ann", key="other"), gateway.buy("nowhere", "ann"),
        gateway.public("GET", f"/v1/sales/{sale}"), gateway.public("GET", f"/v1/sales/{sale}/orders", user="ann"),
        gateway.public("GET", f"/v1/orders/{order}", user="ann"), gateway.public("POST", "/livez"),
        gateway.admin("GET", f"/admin/v1/sales/{sale}"), gateway.admin("GET", "/admin/v1/sales"), gateway.admin("GET", f"/admin/v1/orders/{order}"),
        gateway.admin("POST", f"/admin/v1/orders/{order}/confirm"), gateway.admin("GET", f"/admin/v1/sales/{sale}/audit"),
        gateway.admin("GET", "/admin/v1/config"), gateway.admin("GET", "/admin/v1/nothing"), gateway.admin("PUT", "/admin/v1/limits/x", {"rate": 0})]
    assert {answer.status // 100 for answer in answers} == {2, 4}
    for answer in answers:
        assert answer.text.endswith("}\n") and not answer.text.endswith("\n\n"), answer
        assert answer.headers["content-length"] == str(len(answer.text.encode())), answer
    refused = raw(gateway.port, b"nonsense\r\n\r\n")
    assert refused.startswith(b"HTTP/1.1 400") and refused.endswith(b"}\n"), refused
