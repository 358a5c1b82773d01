"""TCP proxies on loopback that fail on demand. They run in a process of their own, so that busy buyers in the test do not slow them down,
and that process also ends the servers it was told to look after when the test's process is gone, however it went."""
import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys

WELL = "well"
CUT = "cut"                  # connections are reset and refused
NO_REQUESTS = "no_requests"  # what clients send is swallowed, connections stay
NO_ANSWERS = "no_answers"    # what the server sends is swallowed, connections stay
HOLD = "hold"                # nothing passes in either direction, and goes on where it stood afterwards
SWALLOWED = {NO_REQUESTS: "request", NO_ANSWERS: "answer"}


class Proxy:
    """The handle of the process; a context manager."""

    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *exc):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()

    def tell(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer == "done", (order, answer)

    def route(self, name, listen, to):
        self.tell(route=name, listen=listen, to=to)

    def set(self, name, mode=WELL, delay_ms=0, late_ms=0):
        """Connections that cannot go on as they were (cut, swallowed before) are reset. What comes behind something that is delayed waits for
        it, both ways; answers that are late are so by the same time, however many there are."""
        self.tell(route=name, mode=mode, delay_ms=delay_ms, late_ms=late_ms)

    def reset(self, name):
        """Every connection, once."""
        self.tell(route=name, reset=True)

    def lead(self, name, to):
        """To another server from now on; present connections stay with the old one."""
        self.tell(route=name, to=to)

    def look_after(self, pid):
        self.tell(end=pid)

    def forget(self, pid):
        self.tell(forget=pid)


class Route:
    def __init__(self, port, to):
        self.port, self.to = port, to
        self.mode, self.delay_s, self.late_s = WELL, 0.0, 0.0
        self.server = None
        self.sockets = set()
        self.passing = asyncio.Event()
        self.passing.set()

    async def listen(self):
        self.server = await asyncio.start_server(self.connected, "127.0.0.1", self.port, limit=1 << 16, reuse_address=True)

    def hang_up(self):
        for writer in list(self.sockets):
            abort(writer)
        self.sockets.clear()

    async def change(self, mode, delay_ms, late_ms):
        was, self.mode, self.delay_s, self.late_s = self.mode, mode, delay_ms / 1000, late_ms / 1000
        (self.passing.clear if mode == HOLD else self.passing.set)()
        if mode == CUT or was in SWALLOWED:
            self.hang_up()
        if mode == CUT and self.server:
            self.server.close()
            self.server = None
        elif mode != CUT and self.server is None:
            await self.listen()

    async def connected(self, client_reader, client):
        try:
            server_reader, server = await asyncio.open_connection("127.0.0.1", self.to, limit=1 << 16)
        except OSError:
            abort(client)
            return
        pair = {client, server}
        self.sockets |= pair
        if self.mode == CUT:
            self.hang_up()
        for writer in pair:
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = [asyncio.ensure_future(self.pump(client_reader, server, "request")), asyncio.ensure_future(self.pump(server_reader, client, "answer"))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for writer in pair:
            abort(writer)
        self.sockets -= pair

    async def pump(self, reader, writer, way):
        try:
            loop, due = asyncio.get_running_loop(), None
            while data := await reader.read(1 << 16):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self.passing.wait()
                if SWALLOWED.get(self.mode) == way:
                    continue
                if due or (self.late_s and way == "answer"):  # from now on in turn
                    due = max((due or 0) + 1e-6, loop.time() + self.late_s)
                    loop.call_at(due, writer.write, data)
                else:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass


def abort(writer):
    """With a reset rather than an end."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def serve():
    routes, wards = {}, set()
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        order = json.loads(line)
        if "listen" in order:
            routes[order["route"]] = Route(order["listen"], order["to"])
            await routes[order["route"]].listen()
        elif "mode" in order:
            await routes[order["route"]].change(order["mode"], order["delay_ms"], order["late_ms"])
        elif "reset" in order:
            routes[order["route"]].hang_up()
        elif "to" in order:
            routes[order["route"]].to = order["to"]
        elif "end" in order:
            wards.add(order["end"])
        else:
            wards.discard(order["forget"])
        print("done", flush=True)
    for pid in wards:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it goes by the pipe alone
    asyncio.run(serve())
