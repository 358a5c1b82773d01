"""The schemas of documents: what they let through is what a PUT takes, and what they refuse is refused."""
import jsonschema
import pytest
from penstock import Gateway

PLACES = {"sale": "sales", "limit": "limits", "block_user": "blocklist/users", "block_ip": "blocklist/ips", "overload": "overload",
          "feature": "features", "cache": "caches", "pool": "pools", "route": "routes", "plan": "plans"}
SKU = {"sku": "phone", "stock": 10, "price": {"amount": "9.90", "currency": "CNY"}, "per_user_cap": 2, "attributes": {"title": "春"}}
POOL = {"endpoints": [{"address": "127.0.0.1:9001"}]}

# In this order: a route names a pool.
GOOD = [
    ("sale", "spring", {"skus": [{"sku": "a", "stock": 1}]}),
    ("sale", "summer", {"sale": "summer", "opens_at": "2099-11-11T10:00:00+08:00", "closes_at": None, "per_user_cap": 3, "reservation_ttl_s": 60,
                        "attributes": {"a": [1.5]}, "skus": [SKU], "reason": "a rehearsal went well"}),
    ("sale", "autumn", {"rehearsal": True, "twin_of": "spring", "skus": [SKU]}),
    ("limit", "slow", {"algorithm": "leaky_bucket", "key": "ip", "rate": 5, "period_s": 10, "burst": 2, "max_wait_ms": 100, "mode": "shadow",
                       "applies_to": ["order", "status"], "sale": "spring", "allow_unknown": True, "route": None}),
    ("block_user", "mallory", {"until": None, "reason": "a farm"}),
    ("block_ip", "203.0.113.0-24", {"ttl_s": 60}),
    ("overload", None, {"mode": "off", "signals": {"loop_delay_ms": {"threshold": 7.5}}, "enter": 0.9, "leave_s": 10}),
    ("feature", "exports", {"level": None}),
    ("cache", "big", {"bytes": 134217728, "eviction": "lfu"}),
    ("pool", "web", POOL),
    ("pool", "found", {"algorithm": "consistent_hash", "hash_by": "cookie:sid", "discovery": {"dns": "shop.internal", "port": 80},
                       "health": {"path": "/h", "expect": [200, 204]}, "outlier": {"latency_factor": 2.5}, "retry_budget": 0}),
    ("route", "product", {"host": "shop.example", "path": "/p/", "methods": ["GET", "POST"], "class": "core", "pool": "web",
                          "split": [{"pool": "found", "share": 0.07, "by": "header:X-Beta=1", "return": {"errors_above": 0.02}}],
                          "request_headers": {"set": {"X-Shop": "a"}, "remove": ["Cookie"]}, "cache": {"query": ["id"], "request_no_cache": "obey"},
                          "fallback": [{"kind": "stale"}, {"kind": "static", "status": 503, "body": "soon"}], "mirror": {"pool": "found", "share": 0.1}}),
    ("route", "moved", {"path": "/old/", "redirect": {"location": "https://shop.example/"}}),
    ("route", "fixed", {"path": "/soon", "match": "exact", "answer": {"body": "<p>soon"}}),
    ("plan", "page", {"title": "The page gives way", "text": "the till stays", "ttl_s": 900, "approvals": 1,
                      "steps": [{"patch": {"kind": "limit", "name": "ip", "with": {"rate": 20, "burst": 20}}},
                                {"put": {"kind": "block_ip", "name": "203.0.113.0/24", "doc": {"reason": "bots"}}},
                                {"override": {"target": "level", "value": 2}}, {"override": {"target": "limit:user", "value": "shadow", "gateway": "a"}}],
                      "when": [{"sale": "spring", "state": "open"}, {"signal": "pressure", "above": 0.6}, {"gateways_min": 3}],
                      "start": {"sale": "spring", "before_opening_s": 60}}),
    ("plan", "hand", {"title": "By hand", "steps": [{"patch": {"kind": "overload", "with": {"enter": 0.7}}}], "ttl_s": None, "start": None}),
]
BAD = [
    ("sale", "bad", {}),
    ("sale", "bad", {"skus": []}),
    ("sale", "bad", {"skus": [{"sku": "a b", "stock": 1}]}),
    ("sale", "bad", {"skus": [{"sku": "a", "stock": 1, "price": {"amount": "9,90", "currency": "CNY"}}]}),
    ("sale", "bad", {"skus": [{"sku": "a", "stock": 1}], "open_at": None}),
    ("limit", "bad", {"algorithm": "token_bucket", "key": "user", "rate": 0, "period_s": 1}),
    ("limit", "bad", {"algorithm": "token_bucket", "key": "user", "rate": 1, "period_s": 1, "applies_to": []}),
    ("block_user", "bad", {"until": 7}),
    ("block_ip", "198.51.100.0-24", {"reason": "x" * 257}),
    ("overload", None, {"signals": {"loop_delay": {"threshold": 1}}}),
    ("feature", "exports", {"level": 5}),
    ("feature", "exports", {}),
    ("cache", "bad", {"bytes": 1}),
    ("pool", "bad", {"endpoints": [{"weight": 1}]}),
    ("pool", "bad", POOL | {"discovery": {"file": "a", "srv": "b"}}),
    ("pool", "bad", POOL | {"discovery": {"srv": "b", "port": 80}}),
    ("pool", "bad", POOL | {"discovery": {"dns": "b"}}),
    ("route", "bad", {"pool": "web"}),
    *[("route", "bad", {"path": path, "pool": "web"}) for path in ("bad", "/a b/", "/a?b/", "/a/../b/", "/./", "/%0g/", "/%00/", "/v1/", "/v1/x/", "/春/")],
    ("route", "bad", {"path": "/livez", "match": "exact", "pool": "web"}),
    ("route", "bad", {"path": "/x/", "pool": "web", "fallback": [{"kind": "problem", "status": 503}]}),
    ("route", "bad", {"path": "/x/", "pool": "web", "fallback": [{"kind": "pool"}]}),
    ("plan", "bad", {"title": "x", "steps": [], "ttl_s": 1}),
    ("plan", "bad", {"title": "x", "steps": [{"override": {"target": "level", "value": 2}}]}),
    ("plan", "bad", {"title": "x", "steps": [{"patch": {"kind": "plan", "name": "x", "with": {"title": "y"}}}], "ttl_s": 1}),
    ("plan", "bad", {"title": "x", "steps": [{"override": {"target": "level", "value": 2}}], "ttl_s": 1, "start": {"sale": "spring"}}),
    ("plan", "bad", {"title": "x", "steps": [{"override": {"target": "level", "value": 2}}], "ttl_s": 1, "when": [{"signal": "pressure"}]}),
]


@pytest.fixture(scope="module")
def gateway():
    with Gateway() as it:
        yield it


@pytest.fixture(scope="module")
def validators(gateway):
    made = {}
    for kind in PLACES:
        answer = gateway.admin("GET", f"/admin/v1/schema/{kind}")
        assert answer.status == 200 and answer.headers["content-type"] == "application/schema+json", answer
        jsonschema.Draft202012Validator.check_schema(answer.json)
        made[kind] = jsonschema.Draft202012Validator(answer.json)
    return made


def put(gateway, kind, name, document):
    path = f"/admin/v1/{PLACES[kind]}" + (f"/{name}" if name else "")
    have = gateway.admin("GET", path)
    return gateway.admin("PUT", path, document, headers={"If-Match": have.headers["etag"]} if have.status == 200 else None)


def test_what_a_put_takes_is_valid_by_its_schema_and_so_is_what_is_read(gateway, validators):
    for kind, name, document in GOOD:
        validators[kind].validate(document)
        answer = put(gateway, kind, name, document)
        assert answer.status in (200, 201), (kind, document, answer)
        validators[kind].validate(answer.json)


def test_what_the_gateway_ships_is_valid_by_its_schema(gateway, validators):
    for kind in ("limit", "feature", "cache"):
        documents = gateway.admin("GET", f"/admin/v1/{PLACES[kind]}").json[PLACES[kind]]
        assert documents
        for document in documents.values():
            validators[kind].validate(document)


@pytest.mark.parametrize("kind, name, document", BAD, ids=[f"{row[0]}{i}" for i, row in enumerate(BAD)])
def test_what_a_schema_refuses_is_refused(gateway, validators, kind, name, document):
    assert not validators[kind].is_valid(document)
    assert put(gateway, kind, name, document).status == 422


def test_what_only_reading_shows_is_marked(validators):
    for kind, members in {"sale": ["version", "state"], "pool": ["live"], "route": ["figures"], "block_user": ["by"], "feature": ["state"]}.items():
        for member in members:
            assert validators[kind].schema["properties"][member]["readOnly"] is True
    assert validators["sale"].schema["properties"]["skus"]["items"]["properties"]["held"]["readOnly"] is True
    assert validators["block_ip"].schema["properties"]["ttl_s"]["writeOnly"] is True


def silent(schema, path=""):
    """The members of a schema, and of objects in it, that do not say what they are."""
    for name, member in schema.get("properties", {}).items():
        if not member.get("description"):
            yield f"{path}/{name}"
        yield from silent(member, f"{path}/{name}")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_member_of_a_schema_says_what_it_is(gateway, language):
    wrong = [f"{kind}{member}" for kind in PLACES for member in silent(gateway.admin("GET", f"/admin/v1/schema/{kind}?language={language}").json)]
    assert not wrong, wrong


def test_a_schema_speaks_chinese_too(gateway):
    assert gateway.admin("GET", "/admin/v1/schema/sale?language=zh").json["properties"]["opens_at"]["description"].startswith("开售时间")
    assert gateway.admin("GET", "/admin/v1/schema/sale?language=fr").status == 422


def test_an_unknown_kind_names_the_nearest(gateway):
    answer = gateway.admin("GET", "/admin/v1/schema/sales")
    assert answer.status == 404 and 'did you mean "sale"?' in answer.json["detail"], answer
    assert gateway.admin("GET", "/admin/v1/schema/zzzzzz").status == 404
