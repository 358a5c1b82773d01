#!/usr/bin/env python3
"""Readers beside archivings. Whoever asks for a decided order while its sale is being archived gets what it got before; each other
answer is a fault. As a script: archive_readers.py --archivings 1000 --at-once 20, on a gateway of its own."""
import argparse
import json
import threading
import time

from load import Connection, buy_bytes
from penstock import Gateway, wait_until

ORDERS, CONFIRMED, PAGE = 200, 150, 30


def sell(gateway, sale, make_sale):
    """Sells out a sale and decides its orders: the ids in the order of the purchases."""
    make_sale(name=sale, stock=ORDERS)
    connection = Connection(gateway.port, 30)
    ids = []
    for i in range(ORDERS):
        status, text = connection.ask(buy_bytes(sale, f"u{i}", "k"))
        assert status == 202, text
        ids.append(json.loads(text)["order_id"])
    connection.close()

    def decided():
        answer = gateway.admin("POST", "/admin/v1/orders:batch", {"confirm": ids[:CONFIRMED], "cancel": ids[CONFIRMED:]})
        return answer.status == 200 and {result["status"] for result in answer.json["results"]} == {200}

    wait_until(decided, what="all decided")
    return ids


class Reader(threading.Thread):
    """Asks one question again and again, of one sale after the other. `faults` has each answer that was wrong."""

    def __init__(self, gateway, question, sales):
        super().__init__(daemon=True)
        self.gateway, self.question, self.sales = gateway, question, sales
        self.faults, self.asked, self.ended, self.done = [], 0, {}, False

    def run(self):
        while not self.done:
            for sale, ids in list(self.sales.items()):
                try:
                    fault = self.question(self, sale, ids)
                except Exception as why:  # noqa: BLE001: a connection that breaks is a fault, too
                    fault = repr(why)
                self.asked += 1
                time.sleep(0.05)  # 429 admin_rate is no answer about orders
                if fault:
                    self.faults.append(f"{self.question.__name__} of {sale}: {fault}")

    # --- Questions: None, or what was wrong. ---

    def buyer_asks_for_an_order(self, sale, ids):
        i = self.asked % CONFIRMED
        answer = self.gateway.public("GET", f"/v1/orders/{ids[i]}", user=f"u{i}")
        if answer.code == "archived":
            self.ended[sale] = True  # nothing comes back from the archive
            return None
        return None if answer.status == 200 and answer.json["state"] == "confirmed" and sale not in self.ended else answer

    def buyer_asks_for_all(self, sale, ids):
        answer = self.gateway.public("GET", f"/v1/sales/{sale}/orders", user="u0")
        if answer.code == "archived":
            self.ended[sale] = True
            return None
        return None if answer.status == 200 and [o["order_id"] for o in answer.json["orders"]] == ids[:1] and sale not in self.ended else answer

    def operator_asks_for_an_order(self, sale, ids):
        i = self.asked % ORDERS
        answer = self.gateway.admin("GET", f"/admin/v1/orders/{ids[i]}")
        return None if answer.status == 200 and answer.json["state"] == ("confirmed" if i < CONFIRMED else "released") else answer

    def shop_confirms_again(self, sale, ids):
        i = self.asked % ORDERS
        answer = self.gateway.admin("POST", f"/admin/v1/orders/{ids[i]}/confirm")
        return None if (answer.status, answer.code) == ((200, None) if i < CONFIRMED else (409, "order_cancelled")) else answer

    def shop_cancels_again(self, sale, ids):
        i = self.asked % ORDERS
        answer = self.gateway.admin("POST", f"/admin/v1/orders/{ids[i]}/cancel")
        return None if (answer.status, answer.code) == ((409, "order_confirmed") if i < CONFIRMED else (200, None)) else answer

    def export_by_pages(self, sale, ids):
        return self.walk(f"/admin/v1/orders?sale={sale}", lambda line: line["order_id"], ids)

    def log_by_pages(self, sale, ids):
        return self.walk(f"/admin/v1/sales/{sale}/log?type=penstock.order.confirmed.v1", lambda line: line["order_id"], ids[:CONFIRMED])

    def audit(self, sale, ids):
        answer = self.gateway.admin("GET", f"/admin/v1/sales/{sale}/audit", timeout=60)
        return None if answer.status == 200 and answer.json["ok"] and answer.json["skus"][0]["confirmed"] == CONFIRMED else answer

    def walk(self, path, of, ids):
        found, after = [], 0
        while True:
            answer = self.gateway.admin("GET", f"{path}&after={after}&limit={PAGE}")
            if answer.status != 200:
                return answer
            lines = answer.lines()
            found += [of(line) for line in lines]
            last = int(answer.headers["penstock-last-seq"])
            if last == after or ("type=" not in path and len(lines) < PAGE):
                return None if sorted(found) == sorted(ids) else f"{len(found)} of {len(ids)}, the last page after {after}"
            after = last


QUESTIONS = [Reader.buyer_asks_for_an_order, Reader.buyer_asks_for_all, Reader.operator_asks_for_an_order, Reader.shop_confirms_again,
             Reader.shop_cancels_again, Reader.export_by_pages, Reader.log_by_pages, Reader.audit]


def archive_under_readers(gateways, archivings, at_once, make_sale):
    """Archives so many sales, so many at a time: a list of what was answered wrongly, and how often was asked."""
    faults, asked, number = [], 0, 0
    while number < archivings:
        sales = {}
        for _ in range(min(at_once, archivings - number)):
            number += 1
            sales[f"read-{number}"] = sell(gateways[0], f"read-{number}", make_sale)
        readers = [Reader(gateways[i % len(gateways)], question, sales) for i, question in enumerate(QUESTIONS)]
        for reader in readers:
            reader.start()
        for sale in sales:
            assert gateways[0].admin("POST", f"/admin/v1/sales/{sale}/end", {}).status == 200
        for gateway in gateways:
            for sale in sales:
                gateway.wait_state(sale, "archived", 120)
        time.sleep(0.5)
        for reader in readers:
            reader.done = True
        for reader in readers:
            reader.join(60)
            faults += reader.faults
            asked += reader.asked
    return faults, asked


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archivings", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=20)
    arguments = parser.parse_args()
    with Gateway(settings={"log": {"archive_after_h": 0, "ack_timeout_ms": 10000}}) as gateway:
        gateway.no_limits()
        faults, asked = archive_under_readers([gateway], arguments.archivings, arguments.at_once, gateway.make_sale)
    print(f"{arguments.archivings} archivings, {asked} answers, {len(faults)} wrong")
    for fault in faults[:20]:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
