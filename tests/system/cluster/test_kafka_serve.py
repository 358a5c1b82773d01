"""The start of a broker for tests and for trying out: deploy/kafka/serve."""
import contextlib
import pathlib
import subprocess

import pytest
from penstock import ROOT, free_port, wait_until


def serve(directory, *words):
    ports = ["--port", str(free_port()), "--controller-port", str(free_port())]
    return subprocess.Popen([ROOT / "deploy/kafka/serve", "--dir", directory, *ports, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def programs(directory):
    """Those with this directory among their words."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(directory) in (process / "cmdline").read_text():
                found.append(process)
    return found


def test_a_broker_that_does_not_serve_in_time_is_killed_with_the_reason(tmp_path):
    with serve(tmp_path, "--within", "1") as starting:
        output, errors = starting.communicate(timeout=60)
    assert (starting.returncode, output) == (1, "")
    assert f"the broker does not serve within 1 s, and was killed. {tmp_path}/broker.log ends with: " in errors
    wait_until(lambda: not programs(tmp_path), what="the broker's end")


@pytest.mark.slow
def test_a_broker_whose_starter_is_gone_does_not_stay_behind(tmp_path):
    with serve(tmp_path) as starting:
        starting.stdout.close()
        assert starting.wait(180) != 0
    wait_until(lambda: not programs(tmp_path), what="the broker's end")


def test_a_start_that_is_interrupted_leaves_no_broker_behind(tmp_path):
    with serve(tmp_path) as starting:
        wait_until(lambda: (tmp_path / "broker.log").exists(), what="the broker's start")
        starting.terminate()
        assert starting.wait(60) == 130
    wait_until(lambda: not programs(tmp_path), what="the broker's end")
