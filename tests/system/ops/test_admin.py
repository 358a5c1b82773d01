"""The admin listener over real HTTP: who may, what changes, and that each change is durable, in force
at once, and written down."""
import concurrent.futures
import contextlib
import functools
import http.client
import json
import os
import sqlite3
import threading
import time

import pytest

from faults import Disk
from penstock import ANY_VERSION, PATIENT_LOG, Answer, Gateway, call, raw, rfc3339, wait_until, window_s


def token(gateway, role, **members):
    answer = gateway.admin("POST", "/admin/v1/tokens", {"role": role, **members})
    assert answer.status == 201, answer
    return answer.json


def document(stock=10, **members):
    return {"opens_at": rfc3339(3600), "skus": [{"sku": "phone", "stock": stock}], **members}


def together(count, work):
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


# --- Who may. ---

def test_nothing_but_probes_and_metrics_is_open_without_a_token(gateway):
    for path in ("/livez", "/readyz", "/readyz?verbose", "/metrics"):
        assert call(gateway.admin_port, "GET", path).status == 200, path
    for method, path in (("GET", "/admin/v1/sales"), ("PUT", "/admin/v1/limits/user"), ("GET", "/nothing"),
                         ("POST", "/admin/v1/drain"), ("OPTIONS", "/admin/v1/sales")):
        answer = call(gateway.admin_port, method, path)
        assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer", path
        assert answer.code == "unauthenticated"


def test_metrics_need_a_token_when_they_are_not_open():
    with Gateway(settings={"admin": {"metrics_open": False}}) as one:
        assert call(one.admin_port, "GET", "/metrics").status == 401
        assert one.admin("GET", "/metrics").status == 200


def test_a_role_may_what_it_may_and_no_more(gateway):
    viewer, operator = token(gateway, "viewer")["token"], token(gateway, "operator")["token"]
    assert gateway.admin("GET", "/admin/v1/limits/user", token=viewer).status == 200
    refused = gateway.admin("PUT", "/admin/v1/blocklist/users/x", token=viewer)
    assert (refused.status, refused.code) == (403, "forbidden")
    assert gateway.admin("PUT", "/admin/v1/blocklist/users/x", token=operator).status == 201
    assert gateway.admin("DELETE", "/admin/v1/blocklist/users/x", headers=ANY_VERSION, token=operator).status == 204
    assert gateway.admin("GET", "/admin/v1/tokens", token=viewer).status == 403
    listed = gateway.admin("GET", "/admin/v1/tokens", token=operator)  # whose an id is; no secrets
    assert listed.status == 200 and all("token" not in one for one in listed.json["tokens"]), listed
    for method, path in (("POST", "/admin/v1/tokens"), ("POST", "/admin/v1/drain")):
        assert gateway.admin(method, path, token=operator).status == 403


def test_a_token_is_gone_as_soon_as_the_file_has_lost_it_even_on_a_failing_disk(tmp_path):
    """The file is replaced, but its directory cannot be synced: what the gateway goes by is what the file says."""
    disk = Disk(tmp_path)
    with Gateway(env=disk.env) as one:
        kept, removed = token(one, "viewer"), token(one, "viewer")
        disk.fail_syncs([one.state.name])
        assert one.admin("DELETE", f"/admin/v1/tokens/{removed['id']}", headers=ANY_VERSION).status == 204
        made = token(one, "viewer")
        disk.heal()
        known = [entry["id"] for entry in json.loads((one.state / "tokens.json").read_text())["tokens"]]
        assert removed["id"] not in known and {kept["id"], made["id"]} <= set(known)
        statuses = [one.admin("GET", "/admin/v1/sales", token=each["token"]).status for each in (kept, removed, made)]
        assert statuses == [200, 401, 200]
        one.wait_log("tokens_not_synced")


def test_a_token_works_until_it_is_removed_and_its_secret_is_shown_once(gateway):
    made = token(gateway, "viewer", note="for a day", expires_at=rfc3339(86400))
    assert made["token"].startswith("pst_") and made["note"] == "for a day"
    assert gateway.admin("GET", "/admin/v1/sales", token=made["token"]).status == 200
    listed = gateway.admin("GET", "/admin/v1/tokens")
    assert made["id"] in [t["id"] for t in listed.json["tokens"]] and made["token"] not in listed.text
    assert made["token"] not in (gateway.state / "tokens.json").read_text()
    assert gateway.admin("DELETE", f"/admin/v1/tokens/{made['id']}", headers=ANY_VERSION).status == 204
    assert gateway.admin("GET", "/admin/v1/sales", token=made["token"]).status == 401
    assert gateway.admin("DELETE", f"/admin/v1/tokens/{made['id']}", headers=ANY_VERSION).status == 404


def test_the_token_of_a_registrar_names_its_pools(gateway):
    pools = [f"p{n:02}" + "x" * 61 for n in range(32)]
    made = token(gateway, "registrar", pools=pools)
    assert made["pools"] == pools and "pools" not in token(gateway, "viewer") and "pools" not in token(gateway, "operator", pools=None)
    gateway.stop()
    gateway.start()
    listed = {one["id"]: one for one in gateway.admin("GET", "/admin/v1/tokens").json["tokens"]}
    assert listed[made["id"]]["pools"] == pools
    line = next(line for line in gateway.admin("GET", "/admin/v1/audit-log?after=0&limit=1000").lines() if line["target"] == f"tokens/{made['id']}")
    assert line["to"]["pools"] == pools


def test_a_note_of_a_token_counts_characters(gateway):
    note = "货" * 200
    made = gateway.admin("POST", "/admin/v1/tokens", {"role": "viewer", "note": note})
    assert made.status == 201 and made.json["note"] == note
    assert note in [token["note"] for token in gateway.admin("GET", "/admin/v1/tokens").json["tokens"]]
    for wrong in (note + "x", "two\nlines", "\x85"):
        answer = gateway.admin("POST", "/admin/v1/tokens", {"role": "viewer", "note": wrong})
        assert (answer.status, answer.json["pointer"]) == (422, "/note"), answer


@pytest.mark.parametrize("role, end", [("viewer", "expires_at"), ("registrar", "ttl_s")])
def test_a_token_expires(gateway, role, end):
    members = {"expires_at": rfc3339(4)} if end == "expires_at" else {"ttl_s": 4}
    made = token(gateway, role, **members, **({"pools": ["web"]} if role == "registrar" else {}))
    alive = 200 if role == "viewer" else 403

    def asked():
        """When the answer had come, and what it was."""
        status = gateway.admin("GET", "/admin/v1/sales", token=made["token"]).status
        return rfc3339(), status

    assert asked()[1] == alive
    refused_at, _ = wait_until(lambda: (a := asked())[1] == 401 and a)
    assert refused_at >= made["expires_at"]
    assert "expired" in gateway.admin("GET", "/admin/v1/sales", token=made["token"]).json["detail"]
    wait_until(lambda: any(line["why"] == "expired token" and line["token"] == made["id"]
                           for line in map(json.loads, gateway.log_path.read_text().splitlines()) if line["event"] == "admin_denied"))


def test_the_last_lasting_admin_token_stays(gateway):
    answer = gateway.admin("DELETE", "/admin/v1/tokens/first", headers=ANY_VERSION)
    assert (answer.status, answer.code) == (409, "conflict")
    assert gateway.admin("GET", "/admin/v1/tokens").status == 200


@pytest.mark.parametrize("body, pointer", [
    ({"role": "king"}, "/role"), ({}, "/role"), ({"role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
    ({"role": "viewer", "nota": "x"}, "/nota"), ({"role": "viewer", "reason": 7}, "/reason"),
    ({"role": "viewer", "ttl_s": 0}, "/ttl_s"), ({"role": "viewer", "ttl_s": 9, "expires_at": "2999-01-01T00:00:00Z"}, "/ttl_s"),
    ({"role": "registrar"}, "/pools"), ({"role": "registrar", "pools": None}, "/pools"), ({"role": "registrar", "pools": []}, "/pools"),
    ({"role": "registrar", "pools": "web"}, "/pools"), ({"role": "registrar", "pools": {"web": 1}}, "/pools"),
    ({"role": "registrar", "pools": ["web", 7]}, "/pools"), ({"role": "registrar", "pools": ["web", "a b"]}, "/pools"),
    ({"role": "registrar", "pools": ["*"]}, "/pools"), ({"role": "registrar", "pools": ["a" * 65]}, "/pools"),
    ({"role": "registrar", "pools": ["web", "web"]}, "/pools"), ({"role": "registrar", "pools": [f"p{n}" for n in range(33)]}, "/pools"),
    ({"role": "operator", "pools": ["web"]}, "/pools"), ({"role": "viewer", "pools": []}, "/pools")])
def test_a_bad_token_request_is_refused_by_member(gateway, body, pointer):
    """F19."""
    before = gateway.admin("GET", "/admin/v1/tokens").json
    answer = gateway.admin("POST", "/admin/v1/tokens", body)
    assert (answer.status, answer.code, answer.json["pointer"]) == (422, "invalid", pointer), answer
    assert gateway.admin("GET", "/admin/v1/tokens").json == before


def test_wrong_tokens_have_to_wait_and_right_ones_never():
    def ask(port, source, secret):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(source, 0))
        connection.request("GET", "/admin/v1/sales", headers={"Authorization": "Bearer " + secret})
        response = connection.getresponse()
        answer = Answer(response, response.read())
        connection.close()
        return answer

    with Gateway(settings=PATIENT_LOG) as one:
        wrong = [ask(one.admin_port, "127.0.0.2", "pst_" + "x" * 43) for _ in range(10)]
        assert {a.status for a in wrong} == {401}
        locked = [ask(one.admin_port, "127.0.0.2", "pst_" + "x" * 43) for _ in range(20)]
        assert {(a.status, a.code) for a in locked} == {(429, "admin_rate")} and int(locked[0].headers["retry-after"]) >= 1
        assert ask(one.admin_port, "127.0.0.3", "pst_" + "x" * 43).status == 401
        assert ask(one.admin_port, "127.0.0.2", one.token).status == 200
        one.wait_log('"peer":"127.0.0.3"')
        lines = one.log_path.read_text().splitlines()
        events = [line for line in map(json.loads, lines) if line["event"] in ("admin_denied", "admin_locked")]
        assert [e["event"] for e in events] == ["admin_denied"] * 10 + ["admin_locked", "admin_denied"]
        assert events[10]["peer"] == "127.0.0.2"


def test_only_known_hosts_are_served():
    with Gateway(settings={"admin": {"hosts": ["Ops.example"]}}) as one:
        def status(host, path="/admin/v1/sales"):
            return one.admin("GET", path, headers={"Host": host}).status
        for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8090", "ops.example:443"):
            assert status(host) == 200, host
        for host in ("evil.example", "127.0.0.2", "localhost.evil.example", "[::2]"):
            assert status(host) == 421, host
        assert status("evil.example", "/metrics") == 421
        assert status("evil.example", "/livez") == 200


def test_on_all_addresses_any_address_is_its_own_and_a_name_is_not():
    """As a pod is probed and scraped: by an address that no settings file can name."""
    with Gateway(settings={"admin": {"host": "0.0.0.0"}}) as one:
        for host in ("10.244.1.7:8090", "127.0.0.2", "[fd00::7]:8090", "localhost"):
            assert one.admin("GET", "/metrics", headers={"Host": host}).status == 200, host
        for host in ("evil.example", "10.244.1.7.evil.example", "10.244.1", "[fd00::7", "0x7f000001", ""):
            assert one.admin("GET", "/metrics", headers={"Host": host}).status in (400, 421), host


def test_tokens_of_a_directory_are_the_same_on_each_gateway(tmp_path):
    """With admin-token no first token is made; the API shows them and cannot delete them."""
    secrets = {role: f"{role}-{'0123456789abcdef' * 2}" for role in ("viewer", "admin")}
    for role, secret in secrets.items():
        (tmp_path / f"{role}-token").write_text(secret + "\n")
        (tmp_path / f"{role}-token").chmod(0o640)
    with Gateway(settings={"admin": {"token_dir": str(tmp_path)}}) as one:
        admin = functools.partial(one.admin, token=secrets["admin"])
        assert not (one.state / "admin.token").exists() and not (one.state / "tokens.json").exists()
        listed = admin("GET", "/admin/v1/tokens").json["tokens"]
        assert [(t["id"], t["role"], t["note"]) for t in listed] == [(f"{role}-token", role, "of admin.token_dir") for role in secrets]
        assert one.admin("GET", "/admin/v1/sales", token=secrets["viewer"]).status == 200
        assert one.admin("GET", "/admin/v1/tokens", token=secrets["viewer"]).status == 403
        no = admin("DELETE", "/admin/v1/tokens/viewer-token", headers={"If-Match": "*"})
        assert (no.status, no.code) == (409, "conflict") and "admin.token_dir" in no.text
        made = admin("POST", "/admin/v1/tokens", {"role": "operator"}).json
        assert admin("DELETE", f"/admin/v1/tokens/{made['id']}", headers={"If-Match": "*"}).status == 204
        assert [line["who"] for line in admin("GET", "/admin/v1/audit-log").lines()][-1] == "admin-token"


def test_paths_and_methods(gateway):
    assert gateway.admin("GET", "/admin/v1/nothing").status == 404
    assert gateway.admin("GET", "/admin/v1/sales/").status == 404
    wrong = gateway.admin("POST", "/admin/v1/sales/x")
    assert wrong.status == 405 and wrong.headers["allow"] == "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"
    options = gateway.admin("OPTIONS", "/admin/v1/orders:batch")
    assert options.status == 204 and options.headers["allow"] == "POST, OPTIONS"
    head = gateway.admin("HEAD", "/admin/v1/limits/user")
    assert head.status == 200 and head.text == "" and int(head.headers["content-length"]) > 0


@pytest.mark.parametrize("body, headers, status", [
    (b"{", {"Content-Type": "application/json"}, 400),
    (b'{"delta":1,"delta":2}', {"Content-Type": "application/json"}, 400),
    (b"[]", {"Content-Type": "application/json"}, 422),
    (b"", {}, 400),
    (b"{}", {"Content-Type": "text/plain"}, 415),
    (b"{}", {"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
    (b" " * 1100000, {"Content-Type": "application/json"}, 413),
], ids=["torn", "a member twice", "an array", "empty", "text", "compressed", "too large"])
def test_a_bad_body_is_refused(gateway, body, headers, status):
    assert gateway.admin("PUT", "/admin/v1/limits/user", body, headers).status == status


def test_a_body_that_is_too_large_is_judged_after_token_path_and_method(gateway):
    body = b" " * 1100000
    assert gateway.admin("PUT", "/admin/v1/limits/user", body, token="wrong").status == 401
    assert gateway.admin("PUT", "/admin/v1/nothing", body).status == 404
    assert gateway.admin("POST", "/admin/v1/limits/user", body).status == 405


# --- Sales. ---

def test_a_sale_is_created_once_and_changed_only_by_its_version(gateway):
    path = "/admin/v1/sales/versions"
    made = gateway.admin("PUT", path, document())
    assert made.status == 201 and made.headers["etag"] == '"1"' and made.headers["location"] == path
    assert made.json["state"] == "scheduled" and made.json["skus"][0]["available"] == 10
    assert (gateway.admin("PUT", path, document(11)).code) == "precondition_required"
    assert (gateway.admin("PUT", path, document(11), {"If-Match": '"7"'}).code) == "precondition_failed"
    assert (gateway.admin("PUT", path, document(11), {"If-Match": 'W/"1"'}).code) == "precondition_failed"
    bare = gateway.admin("PUT", path, document(11), {"If-Match": "1"})
    assert bare.code == "precondition_failed" and "quotation marks" in bare.json["detail"]
    changed = gateway.admin("PUT", path, document(11), {"If-Match": '"1"'})
    assert changed.status == 200 and changed.headers["etag"] == '"2"' and changed.json["skus"][0]["stock"] == 11
    assert gateway.admin("PUT", "/admin/v1/sales/none", document(), {"If-Match": '"1"'}).status == 412
    assert path.split("/")[-1] in [s["sale"] for s in gateway.admin("GET", "/admin/v1/sales").json["sales"]]
    assert gateway.admin("DELETE", path).status == 428
    assert gateway.admin("DELETE", path, headers=ANY_VERSION).status == 204
    assert gateway.admin("GET", path).status == 404


@pytest.mark.parametrize("change, pointer", [
    ({"opens_at": "tomorrow"}, "/opens_at"), ({"opens_at": "2030-01-01T00:00:00"}, "/opens_at"),
    ({"skus": []}, "/skus"), ({"skus": [{"sku": "a", "stock": -1}]}, "/skus/0/stock"),
    ({"skus": [{"sku": "a", "stock": 1.5}]}, "/skus/0/stock"), ({"skus": [{"sku": "a b", "stock": 1}]}, "/skus/0/sku"),
    ({"per_user_cap": 0}, "/per_user_cap"), ({"ticket": True}, "/ticket"), ({"per_user_cpa": 1}, "/per_user_cpa"),
    ({"state": "open"}, "/state"), ({"reservation_ttl_s": 1}, "/reservation_ttl_s"), ({"reason": "x" * 257}, "/reason"),
    ({"reason": "two\nlines"}, "/reason")])
def test_a_bad_sale_is_refused_by_member_and_nothing_changes(gateway, change, pointer):
    """DC1: F20."""
    answer = gateway.admin("PUT", "/admin/v1/sales/bad", document(**change))
    assert (answer.status, answer.code, answer.json["pointer"]) == (422, "invalid", pointer), answer
    assert gateway.admin("GET", "/admin/v1/sales/bad").status == 404


def test_an_unknown_member_names_the_nearest(gateway):
    answer = gateway.admin("PUT", "/admin/v1/sales/bad", document(per_user_cpa=1))
    assert "per_user_cap" in answer.json["detail"]
    assert gateway.admin("PUT", "/admin/v1/sales/b%20d", document()).status == 422


def test_a_sale_can_be_bought_from_when_its_creation_is_answered(gateway):
    for i in range(5):
        name = gateway.make_sale(stock=1, wait=False)
        assert gateway.buy(name, "first").status == 202
        assert gateway.sale(name)["state"] == "open"


def test_of_two_operators_who_change_the_same_version_one_wins(gateway):
    """DC2: F20."""
    gateway.admin("PUT", "/admin/v1/sales/contested", document())
    answers = together(12, lambda i: gateway.admin("PUT", "/admin/v1/sales/contested", document(20 + i), {"If-Match": '"1"'}))
    assert sorted(a.status for a in answers) == [200] + [412] * 11
    won = next(a for a in answers if a.status == 200)
    assert gateway.sale("contested")["skus"] == won.json["skus"] and gateway.sale("contested")["version"] == 2


def test_of_many_who_create_the_same_sale_one_wins(gateway):
    answers = together(8, lambda i: gateway.admin("PUT", "/admin/v1/sales/born", document(i + 1)))
    assert sorted(a.status for a in answers) == [201] + [428] * 7


def test_an_opened_sale_changes_only_what_may_change(gateway):
    name = gateway.make_sale(stock=5)
    skus = [{"sku": "phone", "stock": 6}]
    answer = gateway.change_sale(name, skus=skus)
    assert (answer.status, answer.code, answer.json["pointer"]) == (409, "use_adjust", "/skus/0/stock")
    answer = gateway.change_sale(name, opens_at=rfc3339(60))
    assert (answer.status, answer.code, answer.json["pointer"]) == (409, "conflict", "/opens_at")
    assert gateway.change_sale(name, skus=[{"sku": "pad", "stock": 1}]).status == 409
    assert gateway.change_sale(name, rehearsal=True).status == 409
    assert gateway.change_sale(name, per_user_cap=3, attributes={"a": 1}).status == 200
    assert gateway.sale(name)["per_user_cap"] == 3
    assert gateway.buy(name, "u", quantity=3).status == 202
    answer = gateway.admin("DELETE", f"/admin/v1/sales/{name}", headers=ANY_VERSION)
    assert (answer.status, answer.code) == (409, "sale_has_orders")


def test_pause_resume_and_end_are_in_force_at_once_and_may_be_repeated(gateway):
    name = gateway.make_sale(stock=5)
    path = f"/admin/v1/sales/{name}"
    for _ in range(2):
        assert gateway.admin("POST", path + "/pause", {"reason": "stop"}).json["state"] == "paused"
    assert gateway.buy(name, "a").code == "paused"
    version = gateway.sale(name)["version"]
    assert gateway.admin("POST", path + "/resume", headers={"If-Match": '"1"'}).status == 412
    assert gateway.admin("POST", path + "/resume").json["version"] == version + 1
    assert gateway.buy(name, "a").status == 202
    assert gateway.admin("POST", path + "/pause", {"why": "x"}).json["pointer"] == "/why"
    for _ in range(2):
        assert gateway.admin("POST", path + "/end").json["state"] == "ended"
    assert gateway.buy(name, "b").code == "ended"
    answer = gateway.admin("POST", path + "/resume")
    assert (answer.status, answer.code) == (409, "ended")
    order = gateway.buy(name, "a").json["order_id"]
    assert gateway.admin("POST", f"/admin/v1/orders/{order}/confirm").status == 200
    assert gateway.sale(name)["state"] == "settled"
    assert gateway.admin("POST", "/admin/v1/sales/none/end").status == 404


def test_a_deleted_name_is_free_and_a_used_one_is_not(gateway):
    for _ in range(2):
        assert gateway.admin("PUT", "/admin/v1/sales/again", document()).status == 201
        assert gateway.admin("DELETE", "/admin/v1/sales/again", {"reason": "typo"}, ANY_VERSION).status == 204


# --- Stock. ---

def test_an_adjustment_counts_once_whoever_repeats_it(gateway):
    name = gateway.make_sale(stock=1)
    path = f"/admin/v1/sales/{name}/skus/phone/adjust"
    assert gateway.buy(name, "a").status == 202 and gateway.buy(name, "b").code == "sold_out"
    bodies = together(8, lambda i: gateway.admin("POST", path, {"delta": 2, "adjust_id": "more", "reason": "found some"}))
    assert {a.status for a in bodies} <= {200, 409} and any(a.status == 200 for a in bodies)
    assert {a.code for a in bodies if a.status == 409} <= {"idempotency_in_progress"}
    again = gateway.admin("POST", path, {"delta": 2, "adjust_id": "more"})
    assert again.status == 200 and again.json["adjustments"] == 3 and again.json["available"] == 2
    assert gateway.buy(name, "b").status == 202
    assert gateway.admin("POST", path, {"delta": 3, "adjust_id": "more"}).code == "conflict"
    too_low = gateway.admin("POST", path, {"delta": -2, "adjust_id": "less"})
    assert too_low.status == 409 and "only 1 units" in too_low.json["detail"]
    lowered = gateway.admin("POST", path, {"delta": -1, "adjust_id": "less"})
    assert lowered.status == 200 and lowered.json["available"] == 0 and lowered.json["in_doubt"] == 0
    assert gateway.buy(name, "c").code == "sold_out"
    gateway.assert_books(name)


@pytest.mark.parametrize("body, pointer", [
    ({"delta": 0, "adjust_id": "a"}, "/delta"), ({"delta": 1.5, "adjust_id": "a"}, "/delta"), ({"delta": 1}, "/adjust_id"),
    ({"delta": 1, "adjust_id": "a b"}, "/adjust_id"), ({"delta": 1, "adjust_id": "a", "sku": "x"}, "/sku"),
    ({"delta": 2**53, "adjust_id": "a"}, "/delta")])
def test_a_bad_adjustment_is_refused_by_member(gateway, body, pointer):
    name = gateway.make_sale()
    answer = gateway.admin("POST", f"/admin/v1/sales/{name}/skus/phone/adjust", body)
    assert (answer.status, answer.json["pointer"]) == (422, pointer), answer


def test_adjustments_at_once_are_written_down_one_behind_the_other(gateway):
    sale = gateway.make_sale(stock=10)
    together(8, lambda i: gateway.admin("POST", f"/admin/v1/sales/{sale}/skus/phone/adjust", {"delta": 5, "adjust_id": f"a{i}"}))
    lines = [line for line in gateway.admin("GET", "/admin/v1/audit-log").lines() if line["target"] == f"sales/{sale}/skus/phone"]
    steps = sorted((line["from"]["adjustments"], line["to"]["adjustments"]) for line in lines)
    assert steps == [(have, have + 5) for have in range(10, 50, 5)], steps


def test_an_adjustment_needs_an_open_sale_and_its_sku(gateway):
    gateway.admin("PUT", "/admin/v1/sales/later", document())
    body = {"delta": 1, "adjust_id": "a"}
    assert gateway.admin("POST", "/admin/v1/sales/later/skus/phone/adjust", body).code == "conflict"
    assert gateway.admin("POST", "/admin/v1/sales/later/skus/pad/adjust", body).status == 404
    assert gateway.admin("POST", "/admin/v1/sales/none/skus/phone/adjust", body).status == 404


def test_a_change_of_stock_just_before_the_opening_is_sold_or_refused(gateway):
    def change_until_refused(i):
        path = f"/admin/v1/sales/eve-{i}"
        opens_at = rfc3339(2.1 + 0.03 * i)
        assert gateway.admin("PUT", path, {"opens_at": opens_at, "skus": [{"sku": "phone", "stock": 10}]}).status == 201
        for stock in range(11, 10000):
            etag = gateway.admin("GET", path).headers["etag"]
            answer = gateway.admin("PUT", path, {"opens_at": opens_at, "skus": [{"sku": "phone", "stock": stock}]}, {"If-Match": etag})
            if answer.status == 409:
                assert answer.code == "use_adjust"
                break
            assert answer.status in (200, 412), answer
        gateway.wait_state(f"eve-{i}", "open")
        sku = gateway.sale(f"eve-{i}")["skus"][0]
        assert sku["stock"] == sku["adjustments"] == sku["available"]

    together(6, change_until_refused)


# --- Limits and blocklist. ---

RULE = {"algorithm": "fixed_window", "key": "user", "rate": 1, "period_s": window_s(), "applies_to": ["order"]}


def test_a_limit_is_in_force_at_once_and_reads_back_as_it_may_be_written(gateway):
    name = gateway.make_sale(per_user_cap=5)
    rule = {**RULE, "sale": name}
    made = gateway.admin("PUT", "/admin/v1/limits/tight", rule)
    assert made.status == 201
    assert gateway.buy(name, "a").status == 202 and gateway.buy(name, "a").code == "user_rate"
    read = gateway.admin("GET", "/admin/v1/limits/tight")
    assert read.json == made.json and read.headers["etag"] == made.headers["etag"]
    shadow = gateway.admin("PUT", "/admin/v1/limits/tight", {**read.json, "mode": "shadow", "reason": "trial"},
                           {"If-Match": read.headers["etag"]})
    assert shadow.status == 200
    assert gateway.admin("PUT", "/admin/v1/limits/tight", rule, {"If-Match": read.headers["etag"]}).status == 412
    assert gateway.buy(name, "a").status == 202
    assert "tight" in gateway.admin("GET", "/admin/v1/limits").json["limits"]
    assert gateway.admin("DELETE", "/admin/v1/limits/tight", headers=ANY_VERSION).status == 204
    assert gateway.admin("GET", "/admin/v1/limits/tight").status == 404
    assert gateway.admin("DELETE", "/admin/v1/limits/user", headers=ANY_VERSION).code == "conflict"


@pytest.mark.parametrize("change, pointer", [
    ({"algorithm": "magic"}, "/algorithm"), ({"rate": 0}, "/rate"), ({"rate": "5"}, "/rate"), ({"mod": "off"}, "/mod"),
    ({"applies_to": []}, "/applies_to"), ({"key": "planet"}, "/key"), ({"max_wait_ms": 5}, "/max_wait_ms")])
def test_a_bad_limit_is_refused_by_member_and_nothing_changes(gateway, change, pointer):
    """DC1: F20."""
    before = gateway.admin("GET", "/admin/v1/limits").json
    answer = gateway.admin("PUT", "/admin/v1/limits/user", {**RULE, **change}, ANY_VERSION)
    assert (answer.status, answer.code, answer.json["pointer"]) == (422, "invalid", pointer), answer
    assert gateway.admin("GET", "/admin/v1/limits").json == before


def test_a_user_is_blocked_for_a_time_or_for_good(gateway):
    name = gateway.make_sale(stock=50)
    path = "/admin/v1/blocklist/users/b%C3%B6se%2F1"
    user = "böse/1".encode().decode("latin-1")
    made = gateway.admin("PUT", path, {"ttl_s": 600, "reason": "a bot"})
    assert made.status == 201 and made.json["user"] == "böse/1" and made.json["reason"] == "a bot"
    assert gateway.buy(name, user).code == "blocked"
    until = gateway.admin("PUT", path, {"ttl_s": 1, "reason": "a bot"}, ANY_VERSION).json["until"]
    wait_until(lambda: gateway.buy(name, user).status == 202)
    assert rfc3339() >= until
    assert gateway.admin("GET", path).status == 404
    assert gateway.admin("PUT", path).json["until"] is None
    assert gateway.buy(name, user).code == "blocked"
    assert [b["user"] for b in gateway.admin("GET", "/admin/v1/blocklist/users").json["users"]] == ["böse/1"]
    assert gateway.admin("DELETE", path).status == 428
    assert gateway.admin("DELETE", path, headers=ANY_VERSION).status == 204
    assert gateway.admin("DELETE", path).status == 404
    assert gateway.buy(name, user).status == 202


def test_blocks_that_have_ended_take_no_room():
    with Gateway(settings={**PATIENT_LOG, "clock": {"archive_rest_s": 0}}) as one:
        for i in range(5):
            assert one.admin("PUT", f"/admin/v1/blocklist/users/short-{i}", {"ttl_s": 1}).status == 201
        time.sleep(1.1)
        assert one.admin("PUT", "/admin/v1/blocklist/users/long").status == 201
        with contextlib.closing(sqlite3.connect(f"file:{one.state / 'control.db'}?mode=ro", uri=True)) as db:
            assert db.execute("SELECT name FROM documents WHERE kind = 'blocklist/users'").fetchall() == [("long",)]
        assert one.admin("PUT", "/admin/v1/blocklist/users/short-1", {"ttl_s": 60}).status == 201
        assert [b["user"] for b in one.admin("GET", "/admin/v1/blocklist/users").json["users"]] == ["long", "short-1"]


def test_a_range_of_addresses_is_blocked(gateway):
    name = gateway.make_sale(stock=50)
    made = gateway.admin("PUT", "/admin/v1/blocklist/ips/203.0.113.0-24", {"reason": "a farm"})
    assert made.status == 201 and made.json["range"] == "203.0.113.0/24"
    assert gateway.admin("PUT", "/admin/v1/blocklist/ips/2001%3adb8::-32").json["range"] == "2001:db8::/32"
    for address, status in (("203.0.113.77", 403), ("203.0.114.1", 202), ("2001:db8:1::1", 403), ("2001:db9::1", 202)):
        answer = gateway.buy(name, address, headers={"X-Forwarded-For": address})
        assert answer.status == status, (address, answer)
    for bad in ("203.0.113.1-24", "203.0.113.0-33", "host-24", "-"):
        assert gateway.admin("PUT", f"/admin/v1/blocklist/ips/{bad}").status == 422, bad
    assert gateway.admin("PUT", "/admin/v1/blocklist/users/a", {"ttl_s": 0}).json["pointer"] == "/ttl_s"
    for name in ("203.0.113.0-24", "2001:db8::-32"):
        assert gateway.admin("DELETE", f"/admin/v1/blocklist/ips/{name}", headers=ANY_VERSION).status == 204


def test_who_is_blocked_gets_no_status_page_either(gateway):
    path = f"/v1/sales/{gateway.make_sale()}"
    assert gateway.admin("PUT", "/admin/v1/blocklist/ips/203.0.113.0-24").status == 201
    assert gateway.admin("PUT", "/admin/v1/blocklist/users/scraper", {"ttl_s": 600}).status == 201
    for user, address, status in ((None, "203.0.113.77", 403), ("ann", "203.0.113.77", 403), ("scraper", "203.0.114.1", 403), ("ann", "203.0.114.1", 200)):
        answer = gateway.public("GET", path, user=user, headers={"X-Forwarded-For": address})
        assert answer.status == status and (status == 200 or answer.code == "blocked"), answer
    assert "no-store" in gateway.public("GET", path, headers={"X-Forwarded-For": "203.0.113.77"}).headers["cache-control"]
    for entry in ("ips/203.0.113.0-24", "users/scraper"):
        assert gateway.admin("DELETE", f"/admin/v1/blocklist/{entry}", headers=ANY_VERSION).status == 204
    assert gateway.public("GET", path, headers={"X-Forwarded-For": "203.0.113.77"}).status == 200


def test_long_reads_and_slow_name_servers_leave_work_threads_to_each_other():
    """Reads of operators run two at once, and libuv gives half of its threads to look-ups of names: of eight threads each finds some."""
    with Gateway() as one:
        sale, tasks = one.make_sale(), f"/proc/{one.process.pid}/task"
        before = len(os.listdir(tasks))
        assert one.read(f"/admin/v1/sales/{sale}/audit").status == 200
        assert len(os.listdir(tasks)) - before == 8


@pytest.mark.parametrize("everybody", ["0.0.0.0-0", "%3a%3a-0", "%3a%3affff%3a0%3a0-96"])
def test_a_range_of_everybody_is_not_blocked(gateway, everybody):
    before = gateway.admin("GET", "/admin/v1/blocklist/ips").json
    answer = gateway.admin("PUT", f"/admin/v1/blocklist/ips/{everybody}", {"reason": "a slip"})
    assert (answer.status, answer.code) == (422, "invalid") and "range in the path" in answer.json["detail"], answer
    assert gateway.admin("GET", "/admin/v1/blocklist/ips").json == before
    assert gateway.admin("DELETE", f"/admin/v1/blocklist/ips/{everybody}", headers=ANY_VERSION).status == 404


def test_a_range_of_ipv6_blocks_nobody_of_ipv4(gateway):
    sale = gateway.make_sale(stock=9)
    assert gateway.admin("PUT", "/admin/v1/blocklist/ips/%3a%3a-8").json["range"] == "::/8"
    assert gateway.buy(sale, "four", headers={"X-Forwarded-For": "203.0.113.9"}).status == 202
    assert gateway.buy(sale, "six", headers={"X-Forwarded-For": "64:ff9b::1"}).code == "blocked"
    assert gateway.admin("DELETE", "/admin/v1/blocklist/ips/%3a%3a-8", headers=ANY_VERSION).status == 204


def test_many_changes_at_once_all_come_into_force(gateway):
    """DC5."""
    answers = together(40, lambda i: gateway.admin("PUT", f"/admin/v1/blocklist/users/crowd-{i}"))
    assert {a.status for a in answers} == {201}
    assert len({a.headers["etag"] for a in answers}) == 40
    answers = together(40, lambda i: gateway.admin("DELETE", f"/admin/v1/blocklist/users/crowd-{i}", headers=ANY_VERSION))
    assert {a.status for a in answers} == {204}


# --- Orders. ---

def buy(gateway, name, user):
    answer = gateway.buy(name, user)
    assert answer.status == 202 and answer.json["state"] == "accepted", answer
    return answer.json["order_id"]


def test_confirm_and_cancel_are_final_and_may_be_asked_again(gateway):
    name = gateway.make_sale(stock=2)
    kept, given = buy(gateway, name, "a"), buy(gateway, name, "b")
    for _ in range(2):
        answer = gateway.admin("POST", f"/admin/v1/orders/{kept}/confirm", {"reason": "paid"})
        assert answer.status == 200 and answer.json["state"] == "confirmed" and answer.json["user"] == "a"
        answer = gateway.admin("POST", f"/admin/v1/orders/{given}/cancel")
        assert answer.status == 200 and (answer.json["state"], answer.json["reason"]) == ("released", "cancelled")
    assert gateway.admin("POST", f"/admin/v1/orders/{kept}/cancel").code == "order_confirmed"
    assert gateway.admin("POST", f"/admin/v1/orders/{given}/confirm").code == "order_cancelled"
    assert gateway.buy(name, "c").status == 202
    assert gateway.public("GET", f"/v1/orders/{kept}", user="a").json["state"] == "confirmed"
    gateway.assert_books(name)


def test_an_unknown_order_is_not_found(gateway):
    unknown = "0190a1fe-0000-7000-8000-000000000000"
    for method, path in (("GET", unknown), ("POST", unknown + "/confirm"), ("POST", unknown + "/cancel"), ("GET", "x"), ("POST", "x/confirm")):
        assert gateway.admin(method, "/admin/v1/orders/" + path).status == 404, path


def test_a_payment_after_expiry_gets_a_clear_no_and_the_unit_is_sold_again(gateway):
    name = gateway.make_sale(stock=1, reservation_ttl_s=5)
    order = buy(gateway, name, "late")
    wait_until(lambda: gateway.admin("GET", f"/admin/v1/orders/{order}").json["state"] == "released", timeout=60, every=0.2)
    answer = gateway.admin("POST", f"/admin/v1/orders/{order}/confirm")
    assert (answer.status, answer.code) == (409, "order_expired")
    assert gateway.admin("POST", f"/admin/v1/orders/{order}/cancel").json["reason"] == "expired"
    buy(gateway, name, "next")
    gateway.assert_books(name)


def test_a_batch_answers_each_order_in_order(gateway):
    name = gateway.make_sale(stock=300)
    ids = [buy(gateway, name, f"u{i}") for i in range(60)]
    unknown = "0190a1fe-0000-7000-8000-000000000000"
    body = {"confirm": ids[:40] + [unknown, ids[0]], "cancel": ids[30:], "reason": "settled"}
    results = gateway.admin("POST", "/admin/v1/orders:batch", body).json["results"]
    assert [r["order_id"] for r in results] == body["confirm"] + body["cancel"]
    assert [r["status"] for r in results] == [200] * 40 + [404, 200] + [409] * 10 + [200] * 20
    assert results[42]["code"] == "order_confirmed" and results[-1]["state"] == "released"
    assert gateway.admin("POST", "/admin/v1/orders:batch", body).json["results"] == results
    sku = gateway.sale(name)["skus"][0]
    assert (sku["confirmed"], sku["held"], sku["available"]) == (40, 0, 260)
    gateway.assert_books(name)


@pytest.mark.parametrize("body, pointer", [
    ({}, ""), ({"confirm": "x"}, "/confirm"), ({"confirm": ["x"]}, "/confirm/0"), ({"cancel": [1]}, "/cancel/0"),
    ({"confirm": [], "accept": []}, "/accept"), ({"confirm": ["0190a1fe-0000-7000-8000-000000000000"] * 1001}, "")])
def test_a_bad_batch_is_refused_by_member(gateway, body, pointer):
    answer = gateway.admin("POST", "/admin/v1/orders:batch", body)
    assert (answer.status, answer.json.get("pointer")) == (422, pointer), answer


def test_orders_and_records_leave_page_by_page(gateway):
    name, other = gateway.make_sale(stock=100), gateway.make_sale(stock=100)
    ids = []
    for i in range(25):
        ids.append(buy(gateway, name, f"u{i}"))
        buy(gateway, other, f"u{i}")
    gateway.admin("POST", "/admin/v1/orders:batch", {"confirm": ids[:5], "cancel": ids[5:8]})

    def pages(path, limit):
        found, after = [], 0
        while True:
            answer = gateway.admin("GET", f"{path}after={after}&limit={limit}")
            assert answer.status == 200 and answer.headers["content-type"] == "application/x-ndjson", answer
            found += answer.lines()
            after = int(answer.headers["penstock-last-seq"])
            if len(answer.lines()) < limit:
                return found

    assert [o["order_id"] for o in pages(f"/admin/v1/orders?sale={name}&", 7)] == ids
    assert len(pages(f"/admin/v1/orders?sale={name}&state=confirmed&", 2)) == 5
    assert {o["reason"] for o in pages(f"/admin/v1/orders?state=released&sale={name}&", 2)} == {"cancelled"}
    both = pages("/admin/v1/orders?user=u3&", 1)
    assert {name, other} <= {o["sale"] for o in both}
    assert [o["seq"] for o in both] == sorted(o["seq"] for o in both)
    records = pages(f"/admin/v1/sales/{name}/log?", 6)
    assert len(records) == 2 + 25 + 8 and {r["sale"] for r in records} == {name}
    assert [r["seq"] for r in records] == sorted(r["seq"] for r in records)


@pytest.mark.parametrize("path", [
    "/admin/v1/orders?limit=0", "/admin/v1/orders?limit=1001", "/admin/v1/orders?after=-1", "/admin/v1/orders?sales=x",
    "/admin/v1/orders?state=pending", "/admin/v1/orders?limit=1&limit=2", "/admin/v1/orders?user=", "/admin/v1/orders?user=a%20b",
    "/admin/v1/orders?user=%C2%9B", "/admin/v1/audit-log?limit=x"])
def test_a_bad_query_is_refused(gateway, path):
    answer = gateway.admin("GET", path)
    assert (answer.status, answer.code) == (422, "invalid"), answer


@pytest.mark.parametrize("path", ["/admin/v1/orders?user=%zz", "/admin/v1/blocklist/ips/%zz", "/admin/v1/blocklist/users/%4"])
def test_a_percent_sign_without_two_digits_is_no_request(gateway, path):
    answer = gateway.admin("GET", path)
    assert (answer.status, answer.code) == (400, "malformed"), answer


def test_a_change_takes_no_query_and_is_not_made_with_one(gateway):
    name = gateway.make_sale(stock=1)
    for method, path in (("POST", f"/admin/v1/sales/{name}/pause"), ("POST", f"/admin/v1/sales/{name}/end"), ("POST", "/admin/v1/drain")):
        answer = gateway.admin(method, path + "?dry_run=1")
        assert (answer.status, answer.code) == (422, "invalid") and "dry_run" in answer.json["detail"], answer
    assert gateway.admin("GET", f"/admin/v1/sales/{name}").json["state"] == "open"
    assert gateway.admin("POST", f"/admin/v1/sales/{name}/pause?").status == 200


# --- Seeing. ---

def test_a_running_sale_is_audited_while_buyers_buy(gateway):
    name = gateway.make_sale(stock=2000, per_user_cap=1)
    stop = threading.Event()
    bought = []

    def buyers(n):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        i = 0
        while not stop.is_set():
            connection.request("POST", f"/v1/sales/{name}/orders", '{"sku":"phone"}',
                               {"Content-Type": "application/json", "X-User-Id": f"buyer-{n}-{i}"})
            answer = json.loads(connection.getresponse().read())
            i += 1
            if answer.get("state") == "accepted":
                bought.append(answer["order_id"])
                if i % 3 == 0:
                    gateway.admin("POST", f"/admin/v1/orders/{answer['order_id']}/{'confirm' if i % 2 else 'cancel'}")

    threads = [threading.Thread(target=buyers, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    try:
        seqs = []
        while len(seqs) < 10 or seqs[-1] == seqs[0] and len(seqs) < 1000:
            reports = together(4, lambda i: gateway.assert_books(name))
            seqs.append(max(r["seq"] for r in reports))
            sku = reports[0]["skus"][0]
            assert sku["counter_available"] == sku["available"]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert seqs == sorted(seqs) and seqs[-1] > seqs[0]
    assert len(gateway.orders(name)) == len(bought)
    gateway.assert_books(name)


def test_a_sale_without_a_counter_has_no_audit(gateway):
    gateway.admin("PUT", "/admin/v1/sales/unopened", document())
    assert gateway.admin("GET", "/admin/v1/sales/unopened/audit").code == "conflict"
    assert gateway.admin("GET", "/admin/v1/sales/none/audit").status == 404


def test_every_change_is_written_down_with_who_and_why(gateway):
    """DC6."""
    made = token(gateway, "operator", note="jo")
    secret, who = made["token"], made["id"]
    name = gateway.make_sale(stock=5)
    order, other = buy(gateway, name, "a"), buy(gateway, name, "b")
    last = gateway.admin("GET", "/admin/v1/audit-log?limit=1").lines()[0]["seq"]
    do = [("POST", f"/admin/v1/sales/{name}/pause", "sale.pause"), ("POST", f"/admin/v1/sales/{name}/resume", "sale.resume"),
          ("PUT", "/admin/v1/blocklist/users/zoe", "block.user"), ("DELETE", "/admin/v1/blocklist/users/zoe", "unblock.user"),
          ("PUT", "/admin/v1/limits/extra", "limit.put"), ("DELETE", "/admin/v1/limits/extra", "limit.delete"),
          ("POST", f"/admin/v1/sales/{name}/skus/phone/adjust", "stock.adjust"),
          ("POST", f"/admin/v1/orders/{order}/confirm", "order.confirm"), ("POST", f"/admin/v1/orders/{other}/cancel", "order.cancel"),
          ("POST", f"/admin/v1/sales/{name}/end", "sale.end")]
    for i, (method, path, action) in enumerate(do):
        body = {"reason": f"because {i}"}
        if action == "limit.put":
            body.update(RULE)
        if action == "stock.adjust":
            body.update(delta=-1, adjust_id="x")
        headers = ANY_VERSION if method == "DELETE" else None
        assert gateway.admin(method, path, body, headers, token=secret).status in (200, 201, 204), path
    refused = gateway.admin("PUT", "/admin/v1/limits/extra", {"reason": "never"}, token=secret)
    assert refused.status == 422
    lines = gateway.admin("GET", f"/admin/v1/audit-log?after={last}").lines()
    assert [line["seq"] for line in lines] == list(range(last + 1, last + 1 + len(do)))
    for i, (line, (_, _, action)) in enumerate(zip(lines, do)):
        assert (line["who"], line["action"], line["why"], line["peer"]) == (who, action, f"because {i}", "127.0.0.1")
        assert line["from"] is not None or line["to"] is not None
    assert lines[0]["from"] == "open" and lines[0]["to"] == "paused"

    def logged():
        changes = [json.loads(line) for line in gateway.log_path.read_text().splitlines() if '"admin_change"' in line]
        return [line["why"] for line in changes if line["who"] == who]

    wait_until(lambda: len(logged()) >= len(do), what="all changes in the log")
    assert logged() == [f"because {i}" for i in range(len(do))]


def test_metrics_tell_of_the_log(gateway):
    assert gateway.buy(gateway.make_sale(), "ann").status == 202
    text = call(gateway.admin_port, "GET", "/metrics")
    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    values = dict(line.rsplit(" ", 1) for line in text.text.splitlines() if not line.startswith("#"))
    assert int(values['penstock_log_records_total{outcome="landed"}']) > 0
    assert int(values["penstock_log_commits_total"]) > 0 and values["penstock_log_available"] == "1"
    assert values['penstock_log_commit_seconds_bucket{le="+Inf"}'] == values["penstock_log_commits_total"]
    assert float(values["penstock_log_commit_seconds_sum"]) > 0
    assert int(values["penstock_admin_changes_total"]) > 0


def test_the_operators_readyz_says_more(gateway):
    answer = gateway.admin("GET", "/readyz?verbose")
    assert "[+]log ok" in answer.text and "backlog" in answer.text


# --- Durability. ---

def operators_lines(gateway):
    """In the last hour of a day a gateway makes a key by itself, at any moment."""
    return [line for line in gateway.admin("GET", "/admin/v1/audit-log").lines() if line["action"] != "ref_key.new"]


def test_all_that_was_answered_survives_a_kill():
    """DC5."""
    with Gateway(settings=PATIENT_LOG) as one:
        one.no_limits()
        name = one.make_sale(stock=3)
        secret = token(one, "viewer")["token"]
        one.admin("PUT", "/admin/v1/limits/extra", RULE)
        one.admin("PUT", "/admin/v1/blocklist/users/zoe")
        one.admin("POST", f"/admin/v1/sales/{name}/skus/phone/adjust", {"delta": 4, "adjust_id": "a"})
        order = buy(one, name, "kim")
        one.admin("POST", f"/admin/v1/orders/{order}/confirm")
        one.admin("POST", f"/admin/v1/sales/{name}/pause")
        sale, lines = one.sale(name), operators_lines(one)
        one.kill()
        one.start()
        assert one.sale(name) == sale
        assert operators_lines(one) == lines
        assert one.admin("GET", "/admin/v1/limits/extra", token=secret).status == 200
        assert one.admin("GET", "/admin/v1/blocklist/users/zoe").status == 200
        assert one.admin("POST", f"/admin/v1/orders/{order}/cancel").code == "order_confirmed"
        again = one.admin("POST", f"/admin/v1/sales/{name}/skus/phone/adjust", {"delta": 4, "adjust_id": "a"})
        assert again.status == 200 and again.json["adjustments"] == 7
        one.assert_books(name)


def test_drain_ends_the_process_well():
    with Gateway(settings=PATIENT_LOG) as one:
        answer = one.admin("POST", "/admin/v1/drain", {"reason": "new version"})
        assert answer.status == 202 and answer.json == {"draining": True}
        assert one.process.wait(20) == 0


def test_many_slow_clients_do_not_stop_the_listener(gateway):
    answers = together(60, lambda i: raw(gateway.admin_port, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n", timeout=0.5) or b"")
    assert len(answers) == 60
    assert gateway.admin("GET", "/admin/v1/sales").status == 200
