"""Heads as browsers send them: many fields, and every cookie that a shop's domain has collected."""
from penstock import Gateway

BROWSER = {f"Sec-Field-{i}": "v" * 50 for i in range(16)}


def cookies(size):
    """So many bytes, in cookies of 100."""
    return "; ".join(f"cookie_{i:03d}=" + "v" * 87 for i in range(size // 100))


def test_what_a_connection_may_keep_of_a_head_decides_which_cookies_are_taken():
    with Gateway() as gateway:
        gateway.make_sale("cookies", stock=10)
        assert gateway.buy("cookies", "light", headers={**BROWSER, "Cookie": cookies(2000)}).status == 202
        assert gateway.buy("cookies", "heavy", headers={**BROWSER, "Cookie": cookies(8000)}).status == 431
        gateway.stop()
        gateway.configure({"http": {"head_memory_kib": 32}})
        gateway.start()
        assert gateway.buy("cookies", "heavy", headers={**BROWSER, "Cookie": cookies(8000)}).status == 202
        assert gateway.buy("cookies", "heaviest", headers={**BROWSER, "Cookie": cookies(20000)}).status == 431
        gateway.assert_books("cookies")


def test_an_operator_hears_of_heads_that_are_too_large():
    with Gateway() as gateway:
        gateway.make_sale("cookies", stock=10)
        for _ in range(3):
            assert gateway.buy("cookies", "heavy", headers={**BROWSER, "Cookie": cookies(8000)}).status == 431
        gateway.wait_log("heads_too_large", "http.head_memory_kib")
