"""A cluster of a test's own on loopback: real redis-server (with replica and Sentinel where wanted), a real Kafka broker, N gateways, each
behind proxies of its own to Redis and to Kafka; buyers that go to any gateway; and the judgement, which every living gateway must share.

One broker serves all tests of a session, each with a fresh topic. Everything is ended by its process id, also on failure."""
import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections import Counter

from load import Load, judge
from penstock import BUILD, ROOT, Gateway, call, free_port, seeds, wait_until
from proxy import WELL, Proxy

GATEWAYS_MAX = 4
OFF = {"algorithm": "token_bucket", "rate": 1000000, "period_s": 1, "mode": "off"}
NO_LIMITS = {"limits": {"user": {**OFF, "key": "user"}, "ip": {**OFF, "key": "ip"}, "global": {**OFF, "key": "global"},
                        "polling": {**OFF, "key": "user", "applies_to": ["order_state"]}, "status": {**OFF, "key": "ip", "applies_to": ["status"]}}}

# For tests without faults: however busy the machine is, nothing is late.
PATIENT = {"store": {"redis": {"command_timeout_ms": 20000}}, "log": {"ack_timeout_ms": 20000, "kafka": {"delivery_timeout_ms": 30000}}}


def merged(below, above):
    """Settings over settings, at any depth."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{name: merged(below.get(name), value) for name, value in above.items()}}


def allowed_s(promise_s):
    """What a promise allows on a machine that is shared: as many times as much as more threads want to run than there are cores."""
    return promise_s * max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))


class Process:
    """A process that tests may freeze, and that may have died."""

    process = None

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)


class Server(Process):
    """A server that is ended by its process id."""

    def spawn(self, words, log):
        with open(log, "ab") as out:
            self.process = subprocess.Popen([str(word) for word in words], stdout=out, stderr=out, stdin=subprocess.DEVNULL)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        if self.alive:
            self.kill()


class Redis(Server):
    """One redis-server; comes back empty when it is started again."""

    def __init__(self, directory, name="redis", options=()):
        self.directory = pathlib.Path(directory) / name
        self.directory.mkdir(exist_ok=True)
        self.port = free_port()
        self.options = ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--repl-diskless-sync-delay", "0", *options]
        self.password = options[list(options).index("--requirepass") + 1] if "--requirepass" in options else None

    def start(self):
        self.spawn(["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--dir", self.directory, *self.options], self.directory / "log")
        wait_until(lambda: self.ask("PING", check=False) == "PONG", 30, what="Redis")
        return self

    def ask(self, *words, check=True):
        secret = ["-a", self.password, "--no-auth-warning"] if self.password else []
        done = subprocess.run(["redis-cli", "-h", "127.0.0.1", "-p", str(self.port), *secret, *map(str, words)], capture_output=True, text=True, timeout=60)
        assert not check or (done.returncode == 0 and not done.stdout.startswith("ERR")), (words, done.stdout, done.stderr)
        return done.stdout.strip()

    def follow(self, master):
        self.ask("REPLICAOF", "127.0.0.1", master.port)
        wait_until(lambda: "master_link_status:up" in self.ask("INFO", "replication"), timeout=30, what="a replica in step")

    def promote(self):
        self.ask("REPLICAOF", "NO", "ONE")


class Sentinel(Server):
    """One Sentinel that decides alone."""

    def __init__(self, directory, master, name="main"):
        self.directory = pathlib.Path(directory) / "sentinel"
        self.directory.mkdir()
        self.port = free_port()
        (self.directory / "conf").write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\nsentinel monitor {name} 127.0.0.1 {master.port} 1\n"
            f"sentinel down-after-milliseconds {name} 1000\nsentinel failover-timeout {name} 3000\n")

    def start(self):
        self.spawn(["redis-server", self.directory / "conf", "--sentinel"], self.directory / "log")
        return self


class Kafka:
    """One broker behind a route for each gateway, for all tests of a session; a context manager. One that is `like` another is a cluster of
    its own that tells its clients the other's addresses (Kafka.lead_to). `version`: of Kafka; `settings`: of the broker."""

    def __init__(self, like=None, version=None, settings=()):
        self.port, self.controller_port = free_port(), free_port()
        self.fronts = [(free_port(), like.fronts[i][1] if like else free_port()) for i in range(GATEWAYS_MAX)]
        self.like, self.version, self.settings = like, version, settings
        self.sasl_port, self.login = free_port(), ("shop", "kept-to-itself")
        self.pid = None

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="penstock-kafka-")
        self.proxy = Proxy().__enter__()
        try:
            self.start()
            for i, (front, advertised) in enumerate(self.fronts if not self.like else []):
                self.proxy.route(i, advertised, front)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        if self.pid:
            self.kill()
        self.proxy.__exit__()
        shutil.rmtree(self.directory)

    def start(self):
        words = [ROOT / "deploy/kafka/serve", "--dir", self.directory, "--port", self.port, "--controller-port", self.controller_port]
        words += ["--sasl-port", self.sasl_port, "--sasl-login", ":".join(self.login)]
        words += ["--cluster-id", "another-cluster-AAAAAA"] if self.like else []
        words += ["--kafka", self.version] if self.version else []
        for setting in self.settings:
            words += ["--set", setting]
        for front, advertised in self.fronts:
            words += ["--front-port", front, "--front-advertised", advertised]
        # A test's broker needs no optimised code, but to start soon.
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=180,  # it gives up before
                              env={**os.environ, "PENSTOCK_KAFKA_JAVA": "-Xmx384m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"})
        assert done.returncode == 0, done.stderr
        self.pid = int(done.stdout)
        self.proxy.look_after(self.pid)

    def signal(self, number):
        os.kill(self.pid, number)

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        pid, self.pid = self.pid, None
        os.kill(pid, signal.SIGKILL)

        def gone():  # it is nobody's child here
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
                return state == "Z" and len(os.listdir(f"/proc/{pid}/task")) == 1
            return True

        wait_until(gone, 30, what="the broker's end")
        self.proxy.forget(pid)

    @property
    def direct(self):
        return f"127.0.0.1:{self.port}"

    def lead_to(self, other):
        """From now on the gateways reach another broker; their connections are reset."""
        for i in range(GATEWAYS_MAX):
            self.proxy.lead(i, other.fronts[i][0])
            self.proxy.reset(i)

    def brokers(self, index):
        """For one gateway, through its route."""
        return f"127.0.0.1:{self.fronts[index][1]}"

    def well(self):
        """Undoes what a test has done to it."""
        if self.pid is None:
            self.start()
        self.thaw()
        for i in range(GATEWAYS_MAX):
            self.proxy.set(i)

    def topic(self, partitions=4, name=None):
        name = name or "orders-" + uuid.uuid4().hex[:10]
        subprocess.run([str(BUILD / "tests/kafka_topic"), self.direct, name, str(partitions)], check=True, capture_output=True, timeout=60)
        return name

    def tool(self, name, *words, stdin=None):
        """A program of Kafka's."""
        libs = subprocess.run([str(ROOT / "deploy/kafka/fetch")], check=True, capture_output=True, text=True).stdout.strip()
        done = subprocess.run(["java", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", f"{libs}/*",
                               f"org.apache.kafka.tools.{name}", "--bootstrap-server", self.direct, *map(str, words)],
                              input=stdin, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def bad_topic(self, partitions, *settings):
        """One that is not as Penstock wants it."""
        name = "bad-" + uuid.uuid4().hex[:10]
        self.tool("TopicCommand", "--create", "--topic", name, "--partitions", partitions, "--replication-factor", 1,
                  *[word for setting in settings for word in ("--config", setting)])
        return name

    def fill(self, topic, count=200):
        """With records of a stranger in every partition."""
        self.tool("ConsoleProducer", "--topic", topic, "--property", "parse.key=true", "--property", "key.separator=|",
                  stdin="".join(f"key-{i}|of another log\n" for i in range(count)))

    def put(self, topic, value, key="stranger"):
        """A record that is not ours."""
        self.tool("ConsoleProducer", "--topic", topic, "--property", "parse.key=true", "--property", "key.separator=|", stdin=f"{key}|{value}\n")


class Member(Process, Gateway):
    """One gateway of a cluster; `index` names its routes."""

    def __init__(self, cluster, index, settings, env=None, name=None):
        self.cluster, self.index = cluster, index
        directory = cluster.directory / (name or f"g{index}")
        directory.mkdir()
        super().__init__(directory, env=env, settings={
            "workers": 1,
            "store": {"kind": "redis", "redis": {"url": cluster.redis_url(index)}},
            "log": {"kind": "kafka", "kafka": {"brokers": cluster.kafka.brokers(index), "topic": cluster.topic}},
            "seed": seeds(NO_LIMITS),
            "http": {"connections": 2000},
        })
        self.configure(merged(self.settings, settings))

    def ready(self):
        with contextlib.suppress(OSError):
            return call(self.port, "GET", "/readyz").status == 200
        return False

    def log_lines(self):
        return self.log_path.read_text(errors="replace")

    def audit(self, name):
        return self.read(f"/admin/v1/sales/{name}/audit").json

    def sale(self, name):
        return self.read(f"/admin/v1/sales/{name}").json

    def orders(self, sale):
        found, after = [], 0
        while page := self.read(f"/admin/v1/orders?sale={sale}&limit=1000&after={after}").lines():
            found += page
            after = page[-1]["seq"]
        return found

    def redis_route(self, mode=WELL, delay_ms=0, late_ms=0):
        self.cluster.proxy.set(f"redis-{self.index}", mode, delay_ms, late_ms)

    def kafka_route(self, mode=WELL, delay_ms=0):
        self.cluster.kafka.proxy.set(self.index, mode, delay_ms)


class Cluster:
    """A context manager. `settings` are those of every gateway, on top of what a cluster needs."""

    def __init__(self, kafka, gateways=3, settings=None, directory=None, partitions=4, replica=False, sentinel=False, redis_options=(), envs=None):
        self.kafka, self.replicated, self.watched = kafka, replica or sentinel, sentinel
        self.count, self.settings, self.partitions = gateways, settings or {}, partitions
        self.redis_options, self.envs = redis_options, envs or {}
        self.given = directory
        self.failed = False  # then its files are kept
        self.gateways, self.strangers, self.servers = [], [], []

    def __enter__(self):
        self.directory = pathlib.Path(self.given or tempfile.mkdtemp(prefix="penstock-cluster-"))
        self.proxy = Proxy().__enter__()
        try:
            self.start()
        except BaseException:
            self.__exit__(True)
            raise
        return self

    def __exit__(self, fault, *more):
        for gateway in self.gateways + self.strangers:
            if gateway.alive:
                gateway.kill()
        for server in self.servers:
            server.end()
        self.proxy.__exit__()
        self.kafka.well()
        if fault or self.failed:
            print("the cluster's files:", self.directory)
        elif self.given is None:
            shutil.rmtree(self.directory)

    def start(self):
        self.redis = self.add(Redis(self.directory, "redis", self.redis_options).start())
        if self.replicated:
            self.replica = self.add(Redis(self.directory, "replica", self.redis_options).start())
            self.replica.follow(self.redis)
        if self.watched:
            self.sentinel = self.add(Sentinel(self.directory, self.redis).start())
        self.redis_ports = [free_port() for _ in range(self.count)]
        for i, port in enumerate(self.redis_ports):
            self.proxy.route(f"redis-{i}", port, self.redis.port)
        self.topic = self.kafka.topic(self.partitions)
        self.gateways = [Member(self, i, self.settings, self.envs.get(i)) for i in range(self.count)]
        self.start_gateways()

    def add(self, server):
        self.servers.append(server)
        return server

    def redis_url(self, index):
        secret = f":{self.redis.password}@" if self.redis.password else ""
        if self.watched:
            return f"redis+sentinel://{secret}127.0.0.1:{self.sentinel.port}/main/0"
        return f"redis://{secret}127.0.0.1:{self.redis_ports[index]}/0"

    def start_gateways(self):
        """The first one makes the token that all of them take."""
        first = self.gateways[0]
        if not (first.state / "tokens.json").exists():
            first.spawn()
            wait_until(lambda: (first.state / "tokens.json").exists() or not first.alive, 60, what="the first token")
        for gateway in self.gateways[1:]:
            if not gateway.state.exists():
                gateway.state.mkdir(mode=0o700)
                for name in ("tokens.json", "admin.token"):
                    shutil.copy2(first.state / name, gateway.state / name)
        for gateway in self.gateways:
            if not gateway.alive:
                gateway.spawn()
        for gateway in self.gateways:
            self.wait_ready(gateway)

    def wait_ready(self, gateway, timeout=60):
        def ready():
            assert gateway.alive, f"gateway {gateway.index} ended: " + gateway.log()
            return gateway.ready()

        try:
            wait_until(ready, timeout, what=f"readiness of gateway {gateway.index}")
        except AssertionError as fault:
            raise AssertionError(f"{fault}\n{gateway.log()}") from None

    def stranger(self, settings):
        """One more gateway with a fault in its settings, not started, that nobody counts on."""
        member = Member(self, 0, merged(self.settings, settings), name=f"stranger-{free_port()}")
        self.strangers.append(member)
        return member

    def restart(self, gateway):
        gateway.spawn()
        self.wait_ready(gateway)

    def __getitem__(self, index):
        return self.gateways[index]

    def living(self):
        return [gateway for gateway in self.gateways if gateway.alive]

    @property
    def port(self):
        """Any living gateway's, for buyers."""
        return random.choice(self.living() or self.gateways).port

    def routes(self, mode=WELL, delay_ms=0, of="redis"):
        """Sets the network between every gateway and Redis (or "kafka")."""
        for gateway in self.gateways:
            (gateway.redis_route if of == "redis" else gateway.kafka_route)(mode, delay_ms)

    def reset_routes(self, of="redis"):
        for gateway in self.gateways:
            if of == "redis":
                self.proxy.reset(f"redis-{gateway.index}")
            else:
                self.kafka.proxy.reset(gateway.index)

    def lead_to(self, redis, *gateways):
        """From now on these gateways (default: all) reach another Redis; their connections are reset."""
        for gateway in gateways or self.gateways:
            self.proxy.lead(f"redis-{gateway.index}", redis.port)
            self.proxy.reset(f"redis-{gateway.index}")

    # --- sales ---

    def make_sale(self, stock=10, at=0, **document):
        """In force at every gateway."""
        name = document.pop("name", None) or "sale-" + uuid.uuid4().hex[:8]

        def made():
            """Asked again where it is not known whether it is: Redis may have been slow."""
            try:
                self.gateways[at].make_sale(name, stock=stock, wait=False, **document)
            except AssertionError as fault:
                assert "<503 " in str(fault) or "<412 " in str(fault) or "<428 " in str(fault), fault
            return self.gateways[at].admin("GET", f"/admin/v1/sales/{name}").status == 200

        wait_until(made, 60, 0.5, f"{name} made")
        self.wait_open(name)
        return name

    def wait_open(self, sale, timeout=60):
        """Every living gateway knows it and has its counter."""
        def serves(gateway):
            answer = gateway.admin("GET", f"/admin/v1/sales/{sale}")
            return answer.status == 200 and answer.json["state"] == "open" and gateway.admin("GET", f"/admin/v1/sales/{sale}/audit").status == 200

        for gateway in self.living():
            wait_until(lambda: serves(gateway), timeout, what=f"{sale} open at gateway {gateway.index}")

    def sure_buy(self, gateway, sale, user, timeout=60, **more):
        """As a shop's page does: again with the same key until there is another answer than 503."""
        key = more.pop("key", f"key-{user}")

        def answered():
            with contextlib.suppress(OSError):
                answer = gateway.buy(sale, user, key=key, **more)
                return answer if answer.status != 503 and answer.code != "idempotency_in_progress" else None

        return wait_until(answered, timeout, 0.1, f"an answer to {user}")

    @contextlib.contextmanager
    def busy_sale(self, stock, rate=200, timeout=90, **document):
        """A sale and a crowd that buys there; at the end all numbers must agree with the crowd's answers."""
        sale = self.make_sale(stock=stock, **document)
        with Crowd(self, sale, rate=rate) as crowd:
            yield sale, crowd
        self.judge(sale, [crowd], stock, timeout=timeout)

    def epoch(self, sale):
        """That of the counter in Redis; "" when it has none."""
        return self.redis.ask("HGET", f"ps:{{{sale}}}:current", "epoch")

    def wait_epoch(self, sale, before, timeout=60):
        """Until the sale's counter is in force under a new epoch."""
        wait_until(lambda: self.epoch(sale) not in ("", before), timeout, 0.05, "a new epoch in force")

    # --- the judgement ---

    def wait_rest(self, sale, timeout=90):
        """Until no order is in doubt anywhere and every gateway has read the whole log."""
        def rest():
            seen = []
            for gateway in self.living():
                answer = gateway.admin("GET", f"/admin/v1/sales/{sale}/audit", timeout=90)
                if answer.status != 200 or not answer.json["ok"] or any(sku["in_doubt"] for sku in answer.json["skus"]):
                    return None
                seen.append([{name: sku[name] for name in ("sku", "adjustments", "available", "held", "confirmed")} for sku in answer.json["skus"]])
            return seen and all(skus == seen[0] for skus in seen)

        try:
            wait_until(rest, timeout, 0.2, f"rest of {sale}")
        except AssertionError as fault:
            reports = [gateway.admin("GET", f"/admin/v1/sales/{sale}/audit", timeout=30).text for gateway in self.living()]
            raise AssertionError("\n".join([str(fault), *reports])) from None

    def judge(self, sale, loads, stock, settled=False, timeout=90):
        """I1 to I5 and I7, by every living gateway and by the records themselves; what they agree on."""
        self.wait_rest(sale, timeout)
        orders = None
        for gateway in self.living():
            mine = {order["order_id"]: order for order in judge(gateway, sale, loads, stock, settled)}
            assert orders is None or mine == orders, f"gateway {gateway.index} shows other orders"
            orders = mine
        folded = fold(records(self.living()[0], sale))
        shown = {i: (order["state"], order["reason"]) for i, order in orders.items()}
        void = ("released", "rejected")
        assert {i: s for i, s in shown.items() if s != void} == {i: s for i, s in folded.items() if s != void}
        keys = Counter((order["user"], order["idempotency_key"]) for order in orders.values()
                       if order["idempotency_key"] and order["reason"] != "rejected")
        assert not keys or max(keys.values()) == 1, keys.most_common(3)
        for result in (result for load in loads for result in load.results if result.state == "pending"):
            order = orders.get(result.order_id)
            assert order is None or order["state"] != "pending", order
        return orders

    def numbers(self, sale, gateway=None):
        sku = (gateway or self.living()[0]).assert_books(sale)["skus"][0]
        return tuple(sku[name] for name in ("available", "held", "confirmed", "adjustments"))


class Crowd(Load):
    """Buyers who come at their own times, `rate` a second in all, whether or not those before them have been answered (as far as `threads`
    at once allow), to any gateway; a connection that fails sends its buyer to another one."""

    def __init__(self, cluster, sale, rate=200, threads=24, timeout=3.0, **more):
        self.interval = threads / rate
        self.due = {}
        super().__init__(cluster, sale, threads=threads, timeout=timeout, **more)

    def rest(self, index):
        now = time.monotonic()
        due = self.due.get(index, now + random.random() * self.interval) + self.interval
        self.due[index] = due
        self.stopping.wait(max(0.0, due - now))


def promised_more(load, more, timeout=90):
    before = load.promised()
    wait_until(lambda: load.promised() >= before + more, timeout, what=f"{more} more promises")


def states(gateway, ids):
    """Of orders, as this gateway shows them: id -> (state, reason), or None."""
    found = {}
    for order_id in ids:
        answer = gateway.admin("GET", f"/admin/v1/orders/{order_id}")
        found[order_id] = (answer.json["state"], answer.json["reason"]) if answer.status == 200 else None
    return found


def records(gateway, sale):
    """All records of a sale, as the gateway reads them from the log."""
    found, after = [], 0
    while True:
        answer = gateway.read(f"/admin/v1/sales/{sale}/log?after={after}")
        found += answer.lines()
        last = int(answer.headers["penstock-last-seq"])
        if last == after:
            return found
        after = last


def fold(lines):
    """What the records mean, by a second reading of the protocol's table: order id -> (state, reason)."""
    epochs, states = Counter(), {}
    for line in lines:
        kind, partition = line["type"].split(".")[2], line["seq"] >> 43
        if kind == "fenced":
            epochs[partition] = max(epochs[partition], line["epoch"])
        if "order_id" not in line:
            continue
        order_id, before = line["order_id"], states.get(line["order_id"])
        if kind == "accepted" and before is None:
            states[order_id] = ("accepted", None) if line["epoch"] == epochs[partition] else ("released", "rejected")
        elif kind == "confirmed" and before == ("accepted", None):
            states[order_id] = ("confirmed", None)
        elif kind == "released" and line["reason"] == "rejected" and before is None:
            states[order_id] = ("released", "rejected")
        elif kind == "released" and line["reason"] != "rejected" and before == ("accepted", None):
            states[order_id] = ("released", line["reason"])
    return states

