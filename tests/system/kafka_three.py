"""Three Kafka brokers and a controller of their own on loopback, each a process that can be killed, with or without its disk: what one broker
cannot show. Some 15 s to start, so for soak tests. A Cluster takes it in place of the one broker; it has no routes that fail."""
import pathlib
import shutil
import subprocess
import tempfile
import uuid

from cluster import Server
from penstock import ROOT, free_port, wait_until

CONTROLLER = 100
JAVA = ["java", "-Xmx320m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]


class Node(Server):
    """A broker, or the controller."""

    def __init__(self, three, number, version):
        self.three, self.number, self.port = three, number, free_port()
        self.directory = three.directory / str(number)
        self.libs = subprocess.run([str(ROOT / "deploy/kafka/fetch"), *([version] if version else [])], check=True, capture_output=True, text=True).stdout.strip()

    def prepare(self):
        """An empty disk."""
        self.directory.mkdir(exist_ok=True)
        controls = self.number == CONTROLLER
        name = "CONTROLLER" if controls else "DIRECT"
        (self.directory / "server.properties").write_text("\n".join([
            f"process.roles={'controller' if controls else 'broker'}", f"node.id={self.number}",
            f"controller.quorum.voters={CONTROLLER}@127.0.0.1:{self.three.controller.port}",
            f"listeners={name}://127.0.0.1:{self.port}", *([] if controls else [f"advertised.listeners={name}://127.0.0.1:{self.port}", "inter.broker.listener.name=DIRECT"]),
            "controller.listener.names=CONTROLLER", "listener.security.protocol.map=DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT", f"log.dirs={self.directory}/data",
            "auto.create.topics.enable=false", "offsets.topic.num.partitions=1", "offsets.topic.replication.factor=1", "group.initial.rebalance.delay.ms=0",
            "broker.heartbeat.interval.ms=500", "broker.session.timeout.ms=4000", "replica.lag.time.max.ms=4000", ""]))
        release = ["--release-version", self.three.release] if self.three.release else []
        return subprocess.Popen([*JAVA, "-cp", f"{self.libs}/*", "kafka.tools.StorageTool", "format", "--cluster-id", "penstock-three-AAAAAAAA"[:22], *release,
                                 "-c", str(self.directory / "server.properties")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self):
        self.spawn([*JAVA, "-cp", f"{self.libs}/*", "kafka.Kafka", self.directory / "server.properties"], self.directory / "log")
        self.three.keep(self.process.pid)

    def stop(self):
        """As operators do: the controller then knows that its disk is whole."""
        self.process.terminate()
        self.process.wait(60)

    def lose_disk(self):
        if self.alive:
            self.kill()
        shutil.rmtree(self.directory / "data")


class Three:
    """A context manager. `versions`: of the three brokers; None is that of deploy/kafka. `release`: the features that the cluster is made with,
    where its brokers differ; then the controller is as the first of them."""

    def __init__(self, versions=(None, None, None), release=None):
        self.versions, self.release = versions, release

    def __enter__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="penstock-three-"))
        # Ends them when the test's process is gone, however it went.
        self.keeper = subprocess.Popen(["bash", "-c", 'while read -r pid; do pids="$pids $pid"; done; kill -KILL $pids 2>/dev/null'], stdin=subprocess.PIPE, text=True)
        self.controller = Node(self, CONTROLLER, self.versions[0])
        self.nodes = [Node(self, number, version) for number, version in enumerate(self.versions, 1)]
        try:
            for format in [node.prepare() for node in (self.controller, *self.nodes)]:
                assert format.wait(120) == 0
            for node in (self.controller, *self.nodes):
                node.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        for node in (*self.nodes, self.controller):
            node.end()
        self.keeper.stdin.close()
        self.keeper.wait()
        shutil.rmtree(self.directory)

    def keep(self, pid):
        self.keeper.stdin.write(f"{pid}\n")
        self.keeper.stdin.flush()

    @property
    def direct(self):
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def brokers(self, _index):
        return self.direct

    def well(self):
        """For Cluster: there is nothing to undo."""

    def topic(self, partitions=4, name=None):
        """As Penstock wants it: three replicas, two of them in sync."""
        name = name or "orders-" + uuid.uuid4().hex[:10]

        def made():
            """Not before all three are there."""
            done = subprocess.run([str(ROOT / "deploy/kafka/topic"), "--brokers", self.direct, "--partitions", str(partitions), "--if-not-exists", name],
                                  capture_output=True, text=True, timeout=180)
            return done.returncode == 0

        wait_until(made, 240, 1, "a topic of three replicas")
        return name
