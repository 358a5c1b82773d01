"""The commands of the documents run as they stand, page by page, against a real gateway; the reference settings of the proxies work."""
import contextlib
import pathlib
import re
import socket
import subprocess

import pytest
from examples import commands, paste
from penstock import PATIENT_LOG, ROOT, Gateway, call, free_port, wait_until

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md")])
ELSEWHERE = {"docs/cluster.md"}  # beside a cluster: test_quickstart.py


def beside(gateway, script):
    header = gateway.state / "admin.header"
    header.write_text(f"Authorization: Bearer {gateway.token}\n")
    return paste(script, ROOT, {"127.0.0.1:8080": f"127.0.0.1:{gateway.port}", "127.0.0.1:9090": f"127.0.0.1:{gateway.admin_port}",
                                ".penstock/admin.header": header})


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page) and page not in ELSEWHERE])
def test_the_commands_of_a_page_run_as_they_stand(page):
    with Gateway(settings=PATIENT_LOG) as gateway:
        out = beside(gateway, commands(page))
        assert out and '"ok":false' not in out
        if "/drain" in commands(page):
            assert gateway.process.wait(30) == 0


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_a_sale_is_made_bought_and_confirmed_by_pasting_a_readme(page):
    with Gateway(settings=PATIENT_LOG) as gateway:
        out = beside(gateway, commands(page))
        assert '"state":"confirmed"' in out and '"ok":true' in out
        assert [(order["user"], order["state"]) for order in gateway.orders("spring")] == [("ann", "confirmed")]
        gateway.assert_books("spring")


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
