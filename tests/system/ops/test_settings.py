"""The program's arguments and settings: what it refuses, in which words, and what it takes over while it runs."""
import json
import os
import pty
import signal
import socket
import subprocess
import uuid

import pytest
from penstock import ANY_VERSION, PENSTOCK, Gateway, call, free_port, rfc3339, seeds, wait_until


def run(*arguments, timeout=20):
    done = subprocess.run([str(PENSTOCK), *map(str, arguments)], capture_output=True, text=True, timeout=timeout)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def check(tmp_path):
    """check(document or text) -> exit status, what was said."""
    def check(document):
        path = tmp_path / "penstock.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        status, out, err = run("--config", path, "--check-config")
        assert (status == 0) == (err == ""), (status, err)
        return status, (out + err).replace(str(path), "FILE")
    return check


def events(gateway, name=None):
    found = [json.loads(line) for line in gateway.log_path.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
    return [event for event in found if name is None or event["event"] == name]


def await_event(gateway, name, count=1):
    return wait_until(lambda: (lambda found: found if len(found) >= count else None)(events(gateway, name)), what=name)


def hang_up(gateway):
    """SIGHUP; the one event that it ends with."""
    done = len(events(gateway, "reloaded")) + len(events(gateway, "reload_refused"))
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(events(gateway, "reloaded")) + len(events(gateway, "reload_refused")) > done, what="a reload")
    return events(gateway)


def seed(*names, limits=None, **members):
    """Of sales, and of limits."""
    sale = {"opens_at": rfc3339(-1), "skus": [{"sku": "phone", "stock": 5}], **members}
    return {"seed": seeds({"sales": {name: sale for name in names}, "limits": limits or {}})}


# --- arguments ---


def test_help_names_every_option_with_its_default_and_exits_0():
    status, out, err = run("--help")
    assert (status, err) == (0, "")
    defaults = json.loads(run("--print-default-config")[1])

    def paths(document, prefix=""):
        for key, value in document.items():
            if isinstance(value, dict) and value:
                yield from paths(value, prefix + key + ".")
            else:
                yield prefix + key, value

    lines = {line.split()[0]: line for line in out.splitlines() if line.startswith("  ")}
    for path, value in paths(defaults):
        assert json.dumps(value) in lines[path], path
    assert "SIGTERM" in out and "SIGHUP" in out


def test_without_settings_a_terminal_gets_help_and_a_service_starts(tmp_path):
    terminal, side = pty.openpty()
    done = subprocess.run([str(PENSTOCK)], stdin=side, capture_output=True, text=True, timeout=20)
    os.close(terminal)
    os.close(side)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("usage: penstock") and "state_dir" in done.stderr
    # A read-only /var/lib: only a start meets it.
    done = subprocess.run(["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-m", "sh", "-c", 'mount -t tmpfs -o ro none /var/lib && exec "$0"', str(PENSTOCK)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.splitlines() == [
        f"penstock: /var/lib/penstock: is on a read-only file system: mount a writable disk there (in a container a volume that belongs to user {os.geteuid()}), or set state_dir"], done


@pytest.mark.parametrize("host, warned", [("0.0.0.0", True), ("::", True), ("127.0.0.1", False)])
def test_an_admin_listener_that_others_reach_is_warned_of(tmp_path, host, warned):
    with Gateway(directory=tmp_path, settings={"admin": {"host": host, "hosts": ["127.0.0.1"]}}) as gateway:
        await_event(gateway, "ready")
        assert [event["host"] for event in events(gateway, "admin_in_clear")] == ([host] if warned else [])


def test_version_says_the_version():
    status, out, err = run("--version")
    assert (status, err) == (0, "") and out.startswith("penstock ") and len(out.split()) == 2


def test_documents_that_cannot_be_written_are_exit_1_and_name_the_file(tmp_path):
    assert run("--print-docs", tmp_path) == (0, "", "")
    status, out, err = run("--print-docs", tmp_path / "nowhere")
    assert (status, out) == (1, "") and f"penstock: {tmp_path}/nowhere/settings.md: No such file or directory" in err
    (tmp_path / "metrics.md").unlink()
    (tmp_path / "metrics.md").symlink_to("/dev/full")
    status, out, err = run("--print-docs", tmp_path)
    assert (status, out) == (1, "") and f"{tmp_path}/metrics.md: cannot be written: No space left on device" in err


@pytest.mark.parametrize("arguments", [["--colour"], ["extra"], ["--config"], ["--check-config", "x"], ["--version=1"]])
def test_wrong_arguments_are_exit_2_with_the_usage(arguments):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "") and "usage: penstock" in err


def test_the_printed_defaults_are_a_settings_file_that_changes_nothing(check, tmp_path):
    status, text, err = run("--print-default-config")
    assert (status, err) == (0, "")
    assert check(text) == (0, "FILE: ok\n")
    assert run("--check-config")[:2] == (0, "defaults: ok\n")


# --- what a file may say ---


def test_an_empty_object_is_enough(check):
    assert check({})[0] == 0


@pytest.mark.parametrize("document,words", [
    ({"lisen": {"port": 1}}, ["lisen", 'did you mean "listen"']),
    ({"listen": {"prot": 1}}, ["listen.prot", 'did you mean "listen.port"']),
    ({"http": {"retry_ms": 1}}, ["http.retry_ms", 'did you mean "log.retry_ms"']),
    ({"port": 8080}, ["port", 'did you mean "listen.port"']),
    ({"wholly_unknown_thing": 1}, ["wholly_unknown_thing", "unknown"]),
    ({"listen.port": 1}, ["listen.port", "unknown"]),
    ({"listen": 8080}, ["listen", "must be an object, not a whole number"]),
    ({"listen": {"port": "8080"}}, ["listen.port", "must be a whole number between 0 and 65535, not a string"]),
    ({"listen": {"port": 80.5}}, ["listen.port", "must be a whole number"]),
    ({"listen": {"port": 65536}}, ["listen.port", "between 0 and 65535", "65536"]),
    ({"listen": {"port": -1}}, ["listen.port", "-1"]),
    ({"listen": {"port": None}}, ["listen.port", "null"]),
    ({"listen": {"host": "localhost"}}, ["listen.host", "localhost", "numeric"]),
    ({"listen": {"host": "[::1]"}}, ["listen.host", "[::1]", "without brackets"]),
    ({"admin": {"host": ""}}, ["admin.host"]),
    ({"admin": {"host": "[::1]"}}, ["admin.host", "[::1]"]),
    ({"admin": {"hosts": ["ops.example", "ops.example:8090"]}}, ["admin.hosts[1]", "ops.example:8090", "port"]),
    ({"admin": {"hosts": ["2001:db8::1"]}}, ["admin.hosts[0]", "brackets"]),
    ({"admin": {"hosts": ["[2001:db8::1]:8090"]}}, ["admin.hosts[0]", "port"]),
    ({"cors": {"allow_origins": ["https://shop.example", "*"]}}, ["cors.allow_origins[1]", "wildcard"]),
    ({"cors": {"allow_origins": ["https://shop.example/"]}}, ["cors.allow_origins[0]", "slash"]),
    ({"cors": {"allow_origins": ["shop.example"]}}, ["cors.allow_origins[0]", "https://shop.example"]),
    ({"cors": {"allow_origins": ["https://*.shop.example"]}}, ["cors.allow_origins[0]"]),
    ({"cors": {"allow_origins": ["https://Shop.example"]}}, ["cors.allow_origins[0]", "small letters"]),
    ({"cors": {"allow_origins": ["http://a:8443", "https://shop.example:443"]}}, ["cors.allow_origins[1]", "port"]),
    ({"admin": {"metrics_open": "yes"}}, ["admin.metrics_open", "true or false"]),
    ({"store": {"kind": "guess"}}, ["store.kind", "must be one of: memory, redis"]),
    ({"logging": {"level": "loud"}}, ["logging.level", "debug, info, warn, error"]),
    ({"trusted_proxies": "127.0.0.1"}, ["trusted_proxies", "array"]),
    ({"trusted_proxies": ["10.0.0.0/8", "10.0.0.1/8"]}, ["trusted_proxies[1]", "10.0.0.1/8"]),
    ({"trusted_proxies": ["nonsense"]}, ["trusted_proxies[0]", "nonsense"]),
    ({"trusted_proxies": [7]}, ["trusted_proxies[0]", "must be an address", "not 7"]),
    ({"upstream": {"allowed_networks": ["10.0.0.1/8"]}}, ["upstream.allowed_networks[0]", "10.0.0.1/8"]),
    ({"upstream": {"allowed_networks": []}}, ["upstream.allowed_networks", "1 to 4096 entries"]),
    ({"upstream": {"static_dir": "pages"}}, ["upstream.static_dir", "absolute"]),
    ({"upstream": {"endpoint_dir": "pools"}}, ["upstream.endpoint_dir", "absolute"]),
    ({"client_ip_header": "two words"}, ["client_ip_header"]),
    ({"client_ip_header": "x-user-id"}, ["client_ip_header", "x-user-id"]),
    ({"client_ip_header": "X-Forwarded-For"}, ["client_ip_header", "X-Forwarded-For"]),
    ({"drain": {"delay_ms": 5000, "timeout_ms": 5000}}, ["drain.timeout_ms", "more than drain.delay_ms"]),
    ({"workers": 257}, ["workers", "between 0 and 256"]),
    ({"listen": {"port": 7}, "admin": {"port": 7}}, ["admin.port", "same address and port"]),
    ([], ["must be an object"]),
    ('{"workers": 1, "workers": 2}', ["duplicate"]),
    ('{"workers": 1', ["FILE", "line 1"]),
    ('{"workers": 1} x', ["FILE", "line 1"]),
    ("", ["FILE"]),
], ids=range(47))
def test_a_bad_setting_is_named_by_its_path_and_exits_1(check, document, words):
    """F19."""
    status, said = check(document)
    assert status == 1
    assert all(word in said for word in words), said
    assert said.startswith("penstock: FILE: ") and said.count("FILE") == 1 and said.count("\n") == 1, said


def test_names_that_a_browser_may_send_are_taken(check):
    assert check({"admin": {"host": "::1", "hosts": ["ops.example", "[2001:db8::1]"]}, "listen": {"host": "::"},
                  "cors": {"allow_origins": ["https://shop.example", "http://localhost:3000", "https://[2001:db8::1]:8443"]}})[0] == 0


@pytest.mark.parametrize("more,words", [
    ({"seed": []}, ["seed", "object"]),
    (seed("ok", "bad name"), ["/seed/documents/sales/bad name"]),
    (seed("ok", skus=[]), ["/seed/documents/sales/ok/skus"]),
    (seed("ok", opens_at="2030-01-01T00:00:00"), ["/seed/documents/sales/ok/opens_at"]),
    (seed("ok", colour="red"), ["/seed/documents/sales/ok/colour"]),
    ({"seed": {"documents": []}}, ["/seed/documents", "object"]),
    ({"seed": seeds({"limit": {}})}, ["/seed/documents/limit"]),
    ({"seed": seeds({"limits": {"user": {"key": "user"}}})}, ["/seed/documents/limits/user/algorithm"]),
    ({"seed": seeds({"limits": {"a b": {}}})}, ["/seed/documents/limits/a b"]),
    ({"seed": seeds({"limits": {"user": {"algorithm": "token_bucket", "key": "user", "rate": 0, "period_s": 1}}})},
     ["/seed/documents/limits/user/rate"]),
    ({"seed": seeds({"pools": {"web": {"endpoints": [{"address": "192.0.2.1:80"}]}}})},
     ["/seed/documents/pools/web/endpoints/0/address", "upstream.allowed_networks"]),
    ({"seed": seeds({"pools": {"web": {"endpoints": [{"address": "127.0.0.1:8080"}]}}})},
     ["/seed/documents/pools/web/endpoints/0/address", "is a listener of this gateway"]),
    ({"seed": seeds({"routes": {"product": {"path": "/p/"}}, "caches": {"default": {"bytes": 1}}})}, ["/seed/documents/routes/product", "/seed/documents/caches/default/bytes"]),
], ids=range(13))
def test_a_bad_seed_is_named_by_its_pointer(check, more, words):
    status, said = check(more)
    assert status == 1 and all(word in said for word in words), said


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "missing.json", tmp_path):
        status, out, err = run("--config", path, "--check-config")
        assert (status, out) == (1, "")
        assert err.startswith("penstock: ") and err.count(str(path)) == 1 and err.count("\n") == 1, err


# --- starting ---


@pytest.mark.parametrize("which", ["listen", "admin"])
def test_a_taken_port_is_said_and_exits_1(which):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        g = Gateway(settings={which: {"port": port}})
        assert g.spawn().process.wait(20) == 1
        assert f"{which}.port: 127.0.0.1 port {port} is taken by another program" in g.log()
        g.__exit__()


def test_port_0_takes_a_free_one_and_says_which():
    with Gateway(settings={"listen": {"port": 0}, "admin": {"port": 0}}).spawn() as g:
        ready = await_event(g, "ready")[0]
        assert call(ready["port"], "GET", "/livez").status == call(ready["admin_port"], "GET", "/livez").status == 200


@pytest.mark.parametrize("section, member, there", [("store.redis", "password_file", {"url": "redis://:sesame@127.0.0.1"}),
                                                    ("log.kafka", "sasl_password_file", {"properties": {"sasl.password": "sesame"}})])
def test_a_secret_comes_from_one_place_and_its_fault_names_the_setting(check, tmp_path, section, member, there):
    def document(**members):
        for name in reversed(section.split(".")):
            members = {name: members}
        return members

    secret = tmp_path / "secret"
    assert_refused(check(document(**{member: str(secret)})), f"{section}.{member}: ", "cannot be opened")
    secret.write_text("open sesame\n")
    secret.chmod(0o644)
    assert_refused(check(document(**{member: str(secret)})), f"{section}.{member}: ", f"chmod 600 {secret}")
    secret.chmod(0o600)
    assert check(document(**{member: str(secret)}))[0] == 0
    assert_refused(check(document(**{member: str(secret)}, **there)), f"{section}.{member}: ", "already")


def test_a_user_of_redis_needs_a_password_from_the_url_or_from_a_file(check, tmp_path):
    assert_refused(check({"store": {"redis": {"url": "redis://ann@127.0.0.1"}}}), "store.redis.url: ", "password_file")
    secret = tmp_path / "secret"
    secret.write_text("sesame")
    secret.chmod(0o600)
    assert check({"store": {"redis": {"url": "redis://ann@127.0.0.1", "password_file": str(secret)}}})[0] == 0


def assert_refused(said, *words):
    status, text = said
    assert status == 1 and all(word in text for word in words) and "open sesame" not in text, said


def test_a_state_directory_that_is_in_use_is_refused():
    with Gateway() as first:
        second = Gateway(settings={"state_dir": str(first.state)})
        assert second.spawn().process.wait(20) == 1
        assert str(first.state) in second.log()
        second.__exit__()
        assert first.make_sale()


def test_the_log_is_one_json_object_a_line():
    with Gateway() as g:
        g.make_sale()
        assert g.stop() == 0
        lines = g.log_path.read_text().splitlines()
        for line in lines:
            event = json.loads(line)
            assert {"time", "level", "event"} <= set(event), line
        assert [event["event"] for event in events(g)][-1] == "stopped"


@pytest.mark.parametrize("trusted", ["127.0.0.1", "127.0.0.0/8", "::1", "0.0.0.0/1"])
def test_trusting_loopback_on_an_open_listener_is_warned_of(trusted):
    with Gateway(settings={"listen": {"host": "0.0.0.0"}, "trusted_proxies": [trusted]}) as g:
        await_event(g, "ready")
        assert len(events(g, "loopback_is_trusted")) == 1


@pytest.mark.parametrize("trusted", ["0.0.0.0/0", "::/0"])
def test_trusting_everybody_on_an_open_listener_is_warned_of(trusted):
    with Gateway(settings={"listen": {"host": "0.0.0.0"}, "trusted_proxies": [trusted]}) as g:
        await_event(g, "ready")
        assert len(events(g, "everybody_is_trusted")) == 1


@pytest.mark.parametrize("trusted", ["127.0.0.0/8", "0.0.0.0/0"])
def test_trust_on_a_listener_of_loopback_is_not_warned_of(trusted):
    with Gateway(settings={"trusted_proxies": [trusted]}) as g:
        await_event(g, "ready")
        assert events(g, "loopback_is_trusted") + events(g, "everybody_is_trusted") == []


# --- seeds ---


RULE = {"algorithm": "token_bucket", "key": "user", "rate": 2, "period_s": 3600, "burst": 2}


def test_a_limit_for_a_sale_that_there_is_not_is_warned_of():
    with Gateway(settings=seed("spring", limits={"right": {**RULE, "sale": "spring"}, "wrong": {**RULE, "sale": "spirng", "allow_unknown": True}})) as g:
        assert [(event["rule"], event["sale"]) for event in await_event(g, "limit_without_sale")] == [("wrong", "spirng")]
        assert g.admin("PUT", "/admin/v1/limits/mine", {**RULE, "sale": "spring"}).status == 201
        assert g.admin("PUT", "/admin/v1/limits/mine", {**RULE, "sale": "summer"}, ANY_VERSION).status == 422
        assert g.admin("PUT", "/admin/v1/limits/mine", {**RULE, "sale": "summer", "allow_unknown": True}, ANY_VERSION).status == 200
        assert [event["sale"] for event in await_event(g, "limit_without_sale", 2)] == ["spirng", "summer"]


def test_a_gateway_that_is_ready_sells_all_its_seeds_and_takes_them_once():
    names = [f"seed-{i}" for i in range(20)]
    with Gateway(settings=seed(*names, limits={"user": {**RULE, "rate": 100, "period_s": 1, "burst": 100}})) as g:
        assert [g.buy(name, "u").status for name in names] == [202] * 20
        assert g.stop() == 0
        g.start()
        assert g.sale("seed-7")["skus"][0]["held"] == 1
        assert len(events(g, "seed_taken")) == 1 and events(g, "seed_ignored") == []
        audit = g.admin("GET", "/admin/v1/audit-log?limit=100").lines()
        assert [(line["who"], line["action"], len(line["to"])) for line in audit if line.get("target") == "config"] == [("settings", "config.put", 22)]


def test_a_seed_that_differs_is_ignored_with_one_warning_that_names_the_documents():
    with Gateway(settings=seed("spring", "summer", limits={"user": RULE, "extra": RULE})) as g:
        assert g.admin("GET", "/admin/v1/limits/user").json["rate"] == 2
        assert g.admin("GET", "/admin/v1/limits/ip").status == 200
        g.limit("user", rate=7)
        assert g.admin("DELETE", "/admin/v1/limits/extra", headers=ANY_VERSION).status == 204
        assert g.stop() == 0
        g.configure({"seed": seeds({"sales": {"spring": {"opens_at": rfc3339(-1), "skus": [{"sku": "phone", "stock": 9}]}}})})
        g.start()
        warning, = await_event(g, "seed_ignored")
        assert warning["level"] == "warn"
        assert {"limits/user", "limits/extra"} <= set(warning["differs_in"].split(", ")) and "sales/spring" in warning["differs_in"], warning
        assert g.admin("GET", "/admin/v1/limits/user").json["rate"] == 7
        assert g.admin("GET", "/admin/v1/limits/extra").status == 404


@pytest.mark.parametrize("limits,path,error", [
    ({"wrong": {**RULE, "sale": "spirng"}}, "/seed/documents/limits/wrong/sale", "spirng"),
    ({f"r{i:02}": RULE for i in range(64)}, "/seed/documents/limits/r", "already 64 limit rules"),
], ids=["names what there is not", "is too much"])
def test_of_a_seed_whose_documents_do_not_fit_nothing_is_taken_and_the_start_is_refused(tmp_path, limits, path, error):
    g = Gateway(tmp_path, settings=seed("spring", limits=limits)).spawn()
    assert g.process.wait(20) == 1
    faults = events(g, "seed_failed")
    assert faults and all(fault["path"].startswith(path) and error in fault["error"] for fault in faults), faults
    g.settings["seed"] = seeds({})
    g.configure({})
    with g.start():
        assert g.admin("GET", "/admin/v1/sales").json["sales"] == []


# --- SIGHUP ---


@pytest.fixture(scope="module")
def gateway():
    with Gateway() as g:
        g.no_limits()
        yield g


def test_sighup_takes_live_settings_over(gateway):
    assert call(gateway.admin_port, "GET", "/metrics").status == 200
    gateway.configure({"admin": {"metrics_open": False, "hosts": ["ops.example"]}})
    hang_up(gateway)
    assert call(gateway.admin_port, "GET", "/metrics").status == 401
    answer = gateway.admin("GET", "/admin/v1/limits", headers={"Host": "ops.example"})
    assert answer.status == 200, answer
    gateway.configure({"admin": {"metrics_open": True, "hosts": []}})
    hang_up(gateway)
    assert gateway.admin("GET", "/admin/v1/limits", headers={"Host": "ops.example"}).status == 421
    assert call(gateway.admin_port, "GET", "/metrics").status == 200


def test_sighup_changes_the_log_level(gateway):
    gateway.configure({"logging": {"level": "warn"}})
    os.kill(gateway.process.pid, signal.SIGHUP)
    wait_until(lambda: quiet_since(gateway), what="silence")
    gateway.configure({"logging": {"level": "info"}})
    hang_up(gateway)


def quiet_since(gateway):
    """A warning was logged, and no earlier one was repeated."""
    sale, missing = gateway.make_sale(), f"no-{uuid.uuid4().hex[:8]}"
    gateway.limit("of-no-sale", algorithm="token_bucket", key="user", rate=1, period_s=10, mode="off", sale=missing, allow_unknown=True)
    wait_until(lambda: missing in gateway.log_path.read_text(), what="a warning")
    return f'"{sale}"' not in gateway.log_path.read_text()


def test_sighup_keeps_and_names_what_is_read_at_start_only(gateway):
    port, level = gateway.port, gateway.settings.get("logging", {"level": "info"})
    before = len(events(gateway, "setting_kept"))
    gateway.configure({"listen": {"port": free_port()}, "workers": 1, "logging": level})
    hang_up(gateway)
    kept = events(gateway, "setting_kept")[before:]
    assert {event["option"] for event in kept} == {"listen.port", "workers"}
    gateway.configure({"listen": {"port": port}, "workers": 2})
    assert gateway.public("GET", "/livez").status == 200
    hang_up(gateway)
    assert len(events(gateway, "setting_kept")) == before + 2


@pytest.mark.parametrize("text,path", [('{"admin": {"metrics_open": false}, "workers": "many"}', "workers"), ("{", None),
                                       ('{"admin": {"metrics_open": false}, "seed": {"documents": {"sales": {"x": {}}}}}', "/seed/documents/sales/x/skus")])
def test_a_bad_file_at_sighup_changes_nothing_and_is_named(gateway, text, path):
    """F19."""
    gateway.config.write_text(text)
    refused = len(events(gateway, "reload_refused"))
    hang_up(gateway)
    event = events(gateway, "reload_refused")[refused]
    assert event["file"] == str(gateway.config)
    assert path is None or event["path"] == path
    assert event["error"]
    assert call(gateway.admin_port, "GET", "/metrics").status == 200
    gateway.configure({})
    hang_up(gateway)
    assert len(events(gateway, "reload_refused")) == refused + 1


def test_operators_read_the_settings_in_force_without_secrets():
    settings = {
        "log": {"batch_max": 64, "kafka": {"properties": {"sasl.password": "hush-1", "ssl.key.password": "hush-2", "linger.ms": "5"}}},
        "store": {"redis": {"url": "redis://ann:hush-3@127.0.0.1:6379/0"}},
        "seed": seeds({"limits": {}}),
    }
    with Gateway(settings=settings) as gateway:
        answer = gateway.admin("GET", "/admin/v1/settings")
        shown = answer.json["settings"]
        assert answer.status == 200 and "hush" not in answer.text
        assert shown["log"]["batch_max"] == 64 and shown["log"]["queue"] == 8192
        assert shown["log"]["kafka"]["properties"] == {"sasl.password": "***", "ssl.key.password": "***", "linger.ms": "5"}
        assert shown["store"]["redis"]["url"] == "redis://ann:***@127.0.0.1:6379/0"
        assert shown["listen"]["port"] == gateway.port and "seed" not in shown
        assert answer.json["version"] in run("--version")[1]
        defaults = json.loads(run("--print-default-config")[1])
        assert {name: sorted(value) for name, value in shown.items() if isinstance(value, dict)} == \
            {name: sorted(value) for name, value in defaults.items() if isinstance(value, dict) and name != "seed"}
