"""What a "no" costs in instructions: with the counter in memory and in Redis, and with the overload controller on (nothing is overloaded) and off. A gateway under callgrind, its
worker's instructions alone. The difference between many requests and few, by their number, leaves out start, idle turns and the end. It is the same on a busy machine as on a quiet one."""
import pathlib
import re
import socket
import subprocess
import sys

import cluster
import harness

FEW, MANY = 1000, 4000
REDIS_BAR, CONTROLLER_BAR = 1.05, 1.03
NAMES = {"memory": "counter in memory", "controller_off": "counter in memory, overload controller off", "redis": "counter in Redis"}


class Counted(harness.Penstock):
    """Counts nothing until it is told to."""

    def __init__(self, directory, settings):
        self.out = directory / "callgrind.out"
        super().__init__(directory, settings, ["valgrind", "--tool=callgrind", "--quiet", "--separate-threads=yes", "--instr-atstart=no",
                                               f"--callgrind-out-file={self.out}"], patience=120)

    def ask(self, count):
        """Each by another user, on one connection."""
        with socket.create_connection(("127.0.0.1", self.port), 60) as s:
            stream = s.makefile("rb")
            for number in range(count):
                s.sendall(harness.post_request("/v1/sales/none/orders", f"u{number}"))
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += stream.readline()
                body = stream.read(int(re.search(rb"(?i)content-length: *(\d+)", head).group(1)))
                if b'"sold_out"' not in body:
                    sys.exit(f"bench: not the answer that was to be counted: {body.decode()}")

    def count(self, requests, controller):
        """Instructions of the thread that has spent most."""
        self.lift_limits()
        if not controller:
            self.turn_overload_off()
        self.make_sale("none", 0)
        probe = harness.post_request("/v1/sales/none/orders", "probe")
        harness.wait_for(lambda: b'"sold_out"' in harness.raw_answer(self.port, probe), "a no", 60)
        self.ask(10)
        subprocess.run(["callgrind_control", "--instr=on", str(self.process.pid)], check=True, capture_output=True)
        self.ask(requests)
        self.stop()
        totals = [int(re.search(r"^(?:summary|totals): (\d+)", path.read_text(), re.M).group(1)) for path in pathlib.Path(self.out.parent).glob("callgrind.out*-*")]
        return max(totals)


def instructions(directory, name, settings_for, controller=True):
    counts = []
    for requests in (FEW, MANY):
        place = directory / f"{name}-{requests}"
        place.mkdir()
        counts.append(Counted(place, settings_for()).count(requests, controller))
    return (counts[1] - counts[0]) / (MANY - FEW)


def run(directory):
    redis = cluster.Redis(directory)
    try:
        numbers = iter(range(16))
        found = {"memory": instructions(directory, "memory", dict),
                 "controller_off": instructions(directory, "controller_off", dict, controller=False),
                 "redis": instructions(directory, "redis", lambda: {"store": redis.settings(next(numbers))})}
    finally:
        redis.stop()
    ratios = {"redis": (found["redis"] / found["memory"], REDIS_BAR), "controller": (found["memory"] / found["controller_off"], CONTROLLER_BAR)}
    for name, value in found.items():
        print(f"sold_out, {NAMES[name]}: {value:.0f} instructions a request")
    for name, (ratio, bar) in ratios.items():
        print(f"{name}: {ratio:.3f}  (bar {bar}, {harness.judge(ratio <= bar)})")
    return {"instructions": found, "ratios": {name: round(ratio, 3) for name, (ratio, _) in ratios.items()}, "bars": {name: bar for name, (_, bar) in ratios.items()}}
