"""The price of a shared counter and a shared log: the counter in Redis, the log in Kafka, and both, beside the memory counter with its journal and nginx's static answer,
in interleaved rounds of one run. One gateway at a time is asked; it has one core, the load, Redis and Kafka share the other. CPU a request is the gateway's own; what
Redis and Kafka spend on it stands in a column of its own. Reservations and orders a second are counted by the gateway."""
import contextlib
import os
import random
import re
import signal
import statistics
import subprocess
import sys

import harness

CASES = {  # path; every request a new user
    "sold_out": "/v1/sales/none/orders",
    "durable_yes": "/v1/sales/plenty/orders",
}
EXPECTED = {"sold_out": ("sold_out",), "durable_yes": ("accepted", "pending")}
# A "no" asks nobody: with Redis it may cost what it costs with memory. A "yes" of both: twice nginx's static answer.
NO_BAR, YES_BAR = 1.05, 2.0
STOCK = 50_000_000
AGAIN_MAX = 10  # parts of rounds that are measured again


class Redis:
    def __init__(self, directory):
        self.port = harness.free_port()
        (directory / "redis").mkdir()
        self.process = harness.start(
            ["taskset", "-c", harness.LOAD_CORE, "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory / "redis"), "--save", "",
             "--appendonly", "no", "--maxmemory-policy", "noeviction"], stdout=subprocess.DEVNULL)
        harness.wait_for(lambda: subprocess.run(["redis-cli", "-p", str(self.port), "ping"], capture_output=True, text=True).stdout == "PONG\n", "redis-server")

    def settings(self, database):
        return {"kind": "redis", "redis": {"url": f"redis://127.0.0.1:{self.port}/{database}"}}

    def pids(self):
        return [self.process.pid]

    def stop(self):
        self.process.terminate()
        self.process.wait(15)


class Kafka:
    """One broker: what replication costs is not measured."""

    def __init__(self, directory):
        self.port = harness.free_port()
        served = subprocess.run(
            ["taskset", "-c", harness.LOAD_CORE, str(harness.ROOT / "deploy/kafka/serve"), "--dir", str(directory / "kafka"), "--port", str(self.port),
             "--controller-port", str(harness.free_port())], capture_output=True, text=True)
        if served.returncode != 0:
            sys.exit(f"bench: {served.stderr}")
        self.pid = int(served.stdout)

    def topic(self, name):
        subprocess.run([str(harness.ROOT / "deploy/kafka/topic"), "--brokers", f"127.0.0.1:{self.port}", "--partitions", "4", "--replicas", "1", name], check=True,
                       capture_output=True)
        return {"kind": "kafka", "kafka": {"brokers": f"127.0.0.1:{self.port}", "topic": name}}

    def pids(self):
        return [self.pid]

    def stop(self):
        os.kill(self.pid, signal.SIGTERM)


def counted(gateway):
    """By the gateway's own metrics: answers so far by verdict, and orders that the log has shown."""
    text = gateway.metrics()
    answers = {verdict: int(value) for verdict, value in re.findall(r'^penstock_answers_total\{verdict="(\w+)"\} (\d+)', text, re.M)}
    return answers, int(re.search(r'^penstock_rehearsal_orders_total\{event="accepted"\} (\d+)', text, re.M).group(1))


def gateways(directory, redis, kafka, stack):
    settings = {"penstock": {}, "penstock_redis": {"store": redis.settings(0)}, "penstock_kafka": {"log": kafka.topic("kafka")},
                "penstock_redis_kafka": {"store": redis.settings(1), "log": kafka.topic("redis-kafka")}}
    made = {}
    for name, more in settings.items():
        (directory / name).mkdir()
        made[name] = harness.Penstock(directory / name, more)
        stack.callback(made[name].process.kill)
    return made


def answers_of(subjects):
    """An answer a case, for nginx to be as long; those of all gateways are."""
    answers = {}
    for case, path in CASES.items():
        for gateway in subjects.values():
            harness.wait_for(lambda: f'"{EXPECTED[case][0]}"'.encode() in harness.raw_answer(gateway.port, harness.post_request(path, "first")), f"{case} of a gateway")
        all_of_them = [harness.raw_answer(gateway.port, harness.post_request(path, "size-probe-0")) for gateway in subjects.values()]
        lengths = [len(answer) for answer in all_of_them]
        if max(lengths) > 1.05 * min(lengths):
            sys.exit(f"bench: {case}: answers of {lengths} bytes cannot be compared")
        answers[case] = all_of_them[0]
    return answers


def measure(gateway, servers, case, seconds, prefix):
    (before, orders_before), spent = counted(gateway), harness.cpu_seconds(servers)
    result = harness.wrk(gateway, CASES[case], "sale.lua", seconds, harness.CONNECTIONS, "many", prefix)
    after, orders = counted(gateway)
    answers = {verdict: count - before.get(verdict, 0) for verdict, count in after.items() if count > before.get(verdict, 0)}
    wrong = sum(count for verdict, count in answers.items() if verdict not in EXPECTED[case])
    if wrong > result["requests"] * 0.001 + 10:
        print(f"bench: {case}: not the answers that were to be measured: {answers}", file=sys.stderr)
        return None
    lasted = result["requests"] / result["requests_per_second"]
    result["server_cpu_us_per_request"] = (harness.cpu_seconds(servers) - spent) / result["requests"] * 1e6
    result["reservations_per_second"] = (answers.get("accepted", 0) + answers.get("pending", 0)) / lasted
    result["orders_per_second"] = (orders - orders_before) / lasted
    return result


def row_of(case, name, rounds):
    row = harness.median_row(case, name, rounds)
    for key in ("server_cpu_us_per_request", "reservations_per_second", "orders_per_second"):
        if key in rounds[0]:
            row[key] = round(statistics.median(r[key] for r in rounds), 2)
    return row


def play(arguments, subjects, nginx, servers):
    rounds = {(case, name): [] for case in CASES for name in (*subjects, "nginx_static")}
    again = 0
    for number in range(arguments.rounds):
        for case in CASES:
            for name in random.sample([*subjects, "nginx_static"], len(subjects) + 1):
                prefix = f"r{number}{case}"
                if name == "nginx_static":
                    rounds[case, name].append(harness.wrk(nginx, "/" + case, "sale.lua", arguments.seconds, harness.CONNECTIONS, "many", prefix))
                    continue
                result = measure(subjects[name], servers[name], case, arguments.seconds, prefix)
                while result is None:  # Redis or Kafka had to wait too long for the core that they share
                    again += 1
                    if again > AGAIN_MAX:
                        sys.exit("bench: the machine has too much else to do")
                    result = measure(subjects[name], servers[name], case, arguments.seconds, f"{prefix}a{again}")
                rounds[case, name].append(result)
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
    return rounds


def show(rows, ratios, bars):
    print(f"{'case':13}{'subject':22}{'requests/s':>11}{'reserved/s':>11}{'orders/s':>10}{'CPU us/req':>12}{'quartiles':>18}{'servers us':>12}{'p50 ms':>9}{'p99 ms':>9}")
    for row in rows:
        print(f"{row['case']:13}{row['subject']:22}{row['requests_per_second']:11.0f}{row.get('reservations_per_second', 0):11.0f}{row.get('orders_per_second', 0):10.0f}"
              f"{row['cpu_us_per_request']:12.2f}{str(row['cpu_us_quartiles']):>18}{row.get('server_cpu_us_per_request', 0):12.2f}{row['p50_ms']:9.2f}{row['p99_ms']:9.2f}")
    print()
    for name, ratio in ratios.items():
        bar = bars.get(name)
        print(f"{name}: {ratio:.2f}" + (f"  (bar {bar}, {harness.judge(ratio <= bar)})" if bar else ""))


def ratio_of(rounds, case, one, other):
    return round(statistics.median(a["cpu_us_per_request"] / b["cpu_us_per_request"] for a, b in zip(rounds[case, one], rounds[case, other])), 3)


def run(arguments, directory):
    with contextlib.ExitStack() as stack:
        redis = Redis(directory)
        stack.callback(redis.stop)
        kafka = Kafka(directory)
        stack.callback(kafka.stop)
        subjects = gateways(directory, redis, kafka, stack)
        servers = {"penstock": [], "penstock_redis": redis.pids(), "penstock_kafka": kafka.pids(), "penstock_redis_kafka": redis.pids() + kafka.pids()}
        for gateway in subjects.values():
            gateway.lift_limits()
            gateway.make_sale("none", 0)
            gateway.make_sale("plenty", STOCK)
        nginx = harness.Nginx(directory, answers_of(subjects))
        stack.callback(nginx.stop)
        rounds = play(arguments, subjects, nginx, servers)
        for gateway in subjects.values():
            gateway.stop()
    rows = [row_of(case, name, values) for (case, name), values in rounds.items()]
    ratios = {f"{case}, CPU a request, {name} / nginx_static": ratio_of(rounds, case, name, "nginx_static") for case in CASES for name in subjects}
    ratios["sold_out, CPU a request, penstock_redis_kafka / penstock"] = ratio_of(rounds, "sold_out", "penstock_redis_kafka", "penstock")
    bars = {"sold_out, CPU a request, penstock_redis_kafka / penstock": NO_BAR, "durable_yes, CPU a request, penstock_redis_kafka / nginx_static": YES_BAR}
    show(rows, ratios, bars)
    return {"rows": rows, "ratios": ratios, "bars": bars}
