"""What a start refuses: files that are not its own, torn or newer, a state directory that others may read or use, a port
that is taken. It ends with status 1 and says what to do; nothing is put right silently."""
import json
import os
import shutil
import socket
import sqlite3
import subprocess

import pytest
from faults import Disk, mounted, preloaded
from penstock import PATIENT_LOG, Gateway, seeds, wait_until


@pytest.fixture(scope="module")
def state_with_orders(tmp_path_factory):
    """A state directory with two orders in it; to be copied."""
    with Gateway(directory=tmp_path_factory.mktemp("sold"), settings=PATIENT_LOG) as gateway:
        gateway.no_limits()
        gateway.make_sale("shoes", stock=5)
        for user in ("ann", "bob"):
            assert gateway.buy("shoes", user).json["state"] == "accepted"
        assert gateway.stop() == 0
        yield gateway.state


@pytest.fixture
def sold(tmp_path, state_with_orders):
    """A gateway that is about to start on such a directory."""
    gateway = Gateway(directory=tmp_path, settings=PATIENT_LOG)
    shutil.copytree(state_with_orders, gateway.state)
    gateway.state.chmod(0o700)
    yield gateway
    gateway.__exit__()


def start_refused(gateway):
    """The message of a start that must fail."""
    gateway.log_path.write_text("")
    gateway.spawn()
    assert gateway.process.wait(20) == 1, gateway.log()
    lines = [line for line in gateway.log().splitlines() if not line.startswith("{")]
    assert len(lines) == 1 and lines[0].startswith("penstock: "), gateway.log()
    return lines[0]


def assert_says(text, *words):
    for word in words:
        assert word in text, (word, text)


def damage(path, at, data):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


# --- Files. ---


@pytest.mark.parametrize("name", ["journal.db", "control.db"])
def test_a_file_of_a_newer_format_is_refused_and_left_alone(sold, name):
    path = sold.state / name
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    assert_says(start_refused(sold), str(path), "newer", "99")
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["journal.db", "control.db"])
def test_a_database_of_another_program_is_refused_and_left_alone(sold, name):
    path = sold.state / name
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE holidays(day TEXT)")
    db.close()
    path.chmod(0o600)
    before = path.read_bytes()
    assert_says(start_refused(sold), str(path), "move it")
    assert path.read_bytes() == before

def read_all(gateway):
    """The next start goes by all of the journal. From a checkpoint it reads the end alone; what is damaged before that, an audit finds."""
    (gateway.state / "fold.checkpoint").unlink(missing_ok=True)



@pytest.mark.parametrize("name", ["journal.db", "control.db"])
@pytest.mark.parametrize("how", ["half", "empty", "text", "middle"])
def test_a_torn_file_is_refused_with_what_to_do(sold, name, how):
    path = sold.state / name
    size = path.stat().st_size
    if how == "half":
        os.truncate(path, size // 2)
    elif how == "empty":
        os.truncate(path, 0)
    elif how == "text":
        path.write_text("this was a file once\n" * 50)
    else:
        damage(path, 2 * 4096, b"\xa5" * 4096)  # behind the map of free pages
        read_all(sold)
    assert_says(start_refused(sold), str(path), "backup")


@pytest.mark.parametrize("change,words", [("DELETE FROM records WHERE seq = 3", ["backup"]),
                                          ("UPDATE records SET body = substr(body, 1, 20) WHERE seq = 3", ["record 3", "backup"])], ids=["taken out", "cut"])
def test_a_journal_without_one_of_its_records_is_refused(sold, change, words):
    path = sold.state / "journal.db"
    with sqlite3.connect(path) as db:
        db.execute(change)
    db.close()
    read_all(sold)
    assert_says(start_refused(sold), str(path), *words)


def test_a_lost_journal_refuses_its_sales_and_serves_the_others(sold):
    for path in sold.state.glob("journal.db*"):
        path.unlink()
    sold.start()
    sold.wait_log("sale_refused", "shoes", "put the journal back that belongs to this control.db")
    assert "[-]sales failed" in sold.public("GET", "/readyz?verbose").text
    assert "refused" in sold.admin("GET", "/admin/v1/sales/shoes").text
    answer = sold.buy("shoes", "cat")
    assert answer.status in (409, 503), answer
    other = sold.make_sale("hats", stock=1)
    assert sold.buy(other, "cat").json["state"] == "accepted"
    sold.assert_books(other)


def test_a_lost_journal_whose_wal_is_left_is_refused(sold):
    wal = sold.state / "journal.db-wal"
    wal.write_bytes(b"x" * 100)
    (sold.state / "journal.db").unlink()
    assert_says(start_refused(sold), "-wal", "backup")


def test_the_journal_that_was_put_back_has_everything(sold, tmp_path):
    for path in sold.state.glob("journal.db*"):
        shutil.move(path, tmp_path / path.name)
    sold.start()
    assert sold.stop() == 0
    shutil.copy(tmp_path / "journal.db", sold.state / "journal.db")
    sold.start()
    sold.wait_state("shoes", "open")
    assert sorted(order["user"] for order in sold.orders("shoes")) == ["ann", "bob"]
    sold.assert_books("shoes")


def test_tokens_that_cannot_be_read_are_refused(sold):
    path = sold.state / "tokens.json"
    path.write_text('{"tokens": [')
    assert_says(start_refused(sold), str(path))
    path.write_text("[]")
    path.chmod(0o644)
    assert_says(start_refused(sold), str(path), "chmod 600")


# --- The state directory. ---


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o1700], ids=oct)
def test_a_state_directory_that_others_may_enter_is_refused(sold, mode):
    sold.state.chmod(mode)
    assert_says(start_refused(sold), f"chmod 700 {sold.state}")
    assert sold.state.stat().st_mode & 0o7777 == mode


def test_a_state_directory_that_is_made_in_a_group_s_directory_is_used(tmp_path):
    """As in a volume that a pod with an fsGroup gets: setgid is inherited, and opens it to nobody."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume").chmod(0o2775)
    with Gateway(directory=tmp_path, settings={"state_dir": str(tmp_path / "volume/state")}) as gateway:
        assert gateway.stop() == 0
        assert (tmp_path / "volume/state").stat().st_mode & 0o7777 == 0o2700
        gateway.start()


def test_a_state_directory_in_an_overlay_is_warned_of(tmp_path):
    """What a container writes into its own files is removed with it."""
    for name in ("lower", "memory"):
        (tmp_path / name).mkdir()
    with mounted(tmp_path / "memory", "-t", "tmpfs", "none") as done:
        if not done:
            pytest.skip("needs the right to mount")
        for name in ("upper", "work"):
            (tmp_path / "memory" / name).mkdir()
        with mounted(tmp_path / "merged", "-t", "overlay", "-o", f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/memory/upper,workdir={tmp_path}/memory/work", "none") as done:
            assert done
            with Gateway(directory=tmp_path, settings={"state_dir": str(tmp_path / "merged/state")}) as gateway:
                gateway.wait_log("state_dir_in_container")
                assert gateway.stop() == 0


def test_a_state_directory_is_used_by_one_gateway(sold, tmp_path):
    sold.start()
    (tmp_path / "second").mkdir()
    second = Gateway(directory=tmp_path / "second", settings={"state_dir": str(sold.state)})
    assert_says(start_refused(second), str(sold.state), "in use by another gateway")
    assert sold.buy("shoes", "cat").json["state"] == "accepted"


def test_a_start_waits_for_the_end_of_a_killed_gateway(sold, tmp_path):
    """A killed process keeps its locks until the disk has answered; whoever starts it again does not wait for that."""
    holder = subprocess.Popen(["flock", "--no-fork", sold.state, "sleep", "60"])
    try:
        wait_until(lambda: subprocess.run(["flock", "-n", sold.state, "true"]).returncode == 1, what="the lock")
        sold.spawn()
        sold.wait_log("state_dir_held", str(sold.state))
        assert sold.process.poll() is None
    finally:
        holder.kill()
        holder.wait()
    sold.wait_log('"ready"')
    assert sold.log().count("state_dir_held") == 1 and sold.buy("shoes", "cat").status == 202


def test_a_gateway_that_is_killed_and_started_at_once_serves_at_once(sold):
    sold.start()
    for _ in range(3):
        sold.process.kill()
        dying = sold.process
        sold.start()
        dying.wait()
        assert len(sold.orders("shoes")) == 2


def test_a_state_directory_without_a_parent_or_that_is_a_file_is_refused(tmp_path):
    gateway = Gateway(directory=tmp_path, settings={"state_dir": str(tmp_path / "no" / "such")})
    assert_says(start_refused(gateway), "mkdir -p")
    (tmp_path / "file").write_text("")
    gateway.configure({"state_dir": str(tmp_path / "file")})
    assert_says(start_refused(gateway), "is not a directory")


def test_a_state_directory_that_cannot_be_written_is_refused(sold, tmp_path):
    """A file system that is read-only: root is stopped by it, too."""
    with mounted(sold.state, "--bind", "-o", "ro", str(sold.state)) as done:
        if not done and os.geteuid() == 0:
            pytest.fail("needs the right to mount")
        if not done:
            for path in sold.state.iterdir():
                path.chmod(0o400)
        text = start_refused(sold)
    if done:
        assert f"penstock: {sold.state}: is on a read-only file system: mount a writable disk there" in text
    else:
        assert str(sold.state) in text and ("ermission" in text or "writ" in text), text


@pytest.mark.parametrize("fault, words", [("full", "make room"), ("syncs", "I/O error")], ids=["full", "syncs"])
def test_a_start_on_a_failing_disk_ends_and_says_so(sold, tmp_path, fault, words):
    disk = Disk(tmp_path)
    sold.env = disk.env
    disk.fail_writes() if fault == "full" else disk.fail_syncs()
    assert_says(start_refused(sold), str(sold.state / "journal.db"), words)
    disk.heal()
    sold.start()
    assert len(sold.orders("shoes")) == 2
    sold.assert_books("shoes")


# --- The machine. ---


CORES = """#define _GNU_SOURCE
#include <dlfcn.h>
#include <sched.h>
#include <unistd.h>
int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
    (void)pid, (void)size, (void)set;
    return -1; /* more processors than the set can hold */
}
long sysconf(int name)
{
    return name == _SC_NPROCESSORS_ONLN ? 300 : ((long (*)(int))dlsym(RTLD_NEXT, "sysconf"))(name);
}
"""


def test_there_is_a_worker_for_each_processor_that_the_process_may_use(tmp_path):
    with Gateway(directory=tmp_path, settings={"workers": 0}, prefix=["taskset", "1"]).start() as gateway:
        assert '"workers":1}' in gateway.log()


def test_a_machine_that_has_cgroup_v2_alone_is_served(tmp_path):
    """As most have: no hierarchy of v1, and a group without a limit."""
    alone = "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "sh", "-c", alone, "sh", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("needs the right to mount")
    with Gateway(directory=tmp_path, settings={"workers": 0}, prefix=["unshare", "-m", "sh", "-c", alone, "sh"]).start() as gateway:
        gateway.wait_log('"event":"ready"')
        ready = next(event for event in map(json.loads, gateway.log_path.read_text().splitlines()) if event["event"] == "ready")
        assert ready["workers"] == len(os.sched_getaffinity(0))
        assert 0 < gateway.metric('penstock_overload_signal{signal="memory"}') < 1
        assert gateway.stop() == 0


def test_a_machine_of_more_cores_than_there_may_be_workers_is_served(tmp_path):
    with Gateway(directory=tmp_path, settings={"workers": 0}, env=preloaded(tmp_path, CORES)).start(60) as gateway:
        gateway.wait_log('"event":"ready"')
        ready = next(event for event in map(json.loads, gateway.log_path.read_text().splitlines()) if event["event"] == "ready")
        assert ready["workers"] == 256
        assert gateway.buy(gateway.make_sale(stock=1), "ann").json["state"] == "accepted"
        assert gateway.stop() == 0


@pytest.mark.parametrize("settings, words", [({"limits_table": {"mib": 8192}}, ["limits_table.mib", "8192 MiB"]),
                                             ({"http": {"waiting": 1000000}, "workers": 200}, ["http.connections", "http.waiting", "200 workers"])],
                         ids=["limits", "workers"])
def test_memory_that_is_not_to_be_had_names_the_settings_that_want_it(tmp_path, settings, words):
    gateway = Gateway(directory=tmp_path, settings=settings, prefix=["prlimit", "--as=3000000000"])
    assert_says(start_refused(gateway), *words)


# --- Ports. ---


@pytest.mark.parametrize("listener", ["listen", "admin"])
def test_a_port_that_is_taken_is_named(tmp_path, listener):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        gateway = Gateway(directory=tmp_path, settings={listener: {"port": port}})
        assert_says(start_refused(gateway), f"{listener}.port", str(port), "taken")


@pytest.mark.parametrize("host", ["192.0.2.1", "::ffff:127.0.0.1"])  # the latter is no address of IPv6
@pytest.mark.parametrize("listener", ["listen", "admin"])
def test_an_address_that_the_machine_has_not_is_named(tmp_path, listener, host):
    gateway = Gateway(directory=tmp_path, settings={listener: {"host": host}})
    assert_says(start_refused(gateway), f"{listener}.host: {host} is no address of this machine")


def test_two_gateways_never_share_a_port(sold, tmp_path):
    """Sockets that share their port between threads must not hide a second program."""
    sold.start()
    (tmp_path / "second").mkdir()
    second = Gateway(directory=tmp_path / "second", settings={"listen": {"port": sold.port}})
    assert_says(start_refused(second), "listen.port", "taken")


# --- A start that is killed. ---


def test_a_first_start_that_is_killed_anywhere_can_be_repeated(tmp_path):
    for turn, pause in enumerate((0.0, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08)):
        (tmp_path / str(turn)).mkdir()
        gateway = Gateway(directory=tmp_path / str(turn), settings={
            "seed": seeds({"sales": {"shoes": {"opens_at": "2020-01-01T00:00:00Z", "skus": [{"sku": "phone", "stock": 3}]}}})})
        for _ in range(3):
            gateway.spawn()
            with pytest.raises(subprocess.TimeoutExpired):
                gateway.process.wait(pause)
            gateway.kill()
        with gateway.start():
            gateway.wait_state("shoes", "open")
            wait_until(lambda: gateway.buy("shoes", "u").status == 202, what="an order")
            assert gateway.assert_books("shoes")["skus"][0]["available"] == 2
