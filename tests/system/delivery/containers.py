"""The image as it is delivered, and containers of it: podman over runc, in a storage of its own, without the network of the machine being changed."""
import functools
import json
import pathlib
import subprocess
import tarfile
import time

from penstock import ROOT, call, wait_until

VERSION = next(line.split()[2] for line in (ROOT / "CMakeLists.txt").read_text().splitlines() if line.startswith("project(penstock VERSION"))
STATE = "/var/lib/penstock"
USER = 65532


def run(*words, status=0, **more):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, **more)
    assert status is None or done.returncode == status, (words, done.returncode, done.stdout[-4000:], done.stderr[-4000:])
    return done


class Archive:
    """An OCI archive, read without any of the programs that have made it."""

    def __init__(self, path, prefix="./"):
        self.path, self.prefix = pathlib.Path(path), prefix
        self.tar = tarfile.open(path)
        self.index = json.loads(self.read("index.json"))
        self.manifest = json.loads(self.blob(self.index["manifests"][0]).read())
        self.image = json.loads(self.blob(self.manifest["config"]).read())
        self.config = self.image["config"]

    def read(self, name):
        return self.tar.extractfile(self.prefix + name).read()

    def blob(self, descriptor):
        return self.tar.extractfile(self.prefix + "blobs/" + descriptor["digest"].replace(":", "/"))

    @functools.cached_property
    def files(self):
        """{path: member of the tar} of the only layer."""
        layer, = self.manifest["layers"]
        self.layer = tarfile.open(fileobj=self.blob(layer), mode="r:*")
        return {"/" + member.name.removeprefix("./").rstrip("/"): member for member in self.layer.getmembers()}

    def text(self, path):
        return self.layer.extractfile(self.files[path]).read().decode()


class Podman:
    """Images and containers in a directory; a context manager that removes all of them."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.begin = ["podman", "--root", directory / "storage", "--runroot", directory / "run", "--storage-driver", "vfs", "--runtime", "runc",
                      "--cgroup-manager", "cgroupfs"]
        self.loaded = {}

    def __call__(self, *words, **more):
        return run(*self.begin, *words, **more)

    def load(self, archive):
        if archive not in self.loaded:
            self.loaded[archive] = self("load", "-q", "-i", archive).stdout.strip().split(": ")[-1]
        return self.loaded[archive]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for container in self("ps", "-aq", "--no-trunc").stdout.split():
            self("rm", "-f", "-t", "5", container, status=None)
        self("rmi", "-af", status=None)


# What the machine that runs the tests lets a container have, and how an image is run that is not trusted.
FLAGS = ["--network", "host", "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", "--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges"]


class Container:
    """One that runs in the background, with settings of its own in a file; removed at the end."""

    def __init__(self, podman, image, directory, settings, *flags):
        self.podman, self.settings = podman, settings
        self.config = pathlib.Path(directory) / "penstock.json"
        self.config.write_text(json.dumps(settings))
        self.config.chmod(0o644)
        self.id = podman("run", "-d", *FLAGS, "-v", f"{self.config}:/etc/penstock/penstock.json:ro", *flags, image).stdout.strip()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.podman("rm", "-f", "-t", "1", self.id)

    @property
    def pid(self):
        return int(self.inspect("{{.State.Pid}}"))

    def inspect(self, what):
        return self.podman("inspect", "-f", what, self.id).stdout.strip()

    def log(self):
        done = self.podman("logs", self.id)
        return done.stdout + done.stderr

    def probe(self, what="ready"):
        """(exit status, line), as a health check asks."""
        done = self.podman("exec", self.id, "penstock", "--probe", what, "--config", "/etc/penstock/penstock.json", status=None)
        return done.returncode, (done.stdout + done.stderr).strip()

    def wait_ready(self):
        wait_until(lambda: self.probe()[0] == 0, 30, 0.2, "readiness: " + self.log())
        return self

    def stop(self):
        """SIGTERM, as the image says; its exit status and the time that it took."""
        before = time.monotonic()
        self.podman("stop", "-t", "40", self.id)
        return int(self.inspect("{{.State.ExitCode}}")), time.monotonic() - before

    def start(self):
        self.podman("start", self.id)
        return self.wait_ready()

    def file(self, path):
        """What a file in the container says: read through its process."""
        return pathlib.Path(f"/proc/{self.pid}/root{path}").read_text()

    def admin(self, method, path, body=None):
        return call(self.settings["admin"]["port"], method, path, body, {"Authorization": "Bearer " + self.file(f"{STATE}/admin.token").strip()})

    def public(self, method, path, body=None, user="ann", **headers):
        return call(self.settings["listen"]["port"], method, path, body, {"X-User-Id": user, **headers})

