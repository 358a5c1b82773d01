"""The commands of the documents run as they stand, page by page, against a real gateway; the reference settings of the proxies work."""
import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest
from checkout import Checkout, read_until
from examples import commands, paste
from penstock import PATIENT_LOG, ROOT, Gateway, call, free_port, wait_until

# As a newcomer reads them; what is not named comes after. Beside a cluster: docs/cluster.md, in test_quickstart.py.
FIRST = ["README", "docs/buying", "docs/operations", "docs/pages", "docs/troubleshooting", "docs/upgrading"]


def pages(language):
    """All with commands for a quickstart that are written in it, in the order in which somebody reads them."""
    chinese = [path.relative_to(ROOT).as_posix() for path in [ROOT / "README.zh-CN.md", *(ROOT / "docs/zh").glob("*.md")]]
    english = [path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]]
    found = [page for page in {"en": english, "zh": chinese}[language] if commands(page) and pathlib.Path(page).name != "cluster.md"]
    key = {page: page.replace("docs/zh/", "docs/").replace(".zh-CN", "").removesuffix(".md") for page in found}
    assert {key[page] for page in found} >= set(FIRST), found
    return sorted(found, key=lambda page: (FIRST.index(key[page]) if key[page] in FIRST else len(FIRST), page))


class Quickstart:
    """One that serves, and what operators have decided there."""

    def __init__(self, directory):
        self.checkout = Checkout(directory)
        self.running = self.checkout.start()
        out = read_until(self.running, "Serving")
        assert "The proof holds." in out, out
        self.token = (self.checkout.root / ".penstock/admin.token").read_text().strip()

    def end(self):
        os.killpg(self.running.pid, signal.SIGINT)
        self.running.communicate(timeout=60)

    def read(self, path):
        answer = call(self.checkout.port("8090"), "GET", path, headers={"Authorization": f"Bearer {self.token}"})
        assert answer.status == 200, answer
        return answer.json

    def decided(self):
        documents = self.read("/admin/v1/config")["documents"]
        sales = self.read("/admin/v1/sales?limit=1000")["sales"]
        overload = self.read("/admin/v1/overload?history_s=0")
        return {
            "documents": {kind: named for kind, named in documents.items() if kind != "sales"},
            "sales that are not over": {sale["sale"]: (sale["state"], sale["skus"]) for sale in sales if sale["state"] not in ("ended", "archived", "settled")},
            "tokens": [token["id"] for token in self.read("/admin/v1/tokens")["tokens"]],
            "rehearsal keys": self.read("/admin/v1/rehearsal-keys"),
            "overrides": self.read("/admin/v1/overrides"),
            "features": {name: (feature["state"], feature["reason"]) for name, feature in overload["features"].items()},
        }


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
def test_all_pages_run_as_they_stand_beside_one_quickstart_and_leave_it_as_it_was(tmp_path, language):
    quickstart = Quickstart(tmp_path)
    try:
        before = quickstart.decided()
        assert before["sales that are not over"]["lamp"][0] == "open" and "reviews" in before["documents"]["routes"]
        for page in pages(language):
            out = quickstart.checkout.paste(commands(page))
            assert out and '"ok":false' not in out, page
            assert "README" not in page or ('"state":"confirmed"' in out and '"ok":true' in out), out
            with contextlib.suppress(AssertionError):  # what was deleted may go a moment later
                wait_until(lambda: quickstart.decided() == before, 5)
            assert quickstart.decided() == before, page
    finally:
        quickstart.end()


@pytest.mark.parametrize("page", ["docs/operations.md", "docs/zh/operations.md"])
def test_a_backup_made_as_documented_starts(tmp_path, page):
    with Gateway(settings=PATIENT_LOG) as gateway:
        sale = gateway.make_sale(stock=3)
        assert gateway.buy(sale, "ann").status == 202
        backup = tmp_path / "state"
        backup.mkdir(mode=0o700)
        script = next(block for block in re.findall(r"^```console\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S) if ".backup" in block)
        paste(script, tmp_path, {"/var/lib/penstock": gateway.state, "/backup": backup})
        token = gateway.token
    with Gateway(directory=tmp_path) as restored:
        assert [order["user"] for order in restored.admin("GET", f"/admin/v1/orders?sale={sale}", token=token).lines()] == ["ann"]
        assert restored.admin("GET", f"/admin/v1/sales/{sale}/audit", token=token).json["ok"] is True


def test_the_quickstart_rehearses_against_no_gateway_but_its_own():
    """Who has port 8080 might be an earlier gateway, from an older build."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # somebody is there already: as good
            taken.bind(("127.0.0.1", 8080))
            taken.listen()
        done = subprocess.run([ROOT / "deploy/quickstart", "--exit"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "listens on port 8080 already" in done.stderr, done
    assert "rehearsing" not in done.stdout


def test_redis_takes_the_reference_settings(tmp_path):
    port = free_port()
    process = subprocess.Popen(["redis-server", str(ROOT / "deploy/redis/redis.conf"), "--port", str(port), "--dir", str(tmp_path)],
                               stdout=subprocess.DEVNULL)

    def ask(*words):
        return subprocess.run(["redis-cli", "-p", str(port), *words], capture_output=True, text=True).stdout.split()

    try:
        wait_until(lambda: ask("PING") == ["PONG"], what="Redis")
        assert ask("CONFIG", "GET", "maxmemory-policy")[1] == "noeviction"
        assert ask("CONFIG", "GET", "save") == ["save"]
        watch = tmp_path / "sentinel.conf"
        watch.write_text((ROOT / "deploy/redis/sentinel.conf").read_text().replace("port 26379", f"port {free_port()}"))
        sentinel = subprocess.Popen(["redis-server", str(watch), "--sentinel"], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
        wait_until(lambda: "Sentinel ID" in sentinel.stdout.readline(), what="a Sentinel")
        sentinel.kill()
        sentinel.wait()
    finally:
        process.kill()
        process.wait()
