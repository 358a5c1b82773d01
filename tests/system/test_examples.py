"""The examples of README.md run as they stand, against a real gateway."""
import contextlib
import pathlib
import re
import socket
import subprocess

from penstock import ROOT, Gateway, free_port, wait_until

# Definitions that every other block uses; and a curl that fails where the gateway says no.
BEGIN = 'set -euo pipefail\ncurl() { command curl --fail-with-body "$@"; }\n'


def blocks():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)


def block(part):
    found = [text for text in blocks() if part in text]
    assert len(found) == 1, f"{len(found)} examples hold {part}"
    return found[0]


def run(gateway, text, before="", backup="/nowhere"):
    script = BEGIN + block("pen() {") + before + text
    script = script.replace("127.0.0.1:8080", f"127.0.0.1:{gateway.port}").replace("127.0.0.1:9090", f"127.0.0.1:{gateway.admin_port}")
    script = script.replace(".penstock/admin.token", f"{gateway.state}/admin.token")
    script = script.replace("/var/lib/penstock", str(gateway.state)).replace("/backup", str(backup))
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{script}\n--- gave\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_examples_of_a_sale_run():
    with Gateway() as gateway:
        out = run(gateway, block("-X PUT $A/sales/spring"))
        assert '"adjustments":140' in out and '"ok":true' in out
        assert gateway.sale("spring")["state"] == "open"  # for the examples that follow


def test_the_examples_of_buying_orders_and_limits_run():
    with Gateway() as gateway:
        gateway.make_sale("spring")
        assert '"state":"accepted"' in run(gateway, block("Idempotency-Key"))
        order = gateway.orders("spring")[0]["order_id"]
        other = gateway.buy("spring", "bob").json["order_id"]
        out = run(gateway, block("$order/confirm"), before=f"order={order} other={other}\n")
        assert '"state":"confirmed"' in out and '"reason":"cancelled"' in out
        assert '"mode":"shadow"' in run(gateway, block("-X PUT $A/limits/user"))
        gateway.assert_books("spring")


def test_a_backup_made_as_documented_starts(tmp_path):
    with Gateway() as gateway:
        sale = gateway.make_sale(stock=3)
        assert gateway.buy(sale, "ann").status == 202
        backup = tmp_path / "state"
        backup.mkdir(mode=0o700)
        run(gateway, block(".backup"), backup=backup)
        token = gateway.token
    with Gateway(directory=tmp_path) as restored:
        assert [order["user"] for order in restored.admin("GET", f"/admin/v1/orders?sale={sale}", token=token).lines()] == ["ann"]
        assert restored.admin("GET", f"/admin/v1/sales/{sale}/audit", token=token).json["ok"] is True


def test_the_examples_of_tokens_and_the_end_run():
    with Gateway() as gateway:
        gateway.make_sale("spring")
        out = run(gateway, block("$A/drain"))
        assert '"token":"pst_' in out and '"state":"archived"' in out
        assert gateway.process.wait(30) == 0


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
