"""What clients saw, in the format of penstock-rehearse --history (loadtest/history.h), written by tests while several threads ask."""
import contextlib
import json
import subprocess
import threading
import time

from penstock import REHEARSE

ENDED = {"order_confirmed": ("confirmed", None), "order_expired": ("released", "expired"), "order_cancelled": ("released", "cancelled"),
         "order_rejected": ("released", "rejected")}  # what a 409 to confirm or cancel says of the order


class History:
    """One file; each operation is a process of its own."""

    def __init__(self, path):
        self.path, self.file = path, open(path, "w")
        self.lock, self.processes = threading.Lock(), 0

    def write(self, process, kind, f, value):
        line = {"process": process, "type": kind, "f": f, "value": value, "time": time.monotonic_ns()}
        self.file.write(json.dumps(line, separators=(",", ":")) + "\n")

    @contextlib.contextmanager
    def operation(self, f, at, **value):
        """Yields a function that takes the answer's status and document; if it is not called, the outcome is unknown."""
        with self.lock:
            self.processes += 1
            process = self.processes
            self.write(process, "invoke", f, value)
        ended = ("info", {})

        def end(status, answer):
            nonlocal ended
            ended = judged(f, status, answer, value.get("order_id"))

        try:
            yield end
        finally:
            with self.lock:
                self.write(process, ended[0], f, {**ended[1], "at": str(at)})

    def read(self, gateway, order_id):
        with self.operation("read", gateway.port, order_id=order_id) as end:
            answer = gateway.admin("GET", f"/admin/v1/orders/{order_id}", timeout=5)
            end(answer.status, answer.json)

    def decide(self, gateway, order_id, word):
        """Confirms or cancels; the answer."""
        with self.operation(word, gateway.port, order_id=order_id) as end:
            answer = gateway.admin("POST", f"/admin/v1/orders/{order_id}/{word}", timeout=5)
            end(answer.status, answer.json)
        return answer

    def check(self, gateway, sale):
        """Against the log, as this gateway reads it."""
        self.file.flush()
        words = [REHEARSE, "--public", f"http://127.0.0.1:{gateway.port}", "--admin", f"http://127.0.0.1:{gateway.admin_port}",
                 "--state-dir", gateway.state, "--check-history", self.path, "--sale", sale]
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{self.path}: {done.stdout}{done.stderr}"
        return done.stdout.strip()


def judged(f, status, answer, order_id):
    """How an operation ended: the line's type and value."""
    if status in (200, 202):
        return "ok", {name: answer[name] for name in ("order_id", "state", "reason")}
    if status == 404 and f == "read":
        return "ok", {"order_id": order_id, "state": None}
    if status == 409 and f != "buy" and answer.get("code") in ENDED:
        state, reason = ENDED[answer["code"]]
        return "fail", {"order_id": order_id, "state": state, "reason": reason, "verdict": answer["code"]}
    # A confirm may still happen although the gateway cannot tell yet: 503 means "ask again". A refused buy has bought nothing.
    known = answer.get("code") and (f == "buy" or status < 500)
    return "fail" if known else "info", {"verdict": answer.get("code") or str(status)}
