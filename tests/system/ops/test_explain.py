"""POST /admin/v1/explain: what a described request would get, and why. It is what the real request then gets, and asking changes nothing."""
import random
import time

import pytest
from cluster import Redis
from pages import change_route, gateway_before, put_pool, put_route
from penstock import ANY_VERSION, ENFORCE, Gateway, call, rfc3339, wait_until, window_s
from upstreams import Reply, Upstream


def explain(gateway, **question):
    answer = gateway.admin("POST", "/admin/v1/explain", question)
    assert answer.status == 200, answer
    return answer.json


def order(gateway, sale, user="ann", ip="203.0.113.7", sku="phone", **more):
    return explain(gateway, user=user, ip=ip, sale=sale, sku=sku, **more)


def buy(gateway, sale, user="ann", ip="203.0.113.7", **more):
    return gateway.buy(sale, user, headers={"X-Forwarded-For": ip}, **more)


def gate(answer, name):
    return next(gate for gate in answer["gates"] if gate["gate"] == name)


def last(answer):
    return answer["gates"][-1]


@pytest.fixture(autouse=True)
def no_limits(gateway):
    gateway.no_limits()
    yield
    for rule in ("own", "ips", "users"):
        gateway.admin("DELETE", f"/admin/v1/limits/{rule}", headers=ANY_VERSION)


# --- an order ---


def test_an_order_that_would_be_accepted_passes_every_gate_and_takes_nothing(gateway):
    """EX1."""
    sale = gateway.make_sale(stock=3)
    answer = order(gateway, sale)
    assert (answer["verdict"], answer["status"], answer["page"]) == ("accepted", 202, None)
    assert [gate["gate"] for gate in answer["gates"]] == [
        "phase", "blocklist", "rehearsal", "shed", "ip", "user", "replay", "sold_out", "log", "store", "body", "sku_sold_out", "sale",
        "global", "counter"]
    assert all(gate["verdict"] == "pass" for gate in answer["gates"])
    assert last(answer) == {"gate": "counter", "verdict": "pass", "why": "", "rule": None, "left": 3}
    assert sum(answer["workers"].values()) == 2
    assert gateway.sale(sale)["skus"][0]["available"] == 3
    assert buy(gateway, sale).status == 202


def test_an_unknown_sale_is_a_verdict(gateway):
    answer = order(gateway, "no-such-sale")
    assert (answer["verdict"], answer["status"], answer["gates"]) == ("not_found", 404, [])


def test_a_refusal_names_the_rule_and_when_it_would_pass(gateway):
    sale = gateway.make_sale(stock=9)
    gateway.limit("own", key="user", algorithm="fixed_window", rate=2, period_s=window_s())
    try:
        assert gate(order(gateway, sale), "user") == {"gate": "user", "verdict": "pass", "why": "", "rule": "own", "left": 2}
        buy(gateway, sale)
        assert gate(order(gateway, sale), "user")["left"] == 1
        buy(gateway, sale)
        answer = order(gateway, sale)
        assert (answer["verdict"], answer["status"]) == ("user_rate", 429)
        assert last(answer)["rule"] == "own" and last(answer)["left"] == 0 and " s" in last(answer)["why"]
        assert buy(gateway, sale).code == "user_rate"
        assert order(gateway, sale, user="bob")["verdict"] == "accepted"
        gateway.override("limit:own", "shadow")
        assert "shadow" in gate(order(gateway, sale), "user")["why"]
    finally:
        gateway.end_override("limit:own")


def test_a_block_is_named_until_it_ends(gateway):
    sale = gateway.make_sale()
    until = rfc3339(3600)
    assert gateway.admin("PUT", "/admin/v1/blocklist/users/bot", {"reason": "bots", "until": until}).status == 201
    assert gateway.admin("PUT", "/admin/v1/blocklist/ips/198.51.100.0-24", {"reason": "bots"}).status == 201
    assert last(order(gateway, sale, user="bot")) | {"why": ""} == {"gate": "blocklist", "verdict": "blocked", "why": "", "rule": "bot", "left": None}
    assert last(order(gateway, sale, ip="198.51.100.9"))["rule"] == "198.51.100.0/24"
    assert order(gateway, sale, user="bot", at=rfc3339(7200))["verdict"] == "accepted"


def test_the_time_moves_the_phase(gateway):
    sale = gateway.make_sale(opens_in=3600, wait=False)
    now = order(gateway, sale)
    assert now["verdict"] == "not_started" and "opens in" in last(now)["why"]
    assert gate(order(gateway, sale, at=rfc3339(3700)), "phase")["verdict"] == "pass"


def test_a_time_after_the_opening_says_what_would_happen_then(gateway):
    """The counter is made at the opening: until then the units are those of the document, and nobody has any."""
    sale = gateway.make_sale(stock=2, opens_in=3600, wait=False, per_user_cap=3)
    then = rfc3339(3700)
    answer = order(gateway, sale, at=then)
    assert (answer["verdict"], answer["status"]) == ("accepted", 202), answer
    assert last(answer)["gate"] == "counter" and last(answer)["left"] == 2 and "as planned" in last(answer)["why"]
    assert order(gateway, sale, at=then, quantity=3)["verdict"] == "sold_out"
    assert order(gateway, sale, at=then, quantity=4)["verdict"] == "user_limit"
    assert order(gateway, sale, at=then, sku="boat")["verdict"] == "not_found"
    assert order(gateway, sale)["verdict"] == "not_started"


def test_the_counter_says_who_has_reached_their_limit_and_what_is_left(gateway):
    sale = gateway.make_sale(stock=3, per_user_cap=2)
    assert last(order(gateway, sale, quantity=3))["verdict"] == "user_limit"
    buy(gateway, sale)
    buy(gateway, sale)
    answer = order(gateway, sale)
    assert answer["verdict"] == "user_limit" and last(answer)["left"] == 1
    answer = order(gateway, sale, user="bob", quantity=2)
    assert answer["verdict"] == "sold_out" and "fewer" in last(answer)["why"]


def test_a_buyer_with_an_order_is_told_so(gateway):
    sale = gateway.make_sale(stock=3, per_user_cap=1)
    buy(gateway, sale)
    answer = order(gateway, sale)
    assert (answer["verdict"], answer["status"]) == ("replayed", 202)
    assert last(answer)["gate"] == "replay"


def test_what_is_explained_is_what_happens(gateway):
    """EX1: Requests at random, each explained first: the verdict of the explanation is the code of the answer."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    sales = [gateway.make_sale(stock=20, per_user_cap=2), gateway.make_sale(stock=2), gateway.make_sale(opens_in=3600, wait=False),
             gateway.make_sale(stock=5, per_user_cap=1)]
    gateway.admin("PUT", "/admin/v1/blocklist/users/mallory", {"reason": "bots"})
    gateway.limit("ips", key="ip", algorithm="fixed_window", rate=60, period_s=window_s())
    gateway.limit("users", key="user", algorithm="fixed_window", rate=28, period_s=window_s())
    seen = set()
    for _ in range(200):
        question = {"user": chance.choice(["ann", "bob", "cem", "dan", "mallory"]), "ip": f"203.0.113.{chance.randrange(4)}",
                    "sale": chance.choice([*sales, "nowhere"]), "sku": chance.choice(["phone", "phone", "phone", "boat"]),
                    "quantity": chance.choice([1, 1, 2])}
        expected = explain(gateway, **question)
        got = buy(gateway, question["sale"], question["user"], question["ip"], sku=question["sku"], quantity=question["quantity"])
        assert expected["status"] == got.status, (seed, question, expected, got)
        if got.status != 202:
            assert expected["verdict"] == got.code, (seed, question, expected, got)
        seen.add(expected["verdict"])
    assert {"accepted", "replayed", "blocked", "not_started", "not_found", "sold_out"} <= seen


def test_an_order_that_redis_counts_is_explained_as_it_is_answered(tmp_path):
    """EX1: The counts are Redis's, and asking leaves them as they are. While Redis is away, the answer says so in time."""
    redis = Redis(tmp_path).start()
    store = {"kind": "redis", "redis": {"url": f"redis://127.0.0.1:{redis.port}/0"}}
    try:
        with Gateway(settings={**ENFORCE, "store": store}) as gateway:
            gateway.no_limits()
            sale, other = gateway.make_sale(stock=3, per_user_cap=2), gateway.make_sale()

            def counted():
                keys = sorted(key for key in redis.ask("KEYS", f"ps:{{{sale}}}:*").split() if key.endswith((":stock", ":user")))
                return {key: redis.ask("--no-raw", "HGETALL", key) for key in keys}

            assert [key.rpartition(":")[2] for key in counted()] == ["stock"]
            for user, quantity in (("ann", 1), ("ann", 1), ("ann", 1), ("bob", 2), ("bob", 1), ("cem", 1)):
                before = counted()
                expected = order(gateway, sale, user=user, quantity=quantity)
                assert counted() == before
                assert last(expected)["gate"] in ("counter", "sku_sold_out", "sold_out")
                got = buy(gateway, sale, user, quantity=quantity)
                assert (expected["status"], expected["verdict"]) == (got.status, "accepted" if got.status == 202 else got.code), (expected, got)
            redis.end()
            began = time.monotonic()
            answer = order(gateway, other)
            assert (answer["verdict"], answer["status"], last(answer)["gate"]) == ("store_unavailable", 503, "counter"), answer
            assert time.monotonic() - began < 2
            assert buy(gateway, other).code == "store_unavailable"
    finally:
        redis.end()


# --- a page ---


@pytest.fixture(scope="module")
def pages():
    """A gateway with one worker, so that it is known which one answers; two servers of pool `web`; a server of pool `beta`."""
    def serve(request):
        if request.path.startswith(("/kept/", "/extra/1")):
            return Reply(200, "kept", {"Cache-Control": "max-age=60"})
        return Reply(404, "") if request.path.endswith("gone") else "fetched"

    with Upstream(serve) as a, Upstream(serve) as b, Upstream(serve) as beta, gateway_before({"workers": 1}) as gateway:
        put_pool(gateway, "web", a, b)
        put_pool(gateway, "beta", beta)
        put_pool(gateway, "down", "127.0.0.1:9")
        assert gateway.admin("PUT", "/admin/v1/caches/main", {"bytes": 1 << 24}).status == 201
        put_route(gateway, "all", path="/", pool="web", methods=["GET"])
        put_route(gateway, "kept", path="/kept/", pool="web", methods=["GET", "HEAD", "POST"], cache={"store": "main"})
        put_route(gateway, "moved", path="/moved", match="exact", redirect={"status": 308, "location": "/new"})
        put_route(gateway, "fixed", path="/fixed", match="exact", answer={"status": 410, "body": "gone"})
        put_route(gateway, "extra", path="/extra/", pool="web", cache={"store": "main"}, **{"class": "extra"},
                  fallback=[{"kind": "stale"}, {"kind": "static", "status": 203, "body": "later"}])
        put_route(gateway, "important", path="/important/", pool="web", **{"class": "important"}, fallback=[{"kind": "pool", "pool": "beta"}])
        put_route(gateway, "split", path="/split/", pool="web", split=[{"pool": "beta", "share": 0.5, "by": "user"}])
        gateway.servers = {server.address: server for server in (a, b, beta)}
        yield gateway


def page(gateway, path, ip="203.0.113.7", **more):
    return explain(gateway, ip=ip, path=path, **more)


def get(gateway, path, user=None, method="GET", headers=None, ip="203.0.113.7"):
    return gateway.public(method, path, user=user, headers={"Host": "localhost", "X-Forwarded-For": ip, **(headers or {})})


def test_a_page_names_its_route_pool_endpoint_and_key(pages):
    answer = page(pages, "/kept/1?b=2&a=1")
    assert (answer["verdict"], answer["status"]) == ("page", None)
    assert [gate["gate"] for gate in answer["gates"]] == ["route", "blocklist", "shed", "ip", "user", "sale", "global", "cache", "pool"]
    found = answer["page"]
    assert found.pop("endpoint") in pages.servers
    assert found == {"route": "kept", "class": "normal", "pool": "web", "cache_key": "/kept/1?a=1&b=2 http://localhost web", "cache": "miss",
                     "mirror": None, "fallbacks": []}
    assert "of 2 usable endpoints of 2" in last(answer)["why"]


def test_a_kept_answer_is_told_from_one_that_must_be_fetched(pages):
    assert page(pages, "/kept/2")["page"]["cache"] == "miss"
    assert get(pages, "/kept/2").status == 200
    answer = page(pages, "/kept/2")
    assert (answer["verdict"], answer["status"], answer["page"]["cache"]) == ("page", 200, "fresh")
    assert answer["page"]["endpoint"] is None and "fresh for" in last(answer)["why"]
    assert page(pages, "/kept/2", method="POST")["page"]["cache"] == "bypass"
    assert page(pages, "/kept/3", headers={"Cache-Control": "only-if-cached"})["verdict"] == "gateway_timeout"


def test_asking_for_a_page_sends_and_counts_nothing(pages):
    """EX1."""
    asked = [server.connections for server in pages.servers.values()]
    figures = pages.admin("GET", "/metrics").text
    for _ in range(30):
        page(pages, "/kept/4")
        page(pages, "/split/1", user="ann")
    assert asked == [server.connections for server in pages.servers.values()]
    kept = ("penstock_pages_total", "penstock_cache_", "penstock_feature_uses", "penstock_answers_total", "penstock_pool_")
    same = [line for line in figures.splitlines() if line.startswith(kept)]
    assert same == [line for line in pages.admin("GET", "/metrics").text.splitlines() if line.startswith(kept)]


def test_a_route_that_a_colleague_has_taken_out_says_who_and_until_when(pages):
    pages.override("fallback:extra", "on", reason="the till is mended")
    try:
        until = pages.overrides()["fallback:extra"]["until"]
        wait_until(lambda: gate_names(page(pages, "/extra/9"), "class"))
        why = gate(page(pages, "/extra/9"), "class")["why"]
        assert why.startswith("the override fallback:extra of ") and f"until {until}" in why and why.endswith(": the till is mended"), why
        assert get(pages, "/extra/9").headers["penstock-fallback"].endswith("why=override")
    finally:
        pages.end_override("fallback:extra")


def gate_names(answer, name):
    return any(gate["gate"] == name for gate in answer["gates"])


def test_a_path_of_the_api_is_explained_by_its_gates(pages):
    sale = pages.make_sale()
    assert page(pages, f"/v1/sales/{sale}")["verdict"] == "ok"
    assert page(pages, "/v1/sales/none")["verdict"] == "not_found"
    assert page(pages, f"/v1/sales/{sale}/orders")["verdict"] == "unauthenticated"
    assert page(pages, f"/v1/sales/{sale}/orders", user="ann")["verdict"] == "ok"
    assert page(pages, "/v1/orders/none", user="ann")["verdict"] == "not_found"
    assert page(pages, "/v1/sales/none", method="DELETE")["verdict"] == "method_not_allowed"
    assert page(pages, "/v1/nothing")["verdict"] == "not_found"
    assert page(pages, "/livez")["verdict"] == page(pages, "/readyz")["verdict"] == "ok"


def served_by(gateway, before):
    return [address for address, server in gateway.servers.items() if len(server.requests) > before[address]]


def test_what_is_explained_of_pages_is_what_happens(pages):
    """EX1: Pages at random, while overrides come and go: verdict, status, cache and the server that is asked are those that were explained."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    pages.admin("PUT", "/admin/v1/blocklist/users/mallory", {"reason": "bots"})
    seen = set()
    changes = [lambda: pages.override("fallback:extra", "on"), lambda: pages.override("level", 2), lambda: pages.override("breaker:pool:web", "open"),
               lambda: change_route(pages, "all", pool="down"), lambda: None]
    for change in changes:
        change()
        time.sleep(0.3)  # every worker has obeyed
        for _ in range(50):
            path = chance.choice(["/a", "/kept/", "/moved", "/fixed", "/extra/", "/important/", "/split/", "/x/../y"])
            path += str(chance.randrange(3)) if path.endswith("/") else ""
            question = {"method": chance.choice(["GET", "GET", "HEAD", "POST"]), "user": chance.choice(["ann", "mallory", None, None])}
            headers = chance.choice([{}, {}, {"Cache-Control": "no-store"}, {"If-None-Match": '"x"'}, {"Range": "bytes=0-1"}, {"X-Forwarded-Proto": "https"}])
            before = {address: len(server.requests) for address, server in pages.servers.items()}
            expected = page(pages, path, headers=headers, **{name: value for name, value in question.items() if value})
            got = get(pages, path, headers=headers, **question)
            where = (seed, path, question, headers, expected, got)
            if expected["status"] is not None:
                assert expected["status"] == got.status, where
            if expected["status"] is not None and got.status >= 400 and got.headers.get("content-type") == "application/problem+json" and question["method"] != "HEAD":
                assert expected["verdict"] == got.code, where
            endpoint = (expected["page"] or {}).get("endpoint")
            assert served_by(pages, before) == [address for address in pages.servers if address == endpoint], where
            seen.add(expected["verdict"])
            seen.add((expected["page"] or {}).get("cache"))
        for target in pages.overrides():
            pages.end_override(target)
        change_route(pages, "all", pool="web")
        time.sleep(0.3)
    assert {"page", "blocked", "method_not_allowed", "malformed", "upstream_unavailable", "fresh", "miss"} <= seen


# --- the question ---


@pytest.mark.parametrize("question, pointer", [
    ({}, ""),
    ({"user": "ann", "ip": "203.0.113.7", "sale": "s"}, "/sku"),
    ({"ip": "203.0.113.7", "sale": "s", "sku": "k"}, "/user"),
    ({"user": "ann", "sale": "s", "sku": "k"}, "/ip"),
    ({"user": "a b", "ip": "203.0.113.7", "sale": "s", "sku": "k"}, "/user"),
    ({"user": "ann", "ip": "203.0.113.777", "sale": "s", "sku": "k"}, "/ip"),
    ({"user": "ann", "ip": 7, "sale": "s", "sku": "k"}, "/ip"),
    ({"user": "ann", "ip": "203.0.113.7", "sale": "s" * 65, "sku": "k"}, "/sale"),
    ({"user": "ann", "ip": "203.0.113.7", "sale": "s", "sku": ""}, "/sku"),
    ({"user": "ann", "ip": "203.0.113.7", "sale": "s", "sku": ["k"]}, "/sku"),
    ({"user": "ann", "ip": "203.0.113.7", "sale": "s", "sku": "k", "quantity": 0}, "/quantity"),
    ({"user": "ann", "ip": "203.0.113.7", "sale": "s", "sku": "k", "quantity": 2**53}, "/quantity"),
    ({"user": "ann", "ip": "203.0.113.7", "sale": "s", "sku": "k", "at": "noon"}, "/at"),
    ({"user": "ann", "ip": "203.0.113.7", "sale": "s", "sku": "k", "path": "/"}, ""),
    ({"user": "ann", "ip": "203.0.113.7", "sale": "s", "sku": "k", "colour": "red"}, "/colour"),
    ({"ip": "203.0.113.7", "path": "no slash"}, "/path"),
    ({"ip": "203.0.113.7", "path": "/a b"}, "/path"),
    ({"ip": "203.0.113.7", "path": "/a\r\nX-User-Id: bob"}, "/path"),
    ({"ip": "203.0.113.7", "path": "/" + 9000 * "a"}, "/path"),
    ({"ip": "203.0.113.7", "path": "/", "method": "BREW"}, "/method"),
    ({"ip": "203.0.113.7", "path": "/", "headers": ["Host"]}, "/headers"),
    ({"ip": "203.0.113.7", "path": "/", "headers": {"Host": 7}}, "/headers"),
    ({"ip": "203.0.113.7", "path": "/", "headers": {"A B": "c"}}, "/headers"),
    ({"ip": "203.0.113.7", "path": "/", "headers": {"A": "b\r\nC: d"}}, "/headers"),
    ({"ip": "203.0.113.7", "path": "/", "headers": {"x-user-id": "bob"}}, "/headers"),
    ({"ip": "203.0.113.7", "path": "/", "headers": {"Content-Length": "5"}}, "/headers"),
    ({"ip": "203.0.113.7", "path": "/", "headers": {f"X-{i}": "" for i in range(65)}}, "/headers"),
    ({"ip": "203.0.113.7", "path": "/", "headers": {f"X-{i}": 8000 * "a" for i in range(9)}}, "/headers"),
])
def test_a_question_that_is_no_request_is_refused_by_member(gateway, question, pointer):
    answer = gateway.admin("POST", "/admin/v1/explain", question)
    assert answer.status == 422, answer
    assert pointer in [error["pointer"] for error in answer.json["errors"]], answer


def test_a_viewer_may_ask(gateway):
    viewer = gateway.admin("POST", "/admin/v1/tokens", {"role": "viewer"}).json["token"]
    question = {"user": "ann", "ip": "203.0.113.7", "sale": "none", "sku": "k"}
    assert gateway.admin("POST", "/admin/v1/explain", question, token=viewer).status == 200
