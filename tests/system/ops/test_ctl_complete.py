"""penstockctl reaches all of the admin API: each command is called once beside a real gateway, and what it asks for is compared with
gateway/admin/openapi.yaml."""
import http.client
import json
import re
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from desk import OK, Desk
from penstock import ROOT, Gateway, rfc3339

# Operations that no command calls, each with its reason.
NOT_FOR_PEOPLE = {
    "livez": "a probe, on the public listener, too",
    "readyz": "a probe, on the public listener, too",
    "metrics": "Prometheus reads it; top shows what matters now",
    "console": "a browser loads it",
    "consoleFile": "a browser loads it",
    "consoleFolder": "a browser loads it",
    "events": "the stream of the console, without an end; top shows the same state",
    "readJournal": "penstock-standby follows the journal by it",
    "copyControl": "penstock-standby copies control.db by it",
}
DOCUMENTS = {
    "sale": ("spring", {"opens_at": rfc3339(3600), "skus": [{"sku": "phone", "stock": 9}]}),
    "limit": ("own", {"algorithm": "token_bucket", "key": "user", "rate": 9, "period_s": 1}),
    "block_user": ("mallory", {"reason": "bots"}),
    "block_ip": ("203.0.113.0/24", {"reason": "bots"}),
    "cache": ("store", {"bytes": 1048576}),
    "pool": ("web", {"discovery": {"registration": True}}),
    "route": ("page", {"path": "/page/", "pool": "web"}),
    "feature": ("exports", {"level": 3}),
    "plan": ("quiet", {"title": "t", "steps": [{"override": {"target": "level", "value": 0}}], "ttl_s": 60}),
    "overload": (None, {}),
}
SHIPPED = ("overload", "feature")  # they cannot be deleted
PATCHES = {"sale": {"per_user_cap": 3}, "limit": {"rate": 8}, "block_user": {"reason": "b"}, "block_ip": {"reason": "b"}, "cache": {"bytes": 2097152},
           "pool": {"drain_ms": 1}, "route": {"total_ms": 20000}, "feature": {"level": 2}, "plan": {"title": "u"}, "overload": {"leave_s": 20}}


class Recorder:
    """Stands before the admin listener and remembers methods and paths."""

    def __enter__(self):
        recorder = self
        self.seen, self.lock = set(), threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def forward(self):
                with recorder.lock:
                    recorder.seen.add((self.command, self.path.partition("?")[0]))
                back = http.client.HTTPConnection("127.0.0.1", recorder.port, timeout=30)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                back.request(self.command, self.path, body or None, dict(self.headers))
                answer = back.getresponse()
                text = answer.read()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                        self.send_header(name, value)
                if answer.status != 204:
                    self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
                back.close()

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = forward

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.server.server_close()


def operations():
    """The API: for each operation its id, method and path as a pattern."""
    paths = yaml.safe_load((ROOT / "gateway/admin/openapi.yaml").read_text())["paths"]
    for path, item in paths.items():
        pattern = re.compile(re.sub(r"\\\{[a-z_]+\\\}", "[^/]+", re.escape(path)))
        yield from ((operation["operationId"], method.upper(), pattern) for method, operation in item.items() if isinstance(operation, dict))


def commands(desk):
    """Their names, as the help lists them."""
    names = re.findall(r"^  ([a-z].*)$", desk.out("--help").partition("\n\n  ")[2].join(("  ", "")).partition("\n\n")[0], re.M)
    return {" ".join(word for word in name.split() if re.fullmatch(r"[a-z-]+", word)) for name in names}


class Asked:
    """A desk that remembers which commands were called."""

    def __init__(self, desk):
        self.desk, self.called = desk, set()

    def __call__(self, command, *words, **more):
        self.called.add(command)
        return self.desk.out(*command.split(), *words, **more)


def ask_about_documents(ask, desk):
    for kind, (name, document) in DOCUMENTS.items():
        desk.write(f"bundle/{kind}.json", kind, document, name or "default")
    ask("apply", "-f", "bundle", "--reason", "r")
    ask("diff", "-f", "bundle")
    editor = desk.directory / "editor"
    editor.write_text('#!/bin/sh\ncp edited.json "$1"\n')
    editor.chmod(0o755)
    for kind, (name, _) in DOCUMENTS.items():
        words = [kind] + ([name] if name else [])
        ask("get", kind)
        ask("describe", kind)
        ask("get", *words)
        assert "change" in ask("patch", *words, json.dumps(PATCHES[kind]), "--dry-run")
        ask("patch", *words, json.dumps(PATCHES[kind]), "--reason", "r")
        (desk.directory / "edited.json").write_text(json.dumps(desk.json("get", *words) | DOCUMENTS[kind][1] | {"reason": "edited"}))
        assert "changed" in ask("edit", *words, EDITOR=str(editor))
        versions = json.loads(ask("rollback", *words, "-o", "json"))
        ask("get", *words, versions[-1]["version"])
        ask("rollback", *words, versions[-1]["version"], "--reason", "r")


def ask_about_orders(ask, desk, gateway):
    """A sale that sells, its orders, and what may be asked of it."""
    ask("sale open", "spring")
    gateway.wait_state("spring", "open")
    orders = [gateway.buy("spring", f"u{i}", key="k").json["order_id"] for i in range(4)]
    ask("order show", orders[0])
    ask("order confirm", orders[0])
    ask("order cancel", orders[1])
    told = ask("order batch", "confirm", "-f", "-", text="\n".join(orders[2:] + [str(uuid.uuid4())]), status=None)
    assert told.count("confirmed") == 2 and "404" in told, told
    assert len(ask("order export", "--sale", "spring").splitlines()) == 5
    assert ask("sale log", "spring").count("penstock.order.accepted.v1") == 4
    ask("sale list")
    ask("sale show", "spring")
    ask("sale adjust", "spring", "phone", "1", "--id", "one")
    ask("sale pause", "spring")
    ask("sale resume", "spring")
    assert "no differences" in ask("sale audit", "spring")
    ask("sale rebuild", "spring", status=None)
    ask("sale end", "spring")


def ask_about_the_rest(ask, desk, gateway):
    ask("override set", "level", "0", "--ttl", "60", "--reason", "r")
    ask("override show", "level")
    ask("override list")
    ask("override end", "level")
    run = json.loads(ask("run", "quiet", "--reason", "r", "-o", "json"))["run"]
    ask("create", "cache", "made", '{"bytes":1048576}')
    ask("limit create", "made", json.dumps(DOCUMENTS["limit"][1]))
    ask("block user", "trudy", "--ttl", "10m")
    ask("block ip", "192.0.2.128/25")
    ask("endpoints")
    ask("runs list")
    ask("runs get", run)
    ask("runs approve", run, status=None)
    ask("runs cancel", run, status=None)
    ask("runs revert", run)
    ask("runs keep", run, status=None)
    ask("endpoint put", "web", "127.0.0.1:1", "--ttl", "60", "--weight", "2")
    assert "127.0.0.1:1" in ask("endpoint list", "web")
    ask("endpoint show", "web", "127.0.0.1:1")
    ask("endpoint remove", "web", "127.0.0.1:1")
    ask("cache purge", "store", "prefix", "/p/")
    ask("route resume", "page")
    for command in ("breakers", "flow", "whoami", "settings", "nodes", "token list", "rehearsal-key list", "watch list", "audit show", "audit verify", "config versions"):
        ask(command)
    ask("standby", status=None)
    ask("explain", "--user", "u", "--ip", "203.0.113.7", "--sale", "spring", "--sku", "phone")
    ref = gateway.buy("spring", "late").json["ref"]
    ask("explain", ref)
    ask("watch follow", "u", "--ttl", "60", "--once")
    ask("watch end", "u")
    ask("top", "--once")
    token = json.loads(ask("token new", "viewer", "--note", "n", "-o", "json"))["id"]
    ask("token remove", token)
    key = json.loads(ask("rehearsal-key new", "--out", "key.json", "--note", "n", "-o", "json"))
    assert "secret" not in key and len(json.loads((desk.directory / "key.json").read_text())["secret"]) == 64
    ask("rehearsal-key remove", key["key"])


def ask_for_the_bundle(ask, desk, gateway):
    """What export prints is what apply takes; a rollback by revision brings it back."""
    bundle = ask("config export", "--kinds", "limits", "--base")
    (desk.directory / "limits.json").write_text(bundle)
    revision = json.loads(ask("config versions", "-o", "json"))[0]["revision"]
    ask("delete", "limit", "own", "--dry-run")
    assert "own" in json.loads(bundle)["documents"]["limits"]
    ask("delete", "limit", "own", "--reason", "r")
    assert "limits/own" in ask("config rollback", revision, "--kinds", "limits", "--dry-run")
    ask("config rollback", revision, "--kinds", "limits", "--reason", "r")
    ask("get", "limit", "own")
    ask("delete", "limit", "own")
    ask("apply", "-f", "limits.json")
    ask("get", "limit", "own")
    for kind in ("route", "pool", "cache", "plan", "block_user", "block_ip", "limit", "sale"):
        ask("delete", kind, DOCUMENTS[kind][0], status=None)


@pytest.fixture()
def told(tmp_path):
    """Which commands were called, and which operations they reached."""
    with Gateway() as gateway, Recorder() as recorder:
        gateway.no_limits()
        recorder.port = gateway.admin_port
        desk = Desk(tmp_path, recorder.server.server_port, gateway.state / "admin.token")
        ask = Asked(desk)
        ask_about_documents(ask, desk)
        ask_about_orders(ask, desk, gateway)
        ask_about_the_rest(ask, desk, gateway)
        ask_for_the_bundle(ask, desk, gateway)
        ask("drain")
        yield desk, ask.called, recorder.seen


def test_every_operation_of_the_admin_api_is_reached_by_a_command_or_is_not_for_people(told):
    desk, called, seen = told
    assert called == commands(desk) - {"use", "completion", "man"}, "commands that were not called, or that there are not"
    reached = {name for name, method, pattern in operations() for its, path in seen if its == method and pattern.fullmatch(path)}
    assert {name for name, *_ in operations()} - reached == set(NOT_FOR_PEOPLE)
