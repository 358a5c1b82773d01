"""What open consoles cost: the CPU time of a gateway at rest with none, one and ten, and the p99 of buyers beside ten. A console reads the events once
a second, so that is what is opened; the quickstart's crowd plays in turn with them and without. And how soon the console is there: a Chromium opens it,
with nothing in its cache and again; a file without scripts says what the browser itself takes on this machine at this moment."""
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time

import harness

READERS = 10
CROWD = ["--buyers", "20000", "--stock", "1000", "--skus", "2", "--over", "3s", "--repeat-share", "0.2"]
IDLE_BAR, P99_BAR = 0.005, 1.05
LOADS, LOAD_BAR_MS, FIGURES_BAR_MS = 15, 300, 1500


class Console:
    """Reads events until it is closed."""

    def __init__(self, penstock):
        self.events = 0
        self.socket = socket.create_connection(("127.0.0.1", penstock.admin_port), 10)
        self.socket.settimeout(None)
        self.socket.sendall(f"GET /admin/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {penstock.token}\r\n\r\n".encode())
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        while data := self.socket.recv(65536):
            self.events += data.count(b"event: state")

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()


class Consoles:
    def __init__(self, penstock, count):
        self.penstock, self.count = penstock, count

    def __enter__(self):
        self.open = [Console(self.penstock) for _ in range(self.count)]
        return self

    def __exit__(self, *_):
        for one in self.open:
            one.close()


def at_rest(penstock, count, seconds):
    """Cores."""
    with Consoles(penstock, count) as consoles:
        time.sleep(2)
        before = harness.cpu_seconds(penstock.pids())
        time.sleep(seconds)
        cores = (harness.cpu_seconds(penstock.pids()) - before) / seconds
        if any(one.events < seconds for one in consoles.open):
            sys.exit("bench: a console was not served once a second")
    return cores


def rehearse(penstock, directory, count):
    """p99 in ms of all answers, and what the gateway paid for an answer."""
    report = directory / "rehearsal.json"
    with Consoles(penstock, count):
        time.sleep(1)
        before = harness.cpu_seconds(penstock.pids())
        ran = subprocess.run(["taskset", "-c", harness.LOAD_CORE, str(harness.RELEASE / "loadtest" / "penstock-rehearse"), "--public", f"http://127.0.0.1:{penstock.port}",
                              "--admin", f"http://127.0.0.1:{penstock.admin_port}", "--state-dir", str(penstock.state), *CROWD, "--json", str(report), "--summary"],
                             capture_output=True, text=True)
        spent = harness.cpu_seconds(penstock.pids()) - before
    if ran.returncode != 0:
        sys.exit(f"bench: penstock-rehearse failed ({ran.returncode}):\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    said = json.loads(report.read_text())
    return {"p99_ms": said["latency_ms"]["all"]["p99"], "cpu_us": spent / said["answered"] * 1e6}


# When a page was painted first, and when all of it was loaded, in ms since it was asked for.
PAINTED = """() => new Promise(resolve => new PerformanceObserver(list => {
    const painted = list.getEntriesByName('first-contentful-paint')[0];
    if (painted)
        resolve({painted: painted.startTime, loaded: performance.getEntriesByType('navigation')[0].loadEventEnd});
}).observe({type: 'paint', buffered: true}))"""
FIGURES = """() => new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error('no figures within 30 s')), 30000);
    const began = performance.now();
    new MutationObserver(() => document.querySelector('.pulse.live') && resolve(performance.now() - began)).observe(document.body, {subtree: true, childList: true, attributes: true});
    document.querySelector('button[type=submit]').click();
})"""


def open_page(context, url, token=None):
    page = context.new_page()
    page.goto(url)
    times = page.evaluate(PAINTED)
    if token is not None:
        page.fill("#token", token)
        times["figures"] = page.evaluate(FIGURES)
    page.close()
    return times


def load_pages(penstock):
    """Medians and worst, in ms."""
    sys.path.insert(0, str(harness.ROOT / "tests/system"))
    from browser import launch, playwright
    url = f"http://127.0.0.1:{penstock.admin_port}/console/"
    with playwright().sync_playwright() as driver:
        browser = launch(driver)
        kept = browser.new_context()
        open_page(kept, url)
        rows = {"file": [], "cold": [], "again": []}
        for _ in range(LOADS):
            fresh = browser.new_context()
            rows["file"].append(open_page(fresh, url + "style.css"))
            rows["cold"].append(open_page(fresh, url, penstock.token))
            rows["again"].append(open_page(kept, url, penstock.token))
            fresh.close()
        browser.close()
    return {name: {key: (statistics.median(one[key] for one in times), max(one[key] for one in times)) for key in times[0]} for name, times in rows.items()}


def say_loads(loads):
    print(f"the page, {LOADS} times, beside a load of {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; median (worst) in ms:", flush=True)
    for name, what in (("file", "a file without scripts"), ("cold", "the console, nothing cached"), ("again", "the console again")):
        print(f"  {what}: " + ", ".join(f"{key} {median:.0f} ({worst:.0f})" for key, (median, worst) in loads[name].items()))
    loaded, figures = (max(loads[name][key][0] for name in ("cold", "again")) for key in ("loaded", "figures"))
    print(f"  loaded within {loaded:.0f} ms (bar {LOAD_BAR_MS}, {harness.judge(loaded <= LOAD_BAR_MS)}), figures {figures:.0f} ms after the token (bar {FIGURES_BAR_MS}, {harness.judge(figures <= FIGURES_BAR_MS)})", flush=True)


def run(directory, arguments):
    penstock = harness.Penstock(directory)
    penstock.turn_overload_off()
    penstock.lift_limits()
    penstock.make_sale("open", 1000)
    loads = load_pages(penstock)
    say_loads(loads)
    seconds = 30 if arguments.long else 15
    cores = {count: at_rest(penstock, count, seconds) for count in (0, 1, READERS)}
    added = cores[1] - cores[0]
    print(f"at rest: {cores[0]:.2%} of a core without a console, {cores[1]:.2%} with one, {cores[READERS]:.2%} with {READERS}; "
          f"the first adds {added:.2%} (bar {IDLE_BAR:.1%}, {harness.judge(added <= IDLE_BAR)})", flush=True)
    rounds = {count: [] for count in (0, READERS)}
    for number in range(arguments.rounds):
        for count in sorted(rounds, reverse=number % 2 == 1):
            rounds[count].append(rehearse(penstock, directory, count))
    median = {count: {key: statistics.median(one[key] for one in rows) for key in ("p99_ms", "cpu_us")} for count, rows in rounds.items()}
    p99, cpu = (median[READERS][key] / median[0][key] for key in ("p99_ms", "cpu_us"))
    print(f"rehearsal: p99 {median[0]['p99_ms']:.2f} ms, beside {READERS} consoles {median[READERS]['p99_ms']:.2f} ms: {p99:.3f} times (bar {P99_BAR}, {harness.judge(p99 <= P99_BAR)}); "
          f"CPU an answer {median[0]['cpu_us']:.1f} and {median[READERS]['cpu_us']:.1f} µs, {cpu:.3f} times")
    penstock.stop()
    return {"cores": cores, "rounds": rounds, "p99": p99, "cpu": cpu, "loads": loads}
