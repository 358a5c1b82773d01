"""The plans of deploy/plans, as an operator uses them: applied, run dry, run beside real traffic, and taken back. Redis is moved in
cluster/test_cluster_plans.py."""
import contextlib
import json
import subprocess
import sys
import time

import pytest
from desk import OK, REFUSED, Desk
from penstock import PATIENT_LOG, ROOT, Gateway, call, free_port, wait_until

SHOP = ROOT / "deploy/shop"
PLANS = ROOT / "deploy/plans"
LAMP_AGAIN = ["A lamp, once more"]  # the fallback of the recommendations


@contextlib.contextmanager
def shop_servers(ports):
    """The quickstart's shop: a process for each part."""
    servers = [subprocess.Popen([sys.executable, SHOP / "serve", part, str(port)]) for part, port in ports.items()]
    try:
        for port in ports.values():
            def serves():
                with contextlib.suppress(OSError):
                    return call(port, "GET", "/health").status == 200

            wait_until(serves, what="the shop")
        yield
    finally:
        for server in servers:
            server.terminate()
            server.wait(10)


def bundle(ports):
    """deploy/shop/documents.json on other ports; pages may take long on a busy machine."""
    documents = json.loads((SHOP / "documents.json").read_text())["documents"]
    for pool, port in ports.items():
        documents["pools"][pool]["endpoints"] = [{"address": f"127.0.0.1:{port}"}]
    for route in documents["routes"].values():
        route |= {"first_byte_ms": 30000, "total_ms": 60000}
    return {"documents": documents}


@pytest.fixture(scope="module")
def gateway():
    ports = {part: free_port() for part in ("blue", "green", "reviews", "recommendations")}
    with shop_servers(ports), Gateway(settings=PATIENT_LOG) as one:
        put = one.admin("PUT", "/admin/v1/config", bundle(ports), headers={"If-Match": "*"})
        assert put.status == 200, put
        yield one


@pytest.fixture()
def desk(gateway, tmp_path):
    one = Desk(tmp_path, gateway.admin_port, gateway.state / "admin.token")
    one.run("apply", "-f", PLANS, "--reason", "prepared")
    return one


def get(gateway, path, address="203.0.113.9"):
    return gateway.public("GET", path, headers={"X-Forwarded-For": address})


def buy(gateway, sale, user, address):
    return gateway.buy(sale, user, key=f"{user}-{time.monotonic()}", headers={"X-Forwarded-For": address})


def begin(desk, plan):
    dry = desk.json("run", plan, "--dry-run")
    assert dry["would"] == "start" and not dry["faults"] and not dry["conflicts"], dry
    return desk.json("run", plan, "--reason", "a drill")["run"]


def end(desk, run):
    told = desk.json("runs", "revert", run, "--reason", "it is over")
    assert told["state"] == "ended" and told["end"] == "reverted", told


def test_the_shipped_plans_are_applied_all_of_them_and_again_without_a_change(desk, gateway):
    names = {path.stem for path in PLANS.glob("*.yaml")}
    assert set(gateway.read("/admin/v1/plans").json["plans"]) == names == {"page-gives-way", "bot-wave", "redis-moves"}
    desk.run("diff", "-f", PLANS, status=OK)


def test_the_page_gives_way_and_the_till_stays(desk, gateway):
    sale = gateway.make_sale(stock=1000, per_user_cap=5)
    fresh = get(gateway, "/recommendations/lamp")
    assert fresh.status == 200 and len(fresh.json) == 3, fresh
    assert len(get(gateway, "/reviews/lamp").json) == 2
    run = begin(desk, "page-gives-way")

    wait_until(lambda: get(gateway, "/recommendations/lamp", "203.0.113.10").json == LAMP_AGAIN, what="the fallback")
    assert get(gateway, "/", "203.0.113.12").status == 200
    loads = [get(gateway, "/", "203.0.113.13").status for _ in range(30)]
    assert loads[:10] == [200] * 10 and 429 in loads, loads
    assert buy(gateway, sale, "ann", "203.0.113.13").status == 202, "the till has no part in it"
    shown = gateway.public("GET", f"/v1/sales/{sale}").json["skus"][0]
    assert shown["available"] == "plenty", shown

    def stale():
        reviews = get(gateway, "/reviews/lamp", "203.0.113.11")
        return len(reviews.json) == 2 and int(reviews.headers.get("age", 0)) > 6

    wait_until(stale, every=0.5, what="reviews that are older than the shop allows")

    end(desk, run)
    assert not gateway.overrides() and gateway.admin("GET", "/admin/v1/limits/page-gives-way").status == 404
    assert len(wait_until(lambda: (a := get(gateway, "/recommendations/lamp")).json != LAMP_AGAIN and a.json, what="fresh recommendations")) == 3
    assert {get(gateway, "/", "203.0.113.13").status for _ in range(30)} == {200}
    route = gateway.read("/admin/v1/routes/page").json
    assert (route["cache"]["stale_while_revalidate_s"], route["cache"]["stale_if_error_s"]) == (0, 60)


def test_a_bot_wave_gets_less_and_buyers_still_buy(desk, gateway):
    sale = gateway.make_sale(stock=1000, per_user_cap=50)

    def wave(network, count=12):
        return [buy(gateway, sale, f"bot-{network}-{i}", f"{network}.7") for i in range(count)]

    assert {answer.status for answer in wave("198.51.100") + wave("192.0.2")} == {202}
    assert buy(gateway, sale, "scalper", "203.0.113.20").status == 202
    run = begin(desk, "bot-wave")
    assert {answer.code for answer in wave("198.51.100")} == {"blocked"}
    assert buy(gateway, sale, "scalper", "203.0.113.21").code == "blocked"
    answers = wave("192.0.2")
    assert [answer.status for answer in answers].count(202) <= 6 and {answer.code for answer in answers if answer.status != 202} == {"ip_rate"}, answers
    assert all(buy(gateway, sale, f"buyer-{i}", f"203.0.113.{30 + i}").status == 202 for i in range(10))
    clicks = [buy(gateway, sale, "eager", f"203.0.113.{50 + i}") for i in range(8)]
    assert [click.status for click in clicks].count(202) <= 3 and {click.code for click in clicks if click.status != 202} == {"user_rate"}, clicks
    end(desk, run)
    assert {answer.status for answer in wave("198.51.100")} == {202}
    assert buy(gateway, sale, "scalper", "203.0.113.22").status == 202
    assert (gateway.read("/admin/v1/limits/ip").json["rate"], gateway.read("/admin/v1/limits/user").json["rate"]) == (50, 5)
    gateway.assert_books(sale)


def test_the_plan_for_a_move_of_redis_is_refused_where_there_is_none(desk, gateway):
    dry = desk.run("run", "redis-moves", "--dry-run", "-o", "json", status=REFUSED)
    dry = json.loads(dry.stdout)
    assert dry["would"] == "fail" and [fault["pointer"] for fault in dry["faults"]] == ["/steps/0/override/target"], dry
    desk.run("run", "redis-moves", "--reason", "a drill", status=REFUSED)
    assert not gateway.overrides()
