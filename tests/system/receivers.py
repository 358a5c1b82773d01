"""Servers that get what Penstock and its shippers send: documents for Elasticsearch, spans for a collector of OpenTelemetry."""
import http.server
import json
import subprocess
import threading

from penstock import ROOT, wait_until


class Receiver:
    """An HTTP server on a port of its own that keeps what it gets; `down()` and `up()` end it and start it again on the same port."""

    def __init__(self, port=0):
        self.port, self.got, self.answers, self.server = port, [], [], None

    def take(self, request, body):
        """The status and the text of the answer."""
        raise NotImplementedError

    def up(self):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer = receiver.answers.pop(0) if receiver.answers else None
                status, text, fields = answer(self, body) if callable(answer) else answer or (*receiver.take(self, body), {})
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", "Content-Length": str(len(text)), **fields}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def do_GET(self):
                text = b"{}"
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_HEAD = do_GET

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                """A client that has left."""

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def down(self):
        self.server.shutdown()
        self.server.server_close()
        self.server = None

    def __enter__(self):
        return self.up()

    def __exit__(self, *exc):
        if self.server is not None:
            self.down()


class Elasticsearch(Receiver):
    """`_bulk` as it is documented: for each document an action, and in the answer a status for each. `got`: (index, document)."""

    def __init__(self):
        super().__init__()
        self.ids = set()

    def take(self, request, body):
        assert request.path.split("?")[0].endswith("/_bulk"), request.path
        lines = body.decode().splitlines()
        assert body.endswith(b"\n") and len(lines) % 2 == 0
        items = []
        for action, document in zip(lines[::2], lines[1::2], strict=True):
            (verb, where), = json.loads(action).items()
            assert verb == "create" and where.keys() <= {"_index", "_id"}, action
            again = where["_id"] in self.ids
            self.ids.add(where["_id"])
            if not again:
                self.got.append((where["_index"], document))
            items.append({verb: {"_index": where["_index"], "_id": where["_id"], "status": 409 if again else 201}})
        return 200, json.dumps({"took": 1, "errors": any(item["create"]["status"] > 299 for item in items), "items": items})


class Collector(Receiver):
    """OTLP over HTTP. `spans()`: those that came, each checked against the protocol's own messages."""

    def take(self, request, body):
        assert request.path == "/v1/traces" and request.headers["Content-Type"] == "application/json", (request.path, request.headers)
        self.got.append((body.decode(), dict(request.headers)))
        return 200, "{}"

    def spans(self):
        python = subprocess.run([ROOT / "tests/python/fetch"], capture_output=True, text=True, check=True).stdout.strip()
        text = "".join(body + "\n" for body, _ in self.got)
        done = subprocess.run([python, ROOT / "tests/python/read_otlp.py"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def wait(self, is_there, timeout=30, what="the spans"):
        """Until this is true of the spans; returns them."""
        return wait_until(lambda: (spans := self.spans()) and is_there(spans) and spans, timeout, every=0.3, what=what)
