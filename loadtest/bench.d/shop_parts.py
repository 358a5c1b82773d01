"""Endpoints of a shop for algorithms.py, in a process of its own: shop_parts.py PORT... Each answers 200 with "ok" after 2 ms. Orders come as JSON lines on stdin, each is
answered with a line: {"port": N, "delay_ms": 500} or {"port": N, "dead": true}, which resets its connections and refuses new ones until {"port": N, "dead": false}."""
import asyncio
import json
import socket
import struct
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


class Endpoint:
    def __init__(self, port):
        self.port, self.delay_s, self.server, self.writers = port, 0.002, None, set()

    async def live(self):
        if self.server is None:
            self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port, backlog=1024, reuse_address=True)

    def die(self):
        if self.server is not None:
            self.server.close()
            self.server = None
        for writer in list(self.writers):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def serve(self, reader, writer):
        self.writers.add(writer)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(self.delay_s)
                writer.write(ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()


async def main():
    endpoints = {int(port): Endpoint(int(port)) for port in sys.argv[1:]}
    for endpoint in endpoints.values():
        await endpoint.live()
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    print("ready", flush=True)
    while line := await orders.readline():
        order = json.loads(line)
        endpoint = endpoints[order["port"]]
        if "delay_ms" in order:
            endpoint.delay_s = order["delay_ms"] / 1000
        elif order["dead"]:
            endpoint.die()
        else:
            await endpoint.live()
        print("done", flush=True)


asyncio.run(main())
