"""What it costs to stand before a shop, beside nginx as a reverse proxy that does the same, in the same run: on the server's core one of the two, on the other core wrk and
the shop, an nginx that serves files. Both keep connections to the shop; neither writes an access log; nginx keeps its cache in memory where that is possible, and no
part of an answer in a temporary file.

- cache_hit: 4 KiB from the cache. forward: 4 KiB from the shop each time. body_1mb: 1 MiB from the shop; all requests are of one length, so the ratio a request is that a byte.
- buy_beside_pages: a buyer's p99 at a steady rate beside 10,000 page requests a second (cache hits), by the p99 of the same rate alone, in turn; open loop. On a machine
  where others work, too, look at how late the buyers were sent: that is in both figures."""
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time

from harness import LOAD_CORE, RELEASE, ROOT, SERVER_CORE, Nginx, Penstock, free_port, get_request, judge, median_row, raw_answer, start, wait_for, wrk

BARS = {"cache_hit": 1.0, "forward": 1.1, "body_1mb": 1.1, "buy_beside_pages": 1.2}
PATHS = {"cache_hit": "/cached/page.html", "forward": "/page.html", "body_1mb": "/picture.jpg"}
CONNECTIONS = {"cache_hit": 256, "forward": 64, "body_1mb": 16}
PAGE_BYTES, PICTURE_BYTES = 4096, 1 << 20
PAGES_PER_SECOND, BUYERS_PER_SECOND = 10000, 300
TEMPORARY = "".join(f'{kind}_temp_path "{{here}}/tmp"; ' for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))


class OneNginx:
    """An nginx with one worker on a core; `site` is the inside of its http block."""

    def __init__(self, directory, name, core, site):
        self.port, here = free_port(), directory / name
        here.mkdir()
        (here / "nginx.conf").write_text(f"""
{"user root;" if os.geteuid() == 0 else ""} worker_processes 1; daemon off; pid "{here}/nginx.pid"; error_log "{here}/error.log"; worker_rlimit_nofile 8192; events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 1000000000; sendfile on; tcp_nopush on; {TEMPORARY.format(here=here)} {site(self.port, here)} }}""")
        self.process = start(["taskset", "-c", core, "nginx", "-c", str(here / "nginx.conf"), "-e", str(here / "error.log")])
        wait_for(lambda: socket.create_connection(("127.0.0.1", self.port), 1).close() is None, name)

    pids = Nginx.pids
    stop = Nginx.stop


def shop(directory):
    """Files, with the validators and freshness that a shop gives them."""
    root = directory / "files"
    (root / "cached").mkdir(parents=True)
    page = ("<p>A lamp.</p>\n" * PAGE_BYTES)[:PAGE_BYTES]
    (root / "page.html").write_text(page)
    (root / "cached" / "page.html").write_text(page)
    (root / "picture.jpg").write_bytes(random.randbytes(PICTURE_BYTES))
    return OneNginx(directory, "shop", LOAD_CORE, lambda port, here: f"""
open_file_cache max=100; types {{ text/html html; image/jpeg jpg; }}
server {{ listen 127.0.0.1:{port} backlog=4096; root "{root}"; location /cached/ {{ add_header Cache-Control "public, max-age=3600"; }} }}""")


def proxy(directory, port_of_shop):
    return OneNginx(directory, "proxy", SERVER_CORE, lambda port, here: f"""
proxy_cache_path "{here}/cache" keys_zone=pages:10m max_size=64m use_temp_path=off; open_file_cache max=100;
proxy_http_version 1.1; proxy_max_temp_file_size 0; proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k; proxy_set_header Connection ""; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
proxy_set_header X-Forwarded-Proto $scheme;
upstream shop {{ server 127.0.0.1:{port_of_shop}; keepalive 256; keepalive_requests 1000000000; }}
server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://shop; }} location /cached/ {{ proxy_cache pages; proxy_pass http://shop; }} }}""")


def route_pages(penstock, port_of_shop):
    penstock.turn_overload_off()
    penstock.admin("PUT", "/admin/v1/caches/pages", {"bytes": 64 << 20})
    penstock.admin("PUT", "/admin/v1/pools/shop", {"endpoints": [{"address": f"127.0.0.1:{port_of_shop}"}]})
    penstock.admin("PUT", "/admin/v1/routes/all", {"path": "/", "class": "core", "pool": "shop"})
    penstock.admin("PUT", "/admin/v1/routes/cached", {"path": "/cached/", "class": "core", "pool": "shop", "cache": {"store": "pages"}})


def check_answers(subjects, cases):
    """Each gives the same body, and a second one of what may be cached does not come from the shop."""
    for case in cases:
        bodies = set()
        for subject in subjects.values():
            for _ in range(2):
                answer = raw_answer(subject.port, get_request(PATHS[case]))
            if not answer.startswith(b"HTTP/1.1 200"):
                sys.exit(f"bench: {case}: {answer[:300]}")
            bodies.add(answer.split(b"\r\n\r\n", 1)[1])
        if len(bodies) != 1:
            sys.exit(f"bench: {case}: not the same body from both")
    if "cache_hit" in cases and b"hit" not in raw_answer(subjects["penstock"].port, get_request(PATHS["cache_hit"])).split(b"\r\n\r\n")[0].lower().split(b"cache-status")[-1]:
        sys.exit("bench: cache_hit: the answer is not from the cache")


def compare(subjects, cases, rounds, seconds):
    """In every round each case by both, one directly after the other."""
    found = {(case, name): [] for case in cases for name in subjects}
    for number in range(rounds):
        for case in cases:
            for name in random.sample(list(subjects), 2):
                row = wrk(subjects[name], PATHS[case], "page.lua", seconds, CONNECTIONS[case], "one", "p")
                if row["not_2xx"] + row["errors"] > row["requests"] * 0.001:
                    sys.exit(f"bench: {case} by {name}: not the answers that were to be measured: {row}")
                found[case, name].append(row)
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return found


def rehearse(penstock, report, rate, seconds, *options, under=()):
    return subprocess.Popen(
        ["taskset", "-c", LOAD_CORE, *under, str(RELEASE / "loadtest" / "penstock-rehearse"), "--public", f"http://127.0.0.1:{penstock.port}",
         "--admin", f"http://127.0.0.1:{penstock.admin_port}", "--state-dir", str(penstock.state), "--rate", str(rate), "--duration", f"{seconds}s",
         "--unique-users", "--stock", str(rate * seconds * 2), "--connections", "64", "--json", str(report), "--summary", *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def told_by(rehearsal, report):
    out = rehearsal.communicate()[0]
    if rehearsal.returncode != 0:
        sys.exit(f"bench: penstock-rehearse failed ({rehearsal.returncode}):\n{out[-2000:]}")
    return json.loads(report.read_text())


def buyers_p99(penstock, directory, seconds, pages):
    """ms, of accepted orders; with `pages`, beside as many page requests a second. Those come from a program of their own that gives way to the buyers', so that not
    the load itself makes buyers late; it begins before them and ends after them."""
    of_buyers, of_pages, visitors = directory / "buyers.json", directory / "pages.json", None
    if pages:
        visitors = rehearse(penstock, of_pages, 1, seconds + 3, "--pages", PATHS["cache_hit"], "--pages-rate", str(PAGES_PER_SECOND), under=("nice", "-n", "19"))
        time.sleep(1.5)
    told = told_by(rehearse(penstock, of_buyers, BUYERS_PER_SECOND, seconds), of_buyers)
    seen = told_by(visitors, of_pages)["pages"] if pages else None
    if pages and seen["answered"] < 0.99 * PAGES_PER_SECOND * (seconds + 3):
        sys.exit(f"bench: only {seen['answered']} pages were answered within {seconds + 3} s")
    return {"late_ms": told["client"]["sent_late_ms"]["p99"], "p50_ms": told["latency_ms"]["accepted"]["p50"], "p99_ms": told["latency_ms"]["accepted"]["p99"],
            "pages_p99_ms": seen["latency_ms"]["all"]["p99"] if pages else None}


def buy_beside_pages(penstock, directory, rounds, seconds):
    penstock.lift_limits()
    found = {False: [], True: []}
    for number in range(rounds):
        for pages in random.sample((False, True), 2):
            found[pages].append(buyers_p99(penstock, directory, seconds, pages))
        print(f"buyers: round {number + 1} of {rounds}", file=sys.stderr)
    return found


def run(directory, cases, rounds, seconds):
    origin = shop(directory)
    penstock = Penstock(directory)
    route_pages(penstock, origin.port)
    subjects = {"penstock": penstock, "nginx": proxy(directory, origin.port)}
    ways = [case for case in cases if case in PATHS]
    check_answers(subjects, ways)
    found = compare(subjects, ways, rounds, seconds)
    result = {"rows": [median_row(case, name, rows) for (case, name), rows in found.items()], "ratios": {}, "bars": {case: BARS[case] for case in cases}}
    print(f"{'case':18}{'subject':10}{'requests/s':>12}{'CPU us/req':>12}{'quartiles':>20}{'p50 ms':>9}{'p99 ms':>9}")
    for row in result["rows"]:
        print(f"{row['case']:18}{row['subject']:10}{row['requests_per_second']:12.0f}{row['cpu_us_per_request']:12.2f}{str(row['cpu_us_quartiles']):>20}"
              f"{row['p50_ms']:9.2f}{row['p99_ms']:9.2f}")
    print()
    for case in ways:
        result["ratios"][case] = round(statistics.median(a["cpu_us_per_request"] / b["cpu_us_per_request"] for a, b in zip(found[case, "penstock"], found[case, "nginx"])), 3)
        print(f"{case:18} CPU a {'byte' if case == 'body_1mb' else 'request'}, penstock / nginx: {verdict(result, case)}")
    if "buy_beside_pages" in cases:
        both = buy_beside_pages(penstock, directory, rounds, seconds)
        for pages, name in ((False, "alone"), (True, "beside_pages")):
            middle = {key: round(statistics.median(row[key] for row in both[pages]), 3) for key in ("p50_ms", "p99_ms", "late_ms")}
            result["rows"].append({"case": "buy_beside_pages", "subject": name, "requests_per_second": BUYERS_PER_SECOND, **middle, "rounds": rounds})
            print(f"{'buy_beside_pages':18}{name:13} p50 {middle['p50_ms']:.2f} ms, p99 {middle['p99_ms']:.2f} ms; this machine's buyers were sent late by p99 {middle['late_ms']:.2f} ms")
        result["ratios"]["buy_beside_pages"] = round(statistics.median(b["p99_ms"] / a["p99_ms"] for a, b in zip(both[False], both[True])), 3)
        print(f"{'buy_beside_pages':18} a buyer's p99 beside {PAGES_PER_SECOND:,} pages a second / alone: {verdict(result, 'buy_beside_pages')}; "
              f"p99 of a page {statistics.median(row['pages_p99_ms'] for row in both[True]):.2f} ms")
    for subject in (penstock, subjects["nginx"], origin):
        subject.stop()
    return result


def verdict(result, case):
    ratio = result["ratios"][case]
    return f"{ratio:.2f}  (bar {BARS[case]}, {judge(ratio <= BARS[case])})"
