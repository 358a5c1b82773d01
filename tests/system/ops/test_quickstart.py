"""The scripts of deploy/ as a newcomer meets them: in a folder with a space, from somewhere else, behind a proxy, with Debian's path of an ordinary user, interrupted."""
import os
import shutil
import signal
import subprocess
import time

import pytest
from checkout import USERS_PATH, Checkout, as_from_a_terminal, read_until
from examples import commands
from penstock import BUILD, ROOT, call, wait_until

PROXY = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}  # nobody is there


@pytest.fixture
def checkout(tmp_path):
    one = Checkout(tmp_path)
    yield one
    for pid, _ in one.left():  # of a test that has failed
        os.kill(pid, signal.SIGKILL)


def fake_rehearsal(checkout, text):
    """In the place of the rehearsal this runs."""
    release = checkout.root / "build/release"
    release.unlink()
    (release / "loadtest").mkdir(parents=True)
    (release / "gateway").symlink_to(BUILD / "gateway")
    checkout.program("rehearse", text)
    (release / "loadtest/penstock-rehearse").symlink_to(checkout.programs / "rehearse")


def test_the_quickstart_runs_behind_a_proxy_and_in_a_folder_with_a_space(checkout):
    running = checkout.start("--exit", env=PROXY)
    out = running.communicate(timeout=120)[0]
    assert running.returncode == 0 and "The proof holds." in out, out
    assert checkout.left() == []


def test_a_rehearsal_that_could_not_be_made_is_not_told_from_an_old_report(checkout):
    (checkout.root / "build/rehearsal.json").write_text('{"sale": "rehearsal-of-yesterday"}')
    fake_rehearsal(checkout, "echo it cannot be >&2; exit 1")
    running = checkout.start("--exit")
    out = running.communicate(timeout=60)[0]
    assert running.returncode == 1 and "it cannot be" in out and "rehearsal-of-yesterday" not in out, out
    assert checkout.left() == []


@pytest.mark.slow
def test_a_quickstart_whose_first_token_is_no_longer_known_takes_another_file(checkout):
    running = checkout.start("--exit")
    assert "The proof holds." in running.communicate(timeout=120)[0]
    first, kept = checkout.root / ".penstock/admin.token", checkout.root.parent / "kept.token"
    kept.touch(0o600)
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


@pytest.mark.slow
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


def test_a_quickstart_serves_when_the_overload_of_its_rehearsal_is_over(checkout):
    fake_rehearsal(checkout, """.penstock/pen -X PUT /admin/v1/overrides/level -d '{"value":4,"ttl_s":5,"reason":"as by a crowd"}'
echo '{"sale": "lamp"}' >build/rehearsal.json""")
    running = checkout.start()
    out = read_until(running, "Serving")
    assert "overload level 4" in out and "Waiting for level 0" in out and "Still level" not in out, out
    output = checkout.paste(commands("README.md"))
    assert '"state":"confirmed"' in output and '"ok":true' in output
    for part in ("reviews", "recommendations"):
        assert len(call(checkout.port("8080"), "GET", f"/{part}/lamp").json) > 1, part
    os.killpg(running.pid, signal.SIGINT)
    running.communicate(timeout=60)


def test_pen_works_from_any_directory_and_says_what_is_wrong(checkout):
    fake_rehearsal(checkout, """echo '{"sale": "lamp"}' >build/rehearsal.json""")
    running = checkout.start()
    read_until(running, "Serving")

    def pen(*arguments):
        return subprocess.run([checkout.root / ".penstock/pen", *arguments], cwd="/", env={**os.environ, **PROXY}, capture_output=True, text=True, timeout=30)

    done = pen("/admin/v1/sales/lamp")
    assert (done.returncode, done.stderr) == (0, "") and '"sale":"lamp"' in done.stdout, done
    done = pen("-D", "-", "-o", "/dev/null", "/admin/v1/sales/lamp")
    assert done.stdout.startswith("HTTP/1.1 200") and done.stderr == "", done
    done = pen("/admin/v1/sales/moon")
    assert (done.returncode, done.stderr) == (22, "") and '"no such sale"' in done.stdout, done
    header = checkout.root / ".penstock/admin.header"
    header.write_text("Authorization: Bearer pst_of_yesterday\n")
    done = pen("/admin/v1/sales")
    assert done.returncode == 22 and f"does not know the token in {header}" in done.stderr, done
    header.unlink()
    done = pen("/admin/v1/sales")
    assert done.returncode == 2 and f"cannot read {header}" in done.stderr, done
    header.write_text("Authorization: Bearer pst_of_yesterday\n")
    os.killpg(running.pid, signal.SIGINT)
    running.communicate(timeout=60)
    done = pen("/admin/v1/sales")
    assert done.returncode == 7 and "nothing listens at http://127.0.0.1:" in done.stderr, done


def test_a_quickstart_ends_with_its_terminal(checkout):
    running = checkout.start()
    read_until(running, "Serving")
    os.killpg(running.pid, signal.SIGHUP)
    running.communicate(timeout=60)
    wait_until(lambda: checkout.left() == [], 10, what="its end")


@pytest.mark.slow
@pytest.mark.xdist_group("cluster-quickstart")
def test_a_cluster_runs_for_an_ordinary_user_behind_a_proxy(checkout):
    """HAProxy lies in /usr/sbin, which is not on an ordinary user's path. The commands of its page run beside it."""
    running = checkout.start("--cluster", env=PROXY)
    out = read_until(running, "Serving")
    assert "The books agree." in out, out
    page = commands("docs/cluster.md")
    output = checkout.paste(page)
    assert '"state":"accepted"' in output, output
    wait_until(lambda: '"held":1' in checkout.paste(page.splitlines()[-1]), what="the order at gateway 2")
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
    (checkout.root / "tests").symlink_to(ROOT / "tests")  # some measurements start gateways as tests do
    checkout.program("wrk", f"touch '{checkout.programs}/measuring'; exec sleep 30")
    running = subprocess.Popen(["/usr/bin/python3", bench / "bench.py", "--rounds", "1", "--case", "sold_out"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               cwd=checkout.root, env={**os.environ, "PATH": f"{checkout.programs}:{USERS_PATH}:/usr/sbin", "PENSTOCK_BUILD": str(BUILD)})
    wait_until(lambda: running.poll() is not None or (checkout.programs / "measuring").exists(), 60, what="the measurement")
    assert len(checkout.left()) >= 4, running.communicate(timeout=30)[0]  # itself, a gateway, nginx and its worker
    running.terminate()
    out = running.communicate(timeout=30)[0]
    assert running.returncode == 1 and "bench: ended" in out, out
    wait_until(lambda: checkout.left() == [], 10, what="the end of all parts")
