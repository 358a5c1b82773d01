"""Watched buyers: what a gateway has lately answered to them, who may look, and that a watch ends."""
import json
import subprocess

import pytest
from penstock import PATIENT_LOG, Gateway, wait_until
from test_ctl import PENSTOCKCTL

WATCHES = "/admin/v1/watches"


@pytest.fixture(scope="module")
def gateway():
    with Gateway(settings=PATIENT_LOG) as one:
        one.no_limits()
        yield one


@pytest.fixture(autouse=True)
def nobody_is_watched_afterwards(gateway):
    yield
    for watch in gateway.admin("GET", WATCHES).json["watches"]:
        assert gateway.admin("DELETE", f"{WATCHES}/{watch['user']}").status == 204


def watch(gateway, user="ann", ttl_s=600):
    answer = gateway.admin("PUT", f"{WATCHES}/{user}", {"ttl_s": ttl_s, "reason": "asked by phone"})
    assert answer.status in (200, 201), answer
    return answer.json


def verdicts(gateway, user="ann"):
    return gateway.admin("GET", f"{WATCHES}/{user}").json["verdicts"]


def test_a_watch_shows_orders_and_look_ups_of_its_buyer_the_newest_first(gateway):
    gateway.limit("tight", algorithm="fixed_window", key="user", rate=2, period_s=86400)
    sale = gateway.make_sale(stock=10, per_user_cap=5)
    assert gateway.buy(sale, "ann").status == 202  # before the watch
    shown = watch(gateway)
    assert (shown["user"], shown["by"], shown["reason"], shown["verdicts"]) == ("ann", "first", "asked by phone", [])
    order = gateway.buy(sale, "ann", headers={"X-Request-Id": "r-1"})
    assert order.status == 202 and gateway.buy(sale, "ann").status == 429 and gateway.buy(sale, "bob").status == 202
    assert gateway.public("GET", f"/v1/orders/{order.json['order_id']}", headers={"X-User-Id": "ann"}).status == 200
    found = verdicts(gateway)
    assert [(entry["seq"], entry["method"], entry["sale"], entry["verdict"], entry["status"], entry["rule"]) for entry in found] == [
        (3, "GET", None, "ok", 200, None), (2, "POST", sale, "user_rate", 429, "tight"), (1, "POST", sale, "accepted", 202, None)]
    assert found[2]["request_id"] == "r-1" and found[2]["path"] == "/v1/sales/{sale}/orders" and found[2]["took_us"] > 0
    assert gateway.admin("DELETE", "/admin/v1/limits/tight", headers={"If-Match": "*"}).status == 204


def test_the_last_hundred_are_kept_and_another_end_forgets_none(gateway):
    watch(gateway)
    for _ in range(103):
        gateway.buy("none", "ann")
    assert watch(gateway, ttl_s=60)["verdicts"] == verdicts(gateway)
    assert [entry["seq"] for entry in verdicts(gateway)] == list(range(103, 3, -1))
    assert {entry["verdict"] for entry in verdicts(gateway)} == {"not_found"}


def test_a_watch_ends_by_itself_or_by_hand_and_both_are_audited(gateway):
    watch(gateway, "late", 1)
    watch(gateway)
    assert [entry["user"] for entry in gateway.admin("GET", WATCHES).json["watches"]] in (["ann"], ["ann", "late"])
    wait_until(lambda: gateway.admin("GET", f"{WATCHES}/late").status == 404, what="the end")
    assert gateway.admin("DELETE", f"{WATCHES}/ann", {"reason": "solved"}).status == 204
    assert gateway.admin("DELETE", f"{WATCHES}/ann").status == gateway.admin("GET", f"{WATCHES}/ann").status == 404

    def lines():
        return {(line["action"], line["target"], line["who"], line["why"] or "") for line in gateway.admin("GET", "/admin/v1/audit-log?limit=1000").lines()}

    wait_until(lambda: ("watch.expire", "watches/late", "system", "") in lines(), what="the entry")
    assert {("watch.put", "watches/ann", "first", "asked by phone"), ("watch.delete", "watches/ann", "first", "solved")} <= lines()


def test_what_was_kept_is_forgotten_with_the_watch(gateway):
    watch(gateway)
    gateway.buy("none", "ann")
    assert len(verdicts(gateway)) == 1
    assert gateway.admin("DELETE", f"{WATCHES}/ann").status == 204
    assert watch(gateway)["verdicts"] == []


@pytest.mark.parametrize("body, pointer", [({}, "/ttl_s"), ({"ttl_s": 0}, "/ttl_s"), ({"ttl_s": 86401}, "/ttl_s"), ({"ttl_s": 1, "user": "x"}, "/user")])
def test_a_bad_watch_is_refused_by_member_and_changes_nothing(gateway, body, pointer):
    answer = gateway.admin("PUT", f"{WATCHES}/ann", body)
    assert answer.status == 422 and answer.json["pointer"] == pointer, answer
    assert gateway.admin("GET", f"{WATCHES}/ann").status == 404


def test_there_are_a_hundred_watches_at_most(gateway):
    for n in range(100):
        watch(gateway, f"u{n}")
    assert gateway.admin("PUT", f"{WATCHES}/more", {"ttl_s": 60}).status == 409
    assert gateway.admin("PUT", f"{WATCHES}/u7", {"ttl_s": 60}).status == 200


def test_an_operator_sets_a_watch_and_a_viewer_looks(gateway):
    viewer = gateway.admin("POST", "/admin/v1/tokens", {"role": "viewer"}).json["token"]
    watch(gateway)
    assert gateway.admin("GET", f"{WATCHES}/ann", token=viewer).status == 200
    assert gateway.admin("PUT", f"{WATCHES}/bob", {"ttl_s": 60}, token=viewer).status == 403
    assert gateway.admin("DELETE", f"{WATCHES}/ann", token=viewer).status == 403


def test_penstockctl_follows_a_buyer_until_the_watch_ends(gateway):
    def ctl(*words):
        return subprocess.run([str(PENSTOCKCTL), "--admin", f"http://127.0.0.1:{gateway.admin_port}", "--token-file", str(gateway.state / "admin.token"), *words],
                              capture_output=True, text=True, timeout=30)

    watch(gateway)
    for _ in range(2):
        gateway.buy("none", "ann")
    done = ctl("watch", "follow", "ann", "--ttl", "2", "--interval", "1", "-o", "ndjson")
    assert done.returncode == 0, done
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == [1, 2]
    watch(gateway, "bob")
    assert "bob" in ctl("watch", "list").stdout
    assert ctl("watch", "end", "bob").returncode == 0 and ctl("watch", "end", "bob").returncode == 1
