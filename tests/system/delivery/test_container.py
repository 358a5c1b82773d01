"""The image as a container: a root file system that is read-only, no capability, the default filter of system calls, limits of its control group."""
import json
import os
import pathlib

import pytest
from containers import FLAGS, STATE, USER, Container
from penstock import PATIENT_LOG, QUIET, ROOT, call, free_port, seeds

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("image")]


def settings(**more):
    return {"listen": {"port": free_port()}, "admin": {"port": free_port()}, "state_dir": STATE, "trusted_proxies": ["127.0.0.0/8"],
            "limits_table": {"mib": 4}, "drain": {"delay_ms": 500, "timeout_ms": 10000}, "seed": seeds(QUIET), **PATIENT_LOG, **more}


def test_a_sale_is_bought_through_it_and_survives_a_restart(podman, image, tmp_path):
    with Container(podman, image, tmp_path, settings(), "-v", f"{tmp_path.name}:{STATE}", "--cpus", "0.5", "--memory", "256m").wait_ready() as container:
        assert container.admin("PUT", "/admin/v1/sales/spring", {"open": True, "skus": [{"sku": "phone", "stock": 2}]}).status == 201
        answer = container.public("POST", "/v1/sales/spring/orders", {"sku": "phone"}, **{"Idempotency-Key": '"ann-1"'})
        assert answer.status == 202 and answer.json["state"] == "accepted", answer
        order = answer.json["order_id"]
        assert container.admin("POST", f"/admin/v1/orders/{order}/confirm", {"reason": "paid"}).status == 200
        # Nothing of its surroundings is more than it needs.
        status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{container.pid}/status").read_text().splitlines() if ":\t" in line)
        assert status["Uid"].split()[0] == str(USER) and status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
        assert all(int(status[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
        mounts = [line.split() for line in pathlib.Path(f"/proc/{container.pid}/mounts").read_text().splitlines()]
        assert next(options for _, place, _, options, *_ in mounts if place == "/").split(",")[0] == "ro"
        # Its control group's limits are its own: half a processor is one worker, and memory is a share of 256 MiB.
        ready = next(line for line in map(json.loads, container.log().splitlines()) if line["event"] == "ready")
        assert ready["workers"] == 1
        # SIGTERM drains, and the health check says so; what was sold is there after a restart.
        assert container.probe("live") == (0, "live") and container.probe() == (0, "ready")
        exit_status, took = container.stop()
        assert exit_status == 0 and 0.5 <= took < 20 and '"event":"draining"' in container.log() and '"event":"stopped"' in container.log()
        container.start()
        report = container.admin("GET", "/admin/v1/sales/spring/audit").json
        assert report["ok"] is True and container.public("GET", f"/v1/orders/{order}").json["state"] == "confirmed"


def test_memory_counts_against_the_limit_of_its_control_group(podman, image, tmp_path):
    with Container(podman, image, tmp_path, settings(), "-v", f"{tmp_path.name}-m:{STATE}", "--memory", "128m").wait_ready() as container:
        group = next(line.split(":")[2] for line in pathlib.Path(f"/proc/{container.pid}/cgroup").read_text().splitlines() if line.split(":")[1] == "memory")
        memory = pathlib.Path("/sys/fs/cgroup/memory" + group)
        text = {name: (memory / f"memory.{name}").read_text() for name in ("limit_in_bytes", "usage_in_bytes", "stat")}
        cache = next(int(line.split()[1]) for line in text["stat"].splitlines() if line.startswith("total_inactive_file "))
        share = (int(text["usage_in_bytes"]) - cache) / (128 << 20)
        assert int(text["limit_in_bytes"]) == 128 << 20
        metrics = call(container.settings["admin"]["port"], "GET", "/metrics").text
        signal = next(float(line.split()[1]) for line in metrics.splitlines() if line.startswith('penstock_overload_signal{signal="memory"}'))
        assert abs(signal - share) < 0.1, (signal, share)


REFUSED = {
    "no volume": ([], {}, f"penstock: {STATE}: is on a read-only file system: mount a writable disk there (in a container a volume that belongs to user {USER}), or set state_dir"),
    "a volume that is read-only": (["-v", "{own}:" + STATE + ":ro"], {}, f"penstock: {STATE}: is on a read-only file system: "),
    "a directory of somebody else": (["-v", "{root}:" + STATE], {}, f"penstock: {STATE}: belongs to user 0, but this program runs as user {USER}: chown -R {USER} {STATE}"),
    "a directory that may not be entered": (["-v", "{closed}:" + STATE], {}, f"penstock: {STATE}: cannot be used, permission denied: give user {USER} a directory there"),
    "a place in such a directory": (["-v", "{root}:" + STATE], {"state_dir": STATE + "/state"}, f"penstock: {STATE}/state: cannot be used, permission denied: give user {USER} a directory there"),
    "no secret": (["-v", "{own}:" + STATE], {"store": {"kind": "redis", "redis": {"url": "redis://127.0.0.1:1/0", "password_file": "/run/secrets/redis-password"}}},
                  "store.redis.password_file: /run/secrets/redis-password cannot be opened: No such file or directory"),
    "no tokens": (["-v", "{own}:" + STATE], {"admin": {"port": free_port(), "token_dir": "/run/secrets"}}, "/run/secrets has no file admin-token, operator-token or viewer-token"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_start_that_cannot_be_says_in_one_line_what_to_mount(podman, image, tmp_path, case):
    flags, more, says = REFUSED[case]
    places = {name: tmp_path / name for name in ("own", "root", "closed")}
    for name, mode, owner in (("own", 0o700, USER), ("root", 0o755, 0), ("closed", 0o700, 0)):
        places[name].mkdir(mode)
        os.chown(places[name], owner, owner)
    config = tmp_path / "penstock.json"
    config.write_text(json.dumps(settings(**more)))
    done = podman("run", "--rm", *FLAGS, "-v", f"{config}:/etc/penstock/penstock.json:ro", *[flag.format(**places) for flag in flags], image, status=1)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1 and says in lines[0], done.stderr
    if case != "no tokens":  # those are read last
        assert not [file for place in places.values() for file in place.iterdir()]


def test_without_settings_of_its_own_nobody_can_buy_and_nobody_reaches_the_admin_listener(podman, image):
    """What it has for itself is safe on a reachable machine."""
    done = podman("run", "--rm", *FLAGS, image, "--check-config", "--config", "/etc/penstock/penstock.json")
    assert done.stdout == "/etc/penstock/penstock.json: ok\n"
    own = json.loads((ROOT / "deploy/image/penstock.json").read_text())
    assert set(own) == {"listen", "state_dir"} and "admin" not in own and own["state_dir"] == STATE


def test_the_debug_image_has_a_shell_in_which_gdb_knows_the_program(podman, debug_archive):
    name = podman.load(debug_archive.path)
    done = podman("run", "--rm", *FLAGS, "--entrypoint", "bash", name, "-c", "gdb -batch -ex 'info line main' /usr/sbin/penstock && ss --version && ps --version")
    assert "gateway/main.c" in done.stdout, done.stdout
