"""The degrade ladder over real HTTP: what each feature does while it is off, overrides and their end, levels that a real signal causes, and what an
operator sees beforehand."""
import contextlib
import json
import socket
import subprocess
import time

import pytest
from cluster import PATIENT, Redis
from penstock import ANY_VERSION, PATIENT_LOG, PENSTOCK, Gateway, rfc3339, seeds, wait_until

FEATURES = ("access_log", "exact_stock", "exports", "long_keep_alive", "mirror", "order_state_fresh", "rehearsals", "routes_extra", "routes_important",
            "routes_normal", "status_page_short_ttl")
# A pause of the machine raises no level.
DELAYED = {"loop_delay_ms": {"threshold": 10000}}
ENFORCE = {"seed": seeds({"overload": {"default": {"signals": DELAYED}}})}
PATCH = {**ANY_VERSION, "Content-Type": "application/merge-patch+json"}


def raise_level(gateway, level):
    """By a threshold that every process exceeds."""
    document = {"leave_s": 1, "signals": {**DELAYED, "memory": {"threshold": 0.0001, "weight": 1}}}
    assert gateway.admin("PUT", "/admin/v1/overload", document, ANY_VERSION).status == 200
    wait_until(lambda: overload(gateway)["level"] == level, what=f"level {level}")


def overload(gateway):
    answer = gateway.admin("GET", "/admin/v1/overload?history_s=0")
    assert answer.status == 200, answer
    return answer.json


@contextlib.contextmanager
def feature(gateway, name, state):
    """Overridden meanwhile."""
    gateway.override(f"feature:{name}", state)
    assert gateway.read(f"/admin/v1/features/{name}").json["state"] == state
    yield
    gateway.end_override(f"feature:{name}")


def audit_log(gateway, action):
    return [line for line in gateway.admin("GET", "/admin/v1/audit-log?limit=1000").lines() if line["action"] == action]


@pytest.fixture(scope="module")
def gateway():
    """Its level is an operator's alone."""
    with Gateway(settings=PATIENT_LOG) as one:
        one.no_limits()
        yield one


# --- What a feature does. ---


def test_without_exact_stock_the_status_page_says_a_word(gateway):
    sale = gateway.make_sale(stock=20, per_user_cap=20)

    def figure():
        time.sleep(0.11)  # a page is built at most each 100 ms
        answer = gateway.public("GET", f"/v1/sales/{sale}")
        [sku] = answer.json["skus"]
        return sku["available"], sku["availability"], answer.headers["etag"]

    assert figure()[:2] == (20, "in_stock")
    with feature(gateway, "exact_stock", "off"):
        plenty = figure()
        assert plenty[:2] == ("plenty", "in_stock")
        assert gateway.buy(sale, "one", quantity=5).status == 202
        assert figure() == plenty  # and with it the ETag: caches fetch nothing anew
        assert gateway.buy(sale, "two", quantity=13).status == 202
        assert figure()[:2] == ("few", "in_stock")
        assert gateway.buy(sale, "three", quantity=2).status == 202
        assert figure()[:2] == ("none", "sold_out")
    assert figure()[:2] == (0, "sold_out")


def test_without_the_short_ttl_caches_keep_the_status_page_five_times_as_long(gateway):
    sale = gateway.make_sale(stock=5)
    headers = gateway.public("GET", f"/v1/sales/{sale}").headers
    assert headers["cache-control"].startswith("public, max-age=1, stale-while-revalidate=2,")
    with feature(gateway, "status_page_short_ttl", "off"):
        headers = gateway.public("GET", f"/v1/sales/{sale}").headers
        assert headers["cache-control"].startswith("public, max-age=5, stale-while-revalidate=10,")
        assert headers["cdn-cache-control"] == headers["surrogate-control"]
        assert headers["cdn-cache-control"].startswith("max-age=10, stale-while-revalidate=25,")
        soon = gateway.make_sale(stock=5, opens_in=9.0, wait=False)
        headers = gateway.public("GET", f"/v1/sales/{soon}").headers  # never past the opening
        assert headers["cdn-cache-control"].split(",")[0] in {f"max-age={s}" for s in range(1, 9)}, headers


def test_without_fresh_order_states_a_buyers_client_may_keep_what_the_log_shows(gateway):
    sale = gateway.make_sale(stock=5)
    order = gateway.buy(sale, "ann").json["order_id"]
    for path in (f"/v1/orders/{order}", f"/v1/sales/{sale}/orders"):
        assert gateway.public("GET", path, user="ann").headers["cache-control"] == "no-store"
        with feature(gateway, "order_state_fresh", "off"):
            answer = gateway.public("GET", path, user="ann")
            assert answer.status == 200 and answer.headers["cache-control"] == "private, max-age=2"
            assert gateway.buy(sale, "ann").headers["cache-control"] == "no-store"
            answer = gateway.public("GET", f"/v1/orders/{order}", user="eve")
            assert (answer.status, answer.headers["cache-control"]) == (404, "no-store")


def test_without_fresh_order_states_redis_is_not_asked(tmp_path):
    redis = Redis(tmp_path).start()
    try:
        settings = {"store": {"kind": "redis", "redis": {"url": f"redis://127.0.0.1:{redis.port}/0", **PATIENT["store"]["redis"]}}, **PATIENT_LOG}
        with Gateway(settings=settings) as gateway:
            gateway.no_limits()
            sale = gateway.make_sale(stock=5)
            shown = gateway.buy(sale, "ann").json["order_id"]
            nobodys = shown[:-4] + "0000"  # of this sale, as its id tells
            path = f"/v1/orders/{nobodys}"
            assert gateway.public("GET", path, user="ann").status == 404
            with feature(gateway, "order_state_fresh", "off"):
                answer = gateway.public("GET", path, user="ann")
                assert (answer.status, answer.code) == (503, "shed") and int(answer.headers["retry-after"]) >= 1
                assert answer.json["violated-policies"] == ["order_state_fresh"]
                assert gateway.public("GET", f"/v1/orders/{shown}", user="ann").json["state"] == "accepted"
            assert gateway.public("GET", path, user="ann").status == 404
    finally:
        redis.end()


def lives(port, seconds):
    """A connection that was answered and is idle: is it still open after so long?"""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        connection.settimeout(seconds)
        try:
            return connection.recv(1) != b""
        except TimeoutError:
            return True


def test_without_long_keep_alive_an_idle_connection_ends_after_a_second_but_not_a_proxys(gateway):
    with Gateway(settings={"trusted_proxies": []}) as direct:
        assert lives(direct.port, 1.8)
        with feature(direct, "long_keep_alive", "off"):
            assert not lives(direct.port, 10)  # it would live for 20 s
    with feature(gateway, "long_keep_alive", "off"):
        assert lives(gateway.port, 1.8)


def access_lines(gateway):
    return [json.loads(line) for line in gateway.log_path.read_text().splitlines() if '"event":"access"' in line]


def test_the_access_log_is_off_unless_the_settings_say_otherwise_and_is_sampled_under_pressure(gateway):
    assert gateway.public("GET", "/livez").status == 200
    with Gateway(settings={"access_log": {"every": 1}, "workers": 1, **PATIENT_LOG}) as logging:
        logging.no_limits()
        sale = logging.make_sale(stock=5)
        bought = logging.buy(sale, "ann", headers={"X-Request-Id": "click-1"})
        assert bought.status == 202 and logging.buy(sale, "bob", sku="none").status == 404
        assert logging.public("GET", "/nowhere", headers={"X-Request-Id": "click-2"}).status == 404
        wait_until(lambda: "click-2" in [line["request_id"] for line in access_lines(logging)], what="the last line")
        [line] = [line for line in access_lines(logging) if line["request_id"] == "click-1"]
        assert (line["method"], line["route"], line["verdict"]) == ("POST", "/v1/sales/{sale}/orders", "accepted")
        assert line["took_us"] > 0 and len(line["user"]) == 16 and line["rehearsal"] is False
        users = {line["user"] for line in access_lines(logging) if line["route"] == "/v1/sales/{sale}/orders"}
        assert len(users) == 2 and "ann" not in logging.log_path.read_text()
        with feature(logging, "access_log", "off"):
            before = len(access_lines(logging))
            for _ in range(250):
                assert logging.public("GET", "/livez").status == 200
        wait_until(lambda: len(access_lines(logging)) - before >= 2, what="lines")
        time.sleep(0.3)
        assert len(access_lines(logging)) - before <= 4
    assert access_lines(gateway) == []


def test_without_exports_they_are_put_off_and_a_small_audit_is_answered(gateway):
    """(A large one: test_audit.py.)"""
    sale = gateway.make_sale(stock=5)
    paths = (f"/admin/v1/orders?sale={sale}", f"/admin/v1/sales/{sale}/log")
    with feature(gateway, "exports", "off"):
        for path in paths:
            answer = gateway.admin("GET", path)
            assert (answer.status, answer.code) == (503, "shed") and int(answer.headers["retry-after"]) >= 1, answer
            assert answer.json["violated-policies"] == ["exports"]
        assert gateway.admin("GET", "/admin/v1/audit-log").status == 200
        assert gateway.admin("GET", f"/admin/v1/sales/{sale}").status == 200
        gateway.assert_books(sale)
    for path in paths:
        assert gateway.admin("GET", path).status == 200


def test_rehearsals_and_exports_give_way_to_real_sales_and_to_overrides():
    with Gateway(settings=ENFORCE) as own:
        own.no_limits()
        rehearsal = own.make_sale(stock=50, rehearsal=True)
        export = f"/admin/v1/sales/{rehearsal}/log"
        with feature(own, "rehearsals", "off"):
            answer = own.buy(rehearsal, "ann")
            assert (answer.status, answer.code) == (503, "shed") and int(answer.headers["retry-after"]) >= 1
            assert answer.json["violated-policies"] == ["rehearsals"]
        raise_level(own, 4)
        alone = {"state": "on", "reason": "no real sale is open"}
        for name in ("rehearsals", "exports"):
            assert alone.items() <= overload(own)["features"][name].items()
        assert own.buy(rehearsal, "ann").status == 202 and own.admin("GET", export).status == 200  # there is nobody to make room for
        own.override("level", 2)
        assert own.buy(rehearsal, "bob").code == "shed" and own.admin("GET", export).status == 503
        own.end_override("level")
        assert overload(own)["level"] == 4
        assert own.buy(rehearsal, "bob").status == 202
        real = own.make_sale(stock=50)
        wait_until(lambda: own.buy(rehearsal, "cid").code == "shed", what="the rehearsal to give way")
        assert own.buy(real, "cid").status == 202 and own.admin("GET", export).status == 503
        with feature(own, "rehearsals", "on"):
            assert own.buy(rehearsal, "cid").status == 202


def test_a_feature_goes_by_its_level(gateway):
    sale = gateway.make_sale(stock=5)
    assert gateway.admin("PUT", "/admin/v1/features/exports", {"level": 4}, ANY_VERSION).status == 200
    gateway.override("level", 3)
    assert gateway.admin("GET", f"/admin/v1/sales/{sale}/log").status == 200
    gateway.override("level", 4)
    assert gateway.admin("GET", f"/admin/v1/sales/{sale}/log").status == 503
    answer = gateway.admin("PUT", "/admin/v1/features/exports", {"level": None}, ANY_VERSION)
    assert answer.status == 200 and (answer.json["level"], answer.json["state"]) == (None, "on")
    assert gateway.admin("GET", f"/admin/v1/sales/{sale}/log").status == 200
    assert gateway.admin("POST", "/admin/v1/features/exports/rollback", {"version": 1}, ANY_VERSION).json["state"] == "off"
    assert gateway.metric('penstock_feature_off{feature="exports"}') == 1 and gateway.metric("penstock_overload_level") == 4
    gateway.end_override("level")
    assert overload(gateway)["level"] == 0
    assert gateway.metric('penstock_feature_off{feature="exports"}') == 0 and gateway.metric("penstock_overload_level") == 0


# --- Overrides. ---


def test_an_override_outlives_a_restart_and_its_time_ends_it():
    with Gateway() as gateway:
        until = gateway.override("level", 2, ttl_s=12, reason="the show begins")["until"]
        assert (overload(gateway)["level"], overload(gateway)["why"]) == (2, "overridden by first: the show begins")
        gateway.override("feature:access_log", "on")
        assert gateway.stop() == 0
        gateway.start()
        now, kept = overload(gateway), gateway.overrides()
        assert now["level"] == 2 and set(kept) == {"level", "feature:access_log"}
        assert (kept["level"]["until"], kept["level"]["by"], kept["level"]["reason"]) == (until, "first", "the show begins")
        assert now["features"]["access_log"]["reason"] == "overridden by first: a test" and now["features"]["exports"]["state"] == "off"
        wait_until(lambda: overload(gateway)["level"] == 0, what="the end of the override")
        now = overload(gateway)
        assert rfc3339() >= until and set(gateway.overrides()) == {"feature:access_log"} and now["why"] == "an override has ended"
        assert now["features"]["exports"]["state"] == "on" and now["features"]["access_log"]["reason"].startswith("overridden by first")
        assert now["changes"][0]["cause"] == "override_ended"
        changes = wait_until(lambda: len(lines := audit_log(gateway, "overload.level")) == 2 and lines, what="the entries")
        assert [(line["who"], line["from"]["level"], line["to"]["level"], line["to"]["cause"]) for line in changes] == [
            ("system", 0, 2, "override"), ("system", 2, 0, "override_ended")]
        versions = gateway.admin("GET", "/admin/v1/overload/versions").json["versions"]
        assert [(one["who"], one["action"]) for one in versions] == [("settings", "config.put"), ("penstock", "overload.put")]


def test_what_is_wrong_is_named_and_changes_nothing(gateway):
    before = overload(gateway), gateway.admin("GET", "/admin/v1/features").json
    for method, path, body, pointer in (
            ("PUT", "overload", {"enter": 0.5}, "/leave"),
            ("PUT", "overload", {"leave": 0.9}, "/leave"),
            ("PUT", "overload", {"signals": {"load": {"threshold": 1}}}, "/signals/load"),
            ("PUT", "overload", {"signals": {"loop_delay_ms": {"threshold": -1}}}, "/signals/loop_delay_ms/threshold"),
            ("PUT", "overload", {"mode": "of"}, "/mode"),
            ("PATCH", "overload", {"leave_s": 0}, "/leave_s"),
            ("PATCH", "overload", {"level": 3}, "/level"),
            ("PUT", "features/exports", {}, "/level"),
            ("PUT", "features/exports", {"level": 0}, "/level"),
            ("PUT", "config", {"documents": {"features": {"orders": {"level": 1}}}}, "/documents/features/orders"),
            ("PUT", "config", {"documents": {"overload": {"spare": {}}}}, "/documents/overload/spare"),
            ("PUT", "config", {"documents": {"overload": {"default": {"signals": {"x": {}}}}}}, "/documents/overload/default/signals/x")):
        answer = gateway.admin(method, f"/admin/v1/{path}", body, PATCH if method == "PATCH" else ANY_VERSION)
        assert answer.status == 422 and answer.json["pointer"] == pointer == answer.json["errors"][0]["pointer"], (path, body, answer)
    for name in ("orders", "confirm", "exact_stocks"):  # core, or nothing at all
        for method, path, body in (("PUT", name, {"level": 1}), ("GET", name, None)):
            answer = gateway.admin(method, f"/admin/v1/features/{path}", body)
            assert answer.status == 422 and "core work" in answer.json["detail"], answer
    answer = gateway.admin("PUT", "/admin/v1/config", {"documents": {"features": {"orders": {"level": 1}}}}, ANY_VERSION)
    assert answer.json["errors"][0]["detail"].startswith("the name must be a feature that can be turned off"), answer
    assert all("can neither be deleted nor left out" in fault["detail"] for fault in answer.json["errors"][1:]), answer
    assert gateway.admin("PUT", "/admin/v1/overload", {}).status == 428
    assert gateway.admin("DELETE", "/admin/v1/features/exports", headers=ANY_VERSION).status == 405
    assert gateway.admin("PUT", "/admin/v1/config", {"documents": {"features": {}}}, ANY_VERSION).status == 409
    after = overload(gateway), gateway.admin("GET", "/admin/v1/features").json
    for measured in ("at", "pressure", "highest", "signals", "level_by_pressure", "features", "history"):
        before[0].pop(measured), after[0].pop(measured)
    assert after[0] == before[0]
    assert {name: feature["level"] for name, feature in after[1]["features"].items()} == {
        name: feature["level"] for name, feature in before[1]["features"].items()}


def test_what_get_shows_can_be_edited_and_put(gateway):
    for path, member, value in (("overload", "enter", 0.9), ("features/exact_stock", "level", 3)):
        have = gateway.admin("GET", f"/admin/v1/{path}")
        time.sleep(0.15)  # what is measured is another by now
        again = gateway.admin("PUT", f"/admin/v1/{path}", have.json, {"If-Match": have.headers["etag"]})
        assert again.status == 200 and again.headers["etag"] == have.headers["etag"], again
        put = gateway.admin("PUT", f"/admin/v1/{path}", {**have.json, member: value}, {"If-Match": have.headers["etag"]})
        assert put.status == 200 and put.json[member] == value and put.headers["etag"] != have.headers["etag"]
        back = gateway.admin("POST", f"/admin/v1/{path}/rollback", {"version": int(have.headers["etag"].strip('"'))})
        assert back.status == 200 and back.json[member] == have.json[member]


def test_a_dry_run_says_what_each_level_would_have_turned_off():
    with Gateway() as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=5)
        for _ in range(7):
            gateway.public("GET", f"/v1/sales/{sale}")
        order = gateway.buy(sale, "ann").json["order_id"]
        for _ in range(3):
            gateway.public("GET", f"/v1/orders/{order}", user="ann")
        dry = gateway.override("level", 2, query="?dry_run=1")
        assert dry["dry_run"] is True and (dry["override"]["value"], dry["override"]["without"]) == (2, 0)
        levels = {row["level"]: {one["feature"]: one["uses_last_minute"] for one in row["turned_off"]} for row in dry["levels"]}
        assert sorted(levels) == [1, 2, 3, 4] and set(levels[4]) == set(FEATURES)
        assert levels[2]["exact_stock"] == 7 and "order_state_fresh" not in levels[2] and levels[3]["order_state_fresh"] == 3
        answer = gateway.admin("PUT", "/admin/v1/features/order_state_fresh?dry_run=1", {"level": 1}, ANY_VERSION)
        assert {one["feature"]: one["uses_last_minute"] for one in answer.json["levels"][0]["turned_off"]}["order_state_fresh"] == 3
        assert "levels" in gateway.admin("PUT", "/admin/v1/overload?dry_run=1", {"enter": 0.7}, ANY_VERSION).json
        assert "levels" not in gateway.admin("PATCH", "/admin/v1/limits/user?dry_run=1", {"rate": 9}, PATCH).json
        now = overload(gateway)
        assert (now["level"], gateway.overrides(), now["enter"]) == (0, {}, 0.8)
        assert audit_log(gateway, "override.put") == []


# --- Levels. ---


def test_a_real_signal_raises_the_level_step_by_step_and_its_end_lowers_it():
    """OL4."""
    with Gateway(settings=ENFORCE) as gateway:
        gateway.make_sale(stock=5)
        started = time.monotonic()
        raise_level(gateway, 4)
        assert time.monotonic() - started > 1.0  # three ticks a step
        now = overload(gateway)
        assert now["highest"] == "memory" and now["why"].startswith("memory was at ")
        assert {name for name, feature in now["features"].items() if feature["state"] == "off"} == set(FEATURES)
        gateway.wait_log("overload_level_raised")
        assert gateway.admin("PUT", "/admin/v1/overload", {"leave_s": 1, "signals": DELAYED}, ANY_VERSION).status == 200
        for change in overload(gateway)["changes"]:
            memory = change["signals"]["memory"]  # shown with the threshold that was in force then
            assert memory["threshold"] < 1 and memory["share"] > 0.8, change
        wait_until(lambda: overload(gateway)["level"] == 0, 20, what="level 0")
        gateway.wait_log("overload_level_lowered")
        lines = wait_until(lambda: len(found := audit_log(gateway, "overload.level")) == 8 and found, what="the entries")
        assert [(line["from"]["level"], line["to"]["level"], line["to"]["cause"]) for line in lines] == [
            *((level, level + 1, "pressure") for level in range(4)), *((level, level - 1, "calm") for level in range(4, 0, -1))]
        assert all(line["who"] == "system" and line["target"] == "overload/default" for line in lines)
        signal = lines[0]["to"]["signals"]["memory"]
        assert signal["threshold"] == 0.0001 and signal["share"] >= 0.8 and signal["value"] > 0
        assert [change["to"] for change in overload(gateway)["changes"]] == [0, 1, 2, 3, 4, 3, 2, 1]
        assert overload(gateway)["since"] == overload(gateway)["changes"][0]["at"]


def test_the_settings_may_hold_the_documents_of_the_ladder(tmp_path):
    seed = seeds({"overload": {"default": {"mode": "off", "leave_s": 9}}, "features": {"exports": {"level": 4}}})
    with Gateway(tmp_path, settings={"seed": seed}) as gateway:
        assert (overload(gateway)["mode"], overload(gateway)["leave_s"]) == ("off", 9)
        assert gateway.admin("GET", "/admin/v1/features/exports").json["level"] == 4
        assert gateway.admin("PATCH", "/admin/v1/features/exports", {"level": 3}, PATCH).status == 200
        assert gateway.stop() == 0
        gateway.start()
        gateway.wait_log("seed_ignored", '"differs_in":"features/exports"')
        assert gateway.admin("GET", "/admin/v1/features/exports").json["level"] == 3
        assert gateway.stop() == 0
        for bad, pointer in (({"overload": {"default": {"leave": 0.9}}}, "/overload/default/leave"), ({"features": {"orders": {"level": 1}}}, "/features/orders"),
                             ({"features": {"exports": {}}}, "/features/exports/level"), ({"features": []}, "/features")):
            gateway.settings["seed"] = seeds({})
            gateway.configure({"seed": seeds(bad)})
            done = subprocess.run([PENSTOCK, "--config", gateway.config, "--check-config"], capture_output=True, text=True)
            assert done.returncode == 1 and f"/seed/documents{pointer}" in done.stderr, (bad, done)


def test_with_the_mode_off_the_level_stays_and_an_override_holds():
    with Gateway() as gateway:
        document = {"mode": "off", "signals": {"memory": {"threshold": 0.0001, "weight": 1}}}
        assert gateway.admin("PUT", "/admin/v1/overload", document, ANY_VERSION).status == 200
        wait_until(lambda: overload(gateway)["level_by_pressure"] == 4, what="the pressure's level")
        assert overload(gateway)["level"] == 0 and gateway.override("level", 1)["without"] == 0 and overload(gateway)["level"] == 1
        assert gateway.admin("PATCH", "/admin/v1/overload", {"mode": "enforce"}, PATCH).json["level"] == 1
        gateway.end_override("level")
        assert overload(gateway)["level"] == 4 and overload(gateway)["changes"][0]["cause"] == "override_ended"
        assert gateway.admin("PATCH", "/admin/v1/overload", {"mode": "off"}, PATCH).json["changes"][0]["cause"] == "mode"
