"""Wall clocks that tests set: libfaketime moves a gateway's wall clock and leaves its monotonic one alone."""
import os
import pathlib
import subprocess

import pytest
from penstock import ROOT

LIBRARIES = sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
assert LIBRARIES, "libfaketime is missing: install faketime"
HOUR = 3600


class Clock:
    """The wall clock of one gateway: Gateway(env=clock.env)."""

    def __init__(self, directory):
        self.stamp = pathlib.Path(directory) / "wall-clock"
        self.jump(0)
        self.env = {"LD_PRELOAD": str(LIBRARIES[0]), "FAKETIME_TIMESTAMP_FILE": str(self.stamp), "FAKETIME_NO_CACHE": "1",
                    "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def jump(self, seconds):
        """Sets it this far from the right time."""
        new = self.stamp.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        os.replace(new, self.stamp)


@pytest.fixture()
def clocks(tmp_path):
    """librdkafka waits by C11's calls, whose clock libfaketime leaves alone: they are led to those that it moves."""
    waits = tmp_path / "c11_threads.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-pthread", "-o", str(waits), str(ROOT / "tests/c11_threads.c")], check=True)
    made = []
    for i in range(3):
        (tmp_path / str(i)).mkdir()
        made.append(Clock(tmp_path / str(i)))
        made[i].env["LD_PRELOAD"] += f":{waits}"
    return made
