"""Control groups for what is measured, by cgroup v1 or v2: one that comes before everything else on the machine, and one that gets a share of one core. A nice value would not do:
where the kernel groups processes by session (autogroup), it counts within a session only."""
import atexit
import itertools
import os
import pathlib
import time

numbers = itertools.count()
PERIOD_US = 100_000  # what container runtimes use


def own_groups():
    """By controller ("" is v2): this process's own group, as a path below the mount."""
    lines = (line.split(":", 2) for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines())
    return {controller: path for _, controllers, path in lines for controller in controllers.split(",")}


def mounts():
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, where, kind, options = line.split()[:4]
        yield pathlib.Path(where), kind, options.split(",")


def remove(path):
    """At the end of the program, when what it has started has been told to end."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            path.rmdir()
            return
        except OSError:
            time.sleep(0.1)
    print(f"bench: {path} is left: its processes have not ended")


class Group:
    def __init__(self, name, share=None):
        """`share` of a core; None: as much as there is. Without a group that this user may make, `path` is None, and `why_not` says why."""
        self.path, tried = None, []
        quota = int(share * PERIOD_US) if share else None
        for where, kind, options in mounts():
            if kind == "cgroup" and "cpu" in options:
                places = [where / own_groups().get("cpu", "/").lstrip("/"), where]
                files = {"cpu.shares": 262144, **({"cpu.cfs_period_us": PERIOD_US, "cpu.cfs_quota_us": quota} if quota else {})}
            elif kind == "cgroup2":
                own = where / own_groups().get("", "/").lstrip("/")
                places = [own] if own == where else [own, own.parent]
                files = {"cpu.weight": 10000, **({"cpu.max": f"{quota} {PERIOD_US}"} if quota else {})}
            else:
                continue
            for place in dict.fromkeys(places):
                try:
                    self.path = self._make(place / f"penstock-bench-{name}-{os.getpid()}-{next(numbers)}", kind, files)
                    return
                except OSError as e:
                    tried.append(f"{place}: {e}")
        self.why_not = "; ".join(tried) or "none is mounted"

    @staticmethod
    def _make(path, kind, files):
        """In v2 the parent hands the controller down, which it may not begin while it has processes of its own."""
        if kind == "cgroup2" and "cpu" not in (path.parent / "cgroup.subtree_control").read_text().split():
            (path.parent / "cgroup.subtree_control").write_text("+cpu")
        path.mkdir()
        try:
            for name, value in files.items():
                (path / name).write_text(str(value))
        except OSError:
            path.rmdir()
            raise
        atexit.register(remove, path)
        return path

    def under(self):
        """The begin of a command whose process is to be in the group."""
        return ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self.path / "cgroup.procs")] if self.path else []
