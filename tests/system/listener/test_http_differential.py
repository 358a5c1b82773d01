"""The codec against a slow parser that is obviously right: the grammars of RFC 9110, 9112 and 3986 as regular expressions, and the rules between
fields in plain words. Messages are made from pieces that are good, odd or wrong, and changed byte by byte; both must take and refuse the same."""
import ipaddress
import pathlib
import random
import re
import struct
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[3]
COUNT = 20000
NO_BODY, BY_LENGTH, CHUNKED, UNTIL_CLOSE = range(4)

# RFC 9110, 5.6.2 and 5.5; RFC 3986, 2.1, 3.2.2, 3.3, 3.4; RFC 9112, 2.3, 3, 4, 5, 7.1
TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
OWS = rb"[ \t]*"
VALUE = rb"(?:[\x21-\x7e\x80-\xff](?:[ \t\x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
FIELD = rb"(" + TOKEN + rb"):" + OWS + rb"(" + VALUE + rb")([ \t]*)\r\n"
PCHAR = rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})"
ABSOLUTE_PATH = rb"(?:/" + PCHAR + rb"*)+"
QUERY = rb"(?:" + PCHAR + rb"|[/?])*"
VERSION = rb"HTTP/([0-9])\.([0-9])"
REQUEST = re.compile(rb"(?:\r\n)?(" + TOKEN + rb") ([^ \r\n]+) " + VERSION + rb"\r\n((?:" + FIELD + rb")*)\r\n")
STATUS = re.compile(VERSION + rb" ([1-5][0-9]{2}) [\t \x21-\x7e\x80-\xff]*\r\n((?:" + FIELD + rb")*)\r\n")
ORIGIN_FORM = re.compile(rb"(" + ABSOLUTE_PATH + rb")(?:\?(" + QUERY + rb"))?")
ABSOLUTE_FORM = re.compile(rb"https?://([^/?#@]*)((?:/" + PCHAR + rb"*)*)(?:\?(" + QUERY + rb"))?", re.I)
NAME_HOST = re.compile(rb"[A-Za-z0-9\-._~]+(?::[0-9]{0,5})?")
LITERAL_HOST = re.compile(rb"\[([0-9A-Fa-f:.]+)\](?::[0-9]{0,5})?")
BWS = OWS
QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
EXTENSIONS = rb"(?:" + BWS + rb";" + BWS + TOKEN + rb"(?:" + BWS + rb"=" + BWS + rb"(?:" + TOKEN + rb"|" + QUOTED + rb"))?)*"
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]+)" + EXTENSIONS + rb"\r\n")
TRAILERS = re.compile(rb"(?:" + TOKEN + rb":[\t \x21-\x7e\x80-\xff]*\r\n)*\r\n")


def is_host(text):
    literal = LITERAL_HOST.fullmatch(text)
    if not literal:
        return bool(NAME_HOST.fullmatch(text))
    try:
        return ipaddress.IPv6Address(literal[1].decode()) is not None
    except ValueError:
        return False


def framing(fields, minor, response_status=None, to_head=False):
    """(framing, length, keep_alive) of RFC 9112, 6.3, without what is refused here on purpose; None: refused."""
    def values(name):
        return [(value, behind) for key, value, behind in fields if key.lower() == name]
    lengths, encodings = values(b"content-length"), values(b"transfer-encoding")
    if len(lengths) > 1 or len(encodings) > 1 or (lengths and encodings) or any(behind for _, behind in lengths + encodings):
        return None
    if lengths and not re.fullmatch(rb"[0-9]{1,18}", lengths[0][0]):
        return None
    if encodings and (encodings[0][0].lower() != b"chunked" or minor == 0):
        return None
    length = int(lengths[0][0]) if lengths else 0
    bodiless = response_status is not None and (response_status < 200 or response_status in (204, 304))
    if bodiless and response_status != 304 and (length > 0 or encodings):
        return None
    if bodiless or to_head:
        kind = NO_BODY
    elif encodings:
        kind = CHUNKED
    elif lengths:
        kind = BY_LENGTH if length else NO_BODY
    else:
        kind = NO_BODY if response_status is None else UNTIL_CLOSE
    options = [option.strip(b" \t").lower() for value, _ in values(b"connection") for option in value.split(b",")]
    keep = b"close" not in options and (minor == 1 or b"keep-alive" in options) and kind != UNTIL_CLOSE
    return kind, length if kind == BY_LENGTH else 0, keep


def split_fields(text):
    return [match.groups() for match in re.finditer(FIELD, text)]


def read_request(data):
    match = REQUEST.match(data)
    if not match:
        return None
    method, target, major, minor = match[1], match[2], match[3], 0 if match[4] == b"0" else 1
    fields = split_fields(match[5])
    if major != b"1" or len(method) > 32 or len(target) > 2048 or len(match[0]) > 10240 or len(fields) > 96:
        return None
    origin, absolute, host, path, query = ORIGIN_FORM.fullmatch(target), ABSOLUTE_FORM.fullmatch(target), b"", b"", b""
    if origin:
        path, query = origin[1], origin[2] or b""
    elif absolute and is_host(absolute[1]):
        host, path, query = absolute[1], absolute[2], absolute[3] or b""
    elif not (target == b"*" and method == b"OPTIONS"):
        return None
    if b"%00" in target:
        return None
    hosts = [value for name, value, _ in fields if name.lower() == b"host"]
    if len(hosts) > 1 or (not hosts and minor == 1) or (hosts and not is_host(hosts[0])):
        return None
    body = framing(fields, minor)
    if body is None:
        return None
    return (len(match[0]), *body, len(fields), method, path, query, host or (hosts[0] if hosts else b""))


def read_response(data, to_head):
    match = STATUS.match(data)
    if not match or match[1] != b"1":
        return None
    fields = split_fields(match[4])
    body = framing(fields, 0 if match[2] == b"0" else 1, int(match[3]), to_head)
    if body is None or len(match[0]) > 10240 or len(fields) > 96:
        return None
    return (len(match[0]), *body, len(fields), int(match[3]))


def read_chunks(data):
    at, body = 0, b""
    while True:
        line = CHUNK_LINE.match(data, at)
        if not line or len(line[1]) > 15 or len(line[0]) - 2 > 256:
            return None
        at, size = line.end(), int(line[1], 16)
        if size == 0:
            trailers = TRAILERS.match(data, at)
            return (trailers.end(), body) if trailers and len(trailers[0]) <= 4096 else None
        if data[at + size:at + size + 2] != b"\r\n":
            return None
        body += data[at:at + size]
        at += size + 2


def as_line(result):
    if result is None:
        return None
    return " ".join(["done"] + ["=" + part.hex() if isinstance(part, bytes) else str(int(part)) for part in result])


class Maker:
    """Messages from pieces, most of them good; then a few bytes are changed."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, good, odd):
        return self.random.choice(odd if self.random.random() < 0.12 else good)

    def line_end(self):
        return self.pick([b"\r\n"], [b"\n", b"\r", b"\r\r\n", b"\r\n ", b""])

    def field(self):
        name = self.pick([b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"X-A", b"Via", b"Expect", b"cOOKIE"],
                         [b"", b"X A", b"X-A ", b"X\x00", b"\xc3\xbc", b" X", b"X!#$%&'*+-.^_`|~1"])
        values = {b"Host": [b"a.example", b"a:80", b"[::1]:8080", b"192.0.2.1"], b"Content-Length": [b"3", b"0", b"12"],
                  b"Transfer-Encoding": [b"chunked", b"CHUNKED"], b"Connection": [b"close", b"keep-alive", b"te, close", b"Keep-Alive , x"]}
        value = self.pick(values.get(name, [b"x", b"", b"a b", b"a\tb", b"\xff"]),
                          [b"", b"a\x00b", b"a\x7f", b"+3", b"3, 3", b"3 3", b"chunked, chunked", b"gzip", b"[::g]", b"a:b", b"a@b", b"1" * 19, b"a\rb"])
        return name + b":" + self.pick([b" ", b"", b"\t "], [b"  "]) + value + self.pick([b""], [b" ", b"\t"]) + self.line_end()

    def fields(self, host):
        parts = [b"Host: shop.example\r\n"] if host and self.random.random() < 0.9 else []
        parts += [self.field() for _ in range(self.random.randrange(4))]
        self.random.shuffle(parts)
        return b"".join(parts) + self.line_end()

    def request(self):
        target = self.pick([b"/", b"/x/y?a=b", b"/%41", b"http://a.example/x?y", b"HTTPS://[::1]:1", b"*", b"//a"],
                           [b"", b"x", b"/%zz", b"/%00", b"/a b", b"/#", b"ftp://a/", b"http://", b"http://a@b/", b"/\xc3", b"/[", b"http://a?b", b"/" + b"a" * 2060])
        method = self.pick([b"GET", b"POST", b"OPTIONS", b"BREW"], [b"", b"G T", b"G(T", b"M" * 33, b"get"])
        version = self.pick([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.7"], [b"HTTP/2.0", b"http/1.1", b"HTTP/1.10", b"HTTP/1", b"HTTP/0.9", b""])
        return self.pick([b""], [b"\r\n", b"\r\n\r\n", b"\n"]) + method + self.pick([b" "], [b"  ", b"\t"]) + target + b" " + version + self.line_end() + self.fields(True)

    def response(self):
        version, status = self.pick([b"HTTP/1.1", b"HTTP/1.0"], [b"HTTP/2.0", b"HTTP/1", b"http/1.1"]), self.pick(
            [b"200", b"204", b"304", b"100", b"503"], [b"20", b"2000", b"600", b"099", b"abc"])
        return version + b" " + status + self.pick([b" OK", b" "], [b"", b" \x01", b"  "]) + self.line_end() + self.fields(False)

    def chunks(self):
        body = b""
        for _ in range(self.random.randrange(3)):
            data = b"x" * self.random.choice([1, 3, 17])
            size = self.pick([b"%x" % len(data), b"%04X" % len(data)], [b"", b"-1", b"0x1", b"%x" % (len(data) + 1), b"1" + b"0" * 15])
            extension = self.pick([b"", b"", b";a", b" ; a = b", b';a="b\\"c"'], [b" ", b";", b";a=", b';a="', b";a\x01", b"; a b", b";" + b"a" * 300])
            body += size + extension + self.line_end() + data + self.line_end()
        trailers = b"".join(self.pick([b"X: a\r\n", b"Y:\r\n"], [b" X: a\r\n", b"X\r\n", b"X : a\r\n", b": a\r\n", b"X: \x00\r\n", b"X: a\n"]) for _ in range(self.random.randrange(3)))
        return body + self.pick([b"0", b"000;a"], [b"", b"g"]) + self.line_end() + trailers + self.line_end()

    def changed(self, data):
        if self.random.random() < 0.7 or not data:
            return data
        at = self.random.randrange(len(data))
        byte = bytes([self.random.choice([0, 9, 10, 13, 32, 58, 59, 37, 127, 255, self.random.randrange(256)])])
        return self.random.choice([data[:at] + byte + data[at + 1:], data[:at] + byte + data[at:], data[:at] + data[at + 1:], data + b"GET"])


def test_the_codec_takes_and_refuses_what_the_grammars_say():
    seed = random.randrange(1 << 32)
    maker = Maker(seed)
    cases = []
    for _ in range(COUNT):
        cases.append(("q", maker.changed(maker.request())))
        cases.append((maker.random.choice("ph"), maker.changed(maker.response())))
        cases.append(("c", maker.changed(maker.chunks())))
    stdin = b"".join(kind.encode() + struct.pack(">I", len(data)) + data for kind, data in cases)
    done = subprocess.run([ROOT / "build/dev/tests/http_oracle"], input=stdin, capture_output=True, check=True)
    lines = done.stdout.decode().splitlines()
    assert len(lines) == len(cases)
    taken = dict.fromkeys("qphc", 0)
    for (kind, data), line in zip(cases, lines):
        wanted = as_line(read_request(data) if kind == "q" else read_chunks(data) if kind == "c" else read_response(data, kind == "h"))
        taken[kind] += wanted is not None
        assert (line if line.startswith("done") else None) == wanted, f"seed {seed}, {kind}: {data!r}"
    assert min(taken.values()) > COUNT / 20, taken
