"""The log in the format of the Elastic Common Schema, and its way to Elasticsearch by the examples of deploy/logs."""
import os
import re
import socket
import subprocess
import tomllib

import pytest
import yaml
from ecs import read_lines
from front import tool
from penstock import BUILD, ROOT, Gateway, call, wait_until
from receivers import Elasticsearch

ECS = {"logging": {"format": "ecs"}, "access_log": {"every": 1, "addresses": True}}
LOGS = ROOT / "deploy/logs"


def buy(gateway, user, **fields):
    return call(gateway.port, "POST", "/v1/sales/sale/orders", {"sku": "phone", "quantity": 1}, {"X-User-Id": user, "Idempotency-Key": user, **fields})


def test_every_line_has_names_and_types_of_ecs_and_no_line_a_user(tmp_path):
    """Over a sale's beginning, refusals, an operator's change, a wrong token, and the end; without errors the same lines as before."""
    with Gateway(tmp_path, ECS) as gateway:
        gateway.make_sale("sale", stock=1)
        answers = [buy(gateway, "user-secret-1"), buy(gateway, "user-secret-2"), call(gateway.port, "GET", "/no/such?query=secret")]
        assert [answer.status for answer in answers] == [202, 409, 404]
        assert call(gateway.admin_port, "GET", "/admin/v1/sales", headers={"Authorization": "Bearer wrong"}).status == 401
    text = gateway.log_path.read_text()
    lines = read_lines(text)
    assert len(lines) == len(text.splitlines()) and "secret" not in text
    assert {"ready", "access", "admin_change", "admin_denied", "stopped"} <= {line["event.action"] for line in lines}
    assert {(line["service.name"], line["ecs.version"]) for line in lines} == {("penstock", "8.11.0")}
    assert {line["service.node.name"] for line in lines if line["event.action"] == "access"} == {(gateway.state / "gateway.id").read_text().strip()}
    found = {line["http.request.id"]: line for line in lines if line["event.action"] == "access"}
    for answer in answers:
        line = found[answer.headers["x-request-id"]]
        assert (line["http.response.status_code"], line["source.ip"]) == (answer.status, "127.0.0.1") and 0 < line["event.duration"] < 60e9
    assert len({line.get("user.hash") for line in found.values()}) == 3  # two buyers, and nobody


def test_a_name_of_a_member_always_has_the_same_type():
    """Elasticsearch takes the type of a name from its first document, and refuses documents with another one."""
    kinds = {}
    for folder in ("gateway", "queue"):
        for path in (ROOT / folder).rglob("*.c"):
            for kind, name in re.findall(r'PS_F_(STR|STRN|INT|BOOL|FLAG)\("(\w+)"', path.read_text(encoding="utf-8")):
                kinds.setdefault(name, set()).add({"STRN": "STR", "FLAG": "BOOL"}.get(kind, kind))
    assert len(kinds) > 90
    assert {name for name, found in kinds.items() if len(found) > 1} == {"version"}  # as a text it is the program's: service.version


@pytest.mark.parametrize("program", ["settle", "standby"])
def test_the_other_programs_log_in_the_same_format(tmp_path, program):
    command = {"settle": [BUILD / "queue/settle/penstock-settle", "--log-format", "ecs", "--database", f"sqlite:{tmp_path}/no/file", "--journal", tmp_path / "none", "--once"],
               "standby": [BUILD / "queue/standby/penstock-standby", "--log-format", "ecs", "--gateway", "http://127.0.0.1:1", "--token-file", tmp_path / "none",
                           "--state-dir", tmp_path / "no" / "dir", "--once"]}[program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    lines = read_lines(done.stderr)
    assert done.returncode == 1 and lines and {line["service.name"] for line in lines} == {f"penstock-{program}"}, done.stderr
    assert lines[-1]["log.level"] == "error" and lines[-1]["event.reason"], done.stderr


@pytest.mark.parametrize("reads", [True, False])
def test_the_journal_of_systemd_gets_the_level_of_each_line_as_its_priority(tmp_path, reads):
    """By the prefix of sd-daemon(3), only where $JOURNAL_STREAM names the file that is stderr. In a real journal: delivery/test_systemd.py."""
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"listn": {}}')
    standby = [BUILD / "queue/standby/penstock-standby", "--gateway", "http://127.0.0.1:1", "--token-file", tmp_path / "none", "--state-dir", tmp_path / "none", "--once"]
    for command, begins in ((standby, "{"), ([BUILD / "gateway/penstock", "--config", wrong], "penstock: ")):
        with open(tmp_path / "stderr", "w+", encoding="utf-8") as file:
            at = os.fstat(file.fileno())
            stream = f"{at.st_dev}:{at.st_ino if reads else at.st_ino + 1}"
            assert subprocess.run(command, stderr=file, env={**os.environ, "JOURNAL_STREAM": stream}, timeout=60).returncode == 1
            file.seek(0)
            lines = file.read().splitlines()
        assert lines and all(line.startswith(("<3>" if reads else "") + begins) for line in lines), lines


def test_a_format_that_does_not_exist_is_named(tmp_path):
    gateway = Gateway(tmp_path, {"logging": {"format": "xml"}})
    done = subprocess.run([BUILD / "gateway/penstock", "--config", gateway.config, "--check-config"], capture_output=True, text=True)
    assert done.returncode == 1 and "logging.format" in done.stderr
    done = subprocess.run([BUILD / "queue/standby/penstock-standby", "--log-format", "xml"], capture_output=True, text=True)
    assert done.returncode == 2 and "--log-format" in done.stderr and "ecs" in done.stderr


# --- rsyslog ---


class Rsyslog:
    """The example, started as it is but for the server's address and the paths; lines come by its socket, as from systemd's journal."""

    def __init__(self, where, port):
        self.socket, self.refused = where / "socket", where / "refused.json"
        text = (LOGS / "rsyslog.conf").read_text(encoding="utf-8")
        for ours, there in (('server="elasticsearch.example" serverport="9200" usehttps="on"', f'server="127.0.0.1" serverport="{port}"'), ("/var/log/penstock-refused.json", str(self.refused)),
                            ('action.resumeInterval="5" action.resumeIntervalMax="60"', 'action.resumeInterval="1" action.resumeIntervalMax="1"')):
            assert ours in text, ours
            text = text.replace(ours, there)
        (where / "penstock.conf").write_text(text)
        (where / "work").mkdir()
        self.config = where / "rsyslog.conf"
        self.config.write_text(f'global(workDirectory="{where}/work")\nmodule(load="imuxsock" sysSock.use="off")\n'
                               f'input(type="imuxsock" socket="{self.socket}" createPath="on")\ninclude(file="{where}/penstock.conf")\n')
        self.command = [tool("rsyslogd"), "-n", "-f", str(self.config), "-i", str(where / "pid")]
        self.errors = where / "errors"

    def __enter__(self):
        with open(self.errors, "ab") as errors:
            self.process = subprocess.Popen(self.command, stdout=errors, stderr=errors)
        wait_until(self.socket.exists, what="rsyslog's socket")
        return self

    def __exit__(self, *exc):
        self.process.terminate()
        self.process.wait(30)

    def log(self, text, tag="penstock[7]"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.connect(str(self.socket))
            for line in text.splitlines():
                to.send(f"<14>Nov 24 12:00:00 {tag}: {line}".encode())


@pytest.fixture()
def text(tmp_path):
    (tmp_path / "gateway").mkdir()
    with Gateway(tmp_path / "gateway", ECS) as gateway:
        gateway.make_sale("sale", stock=1)
        for i in range(20):
            buy(gateway, f"user-{i}")
    return gateway.log_path.read_text()


def test_rsyslog_brings_each_line_once_also_those_of_the_time_when_the_receiver_was_down(tmp_path, text):
    with Elasticsearch() as receiver, Rsyslog(tmp_path, receiver.port) as rsyslog:
        rsyslog.log(text)
        lines = text.splitlines()
        wait_until(lambda: len(receiver.got) >= len(lines), what="the documents")
        receiver.down()
        rsyslog.log(text)
        rsyslog.log("Jan 1 something else", tag="sshd[1]")
        receiver.up()
        wait_until(lambda: len(receiver.got) >= 2 * len(lines), timeout=60, what="the documents of the outage")
        assert sorted(document for _, document in receiver.got) == sorted(2 * lines)
        assert len(read_lines("\n".join(document for _, document in receiver.got))) == 2 * len(lines)
        # No user, order or request names an index.
        assert {index for index, _ in receiver.got} == {"logs-penstock-default"}


def test_rsyslog_sends_again_what_was_stored_without_an_answer_and_it_counts_once(tmp_path, text):
    with Elasticsearch() as receiver, Rsyslog(tmp_path, receiver.port) as rsyslog:
        def store_and_fail(request, body):
            receiver.take(request, body)
            return 503, "{}", {}

        receiver.answers.append(store_and_fail)
        rsyslog.log(text)
        wait_until(lambda: len(receiver.got) >= len(text.splitlines()), timeout=60, what="the documents")
    assert sorted(document for _, document in receiver.got) == sorted(text.splitlines())


# --- The examples that need programs which Debian lacks. ---


def test_the_examples_for_other_shippers_are_read_and_name_the_same_stream():
    vector = tomllib.loads((LOGS / "vector.toml").read_text(encoding="utf-8"))
    fluent = yaml.safe_load((LOGS / "fluent-bit.yaml").read_text(encoding="utf-8"))
    beat = yaml.safe_load((LOGS / "filebeat.yml").read_text(encoding="utf-8"))
    parsers = yaml.safe_load((LOGS / "fluent-bit.yaml").read_text(encoding="utf-8"))["parsers"]
    sink, = vector["sinks"].values()
    assert sink["type"] == "elasticsearch" and sink["mode"] == "data_stream" and set(sink["inputs"]) <= vector["transforms"].keys() | vector["sources"].keys()
    assert all(set(step["inputs"]) <= vector["transforms"].keys() | vector["sources"].keys() for step in vector["transforms"].values())
    output, = fluent["pipeline"]["outputs"]
    assert output["name"] == "es" and output["index"] == "logs-penstock-default" and fluent["pipeline"]["filters"][0]["parser"] in {parser["name"] for parser in parsers}
    assert beat["output.elasticsearch"]["index"] == "logs-penstock-default" and beat["filebeat.inputs"][0]["type"] == "journald"
    stream = sink["data_stream"]
    assert "-".join((stream["type"], stream["dataset"], stream["namespace"])) == "logs-penstock-default"
    # The units whose lines are read are those that the package installs.
    units = {path.name for path in (ROOT / "deploy/systemd").glob("*.service")}
    for name in ("vector.toml", "fluent-bit.yaml", "filebeat.yml"):
        assert set(re.findall(r"penstock[\w-]*\.service", (LOGS / name).read_text(encoding="utf-8"))) == units, name
