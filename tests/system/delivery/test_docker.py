"""Docker itself and Docker Compose: the archive is loaded, and the commands of docs/deploy.md are pasted. The engine has a storage and a network of its
own, so that the ports are those of the file and the machine's stay free."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import uuid

import pytest
from containers import VERSION, run
from penstock import ROOT, wait_until

pytestmark = [pytest.mark.soak, pytest.mark.xdist_group("image"), pytest.mark.skipif(os.geteuid() != 0, reason="Docker's engine is started by root")]

TAG = f"penstock:{VERSION}"


class Engine:
    """dockerd in namespaces of its own for the network and for mounts: what it does there ends with it."""

    def __init__(self, directory):
        self.directory, self.name = pathlib.Path(directory), f"penstock-{uuid.uuid4().hex[:8]}"
        plugins = self.directory / "config/cli-plugins"
        plugins.mkdir(parents=True)
        (plugins / "docker-compose").symlink_to(run(ROOT / "tests/compose/fetch").stdout.strip() + "/docker-compose")
        self.env = {**os.environ, "DOCKER_HOST": f"unix://{directory}/sock", "DOCKER_CONFIG": str(self.directory / "config"), "no_proxy": "*"}

    def __enter__(self):
        run("ip", "netns", "add", self.name)
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        self.log = open(self.directory / "log", "w")
        self.process = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.name}", "unshare", "--mount", "--propagation", "private", "dockerd", "--data-root", self.directory / "root",
                                         "--exec-root", self.directory / "run", "--pidfile", self.directory / "pid", "-H", self.env["DOCKER_HOST"], "--containerd-namespace", self.name,
                                         "--cgroup-parent", f"/{self.name}", "--exec-opt", "native.cgroupdriver=cgroupfs"], stdout=self.log, stderr=self.log)
        try:
            wait_until(lambda: self.process.poll() is not None or self("version", status=None).returncode == 0, 60, 0.2, "Docker's engine")
            assert self.process.poll() is None, (self.directory / "log").read_text()[-3000:]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        for container in self("ps", "-aq", status=None).stdout.split():
            self("rm", "-f", container, status=None)
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        run("ip", "netns", "del", self.name, status=None)
        for group in [*pathlib.Path("/sys/fs/cgroup").glob(self.name), *pathlib.Path("/sys/fs/cgroup").glob(f"*/{self.name}")]:  # version 2, and 1
            with contextlib.suppress(OSError):
                group.rmdir()

    def __call__(self, *words, **more):
        return run("docker", *words, env=self.env, **more)

    def paste(self, script, directory):
        """What the commands write, as somebody pastes them on the engine's machine."""
        begin = 'set -euo pipefail\ncurl() { command curl --fail-with-body "$@"; }\n'
        return run("nsenter", f"--net=/run/netns/{self.name}", "bash", "-c", begin + script, cwd=directory, env=self.env, timeout=120).stdout


@pytest.fixture(scope="module")
def docker():
    """In a short path, because a socket's has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="docker-", ignore_cleanup_errors=True) as directory, Engine(directory) as engine:
        yield engine


@pytest.fixture
def project(docker, archive, tmp_path):
    """A fresh directory with nothing but the file; the image is in the engine."""
    assert docker("load", "-i", archive.path).stdout.strip() == f"Loaded image: {TAG}"
    shutil.copy(ROOT / "deploy/compose/compose.yaml", tmp_path)
    yield tmp_path
    docker("compose", "down", "-v", "-t", "5", cwd=tmp_path)


def test_the_commands_of_the_page_sell_and_prove_and_what_was_sold_outlives_the_container(docker, project):
    page = (ROOT / "docs/deploy.md").read_text()
    commands = re.search(r"^## Compose$.*?^```console\n(.*?)^```", page, re.M | re.S)[1]
    *buy, rehearse = commands.strip().splitlines()
    assert rehearse.startswith("docker compose run --rm rehearse")
    sold = docker.paste("\n".join(buy), project)
    order = json.loads(sold[sold.rindex('{"order_id"'):])
    assert order["state"] in ("accepted", "pending"), sold
    assert (project / "admin.token").stat().st_mode & 0o077 == 0
    admin = "curl -sS -H @admin.header -H 'Content-Type: application/json' "
    docker.paste(f"{admin} -X PUT -H 'If-Match: *' http://127.0.0.1:8090/admin/v1/overload -d '{{\"mode\":\"off\"}}'", project)  # however busy this machine is
    docker.paste(f"{admin} -X POST http://127.0.0.1:8090/admin/v1/orders/{order['order_id']}/confirm -d '{{\"reason\":\"invoice 17\"}}'", project)
    said = docker.paste(rehearse, project)
    assert "2,000 buyers came for 100 units" in said and "The proof holds." in said, said

    docker("compose", "stop", cwd=project)
    log = docker("compose", "logs", "--no-log-prefix", "gateway", cwd=project).stdout
    assert [json.loads(line)["event"] for line in log.splitlines()][-3:] == ["signal", "draining", "stopped"], log
    assert docker("compose", "ps", "-a", "--format", "json", cwd=project).stdout.count('"ExitCode":0') == 1
    docker("compose", "down", cwd=project)
    docker("compose", "up", "-d", "--wait", cwd=project)
    assert json.loads(docker.paste(f"curl -sS http://127.0.0.1:8080/v1/orders/{order['order_id']} -H 'X-User-Id: ann'", project))["state"] == "confirmed"
    assert json.loads(docker.paste(f"{admin} http://127.0.0.1:8090/admin/v1/sales/spring/audit", project))["ok"] is True


@pytest.mark.parametrize("volumes, says", [('!override ["state:/var/lib/penstock:ro"]', "/var/lib/penstock: is on a read-only file system: mount a writable disk there"),
                                           ('!override ["./foreign:/var/lib/penstock"]', "/var/lib/penstock: belongs to user 0, but this program runs as user 65532: chown -R 65532")])
def test_a_state_directory_that_cannot_be_is_named_in_the_log(docker, project, volumes, says):
    (project / "foreign").mkdir(0o755)
    (project / "compose.override.yaml").write_text(f"services: {{gateway: {{restart: !override 'no', volumes: {volumes}}}}}\n")
    docker("compose", "up", "-d", "--wait", cwd=project, status=1)
    assert says in docker("compose", "logs", "--no-log-prefix", "gateway", cwd=project).stdout


def test_a_container_without_a_volume_says_that_its_orders_would_be_lost(docker, project):
    """The engine makes no volume of its own accord."""
    (project / "compose.override.yaml").write_text("services: {gateway: {volumes: !reset []}}\n")
    docker("compose", "up", "-d", "--wait", cwd=project)
    assert '"event":"state_dir_in_container"' in docker("compose", "logs", "--no-log-prefix", "gateway", cwd=project).stdout
    assert not docker("volume", "ls", "-q", "--filter", "dangling=false").stdout
