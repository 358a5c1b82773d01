"""Starts what a chart renders, as Kubernetes would, on this machine: pods in network namespaces of their own with an address each, containers by
runc from an image's archive with the user, capabilities, seccomp profile and read-only root of the manifest, volumes with the owners and modes
that the kubelet gives them, probes, Services over the pods that are ready, SIGTERM and the grace period. Needs root; nothing of it touches the
machine's own network, and everything is ended by its id."""
import asyncio
import base64
import contextlib
import ctypes
import http.client
import itertools
import json
import os
import pathlib
import platform
import resource
import shutil
import socket
import subprocess
import tarfile
import tempfile
import threading
import time

from penstock import Answer, wait_until

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
SECCOMP = pathlib.Path("/usr/share/containers/seccomp.json")
NUMBERS = itertools.count(os.getpid() * 100)


def run(*words, check=True):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
    return done


def enter(netns):
    """This thread, for good."""
    fd = os.open(f"/run/netns/{netns}", os.O_RDONLY)
    try:
        assert LIBC.setns(fd, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(fd)


@contextlib.contextmanager
def inside(netns):
    """This thread, for a while: sockets that it makes belong there for ever."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        enter(netns)
        yield
    finally:
        assert LIBC.setns(home, CLONE_NEWNET) == 0
        os.close(home)


# --- The image. ---

class Image:
    """An archive (containers.Archive), unpacked: its root and its configuration."""

    def __init__(self, archive, directory):
        self.root, self.config = pathlib.Path(directory) / "root", archive.config
        self.root.mkdir()
        for layer in archive.manifest["layers"]:
            with tarfile.open(fileobj=archive.blob(layer), mode="r:*") as files:
                files.extractall(self.root, numeric_owner=True)


def seccomp():
    """RuntimeDefault: the profile of container runtimes, for a process without capabilities, in the form of the OCI."""
    profile = json.loads(SECCOMP.read_text())
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    calls = []
    for rule in profile["syscalls"]:
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        if includes.get("caps") or machine in excludes.get("arches", []) or (includes.get("arches") and machine not in includes["arches"]):
            continue
        call = {"names": rule["names"], "action": rule["action"]}
        if rule.get("args"):
            call["args"] = [{key: value for key, value in arg.items() if value is not None} for arg in rule["args"]]
        if rule.get("errnoRet") is not None:
            call["errnoRet"] = rule["errnoRet"]
        calls.append(call)
    return {"defaultAction": profile["defaultAction"], "defaultErrnoRet": profile.get("defaultErrnoRet", 1), "syscalls": calls}


# --- Volumes. ---

def give_to_group(root, group):
    """As the kubelet does for fsGroup: the group gets all that there is, and new files get the group."""
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode & 0o7777
            os.chown(path, -1, group)
            path.chmod(mode | (0o2770 if path.is_dir() else 0o660))


def write_keys(root, data, mode, group):
    """A ConfigMap or a Secret: each key is a link into a directory that is replaced as a whole."""
    kept = root / "..2026_01_01"
    kept.mkdir()
    for name, value in data.items():
        path = kept / name
        path.write_bytes(value if isinstance(value, bytes) else value.encode())
        path.chmod(mode | (0o040 if group else 0))
        if group:
            os.chown(path, 0, group)
        (root / name).symlink_to(f"..data/{name}")
    (root / "..data").symlink_to(kept.name)


# --- Pods. ---

class Pod:
    def __init__(self, node, name, spec, labels):
        self.node, self.name, self.spec, self.labels = node, name, spec, labels
        self.number = next(NUMBERS)
        self.id = f"penstock-test-{self.number}"
        self.netns = f"pst-{self.number}"
        self.directory = node.directory / f"{name}-{self.number}"
        self.directory.mkdir()
        self.address = node.new_address()
        self.ready = self.started = False
        self.removed_at = None  # from the Services
        self.restarts = 0
        self.exit = None
        self.process = None
        self.container = spec["containers"][0]
        self.log_path = self.directory / "log"
        self.ending = threading.Event()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def start(self):
        run("ip", "netns", "add", self.netns)
        run("ip", "-n", self.netns, "link", "set", "lo", "up")
        run("ip", "link", "add", "eth0", "netns", self.netns, "type", "veth", "peer", "name", f"v{self.number}", "netns", self.node.netns)
        run("ip", "-n", self.netns, "addr", "add", f"{self.address}/16", "dev", "eth0")
        run("ip", "-n", self.netns, "link", "set", "eth0", "up")
        run("ip", "-n", self.node.netns, "link", "set", f"v{self.number}", "master", "br0", "up")
        for port in self.node.of_the_machine:
            self.node.lend(self.netns, port)
        self.write_bundle()
        self.spawn()
        threading.Thread(target=self.probe, daemon=True).start()
        return self

    def volumes(self):
        """name -> path"""
        group = self.spec["securityContext"].get("fsGroup")
        found = {}
        for volume in self.spec.get("volumes", []) + self.node.claims_of(self):
            root = self.directory / f"volume-{volume['name']}"
            if "path" in volume:  # a claim; what an earlier pod left is not touched again (OnRootMismatch)
                root = volume["path"]
                stat = root.stat()
                if group and not (stat.st_gid == group and stat.st_mode & 0o2770 == 0o2770):
                    assert self.spec["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
                    give_to_group(root, group)
            elif "emptyDir" in volume:
                root.mkdir()
                root.chmod(0o777)
                if group:
                    give_to_group(root, group)
            elif "configMap" in volume:
                root.mkdir()
                write_keys(root, self.node.config_maps[volume["configMap"]["name"]], volume["configMap"].get("defaultMode", 0o644), group)
            elif "secret" in volume:
                name = volume["secret"]["secretName"]
                assert name in self.node.secrets, f"MountVolume.SetUp failed: secret {name} not found"
                root.mkdir()
                write_keys(root, self.node.secrets[name], volume["secret"].get("defaultMode", 0o644), group)
            else:
                raise AssertionError(f"a volume of a kind that is not known here: {volume}")
            found[volume["name"]] = root
        return found

    def write_bundle(self):
        image, container, of_pod = self.node.image, self.container, self.spec["securityContext"]
        own = container.get("securityContext", {})
        (self.directory / "hosts").write_text("127.0.0.1 localhost\n" + self.node.hosts_file())
        run("runc", "spec", "-b", self.directory)
        spec = json.loads((self.directory / "config.json").read_text())
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        assert own["capabilities"] == {"drop": ["ALL"]} and of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
        spec["process"] = {
            "terminal": False, "cwd": "/",
            "args": container.get("command") or [*image.config["Entrypoint"], *image.config.get("Cmd", [])],
            "env": [*image.config.get("Env", []), *(f"{e['name']}={e['value']}" for e in container.get("env", [])), f"HOSTNAME={self.name}"],
            "user": {"uid": of_pod["runAsUser"], "gid": of_pod["runAsGroup"], "additionalGids": [of_pod["fsGroup"]]},
            "capabilities": {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": limit, "soft": min(1024, limit)}],
            "noNewPrivileges": not own["allowPrivilegeEscalation"]}
        spec["root"] = {"path": str(image.root), "readonly": own["readOnlyRootFilesystem"]}
        spec["hostname"] = self.name
        spec["linux"]["seccomp"] = seccomp()
        spec["linux"]["cgroupsPath"] = f"/{self.id}"
        for namespace in spec["linux"]["namespaces"]:
            if namespace["type"] == "network":
                namespace["path"] = f"/run/netns/{self.netns}"
        volumes = self.volumes()
        mounts = [(m["mountPath"], volumes[m["name"]], m.get("readOnly", False)) for m in container.get("volumeMounts", [])]
        mounts.append(("/etc/hosts", self.directory / "hosts", True))
        spec["mounts"] += [{"destination": at, "source": str(path), "type": "bind", "options": ["rbind", "rprivate", "nosuid", "nodev", *(["ro"] if ro else [])]}
                           for at, path, ro in mounts]
        (self.directory / "config.json").write_text(json.dumps(spec))

    def spawn(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(["runc", "run", "-b", str(self.directory), self.id], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    # --- Probes. ---

    def asked(self, probe):
        if "exec" in probe:
            done = subprocess.run(["runc", "exec", self.id, *probe["exec"]["command"]], capture_output=True, timeout=30)
            return done.returncode == 0
        port = probe["httpGet"]["port"]
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(self.address, self.port(port), timeout=probe["timeoutSeconds"])
            with contextlib.closing(connection):
                connection.request("GET", probe["httpGet"]["path"], headers={"User-Agent": "kube-probe/1.31", "Connection": "close"})
                return 200 <= connection.getresponse().status < 400
        return False

    def port(self, name):
        return name if isinstance(name, int) else next(port["containerPort"] for port in self.container["ports"] if port["name"] == name)

    def probe(self):
        """The startup probe until it succeeds, then the others; a container whose liveness fails is killed, as the kubelet does."""
        enter(self.node.netns)
        startup, live, ready = (self.container.get(f"{kind}Probe") for kind in ("startup", "liveness", "readiness"))
        failures = {"startup": 0, "liveness": 0, "readiness": 0}
        due = {"liveness": 0.0, "readiness": 0.0}
        while not self.ending.is_set() and self.process.poll() is None:
            if not self.started:
                self.started = startup is None or self.asked(startup)
                failures["startup"] += not self.started
                if not self.started:
                    assert failures["startup"] < startup["failureThreshold"], "the startup probe failed too often"
                    self.ending.wait(min(0.2, startup["periodSeconds"]))
                    continue
            for kind, probe in (("liveness", live), ("readiness", ready)):
                if probe is None or time.monotonic() < due[kind]:
                    continue
                due[kind] = time.monotonic() + probe["periodSeconds"]
                well = self.asked(probe)
                failures[kind] = 0 if well else failures[kind] + 1
                if kind == "readiness" and (well or failures[kind] >= probe["failureThreshold"]):
                    self.ready = well
                if kind == "liveness" and failures[kind] >= probe["failureThreshold"]:
                    self.restarts += 1
                    run("runc", "kill", self.id, "KILL", check=False)
            if ready is None:
                self.ready = True
            self.ending.wait(0.1)
        self.ready = False

    # --- Its end. ---

    def serves(self):
        return self.ready if self.removed_at is None else time.monotonic() < self.removed_at and self.process.poll() is None

    def delete(self, propagation_s=0.0, signal="TERM"):
        """SIGTERM, and SIGKILL when the grace period is over. Services go on for a while: endpoints are removed at the same time, and not at once.
        Returns (status, seconds)."""
        begun = time.monotonic()
        self.removed_at = begun + propagation_s if self.ready else begun
        run("runc", "kill", self.id, signal, check=False)
        try:
            self.exit = self.process.wait(self.spec["terminationGracePeriodSeconds"])
        except subprocess.TimeoutExpired:
            run("runc", "kill", self.id, "KILL", check=False)
            self.exit = self.process.wait(30)
        self.clean()
        return self.exit, time.monotonic() - begun

    def clean(self):
        self.ending.set()
        if self.process is not None and self.process.poll() is None:
            run("runc", "kill", self.id, "KILL", check=False)
            self.process.wait(30)
        run("runc", "delete", "-f", self.id, check=False)
        run("ip", "netns", "del", self.netns, check=False)


# --- The node. ---

class Node:
    """One machine of a cluster. `of_the_machine`: ports of this machine's loopback that pods find on theirs, as by a sidecar."""

    def __init__(self, image, of_the_machine=()):
        self.image, self.of_the_machine = image, list(of_the_machine)
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="penstock-node-"))
        self.netns = f"pst-node-{next(NUMBERS)}"
        self.addresses = itertools.count(10)
        self.config_maps, self.secrets, self.services, self.stateful = {}, {}, {}, {}
        self.pods, self.loops = [], []

    def __enter__(self):
        run("ip", "netns", "add", self.netns)
        run("ip", "-n", self.netns, "link", "set", "lo", "up")
        run("ip", "-n", self.netns, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self.netns, "addr", "add", "10.77.0.1/16", "dev", "br0")
        run("ip", "-n", self.netns, "link", "set", "br0", "up")
        self.loop, self.loop_of_machine = self.new_loop(self.netns), self.new_loop(None)
        return self

    def __exit__(self, *exc):
        for pod in self.pods:
            pod.clean()
        for loop in self.loops:
            asyncio.run_coroutine_threadsafe(self.end_loop(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
        run("ip", "netns", "del", self.netns, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    async def end_loop(self):
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def new_address(self):
        number = next(self.addresses)
        return f"10.77.{number // 250}.{number % 250}"

    def new_loop(self, netns):
        loop = asyncio.new_event_loop()

        def work():
            if netns:
                enter(netns)
            loop.run_forever()

        threading.Thread(target=work, daemon=True).start()
        self.loops.append(loop)
        return loop

    # --- Connections. ---

    def serve(self, loop, listening, where):
        """Each connection goes on to where(peer) -> (host, port), or is closed if that is None."""
        async def pump(reader, writer):
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()

        async def connected(reader, writer):
            there = where(writer.get_extra_info("peername")[0])
            with contextlib.suppress(OSError), contextlib.closing(writer):
                if there is not None:
                    onward = await asyncio.open_connection(*there)
                    ways = [asyncio.ensure_future(pump(reader, onward[1])), asyncio.ensure_future(pump(onward[0], writer))]
                    with contextlib.closing(onward[1]):
                        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)  # nobody here sends after the other's end
                    for way in ways:
                        way.cancel()

        asyncio.run_coroutine_threadsafe(asyncio.start_server(connected, sock=listening, backlog=4096), loop).result(10)

    def listen(self, netns, address, port):
        with inside(netns):
            return socket.create_server((address, port), backlog=4096)

    def lend(self, netns, port):
        self.serve(self.loop_of_machine, self.listen(netns, "127.0.0.1", port), lambda _peer: ("127.0.0.1", port))

    def hosts_file(self):
        lines = []
        for name, service in self.services.items():
            if service["address"]:
                ends = ("", f".{service['namespace']}", f".{service['namespace']}.svc", f".{service['namespace']}.svc.cluster.local")
                lines.append(" ".join([service["address"], *(name + end for end in ends)]))
        return "\n".join(lines) + "\n"

    def ask(self, host, port, method, path, body=None, headers=None, timeout=30):
        """A request from this node: to a Service by its name, to a pod by its address."""
        address = self.services[host]["address"] if host in self.services else host
        with inside(self.netns):
            connection = http.client.HTTPConnection(address, port, timeout=timeout)
            connection.connect()
        with contextlib.closing(connection):
            headers = {"Host": f"{host}:{port}", **(headers or {})}
            connection.request(method, path, body=json.dumps(body) if body is not None else None,
                               headers=headers if body is None else {"Content-Type": "application/json", **headers})
            response = connection.getresponse()
            return Answer(response, response.read())

    # --- What is applied. ---

    def secret(self, name, **data):
        self.secrets[name] = {key.replace("_", "-"): value for key, value in data.items()}

    def apply(self, documents, namespace="default"):
        """Config maps, Services and stateful sets; hooks wait for run()."""
        for document in documents:
            kind, name = document["kind"], document["metadata"]["name"]
            if kind == "ConfigMap":
                self.config_maps[name] = document["data"]
            elif kind == "Secret":
                self.secrets[name] = {key: base64.b64decode(value) for key, value in document["data"].items()}
            elif kind == "Service" and name not in self.services:
                self.start_service(name, namespace, document["spec"])
        for document in documents:
            if document["kind"] == "StatefulSet":
                self.stateful[document["metadata"]["name"]] = document["spec"]
                for number in range(document["spec"]["replicas"]):
                    self.start_replica(document["metadata"]["name"], number)

    def start_service(self, name, namespace, spec):
        headless = spec.get("clusterIP") == "None"
        service = {"namespace": namespace, "spec": spec, "address": None if headless else self.new_address()}
        self.services[name] = service
        if headless:
            return
        run("ip", "-n", self.netns, "addr", "add", f"{service['address']}/16", "dev", "br0")
        for port in spec["ports"]:
            turns = itertools.count()

            def where(peer, port=port, turns=turns):
                pods = [pod for pod in self.pods if spec["selector"].items() <= pod.labels.items() and pod.serves()]
                if not pods:
                    return None
                turn = sum(map(ord, peer)) if spec.get("sessionAffinity") == "ClientIP" else next(turns)
                pod = pods[turn % len(pods)]
                return pod.address, pod.port(port["targetPort"])

            self.serve(self.loop, self.listen(self.netns, service["address"], port["port"]), where)

    def claims_of(self, pod):
        found = []
        for name, spec in self.stateful.items():
            if pod.name.rpartition("-")[0] == name:
                for claim in spec["volumeClaimTemplates"]:
                    path = self.directory / f"claim-{claim['metadata']['name']}-{pod.name}"
                    path.mkdir(mode=0o755, exist_ok=True)
                    found.append({"name": claim["metadata"]["name"], "path": path})
        return found

    def claim(self, pod, name):
        return next(volume["path"] for volume in self.claims_of(pod) if volume["name"] == name)

    def start_replica(self, name, number):
        template = self.stateful[name]["template"]
        pod = Pod(self, f"{name}-{number}", template["spec"], template["metadata"]["labels"])
        self.pods = [other for other in self.pods if other.name != pod.name] + [pod]
        return pod.start()

    def wait_ready(self, *pods, timeout=60):
        for pod in pods or self.pods:
            wait_until(lambda pod=pod: pod.ready or pod.process.poll() is not None, timeout, what=f"readiness of {pod.name}")
            assert pod.ready, pod.log()[-3000:]

    def run(self, document, timeout=180):
        """A Job or a Pod of a hook, to its end: (status, log). A Job's pod is started again as often as it says."""
        is_job = document["kind"] == "Job"
        template = document["spec"]["template"] if is_job else document
        tries = document["spec"]["backoffLimit"] + 1 if is_job else 1
        for _ in range(tries):
            pod = Pod(self, document["metadata"]["name"], template["spec"], template["metadata"]["labels"])
            self.pods.append(pod)
            pod.start()
            status = pod.process.wait(timeout)
            pod.clean()
            self.pods.remove(pod)
            if status == 0:
                break
            time.sleep(0.5)
        return status, pod.log()
