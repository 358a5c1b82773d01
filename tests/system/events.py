"""A reader of a gateway's stream of events, by what the documents say, with the standard library alone."""
import http.client
import json

EVENTS = "/admin/v1/events"


class Reader:
    """An open stream; a context manager that leaves it."""

    def __init__(self, gateway, token=None, timeout=30):
        self.connection = http.client.HTTPConnection("127.0.0.1", gateway.admin_port, timeout=timeout)
        self.connection.request("GET", EVENTS, headers={"Authorization": "Bearer " + (token or gateway.token)})
        self.answer = self.connection.getresponse()

    def __enter__(self):
        assert self.answer.status == 200, self.answer.read()
        return self

    def __exit__(self, *exc):
        self.connection.close()

    def next(self):
        """The next event as a dict of its lines; None: the stream has ended."""
        lines = {}
        while True:
            line = self.answer.readline()
            if line == b"":
                return None
            if line == b"\n":
                return lines
            name, _, value = line.decode().rstrip("\n").partition(": ")
            assert name in ("id", "event", "data") and name not in lines, line
            lines[name] = value

    def state(self):
        event = self.next()
        assert event["event"] == "state", event
        return json.loads(event["data"])
