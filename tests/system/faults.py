"""Disks that fail: a preloaded library that fails calls on demand, and small file systems of one's own. Processors: a share of one."""
import atexit
import contextlib
import errno
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "loadtest" / "bench.d"))
import cgroup  # noqa: E402

JOURNAL = ("journal.db", "journal.db-wal")
CONTROL = ("control.db", "control.db-wal")


def build_library(source, library):
    """Of a C file, to be preloaded."""
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)


def preloaded(directory, text):
    """The environment for a program that sees some calls as this C text makes them."""
    source, library = pathlib.Path(directory) / "preloaded.c", pathlib.Path(directory) / "preloaded.so"
    source.write_text(text)
    build_library(source, library)
    return {"LD_PRELOAD": str(library)}


class Disk:
    """The environment for a gateway whose disk obeys: Gateway(env=disk.env)."""

    library = None

    def __init__(self, directory):
        self.orders = pathlib.Path(directory) / "faults"
        self.orders.mkdir()
        if Disk.library is None:
            Disk.library = pathlib.Path(tempfile.mkdtemp(prefix="penstock-fault-")) / "disk_fault.so"
            build_library(HERE / "disk_fault.c", Disk.library)
        self.env = {"LD_PRELOAD": str(Disk.library), "PENSTOCK_FAULTS": str(self.orders)}

    def order(self, call, names, text):
        for name in names:
            new = self.orders / f".{call}.{name}"
            new.write_text(text)
            new.rename(self.orders / f"{call}.{name}")

    def fail_writes(self, names=JOURNAL, error=errno.ENOSPC):
        self.order("write", names, str(error))

    def fail_syncs(self, names=JOURNAL, error=errno.EIO, once=False):
        self.order("sync", names, f"once {error}" if once else str(error))

    def hang_syncs(self, names=JOURNAL):
        self.order("sync", names, "hang")

    def hangs(self, call, name):
        """A call does so, as it was told to."""
        return (self.orders / f"hangs.{call}.{name}").exists()

    def slow_syncs(self, microseconds, names=JOURNAL):
        self.order("sync", names, f"delay {microseconds}")

    def heal(self):
        for order in list(self.orders.iterdir()):
            with contextlib.suppress(FileNotFoundError):
                order.unlink()


def in_memory():
    """A directory for a gateway whose disk is to be as slow as the test says, whatever else the real one does."""
    return tempfile.TemporaryDirectory(prefix="penstock-", dir="/dev/shm")


@contextlib.contextmanager
def mounted(directory, *options):
    """`mount OPTION... directory`; yields False where this user or container may not."""
    directory.mkdir(exist_ok=True)
    done = os.geteuid() == 0 and subprocess.run(["mount", *options, str(directory)], stderr=subprocess.DEVNULL).returncode == 0
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", "-l", str(directory)], check=True)


@contextlib.contextmanager
def processor(share=None):
    """The begin of commands that get theirs whatever else the machine does: `share` of one core, or as much as there is. Commands
    end before it does."""
    group = cgroup.Group("test", share)
    atexit.unregister(cgroup.remove)  # a worker of pytest-xdist ends without it
    assert group.path or share is None, group.why_not
    yield group.under()
    if group.path:
        cgroup.remove(group.path)
