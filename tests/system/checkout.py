"""A copy of what the quickstart needs, as a newcomer has it: in a folder with a space, with Debian's path of an ordinary user, on ports of its own."""
import json
import os
import re
import shutil
import signal
import subprocess

from examples import paste
from penstock import BUILD, PATIENT_LOG, QUIET, ROOT, free_port, seeds

USERS_PATH = "/usr/local/bin:/usr/bin:/bin"


def as_from_a_terminal():
    """Whoever runs the tests may ignore these (nohup does), and bash cannot take back what was ignored when it began."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def read_until(running, word):
    read = ""
    for line in running.stdout:
        read += line
        if word in line:
            break
    return read


class Checkout:
    """A copy of what the quickstart needs, built already, with ports of its own."""

    def __init__(self, directory):
        self.root = directory / "R&D 100% checkout"
        shutil.copytree(ROOT / "deploy", self.root / "deploy")
        (self.root / "build").mkdir()
        (self.root / "build" / "release").symlink_to(BUILD)
        self.programs = directory / "programs"
        self.programs.mkdir()
        self.program("cmake", "exit 0")
        self.ports = {}
        for script in ("quickstart", "cluster/run", "shop/documents.json"):
            path = self.root / "deploy" / script
            path.write_text(re.sub(r"\b(8079|8080|8404|6390|919[23]|[89]08[123]|809[01234])\b", lambda found: str(self.port(found.group())), path.read_text()))
        settings = json.loads((self.root / "deploy/penstock.json").read_text())
        settings |= {"listen": {"port": self.port("8080")}, "admin": {"port": self.port("8090")}, **PATIENT_LOG, "seed": seeds(QUIET)}
        (self.root / "deploy/penstock.json").write_text(json.dumps(settings))

        member = self.root / "deploy/cluster/gateway.json"  # and nothing gives way there, either
        member.write_text(member.read_text().replace('"log": {', '"seed": {"documents": {"overload": {"default": {"mode": "off"}}}}, "log": {"ack_timeout_ms": 10000, '))

    def port(self, number):
        return self.ports.setdefault(number, free_port())

    def program(self, name, text):
        """One that comes first on the path."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def start(self, *options, env=None):
        return subprocess.Popen([self.root / "deploy/quickstart", *options], cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
                                env={**os.environ, "PATH": f"{self.programs}:{USERS_PATH}", **(env or {})}, preexec_fn=as_from_a_terminal)

    def paste(self, script):
        """Runs commands of a document, with the ports of this checkout."""
        return paste(script, self.root, {f":{port}": f":{self.port(port)}" for port in ("8080", "9081", "9082", "8090", "8091", "8092", "8093", "8094")})

    def left(self):
        """Ids and command lines of what still runs out of this folder."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                    line = file.read().replace("\0", " ")
                if str(self.root) in line or os.readlink(f"/proc/{pid}/cwd").startswith(str(self.root)):
                    found.append((int(pid), line))
            except OSError:
                continue
        return found
