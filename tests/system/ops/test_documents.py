"""What all kinds of documents have in common, over real HTTP: versions, GET → edit → PUT, PATCH, dry run, history,
rollback, bundles, and all faults at once."""
import pytest
from penstock import ANY_VERSION, Gateway, rfc3339

DOCUMENTS = {
    "sales/spring": ({"opens_at": "2099-01-01T00:00:00Z", "skus": [{"sku": "phone", "stock": 10, "price": {"amount": "100", "currency": "EUR"}}]},
                     {"per_user_cap": 2}),
    "limits/slow": ({"algorithm": "token_bucket", "key": "user", "rate": 1, "period_s": 10}, {"rate": 2}),
    "blocklist/users/bot": ({"reason": "a script"}, {"reason": "two scripts"}),
    "blocklist/ips/192.0.2.0%2F24": ({"reason": "a data centre"}, {"reason": "another one"}),
    "pools/web": ({"endpoints": [{"address": "127.0.0.1:9001"}]}, {"retry_budget": 0.5}),
    "caches/pages": ({"bytes": 1 << 20}, {"eviction": "lfu"}),
    "routes/product": ({"path": "/p/", "answer": {"body": "soon"}}, {"class": "extra"}),
}
PATCH = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture(scope="module")
def gateway():
    with Gateway() as one:
        one.no_limits()
        yield one


@pytest.fixture(params=DOCUMENTS)
def kind(request, gateway):
    """Where a document of a kind is, its text and a change of it; it is there, at its first version."""
    path = "/admin/v1/" + request.param
    text, change = DOCUMENTS[request.param]
    made = gateway.admin("PUT", path, text)
    assert made.status == 201, made
    yield path, text, change
    if gateway.admin("GET", path).status == 200:
        assert gateway.admin("DELETE", path, headers=ANY_VERSION).status == 204


def etag(answer):
    return {"If-Match": answer.headers["etag"]}


def version(answer):
    return int(answer.headers["etag"].strip('"'))


def test_what_get_shows_can_be_edited_and_put(gateway, kind):
    """DC3."""
    path, _, change = kind
    have = gateway.admin("GET", path)
    put = gateway.admin("PUT", path, {**have.json, **change}, etag(have))
    assert put.status == 200, put
    assert {name: put.json[name] for name in change} == change and version(put) == version(have) + 1
    again = gateway.admin("PUT", path, put.json, etag(put))
    assert again.status == 200 and again.headers["etag"] == put.headers["etag"]  # nothing has changed


def test_a_read_only_member_that_is_changed_is_named(gateway, kind):
    path, _, change = kind
    have = gateway.admin("GET", path)
    answer = gateway.admin("PUT", path, {**have.json, **change, "version": 99, "updated_at": rfc3339(0)}, etag(have))
    assert answer.status == 422, answer
    assert sorted(fault["pointer"] for fault in answer.json["errors"]) == ["/updated_at", "/version"]
    assert gateway.admin("GET", path).json == have.json


def test_a_change_needs_the_version_it_was_made_from(gateway, kind):
    """DC2."""
    path, text, change = kind
    have = gateway.admin("GET", path)
    for method, body, more in (("PUT", text, {}), ("PATCH", change, PATCH), ("DELETE", None, {})):
        assert gateway.admin(method, path, body, more or None).status == 428
        assert gateway.admin(method, path, body, {"If-Match": '"0"', **more}).status == 412
    assert gateway.admin("GET", path).json == have.json


def test_a_patch_changes_what_it_names(gateway, kind):
    path, _, change = kind
    have = gateway.admin("GET", path)
    answer = gateway.admin("PATCH", path, change, {**etag(have), **PATCH})
    assert answer.status == 200, answer
    assert {name: answer.json[name] for name in change} == change
    assert version(answer) == version(have) + 1


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_patch_removes_the_reason_of_an_entry(gateway, nothing):
    path = "/admin/v1/blocklist/users/pardoned"
    made = gateway.admin("PUT", path, {"reason": "a script", "ttl_s": 600})
    changed = gateway.admin("PATCH", path, {"reason": "two scripts"}, {**etag(made), **PATCH})
    assert changed.json["reason"] == "two scripts" and changed.json["until"] == made.json["until"], changed
    removed = gateway.admin("PATCH", path, {"reason": nothing}, {**etag(changed), **PATCH})
    assert removed.status == 200 and removed.json["reason"] is None and version(removed) == version(made) + 2, removed
    assert gateway.admin("DELETE", path, headers=ANY_VERSION).status == 204


def test_a_dry_run_tells_the_difference_and_changes_nothing(gateway, kind):
    """DC7."""
    path, _, change = kind
    have = gateway.admin("GET", path)
    answer = gateway.admin("PATCH", path + "?dry_run=1", change, {**etag(have), **PATCH})
    assert answer.status == 200, answer
    [entry] = answer.json["changes"]
    (name, value), = change.items()
    assert entry["action"] == "change" and entry["result"][name] == value
    assert {"op": entry["difference"][0]["op"], "path": "/" + name, "value": value} in entry["difference"]
    assert gateway.admin("DELETE", path + "?dry_run=1", headers=etag(have)).json["changes"][0]["action"] == "delete"
    assert gateway.admin("GET", path).json == have.json


def test_every_version_is_kept_and_can_be_made_the_next(gateway, kind):
    """DC6."""
    path, _, change = kind
    have = gateway.admin("GET", path)
    first = version(have)
    changed = gateway.admin("PATCH", path, change, {**etag(have), **PATCH})
    versions = gateway.admin("GET", path + "/versions").json["versions"]
    assert [one["version"] for one in versions][:2] == [first + 1, first]
    (name, value), = change.items()
    assert gateway.admin("GET", f"{path}/versions/{first + 1}").json["document"][name] == value
    assert gateway.admin("GET", f"{path}/versions/{first}").json["document"].get(name) == have.json.get(name)
    back = gateway.admin("POST", path + "/rollback", {"version": first}, etag(changed))
    assert back.status == 200 and version(back) == first + 2, back
    assert back.json.get(name) == have.json.get(name)
    assert gateway.admin("POST", path + "/rollback", {"version": 999}).status in (404, 422)


def test_all_faults_of_a_document_are_told_at_once(gateway):
    """DC1."""
    answer = gateway.admin("PUT", "/admin/v1/sales/bad", {"opens_at": "soon", "colour": 1, "skus": [{"sku": "", "stock": -1}]})
    assert answer.status == 422
    pointers = {fault["pointer"] for fault in answer.json["errors"]}
    assert pointers >= {"/opens_at", "/colour", "/skus/0/sku", "/skus/0/stock"}
    assert answer.json["errors"][0]["detail"] in answer.json["detail"]


def test_a_price_of_an_open_sale_can_be_patched(gateway):
    sale = gateway.make_sale(stock=5)
    have = gateway.admin("GET", f"/admin/v1/sales/{sale}")
    skus = have.json["skus"]
    skus[0]["price"] = {"amount": "42.00", "currency": "EUR"}
    answer = gateway.admin("PATCH", f"/admin/v1/sales/{sale}", {"skus": skus}, {**etag(have), **PATCH})
    assert answer.status == 200 and answer.json["skus"][0]["price"]["amount"] == "42.00", answer
    assert gateway.buy(sale, "ann").status == 202


def test_a_draft_is_opened_now(gateway):
    sale = "opened-now"
    assert gateway.admin("PUT", f"/admin/v1/sales/{sale}", {"skus": [{"sku": "phone", "stock": 1}]}).status == 201
    assert gateway.sale(sale)["state"] == "draft"
    assert gateway.admin("POST", f"/admin/v1/sales/{sale}/open").status == 200
    gateway.wait_state(sale, "open")
    assert gateway.buy(sale, "ann").status == 202


def test_sales_that_are_due_together_are_opened_with_few_changes():
    with Gateway() as gateway:
        have = gateway.admin("GET", "/admin/v1/config?kinds=sales")
        names = [f"sale-{n}" for n in range(200)]
        sale = {"opens_at": rfc3339(0), "skus": [{"sku": "phone", "stock": 1}]}
        made = gateway.admin("PUT", "/admin/v1/config?kinds=sales", {"documents": {"sales": {name: sale for name in names}}}, etag(have))
        assert made.status == 200, made
        for name in names:
            gateway.wait_state(name, "open")
        lines = [line for line in gateway.admin("GET", "/admin/v1/audit-log?limit=1000").lines() if line["action"] == "sale.open"]
        assert len(lines) <= len(names) / 4, len(lines)
        noted = [name for line in lines for name in line["to"] or [line["target"]]]
        assert sorted(noted) == sorted("sales/" + name for name in names)
        assert all(gateway.sale(name)["version"] == 2 for name in names)
        assert gateway.buy("sale-199", "ann").status == 202


def test_a_bundle_is_put_as_a_whole_or_not_at_all(gateway):
    """DC4."""
    path = "/admin/v1/config?kinds=limits,blocklist/users"
    have = gateway.admin("GET", path)
    bundle = have.json["documents"]
    bundle["limits"]["bundled"] = DOCUMENTS["limits/slow"][0]
    bundle["blocklist/users"]["bundled"] = {"reason": "x"}
    dry = gateway.admin("PUT", path + "&dry_run=1", {"documents": bundle}, etag(have))
    assert sorted(change["document"] for change in dry.json["changes"]) == ["blocklist/users/bundled", "limits/bundled"]
    wrong = {**bundle, "limits": {**bundle["limits"], "bundled": {"algorithm": "guess"}}}
    assert gateway.admin("PUT", path, {"documents": wrong}, etag(have)).status == 422
    assert gateway.admin("GET", path).json == have.json
    done = gateway.admin("PUT", path, {"documents": bundle}, etag(have))
    assert done.status == 200 and done.json == gateway.admin("GET", path).json, done
    assert gateway.admin("PUT", path, {"documents": bundle}, etag(have)).status == 412  # another revision
    del bundle["limits"]["bundled"], bundle["blocklist/users"]["bundled"]
    assert gateway.admin("PUT", path, {"documents": bundle}, etag(done)).status == 200
    assert gateway.admin("GET", "/admin/v1/limits/bundled").status == 404


def test_a_document_whose_members_are_in_another_order_makes_no_version(gateway):
    path, route = "/admin/v1/routes/ordered", "/admin/v1/config?kinds=routes"
    headers = {"Content-Type": "text/plain", "X-First": "1", "X-Second": "2"}
    document = {"path": "/ordered/", "answer": {"body": "soon"}, "response_headers": {"set": headers}}
    swapped = {**document, "response_headers": {"set": dict(reversed(headers.items()))}}
    made = gateway.admin("PUT", path, document)
    assert made.status == 201, made
    have = gateway.admin("GET", route)
    bundle = {**have.json["documents"], "routes": {**have.json["documents"]["routes"], "ordered": swapped}}
    assert gateway.admin("PUT", route + "&dry_run=1", {"documents": bundle}, etag(have)).json["changes"] == []
    assert gateway.admin("PUT", route, {"documents": bundle}, etag(have)).headers["etag"] == have.headers["etag"]
    for answer in (gateway.admin("PUT", path, swapped, etag(made)),
                   gateway.admin("PATCH", path, {"response_headers": swapped["response_headers"]}, {**etag(made), **PATCH})):
        assert answer.status == 200 and version(answer) == 1, answer
    assert gateway.admin("DELETE", path, headers=ANY_VERSION).status == 204


def test_lists_come_in_pages(gateway):
    names = [f"page-{n}" for n in range(5)]
    for name in names:
        assert gateway.admin("PUT", f"/admin/v1/blocklist/users/{name}", {"reason": "x"}).status == 201
    seen, after = [], ""
    while after is not None:
        page = gateway.admin("GET", "/admin/v1/blocklist/users?limit=2" + (f"&after={after}" if after else "")).json
        seen += page["users"]
        after = page.get("next")
    assert [entry["user"] if isinstance(entry, dict) else entry for entry in seen if "page-" in str(entry)] == names
    assert gateway.admin("GET", f"/admin/v1/blocklist/users?after={128 * 'a'}").status == 200
    assert gateway.admin("GET", f"/admin/v1/blocklist/users?after={129 * 'a'}").status == 422  # no user's name is as long


def test_an_unknown_query_parameter_is_refused(gateway):
    for path in ("/admin/v1/sales", "/admin/v1/limits/user", "/admin/v1/config", "/admin/v1/tokens", "/livez", "/readyz"):
        answer = gateway.admin("GET", path + "?colour=red")
        assert answer.status == 422 and "colour" in answer.text, answer


def test_lengths_count_characters(gateway):
    assert gateway.admin("PUT", "/admin/v1/blocklist/users/long", {"reason": "字" * 120}).status == 201
    sale = gateway.make_sale(stock=1)
    assert gateway.admin("POST", f"/admin/v1/sales/{sale}/pause", {"reason": "字" * 120}).status == 200
