"""Rehearsals beside live sales: a request with a signed mark runs the whole way on a twin of the sale, and touches nothing real."""
import json
import re
import subprocess
import time

import pytest
from faults import in_memory
from load import Load, judge
from penstock import ANY_VERSION, PATIENT_LOG, REHEARSE, Gateway, raw, rfc3339, wait_until, window_s
from rehearsal import make_twin, mark, new_key, sign
from test_buying import is_no


@pytest.fixture(scope="module")
def key(gateway):
    return new_key(gateway)


def left(gateway, sale):
    return gateway.sale(sale)["skus"][0]["available"]


# --- the twin ---


def test_a_marked_click_buys_from_the_twin_and_no_other_does(gateway, key):
    sale = gateway.make_sale(stock=10)
    twin = make_twin(gateway, sale)
    marked, plain = gateway.buy(sale, "load-1", headers=mark(key)), gateway.buy(sale, "ann")
    assert marked.status == plain.status == 202
    assert (marked.json["sale"], plain.json["sale"]) == (twin, sale)
    assert marked.headers["penstock-rehearsal"] == "?1" and "penstock-rehearsal" not in plain.headers
    assert (left(gateway, sale), left(gateway, twin)) == (9, 4)
    gateway.assert_books(sale)
    gateway.assert_books(twin)


def test_a_twin_that_is_sold_out_sells_nothing_of_its_sale(gateway, key):
    sale = gateway.make_sale(stock=10)
    make_twin(gateway, sale, stock=1)
    assert gateway.buy(sale, "load-1", headers=mark(key)).status == 202
    is_no(gateway.buy(sale, "load-2", headers=mark(key)), 409, "sold_out")
    assert left(gateway, sale) == 10


def test_without_a_twin_a_marked_click_is_told_so_and_buys_nothing(gateway, key):
    sale = gateway.make_sale(stock=10)
    alone = gateway.make_sale(stock=10, rehearsal=True)
    for name in (sale, alone, "no-such-sale"):
        answer = gateway.buy(name, "load-1", headers=mark(key))
        is_no(answer, 404, "not_found")
        assert "twin" in answer.json["detail"] and answer.headers["penstock-rehearsal"] == "?1"
    assert left(gateway, sale) == left(gateway, alone) == 10


def test_a_twin_has_a_window_of_its_own(gateway, key):
    """So that a sale is rehearsed before it opens, and goes on selling when the rehearsal is over."""
    sale = gateway.make_sale(opens_in=3600)
    twin = make_twin(gateway, sale)
    is_no(gateway.buy(sale, "ann"), 409, "not_started")
    assert gateway.buy(sale, "load-1", headers=mark(key)).status == 202
    assert gateway.admin("POST", f"/admin/v1/sales/{twin}/end").status == 200
    is_no(gateway.buy(sale, "load-2", headers=mark(key)), 409, "ended")


def test_the_newest_twin_takes_the_rehearsals(gateway, key):
    sale = gateway.make_sale()
    first = make_twin(gateway, sale, f"{sale}-r1")
    assert gateway.buy(sale, "load-1", headers=mark(key)).json["sale"] == first
    time.sleep(0.01)
    second = make_twin(gateway, sale, f"{sale}-a2")
    assert gateway.buy(sale, "load-1", headers=mark(key)).json["sale"] == second


def test_nobody_but_a_rehearsal_can_name_a_twin(gateway, key):
    sale = gateway.make_sale()
    twin = make_twin(gateway, sale)
    is_no(gateway.buy(twin, "ann"), 404, "not_found")
    is_no(gateway.public("GET", f"/v1/sales/{twin}"), 404, "not_found")
    is_no(gateway.public("GET", f"/v1/sales/{twin}/orders", user="ann"), 404, "not_found")
    assert gateway.buy(twin, "load-1", headers=mark(key)).json["sale"] == twin


def test_orders_are_looked_up_in_the_world_that_made_them(gateway, key):
    sale = gateway.make_sale(per_user_cap=5)
    make_twin(gateway, sale, per_user_cap=5)
    user, with_mark = "load-1", mark(key)
    rehearsed = gateway.buy(sale, user, key="k", headers=with_mark).json["order_id"]
    real = gateway.buy(sale, user, key="k").json["order_id"]
    assert rehearsed != real

    def orders(headers):
        listed = gateway.public("GET", f"/v1/sales/{sale}/orders", user=user, headers=headers).json["orders"]
        return [order["order_id"] for order in listed]

    assert orders(with_mark) == [rehearsed] and orders(None) == [real]
    for order, headers, status in ((rehearsed, with_mark, 200), (real, None, 200), (rehearsed, None, 404), (real, with_mark, 404)):
        assert gateway.public("GET", f"/v1/orders/{order}", user=user, headers=headers).status == status
    again = gateway.buy(sale, user, key="k", headers=with_mark)
    assert again.headers["idempotency-replayed"] == "true" and again.json["order_id"] == rehearsed


def test_the_status_page_of_a_rehearsal_is_the_twins_and_no_cache_keeps_it(gateway, key):
    sale = gateway.make_sale(stock=10)
    twin = make_twin(gateway, sale)
    real = gateway.public("GET", f"/v1/sales/{sale}")
    for user in (None, "load-1"):
        page = gateway.public("GET", f"/v1/sales/{sale}", user=user, headers=mark(key))
        assert page.json["sale"] == twin and page.json["skus"][0]["available"] == 5
        assert page.headers["penstock-rehearsal"] == "?1"
        assert {page.headers[name] for name in ("cache-control", "cdn-cache-control", "surrogate-control")} == {"no-store"}
    assert real.json["sale"] == sale and "max-age" in real.headers["cache-control"]
    same = gateway.public("GET", f"/v1/sales/{sale}", headers={**mark(key), "If-None-Match": page.headers["etag"]})
    assert same.status == 304 and same.headers["cache-control"] == "no-store"


# --- marks that are not believed ---


def changed(mark_of, **parts):
    text = mark_of["Penstock-Rehearsal"]
    for name, value in parts.items():
        text = re.sub(rf"{name}=[^;]*", f"{name}={value}", text)
    return {"Penstock-Rehearsal": text}


def resigned(key, text):
    return {"Penstock-Rehearsal": f"{text};sig={sign(key['secret'], text)}"}


def soon():
    return int(time.time()) + 600


FORGED = [
    ("forged", lambda key: mark(key, secret="00" * 32)),
    ("forged", lambda key: changed(mark(key, user="good-"), user="load-")),
    ("forged", lambda key: changed(mark(key, expires_in=-10), exp=int(time.time()) + 500)),
    ("forged", lambda key: changed(mark(key), sig="00" * 32)),
    ("unknown_key", lambda key: mark({"key": "k-00000000", "secret": key["secret"]})),
    ("expired", lambda key: mark(key, expires_in=-1)),
    ("too_long", lambda key: mark(key, expires_in=3700)),
    ("other_user", lambda key: mark(key, user="robot-")),
    ("malformed", lambda key: {"Penstock-Rehearsal": ""}),
    ("malformed", lambda key: {"Penstock-Rehearsal": "yes"}),
    ("malformed", lambda key: {"Penstock-Rehearsal": "v1;" * 900}),
    ("malformed", lambda key: {"Penstock-Rehearsal": mark(key)["Penstock-Rehearsal"].upper()}),
    ("malformed", lambda key: resigned(key, f"v1;key={key['key']};exp=1e9;user=load-")),
    ("malformed", lambda key: resigned(key, f"v1;key={key['key']};exp={soon()};user=lo")),
    ("malformed", lambda key: resigned(key, f"v2;key={key['key']};exp={soon()};user=load-")),
]


@pytest.mark.parametrize("reason,make", FORGED, ids=[f"{reason}-{n}" for n, (reason, _) in enumerate(FORGED)])
def test_a_mark_that_is_not_believed_makes_an_ordinary_click_that_is_counted(gateway, key, reason, make):
    sale = gateway.make_sale()
    make_twin(gateway, sale)
    series = f'penstock_rehearsal_marks_refused_total{{reason="{reason}"}}'
    before = gateway.metric(series)
    answer = gateway.buy(sale, "load-1", headers=make(key))
    assert answer.status == 202 and answer.json["sale"] == sale and "penstock-rehearsal" not in answer.headers
    assert gateway.metric(series) == before + 1


def test_two_marks_are_none(gateway, key):
    sale = gateway.make_sale()
    make_twin(gateway, sale)
    line = "Penstock-Rehearsal: " + mark(key)["Penstock-Rehearsal"] + "\r\n"
    back = raw(gateway.port, f"GET /v1/sales/{sale} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{line}{line}\r\n".encode())
    assert back.startswith(b"HTTP/1.1 200 ") and f'"sale":"{sale}"'.encode() in back


# --- keys ---


def test_a_keys_secret_is_shown_once_and_to_nobody_else(gateway):
    made = new_key(gateway, ttl_s=300, note="spring load")
    assert len(made["secret"]) == 64 and made["note"] == "spring load"
    listed = gateway.admin("GET", "/admin/v1/rehearsal-keys").json["rehearsal_keys"]
    assert [one for one in listed if one["key"] == made["key"]] == [{name: value for name, value in made.items() if name != "secret"}]
    places = [gateway.admin("GET", path).text for path in ("/admin/v1/rehearsal-keys", "/admin/v1/config", "/admin/v1/audit-log", "/metrics")]
    places += [path.read_text(errors="replace") for path in (gateway.log_path, gateway.state / "audit.log")]
    assert made["key"] in places[0] and made["key"] in places[2]
    assert not [place for place in places if made["secret"] in place]
    for path in (f"/admin/v1/rehearsal-keys/{made['key']}", f"/admin/v1/rehearsal-keys/{made['key']}/versions"):
        assert gateway.admin("GET", path).status in (404, 405)
    is_no(gateway.admin("GET", "/admin/v1/config?kinds=rehearsal-keys"), 422, "invalid")
    assert (gateway.state / "control.db").stat().st_mode & 0o777 == 0o600


def test_a_revoked_key_signs_nothing_any_more(gateway):
    sale = gateway.make_sale()
    twin = make_twin(gateway, sale)
    key = new_key(gateway)
    with_mark = mark(key)
    assert gateway.buy(sale, "load-1", headers=with_mark).json["sale"] == twin
    assert gateway.admin("DELETE", f"/admin/v1/rehearsal-keys/{key['key']}", {"reason": "lost"}).status == 204
    assert gateway.buy(sale, "load-1", headers=with_mark).json["sale"] == sale
    is_no(gateway.admin("DELETE", f"/admin/v1/rehearsal-keys/{key['key']}"), 404, "not_found")


def test_a_bundle_neither_has_keys_nor_takes_them_away(gateway, key):
    bundle = gateway.admin("GET", "/admin/v1/config")
    assert "rehearsal-keys" not in bundle.json["documents"]
    assert gateway.admin("PUT", "/admin/v1/config", bundle.json, {"If-Match": bundle.headers["etag"]}).status == 200
    assert key["key"] in gateway.admin("GET", "/admin/v1/rehearsal-keys").text
    is_no(gateway.admin("PUT", "/admin/v1/config", {"documents": {"rehearsal-keys": {}}}, ANY_VERSION), 422, "invalid")


@pytest.mark.parametrize("body,pointer", [({"ttl_s": 59}, "/ttl_s"), ({"ttl_s": 2592001}, "/ttl_s"), ({"ttl_s": "1 h"}, "/ttl_s"),
                                          ({"note": 5}, "/note"), ({"note": "x" * 257}, "/note"), ({"secret": "00" * 32}, "/secret")])
def test_a_wish_for_a_key_that_makes_no_sense_names_its_member(gateway, body, pointer):
    before = gateway.admin("GET", "/admin/v1/rehearsal-keys").json
    answer = gateway.admin("POST", "/admin/v1/rehearsal-keys", body)
    is_no(answer, 422, "invalid")
    assert answer.json["pointer"] == pointer
    assert gateway.admin("GET", "/admin/v1/rehearsal-keys").json == before


def test_keys_are_the_business_of_admins(gateway):
    token = gateway.admin("POST", "/admin/v1/tokens", {"role": "operator"}).json["token"]
    for method, path in (("GET", ""), ("POST", ""), ("DELETE", "/k-1")):
        is_no(gateway.admin(method, "/admin/v1/rehearsal-keys" + path, token=token), 403, "forbidden")


def test_there_are_at_most_eight_keys_and_a_restart_keeps_them():
    with Gateway(settings=PATIENT_LOG) as g:
        g.no_limits()
        keys = [new_key(g) for _ in range(8)]
        is_no(g.admin("POST", "/admin/v1/rehearsal-keys"), 409, "conflict")
        sale = g.make_sale()
        twin = make_twin(g, sale)
        assert g.stop() == 0
        g.start()
        wait_until(lambda: g.buy(sale, "load-1", headers=mark(keys[7])).status == 202, what="the twin after a restart")
        assert g.buy(sale, "load-1", headers=mark(keys[0])).json["sale"] == twin


# --- twins as documents ---


@pytest.mark.parametrize("document,status,pointer", [({"twin_of": "SALE"}, 422, "/twin_of"), ({"twin_of": "a b", "rehearsal": True}, 422, "/twin_of"),
                                                     ({"twin_of": "TWIN", "rehearsal": True}, 409, "/twin_of")])
def test_a_twin_that_makes_no_sense_is_refused_by_member(gateway, document, status, pointer):
    sale = gateway.make_sale()
    twin = make_twin(gateway, sale)
    names = {"SALE": sale, "TWIN": twin}
    document = {**document, "twin_of": names.get(document["twin_of"], document["twin_of"]), "skus": [{"sku": "phone", "stock": 1}]}
    answer = gateway.admin("PUT", f"/admin/v1/sales/{sale}-x", document)
    assert answer.status == status and answer.json["pointer"] == pointer, answer
    assert gateway.admin("GET", f"/admin/v1/sales/{sale}-x").status == 404


def test_whose_twin_it_is_never_changes(gateway):
    sale = gateway.make_sale()
    twin = make_twin(gateway, sale)
    assert gateway.sale(twin)["twin_of"] == sale and "twin_of" not in gateway.sale(sale)
    answer = gateway.change_sale(twin, twin_of="another")
    assert answer.status == 409 and answer.json["pointer"] == "/twin_of", answer


def test_a_twin_of_no_sale_is_warned_of(gateway):
    make_twin(gateway, "nothing-yet", "nothing-yet-twin")
    gateway.wait_log('"event":"twin_without_sale"')


# --- what it leaves behind ---



def test_every_event_of_a_rehearsal_says_so(gateway, key):
    sale = gateway.make_sale(per_user_cap=5)
    twin = make_twin(gateway, sale)
    order = gateway.buy(sale, "load-1", headers=mark(key)).json["order_id"]
    other = gateway.buy(sale, "load-2", headers=mark(key)).json["order_id"]
    gateway.buy(sale, "ann")
    assert gateway.admin("POST", f"/admin/v1/orders/{order}/confirm").status == 200
    assert gateway.admin("POST", f"/admin/v1/orders/{other}/cancel").status == 200
    body = {"delta": 3, "adjust_id": "more"}
    assert gateway.admin("POST", f"/admin/v1/sales/{twin}/skus/phone/adjust", body).status in (200, 201)
    of_twin, of_sale = (gateway.admin("GET", f"/admin/v1/sales/{name}/log?after=0").lines() for name in (twin, sale))
    assert len(of_twin) >= 7 and all(event["rehearsal"] is True for event in of_twin), of_twin
    assert len(of_sale) >= 3 and not any(event.get("rehearsal") for event in of_sale)


def test_a_rehearsal_is_in_no_series_of_real_buyers(gateway, key):
    sale = gateway.make_sale()
    make_twin(gateway, sale, reservation_ttl_s=5)

    def real():
        text = gateway.admin("GET", "/metrics").text
        names = r"^penstock_(answers_total|answer_duration_seconds|orders_total|orders_expired_total|units_returned_total|limit_shared_asked_total|limit_refused_total|limit_shadow_refused_total|limit_trial_refused_total)"
        return {line for line in text.splitlines() if re.match(names, line)}

    before, seen = real(), gateway.metric('penstock_rehearsal_answers_total{verdict="accepted"}')
    orders, expired = (gateway.metric(f'penstock_rehearsal_orders_total{{event="{event}"}}') for event in ("accepted", "released"))
    for n in range(3):
        assert gateway.buy(sale, f"load-{n}", headers=mark(key)).status == 202
    gateway.public("GET", f"/v1/sales/{sale}", headers=mark(key))
    is_no(gateway.buy("none", "load-1", headers=mark(key)), 404, "not_found")
    released = 'penstock_rehearsal_orders_total{event="released"}'
    wait_until(lambda: gateway.metric(released) >= expired + 3, 20, what="the expiry of three orders")
    assert real() == before
    assert gateway.metric('penstock_rehearsal_answers_total{verdict="accepted"}') == seen + 3
    assert gateway.metric('penstock_rehearsal_orders_total{event="accepted"}') == orders + 3
    assert gateway.metric('penstock_rehearsal_answer_duration_seconds_count{class="order"}') >= 3


def test_lines_of_the_log_about_a_twin_say_rehearsal(gateway):
    sale = gateway.make_sale()
    twin = make_twin(gateway, sale)
    wait_until(lambda: f'"sale":"{twin}"' in gateway.log(), what="a line about the twin")
    lines = [json.loads(line) for line in gateway.log_path.read_text().splitlines()]
    assert [line for line in lines if line.get("sale") == twin and line.get("rehearsal") is not True] == []
    assert [line for line in lines if line.get("sale") == sale and "rehearsal" in line] == []


# --- limits ---


@pytest.mark.parametrize("key_of_rule,code", [("user", "user_rate"), ("ip", "ip_rate"), ("sale", "sale_rate"), ("global", "global_rate")])
def test_a_rehearsal_meets_every_limit_and_takes_nobodys_turn(key_of_rule, code):
    """Of each kind, with the user and the address of a real buyer: counted apart, by the same rule."""
    with Gateway(settings=PATIENT_LOG) as g:
        g.no_limits()
        key, sale = new_key(g), g.make_sale(per_user_cap=100, stock=100)
        make_twin(g, sale, per_user_cap=100, stock=100)
        rule = {"algorithm": "fixed_window", "key": key_of_rule, "rate": 2, "period_s": window_s(), "sale": sale}
        assert g.admin("PUT", "/admin/v1/limits/own", rule).status == 201
        for headers in (mark(key), None):
            answers = [g.buy(sale, "load-1", key=str(n), headers=headers) for n in range(3)]
            assert [answer.status for answer in answers] == [202, 202, 429], answers
            assert answers[2].code == code


def test_a_twin_can_have_a_limit_of_its_own(gateway, key):
    sale = gateway.make_sale(per_user_cap=10)
    twin = make_twin(gateway, sale, per_user_cap=10)
    rule = {"algorithm": "fixed_window", "key": "sale", "rate": 1, "period_s": window_s(), "sale": twin}
    assert gateway.admin("PUT", "/admin/v1/limits/of-the-twin", rule).status == 201
    try:
        assert [gateway.buy(sale, "load-1", key=str(n), headers=mark(key)).status for n in range(2)] == [202, 429]
        assert [gateway.buy(sale, "ann", key=str(n)).status for n in range(2)] == [202, 202]
    finally:
        gateway.admin("DELETE", "/admin/v1/limits/of-the-twin", headers=ANY_VERSION)


# --- the load tool beside a live sale ---


def key_file(directory, key, mode=0o600):
    path = directory / "key.json"
    path.write_text(json.dumps(key))
    path.chmod(mode)
    return path


def twin_words(g, sale, key_path, *options):
    return [str(word) for word in (REHEARSE, "--public", f"http://127.0.0.1:{g.port}", "--admin", f"http://127.0.0.1:{g.admin_port}", "--state-dir", g.state,
                                   "--twin-of", sale, "--rehearsal-key", key_path, "--buyers", 2000, "--stock", 300, "--over", "2s", "--quiet", *options)]


def rehearse_beside(g, sale, key_path, *options):
    return subprocess.run(twin_words(g, sale, key_path, *options), capture_output=True, text=True, timeout=90)


def test_a_rehearsal_beside_a_live_sale_is_proved_and_the_live_sale_is_untouched(tmp_path):
    """Real buyers go on buying meanwhile; afterwards the books of both are right, and neither has a buyer of the other."""
    with in_memory() as directory, Gateway(directory, PATIENT_LOG) as g:
        g.no_limits()
        sale = g.make_sale(stock=100000, skus=[{"sku": "phone", "stock": 100000, "price": {"amount": "9.90", "currency": "CNY"}}, {"sku": "case", "stock": 7}],
                           reservation_ttl_s=600, attributes={"title": "11.11"})
        with Load(g, sale, threads=2, pause=0.01) as load:
            done = rehearse_beside(g, sale, key_file(tmp_path, new_key(g)), "--confirm-share", 0.2, "--cancel-share", 0.2, "--repeat-share", 0.3, "--json", tmp_path / "r.json")
            assert done.returncode == 0, done.stdout + done.stderr
            wait_until(lambda: load.promised() > 20, what="buyers of the live sale")
            load.stop()
        report = json.loads((tmp_path / "r.json").read_text())
        twin = report["sale"]
        assert report["twin_of"] == sale and report["proof"]["ok"] is True and report["answers"]["accepted"] == 300
        of_twin, of_sale = g.orders(twin), g.orders(sale)
        judge(g, sale, [load], 100000)
        g.assert_books(twin)
        prefix = twin.removeprefix("rehearsal-") + "-"
        assert {order["user"][:len(prefix)] for order in of_twin} == {prefix} and len(of_twin) >= 300
        assert not [order for order in of_sale if order["user"].startswith(prefix)]
        assert len(of_sale) == load.promised()
        during = [order for order in of_sale if of_twin[0]["reserved_at"] <= order["reserved_at"] <= of_twin[-1]["reserved_at"]]
        assert len(during) > 5, "nobody bought meanwhile"
        assert all(event["rehearsal"] is True for event in g.admin("GET", f"/admin/v1/sales/{twin}/log?after=0").lines())
        made = g.sale(twin)
        assert (made["twin_of"], made["rehearsal"], made["reservation_ttl_s"], made["attributes"]) == (sale, True, 600, {"title": "11.11"})
        assert [(sku["sku"], sku["price"]) for sku in made["skus"]] == [("phone", {"amount": "9.90", "currency": "CNY"})]
        assert g.metric('penstock_rehearsal_answers_total{verdict="accepted"}') == 300
        assert g.metric('penstock_answers_total{verdict="accepted"}') == load.promised()


def twins_of(g, sale):
    return [one for one in g.admin("GET", "/admin/v1/sales").json["sales"] if one.get("twin_of") == sale]


def test_a_rehearsal_whose_marks_are_not_believed_buys_nothing_and_says_why(gateway, tmp_path):
    sale = gateway.make_sale(stock=10)
    stranger = {**new_key(gateway), "secret": "ab" * 32}
    done = rehearse_beside(gateway, sale, key_file(tmp_path, stranger))
    assert done.returncode == 1 and "--rehearsal-key" in done.stderr and "nothing was bought" in done.stderr, done
    assert left(gateway, sale) == 10
    assert [(twin["state"], twin["skus"][0]["held"]) for twin in twins_of(gateway, sale)] == [("settled", 0)]


def test_a_rehearsal_stops_at_the_first_answer_of_the_live_sale(gateway, tmp_path):
    """Its key is revoked in the middle: from then on its clicks are ordinary ones."""
    sale, key = gateway.make_sale(stock=100000, per_user_cap=1), new_key(gateway)
    words = twin_words(gateway, sale, key_file(tmp_path, key), "--over", "200s", "--shape", "constant")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: [twin for twin in twins_of(gateway, sale) if twin["skus"][0]["held"] > 10], 60, what="orders of the twin")
        assert gateway.admin("DELETE", f"/admin/v1/rehearsal-keys/{key['key']}").status == 204
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and "marks were not accepted" in said and sale in said, said
    strays = gateway.orders(sale)
    assert len(strays) < 200 and f"users {strays[0]['user'].rsplit('-', 1)[0]}-*" in said, (len(strays), said)
    assert {twin["state"] for twin in twins_of(gateway, sale)} <= {"ended", "settled", "archived"}


@pytest.mark.parametrize("change,words", [({"expires_at": "in half a minute"}, "create another"), ({"secret": "xyz"}, "secret"), ({"key": None}, "key"),
                                          ({"more": 1}, "more"), ({"expires_at": "soon"}, "expires_at")])
def test_a_key_file_that_makes_no_sense_is_refused_before_anything_is_made(gateway, key, tmp_path, change, words):
    sale = gateway.make_sale()
    if change == {"expires_at": "in half a minute"}:
        change = {"expires_at": rfc3339(30)}
    done = rehearse_beside(gateway, sale, key_file(tmp_path, {**key, **change}))
    assert done.returncode == 2 and "--rehearsal-key" in done.stderr and words in done.stderr, done
    assert twins_of(gateway, sale) == []


def test_what_is_missing_for_a_rehearsal_beside_a_sale_is_named(gateway, key, tmp_path):
    path = key_file(tmp_path, key)
    for options, words in ((("--twin-of", "s"), "--rehearsal-key"), (("--rehearsal-key", path), "--twin-of"), (("--twin-of", "a b", "--rehearsal-key", path), "--twin-of"),
                           (("--twin-of", "s", "--rehearsal-key", path, "--find-capacity"), "--find-capacity"),
                           (("--twin-of", "s", "--rehearsal-key", tmp_path / "none"), "No such file")):
        done = subprocess.run([str(word) for word in (REHEARSE, "--state-dir", gateway.state, *options)], capture_output=True, text=True, timeout=30)
        assert done.returncode == 2 and words in done.stderr, done
    path.chmod(0o644)
    done = rehearse_beside(gateway, gateway.make_sale(), path)
    assert done.returncode == 2 and "chmod 600" in done.stderr, done
    done = rehearse_beside(gateway, "no-such-sale", key_file(tmp_path, key))
    assert done.returncode == 1 and "no-such-sale" in done.stderr and "404" in done.stderr, done
