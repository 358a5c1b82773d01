"""Servers of a shop, for tests of what stands before them: real HTTP/1.1 on loopback ports, by threads and the standard library. `Upstream` serves well,
by a table or a function, and remembers what it was asked; it can be slow, frozen, stopped, killed, and started again on its port. `Misbehaving` breaks
one rule, the same way each time.

    with Upstream({"/p/1": "a lamp", "/gone": Reply(410)}) as shop, Misbehaving("bad_chunk_size") as bad:
        gateway.admin("PUT", "/admin/v1/pools/web", {"endpoints": [{"address": shop.address}]})
        ...
        assert shop.requests[0].values("X-User-Id") == ["ann"] and shop.connections == 1
"""
import contextlib
import itertools
import socket
import struct
import threading
import time
import zlib

from penstock import free_port

KEPT_BODY = 1 << 20  # of a longer body, only its length and checksum are remembered
BLOCK = 1 << 16
GIGABYTE = 1 << 30
ACCEPTED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


class Gone(Exception):
    """The peer has closed, or this server was stopped."""


class Request:
    """One request as it came: `head` has its bytes, up to and with the empty line."""

    def __init__(self, head, connection, number):
        self.head, self.connection, self.number = head, connection, number  # number of the connection, and of the request on it: from 1
        self.at = time.monotonic()
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, self.version = first.split(" ", 2)
        self.path = self.target.partition("?")[0]
        self.fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines if line)]
        self.body, self.length, self.checksum, self.trailers = b"", 0, 0, []

    def values(self, name):
        return [value for its, value in self.fields if its.lower() == name.lower()]

    def value(self, name):
        found = self.values(name)
        assert len(found) <= 1, f"{name}: {found}"
        return found[0] if found else None

    def add(self, data):
        if self.length < KEPT_BODY:
            self.body += data[:KEPT_BODY - self.length]
        self.length += len(data)
        self.checksum = zlib.crc32(data, self.checksum)

    def __repr__(self):
        return f"<{self.method} {self.target}, {self.length} bytes>"


class Reply:
    """What is answered. `body`: text, bytes, or an iterable of bytes (then chunked, unless `headers` has a Content-Length). `headers`: pairs or a
    dictionary. `interim`: bytes that go before the head. `close`: ends the connection afterwards and says so."""

    def __init__(self, status=200, body="", headers=(), chunked=False, trailers=(), interim=b"", close=False, reason="Any"):
        self.status, self.reason, self.interim, self.close, self.chunked, self.trailers = status, reason, interim, close, chunked, list(trailers)
        self.headers = list(headers.items() if isinstance(headers, dict) else headers)
        self.body = body.encode() if isinstance(body, str) else body

    def sized(self):
        return isinstance(self.body, bytes)

    def has(self, name):
        return any(its.lower() == name.lower() for its, _ in self.headers)


class Connection:
    """One connection of a client, on a thread of its own."""

    def __init__(self, server, sock, number):
        self.server, self.socket, self.number = server, sock, number
        self.rest, self.requests, self.cut, self.resets = b"", 0, False, False
        sock.settimeout(1)  # who is cut while it sends sees it then; who reads is woken
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def receive(self):
        """At least one byte."""
        while not self.cut:
            with contextlib.suppress(socket.timeout):
                data = self.socket.recv(BLOCK)
                if not data:
                    break
                return data
        raise Gone

    def send(self, data):
        view = memoryview(data)
        while view:
            if self.cut:
                raise Gone
            with contextlib.suppress(socket.timeout):
                view = view[self.socket.send(view):]

    def sleep(self, seconds):
        """Also until the server is thawed."""
        end = time.monotonic() + seconds
        with self.server.changed:
            while not self.cut and (self.server.frozen or time.monotonic() < end):
                self.server.changed.wait(None if self.server.frozen else max(0, end - time.monotonic()))
        if self.cut:
            raise Gone

    def line(self):
        while b"\r\n" not in self.rest:
            self.rest += self.receive()
        line, _, self.rest = self.rest.partition(b"\r\n")
        return line

    def head(self):
        """The next request without its body."""
        while b"\r\n\r\n" not in self.rest:
            self.rest += self.receive()
        head, end, self.rest = self.rest.partition(b"\r\n\r\n")
        self.requests += 1
        return Request(head + end, self.number, self.requests)

    def take(self, request, length):
        while length:
            if not self.rest:
                self.rest = self.receive()
            part, self.rest = self.rest[:length], self.rest[length:]
            length -= len(part)
            request.add(part)

    def read_body(self, request):
        """A strict reader: what is framed twice or wrongly is a fault of whoever sent it, and of the test."""
        lengths, codings = request.values("Content-Length"), request.values("Transfer-Encoding")
        assert len(lengths) + len(codings) <= 1, f"framed twice: {request.head}"
        if (lengths or codings) and (request.value("Expect") or "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if codings:
            assert codings == ["chunked"], request.head
            while size := int(self.line(), 16):
                self.take(request, size)
                assert self.line() == b""
            while line := self.line():
                request.trailers.append(tuple(part.strip() for part in line.decode("latin-1").split(":", 1)))
        elif lengths:
            self.take(request, int(lengths[0]))

    def request(self):
        """The next whole request; remembered."""
        request = self.head()
        self.server.remember(request)
        self.read_body(request)
        return request

    def reply(self, request, reply):
        bare = request.method == "HEAD" or reply.status in (204, 304)
        chunked = not bare and (reply.chunked or not reply.sized() and not reply.has("Content-Length"))
        lines = [f"HTTP/1.1 {reply.status} {reply.reason}"] + [f"{name}: {value}" for name, value in reply.headers]
        if chunked:
            lines.append("Transfer-Encoding: chunked")
        elif reply.sized() and not reply.has("Content-Length") and reply.status not in (204, 304):
            lines.append(f"Content-Length: {len(reply.body)}")
        if reply.close:
            lines.append("Connection: close")
        head = reply.interim + "".join(line + "\r\n" for line in lines).encode("latin-1") + b"\r\n"
        if bare:
            self.send(head)
        elif reply.sized() and not chunked:
            self.send(head + reply.body)
        else:
            self.send(head)
            for part in [reply.body] if reply.sized() else reply.body:
                if part:
                    self.send(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
            if chunked:
                self.send(b"0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in reply.trailers).encode() + b"\r\n")

    def reset(self):
        """Ends it by RST."""
        self.resets = True
        raise Gone

    def until_closed(self):
        """Reads and drops until the client has closed."""
        while True:
            self.receive()

    def run(self):
        try:
            self.server.converse(self)
        except (Gone, OSError):
            pass
        finally:
            with contextlib.suppress(OSError):
                if self.resets:
                    self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.socket.close()
            self.server.left(self)


class Upstream:
    """`serve`: a table of paths (text, bytes or Reply), or a function of a Request (None: 404); None answers what came: method, target and
    length of the body. `delay_s` may be changed while it runs. A context manager; `start` may be called again after `stop` or `kill`."""

    def __init__(self, serve=None, delay_s=0.0, port=None, host="127.0.0.1"):
        self.serve, self.delay_s, self.host, self.port = serve, delay_s, host, port or free_port()
        self.lock = threading.Lock()
        self.changed = threading.Condition()  # who sleeps is frozen, thawed or cut
        self.frozen = False
        self.listener = None
        self.open = set()
        self.clear()

    def clear(self):
        """Forgets what it was asked."""
        with self.lock:
            self.requests, self.connections, self.faults = [], 0, []

    @property
    def address(self):
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def kept(self):
        """Connections that are open now."""
        with self.lock:
            return len(self.open)

    def remember(self, request):
        with self.lock:
            self.requests.append(request)

    def left(self, connection):
        with self.lock:
            self.open.discard(connection)

    # --- Its life. ---

    def start(self):
        assert self.listener is None
        self.frozen = False
        listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, self.port))
        listener.listen(512)
        self.listener = listener
        threading.Thread(target=self.accept, args=(listener,), daemon=True).start()
        return self

    def accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                with self.lock:
                    self.connections += 1
                    connection = Connection(self, sock, self.connections)
                    self.open.add(connection)
                    connection.cut = self.listener is not listener
                threading.Thread(target=connection.run, daemon=True).start()

    def end(self, resets):
        listener, self.listener = self.listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut(resets)

    def cut(self, resets=True):
        """Ends the connections that are open, by RST or in order, and goes on serving new ones."""
        with self.lock:
            mine = list(self.open)
        for connection in mine:
            connection.resets, connection.cut = resets, True
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RD)
        self.wake()
        end = time.monotonic() + 5
        while any(connection in self.open for connection in mine) and time.monotonic() < end:
            time.sleep(0.005)

    def stop(self):
        """Refuses connections, and closes those that are open."""
        self.end(resets=False)

    def kill(self):
        """Refuses connections, and resets those that are open."""
        self.end(resets=True)

    def freeze(self):
        """The system accepts connections, and nothing is answered until `thaw`: as a process that was stopped."""
        self.frozen = True
        self.wake()

    def thaw(self):
        self.frozen = False
        self.wake()

    def wake(self):
        with self.changed:
            self.changed.notify_all()

    def __enter__(self):
        return self if self.listener else self.start()

    def __exit__(self, kind, *rest):
        self.stop()
        assert kind or not self.faults, self.faults

    # --- What it says. ---

    def answer(self, request):
        if self.serve is None:
            return Reply(body=f"{request.method} {request.target} {request.length}\n", headers={"Content-Type": "text/plain"})
        found = self.serve.get(request.path) if isinstance(self.serve, dict) else self.serve(request)
        if found is None:
            return Reply(404, "not here\n")
        return found if isinstance(found, Reply) else Reply(body=found)

    def converse(self, connection):
        while True:
            try:
                request = connection.request()
                connection.sleep(self.delay_s)
                reply = self.answer(request)
                connection.reply(request, reply)
            except (AssertionError, ValueError) as fault:
                self.faults.append(fault)
                return
            if reply.close or (request.value("Connection") or "").lower() == "close":
                return


def generated(length):
    """A long body that nobody has to hold."""
    block = bytes(range(256)) * (BLOCK // 256)
    for _ in range(length // BLOCK):
        yield block
    yield block[:length % BLOCK]


# --- How a server can be wrong. Each gets a connection, and says on it what it says. ---

WAYS = {}
BODY_LENGTH = 100000  # of a body that breaks off in the middle: half of it comes


def way(function):
    WAYS[function.__name__] = function
    return function


def says(name, head_and_body, then="closes"):
    """One that answers every request with these bytes, and then closes or keeps the connection."""
    def converse(connection):
        while True:
            connection.request()
            connection.send(head_and_body)
            if then == "closes":
                return
    converse.__name__ = name
    way(converse)


def refuses(connection):
    """Nobody listens: see Misbehaving.start."""


def never_connects(connection):
    """No room for connections: see Misbehaving.start."""


WAYS["refuses"], WAYS["never_connects"] = refuses, never_connects


@way
def silent(connection):
    connection.request()
    connection.until_closed()


@way
def unread(connection):
    """Not a byte is read, so that long requests get stuck."""
    connection.sleep(3600)


@way
def closes_before_head(connection):
    connection.request()


@way
def resets_before_head(connection):
    connection.request()
    connection.reset()


@way
def resets_in_head(connection):
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    time.sleep(0.05)
    connection.reset()


@way
def closes_in_head(connection):
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Le")


@way
def endless_head(connection):
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\n")
    for n in itertools.count():
        connection.send(f"X-Field-{n}: {'v' * 100}\r\n".encode())


@way
def endless_field(connection):
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nX-Field: ")
    while True:
        connection.send(b"v" * 1000)


@way
def head_dripped_for_ever(connection):
    """A byte each tenth of a second: it is never idle, and never done."""
    connection.request()
    for byte in itertools.chain(b"HTTP/1.1 200 OK\r\nX-Field: ", itertools.repeat(ord("v"))):
        connection.send(bytes([byte]))
        connection.sleep(0.1)


@way
def head_in_single_bytes(connection):
    """Slow, and right."""
    while True:
        connection.request()
        for byte in ACCEPTED + b"Content-Length: 4\r\n\r\nslow":
            connection.send(bytes([byte]))
            time.sleep(0.001)


@way
def truncated_length(connection):
    connection.request()
    connection.send(ACCEPTED + f"Content-Length: {BODY_LENGTH}\r\n\r\n".encode() + b"b" * (BODY_LENGTH // 2))


@way
def truncated_chunked(connection):
    connection.request()
    connection.send(ACCEPTED + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (BODY_LENGTH // 2, b"b" * (BODY_LENGTH // 2)))


@way
def truncated_chunk(connection):
    connection.request()
    connection.send(ACCEPTED + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s" % (BODY_LENGTH, b"b" * (BODY_LENGTH // 2)))


@way
def resets_in_body(connection):
    connection.request()
    connection.send(ACCEPTED + f"Content-Length: {BODY_LENGTH}\r\n\r\n".encode() + b"b" * (BODY_LENGTH // 2))
    time.sleep(0.1)
    connection.reset()


@way
def resets_in_chunked_body(connection):
    connection.request()
    connection.send(ACCEPTED + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (BODY_LENGTH // 2, b"b" * (BODY_LENGTH // 2)))
    time.sleep(0.1)
    connection.reset()


@way
def body_stops(connection):
    """Half of it, and then nothing, on an open connection."""
    connection.request()
    connection.send(ACCEPTED + f"Content-Length: {BODY_LENGTH}\r\n\r\n".encode() + b"b" * (BODY_LENGTH // 2))
    connection.until_closed()


@way
def body_dripped(connection):
    """Slow, and right: 40 bytes within two seconds."""
    while True:
        connection.request()
        connection.send(ACCEPTED + b"Content-Length: 40\r\n\r\n")
        for _ in range(40):
            connection.sleep(0.05)
            connection.send(b"d")


@way
def early_answer(connection):
    """As soon as the head is there; the body is left unread, and the connection closed."""
    connection.server.remember(connection.head())
    connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 6\r\nConnection: close\r\n\r\nearly\n")
    connection.sleep(1)


@way
def early_answer_and_kept(connection):
    """As soon as the head is there; the body is read afterwards, and the connection is good for more."""
    while True:
        request = connection.head()
        connection.server.remember(request)
        connection.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nearly\n")
        connection.read_body(request)


@way
def closes_when_asked_again(connection):
    """Right the first time; the second request on a connection finds it closed."""
    connection.reply(connection.request(), Reply(body="first\n"))
    connection.receive()


@way
def resets_when_asked_again(connection):
    connection.reply(connection.request(), Reply(body="first\n"))
    connection.receive()
    connection.reset()


@way
def closes_when_idle(connection):
    """Right, and closed a moment later without a word of it."""
    connection.reply(connection.request(), Reply(body="first\n"))
    connection.sleep(0.1)


@way
def answers_twice(connection):
    """The second answer would be the next client's."""
    while True:
        connection.request()
        connection.send((ACCEPTED + b"Content-Length: 6\r\n\r\nright\n") + (ACCEPTED + b"Content-Length: 6\r\n\r\nwrong\n"))


@way
def interim_storm(connection):
    """1xx for ever."""
    connection.request()
    while True:
        connection.send(b"HTTP/1.1 102 Processing\r\nX-Field: value\r\n\r\n" * 100)


@way
def huge(connection):
    while True:
        connection.reply(connection.request(), Reply(body=generated(GIGABYTE), headers={"Content-Length": GIGABYTE}))


@way
def huge_chunked(connection):
    while True:
        connection.reply(connection.request(), Reply(body=generated(GIGABYTE)))


@way
def http_1_0(connection):
    """Until it closes: right."""
    connection.request()
    connection.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end\n")


WHOLE = b"Content-Length: 5\r\n\r\nwhole"
says("nonsense", b"HELLO WORLD\r\n\r\n")
says("binary", bytes(range(256)) * 4)
says("no_status", b"HTTP/1.1 \r\n" + WHOLE)
says("status_of_letters", b"HTTP/1.1 2xx OK\r\n" + WHOLE)
says("status_too_long", b"HTTP/1.1 2000 OK\r\n" + WHOLE)
says("status_too_small", b"HTTP/1.1 099 OK\r\n" + WHOLE)
says("another_version", b"HTTP/2.0 200 OK\r\n" + WHOLE)
says("head_too_large", b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"v" * 1000) for n in range(1000)) + WHOLE)
says("nul_in_field", b"HTTP/1.1 200 OK\r\nX-Field: a\0b\r\n" + WHOLE)
says("cr_in_field", b"HTTP/1.1 200 OK\r\nX-Field: a\rb\r\n" + WHOLE)
says("space_before_colon", b"HTTP/1.1 200 OK\r\nX-Field : a\r\n" + WHOLE)
says("line_without_colon", b"HTTP/1.1 200 OK\r\nX-Field\r\n" + WHOLE)
says("two_lengths", ACCEPTED + b"Content-Length: 3\r\n" + WHOLE)
says("length_list", ACCEPTED + b"Content-Length: 5, 6\r\n\r\nwhole")
says("length_of_letters", ACCEPTED + b"Content-Length: 5x\r\n\r\nwhole")
says("length_below_zero", ACCEPTED + b"Content-Length: -5\r\n\r\nwhole")
says("length_with_sign", ACCEPTED + b"Content-Length: +5\r\n\r\nwhole")
says("length_too_large", ACCEPTED + b"Content-Length: 99999999999999999999999\r\n\r\nwhole")
says("length_and_chunked", ACCEPTED + b"Transfer-Encoding: chunked\r\n" + b"Content-Length: 5\r\n\r\n5\r\nwhole\r\n0\r\n\r\n")
says("unknown_coding", ACCEPTED + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n")
says("coding_not_last", ACCEPTED + b"Transfer-Encoding: chunked, identity\r\n\r\n5\r\nwhole\r\n0\r\n\r\n")
says("bad_chunk_size", ACCEPTED + b"Transfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\nxyz\r\nmore\r\n0\r\n\r\n")
says("chunk_size_too_large", ACCEPTED + b"Transfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\nffffffffffffffffff\r\nmore\r\n0\r\n\r\n")
says("chunk_longer_than_said", ACCEPTED + b"Transfer-Encoding: chunked\r\n\r\n5\r\nwhole-and-more\r\n0\r\n\r\n")
says("endless_chunk_extension", ACCEPTED + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"e" * 1000000 + b"\r\nwhole\r\n0\r\n\r\n")
says("endless_trailer", ACCEPTED + b"Transfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\nX-Trailer: " + b"t" * 1000000 + b"\r\n\r\n")
says("switches_protocols", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframes", then="keeps")
# Right, or made right by whoever forwards it.
says("continues_first", b"HTTP/1.1 100 Continue\r\n\r\n" + ACCEPTED + WHOLE, then="keeps")
says("early_hints", b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n" + ACCEPTED + WHOLE, then="keeps")
says("trailers", ACCEPTED + b"Transfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n\r\n5\r\nwhole\r\n0\r\nX-Checksum: abc\r\n\r\n", then="keeps")
says("chunk_extensions", ACCEPTED + b'Transfer-Encoding: chunked\r\n\r\n5;name="value"\r\nwhole\r\n0\r\n\r\n', then="keeps")
says("body_to_head", ACCEPTED + b"Content-Length: 5\r\n\r\nwhole", then="keeps")  # wrong when HEAD was asked
says("body_with_204", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nwhole", then="keeps")
says("body_with_304", b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 5\r\n\r\nwhole', then="keeps")
says("says_close", ACCEPTED + b"Connection: close\r\n" + WHOLE)
says("until_closed", ACCEPTED + b"\r\nuntil the end\n")
says("no_reason", b"HTTP/1.1 200 \r\n" + WHOLE, then="keeps")


class Misbehaving(Upstream):
    """Serves every connection in one of WAYS."""

    def __init__(self, kind, **more):
        super().__init__(**more)
        self.kind, self.holders = kind, []
        self.converse = WAYS[kind]

    def start(self):
        if self.kind not in ("refuses", "never_connects"):
            return super().start()
        # A port that is bound is nobody else's; one whose queue is full answers no SYN.
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((self.host, self.port))
        if self.kind == "never_connects":
            self.listener.listen(0)
            for _ in range(4):
                holder = socket.socket()
                holder.setblocking(False)
                holder.connect_ex((self.host, self.port))
                self.holders.append(holder)
            time.sleep(0.05)
        return self

    def end(self, resets):
        super().end(resets)
        while self.holders:
            self.holders.pop().close()
