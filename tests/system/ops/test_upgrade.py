"""A state directory that an earlier version has written: this one starts on it, keeps what operators decided and what buyers were told, and says what it let go.

Each released version leaves one with what was told of it (released.py); `states/make VERSION` writes both, and the last tests here start on each of them.

states/077fbf8.tar.gz is one of 24 November 2026 with documents of each kind and three sales: `spring` with an order confirmed, one cancelled and two held, and stock
adjusted by two; `summer`, which opens in ten years; `winter`, which was ended. For a week from then on the level, a feature and a route's fallback were pinned."""
import contextlib
import json
import tarfile
import time
from datetime import datetime, timezone

import pytest
from clock import Clock
from penstock import ANY_VERSION, ROOT, Gateway, wait_until
from released import STATES, UPSTREAM, has, play, seen

MADE_AT = datetime(2026, 11, 24, 3, 15, tzinfo=timezone.utc).timestamp()
CONFIRMED, CANCELLED, HELD, ALSO_HELD = "01a20b8b-d06b-7599-8314-ccf381ba6349", "01a20b8b-d06d-7103-b50d-b6fa914da749", "01a20b8b-d06f-722a-ba24-f2a02b71f649", "01a20b8b-d077-775c-93b2-aeef27b78649"


@contextlib.contextmanager
def upgraded(directory, version, made_at):
    """This version on the state of that one, in the minute in which it was written."""
    with tarfile.open(STATES / f"{version}.tar.gz") as state:
        state.extractall(directory)
    clock = Clock(directory)
    clock.jump(int(made_at - time.time()))
    with Gateway(directory=directory, env=clock.env, settings=UPSTREAM) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with upgraded(tmp_path_factory.mktemp("upgrade"), "077fbf8", MADE_AT) as gateway:
        yield gateway


def test_orders_and_stock_are_as_buyers_were_told(gateway):
    """I2: Also what was ended stays so, and the log's books agree."""
    states = {order["order_id"]: order["state"] for order in gateway.orders("spring")}
    assert states == {CONFIRMED: "confirmed", CANCELLED: "released", HELD: "accepted", ALSO_HELD: "accepted"}
    assert gateway.assert_books("spring")["skus"][0]["held"] == 2
    assert gateway.sale("spring")["skus"][0]["available"] == 9
    assert gateway.sale("summer")["state"] == "scheduled" and gateway.sale("winter")["state"] == "ended"
    assert gateway.buy("winter", "zoe").code == "ended"
    assert gateway.buy("spring", "zoe").json["state"] == "accepted"


def test_every_document_is_there_and_may_be_put_back(gateway):
    """DC3: A member that this version calls otherwise is shown by its new name, and one that it does not have is dropped."""
    documents = gateway.admin("GET", "/admin/v1/config").json["documents"]
    assert set(documents["sales"]) == {"spring", "summer", "winter"}
    assert set(documents["pools"]) == {"blue", "green", "signed"} and set(documents["routes"]) == {"page", "reviews"}
    assert documents["limits"]["user"]["rate"] == 7 and documents["limits"]["user"]["mode"] == "shadow"
    assert [(split["pool"], split["share"]) for split in documents["routes"]["page"]["split"]] == [("green", 0.25)]
    assert {"pool": "green", "share": 0.1} in documents["routes"]["page"].values()  # what GETs are copied
    assert [endpoint["weight"] for endpoint in documents["pools"]["blue"]["endpoints"]] == [3, 1]
    assert not any("zone" in endpoint for endpoint in documents["pools"]["blue"]["endpoints"])
    for kind, of_kind in documents.items():
        for name, document in of_kind.items():
            assert "ticket" not in document, (kind, name)
    bundle = gateway.admin("GET", "/admin/v1/config").json
    put = gateway.admin("PUT", "/admin/v1/config?dry_run=1", {"documents": bundle["documents"]}, {"If-Match": "*"})
    assert put.status == 200, put
    zoned = gateway.admin("PUT", "/admin/v1/pools/blue", {"endpoints": [{"address": "10.0.0.1:80", "zone": None}]}, {"If-Match": "*"})
    assert zoned.status == 422 and zoned.json["errors"][0]["pointer"] == "/endpoints/0/zone", zoned


def test_who_was_blocked_stays_blocked(gateway):
    assert gateway.buy("spring", "bot-1").code == "blocked" and gateway.buy("spring", "bot-2").code == "blocked"
    assert "203.0.113.0-24" in gateway.admin("GET", "/admin/v1/blocklist/ips").text.replace("/", "-")


def test_tokens_and_the_history_of_documents_stay(gateway):
    assert {token["note"] for token in gateway.admin("GET", "/admin/v1/tokens").json["tokens"]} >= {"desk"}
    assert [version["version"] for version in gateway.admin("GET", "/admin/v1/limits/user/versions").json["versions"]] == [2, 1]
    assert any(line["action"] == "overload.pin" for line in gateway.admin("GET", "/admin/v1/audit-log?limit=1000").lines())


def test_what_was_pinned_is_let_go_and_nothing_stays_half(gateway):
    """Overrides replace pins: operators set again what they still want."""
    assert gateway.admin("GET", "/admin/v1/overrides").json["overrides"] == []
    wait_until(lambda: gateway.admin("GET", "/admin/v1/overload").json["level"] == 0, what="the level that the signals give")
    assert gateway.admin("GET", "/admin/v1/features/exports").json["state"] == "on"


# --- The states of released versions. ---


@pytest.fixture(scope="module", params=sorted(path.stem for path in STATES.glob("*.json")))
def released(request, tmp_path_factory):
    """The gateway, and what was told."""
    facts = json.loads((STATES / f"{request.param}.json").read_text())
    with upgraded(tmp_path_factory.mktemp("released"), request.param, datetime.fromisoformat(facts["made_at"].replace("Z", "+00:00")).timestamp()) as gateway:
        yield gateway, facts


def test_orders_and_units_are_what_a_released_version_told(released):
    """I2, I4: Each key still brings its order, and the log's books agree."""
    gateway, facts = released
    assert {order["order_id"]: order["state"] for order in gateway.orders("spring")} == facts["states"]
    assert {name: seen(gateway, name) for name in facts["sales"]} == facts["sales"]
    gateway.assert_books("spring")
    for order_id, order in facts["orders"].items():
        replay = gateway.buy("spring", order["user"], quantity=order["quantity"], key=order["key"])
        assert replay.status == 202 and replay.json["order_id"] == order_id and replay.headers["idempotency-replayed"] == "true", replay


def test_what_operators_of_a_released_version_decided_is_in_force(released):
    """DC3: Documents, their history, blocked buyers, overrides, tokens."""
    gateway, facts = released
    bundle = gateway.read("/admin/v1/config?base=1").json
    has(bundle["documents"], facts["documents"])
    put = gateway.admin("PUT", "/admin/v1/config?dry_run=1&force=1&left_out=keep", {"documents": facts["documents"]}, ANY_VERSION)
    assert put.status == 200, put
    assert len(gateway.read("/admin/v1/limits/user/versions").json["versions"]) == facts["versions"]
    assert gateway.buy("spring", "bot-1").code == "blocked"
    assert gateway.overrides()["feature:access_log"]["value"] == "on"
    assert "desk" in {token["note"] for token in gateway.read("/admin/v1/tokens").json["tokens"]}


def test_a_run_that_a_released_version_began_is_taken_back(released):
    gateway, facts = released
    assert gateway.read(f"/admin/v1/runs/{facts['run']}").json["state"] == "active"
    assert gateway.buy("spring", "bot-2").code == "blocked" and gateway.read("/admin/v1/limits/phones").json["rate"] == 500
    assert gateway.admin("POST", f"/admin/v1/runs/{facts['run']}/revert", {"reason": "it is over"}).json["end"] == "reverted"
    assert gateway.read("/admin/v1/limits/phones").json["rate"] == 1000 and gateway.buy("spring", "bot-2").code != "blocked"


def test_a_released_version_can_be_played_again():
    """What states/make plays works with this version, so that the next release can leave its state."""
    with Gateway(settings=UPSTREAM) as gateway:
        assert set(play(gateway)["states"].values()) == {"confirmed", "released", "accepted"}
