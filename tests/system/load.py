"""Buyers that write down every answer they get, and the judgement afterwards. Each buyer keeps one key and tries again
until somebody has answered him, as a shop's page does, so a test knows who was promised what when the gateway dies."""
import json
import random
import socket
import threading
import time
from collections import Counter

RETRY_S = 0.05


class Result:
    """What one buyer has received: the last answer, and whether an attempt of theirs got none."""

    def __init__(self, user, key):
        self.user, self.key = user, key
        self.status = self.code = self.order_id = self.state = None
        self.unanswered = 0
        self.promised = False


class Connection:
    """One kept connection. Reads exactly one answer a request; any fault is an OSError."""

    def __init__(self, port, timeout, source="127.0.0.1"):
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout, (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""
        self.closing = False

    def ask(self, request):
        self.send(request)
        return self.answer()

    def send(self, request):
        self.socket.sendall(request)

    def answer(self):
        while b"\r\n\r\n" not in self.rest:
            self.more()
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        head = head.decode("latin-1").lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        while len(self.rest) < length:
            self.more()
        body, self.rest = self.rest[:length], self.rest[length:]
        self.closing = "connection: close" in head
        return int(head.split()[1]), body

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed before the answer")
        self.rest += data

    def close(self):
        self.socket.close()


def buy_bytes(sale, user, key, sku="phone"):
    body = json.dumps({"sku": sku, "quantity": 1}).encode()
    return (f"POST /v1/sales/{sale}/orders HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n"
            f"X-User-Id: {user}\r\nIdempotency-Key: \"{key}\"\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


class Load:
    """`threads` buyers at a time, one user after the other, until stop(). A context manager. `promise` is called with each
    buyer who has just been promised an order; `history` (history.py) gets what they see."""

    def __init__(self, gateway, sale, threads=8, name="b", timeout=10.0, pause=0.0, promise=None, history=None):
        self.gateway, self.sale, self.name, self.timeout, self.history = gateway, sale, name, timeout, history
        self.pause, self.promise = pause, promise
        self.results = []
        self.stopping = threading.Event()
        self.given_up = False
        self.faults = []
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, fault, *more):
        self.given_up = fault is not None  # the test has failed already
        self.stop()

    def stop(self):
        """Everybody who is still without an answer goes on trying for a while: the gateway must be up."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a buyer never got an answer"
        assert not self.faults, self.faults[:3]

    def run(self, index):
        try:
            self.buy_on_and_on(index)
        except Exception as fault:  # told to the test by stop()
            self.faults.append(repr(fault))

    def buy_on_and_on(self, index):
        connection, number = None, 0
        while not self.stopping.is_set():
            result = Result(f"{self.name}-{index}-{number}", f"key-{self.name}-{index}-{number}")
            number += 1
            self.results.append(result)
            request = buy_bytes(self.sale, result.user, result.key)
            while True:
                try:
                    connection = connection or Connection(self.gateway.port, self.timeout)
                    result.status, answer = self.ask(connection, result, request)
                    self.note(result, answer)
                except OSError:
                    result.unanswered += 1
                    result.status = None
                if connection and (result.status is None or connection.closing):
                    connection.close()
                    connection = None
                if result.status is not None and result.status != 503 and result.code != "idempotency_in_progress":
                    break
                if self.given_up or (self.stopping.is_set() and result.status is not None):
                    break
                time.sleep(RETRY_S * (0.5 + random.random()))
            self.rest(index)

    def ask(self, connection, result, request):
        if self.history is None:
            status, body = connection.ask(request)
            return status, json.loads(body)
        with self.history.operation("buy", connection.port, user=result.user, key=result.key, sku="phone", quantity=1) as end:
            status, body = connection.ask(request)
            end(status, json.loads(body))
        return status, json.loads(body)

    def rest(self, index):
        time.sleep(self.pause)

    def note(self, result, answer):
        result.code, result.state = answer.get("code"), answer.get("state")
        if result.status == 202:
            assert result.order_id in (None, answer["order_id"]) or not result.promised, (result.order_id, answer)
            result.order_id = answer["order_id"]
            if result.state == "accepted" and not result.promised:
                result.promised = True
                if self.promise is not None:
                    self.promise(result)

    def count(self):
        return Counter(t.state or t.code or "none" for t in self.results)

    def promised(self):
        return sum(t.promised for t in list(self.results))


def judge(gateway, sale, loads, stock, settled=False):
    """Every promise is in the log exactly once, nobody has more than one order, stock is exact, the auditor agrees. When
    orders were `settled`, a promise may have ended by payment, expiry or cancellation, and by nothing else."""
    ends = {("accepted", None)} | ({("confirmed", None), ("released", "expired"), ("released", "cancelled")} if settled else set())
    report = gateway.assert_books(sale)
    orders = gateway.orders(sale)
    ids = [order["order_id"] for order in orders]
    assert len(ids) == len(set(ids)), "an order is listed twice"
    by_id = {order["order_id"]: order for order in orders}
    living = Counter(order["user"] for order in orders if order["state"] in ("accepted", "confirmed"))
    assert not living or max(living.values()) == 1, living.most_common(3)
    for load in loads:
        for result in load.results:
            if result.promised:
                order = by_id.get(result.order_id)
                assert order is not None, f"{result.user} was promised {result.order_id}, and it is not there"
                assert order["user"] == result.user and (order["state"], order["reason"]) in ends, order
                assert order["idempotency_key"] == result.key
    sku = report["skus"][0]
    held = sum(order["quantity"] for order in orders if order["state"] == "accepted")
    confirmed = sum(order["quantity"] for order in orders if order["state"] == "confirmed")
    assert sku["in_doubt"] == 0 and (sku["held"], sku["confirmed"]) == (held, confirmed), report
    assert sku["available"] == stock - held - confirmed, report
    return orders


def assert_retries_find_their_orders(gateway, sale, loads, most=200):
    """Buyers who were promised an order, and those who were left without an answer, ask again with their keys."""
    everybody = [result for load in loads for result in load.results]
    some = [t for t in everybody if t.unanswered][:most] + [t for t in everybody if t.promised][-most:]
    connection = Connection(gateway.port, 10)
    for result in some:
        status, body = connection.ask(buy_bytes(sale, result.user, result.key))
        answer = json.loads(body)
        if result.promised:
            assert (status, answer["order_id"]) == (202, result.order_id), answer
        elif status == 202:  # a unit was left after all, or the order had been made
            assert answer["state"] == "accepted", answer
        else:
            assert answer["code"] == "sold_out", answer
    connection.close()
