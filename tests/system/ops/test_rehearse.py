"""The load tool as an operator uses it: it reports wrong options at once, and it leaves nothing behind."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import urllib.request
from collections import Counter

import pytest
from faults import preloaded
from pages import put_pool, put_route
from penstock import ANY_VERSION, PATIENT_LOG, REHEARSE, Gateway, call, free_port, wait_until
from upstreams import Reply, Upstream

# "localhost" as many machines have it: ::1 first.
NAMES = """#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (node == NULL || strcmp(node, "localhost") != 0)
        return real(node, service, hints, found);
    int failed = real("::1", service, hints, found);
    return failed != 0 ? failed : real("127.0.0.1", service, hints, &(*found)->ai_next);
}
"""


@pytest.fixture(scope="module")
def gateway():
    with Gateway(settings=PATIENT_LOG) as g:
        yield g


def words_of(gateway, *options, public=None):
    words = [REHEARSE, "--public", public or f"http://127.0.0.1:{gateway.port}", "--admin", f"http://127.0.0.1:{gateway.admin_port}",
             "--state-dir", gateway.state, "--buyers", "50", "--stock", "10", "--over", "1s", *options]
    return list(map(str, words))


def rehearse(gateway, *options, public=None, env=None):
    return subprocess.run(words_of(gateway, *options, public=public), capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})})


def sales(gateway):
    return {sale["sale"]: sale["state"] for sale in gateway.admin("GET", "/admin/v1/sales").json["sales"] if sale["sale"].startswith("rehearsal-")}


def test_a_report_that_cannot_be_written_is_said_before_anybody_comes(gateway, tmp_path):
    before = sales(gateway)
    for option in ("--json", "--html"):
        done = rehearse(gateway, option, tmp_path / "no-such-directory" / "report")
        assert done.returncode == 2 and option in done.stderr and "No such file or directory" in done.stderr, done
    assert sales(gateway) == before


def test_a_patience_longer_than_the_timeout_is_refused(gateway):
    done = rehearse(gateway, "--patience", "3s", "--timeout", "2s")
    assert done.returncode == 2 and "--patience" in done.stderr and "--timeout" in done.stderr, done


def test_answers_in_time_are_counted(gateway, tmp_path):
    done = rehearse(gateway, "--quiet", "--in-time", "10s", "--patience", "5s", "--json", tmp_path / "r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert done.returncode == 0, done
    assert report["in_time"] == {"within_ms": 10000, "answers": report["answers"]}
    assert report["client"]["patience_ms"] == 5000


def test_several_skus_quantities_and_caps_are_met_and_proved(gateway, tmp_path):
    """Buyers with wishes for more than the caps allow are refused, and the units of each SKU are right."""
    done = rehearse(gateway, "--buyers", 600, "--stock", 1500, "--over", "2s", "--skus", 3, "--quantity", "1..3", "--cap", 4, "--sku-cap", 3, "--repeat-share", 0.5,
                    "--confirm-share", 0.2, "--cancel-share", 0.2, "--json", tmp_path / "r.json", "--html", tmp_path / "r.html")
    assert done.returncode == 0 and "rehearsal-3" in done.stdout, done
    report = json.loads((tmp_path / "r.json").read_text())
    sale = gateway.admin("GET", f"/admin/v1/sales/{report['sale']}").json
    assert (sale["per_user_cap"], [sku["per_user_cap"] for sku in sale["skus"]]) == (4, [3, 3, 3])
    assert [sku["sku"] for sku in report["stock"]["skus"]] == ["rehearsal", "rehearsal-2", "rehearsal-3"] == [sku["sku"] for sku in sale["skus"]]
    assert all(sku["total"] == 500 and sku["confirmed"] > 0 and sku["released"] > 0 for sku in report["stock"]["skus"])
    assert report["answers"]["user_limit"] > 20, report["answers"]
    orders = gateway.orders(report["sale"])
    assert {order["quantity"] for order in orders} == {1, 2, 3}
    units = Counter()
    for order in orders:
        units[order["user"]] += order["quantity"] if order["state"] != "released" else 0
    assert max(units.values()) == 4
    assert "rehearsal-3" in (tmp_path / "r.html").read_text()


def check(gateway, history, sale):
    words = [REHEARSE, "--admin", f"http://127.0.0.1:{gateway.admin_port}", "--public", f"http://127.0.0.1:{gateway.port}", "--state-dir", gateway.state,
             "--check-history", history, "--sale", sale]
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=60)


def test_what_clients_saw_is_written_and_judged(gateway, tmp_path):
    """Once more from the file, as it is and with a lie in it."""
    history = tmp_path / "h.jsonl"
    done = rehearse(gateway, "--buyers", 200, "--stock", 100, "--confirm-share", 0.5, "--cancel-share", 0.2, "--history", history, "--json", tmp_path / "r.json")
    sale = json.loads((tmp_path / "r.json").read_text())["sale"]
    assert done.returncode == 0 and re.search(r"ok +history +what clients saw in [\d,]+ operations fits", done.stdout), done
    lines = [json.loads(line) for line in history.read_text().splitlines()]
    assert {line["type"] for line in lines} >= {"invoke", "ok", "fail"} and {line["f"] for line in lines} == {"buy", "read", "confirm", "cancel"}
    assert all(line.keys() == {"process", "type", "f", "value", "time"} for line in lines)
    done = check(gateway, history, sale)
    assert done.returncode == 0 and "fits the log" in done.stdout, done

    def lie(about, **value):
        number = next(i for i, line in enumerate(lines) if line["type"] == "ok" and about(line))
        changed = [dict(line) for line in lines]
        changed[number] = {**changed[number], "value": {**changed[number]["value"], **value}}
        history.write_text("".join(json.dumps(line) + "\n" for line in changed))
        done = check(gateway, history, sale)
        assert done.returncode == 1 and f"line {number + 1}" in done.stdout.replace("lines", "line").replace("and ", "line "), done
        return done.stdout

    promised = {line["value"]["order_id"] for line in lines if line["f"] == "buy" and line["value"].get("state") == "accepted"}
    assert "lost: " in lie(lambda line: line["f"] == "buy" and line["value"]["state"] == "accepted", order_id="01900000-0000-7000-8000-000000000009")
    assert "lost: " in lie(lambda line: line["f"] == "cancel", state="confirmed")
    assert "back: " in lie(lambda line: line["f"] == "read" and line["value"]["order_id"] in promised, state=None)
    history.write_text('{"process":1,"type":"invoke"}\n')
    done = check(gateway, history, sale)
    assert done.returncode == 2 and "line 1: /f is missing" in done.stderr, done
    assert rehearse(gateway, "--check-history", history).returncode == 2
    done = rehearse(gateway, "--history", tmp_path / "no-such-directory" / "h")
    assert done.returncode == 2 and "--history" in done.stderr, done


@pytest.mark.slow
def test_what_clients_saw_fits_the_log_when_the_gateway_is_killed_in_the_middle(tmp_path):
    with Gateway(settings=PATIENT_LOG) as gateway:
        words = words_of(gateway, "--buyers", 4000, "--stock", 3000, "--over", "4s", "--shape", "step", "--retry", 100, "--history", tmp_path / "h.jsonl", "--json", tmp_path / "r.json")
        running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert "offered" in running.stderr.readline()
        gateway.kill()
        gateway.start()
        out, err = running.communicate(timeout=120)
    assert running.returncode == 0, (out, err)
    report = json.loads((tmp_path / "r.json").read_text())
    assert re.search(r"ok +history +what clients saw in [\d,]+ operations fits", out), (out, err)
    assert '"type":"info"' in (tmp_path / "h.jsonl").read_text()
    lost = report["proof"]["found_again"] + report["proof"]["unreported"]
    assert report["proof"]["orders"] == report["answers"]["accepted"] + report["proof"]["pending"]["accepted"] + lost, report["proof"]


def report_on(gateway, sale, *options):
    words = [REHEARSE, "--public", f"http://127.0.0.1:{gateway.port}", "--admin", f"http://127.0.0.1:{gateway.admin_port}", "--state-dir", gateway.state,
             "--report-sale", sale, *options]
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=60)


def test_a_real_sale_is_reported_on_while_it_sells_and_when_it_is_over(gateway, tmp_path):
    """Nothing is played: what the log, the audit and the gateway's memory say."""
    sale = gateway.make_sale(skus=[{"sku": "phone", "stock": 5}, {"sku": "case", "stock": 9}], per_user_cap=3, reservation_ttl_s=1800)
    ids = [gateway.buy(sale, user, sku=sku, quantity=quantity, key=key).json["order_id"] for user, sku, quantity, key in
           (("ann", "phone", 2, "1"), ("ann", "case", 1, "2"), ("bob", "phone", 1, "3"), ("cid", "case", 3, "4"))]
    assert gateway.admin("POST", f"/admin/v1/orders/{ids[0]}/confirm").status == 200
    assert gateway.admin("POST", f"/admin/v1/orders/{ids[2]}/cancel").status == 200
    html, file = tmp_path / "s.html", tmp_path / "s.json"
    for state in ("open", "ended"):
        done = report_on(gateway, sale, "--html", html, "--json", file)
        assert done.returncode == 0 and f"Sale {sale} ({state})" in done.stdout and "The audit found no difference" in done.stdout, done
        report = json.loads(file.read_text())
        assert [(sku["sku"], sku["total"], sku["sold"], sku["confirmed"], sku["released"]) for sku in report["stock"]["skus"]] == [("phone", 5, 2, 2, 1), ("case", 9, 4, 0, 0)]
        assert {row["name"]: (row["orders"], row["units"]) for row in report["outcomes"]} == {"confirmed": (1, 2), "accepted, not paid yet": (2, 4), "cancelled": (1, 1)}
        assert (report["buyers"], report["empty_handed"]) == (3, 1) and [(row["units"], row["buyers"]) for row in report["buyers_by_units"]] == [(3, 2)]
        assert sum(report["timeline"]["units"]) == 7 and report["proof"]["ok"] is True
        page = html.read_text()
        assert "Who got what" in page and "The audit found no difference" in page and "http:" not in page and "How it was run" not in page
        assert gateway.admin("POST", f"/admin/v1/sales/{sale}/end").status == 200
    assert gateway.admin("GET", f"/admin/v1/sales/{sale}").json["state"] == "ended"  # and nothing else has changed
    wait_until(lambda: "accepted" in report_on(gateway, sale).stdout.partition("the gateway answered about:")[2], what="the second of the orders is in the history")
    done = report_on(gateway, "no-such-sale")
    assert done.returncode == 1 and "404" in done.stderr, done
    done = report_on(gateway, sale, "--html", tmp_path / "no-such-directory" / "s")
    assert done.returncode == 2 and "--html" in done.stderr, done


def test_visitors_of_pages_are_counted_apart_from_buyers(gateway, tmp_path):
    """3 of 4 ask for a page that is there; buyers notice nothing of those that get a 404."""
    report = tmp_path / "report.json"
    done = rehearse(gateway, "--pages", "/livez=3,/nowhere/at/all=1", "--pages-rate", "2000", "--connections", "20", "--json", report, "--html", tmp_path / "r.html")
    assert done.returncode == 0 and "Pages:   2,000 requests: " in done.stdout, done
    data = json.loads(report.read_text())
    pages = data["pages"]
    assert pages["offered"] == pages["answered"] == 2000 and pages["answers"].keys() == {"http_200", "not_found"}, pages
    assert 1400 < pages["answers"]["http_200"] < 1600 and pages["latency_ms"]["all"]["count"] == 2000
    assert [(path["path"], path["offered"] > 400) for path in pages["paths"]] == [("/livez", True), ("/nowhere/at/all", True)]
    page = (tmp_path / "r.html").read_text()
    assert "Pages beside the sale" in page and '<th scope="row">/livez</th>' in page and f"http_200 {pages['answers']['http_200']:,}" in page
    assert "not_found" not in data["answers"] and data["answers"]["accepted"] == 10


def test_the_text_says_what_the_cache_did_for_visitors(gateway):
    with Upstream(lambda request: Reply(body="page", headers={"Cache-Control": "public, max-age=600"})) as shop:
        put_pool(gateway, "shop", shop)
        put_route(gateway, "shop", path="/shop/", pool="shop", cache={"store": "default"})
        done = rehearse(gateway, "--pages", "/shop/1", "--pages-rate", "50")
        assert re.search(r"Pages:   50 requests: http_200 50; .*; cache .*hit \d+", done.stdout), done


def test_a_mix_of_pages_that_cannot_be_meant_is_said_before_anybody_comes(gateway):
    for options, word in ((["--pages", "reviews=1"], "is not a path"), (["--pages", "/a=0"], "weight"), (["--pages", "@/nowhere/at/all"], "No such file"),
                          (["--pages-rate", "5"], "needs --pages"), (["--pages", "/a", "--pages-rate", "1e7", "--over", "1h"], "--pages-rate")):
        done = rehearse(gateway, *options)
        assert done.returncode == 2 and word in done.stderr, (options, done)


def test_a_rehearsal_that_nobody_answers_leaves_no_open_sale(gateway):
    before = sales(gateway)
    done = rehearse(gateway, public=f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1, done
    assert [state for sale, state in sales(gateway).items() if sale not in before] == ["settled"], done


def test_a_rehearsal_that_lets_nobody_in_proves_nothing(tmp_path):
    """The audit of a sale without a buyer finds no difference, which proves nothing."""
    with Gateway(settings={"trusted_proxies": []}) as gateway:
        for options, to_look_for in ((("--summary", "--html", tmp_path / "r.html", "--json", tmp_path / "r.json"), "unauthenticated"), ((), "FAILED tried")):
            done = rehearse(gateway, "--quiet", *options)
            assert done.returncode == 1 and "THE RUN PROVES NOTHING" in done.stdout and to_look_for in done.stdout, done
            assert "proof holds" not in done.stdout and "trusted_proxies" in done.stdout, done
        page = (tmp_path / "r.html").read_text()
        assert "The run proves nothing" in page and "The proof holds" not in page and "trusted_proxies" in page
        assert json.loads((tmp_path / "r.json").read_text())["proof"]["ok"] is False


def test_buyers_come_from_addresses_of_their_own_also_by_the_header_of_a_cdn():
    rule = {"algorithm": "token_bucket", "key": "ip", "rate": 1, "period_s": 60, "burst": 1, "mode": "enforce"}
    with Gateway(settings={"client_ip_header": "CF-Connecting-IP"}) as gateway:
        assert gateway.admin("PUT", "/admin/v1/limits/ip", rule, ANY_VERSION).status in (200, 204)
        done = rehearse(gateway, "--repeat-share", 0)
        assert "ip_rate" in done.stdout and "--client-ip-header" in done.stdout, done
        done = rehearse(gateway, "--repeat-share", 0, "--client-ip-header", "CF-Connecting-IP")
        assert done.returncode == 0 and "ip_rate" not in done.stdout, done
    done = rehearse(gateway, "--client-ip-header", "CF Connecting")
    assert done.returncode == 2 and "--client-ip-header" in done.stderr, done


def test_urls_that_cannot_be_meant_are_said_at_once(gateway):
    before = sales(gateway)
    for public, words in ((f"http://127.0.0.1:{gateway.admin_port}", "--admin"), (f"http://localhost:{gateway.admin_port}", "--admin"), (f"https://127.0.0.1:{gateway.port}", "TLS")):
        done = rehearse(gateway, public=public)
        assert done.returncode == 2 and words in done.stderr, done
    assert sales(gateway) == before


def test_a_token_that_is_not_there_names_the_option_that_says_where(gateway, tmp_path):
    for option in ("--state-dir", "--token-file"):
        done = rehearse(gateway, option, tmp_path / "nothing")
        assert done.returncode == 2 and option in done.stderr and "nothing" in done.stderr, done


def test_localhost_is_the_address_that_answers(gateway, tmp_path):
    done = rehearse(gateway, public=f"http://localhost:{gateway.port}", env=preloaded(tmp_path, NAMES))
    assert done.returncode == 0, done


def test_a_threshold_that_is_crossed_ends_with_99_and_is_named(gateway, tmp_path):
    """Half of the clicks come too late for a unit: 50 buyers, 10 units."""
    done = rehearse(gateway, "--thresholds", "no_answer=0,p99=1m", "--json", tmp_path / "r.json", "--html", tmp_path / "r.html")
    assert done.returncode == 0 and "ok      no_answer" in done.stdout, done
    page = (tmp_path / "r.html").read_text()
    assert "The criteria are met" in page and "ok      no_answer" in page
    done = rehearse(gateway, "--thresholds", "no_answer=0,sold_out=1%,p99=1m", "--json", tmp_path / "r.json", "--summary", "--html", tmp_path / "r.html")
    assert done.returncode == 99 and "CROSSED sold_out" in done.stdout and "ok      p99" in done.stdout, done
    page = (tmp_path / "r.html").read_text()
    assert "The proof holds" in page and "The criteria are not met" in page and "CROSSED sold_out" in page
    judged = {row["name"]: row for row in json.loads((tmp_path / "r.json").read_text())["thresholds"]}
    assert judged["sold_out"]["ok"] is False and judged["sold_out"]["value"] > 0.5 and judged["sold_out"]["bound"] == 0.01
    assert judged["p99"]["ok"] is True and judged["p99"]["unit"] == "ms" and judged["p99"]["bound"] == 60000


def test_a_proof_that_fails_weighs_more_than_a_threshold():
    with Gateway(settings={"trusted_proxies": []}) as g:
        done = rehearse(g, "--thresholds", "unauthenticated=0")
        assert done.returncode == 1 and "CROSSED unauthenticated" in done.stdout, done


def test_two_runs_are_compared_and_what_has_regressed_is_named(gateway, tmp_path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    assert rehearse(gateway, "--json", old).returncode == 0
    report = json.loads(old.read_text())
    for figures in (*report["latency_ms"].values(), report["client"]["sent_late_ms"]):  # two short runs are never equally fast
        figures.update({name: 60000 for name in figures if name != "count"})
    old.write_text(json.dumps(report))
    done = rehearse(gateway, "--baseline", old, "--regression", 1, "--thresholds", "p99=1m")
    assert done.returncode == 0 and "0 figures are worse" in done.stdout and "runs differ" not in done.stdout, done
    report = json.loads(old.read_text())
    report["answers"]["accepted"] = report["offered"]  # all of them got an order then
    report["plan"]["buyers"] = 49
    old.write_text(json.dumps(report))
    done = rehearse(gateway, "--baseline", old, "--json", new)
    assert done.returncode == 99 and "REGRESSED" in done.stdout and "plan.buyers was 49, is 50" in done.stdout, done
    figures = {row["name"]: row for row in json.loads(new.read_text())["baseline"]["figures"]}
    assert figures["goodput"]["regressed"] is True and figures["goodput"]["old"] == 1 and "regressed" not in figures["max"]


def test_criteria_that_make_no_sense_are_said_before_anybody_comes(gateway, tmp_path):
    before = sales(gateway)
    for words, said in ((("--thresholds", "p99=fast"), "p99"), (("--baseline", tmp_path / "none.json"), "--baseline"), (("--regression", "0.2"), "needs --baseline")):
        done = rehearse(gateway, *words)
        assert done.returncode == 2 and said in done.stderr, done
    assert sales(gateway) == before


@pytest.fixture
def silence():
    """Where connections are taken, and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0), backlog=2000) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_plan_that_was_played_to_its_end_is_not_called_interrupted(gateway, silence, tmp_path):
    """Ctrl-C comes when the last click has been sent, and only answers are missing."""
    words = words_of(gateway, "--over", "200ms", "--timeout", "2s", "--repeat-share", "0", "--connections", "50", "--json", tmp_path / "r.json", public=silence)
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert any("offered 50" in line for line in running.stderr)  # a line a second
    running.send_signal(signal.SIGINT)
    out = running.communicate(timeout=30)[0]
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["offered"] == 50 and report["interrupted"] is False and "interrupted" not in out, out


def is_pending(pid, number):
    """Sent, and not heard yet: a second one would be the same."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return any(int(mask, 16) >> (number - 1) & 1 for mask in re.findall(r"^(?:Sig|Shd)Pnd:\s*(\w+)$", status, re.M))


def test_told_twice_to_stop_it_gives_up(gateway, silence):
    words = words_of(gateway, "--timeout", "5m", "--connections", "50", public=silence)
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "offered" in running.stderr.readline()
    running.send_signal(signal.SIGINT)
    wait_until(lambda: not is_pending(running.pid, signal.SIGINT), what="the first word heard")
    assert "offered" in running.stderr.readline()  # the buyers who came may still get their answers
    running.send_signal(signal.SIGINT)
    out = running.communicate(timeout=30)[0]
    assert running.returncode == 1 and "COULD NOT BE MADE: told to stop" in out, out


def test_the_report_shows_what_happened_in_the_gateway(gateway, tmp_path):
    done = rehearse(gateway, "--quiet", "--over", "3s", "--html", tmp_path / "r.html", "--json", tmp_path / "r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    saw = report["gateway_saw"]
    assert done.returncode == 0 and saw["version"] in done.stdout, done
    assert saw["settings"]["listen"]["port"] == gateway.port and "user" in saw["documents"]["limits"]
    points = len(saw["signals"]["loop_delay_ms"]["points"])
    assert points >= 3 and len(saw["pressure"]) == points and -2000 <= saw["from_ms"] <= 1000
    assert sum(filter(None, saw["answers"]["accepted"])) > 0 and max(filter(None, saw["order_p99_ms"])) > 0
    assert any(report["timeline"]["latency_ms"]["admitted"]["p99"])
    page = (tmp_path / "r.html").read_text()
    assert "loop_delay_ms" in page and 'class="end"' in page and "http:" not in page


def test_a_live_page_shows_the_rehearsal_while_it_runs(gateway):
    port = free_port()
    running = subprocess.Popen(words_of(gateway, "--quiet", "--over", "60s", "--live", port), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        seen = wait_until(lambda: shown(port), what="the live page has seen a second, and the gateway")
        assert sum(seen["timeline"]["offered"]) > 0 and seen["sale"].startswith("rehearsal-")
        state = relayed(port)
        assert state["ready"] and [sale["sale"] for sale in state["sales"]].count(seen["sale"]) == 1
        assert call(port, "GET", "/overload").json["history"]["points"] >= 0
        page = call(port, "GET", "/")
        assert page.status == 200 and "default-src 'none'" in page.headers["content-security-policy"]
        for name in re.findall(r'(?:src|href)="([^"]+)"', page.text):
            assert call(port, "GET", "/" + name).status == 200, name
        for path in ("/", "/events", "/overload", "/crowd"):
            assert call(port, "GET", path, headers={"Host": "shop.example"}).status == 421
            assert call(port, "GET", path, headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}).status == 403
            assert call(port, "POST", path).status == 405
        assert call(port, "GET", "/else").status == 404 and call(port, "GET", "/../live.c").status in (400, 404)
        assert gateway.token not in page.text + json.dumps(state)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
        assert running.returncode == 0 and f"http://127.0.0.1:{port}/" in err, (out, err)
    finally:
        running.kill()
        running.wait()
    with socket.create_server(("127.0.0.1", port)):
        done = rehearse(gateway, "--live", port)
        assert done.returncode == 1 and "--live" in done.stderr, done


def shown(port):
    """What the page draws; None: it has nothing to draw yet."""
    try:
        data = call(port, "GET", "/crowd").json
    except OSError:
        return None
    return data if data.get("timeline") else None


def relayed(port):
    """The next event of the gateway, as the live page gets it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/events", timeout=30) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        return next(json.loads(line[len(b"data: "):]) for line in answer if line.startswith(b"data: {"))
