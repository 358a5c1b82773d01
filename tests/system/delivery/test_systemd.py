"""The package under a real systemd: Debian 12 with systemd as its first process, in a container. A system call that the services' filter forbids
kills here, so what is served shows that the hardening forbids nothing that is needed."""
import contextlib
import json
import os
import pathlib
import re
import tempfile

import pytest
from containers import STATE, Podman, run
from load import buy_bytes
from manager import Clicks
from penstock import PATIENT_LOG, ROOT, Gateway, call, free_port, wait_until

pytestmark = [pytest.mark.soak, pytest.mark.xdist_group("systemd")]

NOBODY, OPERATORS = 65534, 2000  # users and groups
UNITS = "etc/systemd/system"
EXAMPLES = "usr/share/doc/penstock/deploy/systemd"
SERVICES = ("penstock", "penstock-settle", "penstock-standby")
# What the first process of a system would otherwise change on the machine that runs the tests.
MASKED = ("systemd-sysctl", "systemd-modules-load", "systemd-timesyncd", "systemd-networkd", "systemd-resolved")


def packages(directory):
    """The package, and the same with a higher version."""
    run("cpack", "-G", "DEB", "--config", ROOT / "build/release/CPackConfig.cmake", "-B", directory)
    deb, = directory.glob("*.deb")
    run("dpkg-deb", "-R", deb, directory / "files")
    control = directory / "files/DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*", r"\g<0>+next", control.read_text()))
    run("dpkg-deb", "-b", directory / "files", directory / "next.deb")
    return deb, directory / "next.deb"


class Machine(Gateway):
    """A Debian with systemd, whose files are below `root`; its gateway is the service. It shares the network of the machine that runs the tests, so
    the ports are free ones."""

    def __init__(self, podman, root, debs, directory):
        super().__init__(directory, {"state_dir": STATE, "listen": {"host": "127.0.0.1", "port": free_port()}, **PATIENT_LOG})
        directory.chmod(0o755)
        self.podman, self.root = podman, root
        self.state = root / "var/lib/private/penstock"
        self.debs = [f"/root/{deb.name}" for deb in debs]
        run("cp", *debs, root / "root")
        for unit in MASKED:
            (root / UNITS / f"{unit}.service").symlink_to("/dev/null")
        for service in SERVICES:
            (root / UNITS / f"{service}.service.d").mkdir()
            (root / UNITS / f"{service}.service.d/strict.conf").write_text("[Service]\nSystemCallErrorNumber=kill\n")
        # As after a boot, mounts are shared: by that systemd brings credentials to a service.
        self.id = podman("run", "-d", "--systemd=always", "--privileged", "--network", "host", "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096",
                         "-v", f"{directory}:/etc/penstock", "--rootfs", root, "sh", "-c", "mount --make-rshared / && exec /sbin/init").stdout.strip()

    def boot(self):
        wait_until(lambda: self.systemctl("is-system-running", status=None) in ("running", "degraded"), 60, 0.2, "the system")
        self.run("groupadd", "--gid", OPERATORS, "penstock-ops")
        self.run("dpkg", "-i", self.debs[0])
        self.systemctl("enable", "--now", "penstock")
        self.no_limits()

    def run(self, *words, status=0):
        """What a command of root prints there."""
        return self.podman("exec", self.id, *words, status=status).stdout.strip()

    def ask(self, group, *words):
        """What a command of nobody prints, as a member of `group`."""
        return self.run("setpriv", "--reuid", NOBODY, "--regid", group, "--clear-groups", *words, status=None)

    def systemctl(self, *words, status=0):
        return self.run("systemctl", *words, status=status)

    def show(self, name, service="penstock"):
        return self.systemctl("show", "-P", name, service)

    def status(self, status=0):
        return self.systemctl("status", "penstock", "--no-pager", "-l", status=status)

    def journal(self, service="penstock"):
        return self.run("journalctl", "-u", service, "-o", "cat", "--no-pager")

    def has_restarted(self, times):
        wait_until(lambda: int(self.show("NRestarts")) >= times and self.show("ActiveState") == "active", 60, 0.2, "the restart")

    @contextlib.contextmanager
    def units(self, texts):
        """Has these files among the units: {name: text}, with their directories."""
        paths = {self.root / UNITS / name: text for name, text in texts.items()}
        for path, text in paths.items():
            path.write_text(text)
        self.systemctl("daemon-reload")
        try:
            yield
        finally:
            for path in paths:
                path.unlink()
            self.systemctl("daemon-reload")

    def configure(self, settings):
        super().configure(settings)
        self.config.chmod(0o644)

    def clicks(self, sale, **more):
        return Clicks(lambda number: buy_bytes(sale, f"u{number}", f"k{number}"), [self.port], **more)


@pytest.fixture(scope="module")
def machine():
    """With the package installed and the service enabled, as the documents say."""
    if os.geteuid() != 0:
        pytest.skip("systems are made by root")
    with tempfile.TemporaryDirectory(prefix="podman-", ignore_cleanup_errors=True) as directory:  # 250 MB, and podman wants a short path
        where = pathlib.Path(directory)
        debs = packages(where)
        depends = [words.split()[0] for words in run("dpkg-deb", "-f", debs[0], "Depends").stdout.split(",")]
        (where / "etc").mkdir()
        where.chmod(0o755)  # apt works as a user of its own
        run("mmdebstrap", "--quiet", "--variant=minbase", "--dpkgopt=force-unsafe-io", "--include", ",".join(["systemd-sysv", "dbus", *depends]), "bookworm", where / "root")
        with Podman(where) as podman:
            one = Machine(podman, where / "root", debs, where / "etc")
            one.boot()
            yield one


@pytest.fixture()
def serving(machine):
    """The service with good settings, whatever a test before has left."""
    machine.configure({})
    machine.systemctl("start", "penstock")
    return machine


def test_the_service_is_ready_and_shut_in(serving):
    assert f'Status: "Ready: listens on 127.0.0.1 port {serving.port}, ' in serving.status()
    assert int(serving.show("NFileDescriptorStore")) == 3
    pid = serving.show("MainPID")
    status = dict(line.split(":\t", 1) for line in serving.run("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line)
    assert status["Uid"].split()[0] != "0" and status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert all(int(status[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
    mounts = [line.split() for line in serving.run("cat", f"/proc/{pid}/mounts").splitlines()]
    options = {place: words.split(",") for _, place, _, words, *_ in mounts}
    assert "ro" in options["/"] and "rw" in options["/var/lib/private/penstock"]
    assert serving.state.stat().st_mode & 0o777 == 0o700 and {path.stat().st_mode & 0o777 for path in serving.state.iterdir()} == {0o600}
    assert serving.ask(NOBODY, "cat", f"{STATE}/admin.token") == ""


def test_systemd_finds_nothing_to_say_of_the_units(machine):
    units = [f"{service}.service" for service in SERVICES]
    done = machine.podman("exec", machine.id, "systemd-analyze", "verify", "--man=no", *units)
    assert done.stdout + done.stderr == ""
    for unit in units:
        machine.run("systemd-analyze", "security", "--no-pager", "--threshold=15", unit)


def test_no_click_is_refused_while_the_package_is_upgraded_and_the_service_restarted(serving):
    same, higher = serving.debs
    sale = serving.make_sale(stock=200)
    pids = {serving.show("MainPID")}
    with serving.clicks(sale) as clicks:
        clicks.wait(500)
        for deb, restarts in ((same, False), (same, True), (higher, True)):
            serving.run("dpkg", "-i", deb)
            assert serving.show("MainPID") in pids, "an upgrade has restarted the service"
            clicks.wait(500)
            if restarts:
                serving.systemctl("restart", "penstock")
                pids = {serving.show("MainPID")}
                clicks.wait(500)
        serving.systemctl("daemon-reexec")
        serving.systemctl("restart", "penstock")
        clicks.wait(500)
    clicks.assert_all_answered()
    assert clicks.again == 0 and clicks.statuses.keys() <= {202, 409, 503}, clicks.statuses
    assert serving.run("dpkg-query", "-f", "${Version}", "-W", "penstock").endswith("+next")
    serving.assert_books(sale)


def test_a_killed_service_is_back_and_only_what_it_had_accepted_asks_again(serving):
    sale = serving.make_sale(stock=200)
    before = int(serving.show("NRestarts"))
    with serving.clicks(sale, retries=True) as clicks:
        clicks.wait(500)
        serving.systemctl("kill", "-s", "KILL", "penstock")
        serving.has_restarted(before + 1)
        clicks.wait(500)
    clicks.assert_all_answered()
    assert clicks.turned_away == 0
    serving.assert_books(sale)


def test_a_watchdog_ends_a_service_that_stands_still(serving):
    with serving.units({"penstock.service.d/watchdog.conf": "[Service]\nWatchdogSec=10\n"}):
        serving.systemctl("restart", "penstock")
        before = int(serving.show("NRestarts"))
        serving.systemctl("kill", "-s", "STOP", "penstock")
        serving.has_restarted(before + 1)
        assert "Watchdog timeout" in serving.journal()
    serving.systemctl("restart", "penstock")


def test_wrong_settings_are_refused_by_a_reload_and_named_in_the_status(serving):
    good, says = serving.config.read_text(), 'listn: is unknown; did you mean "listen"?'
    pid = serving.show("MainPID")
    serving.config.write_text(good.replace('"listen"', '"listn"'))
    serving.systemctl("reload", "penstock", status=1)
    assert serving.show("MainPID") == pid and call(serving.port, "GET", "/readyz").status == 200
    assert says in serving.status()
    serving.systemctl("restart", "penstock", status=1)
    wait_until(lambda: f'Status: "Failed: /etc/penstock/penstock.json: {says}"' in serving.status(status=3), 10, what="the fault")
    errors = serving.run("journalctl", "_SYSTEMD_UNIT=penstock.service", "-p", "err", "-o", "cat", "--no-pager")
    assert f"penstock: /etc/penstock/penstock.json: {says}" in errors.splitlines() and '"level":"info"' not in errors, errors
    serving.config.write_text(good)
    wait_until(lambda: serving.show("ActiveState") == "active", 30, 0.2, "the service without a command")
    serving.systemctl("reload", "penstock")


def test_sockets_of_units_are_served_with_the_units_group(serving):
    """The examples of the package."""
    names = ("penstock.socket", "penstock-admin.socket")
    texts = {name: (serving.root / EXAMPLES / name).read_text().replace(":8080", f":{serving.port}") for name in names}
    ask = ("perl", "-MIO::Socket::UNIX", "-e", "my $s = IO::Socket::UNIX->new('/run/penstock/admin.sock') or die;"
           "print $s qq{GET /readyz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n}; print <$s>")
    serving.systemctl("stop", "penstock")
    serving.configure({"admin": {"unix": {"path": "/run/penstock/admin.sock"}}})
    with serving.units(texts):
        serving.systemctl("start", *names)
        assert call(serving.port, "GET", "/livez").status == 200, "the connection starts the service"
        for _ in range(2):
            wait_until(lambda: "200 OK" in serving.ask(OPERATORS, *ask), 30, 0.2, "the socket")
            assert serving.ask(NOBODY, *ask) == ""
            serving.systemctl("restart", "penstock")
        serving.systemctl("stop", *names, "penstock")
    serving.configure({"admin": {"unix": {"path": None}}})


def test_a_socket_that_the_gateway_makes_belongs_to_the_group_of_the_settings(serving):
    with serving.units({"penstock.service.d/own.conf": "[Service]\nRuntimeDirectory=penstock\nSupplementaryGroups=penstock-ops\n"}):
        serving.configure({"admin": {"unix": {"path": "/run/penstock/admin.sock", "group": "penstock-ops", "mode": "0660"}}})
        serving.systemctl("restart", "penstock")
        assert serving.run("stat", "-c", "%g %a", "/run/penstock/admin.sock") == f"{OPERATORS} 660"
        serving.systemctl("stop", "penstock")
    serving.configure({"admin": {"unix": {"path": None}}})


def test_the_settlement_service_follows_the_journal_and_others_can_read_its_metrics(serving):
    database = "sqlite:/var/lib/penstock-settle/shop.db"
    settle = json.loads((serving.root / EXAMPLES / "settle.json").read_text())
    settle.update(database=database, gateway={**settle["gateway"], "url": [f"http://127.0.0.1:{serving.admin_port}"]})
    (serving.directory / "settle.json").write_text(json.dumps(settle))
    (serving.root / "var/lib/penstock-settle").mkdir()
    serving.run("penstock-settle", "--database", database, "--init")
    serving.systemctl("start", "penstock-settle")
    assert serving.buy(serving.make_sale(stock=1), "ann").status == 202
    wait_until(lambda: re.search(r'penstock_settle_records_total\{type="accepted"\} [1-9]', serving.ask(NOBODY, "cat", settle["metrics"]["file"])), 30, 0.2, "the order in the metrics")
    serving.systemctl("stop", "penstock-settle")
    assert serving.show("Result", "penstock-settle") == "success"


def test_a_standby_needs_an_address_and_a_gateway_takes_over_from_it(serving, tmp_path):
    serving.systemctl("stop", "penstock")
    serving.state.rename(serving.root / "root/sold")
    serving.systemctl("start", "penstock-standby", status=None)
    wait_until(lambda: serving.show("ActiveState", "penstock-standby") == "failed", 10, 0.2, "the failure")
    assert '--gateway: "" is not http://HOST:PORT' in serving.journal("penstock-standby")
    token = serving.directory / "standby-token"
    with Gateway(tmp_path, PATIENT_LOG) as first:
        order = first.buy(first.make_sale(stock=1), "ann").json["order_id"]
        token.write_text(first.token)
        token.chmod(0o600)
        with serving.units({"penstock-standby.service.d/own.conf": f"[Service]\nEnvironment=PENSTOCK_GATEWAY=http://127.0.0.1:{first.admin_port}\n"
                                                                    "LoadCredential=gateway-token:/etc/penstock/standby-token\n"}):
            serving.systemctl("start", "penstock-standby")
            wait_until(lambda: '"event":"caught_up"' in serving.journal("penstock-standby"), 30, 0.2, "the copy")
    serving.systemctl("start", "penstock")
    assert serving.show("ActiveState", "penstock-standby") == "inactive"
    assert serving.admin("GET", f"/admin/v1/orders/{order}").json["state"] == "accepted"


def test_a_removal_stops_the_service_and_a_purge_keeps_orders_and_settings(serving):
    """The last one: nothing is installed afterwards."""
    enabled = serving.root / UNITS / "multi-user.target.wants/penstock.service"
    serving.run("dpkg", "-r", "penstock")
    assert serving.show("ActiveState") == "inactive"
    assert json.loads([line for line in serving.journal().splitlines() if line.startswith("{")][-1])["event"] == "stopped"
    assert enabled.is_symlink()
    serving.run("dpkg", "-P", "penstock")
    assert not enabled.is_symlink()
    assert (serving.state / "journal.db").exists() and serving.config.exists()
