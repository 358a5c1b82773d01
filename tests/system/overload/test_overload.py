"""Ten times what a gateway can serve, or what its shop admits: it says no, quickly and politely, its memory has a bound, and
afterwards all is as before."""
import json
import subprocess
import threading

import pytest
from faults import Disk, in_memory, processor
from penstock import ANY_VERSION, REHEARSE, Gateway, seeds, wait_until


class Watch:
    """The most memory that a gateway has held, in KiB, while the watch runs."""

    def __init__(self, gateway):
        self.path = f"/proc/{gateway.process.pid}/status"
        self.first = self.most = self.now()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def now(self):
        with open(self.path) as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    def run(self):
        while not self.ended.wait(0.05):
            self.most = max(self.most, self.now())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.ended.set()
        self.thread.join()


def rehearse(gateway, report, *options, prefix=(), timeout=120):
    """Open loop: the buyers come when the plan says, however long others wait. Its own proof must hold."""
    done = subprocess.run(
        [*prefix, str(REHEARSE), "--public", f"http://127.0.0.1:{gateway.port}", "--admin",
         f"http://127.0.0.1:{gateway.admin_port}", "--state-dir", str(gateway.state), "--quiet", "--json", str(report), *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout
    return json.loads(report.read_text())


class Meanwhile(threading.Thread):
    """Asks a gateway while its context lasts, and keeps the answers."""

    def __init__(self, gateway):
        super().__init__()
        self.gateway, self.answers, self.ended = gateway, [], threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.ended.set()
        self.join()


class Asker(Meanwhile):
    """A buyer who keeps asking, for each answer that says no to be looked at."""

    def __init__(self, gateway, sale):
        super().__init__(gateway)
        self.sale = sale

    def run(self):
        while not self.ended.wait(0.01):
            self.answers.append(self.gateway.buy(self.sale, f"asker-{len(self.answers)}", timeout=30))


def assert_polite(answers):
    """Every 429 and 503 names its gate and says when to come back."""
    for answer in answers:
        if answer.status in (429, 503):
            assert int(answer.headers["retry-after"]) >= 1, answer
            assert answer.json["violated-policies"], answer


def level_of(gateway):
    return gateway.admin("GET", "/admin/v1/overload").json["level"]


def assert_as_before(gateway):
    wait_until(lambda: gateway.public("GET", "/readyz").status == 200, 15, what="readiness")
    sale = gateway.make_sale(stock=3)
    assert gateway.buy(sale, "after").json["state"] == "accepted"
    gateway.assert_books(sale)


def test_a_gateway_that_gets_a_tenth_of_the_time_it_needs_answers_everybody(tmp_path):
    """A tenth of a core, and far more buyers than units, who come all at once."""
    settings = {"workers": 1, "http": {"connections": 4000}}
    with in_memory() as directory, processor(0.1) as prefix, Gateway(directory, settings, prefix=prefix) as gateway:
        gateway.no_limits()
        busy = gateway.make_sale(stock=50)
        with Watch(gateway) as watch, Asker(gateway, busy) as asker:
            report = rehearse(gateway, tmp_path / "report.json", "--buyers", "40000", "--stock", "1000", "--over", "500ms",
                              "--shape", "constant", "--connections", "1500", "--timeout", "30s")
        assert report["unanswered"] == 0, report["answers"]
        assert gateway.audit(report["sale"])["skus"][0]["held"] == 1000
        assert set(report["answers"]) <= {"accepted", "replayed", "sold_out", "pending", "idempotency_in_progress"}, report
        assert watch.most - watch.first < 1600 * 40 + 16 * 1024  # what its connections and requests may take, and some
        assert_polite(asker.answers)
        gateway.assert_books(busy)
        assert_as_before(gateway)
        assert watch.now() - watch.first < 1600 * 40 + 16 * 1024


def test_ten_times_what_a_limit_admits_is_refused_with_a_time_to_come_back(tmp_path):
    """F17."""
    with in_memory() as directory, Gateway(directory) as gateway:
        gateway.no_limits()
        gateway.limit("global", algorithm="token_bucket", key="global", rate=500, period_s=1, burst=500, mode="enforce",
                      applies_to=["order"])
        busy = gateway.make_sale(stock=100000)
        with Watch(gateway) as watch, Asker(gateway, busy) as asker:
            report = rehearse(gateway, tmp_path / "report.json", "--rate", "8000", "--duration", "3s", "--unique-users",
                              "--connections", "500", "--timeout", "30s")
        answers = report["answers"]
        assert report["unanswered"] == 0 and set(answers) <= {"accepted", "pending", "global_rate"}, answers
        assert answers["global_rate"] > 10000
        admitted = answers["accepted"] + answers.get("pending", 0) + sum(a.status == 202 for a in asker.answers)
        assert 1000 <= admitted <= 500 * (report["duration_s"] + 3) + 500
        assert any(a.code == "global_rate" for a in asker.answers)
        assert_polite(asker.answers)
        assert watch.most - watch.first < 32 * 1024
        gateway.no_limits()
        gateway.assert_books(busy)
        assert_as_before(gateway)


def test_ten_times_what_the_disk_can_write_is_shed_before_stock_is_touched(tmp_path):
    """OL1: F17: Every order is a commit of its own, on a disk that does 500 a second at most, and few may wait."""
    disk = Disk(tmp_path)
    disk.slow_syncs(2000)
    settings = {"log": {"queue": 64, "batch_max": 1, "ack_timeout_ms": 2000}}
    with in_memory() as directory, Gateway(directory, settings, disk.env) as gateway:
        gateway.no_limits()
        busy = gateway.make_sale(stock=100000)
        with Watch(gateway) as watch, Asker(gateway, busy) as asker:
            report = rehearse(gateway, tmp_path / "report.json", "--rate", "8000", "--duration", "3s", "--unique-users",
                              "--connections", "1000", "--timeout", "30s")
        answers = report["answers"]
        assert report["unanswered"] == 0 and set(answers) <= {"accepted", "pending", "log_backlog"}, answers
        assert answers["accepted"] > 100 and answers["log_backlog"] > 10000, answers
        assert_polite(asker.answers)
        assert watch.most - watch.first < 1100 * 40 + 48 * 1024
        gateway.assert_books(busy)
        assert_as_before(gateway)


class Payer(Meanwhile):
    """A shop that confirms, one after the other, orders that were accepted before the crowd came."""

    def __init__(self, gateway, orders):
        super().__init__(gateway)
        self.orders = orders

    def run(self):
        for order in self.orders:
            if self.ended.wait(0.05):
                return
            self.answers.append(self.gateway.admin("POST", f"/admin/v1/orders/{order}/confirm", timeout=30))


def test_at_ten_times_its_capacity_a_gateway_sells_on_and_comes_back_by_itself(tmp_path):
    """OL1: F17: A disk that commits two orders in 10 ms, so 200 a second at most, and a crowd of 2,000 a second. Who is
    admitted is answered in time, everybody is answered, and confirm always passes."""
    disk = Disk(tmp_path)
    disk.slow_syncs(10000)
    crowd = ["--unique-users", "--timeout", "5s", "--in-time", "500ms"]
    # What else the machine does is not what is looked at.
    overload = {"leave_s": 10, "signals": {name: {"weight": 0} for name in ("machine_cpu", "cpu_pressure", "memory_pressure")}}
    settings = {"seed": seeds({"overload": {"default": overload}}), "log": {"batch_max": 2}}
    with in_memory() as directory, processor() as first, Gateway(directory, settings, disk.env, first) as gateway:
        gateway.no_limits()
        busy = gateway.make_sale(stock=1000, rehearsal=True)  # beside a real sale, the crowd itself would give way
        gateway.override("feature:exports", "on", reason="the proof reads the log at once")
        paid = [gateway.buy(busy, f"payer-{n}").json["order_id"] for n in range(60)]
        # As many as eight buyers get, one after the other.
        alone = rehearse(gateway, tmp_path / "alone.json", "--rate", "1000", "--duration", "3s", "--connections", "8", "--patience", "20ms", *crowd, prefix=first)
        with Watch(gateway) as watch, Payer(gateway, paid) as payer:
            report = rehearse(gateway, tmp_path / "report.json", "--rate", "2000", "--duration", "6s", "--connections", "2000", *crowd, prefix=first)
        answers = report["answers"]
        peak, in_time = alone["in_time"]["answers"]["accepted"] / 3, report["in_time"]["answers"]["accepted"] / 6
        assert report["unanswered"] == 0, answers
        assert in_time > 0.6 * peak, (peak, in_time, answers)
        assert answers.get("pending", 0) < 0.05 * answers["accepted"], answers
        assert [answer.json["state"] for answer in payer.answers] == ["confirmed"] * len(payer.answers) and len(payer.answers) > 10, payer.answers[-3:]
        assert watch.most - watch.first < 2100 * 40 + 48 * 1024
        soon = gateway.admin("PATCH", "/admin/v1/overload", {"leave_s": 1}, {**ANY_VERSION, "Content-Type": "application/merge-patch+json"})
        assert soon.status == 200, soon
        wait_until(lambda: level_of(gateway) == 0, 60, what="level 0 after the crowd")
        gateway.assert_books(busy)
        assert_as_before(gateway)


@pytest.mark.soak
def test_a_minute_of_overload_neither_grows_nor_wears_out(tmp_path):
    """OL6: F17: The same load again and again, for few units: it takes no more memory than the first times."""
    with Gateway(settings={"http": {"connections": 4000}}) as gateway:
        gateway.no_limits()
        gateway.limit("global", algorithm="token_bucket", key="global", rate=2000, period_s=1, burst=2000, mode="enforce",
                      applies_to=["order"])
        peaks = []
        for turn in range(4):
            with Watch(gateway) as watch:
                report = rehearse(gateway, tmp_path / f"{turn}.json", "--buyers", "400000", "--stock", "500", "--over", "20s",
                                  "--shape", "spike", "--connections", "2000", "--timeout", "30s", timeout=300)
            assert report["unanswered"] == 0, report["answers"]
            peaks.append(watch.most)
        assert peaks[3] - peaks[1] < 8 * 1024, peaks
        assert_as_before(gateway)
