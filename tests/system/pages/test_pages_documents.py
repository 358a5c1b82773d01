"""Pools, routes and caches as documents over the admin API: every fault is 422 with its pointer and changes nothing, what others
name stays (409), a bundle may bring what belongs together, and all of it outlives a restart."""
import json

import pytest
from penstock import ANY_VERSION, Gateway, seeds, wait_until, window_s

WEB = {"endpoints": [{"address": "127.0.0.1:9001"}]}
PAGE = {"path": "/p/", "pool": "web"}


@pytest.fixture(scope="module")
def gateway():
    with Gateway() as one:
        yield one


@pytest.fixture
def web(gateway):
    """A pool and a route to it; both, and what a test adds, go again."""
    for name, document in (("pools/web", WEB), ("routes/product", PAGE)):
        assert put(gateway, name, document).status == 201
    yield gateway
    assert put_bundle(gateway, {"limits": without(gateway, "limits", "slow"), "routes": {}, "pools": {}, "caches": {"default": {}}}).status == 200


def put(gateway, name, document, query=""):
    have = gateway.admin("GET", "/admin/v1/" + name)
    return gateway.admin("PUT", f"/admin/v1/{name}{query}", document, ANY_VERSION if have.status == 200 else None)


def delete(gateway, name):
    return gateway.admin("DELETE", "/admin/v1/" + name, headers=ANY_VERSION)


def bundle(gateway):
    return gateway.admin("GET", "/admin/v1/config").json["documents"]


def without(gateway, kind, name):
    return {key: value for key, value in bundle(gateway)[kind].items() if key != name}


def put_bundle(gateway, documents, query=""):
    return gateway.admin("PUT", "/admin/v1/config" + query, {"documents": documents}, ANY_VERSION)


def faults(answer):
    return {fault["pointer"]: fault["detail"] for fault in answer.json["errors"]}


def assert_refused(answer, *pointers):
    assert (answer.status, answer.code) == (422, "invalid"), answer
    assert sorted(faults(answer)) == sorted(pointers), faults(answer)


def test_a_document_comes_back_whole(web):
    """DC3."""
    assert web.admin("GET", "/admin/v1/pools/web").json["retry_budget"] == 0.2
    assert web.admin("GET", "/admin/v1/routes/product").json["methods"] == ["GET", "HEAD"]
    cache = web.admin("GET", "/admin/v1/caches/default").json
    assert {name: cache[name] for name in cache if name != "live"} == {"bytes": 64 << 20, "object_bytes_max": 1 << 20, "eviction": "lru"}
    assert list(web.admin("GET", "/admin/v1/routes").json["routes"]) == ["product"]
    assert list(web.admin("GET", "/admin/v1/pools").json["pools"]) == ["web"]
    assert list(web.admin("GET", "/admin/v1/caches").json["caches"]) == ["default"]


ROUTE_FAULTS = [
    ({"pool": "gone"}, ["/pool"]),
    ({"split": [{"pool": "web", "share": 0.5}, {"pool": "gone", "share": 0.1}]}, ["/split/1/pool"]),
    ({"fallback": [{"kind": "problem"}], "mirror": {"pool": "gone", "share": 0.1}}, ["/mirror/pool"]),
    ({"cache": {"store": "gone"}, "fallback": [{"kind": "stale"}, {"kind": "pool", "pool": "gone"}]}, ["/cache/store", "/fallback/1/pool"]),
    ({"path": "/p"}, ["/path"]),
    ({"path": "p/"}, ["/path"]),
    ({"path": "/v1/sales/"}, ["/path"]),
    ({"path": "/livez", "match": "exact"}, ["/path"]),
    ({"path": "/readyz", "match": "exact"}, ["/path"]),
    ({"host": "shop:80"}, ["/host"]),
    ({"methods": ["FETCH"]}, ["/methods/0"]),
    ({"pool": None}, [""]),
    ({"answer": {}}, [""]),
    ({"first_byte_ms": 2, "total_ms": 1}, ["/first_byte_ms"]),
    ({"split": [{"pool": "web", "share": 0.6}, {"pool": "web", "share": 0.6, "by": "request"}]}, ["/split"]),
    ({"split": [{"pool": "web", "share": 0.0001}]}, ["/split/0/share"]),
    ({"request_headers": {"set": {"Host": "a", "X-Forwarded-For": "b", "a b": "c", "X-A": "d\r\ne"}}},
     [f"/request_headers/set/{name}" for name in ("Host", "X-Forwarded-For", "a b", "X-A")]),
    ({"response_headers": {"remove": ["Content-Length", "via"]}}, ["/response_headers/remove/0", "/response_headers/remove/1"]),
    ({"methods": ["POST"], "cache": {}}, ["/cache"]),
    ({"fallback": [{"kind": "stale"}]}, ["/fallback/0/kind"]),
    ({"fallback": [{"kind": "pool", "pool": "web"}]}, ["/fallback/0/pool"]),
    ({"fallback": [{"kind": "static", "status": 600, "body": "x"}]}, ["/fallback/0/status"]),
    ({"fallback": [{"kind": "static", "body": "x" * 65537}]}, ["/fallback/0/body"]),
    ({"pool": None, "redirect": {"status": 304, "location": "/x"}}, ["/redirect/status"]),
    ({"pool": None, "redirect": {"location": "javascript:x"}}, ["/redirect/location"]),
    ({"class": "vital", "body_max": -1, "retries": 3}, ["/class", "/body_max", "/retries"]),
]


@pytest.mark.parametrize("members, pointers", ROUTE_FAULTS, ids=[",".join(row[1]) + f"-{i}" for i, row in enumerate(ROUTE_FAULTS)])
def test_each_fault_of_a_route_is_named_and_changes_nothing(web, members, pointers):
    """DC1."""
    before = bundle(web)
    assert_refused(put(web, "routes/cart", {"path": "/c/", "pool": "web", **members}), *pointers)
    assert_refused(put(web, "routes/product", {**PAGE, **members}), *pointers)
    assert_refused(put_bundle(web, {"routes": {"product": PAGE, "cart": {"path": "/c/", "pool": "web", **members}}}),
                   *("/documents/routes/cart" + pointer for pointer in pointers))
    assert bundle(web) == before


POOL_FAULTS = [
    ({"endpoints": []}, ["/endpoints"]),
    ({"endpoints": [{"address": "127.0.0.1:1", "weight": 0}]}, ["/endpoints"]),
    ({"endpoints": [{"address": "[::1]:1"}, {"address": "[0:0::1]:1"}]}, ["/endpoints/1/address"]),
    ({"endpoints": [{"address": "shop:80"}]}, ["/endpoints/0/address"]),
    ({"algorithm": "fastest", "hash_by": "cookie:sid"}, ["/algorithm", "/hash_by"]),
    ({"discovery": {"dns": "shop"}}, ["/discovery/port"]),
    ({"health": {"path": "x", "timeout_ms": 2000}}, ["/health/path", "/health/timeout_ms"]),
    ({"outlier": {"ejected_share_max": 2}, "retry_budget": -1}, ["/outlier/ejected_share_max", "/retry_budget"]),
]


@pytest.mark.parametrize("members, pointers", POOL_FAULTS, ids=[",".join(row[1]) + f"-{i}" for i, row in enumerate(POOL_FAULTS)])
def test_each_fault_of_a_pool_is_named_and_changes_nothing(web, members, pointers):
    """DC1."""
    before = bundle(web)
    assert_refused(put(web, "pools/web", {**WEB, **members}), *pointers)
    assert bundle(web) == before


def test_a_cache_has_bounds(web):
    assert_refused(put(web, "caches/default", {"bytes": 1 << 20, "object_bytes_max": (1 << 17) + 1}), "/object_bytes_max")
    assert_refused(put(web, "caches/other", {"bytes": 1, "eviction": "fifo"}), "/bytes", "/eviction")
    assert put(web, "caches/default", {"bytes": 1 << 20, "eviction": "lfu"}).status == 200


def test_a_route_that_another_one_shadows_names_it(web):
    for document, taken in (({}, True), ({"methods": ["POST", "HEAD"]}, True), ({"methods": ["POST"]}, False), ({"match": "exact"}, False),
                            ({"host": "shop.example"}, False), ({"path": "/p/1/"}, False)):
        answer = put(web, "routes/other", {**PAGE, **document}, "?dry_run=1")
        assert answer.status == (422 if taken else 200), (document, answer)
        assert not taken or (list(faults(answer)) == ["/path"] and '"product"' in faults(answer)["/path"])
    assert put(web, "routes/product", {**PAGE, "class": "extra"}).status == 200  # a route does not shadow itself
    assert put(web, "routes/all", {"path": "/", "pool": "web"}).status == 201


def test_what_others_name_cannot_be_deleted(web):
    """DC8."""
    assert put(web, "pools/backup", WEB).status == 201
    assert put(web, "caches/pages", {}).status == 201
    for name in ("cart", "reviews"):
        assert put(web, f"routes/{name}", {"path": f"/{name}/", "pool": "web", "cache": {"store": "pages"},
                                           "fallback": [{"kind": "pool", "pool": "backup"}]}).status == 201
    rule = {"algorithm": "token_bucket", "key": "ip", "rate": 1, "period_s": 1, "route": "cart"}
    assert put(web, "limits/slow", rule).status == 201
    for name, users in (("pools/web", ("cart", "product", "reviews")), ("pools/backup", ("cart", "reviews")), ("caches/pages", ("cart", "reviews")),
                        ("routes/cart", ("slow",))):
        for query in ("", "?dry_run=1"):
            answer = web.admin("DELETE", f"/admin/v1/{name}{query}", headers=ANY_VERSION)
            assert (answer.status, answer.code) == (409, "in_use"), answer
            assert all(f'"{user}"' in answer.json["detail"] for user in users), answer
        assert web.admin("GET", "/admin/v1/" + name).status == 200
    assert delete(web, "caches/default").code == "conflict"
    for name in ("limits/slow", "routes/cart", "routes/reviews", "pools/backup", "caches/pages"):
        assert delete(web, name).status == 204, name


def test_many_users_are_counted(web):
    routes = {f"a-route-with-quite-a-long-name-{i}": {"path": f"/{i}/", "pool": "web"} for i in range(20)}
    assert put_bundle(web, {"routes": routes}).status == 200
    detail = delete(web, "pools/web").json["detail"]
    assert detail.startswith('is named by route "a-route-with-quite-a-long-name-0", route "') and detail.endswith(" more")
    assert detail.count("route \"") + int(detail.split()[-2]) == 20


def test_a_rule_names_a_route_that_exists(web):
    rule = {"algorithm": "token_bucket", "key": "ip", "rate": 1, "period_s": 1}
    assert_refused(put(web, "limits/slow", {**rule, "route": "gone"}), "/route")
    assert_refused(put(web, "limits/slow", {**rule, "route": "product", "applies_to": ["order"]}), "/applies_to")
    answer = put(web, "limits/slow", {**rule, "route": "product"})
    assert (answer.status, answer.json["applies_to"], answer.json["route"]) == (201, ["page"], "product")


def test_a_rule_limits_the_route_that_it_names_and_no_other(web):
    for name in ("a", "b"):
        assert put(web, f"routes/{name}", {"path": f"/{name}/", "answer": {"body": name}}).status == 201
    assert put(web, "limits/slow", {"algorithm": "fixed_window", "key": "ip", "rate": 2, "period_s": window_s(), "route": "a"}).status == 201
    assert [web.public("GET", "/a/").status for _ in range(4)] == [200, 200, 429, 429]
    assert web.public("GET", "/a/").code == "ip_rate"
    assert [web.public("GET", "/b/").text for _ in range(4)] == ["b"] * 4


def test_a_bundle_brings_what_belongs_together(web):
    """DC4."""
    both = {"pools": {"web": WEB, "new": WEB}, "caches": {"default": {}, "pages": {}},
            "routes": {"product": {**PAGE, "pool": "new", "cache": {"store": "pages"}}}}
    assert put_bundle(web, both, "?dry_run=1").status == 200
    assert put_bundle(web, both).status == 200
    assert bundle(web)["routes"]["product"]["pool"] == "new"
    # What one part of a bundle takes away, another part may not name.
    assert_refused(put_bundle(web, {"pools": {"web": WEB}, "routes": {"product": {**PAGE, "pool": "new"}}}), "/documents/routes/product/pool")
    answer = put_bundle(web, {"pools": {"web": WEB}})
    assert (answer.status, answer.code, answer.json["pointer"]) == (409, "in_use", "/documents/pools/new") and '"product"' in answer.json["detail"]
    assert put_bundle(web, {"pools": {}, "routes": {}}).status == 200
    assert bundle(web)["pools"] == {}
    assert put_bundle(web, both).status == 200


def test_two_routes_of_a_bundle_may_not_shadow_each_other(web):
    answer = put_bundle(web, {"routes": {"a": PAGE, "b": PAGE}})
    assert_refused(answer, "/documents/routes/a/path", "/documents/routes/b/path")
    assert '"b"' in faults(answer)["/documents/routes/a/path"]
    assert put_bundle(web, {"routes": {"other": PAGE}}).status == 200  # the one before goes


def test_a_rollback_is_checked_against_what_there_is_now(web):
    assert put(web, "pools/new", WEB).status == 201
    assert put(web, "routes/product", {**PAGE, "pool": "new"}).status == 200
    first = web.admin("GET", "/admin/v1/routes/product/versions").json["versions"][-1]["version"]
    assert delete(web, "pools/web").status == 204
    assert_refused(web.admin("POST", "/admin/v1/routes/product/rollback", {"version": first}), "/pool")
    assert put(web, "pools/web", WEB).status == 201
    answer = web.admin("POST", "/admin/v1/routes/product/rollback", {"version": first})
    assert (answer.status, answer.json["pool"]) == (200, "web")


def test_all_of_it_outlives_a_restart():
    with Gateway() as gateway:
        route = {**PAGE, "host": "Shop.Example", "split": [{"pool": "new", "share": 0.125, "by": "cookie:sid", "return": {"p99_above": 1.5}}],
                 "cache": {"query": ["id"]}, "fallback": [{"kind": "stale"}, {"kind": "static", "status": 503, "body": "<p>zu spät"}]}
        made = {"pools": {"web": WEB, "new": {**WEB, "algorithm": "consistent_hash", "hash_by": "header:X-A", "health": {}}},
                "caches": {"default": {"eviction": "random"}}, "routes": {"product": route}}
        assert put_bundle(gateway, made).status == 200
        before = bundle(gateway)
        assert before["routes"]["product"]["host"] == "shop.example" and before["routes"]["product"]["split"][0]["share"] == 0.125
        for end in (gateway.stop, gateway.kill):
            end()
            gateway.start()
            assert bundle(gateway) == before


def test_an_endpoint_is_in_the_networks_that_the_settings_allow(web):
    for address in ("192.0.2.1:80", "169.254.169.254:80", "[2001:db8::1]:80", "[fe80::1]:80", "0.0.0.0:80"):
        answer = put(web, "pools/web", {"endpoints": [{"address": "127.0.0.1:1"}, {"address": address}]})
        assert_refused(answer, "/endpoints/1/address")
        assert "upstream.allowed_networks" in answer.json["detail"]
    inside = ("10.1.2.3:80", "172.31.0.1:80", "192.168.0.1:80", "[fd00::1]:80", "[::1]:80", "127.1.2.3:80")
    assert put(web, "pools/web", {"endpoints": [{"address": address} for address in inside]}).status == 200
    with Gateway(settings={"upstream": {"allowed_networks": ["192.0.2.0/24"]}}) as gateway:
        assert put(gateway, "pools/web", {"endpoints": [{"address": "192.0.2.1:80"}]}).status == 201
        assert_refused(put(gateway, "pools/other", WEB), "/endpoints/0/address")


def test_a_body_comes_from_a_file_of_the_directory_alone(tmp_path):
    pages = tmp_path / "pages"
    (pages / "zh").mkdir(parents=True)
    (pages / "zh/soon.html").write_text("<p>很快")
    (pages / "big").write_text("x" * 65537)
    (pages / "latin").write_bytes(b"sp\xe4t")
    (pages / "nul").write_bytes(b"a\0b")
    (tmp_path / "secret").write_text("sesame")

    def route(name, **members):
        return {"path": "/p/", "answer": {"file": name, **members}}

    with Gateway(settings={"upstream": {"static_dir": str(pages)}}) as gateway:
        for name in ("../secret", str(tmp_path / "secret"), "zh/../../secret", "zh", "gone", "big", "latin", "nul", ""):
            answer = put(gateway, "routes/page", route(name))
            assert_refused(answer, "/answer/file")
            assert "sesame" not in answer.text
        assert_refused(put(gateway, "routes/page", route("zh/soon.html", body="x")), "/answer/file")
        assert put(gateway, "routes/page", route("zh/soon.html")).json["answer"] == {"status": 200, "content_type": "text/html", "body": "<p>很快"}
        (pages / "zh/soon.html").write_text("<p>now")
        assert gateway.admin("GET", "/admin/v1/routes/page").json["answer"]["body"] == "<p>很快"
        assert put(gateway, "routes/page", route("zh/soon.html")).json["answer"]["body"] == "<p>now"
        back = gateway.admin("POST", "/admin/v1/routes/page/rollback", {"version": 1})
        assert (back.status, back.json["answer"]["body"]) == (200, "<p>很快")
    with Gateway() as gateway:
        answer = put(gateway, "routes/page", route("zh/soon.html"))
        assert_refused(answer, "/answer/file")
        assert "upstream.static_dir" in answer.json["detail"]


def test_endpoints_come_from_a_file_of_the_directory_alone(tmp_path):
    """What is wrong in a file is shown to operators: of another file they see nothing, not even whether it is there."""
    pools = tmp_path / "pools"
    (pools / "eu").mkdir(parents=True)
    (pools / "eu/web.json").write_text(json.dumps([{"address": "127.0.0.1:9001"}]))
    (tmp_path / "secret").write_text('{"password":"hidden"}')

    def discovered(gateway):
        return gateway.admin("GET", "/admin/v1/pools/web").json["discovered"]

    with Gateway(settings={"upstream": {"endpoint_dir": str(pools)}}) as gateway:
        for name in ("../secret", str(tmp_path / "secret"), "eu/../../secret", "..", "./eu", "/etc/passwd", "/nowhere", ""):
            answer = put(gateway, "pools/web", {"discovery": {"file": name}})
            assert_refused(answer, "/discovery/file")
            assert "password" not in answer.text and "hidden" not in answer.text and "No such file" not in answer.text
        assert put(gateway, "pools/web", {"discovery": {"file": "eu/web.json"}}).status == 201
        wait_until(lambda: discovered(gateway)["state"] == "ok", what="its endpoints")
        assert discovered(gateway)["endpoints"] == 1
        state = gateway.state
        assert gateway.stop() == 0
        with Gateway(directory=gateway.directory, settings={"state_dir": str(state)}) as without:  # the setting has gone, the document is there
            wait_until(lambda: discovered(without)["state"] == "failed", what="its failure")
            assert "upstream.endpoint_dir" in discovered(without)["why"]
    with Gateway() as gateway:
        answer = put(gateway, "pools/web", {"discovery": {"file": "eu/web.json"}})
        assert_refused(answer, "/discovery/file")
        assert "upstream.endpoint_dir" in answer.json["detail"]


def test_the_settings_seed_what_belongs_together():
    documents = {"routes": {"product": PAGE}, "pools": {"web": WEB}, "caches": {"pages": {"bytes": 1 << 20}},
              "limits": {"slow": {"algorithm": "token_bucket", "key": "ip", "rate": 1, "period_s": 1, "route": "product"}}}
    with Gateway(settings={"seed": seeds(documents)}) as gateway:
        have = bundle(gateway)
        assert list(have["routes"]) == ["product"] and list(have["pools"]) == ["web"] and sorted(have["caches"]) == ["default", "pages"]
        assert have["limits"]["slow"]["route"] == "product"
        assert '"event":"seed_taken"' in gateway.log()
    documents["routes"]["lost"] = {"path": "/x/", "pool": "gone"}
    gateway = Gateway(settings={"seed": seeds(documents)}).spawn()
    assert gateway.process.wait(10) == 1
    assert '"path":"/seed/documents/routes/lost/pool"' in gateway.log() and "there is no pool" in gateway.log()
