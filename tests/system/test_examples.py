"""The examples of README.md run as they stand, against a real gateway."""
import contextlib
import pathlib
import re
import socket
import subprocess

import pytest
from penstock import ROOT, Gateway, call, free_port, wait_until

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


NGINX_DIRECTORY = "/var/lib/nginx"


def proxy_settings(name, where):
    return (ROOT / name).read_text(encoding="utf-8").replace(NGINX_DIRECTORY, str(where))


def tool(name):
    for folder in ("/usr/sbin", "/usr/bin"):
        if (pathlib.Path(folder) / name).exists():
            return f"{folder}/{name}"
    return pytest.fail(f"{name} is not installed: tests/run installs it")


def nginx_main(where, site):
    """The file to start nginx with: `site` in its http block, all its files in `where`."""
    (where / "site.conf").write_text(site)
    paths = "".join(f"{kind}_temp_path {where}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    main = where / "nginx.conf"
    main.write_text(f"daemon off; pid {where}/pid; error_log stderr; events {{}} http {{ access_log off; {paths} include {where}/site.conf; }}")
    return main


def not_refused(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def test_nginx_takes_the_reference_settings(tmp_path):
    assert pathlib.Path(NGINX_DIRECTORY).is_dir()  # else nginx does not start with the settings as they are
    assert f" {NGINX_DIRECTORY}/" in (ROOT / "deploy/nginx/penstock.conf").read_text(encoding="utf-8")
    main = nginx_main(tmp_path, proxy_settings("deploy/nginx/penstock.conf", tmp_path))
    done = subprocess.run([tool("nginx"), "-t", "-c", str(main)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_behind_the_nginx_reference_a_browser_with_many_cookies_buys_as_who_its_session_says(tmp_path):
    front, sessions = free_port(), free_port()
    with Gateway() as gateway:
        gateway.make_sale("sale", stock=1)
        site = proxy_settings("deploy/nginx/penstock.conf", tmp_path)
        for ours, there in (("listen 80 backlog=4096 reuseport", f"listen 127.0.0.1:{front}"), ("127.0.0.1:8080", f"127.0.0.1:{gateway.port}"),
                            ("127.0.0.1:8000", f"127.0.0.1:{sessions}")):
            assert ours in site
            site = site.replace(ours, there)
        shop = f"server {{ listen 127.0.0.1:{sessions}; location / {{ add_header X-User-Id $cookie_sid; return 200; }} }}"
        nginx = subprocess.Popen([tool("nginx"), "-c", str(nginx_main(tmp_path, site + shop)), "-e", str(tmp_path / "error.log")])
        try:
            wait_until(lambda: not_refused(front), what="nginx")
            cookies = "sid=ann; " + "; ".join(f"cookie_{i:03d}={'v' * 87}" for i in range(60))
            answer = call(front, "POST", "/v1/sales/sale/orders", {"sku": "phone", "quantity": 1}, {"Host": "shop.example", "Cookie": cookies, "X-User-Id": "mallory"})
            assert answer.status == 202, answer
            assert [order["user"] for order in gateway.orders("sale")] == ["ann"]
        finally:
            nginx.terminate()
            nginx.wait(10)


def test_haproxy_takes_the_reference_settings(tmp_path):
    haproxy = tool("haproxy")
    key = tmp_path / "key.pem"
    subprocess.run(f"openssl genrsa 2048 | openssl rsa -pubout -out {key}", shell=True, check=True, capture_output=True)
    done = subprocess.run([haproxy, "-c", "-f", str(ROOT / "deploy/haproxy/haproxy.cfg")], capture_output=True, text=True,
                          env={"PENSTOCK_JWT_KEY": str(key)})
    assert done.returncode == 0, done.stdout + done.stderr
