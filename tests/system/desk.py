"""penstockctl, as an operator calls it."""
import json
import os
import subprocess

from penstock import BUILD

PENSTOCKCTL = BUILD / "gateway" / "ctl" / "penstockctl"
OK, REFUSED, USAGE, AWAY, FAILED = range(5)


class Desk:
    """penstockctl in an environment of its own."""

    def __init__(self, directory, port, token_file):
        self.directory = directory
        self.env = {"PATH": os.environ["PATH"], "HOME": str(directory), "LC_ALL": "C.UTF-8", "PENSTOCK_ADMIN": f"http://127.0.0.1:{port}",
                    "PENSTOCK_TOKEN_FILE": str(token_file)}

    def run(self, *words, status=OK, text=None, **env):
        """`status` None: any."""
        done = subprocess.run([str(PENSTOCKCTL), *map(str, words)], input=text, capture_output=True, text=True, timeout=60,
                              env={**self.env, **env}, cwd=self.directory)
        assert status in (None, done.returncode), (words, done.returncode, done.stdout, done.stderr)
        return done

    def out(self, *words, **more):
        return self.run(*words, **more).stdout

    def json(self, *words, **more):
        return json.loads(self.out(*words, "-o", "json", **more))

    def write(self, name, kind, document, of):
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"kind": kind, "name": of, "document": document}))
        return path
