"""A real Prometheus that scrapes gateways of tests each second, with exemplars stored."""
import contextlib
import json
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request

from penstock import free_port, wait_until


class Prometheus:
    """A context manager; `targets` are ports of admin listeners on loopback, whose /metrics needs no token."""

    def __init__(self, *targets):
        self.directory = tempfile.TemporaryDirectory(prefix="prometheus-")
        self.port = free_port()
        addresses = json.dumps([f"127.0.0.1:{port}" for port in targets])
        self.config = f"{self.directory.name}/prometheus.yml"
        with open(self.config, "w") as file:
            file.write("global: {scrape_interval: 1s, scrape_timeout: 900ms}\nscrape_configs:\n- job_name: penstock\n"
                       f"  static_configs: [{{targets: {addresses}}}]\n")

    def __enter__(self):
        with open(f"{self.directory.name}/log", "wb") as log:
            self.process = subprocess.Popen(["prometheus", f"--config.file={self.config}", f"--storage.tsdb.path={self.directory.name}/data",
                                             f"--web.listen-address=127.0.0.1:{self.port}", "--enable-feature=exemplar-storage"], stdout=log, stderr=log)
        with contextlib.ExitStack() as stack:
            stack.callback(self.__exit__)
            wait_until(self.is_ready, 60, what="Prometheus")
            stack.pop_all()
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()
        self.directory.cleanup()

    def is_ready(self):
        with contextlib.suppress(OSError, AssertionError, IndexError):  # it has just begun
            return self.ask("targets")["activeTargets"][0]["health"] == "up"
        return False

    def ask(self, path, **query):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                done = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode()}") from None
        assert done["status"] == "success", done
        return done["data"]

    def query(self, expression):
        """Samples of the present moment: [(labels, value)]"""
        return [(one["metric"], float(one["value"][1])) for one in self.ask("query", query=expression)["result"]]

    def series(self, expression, begin, end):
        """Series over a span of time: [(labels, [values])]"""
        found = self.ask("query_range", query=expression, start=begin, end=end, step=1)["result"]
        return [(one["metric"], [float(value) for _, value in one["values"]]) for one in found]
