"""Rate limits as buyers meet them: what is counted, what the answer says, and that nobody pays for others' requests."""
import itertools
import json
import re
import signal
import threading
import time

import pytest
from load import Connection, buy_bytes
from penstock import ANY_VERSION, PATIENT_LOG, Gateway, wait_until, window_s
from test_buying import is_no, post, together


@pytest.fixture(scope="module")
def gateway():
    with Gateway(settings={"http": {"waiting": 8}, **PATIENT_LOG}) as g:
        g.no_limits()
        yield g


@pytest.fixture(autouse=True)
def no_rule_is_left_behind(gateway):
    yield
    for rule in gateway.admin("GET", "/admin/v1/limits").json["limits"]:
        if rule not in ("user", "ip", "global", "polling", "status"):
            assert gateway.admin("DELETE", f"/admin/v1/limits/{rule}", headers=ANY_VERSION).status in (200, 204)


NAMES = (f"probe-{n}" for n in itertools.count())


def rule(gateway, name=None, **members):
    """A rule of a new name, because a name's counts outlive its rule; its name."""
    headers = ANY_VERSION if name else None
    name = name or next(NAMES)
    document = {"algorithm": "token_bucket", "key": "user", "rate": 1, "period_s": 3600, **members}
    answer = gateway.admin("PUT", f"/admin/v1/limits/{name}", document, headers)
    assert answer.status in (200, 201), answer
    return name


def fields(answer):
    """("name", remaining, seconds) of RateLimit and ("name", quota, window) of RateLimit-Policy."""
    limit = re.fullmatch(r'"([^"]+)";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
    policy = re.fullmatch(r'"([^"]+)";q=(\d+);w=(\d+)', answer.headers["ratelimit-policy"])
    assert limit[1] == policy[1]
    return (limit[1], int(limit[2]), int(limit[3])), (policy[1], int(policy[2]), int(policy[3]))


def is_refused(answer, code, name):
    is_no(answer, 429, code)
    assert answer.json["type"] == "urn:penstock:problem:" + answer.code
    assert answer.json["violated-policies"] == [name]
    (_, remaining, seconds), _ = fields(answer)
    assert remaining == 0 and seconds >= 1
    assert seconds <= int(answer.headers["retry-after"]) <= seconds + 1
    assert not any(header.lower().startswith("x-ratelimit") for header, _ in answer.raw_headers)


def wait_held(gateway, count=1):
    """Until so many requests are held by leaky buckets."""
    wait_until(lambda: gateway.metric("penstock_limit_waiting") == count, what="those who are held")


def sale_of(gateway, **document):
    return gateway.make_sale(**{"stock": 1000, "per_user_cap": 1000, **document})


# --- the four algorithms ---


def test_a_token_bucket_passes_its_burst_and_then_says_when(gateway):
    """LM1."""
    name = rule(gateway, burst=3, rate=2, period_s=3600)
    sale = sale_of(gateway)
    answers = [gateway.buy(sale, "u") for _ in range(4)]
    assert [answer.status for answer in answers] == [202, 202, 202, 429]
    assert [fields(answer)[0][1] for answer in answers] == [2, 1, 0, 0]
    assert fields(answers[0])[1] == (name, 2, 3600)
    is_refused(answers[3], "user_rate", name)
    assert 1790 <= fields(answers[3])[0][2] <= 1800
    assert gateway.buy(sale, "other").status == 202


@pytest.mark.parametrize("members", [{"algorithm": "token_bucket", "rate": 1, "burst": 1}, {"algorithm": "fixed_window", "rate": 2},
                                     {"algorithm": "sliding_window", "rate": 2}, {"algorithm": "leaky_bucket", "rate": 1}],
                         ids=lambda members: members["algorithm"])
def test_who_waits_as_long_as_he_was_told_is_let_in(gateway, members):
    """LM2."""
    name = rule(gateway, period_s=1, **members)
    sale = sale_of(gateway)
    answer = wait_until(lambda: (no := gateway.buy(sale, "u")).status == 429 and no, every=0, what="a refusal")
    is_refused(answer, "user_rate", name)
    time.sleep(fields(answer)[0][2])
    assert gateway.buy(sale, "u").status == 202


def test_a_fixed_window_passes_its_rate_and_no_more(gateway):
    """LM1."""
    name = rule(gateway, algorithm="fixed_window", rate=5, period_s=window_s())
    sale = sale_of(gateway)
    answers = together(20, lambda i: gateway.buy(sale, "u"))
    assert sorted(answer.status for answer in answers) == [202] * 5 + [429] * 15
    is_refused(gateway.buy(sale, "u"), "user_rate", name)


def test_a_sliding_window_passes_its_rate_and_no_more(gateway):
    """LM1."""
    name = rule(gateway, algorithm="sliding_window", rate=5, period_s=86400)
    sale = sale_of(gateway)
    answers = together(20, lambda i: gateway.buy(sale, "u"))
    assert sorted(answer.status for answer in answers) == [202] * 5 + [429] * 15
    is_refused(gateway.buy(sale, "u"), "user_rate", name)


def test_workers_share_a_bucket_exactly(gateway):
    """LM1."""
    rule(gateway, burst=20, key="global")
    sale = sale_of(gateway)
    answers = together(60, lambda i: gateway.buy(sale, f"u{i}"))
    assert sorted(answer.status for answer in answers) == [202] * 20 + [429] * 40


def test_a_leaky_bucket_holds_up_to_its_patience_and_then_refuses(gateway):
    name = rule(gateway, algorithm="leaky_bucket", rate=5, period_s=1, max_wait_ms=700)
    sale, started = sale_of(gateway), time.monotonic()
    answers = together(30, lambda i: (gateway.buy(sale, "u"), time.monotonic()))
    ends = sorted(at - started for answer, at in answers if answer.status == 202)
    assert len(ends) >= 4  # one at once, and those whose turn comes after 200, 400 and 600 ms
    assert all(end > 0.2 * place - 0.01 for place, end in enumerate(ends)), ends
    refused = [answer for answer, _ in answers if answer.status != 202]
    assert refused
    for answer in refused:
        is_refused(answer, "user_rate", name)
    gateway.assert_books(sale)


def test_a_full_waiting_room_refuses(gateway):
    rule(gateway, algorithm="leaky_bucket", key="global", rate=100, period_s=10, max_wait_ms=10000)
    sale = sale_of(gateway)
    gateway.process.send_signal(signal.SIGSTOP)  # so that it finds all of them at once
    try:
        buyers = [Connection(gateway.port, 30) for _ in range(40)]
        for i, buyer in enumerate(buyers):
            buyer.send(buy_bytes(sale, f"u{i}", "k"))
    finally:
        gateway.process.send_signal(signal.SIGCONT)
    answers = [buyer.answer() for buyer in buyers]
    for buyer in buyers:
        buyer.close()
    # 2 workers with room for 8 each, and those who come when a place is free again.
    assert 1 <= sum(status == 202 for status, _ in answers) < 36
    assert {json.loads(body)["code"] for status, body in answers if status != 202} == {"global_rate"}
    gateway.assert_books(sale)


@pytest.mark.parametrize("command,verdict,key", [("pause", (503, "paused"), None), ("end", (409, "ended"), "fresh")])
def test_who_was_held_is_told_what_happened_meanwhile(gateway, command, verdict, key):
    """LM6."""
    rule(gateway, algorithm="leaky_bucket", key="user", rate=1, period_s=4, max_wait_ms=5000)
    sale = sale_of(gateway)
    assert gateway.buy(sale, "owner").status == gateway.buy(sale_of(gateway), "other").status == 202
    answers = {}

    def buy(user):
        answers[user] = gateway.buy(sale, user, key=key)

    threads = [threading.Thread(target=buy, args=(user,)) for user in ("owner", "other")]
    for thread in threads:
        thread.start()
    wait_held(gateway, 2)
    assert gateway.admin("POST", f"/admin/v1/sales/{sale}/{command}").status == 200
    for thread in threads:
        thread.join()
    for answer in answers.values():
        is_no(answer, *verdict)
    assert len(gateway.orders(sale)) == 1


@pytest.mark.slow
def test_waits_of_several_rules_add_up_to_no_more_than_one_may_be(gateway):
    """Else a proxy gives up a request that still becomes an order."""
    slow = rule(gateway, algorithm="leaky_bucket", key="user", rate=1, period_s=6, max_wait_ms=10000)
    crowded = rule(gateway, algorithm="leaky_bucket", key="sale", rate=1, period_s=2, max_wait_ms=10000)
    sale, answers = sale_of(gateway), {}

    def buy(user):
        answers[user] = gateway.buy(sale, user, timeout=30)

    assert gateway.buy(sale, "u0").status == 202
    threads = [threading.Thread(target=buy, args=(f"u{i}",)) for i in range(6)]
    for thread in threads:  # u0 waits for 6 s as a user; then the sale's bucket is 6 s deep because of the others
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    is_refused(answers.pop("u0"), "sale_rate", crowded)
    assert [answer.status for answer in answers.values()] == [202] * 5, slow


def test_who_was_held_until_all_was_sold_is_told_so(gateway):
    sale, other = sale_of(gateway, stock=1), sale_of(gateway)
    rule(gateway, algorithm="leaky_bucket", key="user", rate=1, period_s=4, max_wait_ms=5000)
    assert gateway.buy(other, "held").status == 202
    answers = []
    thread = threading.Thread(target=lambda: answers.append(gateway.buy(sale, "held")))
    thread.start()
    wait_held(gateway)
    assert gateway.buy(sale, "quick").status == 202
    thread.join()
    is_no(answers[0], 409, "sold_out")


def test_who_was_blocked_while_he_was_held_buys_nothing(gateway):
    rule(gateway, algorithm="leaky_bucket", key="user", rate=1, period_s=4, max_wait_ms=5000)
    sale = sale_of(gateway)
    assert gateway.buy(sale, "bot").status == 202
    answers = []
    thread = threading.Thread(target=lambda: answers.append(gateway.buy(sale, "bot")))
    thread.start()
    wait_held(gateway)
    assert gateway.admin("PUT", "/admin/v1/blocklist/users/bot", {"ttl_s": 3600}).status == 201
    thread.join()
    assert gateway.admin("DELETE", "/admin/v1/blocklist/users/bot", headers=ANY_VERSION).status == 204
    is_no(answers[0], 403, "blocked")
    assert len(gateway.orders(sale)) == 1


def test_a_client_that_leaves_while_it_is_held_gives_its_place_back():
    """LM6."""
    with Gateway(settings={"workers": 1, "http": {"waiting": 1}}) as g:
        g.no_limits()
        rule(g, algorithm="leaky_bucket", key="user", rate=1, period_s=4, max_wait_ms=10000)
        sale = sale_of(g)
        assert {g.buy(sale, user).status for user in ("leaver", "stayer")} == {202}
        with pytest.raises(TimeoutError):
            g.buy(sale, "leaver", timeout=0.3)
        assert g.buy(sale, "stayer").status == 202


def test_who_is_held_while_the_gateway_drains_is_answered_before_it_leaves():
    """LM6."""
    with Gateway(settings={"drain": {"delay_ms": 20000, "timeout_ms": 25000}}) as g:
        g.no_limits()
        sale = g.make_sale(stock=9)
        rule(g, algorithm="leaky_bucket", key="global", rate=1, period_s=2, max_wait_ms=3000)
        assert g.buy(sale, "first").status == 202
        answers = []
        thread = threading.Thread(target=lambda: answers.append(g.buy(sale, "held")))
        thread.start()
        wait_held(g)
        for _ in range(2):  # the second signal cuts the delay short, and nobody off
            g.process.terminate()
            time.sleep(0.2)
        thread.join()
        assert answers[0].status == 202, answers
        assert g.process.wait(15) == 0
        g.configure({"drain": {"delay_ms": 0}})
        g.start()
        assert len(g.orders(sale)) == 2


def test_who_is_refused_a_page_is_told_a_moment_of_his_own(gateway):
    """Nobody says a user there: what is added depends on the address, and stays the same for it."""
    rule(gateway, key="ip", applies_to=["status"])
    sale, added = sale_of(gateway), {}
    for n in range(24):
        answers = [gateway.public("GET", f"/v1/sales/{sale}", headers={"X-Forwarded-For": f"198.51.100.{n}"}) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 429, 429]
        added[n] = [int(answer.headers["retry-after"]) - fields(answer)[0][2] for answer in answers[1:]]
        assert added[n][0] == added[n][1]
    assert {first for first, _ in added.values()} == {0, 1}


# --- modes and live changes ---


def counted(gateway, what, name):
    return gateway.metric(f'penstock_limit_{what}_total{{rule="{name}"}}')


def shadowed(gateway, name):
    return counted(gateway, "shadow_refused", name)


def test_shadow_counts_and_refuses_nobody(gateway):
    """LM4."""
    name = rule(gateway, burst=1, mode="shadow")
    sale = sale_of(gateway)
    answers = [gateway.buy(sale, "u") for _ in range(5)]
    assert {answer.status for answer in answers} == {202}
    assert all("ratelimit" not in answer.headers for answer in answers)
    assert shadowed(gateway, name) == 4 and counted(gateway, "refused", name) == 0


def test_each_rule_has_counts_of_its_own(gateway):
    """LM4."""
    names = [rule(gateway, burst=burst, key=key, mode="shadow") for key in ("user", "ip", "global") for burst in (1, 2)]
    names.append(rule(gateway, burst=4, key="sale"))
    sale = sale_of(gateway)
    assert [gateway.buy(sale, "u").status for _ in range(5)] == [202] * 4 + [429]
    # The rule that refuses stands behind those by user and address, and before those of all.
    assert [shadowed(gateway, name) for name in names] == [4, 3, 4, 3, 3, 2, 0]
    assert [counted(gateway, "refused", name) for name in names] == [0] * 6 + [1]
    assert gateway.admin("DELETE", f"/admin/v1/limits/{names[0]}", headers=ANY_VERSION).status in (200, 204)
    text = gateway.admin("GET", "/metrics").text
    assert f'rule="{names[0]}"' not in text and f'penstock_limit_shadow_refused_total{{rule="{names[1]}"}} 3' in text


def test_a_trial_counts_what_other_figures_would_refuse_and_changes_no_answer(gateway):
    """LM4."""
    trial = {"rate": 2, "burst": 2, "period_s": 3600}
    tight = rule(gateway, burst=4, trial=trial)
    sale = sale_of(gateway)
    assert [gateway.buy(sale, "u").status for _ in range(6)] == [202] * 4 + [429] * 2
    assert counted(gateway, "refused", tight) == 2 and counted(gateway, "trial_refused", tight) == 4
    rule(gateway, tight, burst=4, mode="shadow", trial=trial)
    assert gateway.buy(sale, "u").status == 202
    assert shadowed(gateway, tight) == 1 and counted(gateway, "trial_refused", tight) == 5
    rule(gateway, tight, burst=4, mode="off", trial=trial)
    assert gateway.buy(sale, "u").status == 202
    assert counted(gateway, "trial_refused", tight) == 5
    rule(gateway, tight, burst=4)
    assert f'penstock_limit_trial_refused_total{{rule="{tight}"}}' not in gateway.admin("GET", "/metrics").text


def test_shadow_counts_a_request_once_where_both_networks_of_its_address_are_over(gateway):
    """A /64 that is over takes nothing from its /48, as when the rule is enforced."""
    sale = sale_of(gateway)
    name = rule(gateway, key="ip", burst=1, mode="shadow")
    for _ in range(20):
        assert gateway.buy(sale, "u", headers={"X-Forwarded-For": "2001:db8:5:1::1"}).status == 202
    assert shadowed(gateway, name) == 19
    for i in range(2, 17):
        assert gateway.buy(sale, "u", headers={"X-Forwarded-For": f"2001:db8:5:{i:x}::1"}).status == 202
    assert shadowed(gateway, name) == 19
    assert gateway.buy(sale, "u", headers={"X-Forwarded-For": "2001:db8:5:17::1"}).status == 202
    assert shadowed(gateway, name) == 20


def test_off_is_off(gateway):
    name = rule(gateway, burst=1, mode="off")
    sale = sale_of(gateway)
    assert {gateway.buy(sale, "u").status for _ in range(5)} == {202}
    assert shadowed(gateway, name) == 0


def test_a_change_is_in_force_at_once_on_every_worker(gateway):
    """DC5."""
    sale = sale_of(gateway)
    for turn in range(5):
        name = rule(gateway, burst=1, key="global", mode="enforce")
        answers = [gateway.buy(sale, f"a{turn}-{i}") for i in range(8)]
        assert [answer.status for answer in answers[1:]] == [429] * 7
        rule(gateway, name, burst=1, key="global", mode="off")
        assert {gateway.buy(sale, f"b{turn}-{i}").status for i in range(8)} == {202}
        assert gateway.admin("DELETE", f"/admin/v1/limits/{name}", headers=ANY_VERSION).status in (200, 204)
        assert {gateway.buy(sale, f"c{turn}-{i}").status for i in range(8)} == {202}


# --- who is counted ---


def test_an_address_is_counted_whoever_asks_from_it(gateway):
    name = rule(gateway, key="ip", burst=2)
    sale = sale_of(gateway)
    here, there = {"X-Forwarded-For": "203.0.113.7"}, {"X-Forwarded-For": "203.0.113.8"}
    assert [gateway.buy(sale, f"u{i}", headers=here).status for i in range(2)] == [202, 202]
    is_refused(gateway.buy(sale, "u3", headers=here), "ip_rate", name)
    assert gateway.buy(sale, "u4", headers=there).status == 202


def test_ipv6_is_counted_by_its_64(gateway):
    name = rule(gateway, key="ip", burst=2)
    sale = sale_of(gateway)
    def from_(address):
        return gateway.buy(sale, "u", headers={"X-Forwarded-For": address})
    assert [from_("2001:db8:1:1::1").status, from_("2001:db8:1:1:ffff:ffff:ffff:ffff").status] == [202, 202]
    is_refused(from_("2001:db8:1:1::2"), "ip_rate", name)
    assert from_("2001:db8:1:2::1").status == 202


def test_ipv6_is_counted_by_its_48_too_at_sixteen_times_the_rate(gateway):
    name = rule(gateway, key="ip", burst=1)
    sale = sale_of(gateway)
    def from_(address):
        return gateway.buy(sale, "u", headers={"X-Forwarded-For": address})
    answers = [from_(f"2001:db8:7:{i:x}::1") for i in range(17)]
    assert [answer.status for answer in answers] == [202] * 16 + [429]
    is_refused(answers[16], "ip_rate", name)
    assert from_("2001:db8:8::1").status == 202


def test_a_sales_limit_counts_each_sale_by_itself(gateway):
    name = rule(gateway, key="sale", burst=2)
    one, two = sale_of(gateway), sale_of(gateway)
    assert [gateway.buy(one, f"u{i}").status for i in range(2)] == [202, 202]
    is_refused(gateway.buy(one, "u2"), "sale_rate", name)
    assert gateway.buy(two, "u2").status == 202


def test_a_rule_for_one_sale_leaves_the_others_alone(gateway):
    one, two = sale_of(gateway), sale_of(gateway)
    name = rule(gateway, burst=1, sale=one)
    assert gateway.buy(one, "u").status == 202
    is_refused(gateway.buy(one, "u"), "user_rate", name)
    assert {gateway.buy(two, "u").status for _ in range(3)} == {202}


@pytest.mark.parametrize("members", [{"key": "sale"}, {"key": "user", "sale": True}], ids=["by sale", "of a sale"])
def test_a_sales_limit_counts_its_list_of_orders_and_no_look_up_by_id(gateway, members):
    sale = sale_of(gateway)
    if "sale" in members:
        members = {**members, "sale": sale}
    name = rule(gateway, burst=1, applies_to=["order_state"], **members)
    order = gateway.buy(sale, "u").json["order_id"]
    assert {gateway.public("GET", f"/v1/orders/{order}", user="u").status for _ in range(3)} == {200}
    assert gateway.public("GET", f"/v1/sales/{sale}/orders", user="u").status == 200
    is_refused(gateway.public("GET", f"/v1/sales/{sale}/orders", user="u"), f"{members['key']}_rate", name)


def test_a_rule_applies_to_what_it_names(gateway):
    sale = sale_of(gateway)
    name = rule(gateway, key="ip", burst=1, applies_to=["status"])
    far = {"X-Forwarded-For": "203.0.113.99"}
    assert gateway.public("GET", f"/v1/sales/{sale}", headers=far).status == 200
    is_refused(gateway.public("GET", f"/v1/sales/{sale}", headers=far), "ip_rate", name)
    assert {gateway.buy(sale, "u", headers=far).status for _ in range(3)} == {202}


# --- what it costs, and whom ---


def test_only_the_askers_own_limits_are_shown_while_he_is_let_in(gateway):
    sale = sale_of(gateway)
    rule(gateway, key="global", burst=5)
    assert "ratelimit" not in gateway.buy(sale, "u").headers
    mine = rule(gateway, key="user", burst=50, rate=50)
    assert fields(gateway.buy(sale, "u"))[1] == (mine, 50, 3600)


def test_the_tightest_limit_is_shown_and_the_refusing_one_is_named(gateway):
    sale = sale_of(gateway)
    rule(gateway, burst=10, rate=10)
    tight = rule(gateway, burst=2, rate=2)
    assert fields(gateway.buy(sale, "u"))[0][:2] == (tight, 1)
    gateway.buy(sale, "u")
    is_refused(gateway.buy(sale, "u"), "user_rate", tight)
    assert gateway.admin("DELETE", f"/admin/v1/limits/{tight}", headers=ANY_VERSION).status in (200, 204)
    everybody = rule(gateway, key="global", burst=1)
    gateway.buy(sale, "v")
    answer = gateway.buy(sale, "v")
    is_refused(answer, "global_rate", everybody)
    assert fields(answer)[0][0] == everybody


def test_a_no_shows_the_limits_as_well(gateway):
    name = rule(gateway, burst=9, rate=9)
    answer = gateway.buy(gateway.make_sale(stock=0), "u")
    is_no(answer, 409, "sold_out")
    assert fields(answer)[0][:2] == (name, 8)


def test_a_bot_that_its_own_limit_refuses_does_not_burn_the_budget_of_all(gateway):
    """LM3."""
    sale = sale_of(gateway)
    mine = rule(gateway, key="user", burst=1)
    rule(gateway, key="global", burst=5)
    assert gateway.buy(sale, "bot").status == 202
    for _ in range(30):
        is_refused(gateway.buy(sale, "bot"), "user_rate", mine)
    assert [gateway.buy(sale, f"u{i}").status for i in range(5)] == [202] * 4 + [429]


def test_sold_out_bad_bodies_and_repeats_do_not_burn_the_budget_of_all(gateway):
    """LM3."""
    sale = gateway.make_sale(skus=[{"sku": "phone", "stock": 9}, {"sku": "none", "stock": 0}])
    rule(gateway, key="global", burst=3)
    assert gateway.buy(sale, "u").status == 202
    for _ in range(5):
        assert gateway.buy(sale, "u").headers["idempotency-replayed"] == "true"
        is_no(gateway.buy(sale, "v", sku="none"), 409, "sold_out")
        is_no(gateway.buy(sale, "v", sku="other"), 404, "not_found")
        is_no(post(gateway, sale, "{", "v"), 400, "malformed")
    assert [gateway.buy(sale, f"w{i}").status for i in range(3)] == [202, 202, 429]


def test_repeats_pay_the_users_own_limit(gateway):
    sale = gateway.make_sale()
    rule(gateway, burst=2)
    assert [gateway.buy(sale, "u", key="k").status for _ in range(3)] == [202, 202, 429]


def test_retry_after_differs_between_users_and_stays_the_same_for_one(gateway):
    sale = sale_of(gateway)
    rule(gateway, algorithm="fixed_window", key="global", rate=1, period_s=window_s())
    gateway.buy(sale, "first")
    extra = {}
    for user in [f"u{i}" for i in range(12)] * 2:
        answer = gateway.buy(sale, user)
        extra.setdefault(user, set()).add(int(answer.headers["retry-after"]) - fields(answer)[0][2])
    assert all(len(seen) == 1 for seen in extra.values())
    assert {0, 1} == set().union(*extra.values())


def test_a_fresh_gateway_limits_the_status_pages_of_an_address():
    """No test could ask as often as the rule allows; it is the shipped rule that is made small."""
    with Gateway() as fresh:
        path, one, other = f"/v1/sales/{fresh.make_sale()}", {"X-Forwarded-For": "203.0.113.1"}, {"X-Forwarded-For": "203.0.113.2"}
        rule = fresh.admin("GET", "/admin/v1/limits/status").json
        assert (rule["key"], rule["applies_to"], rule["mode"]) == ("ip", ["status"], "enforce"), rule
        fresh.limit("status", rate=1, period_s=3600, burst=3)
        assert [fresh.public("GET", path, headers=one).status for _ in range(4)] == [200, 200, 200, 429]
        refused = fresh.public("GET", path, headers=one)
        assert refused.code == "ip_rate" and refused.json["violated-policies"] == ["status"], refused
        assert fresh.public("GET", path, headers=other).status == 200
