"""A small service manager, as systemd is one to the gateway: it keeps the sockets that the program puts into its file-descriptor store, starts the
program again, and hands them back by LISTEN_FDS. And clicks: short connections, each with what came of it."""
import array
import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time

from penstock import PENSTOCK, Gateway, wait_until

ROOM = 64  # FileDescriptorStoreMax=
LAUNCH = """import fcntl, os, sys
count, given = int(sys.argv[1]), [int(fd) for fd in sys.argv[2].split(",") if fd]
high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in given]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i, True)
    os.close(fd)
os.closerange(3 + len(given), 100)
if count:
    os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.execv(sys.argv[3], sys.argv[3:])"""


class Managed(Gateway):
    """A gateway under the manager. `handed` are sockets of units: pairs of a name and a socket."""

    def __init__(self, *args, room=ROOM, handed=(), listen_env=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.handed, self.stored, self.messages = list(handed), [], []
        self.listen_env = listen_env or {}
        self._place = tempfile.TemporaryDirectory(prefix="pm-")
        path = self._place.name + "/notify"
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(path)
        self.env = {**(self.env or {}), "NOTIFY_SOCKET": path, **({"FDSTORE": str(room)} if room is not None else {})}
        self.ready = threading.Event()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            try:
                data, ancillary, _, _ = self.notify.recvmsg(4096, socket.CMSG_SPACE(4 * 253))
            except OSError:
                return
            if not data:
                return
            fds = array.array("i")
            for level, kind, payload in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(payload[: len(payload) - len(payload) % 4])
            said = dict(line.split("=", 1) for line in data.decode().splitlines() if "=" in line)
            self.take(said, list(fds))
            self.messages.append(said)

    def take(self, said, fds):
        name = said.get("FDNAME", "stored")
        if said.get("FDSTORE") == "1":
            self.stored += [(name, fd) for fd in fds]
        elif said.get("FDSTOREREMOVE") == "1":
            gone, self.stored = [one for one in self.stored if one[0] == name], [one for one in self.stored if one[0] != name]
            for _, fd in gone:
                os.close(fd)
        if said.get("READY") == "1":
            self.ready.set()

    def spawn(self):
        self.ready.clear()
        given = [(name, sock.fileno()) for name, sock in self.handed] + self.stored
        listen = {"LISTEN_FDS": str(len(given)), "LISTEN_FDNAMES": ":".join(name for name, _ in given), **self.listen_env} if given else {}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.prefix + [sys.executable, "-c", LAUNCH, str(len(given)), ",".join(str(fd) for _, fd in given), str(PENSTOCK), "--config", str(self.config)],
                stderr=log, stdout=log, env={**os.environ, **self.env, **listen}, pass_fds=[fd for _, fd in given])
        return self

    def restart(self, by):
        """As the manager does it: when the process has ended, it is started again."""
        self.process.send_signal(by)
        self.process.wait(40)
        self.spawn()
        assert self.ready.wait(60), "not ready: " + self.log()

    def names(self):
        return sorted(name for name, _ in self.stored)

    def __exit__(self, *exc):
        try:
            super().__exit__(*exc)
        finally:
            with contextlib.suppress(OSError):
                self.notify.shutdown(socket.SHUT_RDWR)
            self.notify.close()
            for _, fd in self.stored:
                os.close(fd)
            self._place.cleanup()


def listening(host="127.0.0.1", port=0, family=socket.AF_INET):
    """A socket as a unit has one."""
    s = socket.socket(family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind((host, port))
    s.listen(4096)
    return s


class Clicks:
    """`rate` clicks a second, each on a connection of its own or, with `kept`, on one of so many that are used again as long as they last. A
    context manager; at its end all have been answered, or not. A click that got no answer is tried again once if `retries`, at the next port."""

    def __init__(self, request, ports, rate=1000, retries=False, kept=0, patience=30.0):
        self.request, self.ports, self.rate, self.retries, self.kept, self.patience = request, ports, rate, retries, kept, patience
        self.statuses, self.refused, self.cut = {}, [], []
        self.turned_away = 0  # attempts that were refused
        self.again, self.slowest_again = 0, 0.0  # tried again: how many, and the longest from the first attempt to the answer
        self.made = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True)

    async def ask(self, number, idle):
        reader = writer = None
        if idle:
            reader, writer = idle.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[number % len(self.ports)])
        try:
            writer.write(self.request(number))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
            if self.kept and b"connection: close" not in head.lower():
                idle.append((reader, writer))
                writer = None
            return int(head.split(b" ")[1])
        finally:
            if writer is not None:
                writer.close()

    async def click(self, number, idle):
        begun = time.monotonic()
        for attempt in range(2 if self.retries else 1):
            try:
                status = await asyncio.wait_for(self.ask(number + attempt, idle), self.patience)
                self.statuses[status] = self.statuses.get(status, 0) + 1
                if attempt > 0:
                    self.slowest_again = max(self.slowest_again, time.monotonic() - begun)
                return
            except ConnectionRefusedError as refused:
                why, kind = refused, self.refused
                self.turned_away += 1
            except (OSError, EOFError, asyncio.TimeoutError) as broken:
                why, kind = broken, self.cut
            self.again += 1
        kind.append(f"{number}: {why!r}")

    async def run(self):
        begun, tasks, idle = time.monotonic(), set(), []
        while not self.stopping.is_set():
            due = int((time.monotonic() - begun) * self.rate)
            while self.made < due:
                task = asyncio.create_task(self.click(self.made, idle))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                self.made += 1
                if self.made % 20 == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(0.002)
        while tasks:
            await asyncio.wait(tasks)

    def __enter__(self):
        self.thread.start()
        return self

    def wait(self, more):
        """Until so many more have been answered."""
        target = sum(self.statuses.values()) + more
        wait_until(lambda: sum(self.statuses.values()) >= target, 60, what=f"{more} answers")

    def __exit__(self, *exc):
        self.stopping.set()
        self.thread.join(self.patience + 30)
        assert not self.thread.is_alive()

    def assert_all_answered(self):
        assert not self.refused and not self.cut, (len(self.refused), self.refused[:5], len(self.cut), self.cut[:5], self.statuses)
        assert sum(self.statuses.values()) == self.made
