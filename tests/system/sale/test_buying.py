"""Buying: what an order looks like, how much one may have, and the order in which the gateway says no."""
import gzip
import math
import re
import threading
import time
from datetime import datetime

import pytest
from penstock import raw, rfc3339

UUID7 = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
JSON = {"Content-Type": "application/json"}


def post(gateway, sale, body, user="u", headers=None):
    return gateway.public("POST", f"/v1/sales/{sale}/orders", body, user, {**JSON, **(headers or {})})


def is_no(answer, status, code):
    assert (answer.status, answer.code) == (status, code), answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json["status"] == status
    assert answer.json["request_id"] == answer.headers["x-request-id"]


def together(count, work):
    """Runs work(i) in `count` threads that start at the same moment; their results."""
    gate, results = threading.Barrier(count), [None] * count

    def run(i):
        gate.wait()
        results[i] = work(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# --- what an order looks like ---


def test_an_accepted_order_names_itself_and_its_deadline(gateway):
    sale = gateway.make_sale(reservation_ttl_s=600)
    answer = gateway.buy(sale, "ann", key="k-1")
    assert answer.status == 202, answer
    order = answer.json
    assert list(order) == ["order_id", "sale", "sku", "quantity", "state", "reason", "reserved_at", "pay_by",
                           "idempotency_key"]
    assert UUID7.match(order["order_id"])
    assert TIME.match(order["reserved_at"]) and TIME.match(order["pay_by"])
    assert (order["sale"], order["sku"], order["quantity"]) == (sale, "phone", 1)
    assert (order["state"], order["reason"], order["idempotency_key"]) == ("accepted", None, "k-1")
    assert answer.headers["location"] == "/v1/orders/" + order["order_id"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert "idempotency-replayed" not in answer.headers
    assert gateway.public("GET", answer.headers["location"], user="ann").json == order


def test_an_order_without_a_key_says_null(gateway):
    sale = gateway.make_sale()
    assert gateway.buy(sale, "ann").json["idempotency_key"] is None


def test_a_user_id_may_be_any_utf8_and_comes_back_in_the_books(gateway):
    sale = gateway.make_sale(stock=5)
    user = "买家-ö-🛒"
    assert gateway.buy(sale, user.encode()).status == 202
    assert [order["user"] for order in gateway.orders(sale)] == [user]


def test_a_user_id_of_128_bytes_is_taken_and_one_of_129_is_401(gateway):
    sale = gateway.make_sale(stock=5)
    assert gateway.buy(sale, "x" * 128).status == 202
    is_no(gateway.buy(sale, "x" * 129), 401, "unauthenticated")


# --- how much there is, and how much one may have ---


def test_a_sold_out_sale_says_so_and_takes_no_more(gateway):
    sale = gateway.make_sale(stock=3)
    assert [gateway.buy(sale, f"u{i}").status for i in range(3)] == [202] * 3
    is_no(gateway.buy(sale, "late"), 409, "sold_out")
    gateway.assert_books(sale)


def test_more_than_is_left_is_sold_out_and_less_is_still_sold(gateway):
    sale = gateway.make_sale(stock=3, per_user_cap=5)
    assert gateway.buy(sale, "a", quantity=2).status == 202
    is_no(gateway.buy(sale, "b", quantity=2), 409, "sold_out")
    assert gateway.buy(sale, "c", quantity=1).status == 202
    is_no(gateway.buy(sale, "d"), 409, "sold_out")


def test_each_sku_sells_out_by_itself(gateway):
    sale = gateway.make_sale(skus=[{"sku": "red", "stock": 1}, {"sku": "blue", "stock": 1}])
    assert gateway.buy(sale, "a", sku="red").status == 202
    is_no(gateway.buy(sale, "b", sku="red"), 409, "sold_out")
    assert gateway.buy(sale, "b", sku="blue").status == 202
    for sku in ("red", "blue"):
        is_no(gateway.buy(sale, "c", sku=sku), 409, "sold_out")
    gateway.assert_books(sale)


def test_a_sku_of_no_stock_is_sold_out_from_the_start(gateway):
    sale = gateway.make_sale(skus=[{"sku": "none", "stock": 0}, {"sku": "one", "stock": 1}])
    is_no(gateway.buy(sale, "a", sku="none"), 409, "sold_out")
    assert gateway.buy(sale, "a", sku="one").status == 202


def test_above_the_cap_is_user_limit_and_names_the_order_that_counts(gateway):
    sale = gateway.make_sale(stock=10, per_user_cap=3)
    first = gateway.buy(sale, "a", quantity=2).json
    second = gateway.buy(sale, "a", quantity=2)
    is_no(second, 409, "user_limit")
    assert second.json["order_id"] == first["order_id"]
    assert gateway.buy(sale, "a", quantity=1).status == 202
    is_no(gateway.buy(sale, "a", quantity=1), 409, "user_limit")
    gateway.assert_books(sale)


@pytest.mark.parametrize("cap", [1, 2])
def test_a_first_order_above_the_cap_is_user_limit_without_an_order(gateway, cap):
    sale = gateway.make_sale(per_user_cap=cap)
    answer = gateway.buy(sale, "a", quantity=cap + 1)
    is_no(answer, 409, "user_limit")
    assert "order_id" not in answer.json


def test_the_sales_cap_and_a_skus_own_cap_hold_together(gateway):
    sale = gateway.make_sale(per_user_cap=3, skus=[{"sku": "a", "stock": 9, "per_user_cap": 2}, {"sku": "b", "stock": 9}])
    is_no(gateway.buy(sale, "u", sku="a", quantity=3), 409, "user_limit")
    assert gateway.buy(sale, "u", sku="a", quantity=2).status == 202
    is_no(gateway.buy(sale, "u", sku="a"), 409, "user_limit")
    is_no(gateway.buy(sale, "u", sku="b", quantity=2), 409, "user_limit")
    assert gateway.buy(sale, "u", sku="b").status == 202
    is_no(gateway.buy(sale, "u", sku="b"), 409, "user_limit")
    assert gateway.buy(sale, "v", sku="b", quantity=3).status == 202
    gateway.assert_books(sale)


def test_a_click_for_another_sku_at_a_cap_of_one_is_user_limit(gateway):
    sale = gateway.make_sale(skus=[{"sku": "a", "stock": 5}, {"sku": "b", "stock": 5}])
    order = gateway.buy(sale, "u", sku="a").json
    answer = gateway.buy(sale, "u", sku="b")
    is_no(answer, 409, "user_limit")
    assert answer.json["order_id"] == order["order_id"]


# --- what the body may say ---


@pytest.mark.parametrize("quantity", ["0", "-1", "1.5", '"1"', "null", "true", "[1]", "9007199254740992"])
def test_a_quantity_that_is_no_positive_integer_is_422_and_points_at_it(gateway, quantity):
    sale = gateway.make_sale()
    answer = post(gateway, sale, '{"sku":"phone","quantity":%s}' % quantity)
    is_no(answer, 422, "quantity")
    assert answer.json["pointer"] == "/quantity"
    assert gateway.orders(sale) == []


def test_the_largest_quantity_is_judged_by_the_cap(gateway):
    is_no(post(gateway, gateway.make_sale(), '{"sku":"phone","quantity":9007199254740991}'), 409, "user_limit")


def test_a_whole_quantity_may_be_written_with_a_point(gateway):
    answer = post(gateway, gateway.make_sale(), '{"sku":"phone","quantity":1.0}')
    assert (answer.status, answer.json["quantity"]) == (202, 1)


def test_an_absent_quantity_is_one(gateway):
    answer = post(gateway, gateway.make_sale(), '{"sku":"phone"}')
    assert (answer.status, answer.json["quantity"]) == (202, 1)


@pytest.mark.parametrize("body", [
    '{"quantity":2,"sku":"phone"}', ' {\r\n\t"sku" : "phone" , "quantity" : 2 } ', '{"sku":"\\u0070hone","quantity":2}',
    '{"\\u0073ku":"phone","quantity":2}', '{"sku":"phone","quantity":2}\n',
])
def test_an_order_may_be_spelled_in_every_way_that_json_allows(gateway, body):
    answer = post(gateway, gateway.make_sale(per_user_cap=2), body)
    assert (answer.status, answer.json["sku"], answer.json["quantity"]) == (202, "phone", 2), answer


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"null", b'"phone"', b"{}", b'{"quantity":1}', b'{"sku":7}', b'{"sku":null}',
    b'{"sku":"phone","colour":"red"}', b'{"sku":"phone","sku":"phone"}', b'{"sku":"phone","quantity":1,"quantity":1}',
    b'{"sku":"phone"} {}', b'{"sku":"phone"}x', b'{"sku":"phone",}', b"{'sku':'phone'}", b'{"sku":"pho\xffne"}',
    b'{"sku":"phone"}\x00', b'{"sku":"pho\\u0000ne"}', b'\xef\xbb\xbf{"sku":"phone"}', b'{"sku":"phone","quantity":1e999}',
    b'{"sku":"phone","quantity":1000000000000000000000000}', b"[" * 2000 + b"]" * 2000, b'{"sku":"phone","quantity":01}',
    b'{"sku":"phone","quantity":+1}', b'{"sku":"phone","quantity":}', b'{"sku":"phone" "quantity":1}', b'{"sku":"phone","quantity":1',
], ids=range(28))
def test_a_body_that_is_no_order_is_400(gateway, body):
    """F19."""
    sale = gateway.make_sale()
    is_no(post(gateway, sale, body), 400, "malformed")
    assert gateway.orders(sale) == []


@pytest.mark.parametrize("content_type", ["text/plain", "application/jsonx", "application/x-www-form-urlencoded", ""])
def test_another_content_type_is_415(gateway, content_type):
    answer = post(gateway, gateway.make_sale(), '{"sku":"phone"}', headers={"Content-Type": content_type})
    is_no(answer, 415, "unsupported_media_type")


def test_a_compressed_body_is_415_whatever_is_in_it(gateway):
    sale = gateway.make_sale()
    for body in (b'{"sku":"phone"}', gzip.compress(b'{"sku":"phone"}')):
        answer = gateway.public("POST", f"/v1/sales/{sale}/orders", body, "a", {"Content-Type": "application/json", "Content-Encoding": "gzip"})
        is_no(answer, 415, "unsupported_media_type")
        assert "Content-Encoding" in answer.json["detail"]
    plain = gateway.public("POST", f"/v1/sales/{sale}/orders", b'{"sku":"phone"}', "a", {"Content-Type": "application/json", "Content-Encoding": "Identity"})
    assert plain.status == 202


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;x=1"])
def test_json_by_any_spelling_is_taken(gateway, content_type):
    sale = gateway.make_sale()
    assert post(gateway, sale, '{"sku":"phone"}', headers={"Content-Type": content_type}).status == 202


def test_a_body_above_4_kib_is_413_and_one_of_4_kib_is_read(gateway):
    sale = gateway.make_sale()
    body = '{"sku":"phone"}'
    is_no(post(gateway, sale, body + " " * (4097 - len(body))), 413, "too_large")
    assert post(gateway, sale, body + " " * (4096 - len(body))).status == 202


@pytest.mark.parametrize("method, path, status, code", [
    ("POST", "/v1/nothing", 404, "not_found"), ("POST", "/v1/sales/no-such-sale/orders", 404, "not_found"),
    ("PUT", "/v1/sales/{sale}/orders", 405, "method_not_allowed"), ("POST", "/v1/sales/{sale}/orders", 413, "too_large")])
@pytest.mark.parametrize("size, headers", [(5000, {}), (60000, {}), (5000, {"Expect": "100-continue"})])
def test_path_and_method_are_judged_before_the_size_of_a_body_and_that_before_the_user(gateway, method, path, status, code, size, headers):
    answer = gateway.public(method, path.format(sale=gateway.make_sale()), b" " * size, headers={"Content-Type": "application/json", **headers})
    is_no(answer, status, code)
    assert answer.headers["connection"] == "close" and ("allow" in answer.headers) == (status == 405)


# --- who and where ---


def test_unknown_sales_skus_and_paths_are_404(gateway):
    sale = gateway.make_sale()
    is_no(gateway.buy("no-such-sale", "u"), 404, "not_found")
    is_no(gateway.buy(sale, "u", sku="no-such-sku"), 404, "not_found")
    is_no(gateway.public("POST", f"/v1/sales/{sale}/order", {"sku": "phone"}, "u"), 404, "not_found")
    is_no(gateway.public("POST", f"/v1/sales/{sale}/orders/", {"sku": "phone"}, "u"), 404, "not_found")
    is_no(gateway.public("GET", "/v1/sales/"), 404, "not_found")
    is_no(gateway.public("GET", "/"), 404, "not_found")


@pytest.mark.parametrize("method,path,allow", [
    ("PUT", "/v1/sales/{}/orders", "GET, HEAD, POST, OPTIONS"), ("DELETE", "/v1/sales/{}/orders", "GET, HEAD, POST, OPTIONS"),
    ("POST", "/v1/sales/{}", "GET, HEAD, OPTIONS"), ("BREW", "/v1/sales/{}", "GET, HEAD, OPTIONS"),
    ("POST", "/v1/orders/0198c0de-0000-7000-8000-000000000000", "GET, HEAD, OPTIONS"), ("POST", "/livez", "GET, HEAD, OPTIONS"),
])
def test_another_method_is_405_and_names_those_allowed(gateway, method, path, allow):
    answer = gateway.public(method, path.format(gateway.make_sale()), user="u")
    is_no(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allow


def test_options_answers_with_what_is_allowed(gateway):
    answer = gateway.public("OPTIONS", f"/v1/sales/{gateway.make_sale()}/orders")
    assert (answer.status, answer.text, answer.headers["allow"]) == (204, "", "GET, HEAD, POST, OPTIONS")


def test_options_of_the_whole_server_answers_with_all_methods_that_something_takes(gateway):
    answer = gateway.public("OPTIONS", "*")
    assert (answer.status, answer.text, answer.headers["allow"]) == (204, "", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")


@pytest.mark.parametrize("user", [None, "", "two words", "tab\tbed", b"\xff\xfe", "x" * 129])
def test_no_identity_or_a_bad_one_is_401(gateway, user):
    is_no(gateway.buy(gateway.make_sale(), user), 401, "unauthenticated")


@pytest.mark.parametrize("key", ["", '""', '"a b"', "a b", '"' + "k" * 65 + '"', "k" * 65, '"open', 'in"side', "schlüssel"])
def test_a_bad_idempotency_key_is_400(gateway, key):
    answer = post(gateway, gateway.make_sale(), '{"sku":"phone"}', headers={"Idempotency-Key": key.encode()})
    is_no(answer, 400, "malformed")


# --- the order of saying no ---

# Faults in the order in which they win: each row is a request with exactly this fault, as changes to a good one.
FAULTS = [
    ((400, "malformed"), {"raw": b"X-User-Id: twice\r\nX-User-Id: twice\r\n"}),
    ((404, "not_found"), {"sale": "no-such-sale"}),
    ((415, "unsupported_media_type"), {"type": "text/plain"}),
    ((401, "unauthenticated"), {"user": None}),
    ((409, "not_started"), {"sale": "early"}),
    ((403, "blocked"), {"user": "banned"}),
    ((409, "sold_out"), {"sale": "gone"}),
    ((422, "quantity"), {"body": '{"sku":"phone","quantity":0}'}),
    ((404, "not_found"), {"body": '{"sku":"no-such-sku"}'}),
]


@pytest.fixture(scope="module")
def stage(gateway):
    gateway.make_sale("good", stock=1000)
    gateway.make_sale("early", opens_in=3600)
    gateway.make_sale("gone", stock=0)
    assert gateway.admin("PUT", "/admin/v1/blocklist/users/banned", {"reason": "a bot"}).status in (200, 201, 204)
    return gateway


def send(gateway, fault):
    body = fault.get("body", '{"sku":"phone"}').encode()
    user = fault.get("user", "someone")
    head = f"POST /v1/sales/{fault.get('sale', 'good')}/orders HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n" \
           f"Content-Type: {fault.get('type', 'application/json')}\r\nContent-Length: {len(body)}\r\n"
    head = head.encode() + (b"" if user is None or "raw" in fault else f"X-User-Id: {user}\r\n".encode())
    answer = raw(gateway.port, head + fault.get("raw", b"") + b"\r\n" + body, timeout=30)
    code = re.search(rb'"code":"(\w+)"', answer)
    return int(answer.split()[1]), code.group(1).decode() if code else None


@pytest.mark.parametrize("first", range(len(FAULTS)))
def test_of_several_faults_the_earlier_one_is_named(stage, first):
    verdict, fault = FAULTS[first]
    assert send(stage, fault) == verdict
    for _, other in FAULTS[first + 1:]:
        both = {**other, **fault}
        if set(other) & set(fault):
            continue  # one request cannot have both
        assert send(stage, both) == verdict, both


def test_a_wrong_method_is_named_before_an_unknown_sale_and_a_path_before_the_method(stage):
    is_no(stage.public("PUT", "/v1/sales/no-such-sale/orders"), 405, "method_not_allowed")
    is_no(stage.public("PUT", "/v1/nothing"), 404, "not_found")


def test_paused_and_ended_are_named_before_sold_out_and_a_bad_body(gateway):
    for command, verdict in (("pause", (503, "paused")), ("end", (409, "ended"))):
        sale = gateway.make_sale(stock=1)
        assert gateway.buy(sale, "first").status == 202
        assert gateway.admin("POST", f"/admin/v1/sales/{sale}/{command}").status == 200
        is_no(post(gateway, sale, "{"), *verdict)
        assert "retry-after" in post(gateway, sale, "{").headers or verdict[0] == 409


def test_a_sale_that_has_not_opened_says_when_to_come_again(gateway):
    opens_at = rfc3339(100)
    sale = gateway.make_sale(opens_at=opens_at, wait=False)

    def left():
        return datetime.fromisoformat(opens_at.replace("Z", "+00:00")).timestamp() - time.time()

    def spread(user):
        """By how many seconds this buyer is told to come later than the opening: at least, at most."""
        before = left()
        after_s = int(gateway.buy(sale, user).headers["retry-after"])
        return after_s - math.ceil(before + 0.001), after_s - math.ceil(left())

    spreads = [spread(f"u{i}") for i in range(20)]
    is_no(gateway.buy(sale, "u"), 409, "not_started")
    assert all(least <= 2 and most >= 0 for least, most in spreads), spreads
    assert max(least for least, _ in spreads) > min(most for _, most in spreads), spreads
    same = [spread("same") for _ in range(3)]
    assert max(least for least, _ in same) <= min(most for _, most in same), same


def test_a_sale_of_a_far_year_says_no_more_than_32_bits_hold(gateway):
    sale = gateway.make_sale(opens_at="9999-12-31T00:00:00Z", wait=False)
    assert gateway.buy(sale, "u").headers["retry-after"] == str(2**31 - 1)


def test_a_sale_past_its_window_has_ended(gateway):
    sale = gateway.make_sale(opens_in=-10, wait=False, closes_at=rfc3339(-1))
    is_no(gateway.buy(sale, "u"), 409, "ended")


# --- many at once ---


def test_two_hundred_buyers_at_once_get_ten_units_exactly(gateway):
    sale = gateway.make_sale(stock=10)
    answers = together(200, lambda i: gateway.buy(sale, f"u{i}", timeout=30))
    kinds = [answer.json.get("state") or answer.code for answer in answers]
    assert kinds.count("accepted") == 10 and kinds.count("sold_out") == 190, kinds
    assert len({answer.json["order_id"] for answer in answers if answer.status == 202}) == 10
    assert len(gateway.orders(sale)) == 10
    report = gateway.assert_books(sale)
    assert report["skus"][0]["available"] == 0


def test_one_users_many_clicks_make_no_more_than_his_cap(gateway):
    sale = gateway.make_sale(stock=100, per_user_cap=3)
    answers = together(40, lambda i: gateway.buy(sale, "eager", timeout=30))
    assert sum(answer.status == 202 for answer in answers) == 3, answers
    assert {answer.code for answer in answers if answer.status != 202} == {"user_limit"}
    assert len(gateway.orders(sale)) == 3
    gateway.assert_books(sale)
