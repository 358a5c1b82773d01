"""The scripts of deploy/ as a newcomer meets them: in a folder with a space, from somewhere else, behind a proxy, with Debian's path of an ordinary user, interrupted."""
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from examples import commands, paste
from penstock import BUILD, PATIENT_LOG, ROOT, free_port, wait_until

USERS_PATH = "/usr/local/bin:/usr/bin:/bin"
PROXY = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}  # nobody is there


def as_from_a_terminal():
    """Whoever runs the tests may ignore these (nohup does), and bash cannot take back what was ignored when it began."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def read_until(running, word):
    read = ""
    for line in running.stdout:
        read += line
        if word in line:
            break
    return read


class Checkout:
    """A copy of what the quickstart needs, built already, with ports of its own."""

    def __init__(self, directory):
        self.root = directory / "R&D 100% checkout"
        shutil.copytree(ROOT / "deploy", self.root / "deploy")
        (self.root / "build").mkdir()
        (self.root / "build" / "release").symlink_to(BUILD)
        self.programs = directory / "programs"
        self.programs.mkdir()
        self.program("cmake", "exit 0")
        self.ports = {}
        for script in ("quickstart", "cluster/run", "shop/documents.json"):
            path = self.root / "deploy" / script
            path.write_text(re.sub(r"\b(8079|8080|9090|8404|6390|919[23]|[89]08[123]|809[1234])\b", lambda found: str(self.port(found.group())), path.read_text()))
        settings = json.loads((self.root / "deploy/penstock.json").read_text())
        settings |= {"listen": {"port": self.port("8080")}, "admin": {"port": self.port("9090")}, **PATIENT_LOG}
        (self.root / "deploy/penstock.json").write_text(json.dumps(settings))

        member = self.root / "deploy/cluster/gateway.json"  # and nothing gives way there, either
        member.write_text(member.read_text().replace('"log": {', '"policy": {"overload": {"mode": "off"}}, "log": {"ack_timeout_ms": 10000, '))

    def port(self, number):
        return self.ports.setdefault(number, free_port())

    def program(self, name, text):
        """One that comes first on the path."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def start(self, *options, env=None):
        return subprocess.Popen([self.root / "deploy/quickstart", *options], cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
                                env={**os.environ, "PATH": f"{self.programs}:{USERS_PATH}", **(env or {})}, preexec_fn=as_from_a_terminal)

    def left(self):
        """Ids and command lines of what still runs out of this folder."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                    line = file.read().replace("\0", " ")
                if str(self.root) in line or os.readlink(f"/proc/{pid}/cwd").startswith(str(self.root)):
                    found.append((int(pid), line))
            except OSError:
                continue
        return found


@pytest.fixture
def checkout(tmp_path):
    one = Checkout(tmp_path)
    yield one
    for pid, _ in one.left():  # of a test that has failed
        os.kill(pid, signal.SIGKILL)


def test_the_quickstart_runs_behind_a_proxy_and_in_a_folder_with_a_space(checkout):
    running = checkout.start("--exit", env=PROXY)
    out = running.communicate(timeout=120)[0]
    assert running.returncode == 0 and "The proof holds." in out, out
    assert checkout.left() == []


def test_a_rehearsal_that_could_not_be_made_is_not_told_from_an_old_report(checkout):
    (checkout.root / "build/rehearsal.json").write_text('{"sale": "rehearsal-of-yesterday"}')
    release = checkout.root / "build/release"
    release.unlink()
    (release / "loadtest").mkdir(parents=True)
    (release / "gateway").symlink_to(BUILD / "gateway")
    checkout.program("rehearse", "echo it cannot be >&2; exit 1")
    (release / "loadtest/penstock-rehearse").symlink_to(checkout.programs / "rehearse")
    running = checkout.start("--exit")
    out = running.communicate(timeout=60)[0]
    assert running.returncode == 1 and "it cannot be" in out and "rehearsal-of-yesterday" not in out, out
    assert checkout.left() == []


def test_a_quickstart_whose_first_token_is_no_longer_known_takes_another_file(checkout):
    running = checkout.start("--exit")
    assert "The proof holds." in running.communicate(timeout=120)[0]
    first, kept = checkout.root / ".penstock/admin.token", checkout.root.parent / "kept.token"
    kept.write_text(first.read_text())
    first.write_text("pst_" + "x" * 43 + "\n")
    running = checkout.start("--exit")
    out = running.communicate(timeout=120)[0]
    assert running.returncode == 1 and "--token-file" in out, out
    running = checkout.start("--exit", "--token-file", str(kept).lstrip("/"))  # from where it is started
    out = running.communicate(timeout=120)[0]
    assert running.returncode == 0 and "The proof holds." in out, out
    assert checkout.left() == []


def test_the_log_of_a_failed_build_has_all_of_it(checkout):
    checkout.program("cmake", "echo this compiler is broken >&2; exit 1")
    running = checkout.start("--exit")
    out = running.communicate(timeout=60)[0]
    assert running.returncode == 1 and "this compiler is broken" in out, out
    assert "this compiler is broken" in (checkout.root / "build/quickstart.log").read_text()


def test_two_quickstarts_at_once_are_one(checkout):
    go = checkout.programs / "go"
    checkout.program("cmake", f"until [ -e '{go}' ]; do sleep 0.1; done")
    first = checkout.start("--exit")
    wait_until(lambda: (checkout.root / "build/quickstart.log").exists(), what="the build")
    second = checkout.start("--exit")
    out = second.communicate(timeout=120)[0]
    assert second.returncode == 1 and "Another quickstart runs here already" in out, out
    go.touch()
    out = first.communicate(timeout=120)[0]
    assert first.returncode == 0 and "The proof holds." in out, out


@pytest.mark.parametrize("stage", ["building", "starting the gateway", "rehearsing", "offered", "Serving"])
def test_a_quickstart_that_is_interrupted_leaves_nothing_running(checkout, stage):
    checkout.program("cmake", "sleep 0.5")
    running = checkout.start()
    read_until(running, stage)
    os.killpg(running.pid, signal.SIGINT)
    out = running.communicate(timeout=60)[0]
    assert running.returncode not in (0, None), out
    assert checkout.left() == []


def test_an_interrupted_quickstart_tells_what_came_of_the_rehearsal(checkout):
    """Ctrl-C goes to all that the terminal started; the gateway still has to answer for its books."""
    running = checkout.start()
    read_until(running, "offered")
    os.killpg(running.pid, signal.SIGINT)
    out = running.communicate(timeout=60)[0]
    assert "interrupted" in out and "The proof holds." in out, out
    assert checkout.left() == []


def test_a_quickstart_says_that_its_gateway_has_ended(checkout):
    running = checkout.start()
    read_until(running, "Serving")
    for pid, line in checkout.left():
        if "--config deploy/penstock.json" in line:
            os.kill(pid, signal.SIGKILL)
    out = running.communicate(timeout=60)[0]
    assert running.returncode == 1 and "The gateway has ended" in out, out


# The machine may be so busy with other tests that audits would give way.
PIN = """curl -sS --fail-with-body -H @.penstock/admin.header -H 'Content-Type: application/json' \\
    http://127.0.0.1:9090/admin/v1/features/exports/pin -d '{"state":"on","ttl_s":600,"reason":"a test reads the books"}'
"""


def test_the_five_calls_of_the_readme_run_beside_a_quickstart_that_serves(checkout):
    running = checkout.start()
    read_until(running, "Serving")
    ports = {f":{port}": f":{checkout.port(port)}" for port in ("8080", "9090")}
    paste(PIN, checkout.root, ports)
    out = paste(commands("README.md"), checkout.root, ports)
    assert '"state":"confirmed"' in out and '"ok":true' in out
    os.killpg(running.pid, signal.SIGINT)
    running.communicate(timeout=60)


def test_a_quickstart_ends_with_its_terminal(checkout):
    running = checkout.start()
    read_until(running, "Serving")
    os.killpg(running.pid, signal.SIGHUP)
    running.communicate(timeout=60)
    wait_until(lambda: checkout.left() == [], 10, what="its end")


@pytest.mark.xdist_group("cluster-quickstart")
def test_a_cluster_runs_for_an_ordinary_user_behind_a_proxy(checkout):
    """HAProxy lies in /usr/sbin, which is not on an ordinary user's path. The commands of its page run beside it."""
    running = checkout.start("--cluster", env=PROXY)
    out = read_until(running, "Serving")
    assert "The books agree." in out, out
    *first, last = commands("docs/cluster.md").splitlines(keepends=True)
    ports = {f":{port}": f":{checkout.port(port)}" for port in ("8080", "9081", "9082")}
    told = paste("".join([*first, last]), checkout.root, ports)
    assert '"state":"accepted"' in told, told
    wait_until(lambda: '"held":1' in paste("".join([*first[:2], last]), checkout.root, ports), what="the order at gateway 2")
    os.killpg(running.pid, signal.SIGINT)
    running.communicate(timeout=120)
    assert checkout.left() == []


@pytest.mark.xdist_group("cluster-quickstart")
def test_a_cluster_that_is_interrupted_while_kafka_starts_leaves_nothing_running(checkout):
    running = checkout.start("--cluster")
    wait_until(lambda: (checkout.root / ".penstock/cluster/kafka/broker.log").exists(), 60, what="the broker")
    time.sleep(0.5)
    os.killpg(running.pid, signal.SIGINT)
    out = running.communicate(timeout=120)[0]
    assert running.returncode == 130, out
    wait_until(lambda: checkout.left() == [], 30, what="the end of all parts")


def test_an_interrupted_installation_forbids_no_services_for_ever(tmp_path):
    """While packages are installed, none of their servers is to start; Debian asks a program, and whoever made it takes it away."""
    policy, programs = tmp_path / "policy-rc.d", tmp_path / "programs"
    programs.mkdir()
    for name, text in (("dpkg-query", "exit 1"), ("apt-get", f'[ "$1" != install ] || {{ touch {tmp_path}/installing; exec sleep 30; }}'), ("sudo", 'exec "$@"')):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    script = tmp_path / "packages.sh"
    script.write_text((ROOT / "deploy/packages.sh").read_text().replace("/usr/sbin/policy-rc.d", str(policy)))
    running = subprocess.Popen(["bash", "-euo", "pipefail", "-c", f". {script}; install_packages something"], env={**os.environ, "PATH": f"{programs}:{USERS_PATH}"},
                               start_new_session=True, preexec_fn=as_from_a_terminal)
    wait_until((tmp_path / "installing").exists, what="apt-get")
    assert policy.exists()
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(20) != 0
    assert not policy.exists()


def test_a_measurement_that_is_ended_leaves_nothing_running(checkout):
    bench = checkout.root / "loadtest/bench.d"
    shutil.copytree(ROOT / "loadtest/bench.d", bench)
    checkout.program("wrk", f"touch '{checkout.programs}/measuring'; exec sleep 30")
    running = subprocess.Popen(["/usr/bin/python3", bench / "bench.py", "--rounds", "1", "--case", "sold_out"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               cwd=checkout.root, env={**os.environ, "PATH": f"{checkout.programs}:{USERS_PATH}:/usr/sbin", "PENSTOCK_BUILD": str(BUILD)})
    wait_until(lambda: running.poll() is not None or (checkout.programs / "measuring").exists(), 60, what="the measurement")
    assert len(checkout.left()) >= 4, running.communicate(timeout=30)[0]  # itself, a gateway, nginx and its worker
    running.terminate()
    out = running.communicate(timeout=30)[0]
    assert running.returncode == 1 and "bench: ended" in out, out
    wait_until(lambda: checkout.left() == [], 10, what="the end of all parts")
