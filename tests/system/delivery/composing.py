"""Runs services of a compose file by podman, as far as the files in deploy/compose use the specification: what is not known here is refused.

All containers share one network namespace that is made for them, so that ports mean what the file says and the machine's own stay free."""
import json
import os
import re
import subprocess
import uuid

import yaml
from containers import run

KNOWN = {"image", "pull_policy", "configs", "volumes", "ports", "healthcheck", "read_only", "cap_drop", "security_opt", "stop_grace_period", "restart",
         "profiles", "entrypoint", "command", "network_mode", "depends_on"}


def interpolated(text, env):
    """${NAME:-default} and ${NAME:?why}; $$ is a dollar."""
    def value(found):
        if found[0] == "$$":
            return "$"
        if env.get(found[1]):
            return env[found[1]]
        assert found[2] == ":-", f"compose refuses: {found[3]}"
        return found[3]

    return re.sub(r"\$\$|\$\{(\w+)(:[-?])([^}]*)\}", value, text)


def read(path, env=None):
    text = path.read_text()
    return yaml.safe_load(interpolated("\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")), env or {}))


class Project:
    def __init__(self, podman, path, directory, env=None):
        self.podman, self.directory, self.file = podman, directory, read(path, env)
        self.name = f"penstock-{uuid.uuid4().hex[:8]}"
        self.ids = {}

    def __enter__(self):
        run("ip", "netns", "add", self.name)
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        return self

    def __exit__(self, *exc):
        for container in self.ids.values():
            self.podman("rm", "-f", "-t", "1", container, status=None)
        run("ip", "netns", "del", self.name)

    def flags(self, service):
        assert set(service) <= KNOWN, set(service) - KNOWN
        assert service["pull_policy"] == "never"
        flags = ["--network", f"ns:/run/netns/{self.name}", "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"]
        flags += ["--read-only"] * service.get("read_only", False)
        for word in service.get("cap_drop", []):
            flags += ["--cap-drop", word]
        for word in service.get("security_opt", []):
            flags += ["--security-opt", word.replace(":true", "")]
        for volume in service.get("volumes", []):
            flags += ["-v", f"{self.name}-{volume}"]
        for config in service.get("configs", []):
            file = self.directory / f"config-{config['source']}"
            file.write_text(self.file["configs"][config["source"]]["content"])
            file.chmod(0o444)
            flags += ["-v", f"{file}:{config['target']}:ro"]
        if "entrypoint" in service:
            flags += ["--entrypoint", json.dumps(service["entrypoint"])]
        return flags

    def up(self, name):
        service = self.file["services"][name]
        self.ids[name] = self.podman("run", "-d", *self.flags(service), service["image"], *service.get("command", [])).stdout.strip()

    def healthy(self, name):
        kind, *words = self.file["services"][name]["healthcheck"]["test"]
        assert kind == "CMD"
        return self.podman("exec", self.ids[name], *words, status=None).returncode == 0

    def run(self, name):
        """A service that ends: what it has written."""
        service = self.file["services"][name]
        return self.podman("run", "--rm", *self.flags(service), service["image"], *service.get("command", [])).stdout

    def call(self, method, url, body=None, **headers):
        """(status, JSON) of a call from the machine's side of the ports."""
        words = ["ip", "netns", "exec", self.name, "curl", "-sS", "-X", method, url, "-w", "\n%{http_code}"]
        for key, value in headers.items():
            words += ["-H", f"{key.replace('_', '-')}: {value}"]
        if body is not None:
            words += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        text, _, status = run(*words, env={**os.environ, "no_proxy": "*"}).stdout.rpartition("\n")
        return int(status), json.loads(text) if text else None

    def copy(self, name, path):
        """docker compose cp SERVICE:PATH"""
        out = subprocess.run([*map(str, self.podman.begin), "cp", f"{self.ids[name]}:{path}", "-"], capture_output=True, check=True).stdout
        return subprocess.run(["tar", "-xO"], input=out, capture_output=True, check=True).stdout.decode()
