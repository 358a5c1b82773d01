"""Heads as browsers send them: many fields, and every cookie that a shop's domain has collected."""
import json

from penstock import Gateway, raw

BROWSER = "".join(f"Sec-Field-{i}: {'v' * 50}\r\n" for i in range(16))


def status_with_cookies(gateway, size, user):
    """Of a buy with so many bytes, in cookies of 100."""
    cookies = "; ".join(f"cookie_{i:03d}=" + "v" * 87 for i in range(size // 100))
    body = json.dumps({"sku": "phone", "quantity": 1})
    answer = raw(gateway.port, (f"POST /v1/sales/cookies/orders HTTP/1.1\r\nHost: shop.example\r\n{BROWSER}X-User-Id: {user}\r\n"
                                f"Content-Type: application/json\r\nCookie: {cookies}\r\nConnection: close\r\n"
                                f"Content-Length: {len(body)}\r\n\r\n{body}").encode())
    return int(answer.split()[1])


def test_what_a_connection_may_keep_of_a_head_decides_which_cookies_are_taken():
    with Gateway() as gateway:
        gateway.make_sale("cookies", stock=10)
        assert status_with_cookies(gateway, 8000, "light") == 202
        assert status_with_cookies(gateway, 12000, "heavy") == 431
        gateway.stop()
        gateway.configure({"http": {"head_max_kib": 32}})
        gateway.start()
        assert status_with_cookies(gateway, 12000, "heavy") == 202
        assert status_with_cookies(gateway, 40000, "heaviest") == 431
        gateway.assert_books("cookies")


def test_an_operator_hears_of_heads_that_are_too_large():
    with Gateway() as gateway:
        gateway.make_sale("cookies", stock=10)
        assert status_with_cookies(gateway, 12000, "heavy") == 431
        gateway.wait_log("heads_too_large", "http.head_max_kib")
