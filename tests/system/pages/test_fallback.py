"""What answers in the place of a pool: in the order of the route's document, whenever the pool does not answer, the ladder says so, or an operator
does. Real servers behind a real gateway."""
import collections
import heapq
import re
import selectors
import socket
import threading
import time

import pytest
from pages import audit_log, breaker, change_route, crowd, from_client, gateway_before, named_server, put_pool, put_route, read_all, wait_breaker
from penstock import ANY_VERSION, ENFORCE, Gateway, rfc3339, wait_until
from upstreams import Misbehaving, Reply

SORRY = {"kind": "static", "status": 200, "content_type": "text/plain", "body": "sorry\n"}

shop, backup = named_server("shop"), named_server("backup")


@pytest.fixture()
def gateway(shop, backup):
    with Misbehaving("refuses") as dead, gateway_before(web=shop, backup=backup, dead=dead) as one:
        put_route(one, "product", path="/p/", pool="web", fallback=[SORRY])
        yield one


def get(gateway, path="/p/1", **more):
    return gateway.public("GET", path, **more)


# --- In order. ---


def test_a_dead_pool_is_answered_by_the_next_thing_in_order(gateway):
    """PG6."""
    put_route(gateway, "product", path="/p/", pool="dead", fallback=[{"kind": "pool", "pool": "backup"}, SORRY])
    answer = get(gateway)
    assert (answer.status, answer.text, answer.headers["penstock-fallback"]) == (200, "backup", "pool; why=failed")
    put_route(gateway, "product", path="/p/", pool="dead", fallback=[SORRY])
    answer = get(gateway)
    assert (answer.status, answer.text, answer.headers["penstock-fallback"]) == (200, "sorry\n", "static; why=failed")
    assert answer.headers["content-type"] == "text/plain"
    put_route(gateway, "product", path="/p/", pool="dead", fallback=[{"kind": "problem"}])
    answer = get(gateway)
    assert (answer.status, answer.code, answer.headers["penstock-fallback"]) == (502, "bad_gateway", "problem; why=failed")
    put_route(gateway, "product", path="/p/", pool="dead")
    answer = get(gateway)
    assert (answer.status, answer.code) == (502, "bad_gateway") and "penstock-fallback" not in answer.headers


def test_a_fallback_pool_that_is_dead_as_well_is_passed_over(gateway, backup):
    backup.stop()
    put_route(gateway, "product", path="/p/", pool="dead", fallback=[{"kind": "pool", "pool": "backup"}, {"kind": "pool", "pool": "web"}, SORRY])
    assert get(gateway).text == "shop"
    put_route(gateway, "product", path="/p/", pool="dead", fallback=[{"kind": "pool", "pool": "backup"}, SORRY])
    answer = get(gateway)
    assert (answer.text, answer.headers["penstock-fallback"]) == ("sorry\n", "static; why=failed")


def test_an_answer_of_the_shop_is_the_shops_whatever_its_status(gateway, shop):
    shop.serve = lambda request: Reply(503, "closed for today")
    answer = get(gateway)
    assert (answer.status, answer.text) == (503, "closed for today") and "penstock-fallback" not in answer.headers


def test_a_deadline_that_passes_is_answered_by_the_fallback(gateway, shop):
    """PG6: Of the first byte; the one of the whole answer is a minute away."""
    shop.freeze()
    change_route(gateway, "product", first_byte_ms=200)
    began = time.monotonic()
    answer = get(gateway)
    assert (answer.text, answer.headers["penstock-fallback"]) == ("sorry\n", "static; why=deadline")
    assert 0.15 < time.monotonic() - began < 20


@pytest.mark.parametrize("way", ["refuses", "closes_before_head", "resets_before_head", "resets_in_head"])
def test_whatever_goes_wrong_before_the_answer_begins_is_answered_by_the_fallback(gateway, way):
    """PG6."""
    with Misbehaving(way) as bad:
        put_pool(gateway, "web", bad)
        answer = get(gateway)
        assert (answer.status, answer.text) == (200, "sorry\n"), answer


def test_no_endpoint_is_answered_by_the_fallback(gateway, shop):
    """PG6."""
    document = {"endpoints": [{"address": shop.address, "drain": True}]}
    assert gateway.admin("PUT", "/admin/v1/pools/web", document, {"If-Match": "*"}).status == 200
    answer = get(gateway)
    assert (answer.text, answer.headers["penstock-fallback"]) == ("sorry\n", "static; why=no_endpoint")


def test_a_body_that_was_sent_to_one_pool_is_not_sent_to_another(gateway, backup):
    """PG1."""
    with Misbehaving("closes_before_head") as bad:
        put_pool(gateway, "web", bad)
        put_route(gateway, "product", path="/p/", methods=["POST"], pool="web", fallback=[{"kind": "pool", "pool": "backup"}, SORRY])
        answer = gateway.public("POST", "/p/1", body=b"x" * 1000)
        assert answer.text == "sorry\n" and backup.requests == []


def test_head_gets_the_head_of_the_fallback(gateway):
    put_route(gateway, "product", path="/p/", pool="dead", fallback=[SORRY])
    answer = gateway.public("HEAD", "/p/1")
    assert (answer.status, answer.text, answer.headers["content-length"]) == (200, "", "6")


# --- By an operator. ---


def test_an_operator_takes_a_route_from_its_pool_for_a_while(gateway, shop):
    assert gateway.override("fallback:product", "on", reason="the shop is moved")["without"] == "off"
    shop.clear()
    answer = get(gateway)
    assert (answer.text, answer.headers["penstock-fallback"]) == ("sorry\n", "static; why=override") and shop.requests == []
    gateway.end_override("fallback:product")
    assert get(gateway).text == "shop"


def test_the_override_ends_by_itself_and_outlives_a_restart(shop, tmp_path):
    with Gateway(tmp_path) as gateway:
        gateway.no_limits()
        put_pool(gateway, "web", shop)
        until = {}
        for name, ttl_s in (("long", 600), ("short", 6)):
            put_route(gateway, name, path=f"/{name}/", pool="web", fallback=[SORRY])
            until[name] = gateway.override(f"fallback:{name}", "on", ttl_s)["until"]
    with Gateway(tmp_path) as gateway:
        assert get(gateway, "/long/").text == "sorry\n" and gateway.overrides()["fallback:long"]["until"] == until["long"]
        wait_until(lambda: get(gateway, "/short/").text == "shop", what="the end of the short override")
        assert rfc3339() >= until["short"] and set(gateway.overrides()) == {"fallback:long"}


def test_what_is_deleted_takes_its_override_with_it(gateway):
    gateway.override("fallback:product", "on")
    change_route(gateway, "product", fallback=[])
    assert gateway.overrides() == {} and get(gateway).text == "shop"
    gateway.wait_log("override_ended", '"target":"fallback:product"', '"cause":"route.put"')
    [line] = wait_until(lambda: audit_log(gateway, "override.delete"), what="the line behind that of the route")
    assert (line["who"], line["target"]) == ("first", "overrides/fallback:product")


def test_an_override_for_a_route_without_a_fallback_is_refused(gateway):
    wanted = {"value": "on", "ttl_s": 60, "reason": "a test"}
    answer = gateway.admin("PUT", "/admin/v1/overrides/fallback:produkt", wanted)
    assert answer.status == 404 and '"fallback:product"' in answer.json["detail"], answer
    assert gateway.admin("PUT", "/admin/v1/overrides/fallback:product", {**wanted, "value": "off"}).status == 422
    change_route(gateway, "product", fallback=[])
    answer = gateway.admin("PUT", "/admin/v1/overrides/fallback:product", wanted)
    assert (answer.status, answer.code) == (409, "conflict")
    assert get(gateway).text == "shop"


# --- By the ladder. ---


def test_classes_give_way_in_order_and_core_never(shop):
    """OL2."""
    with gateway_before(ENFORCE, web=shop) as one:
        signals = one.admin("GET", "/admin/v1/overload").json["signals"]  # what the machine does beside says nothing
        document = {"leave_s": 1, "signals": {name: {"weight": 0} for name in signals}}
        assert one.admin("PUT", "/admin/v1/overload", document, ANY_VERSION).status == 200
        for name in ("core", "important", "normal", "extra"):
            put_route(one, name, path=f"/{name}/", pool="web", **{"class": name})
        put_route(one, "soft", path="/soft/", pool="web", fallback=[SORRY], **{"class": "extra"})
        for level, off in ((1, {"extra"}), (2, {"extra"}), (3, {"extra", "normal"}), (4, {"extra", "normal", "important"})):
            one.override("level", level)
            for name in ("core", "important", "normal", "extra"):
                answer = get(one, f"/{name}/")
                if name not in off:
                    assert (answer.status, answer.text) == (200, "shop"), (level, name, answer)
                    continue
                assert (answer.status, answer.code) == (503, "shed") and int(answer.headers["retry-after"]) >= 1
                assert answer.json["violated-policies"] == [f"routes_{name}"]
            answer = get(one, "/soft/")
            assert (answer.text, answer.headers["penstock-fallback"]) == ("sorry\n", "static; why=level")
        one.end_override("level")
        wait_until(lambda: get(one, "/extra/").text == "shop", what="the class's return")


# --- Breakers. ---


def hammer(gateway, path="/p/{}", times=60):
    """Each client asks for a page of its own."""
    return [get(gateway, path.format(number), headers=from_client(number)) for number in range(times)]


def test_a_pool_that_fails_is_left_alone_for_a_while_and_comes_back_by_itself(gateway, shop):
    """PG9."""
    shop.serve = lambda request: Reply(500, "broken")
    wait_until(lambda: any(answer.text == "sorry\n" for answer in hammer(gateway)))
    wait_breaker(gateway, "pool:web", "open")
    assert breaker(gateway, "pool:web")["why"] == "the last failure: error"
    answers = hammer(gateway, times=20)
    assert {answer.headers.get("penstock-fallback") for answer in answers} <= {"static; why=breaker", None}
    assert 'penstock_breaker_openings_total{breaker="pool:web"}' in gateway.admin("GET", "/metrics").text
    shop.serve = lambda request: "shop"
    wait_until(lambda: all(answer.text == "shop" for answer in hammer(gateway, times=20)))
    wait_breaker(gateway, "pool:web", "closed")
    gateway.wait_log("breaker_closed", "pool:web")


def test_an_endpoint_that_takes_no_connections_is_not_picked_any_more(one_worker, shop):
    with Misbehaving("refuses") as dead:
        put_pool(one_worker, "web", shop, dead, outlier={"consecutive_errors": 0})
        name = f"endpoint:web:{dead.address}"
        wait_until(lambda: all(answer.text == "shop" for answer in hammer(one_worker)) and breaker(one_worker, name)["state"] != "closed")
        assert breaker(one_worker, f"endpoint:web:{shop.address}")["state"] == "closed"
        assert breaker(one_worker, name)["why"] == "the last failure: refused"
        assert f'breaker="{name}"' not in one_worker.admin("GET", "/metrics").text  # there may be thousands


def test_an_operator_forces_the_breaker_of_a_pool_and_of_an_endpoint(gateway, shop):
    for name in ("pool:web", f"endpoint:web:{shop.address}"):
        gateway.override(f"breaker:{name}", "open")
        assert breaker(gateway, name)["state"] == "open"
        answer = get(gateway)
        assert (answer.text, answer.headers["penstock-fallback"]) == ("sorry\n", "static; why=breaker")
        change_route(gateway, "product", fallback=[])
        answer = get(gateway)
        assert (answer.status, answer.code) == (503, "upstream_unavailable") and int(answer.headers["retry-after"]) >= 1
        change_route(gateway, "product", fallback=[SORRY])
        assert breaker(gateway, name)["override"] == "open"  # the documents of routes change nothing there
        gateway.end_override(f"breaker:{name}")
        assert breaker(gateway, name)["state"] == "closed"
        assert get(gateway).text == "shop"
    assert gateway.admin("PUT", "/admin/v1/overrides/breaker:pool:other", {"value": "open", "ttl_s": 60, "reason": "a test"}).status == 404


# --- As much as the pool can answer. ---


def keep_closed(gateway, *names):
    """Their breakers do not answer in the place of what is looked at, however slow the machine is."""
    for name in names:
        gateway.override(f"breaker:{name}", "closed")


@pytest.fixture()
def one_worker(shop):
    with gateway_before({"workers": 1}, web=shop) as one:
        put_route(one, "product", path="/p/", pool="web", fallback=[SORRY])
        keep_closed(one, "pool:web", f"endpoint:web:{shop.address}")
        yield one


def figure(gateway, name):
    return int(gateway.metric(f'penstock_upstream_{name}{{pool="web"}}'))


def wait_figure(gateway, name, value):
    wait_until(lambda: figure(gateway, name) == value, what=f"{value} as {name}")


def why_of(head):
    found = re.search(rb"^penstock-fallback: (.*?)\r?$", head, re.I | re.M)
    return found.group(1).decode() if found else "shop"


def outcomes(socks):
    return collections.Counter(why_of(head) for _, _, head in read_all(socks))


class Askers:
    """Clients that ask again as soon as the shop has answered, and a second after a fallback. One thread has them all: the shop needs the processor, too."""

    def __init__(self, gateway, count):
        self.port, self.selector, self.why = gateway.port, selectors.DefaultSelector(), collections.Counter()
        self.due = [0.0] * count  # when who does not wait for an answer asks again

    def ask(self):
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=50)
        sock.sendall(b"GET /p/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        self.selector.register(sock, selectors.EVENT_READ)

    def run(self, seconds):
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            while self.due and self.due[0] <= now:
                heapq.heappop(self.due)
                self.ask()
            for key, _ in self.selector.select(0.05):
                self.answered(key.fileobj)

    def answered(self, sock):
        self.selector.unregister(sock)
        (_, _, head), = read_all([sock])
        self.why[why_of(head)] += 1
        heapq.heappush(self.due, time.monotonic() + (why_of(head) != "shop"))

    def end(self):
        """Waits for the answers that are due."""
        while waiting := list(self.selector.get_map().values()):
            self.answered(waiting[0].fileobj)


def test_a_pool_that_answers_too_late_gets_fewer_at_once_and_the_rest_falls_back(one_worker, shop):
    turn = threading.Lock()

    def one_at_a_time(request):
        with turn:
            time.sleep(0.01)
        return "shop"

    shop.serve = one_at_a_time  # 100 a second: of 300 at once, half wait for more than 1.5 s in it
    change_route(one_worker, "product", first_byte_ms=3000, total_ms=9000)
    assert figure(one_worker, "limit") == 256
    askers = Askers(one_worker, 300)

    def have_seen_it():
        askers.run(0.2)
        return figure(one_worker, "limit") < 256 and askers.why["static; why=busy"] > 50 and askers.why["shop"] > 200

    wait_until(have_seen_it, 60, what="fewer at once, and those who fall back")
    askers.end()
    assert set(askers.why) <= {"shop", "static; why=busy", "static; why=deadline"}, askers.why
    assert figure(one_worker, "busy_total") == askers.why["static; why=busy"]


def test_a_pool_that_answers_nothing_in_time_gets_fewer_though_it_had_room_for_more(one_worker, shop):
    shop.freeze()
    change_route(one_worker, "product", first_byte_ms=500)
    assert figure(one_worker, "limit") == 256
    wait_until(lambda: outcomes(crowd(one_worker, 150)) and figure(one_worker, "limit") < 150, what="fewer at once")
    assert outcomes(crowd(one_worker, 150))["static; why=busy"] > 0


def test_who_finds_no_place_waits_in_the_queue_for_one(one_worker, shop):
    shop.freeze()
    places = figure(one_worker, "limit")
    socks = crowd(one_worker, places + 144)
    wait_figure(one_worker, "busy_total", 144)
    shop.thaw()
    assert outcomes(socks) == {"shop": places, "static; why=busy": 144}
    put_pool(one_worker, "web", shop, queue_max=1000)
    shop.freeze()
    places = figure(one_worker, "limit")
    socks = crowd(one_worker, places + 144)
    wait_figure(one_worker, "waiting", 144)
    shop.thaw()
    assert outcomes(socks) == {"shop": places + 144}


def test_a_full_queue_lets_the_oldest_go(one_worker, shop):
    shop.freeze()
    put_pool(one_worker, "web", shop, queue_max=50)
    places = figure(one_worker, "limit")
    first = crowd(one_worker, places)
    wait_figure(one_worker, "in_flight", places)
    oldest = crowd(one_worker, 50)
    wait_figure(one_worker, "waiting", 50)
    newest = crowd(one_worker, 94)
    wait_figure(one_worker, "busy_total", 94)
    assert figure(one_worker, "waiting") == 50
    shop.thaw()
    assert outcomes(first) == {"shop": places}
    assert outcomes(oldest) == {"static; why=busy": 50}
    assert outcomes(newest) == {"static; why=busy": 44, "shop": 50}


def test_nobody_waits_in_the_queue_beyond_the_first_byte(one_worker, shop):
    """The whole answer has a minute."""
    shop.freeze()
    put_pool(one_worker, "web", shop, queue_max=50)
    change_route(one_worker, "product", first_byte_ms=4000)  # all are there before half of it has passed
    began = time.monotonic()
    why = outcomes(crowd(one_worker, figure(one_worker, "limit") + 50))
    assert time.monotonic() - began < 20
    assert set(why) == {"static; why=deadline", "static; why=busy"}, why
    wait_figure(one_worker, "waiting", 0)


def test_metrics_count_the_answers_of_fallbacks_by_kind(gateway, shop, backup):
    put_route(gateway, "product", path="/p/", pool="dead", fallback=[{"kind": "pool", "pool": "backup"}, SORRY])
    for _ in range(3):
        assert get(gateway).text == "backup"
    backup.stop()
    assert get(gateway).text == "sorry\n"
    counts = {kind: gateway.metric(f'penstock_route_fallbacks_total{{route="product",kind="{kind}"}}') for kind in ("pool", "static", "problem", "none")}
    assert counts == {"pool": 3, "static": 1, "problem": 0, "none": 0}


# --- What the cache has, however old. ---


@pytest.fixture()
def cached(gateway, shop):
    """A route whose page was kept for a second, long ago."""
    shop.serve = lambda request: Reply(body="kept", headers={"Cache-Control": "max-age=1", "Content-Type": "text/plain"})
    assert gateway.admin("PUT", "/admin/v1/caches/default", {}).status in (201, 428)
    change_route(gateway, "product", cache={"store": "default"}, fallback=[{"kind": "stale"}, SORRY], **{"class": "extra"})
    assert get(gateway).text == "kept"
    time.sleep(1.1)
    return shop


def assert_stale(answer, why):
    assert (answer.status, answer.text, answer.headers["penstock-fallback"]) == (200, "kept", f"stale; why={why}"), (answer, answer.headers)
    assert int(answer.headers["age"]) >= 1 and "cache-status" in answer.headers


def test_a_stale_page_answers_for_a_pool_that_is_dead(gateway, cached):
    cached.stop()
    assert_stale(get(gateway), "failed")
    assert get(gateway, "/p/never-asked").text == "sorry\n"


def test_a_stale_page_answers_when_a_deadline_has_passed_or_no_endpoint_is_left(gateway, cached):
    change_route(gateway, "product", first_byte_ms=200)
    cached.freeze()
    assert_stale(get(gateway), "deadline")
    cached.thaw()
    document = {"endpoints": [{"address": cached.address, "drain": True}]}
    assert gateway.admin("PUT", "/admin/v1/pools/web", document, {"If-Match": "*"}).status == 200
    assert_stale(get(gateway), "no_endpoint")


def test_what_another_pool_answers_is_no_hit_of_the_cache(shop, backup):
    """Neither in Cache-Status nor in the access log, also where the cache was not even asked."""
    with Gateway(settings={"access_log": {"normal": 1}}) as gateway:
        gateway.no_limits()
        put_pool(gateway, "web", shop)
        put_pool(gateway, "backup", backup)
        put_route(gateway, "product", path="/p/", pool="web", cache={"store": "default"}, fallback=[{"kind": "pool", "pool": "backup"}])
        gateway.override("fallback:product", "on")
        answer = get(gateway)
        assert (answer.text, answer.headers["penstock-fallback"], answer.headers["cache-status"]) == ("backup", "pool; why=override", "penstock; fwd=bypass")
        change_route(gateway, "product", fallback=[SORRY])
        assert get(gateway).headers["penstock-fallback"] == "static; why=override"
        wait_until(lambda: gateway.log().count('"event":"access"') == 2, what="two lines of the access log")
        assert gateway.log().count('"cache":"bypass"') == 2, gateway.log()


def test_a_stale_page_answers_when_a_breaker_an_operator_or_the_ladder_says_so(gateway, cached):
    gateway.override("breaker:pool:web", "open")
    assert_stale(get(gateway), "breaker")
    gateway.end_override("breaker:pool:web")
    gateway.override("fallback:product", "on")
    assert_stale(get(gateway), "override")
    gateway.end_override("fallback:product")
    gateway.override("feature:routes_extra", "off")
    assert_stale(get(gateway), "level")
    gateway.end_override("feature:routes_extra")
    assert "penstock-fallback" not in get(gateway).headers
