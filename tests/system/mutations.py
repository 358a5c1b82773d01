"""What the judges read, changed on purpose: the fields of a sale's keys in Redis, and the records of a journal."""
import json
import socket
import struct


class RawRedis:
    """Speaks RESP: keys and values of a sale are bytes."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.file = self.socket.makefile("rb")

    def ask(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        return self.reply()

    def reply(self):
        line = self.file.readline()
        kind, text = line[:1], line[1:-2]
        if kind == b"$":
            return None if text == b"-1" else self.file.read(int(text) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(text))]
        assert kind != b"-", line
        return int(text) if kind == b":" else text


# --- Redis: inventory/redis_codec.h ---


def number_at(value, at, delta):
    return value[:at] + struct.pack(">q", struct.unpack_from(">q", value, at)[0] + delta) + value[at + 8:]


def shifted(name, value):
    """The item a little wrong: one unit, one state, one place, or another order's id."""
    if name in ("stock", "applied"):
        return str(int(value) + 1).encode()
    if name == "order":  # held is confirmed, confirmed and lowered is held, given back is held
        return bytes([2 if value[0] == 1 else 1]) + value[1:]
    if name == "doubt":
        return number_at(value, 17, 1)
    if name == "user":
        return number_at(value, 0, 1)
    return bytes([value[0] ^ 1]) + value[1:]  # idem: the id


def renamed(name, field):
    """The name of a field that does not exist: where a repeated item goes."""
    if name == "stock":
        return b"other-" + field
    if name == "applied":
        return b"1023"
    return b"nobody-" + field if name == "user" else field[:-1] + bytes([field[-1] ^ 1])


ORDER_STATES = {1: "held", 2: "confirmed", 3: "given back", 5: "lowered"}


class Mutation:
    """One change of one item; `undo` puts it back."""

    def __init__(self, redis, key, what, field, kind):
        self.redis, self.key, self.kind, self.field, self.set = redis, key, kind, field, what == "adjust"
        self.what = what
        self.value = None if self.set else redis.ask("HGET", key, field)
        self.name = f"{what}{self.sort()} {kind}"

    def sort(self):
        """Of stock and orders it matters which: the number's name, the entry's state."""
        if self.what == "stock" and b"/" in self.field:
            return "/" + self.field.decode().partition("/")[2]
        return "/" + ORDER_STATES[self.value[0]] if self.what == "order" else ""

    def make(self):
        if self.set:
            self.redis.ask(*{"delete": ("SREM", self.key, self.field),
                             "repeat": ("SADD", self.key, renamed(self.what, self.field)),
                             "shift": ("EVAL", "redis.call('SREM', KEYS[1], ARGV[1]) redis.call('SADD', KEYS[1], ARGV[2])", 1, self.key, self.field,
                                       renamed(self.what, self.field))}[self.kind])
            return
        if self.kind == "delete":
            self.redis.ask("HDEL", self.key, self.field)
        elif self.kind == "repeat":
            self.redis.ask("HSET", self.key, renamed(self.what, self.field), self.value)
        else:
            self.redis.ask("HSET", self.key, self.field, shifted(self.what, self.value))

    def undo(self):
        other = renamed(self.what, self.field)
        if self.set:
            self.redis.ask("SREM", self.key, other)
            self.redis.ask("SADD", self.key, self.field)
            return
        if self.kind == "repeat":
            self.redis.ask("HDEL", self.key, other)
        self.redis.ask("HSET", self.key, self.field, self.value)


def mutations(redis, sale, epoch, names=("stock", "doubt", "order", "user", "idem", "adjust", "applied"), samples=None):
    """Of each key one mutation of each kind for each field, or for so many of the fields."""
    for name in names:
        key = f"ps:{{{sale}}}:{epoch}:{name}"
        fields = sorted(redis.ask("SMEMBERS" if name == "adjust" else "HKEYS", key))
        for field in fields[:samples]:
            for kind in ("delete", "repeat", "shift"):
                yield Mutation(redis, key, name, field, kind)


# --- the journal ---


def changed_record(body):
    """The record with one thing shifted: who, how many, when, or which epoch."""
    record = json.loads(body)
    kind = record["type"].split(".")[2]
    if kind == "accepted":
        record["quantity"] += 1
    elif kind == "released":
        record["reason"] = "cancelled" if record["reason"] == "expired" else "expired"
        record["at"] = "2001-01-01T00:00:00.000Z"
    elif kind == "adjusted":
        record["delta"] += 1
    elif kind == "fenced":
        record["epoch"] += 1
    else:
        record["order_id"] = record["order_id"][:-1] + ("0" if record["order_id"][-1] != "0" else "1")
    return json.dumps(record, separators=(",", ":"))
