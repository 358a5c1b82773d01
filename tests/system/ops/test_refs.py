"""References of refusals: each kind of "no" has one, which opens to what refused it; nobody else reads or makes one; a restart keeps the keys."""
import base64
import re
import time

import pytest
from pages import put_pool, put_route
from penstock import ANY_VERSION, ENFORCE, Gateway, call, raw, rfc3339, wait_until, window_s
from upstreams import Reply, Upstream

FORM = re.compile(r"^[A-Za-z0-9_-]{40}$")
VIA = {"Via": "1.1 penstock, 1.1 penstock, 1.1 penstock"}


@pytest.fixture(scope="module")
def gateway():
    with Gateway(settings={**ENFORCE, "access_log": {"every": 1, "normal": 1}}) as one:
        one.no_limits()
        yield one


def explain(gateway, ref, query=""):
    return gateway.admin("GET", f"/admin/v1/explain/{ref}{query}")


def opened(gateway, answer, verdict, rule=None):
    """What the answer's reference opens to, which is what the answer says."""
    assert answer.code == verdict, answer
    ref = answer.json["ref"]
    assert FORM.match(ref) and answer.headers["penstock-ref"] == ref, answer
    told = explain(gateway, ref)
    assert told.status == 200, told
    story = told.json
    assert (story["verdict"], story["status"], story["ref"]) == (verdict, answer.status, ref), story
    named = story["rule"] and (story["rule"]["kind"], story["rule"]["name"])
    assert named == rule, story
    return story


def last_no(ask, code):
    """Asks until the answer is this one."""
    return wait_until(lambda: (answer := ask()).code == code and answer, what=code)


# --- Each kind of "no". ---


def test_what_is_not_there_or_not_allowed_is_explained(gateway):
    sale = gateway.make_sale()
    orders = f"/v1/sales/{sale}/orders"
    opened(gateway, gateway.public("GET", "/none"), "not_found")
    opened(gateway, gateway.buy("none", "ann"), "not_found")
    opened(gateway, gateway.public("PUT", orders, {"sku": "phone"}), "method_not_allowed")
    opened(gateway, gateway.public("POST", orders, "sku=phone", user="ann"), "unsupported_media_type")
    opened(gateway, gateway.public("POST", orders, {"sku": "phone"}), "unauthenticated")
    opened(gateway, gateway.buy(sale, "ann", key="with a space"), "malformed")
    opened(gateway, gateway.buy(sale, "ann", quantity=0), "quantity")
    opened(gateway, gateway.buy(sale, "ann", sku="none"), "not_found")
    opened(gateway, gateway.public("POST", orders, '{"sku"', user="ann", headers={"Content-Type": "application/json"}), "malformed")
    opened(gateway, gateway.public("GET", "/v1/orders/01a20c78-2412-77c6-b54b-6ea6c2eb904a", user="ann"), "not_found")


def test_what_a_sale_says_is_explained(gateway):
    soon, empty, paused, over = gateway.make_sale(opens_in=3600), gateway.make_sale(stock=0), gateway.make_sale(), gateway.make_sale(per_user_cap=1)
    opened(gateway, gateway.buy(soon, "ann"), "not_started")
    opened(gateway, last_no(lambda: gateway.buy(empty, "ann"), "sold_out"), "sold_out")
    assert gateway.buy(over, "ann", key="1").status == 202
    opened(gateway, gateway.buy(over, "ann", key="2"), "user_limit")
    opened(gateway, gateway.buy(over, "ann", key="1", quantity=2), "idempotency_mismatch")
    assert gateway.admin("POST", f"/admin/v1/sales/{paused}/pause", {"reason": "test"}).status == 200
    opened(gateway, gateway.buy(paused, "ann"), "paused")
    assert gateway.admin("POST", f"/admin/v1/sales/{over}/end", {"reason": "test"}).status == 200
    opened(gateway, gateway.buy(over, "bob"), "ended")


def test_the_blocklist_and_limits_are_explained_by_the_rule_that_refused(gateway):
    """EX2."""
    sale = gateway.make_sale()
    assert gateway.admin("PUT", "/admin/v1/blocklist/users/mallory", {"reason": "bot"}).status == 201
    opened(gateway, gateway.buy(sale, "mallory"), "blocked")
    for key in ("user", "ip", "sale", "global"):
        rule = f"some-{key}"
        gateway.limit(rule, algorithm="fixed_window", key=key, rate=1, period_s=window_s(), mode="enforce", applies_to=["order"], sale=sale)
        gateway.buy(sale, "carl", quantity=0)  # pays his own limits
        gateway.buy(sale, f"first-{key}")  # pays those of all
        story = opened(gateway, gateway.buy(sale, "carl"), f"{key}_rate", ("limit", rule))
        assert story["rule"] == {"kind": "limit", "name": rule, "deleted": False, "changed": False}
        assert gateway.admin("DELETE", f"/admin/v1/limits/{rule}", headers=ANY_VERSION).status == 204


def test_a_rule_that_was_changed_or_deleted_since_is_said_to_be(gateway):
    sale = gateway.make_sale()
    gateway.limit("passing", algorithm="fixed_window", key="user", rate=1, period_s=window_s(), mode="enforce", applies_to=["order"], sale=sale)
    gateway.buy(sale, "dora", quantity=0)
    answer = gateway.buy(sale, "dora")
    then = opened(gateway, answer, "user_rate", ("limit", "passing"))
    gateway.limit("passing", rate=2, burst=2)
    now = opened(gateway, answer, "user_rate", ("limit", "passing"))
    assert now == {**then, "rule": {"kind": "limit", "name": "passing", "deleted": False, "changed": True}}
    assert gateway.admin("DELETE", "/admin/v1/limits/passing", headers=ANY_VERSION).status == 204
    now = opened(gateway, answer, "user_rate", ("limit", "passing"))
    assert now["rule"] == {"kind": "limit", "name": "passing", "deleted": True, "changed": True}
    assert now["revision"] == then["revision"]


def test_a_page_is_explained_by_its_route_or_by_what_refused_it_there(gateway):
    with Upstream({"/shop/1": "a lamp"}) as shop:
        put_pool(gateway, "web", shop)
        put_route(gateway, "shop", path="/shop/", pool="web", methods=["GET", "POST"], body_max=10)
        put_route(gateway, "extra", path="/extra/", pool="web", **{"class": "extra"})
        opened(gateway, gateway.public("DELETE", "/shop/1"), "method_not_allowed")
        opened(gateway, gateway.public("GET", "/shop/../x"), "malformed", ("route", "shop"))
        opened(gateway, gateway.public("GET", "/shop/1", headers=VIA), "loop_detected", ("route", "shop"))
        opened(gateway, gateway.public("POST", "/shop/1", b"x" * 11), "too_large", ("route", "shop"))
        gateway.limit("pages", algorithm="fixed_window", key="ip", rate=1, period_s=window_s(), mode="enforce", applies_to=["page"], route="shop")
        assert gateway.public("GET", "/shop/1").status == 200
        opened(gateway, gateway.public("GET", "/shop/1"), "ip_rate", ("limit", "pages"))
        assert gateway.admin("DELETE", "/admin/v1/limits/pages", headers=ANY_VERSION).status == 204
        gateway.override("level", 3)
        story = opened(gateway, last_no(lambda: gateway.public("GET", "/extra/1"), "shed"), "shed", ("feature", "routes_extra"))
        assert story["level"] == 3
        gateway.end_override("level")
    no = opened(gateway, last_no(lambda: gateway.public("GET", "/shop/1"), "bad_gateway"), "bad_gateway", ("route", "shop"))
    assert no["admission"] == 1
    gateway.override("breaker:pool:web", "open")
    opened(gateway, last_no(lambda: gateway.public("GET", "/shop/1"), "upstream_unavailable"), "upstream_unavailable", ("route", "shop"))
    gateway.end_override("breaker:pool:web")


def test_a_rehearsal_that_gives_way_is_explained_by_the_feature(gateway):
    sale = gateway.make_sale(rehearsal=True)
    gateway.make_sale()  # a live one, so that rehearsals give way
    gateway.override("feature:rehearsals", "off")
    opened(gateway, last_no(lambda: gateway.buy(sale, "ann"), "shed"), "shed", ("feature", "rehearsals"))
    gateway.end_override("feature:rehearsals")


# --- Who gets it, and what it tells. ---


def test_malformed_http_has_no_reference(gateway):
    answer = raw(gateway.port, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    assert b" 400 " in answer and b'"ref"' not in answer and b"Penstock-Ref" not in answer


def test_only_a_trusted_proxy_gets_the_field_and_everybody_the_member():
    with Gateway(settings={"trusted_proxies": ["192.0.2.1"]}) as strangers:
        answer = strangers.public("GET", "/none")
        assert FORM.match(answer.json["ref"]) and "penstock-ref" not in answer.headers, answer
        assert explain(strangers, answer.json["ref"]).json["verdict"] == "not_found"


def test_head_and_a_closing_connection_get_the_field_alone_or_both(gateway):
    head = gateway.public("HEAD", "/none")
    assert head.text == "" and explain(gateway, head.headers["penstock-ref"]).json["verdict"] == "not_found"
    last = raw(gateway.port, b"GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").decode()
    ref = re.search(r"Penstock-Ref: (\S{40})\r\n", last).group(1)
    assert f'"ref":"{ref}"' in last and explain(gateway, ref).status == 200


def test_the_shop_cannot_make_up_the_field(gateway):
    with Upstream({"/made/1": Reply(404, "no", {"Penstock-Ref": "A" * 40})}) as shop:
        put_pool(gateway, "made", shop)
        put_route(gateway, "made", path="/made/", pool="made")
        assert "penstock-ref" not in gateway.public("GET", "/made/1").headers


def test_a_reference_says_when_where_and_whether_it_was_this_user(gateway):
    before = rfc3339(-0.2)
    answer = gateway.buy("none", "erin")
    story = opened(gateway, answer, "not_found")
    assert before <= story["at"] <= rfc3339(0.2)
    gateways = gateway.read("/admin/v1/gateways").json
    assert story["gateway"] in str(gateways) and story["worker"] in (0, 1) and story["level"] == 0
    assert re.match(r"^[0-9a-f]{6}$", story["user_hash"]) and "is_user" not in story
    assert explain(gateway, story["ref"], "?user=erin").json["is_user"] is True
    assert explain(gateway, story["ref"], "?user=alice").json["is_user"] is False
    assert opened(gateway, gateway.public("GET", "/none"), "not_found")["user_hash"] is None


def test_the_access_log_has_the_reference(gateway):
    ref = gateway.buy("none", "frank").json["ref"]
    gateway.wait_log('"access"', ref)
    line = next(line for line in gateway.log().splitlines() if ref in line)
    assert '"verdict":"not_found"' in line


def test_nothing_is_readable_in_a_reference(gateway):
    """EX2: Of two at one moment no byte but the key's id is the same, but by accident: one in 256."""
    refs = [base64.urlsafe_b64decode(gateway.buy("none", "gina").json["ref"]) for _ in range(200)]
    assert len({ref[0] for ref in refs}) == 1 and len(set(refs)) == len(refs)
    for byte in range(1, 30):
        same = sum(one[byte] == other[byte] for one, other in zip(refs, refs[1:]))
        assert same < 12, (byte, same)


def test_what_does_not_open_is_one_and_the_same_404(gateway):
    """EX2."""
    ref = gateway.public("GET", "/none").json["ref"]
    with Gateway() as stranger:
        foreign = stranger.public("GET", "/none").json["ref"]
    forged = [ref[:at] + ("A" if ref[at] != "A" else "B") + ref[at + 1:] for at in range(40)]
    answers = [explain(gateway, text) for text in (foreign, *forged, "A" * 40, ref[:39], ref + "A", "x", "%C3%A9" * 6)]
    for answer in answers:
        assert answer.status == 404, answer
    told = {(a.json["code"], a.json["title"], a.json["detail"], tuple(sorted(a.json))) for a in answers}
    (code, title, detail, members), = told
    assert (code, title, members) == ("ref_unknown", "No such reference", ("code", "detail", "instance", "request_id", "status", "title", "type"))
    assert "40 characters" in detail and "member ref of the refusal" in detail and "log of the proxy" in detail


def test_a_reference_needs_a_token_of_a_viewer_and_no_other_query(gateway):
    """EX2."""
    ref = gateway.public("GET", "/none").json["ref"]
    assert call(gateway.admin_port, "GET", f"/admin/v1/explain/{ref}").status == 401
    token = gateway.admin("POST", "/admin/v1/tokens", {"role": "viewer", "note": "desk"}).json["token"]
    assert gateway.admin("GET", f"/admin/v1/explain/{ref}", token=token).status == 200
    assert explain(gateway, ref, "?who=erin").status == 422


# --- Its keys. ---


def test_a_restart_keeps_the_keys_and_tells_nobody_of_them(tmp_path):
    """EX2."""
    began = time.time()
    with Gateway(tmp_path) as gateway:
        ref = gateway.public("GET", "/none").json["ref"]
        gateway.stop()
        gateway.start()
        assert explain(gateway, ref).json["verdict"] == "not_found"
        again = gateway.public("GET", "/none").json["ref"]
        assert again[0] == ref[0]  # sealed with the same key
        lines = [line for line in gateway.admin("GET", "/admin/v1/audit-log").lines() if line["action"] == "ref_key.new"]
        assert all((line["who"], line["from"], line["to"]) == ("system", None, None) for line in lines)
        days = [time.strftime("ref-keys/%Y-%m-%d", time.gmtime(second)) for second in (began, time.time(), time.time() + 3600)]
        made = [line["target"] for line in lines]
        assert made and len(made) == len(set(made)) and set(made) <= set(days), made  # in the last hour of a day the next day's too
        for path in ("/admin/v1/ref-keys", "/admin/v1/config/ref-keys", "/admin/v1/schema/ref_key"):
            assert gateway.admin("GET", path).status == 404, path
        assert gateway.admin("GET", "/admin/v1/config?kinds=ref-keys").status == 422
        everything = gateway.admin("GET", "/admin/v1/config").text + gateway.log() + gateway.admin("GET", "/admin/v1/audit-log").text
        assert "secret" not in everything and "ref-keys" not in gateway.admin("GET", "/admin/v1/config").text


def test_the_first_answer_of_a_new_gateway_has_a_reference():
    with Gateway() as gateway:
        assert FORM.match(gateway.public("GET", "/none").json["ref"])
