"""The OpenAPI descriptions against a real gateway: every operation is called, every answer is of a described kind and fits its schema,
and the requests that are taken fit theirs."""
import uuid

import pytest
from described import Described
from penstock import ANY_VERSION, PATIENT_LOG, Gateway

SALE = "/v1/sales/{sale}"
ADMIN_SALE = "/admin/v1/sales/{sale}"
ORDER = "/admin/v1/orders/{order_id}"
LIMIT = "/admin/v1/limits/{rule}"
BLOCKED_USER = "/admin/v1/blocklist/users/{user}"
BLOCKED_RANGE = "/admin/v1/blocklist/ips/{range}"
OVERLOAD = "/admin/v1/overload"
FEATURE = "/admin/v1/features/{feature}"
POOL = "/admin/v1/pools/{pool}"
ENDPOINT = POOL + "/endpoints/{address}"
ROUTE = "/admin/v1/routes/{route}"
CACHE = "/admin/v1/caches/{cache}"


@pytest.fixture(scope="module")
def gateway():
    with Gateway(settings={"upstream": {"endpoint_dir": "/nonexistent"}, **PATIENT_LOG}) as running:
        yield running


@pytest.fixture(scope="module")
def public(gateway):
    return Described("gateway/public/openapi.yaml", lambda method, path, body, headers: gateway.public(method, path, body, headers=headers))


@pytest.fixture(scope="module")
def admin(gateway):
    def ask(method, path, body, headers):
        if path == "/admin/v1/events":  # has no end; tests/system/ops/test_events.py reads it
            return gateway.admin("HEAD", path)
        token = (headers or {}).pop("Authorization", "").removeprefix("Bearer ")
        return gateway.admin(method, path, body, headers, token=token or None)

    return Described("gateway/admin/openapi.yaml", ask)


def user(name, **more):
    return {"X-User-Id": name, **more}


def make_pages(admin):
    """A pool, a cache, and a route that names both, with all the members that a document has."""
    endpoints = [{"address": "127.0.0.1:9001", "weight": 2, "drain": False}, {"address": "[::1]:9001"}]
    health = {"path": "/healthz", "host": "shop.example", "interval_ms": 60000, "expect": [200, 204]}
    admin.call(201, "put", POOL, {"algorithm": "consistent_hash", "hash_by": "cookie:sid", "endpoints": endpoints, "health": health,
                                  "outlier": {"latency_factor": 2.5}, "reason": "to see it"}, pool="web")
    for name, discovery in (("file", {"file": "pool.json"}), ("registered", {"registration": True, "shrink_share_min": 0})):
        admin.call(201, "put", POOL, {"discovery": discovery}, pool=name)
    admin.call(201, "put", CACHE, {"bytes": 1 << 20, "eviction": "lfu"}, cache="pages")
    route = {"host": "shop.example", "path": "/p/", "methods": ["GET", "POST"], "class": "extra", "pool": "web", "cache": {"store": "pages", "query": ["id"]},
             "split": [{"pool": "registered", "share": 0.05, "by": "header:X-Beta=1", "return": {"errors_above": 0.02}}],
             "request_headers": {"set": {"X-Shop": "a"}, "remove": ["Cookie"]}, "mirror": {"pool": "file", "share": 0.001},
             "fallback": [{"kind": "stale"}, {"kind": "pool", "pool": "file"}, {"kind": "static", "status": 503, "body": "<p>soon"}]}
    admin.call(201, "put", ROUTE, route, route="product")
    admin.call(201, "put", ROUTE, {"path": "/old/", "redirect": {"status": 301, "location": "/p/"}}, route="old")
    admin.call(201, "put", ROUTE, {"path": "/soon", "match": "exact", "answer": {"body": "<p>soon"}}, route="soon")
    admin.call(422, "put", ROUTE, {"path": "/v1/", "pool": "web"}, route="mine")
    for path, argument, listed in ((POOL, {"pool": "web"}, "pools"), (ROUTE, {"route": "product"}, "routes"), (CACHE, {"cache": "pages"}, "caches")):
        admin.call(200, "get", path, **argument)
        admin.call(200, "get", f"/admin/v1/{listed}")
    override, wanted = "/admin/v1/overrides/{target}", {"value": "on", "ttl_s": 60, "reason": "to see it"}
    admin.call(201, "put", override, wanted, target="fallback:product")
    admin.call(409, "put", override, wanted, target="fallback:soon")
    admin.call(200, "post", f"{ROUTE}/resume", route="product")


def register_endpoints(admin):
    """In the pool that takes registrations, and in one that does not."""
    here = {"pool": "registered", "address": "127.0.0.1:9001"}
    admin.call(404, "get", ENDPOINT, **here)
    admin.call(201, "put", ENDPOINT, {"ttl_s": 60, "weight": 2, "reason": "to see it"}, **here)
    admin.call(200, "put", ENDPOINT, {"ttl_s": 60, "weight": 2}, **here)
    admin.call(200, "put", ENDPOINT, {}, **here)
    admin.call(422, "put", ENDPOINT, {"ttl_s": 0}, **here)
    admin.call(409, "put", ENDPOINT, {}, pool="web", address="127.0.0.1:9001")
    admin.call(200, "get", ENDPOINT, **here)
    admin.call(422, "get", ENDPOINT, pool="registered", address="shop")
    admin.call(200, "get", POOL + "/endpoints", pool="registered")
    admin.call(200, "get", POOL, pool="registered")
    admin.call(204, "delete", ENDPOINT, **here)
    admin.call(404, "delete", ENDPOINT, **here)
    admin.call(404, "get", POOL + "/endpoints", pool="nowhere")


PLAN = "/admin/v1/plans/{plan}"


def walk_through_plans(admin):
    """A plan as a document."""
    plan = {"title": "The page gives way", "ttl_s": 900, "steps": [{"override": {"target": "level", "value": 1}}]}
    admin.call(422, "put", PLAN, {**plan, "ttl_s": None}, plan="page")
    admin.call(201, "put", PLAN, plan, plan="page")
    admin.call(200, "put", PLAN, {**plan, "ttl_s": 60}, headers=ANY_VERSION, query="?dry_run=1", plan="page")
    admin.call(428, "put", PLAN, plan, plan="page")
    admin.call(200, "put", PLAN, {**plan, "text": "the till stays"}, headers=ANY_VERSION, plan="page")
    admin.call(200, "patch", PLAN, {"ttl_s": 60}, headers=ANY_VERSION, plan="page")
    admin.call(200, "get", PLAN, plan="page")
    admin.call(200, "get", "/admin/v1/plans")
    admin.call(200, "get", PLAN + "/versions", plan="page")
    first = admin.call(200, "get", PLAN + "/versions", plan="page").json["versions"][-1]["version"]
    admin.call(200, "get", PLAN + "/versions/{version}", version=str(first), plan="page")
    admin.call(200, "post", PLAN + "/rollback", {"version": first}, plan="page")
    runs, run = PLAN + "/runs", "/admin/v1/runs/{run}"
    dry = admin.call(200, "post", runs, {"reason": "a look"}, query="?dry_run=1", plan="page").json
    assert dry["would"] == "start" and dry["overrides"] and dry["levels"], dry
    admin.call(404, "post", runs, plan="none")
    admin.call(422, "post", runs, {"ttl_s": 0}, plan="page")
    admin.call(422, "post", runs, {"break_glass": True}, plan="page")
    active = admin.call(201, "post", runs, {"reason": "to see it", "ttl_s": 600}, plan="page").json["run"]
    admin.call(409, "post", runs, plan="page")
    admin.call(409, "post", run + "/approve", run=active)
    admin.call(409, "post", run + "/cancel", run=active)
    admin.call(409, "delete", PLAN, headers=ANY_VERSION, plan="page")
    admin.call(200, "get", run, run=active)
    admin.call(200, "get", "/admin/v1/runs", query="?state=active&plan=page&limit=10")
    admin.call(422, "get", "/admin/v1/runs", query="?state=on")
    admin.call(404, "get", run, run="none")
    admin.call(422, "post", run + "/revert", {"hard": True}, run=active)
    admin.call(200, "post", run + "/revert", {"force": True, "reason": "over"}, run=active)
    admin.call(409, "post", run + "/keep", run=active)
    kept = admin.call(201, "post", runs, {"ttl_s": 1}, plan="page").json["run"]
    admin.call(200, "post", run + "/keep", run=kept)
    admin.call(200, "put", PLAN, {**plan, "approvals": 1}, headers=ANY_VERSION, plan="page")
    waiting = admin.call(201, "post", runs, {"force": True}, plan="page").json["run"]
    admin.call(200, "post", run + "/cancel", run=waiting)
    waiting = admin.call(201, "post", runs, {"force": True}, plan="page").json["run"]
    admin.call(409, "post", run + "/approve", run=waiting)
    other = admin.call(201, "post", "/admin/v1/tokens", {"role": "operator", "note": "bob"}).json
    approved = admin.call(200, "post", run + "/approve", {}, headers={"Authorization": f"Bearer {other['token']}"}, run=waiting).json
    assert approved["state"] == "active"
    admin.call(200, "get", "/admin/v1/config", query="?base=1&kinds=plans")
    admin.call(200, "post", run + "/revert", run=waiting)
    admin.call(204, "delete", PLAN, headers=ANY_VERSION, plan="page")
    admin.call(404, "get", PLAN, plan="page")


def drop_pages(admin):
    admin.call(409, "delete", POOL, headers=ANY_VERSION, pool="web")
    admin.call(409, "delete", CACHE, headers=ANY_VERSION, cache="pages")
    for path, argument in ((ROUTE, {"route": "product"}), (POOL, {"pool": "web"}), (CACHE, {"cache": "pages"})):
        admin.call(204, "delete", path, headers=ANY_VERSION, **argument)
        admin.call(404, "get", path, **argument)


def test_both_listeners_do_what_their_descriptions_say(gateway, public, admin):
    sale = "described"
    document = {"opens_at": "2099-01-01T00:00:00Z", "per_user_cap": 1, "attributes": {"colour": "red"},
                "skus": [{"sku": "a", "stock": 3, "price": {"amount": "9.90", "currency": "EUR"}}, {"sku": "b", "stock": 1, "per_user_cap": 1}]}
    for described in (public, admin):
        described.call(200, "get", "/livez")
        described.call(200, "get", "/readyz", query="?verbose")
    admin.call(200, "get", "/metrics")
    admin.call(308, "get", "/console")
    etag = admin.call(200, "get", "/console/").headers["etag"]
    admin.call(304, "get", "/console/", headers={"If-None-Match": etag})
    admin.call(403, "get", "/console/", headers={"Sec-Fetch-Site": "cross-site"})
    for file in ("main.js", "style.css", "logo.svg"):
        admin.call(200, "get", "/console/{file}", file=file)
    admin.call(404, "get", "/console/{file}", file="none.js")

    # A sale that is not open yet.
    version = admin.call(201, "put", ADMIN_SALE, document, sale=sale).headers["etag"]
    public.call(200, "get", SALE, sale=sale)
    public.call(404, "get", SALE, sale="unknown")
    buy = SALE + "/orders"
    assert public.call(409, "post", buy, {"sku": "a"}, headers=user("ann"), sale=sale).code == "not_started"
    admin.call(428, "put", ADMIN_SALE, document, sale=sale)
    admin.call(412, "put", ADMIN_SALE, document, headers={"If-Match": '"99"'}, sale=sale)
    admin.call(422, "put", ADMIN_SALE, {**document, "colour": "red"}, headers={"If-Match": version}, sale=sale)
    adjust = ADMIN_SALE + "/skus/{sku}/adjust"
    admin.call(409, "get", ADMIN_SALE + "/audit", sale=sale)
    admin.call(409, "post", adjust, {"delta": 1, "adjust_id": "early"}, sale=sale, sku="a")
    document |= {"opens_at": "2020-01-01T00:00:00+02:00", "open": True}
    opened = admin.call(200, "put", ADMIN_SALE, {**document, "reason": "now"}, headers={"If-Match": version}, sale=sale)
    assert opened.json["state"] == "open"

    # Buying.
    keyed = user("ann", **{"Idempotency-Key": '"k"'})
    order = public.call(202, "post", buy, {"sku": "a"}, headers=keyed, sale=sale).json["order_id"]
    assert public.call(202, "post", buy, {"sku": "a"}, headers=keyed, sale=sale).headers["idempotency-replayed"] == "true"
    public.call(422, "post", buy, {"sku": "b"}, headers=keyed, sale=sale)
    assert "order_id" in public.call(409, "post", buy, {"sku": "b"}, headers=user("ann"), sale=sale).json
    public.call(404, "post", buy, {"sku": "c"}, headers=user("bob"), sale=sale)
    public.call(422, "post", buy, {"sku": "a", "quantity": 0}, headers=user("bob"), sale=sale)
    public.call(400, "post", buy, {"sku": "a", "colour": "red"}, headers=user("bob"), sale=sale)
    public.call(401, "post", buy, {"sku": "a"}, sale=sale)
    other = public.call(202, "post", buy, {"sku": "a"}, headers=user("carl"), sale=sale).json["order_id"]
    public.call(200, "get", "/v1/orders/{order_id}", headers=user("ann"), order_id=order)
    public.call(404, "get", "/v1/orders/{order_id}", headers=user("bob"), order_id=order)
    public.call(200, "get", buy, headers=user("ann"), sale=sale)
    admin.call(200, "patch", LIMIT, {"period_s": 3600}, headers=ANY_VERSION, rule="user")  # no sixth, however slow this is
    for _ in range(5):
        assert public.call(404, "post", buy, {"sku": "c"}, headers=user("dora"), sale=sale).headers["ratelimit"]
    public.call(429, "post", buy, {"sku": "c"}, headers=user("dora"), sale=sale)
    admin.call(200, "patch", LIMIT, {"period_s": 10}, headers=ANY_VERSION, rule="user")

    # Orders.
    admin.call(200, "get", ORDER, order_id=order)
    admin.call(200, "post", ORDER + "/confirm", {"reason": "paid"}, order_id=order)
    admin.call(409, "post", ORDER + "/cancel", order_id=order)
    admin.call(200, "post", ORDER + "/cancel", order_id=other)
    admin.call(409, "post", ORDER + "/confirm", order_id=other)
    admin.call(200, "post", "/admin/v1/orders:batch", {"confirm": [order, str(uuid.uuid4())], "cancel": [other, order], "reason": "nightly"})
    admin.call(422, "post", "/admin/v1/orders:batch", {"confirm": ["x"]})
    assert len(admin.call(200, "get", "/admin/v1/orders", query=f"?sale={sale}&limit=10").lines()) == 2
    admin.call(422, "get", "/admin/v1/orders", query="?sal=x")
    admin.call(200, "get", ADMIN_SALE + "/log", query="?after=0&limit=1000", sale=sale)
    admin.call(200, "get", ADMIN_SALE + "/log", query="?after=0&type=penstock.desk.head.v1", sale=sale)

    # Stock, state, books.
    admin.call(200, "post", adjust, {"delta": -1, "adjust_id": "broken", "reason": "fell"}, sale=sale, sku="a")
    admin.call(409, "post", adjust, {"delta": -2, "adjust_id": "broken"}, sale=sale, sku="a")
    admin.call(200, "get", ADMIN_SALE + "/audit", sale=sale)
    admin.call(200, "post", ADMIN_SALE + "/rebuild", {"reason": "to be sure"}, sale=sale)
    admin.call(200, "get", "/admin/v1/sales")
    admin.call(200, "get", ADMIN_SALE, sale=sale)
    for command in ("pause", "resume", "end"):
        admin.call(200, "post", f"{ADMIN_SALE}/{command}", {"reason": None if command == "resume" else "to see it"}, sale=sale)
    admin.call(409, "post", ADMIN_SALE + "/resume", sale=sale)
    admin.call(200, "get", "/admin/v1/config/versions", query="?kinds=sales,limits")
    now = admin.call(200, "get", "/admin/v1/config", query="?kinds=limits").json["revision"]
    admin.call(200, "post", "/admin/v1/config/rollback", {"revision": now, "reason": "to see it"}, query="?kinds=limits&dry_run=1")
    admin.call(200, "post", "/admin/v1/config/rollback", {"revision": now}, query="?kinds=limits")
    admin.call(404, "post", "/admin/v1/config/rollback", {"revision": 10 ** 9})
    admin.call(409, "delete", ADMIN_SALE, headers=ANY_VERSION, sale=sale)
    admin.call(201, "put", ADMIN_SALE, {"skus": [{"sku": "a", "stock": 0}]}, sale="draft")
    admin.call(428, "delete", ADMIN_SALE, sale="draft")
    admin.call(204, "delete", ADMIN_SALE, {"reason": "not needed"}, headers=ANY_VERSION, sale="draft")
    admin.call(201, "post", ADMIN_SALE + "/rollback", {"version": 1, "reason": "needed after all"}, sale="draft")

    # Limits, blocklist.
    rule = {"algorithm": "leaky_bucket", "key": "sale", "rate": 100, "period_s": 1, "max_wait_ms": 200, "mode": "shadow", "reason": "to see it"}
    admin.call(201, "put", LIMIT, rule, rule="new")
    admin.call(200, "put", LIMIT, rule, headers=ANY_VERSION, rule="new")
    admin.call(200, "get", LIMIT, rule="new")
    admin.call(200, "get", "/admin/v1/limits")
    admin.call(204, "delete", LIMIT, headers=ANY_VERSION, rule="new")
    admin.call(409, "delete", LIMIT, headers=ANY_VERSION, rule="user")
    admin.call(201, "put", BLOCKED_USER, {"ttl_s": 60, "reason": "scripted"}, user="%C3%A9")
    admin.call(201, "put", BLOCKED_RANGE, range="2001:db8::-32")
    admin.call(422, "put", BLOCKED_RANGE, range="10.0.0.1-8")
    admin.call(200, "get", "/admin/v1/blocklist/users")
    admin.call(200, "get", "/admin/v1/blocklist/ips", query="?after=2001&limit=1")
    make_pages(admin)
    register_endpoints(admin)
    for path, patch, argument in ((ADMIN_SALE, {"per_user_cap": 2}, {"sale": "draft"}), (LIMIT, {"rate": 6}, {"rule": "user"}),
                                  (BLOCKED_USER, {"reason": "a farm"}, {"user": "%C3%A9"}),
                                  (BLOCKED_RANGE, {"until": "2099-01-01T00:00:00Z"}, {"range": "2001:db8::-32"}),
                                  (POOL, {"slow_start_ms": 10}, {"pool": "web"}), (ROUTE, {"class": "core"}, {"route": "product"}),
                                  (CACHE, {"eviction": "lru"}, {"cache": "pages"}), (OVERLOAD, {"enter": 0.9}, {}), (FEATURE, {"level": 3}, {"feature": "exact_stock"})):
        first = admin.call(200, "get", path + "/versions", **argument).json["versions"][-1]["version"]
        admin.call(200, "get", path + "/versions/{version}", version=str(first), **argument)
        admin.call(404, "get", path + "/versions/{version}", version="999", **argument)
        admin.call(428, "patch", path, patch, **argument)
        assert admin.call(200, "patch", path, patch, headers=ANY_VERSION, query="?dry_run=1", **argument).json["changes"]
        admin.call(200, "patch", path, patch, headers=ANY_VERSION, **argument)
        admin.call(422, "patch", path, {"colour": "red"}, headers=ANY_VERSION, **argument)
        admin.call(200, "post", path + "/rollback", {"version": first}, query="?dry_run=1", **argument)
        if path != ADMIN_SALE:
            admin.call(200, "post", path + "/rollback", {"version": first}, **argument)
    drop_pages(admin)
    admin.call(200, "put", OVERLOAD, {"signals": {"loop_delay_ms": {"threshold": 30}}}, headers=ANY_VERSION)
    admin.call(200, "put", FEATURE, {"level": None}, headers=ANY_VERSION, feature="exports")
    admin.call(422, "put", FEATURE, {"level": 1}, feature="orders")
    admin.call(200, "get", "/admin/v1/features")
    admin.call(200, "get", FEATURE, feature="exports")
    override = "/admin/v1/overrides/{target}"
    for target, value in (("level", 0), ("feature:exports", "on"), ("flow:log", 100), ("limit:ip", "shadow")):
        wanted = {"value": value, "ttl_s": 60, "reason": "to see it"}
        admin.call(200, "put", override, wanted, query="?dry_run=1", target=target)
        admin.call(201, "put", override, wanted, target=target)
        admin.call(200, "put", override, {**wanted, "gateway": None}, target=target)
        admin.call(422, "put", override, {"value": value}, target=target)
        admin.call(200, "get", override, target=target)
    admin.call(200, "get", "/admin/v1/overrides")
    watch = "/admin/v1/watches/{user}"
    admin.call(422, "put", watch, {"ttl_s": 0}, user="ann")
    admin.call(201, "put", watch, {"ttl_s": 60, "reason": "to see it"}, user="ann")
    admin.call(200, "put", watch, {"ttl_s": 90}, user="ann")
    admin.call(200, "get", watch, user="ann")
    admin.call(200, "get", "/admin/v1/watches")
    admin.call(204, "delete", watch, user="ann")
    admin.call(404, "get", watch, user="ann")
    admin.call(404, "put", override, {"value": 1, "ttl_s": 60, "reason": "to see it"}, target="levels")
    admin.call(404, "get", override, target="breaker:redis")
    for target in ("level", "feature:exports", "flow:log", "limit:ip"):
        admin.call(204, "delete", override, target=target)
    admin.call(404, "delete", override, target="level")
    assert admin.call(200, "post", ADMIN_SALE + "/open", sale="draft").json["state"] == "open"
    admin.call(409, "post", ADMIN_SALE + "/open", sale=sale)
    walk_through_plans(admin)
    bundle = admin.call(200, "get", "/admin/v1/config", query="?kinds=limits,blocklist/users")
    admin.call(422, "get", "/admin/v1/config", query="?kinds=limits,")
    documents = bundle.json["documents"]
    documents["limits"]["user"]["rate"] = 7
    admin.call(428, "put", "/admin/v1/config", {"documents": documents})
    revision = {"If-Match": bundle.headers["etag"]}
    admin.call(200, "put", "/admin/v1/config", {"documents": documents}, headers=revision, query="?dry_run=1")
    admin.call(200, "put", "/admin/v1/config", {"documents": documents, "reason": "from git"}, headers=revision)
    admin.call(412, "put", "/admin/v1/config", {"documents": documents}, headers=revision)
    for path, argument in ((BLOCKED_USER, {"user": "%C3%A9"}), (BLOCKED_RANGE, {"range": "2001:db8::-32"})):
        admin.call(200, "get", path, **argument)
        admin.call(204, "delete", path, headers=ANY_VERSION, **argument)
        admin.call(404, "get", path, **argument)

    for what in ({"key": "/p/1?id=2"}, {"prefix": "/p/"}, {"tag": "lamps"}):
        admin.call(200, "post", CACHE + "/purge", what, cache="default")
    admin.call(422, "post", CACHE + "/purge", {"prefix": "/p/", "tag": "lamps"}, cache="default")
    admin.call(404, "post", CACHE + "/purge", {"prefix": "/p/"}, cache="none")
    breakers = admin.call(200, "get", "/admin/v1/breakers").json["breakers"]  # with Redis and Kafka: test_breakers.py
    assert breakers and all(breaker["name"].startswith(("pool:", "endpoint:")) for breaker in breakers)

    admin.call(200, "get", "/admin/v1/flow")
    admin.call(200, "post", "/admin/v1/explain", {"user": "ann", "ip": "203.0.113.7", "sale": "none", "sku": "phone"})
    admin.call(200, "post", "/admin/v1/explain", {"ip": "203.0.113.7", "path": "/p/1"})
    admin.call(422, "post", "/admin/v1/explain", {"ip": "203.0.113.7"})

    # Who may, and the end.
    key = admin.call(201, "post", "/admin/v1/rehearsal-keys", {"ttl_s": 3600, "note": "to see it"}).json
    assert key["secret"] and "secret" not in admin.call(200, "get", "/admin/v1/rehearsal-keys").text
    admin.call(204, "delete", "/admin/v1/rehearsal-keys/{key}", key=key["key"])
    admin.call(404, "delete", "/admin/v1/rehearsal-keys/{key}", key=key["key"])
    ref = gateway.public("GET", "/none").json["ref"]
    admin.call(200, "get", "/admin/v1/explain/{ref}", ref=ref)
    admin.call(200, "get", "/admin/v1/explain/{ref}", query="?user=alice", ref=ref)
    admin.call(404, "get", "/admin/v1/explain/{ref}", ref="A" * 40)
    admin.call(200, "get", "/admin/v1/settings")
    admin.call(200, "get", "/admin/v1/whoami")
    admin.call(200, "get", "/admin/v1/events")
    admin.call(200, "get", "/admin/v1/gateways")
    admin.call(200, "get", "/admin/v1/schema/{schema}", schema="route")
    admin.call(200, "get", "/admin/v1/standby")
    admin.call(200, "get", "/admin/v1/standby/journal", query="?after=1&limit=10")
    admin.call(422, "get", "/admin/v1/standby/journal")
    admin.call(409, "get", "/admin/v1/standby/journal", query="?after=123456789")
    revision = admin.call(200, "get", "/admin/v1/standby/control").headers["etag"].strip('"')
    admin.call(204, "get", "/admin/v1/standby/control", query="?revision=" + revision)
    admin.call(200, "get", "/admin/v1/audit-log", query="?limit=1000")
    admin.call(200, "get", "/admin/v1/overload", query="?history_s=60")
    token = admin.call(201, "post", "/admin/v1/tokens", {"role": "viewer", "note": "prometheus"}).json
    admin.call(200, "get", "/admin/v1/tokens")
    admin.call(428, "delete", "/admin/v1/tokens/{token}", token=token["id"])
    admin.call(204, "delete", "/admin/v1/tokens/{token}", headers=ANY_VERSION, token=token["id"])
    admin.call(409, "delete", "/admin/v1/tokens/{token}", headers=ANY_VERSION, token="first")
    admin.call(421, "get", "/admin/v1/sales", headers={"Host": "evil.example"})
    admin.call(202, "post", "/admin/v1/drain", {"reason": "over"})
    assert gateway.process.wait(30) == 0
    public.assert_all_called()
    admin.assert_all_called()
