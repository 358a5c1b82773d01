"""A control group that gives its processes a share of one core, by cgroup v1 (cpu.cfs_quota_us) or v2 (cpu.max)."""
import os
import pathlib
import sys

PERIOD_US = 100_000  # what container runtimes use


def own_groups():
    """By controller ("" is v2): this process's own group, as a path below the mount."""
    lines = (line.split(":", 2) for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines())
    return {controller: path for _, controllers, path in lines for controller in controllers.split(",")}


def mounts():
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, where, kind, options = line.split()[:4]
        yield pathlib.Path(where), kind, options.split(",")


class Quota:
    def __init__(self, share):
        """`share` of a core. Exits with the reason where no group can be had."""
        self.group, tried = None, []
        quota = int(share * PERIOD_US)
        for where, kind, options in mounts():
            if kind == "cgroup" and "cpu" in options:
                places, files = [where / own_groups().get("cpu", "/").lstrip("/"), where], {"cpu.cfs_period_us": PERIOD_US, "cpu.cfs_quota_us": quota}
            elif kind == "cgroup2":
                own = where / own_groups().get("", "/").lstrip("/")
                places, files = [own, own.parent] if own != where else [own], {"cpu.max": f"{quota} {PERIOD_US}"}
            else:
                continue
            for place in dict.fromkeys(places):
                try:
                    self._make(place, kind, files)
                    return
                except OSError as e:
                    tried.append(f"{place}: {e}")
        sys.exit("bench: the CPU-bound case needs a cgroup (v1 or v2) with the cpu controller that this user may make groups in: " + ("; ".join(tried) or "none is mounted"))

    def _make(self, place, kind, files):
        """A group whose processes could be limited only if its parent hands the controller down (v2), which a parent with processes may not begin."""
        if kind == "cgroup2" and "cpu" not in (place / "cgroup.subtree_control").read_text().split():
            (place / "cgroup.subtree_control").write_text("+cpu")
        group = place / f"penstock-bench-{os.getpid()}"
        group.mkdir()
        try:
            for name, value in files.items():
                (group / name).write_text(str(value))
        except OSError:
            group.rmdir()
            raise
        self.group = group

    def take(self, pid):
        """With all its threads."""
        (self.group / "cgroup.procs").write_text(str(pid))

    def remove(self):
        """When its processes have ended."""
        self.group.rmdir()
