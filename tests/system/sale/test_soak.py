"""Minutes of a sale that sells out and reopens all the time, while orders are paid, cancelled and expire, and everything that
can happen to one machine happens to its gateway. In the end the log has kept every promise."""
import collections
import os
import random
import signal
import threading
import time

import pytest
from faults import Disk
from load import Load, judge
from penstock import Gateway, wait_until

SECONDS = int(os.environ.get("PENSTOCK_SOAK_S", "300"))
STOCK = 3000
FINAL = {"order_expired": "released", "order_cancelled": "released", "order_confirmed": "confirmed"}


class Settlement(threading.Thread):
    """Pays some orders and cancels others. A definite answer must stay true for ever."""

    def __init__(self, gateway, seed):
        super().__init__(daemon=True)
        self.gateway, self.random = gateway, random.Random(seed)
        self.queue = collections.deque()
        self.certain = {}
        self.ended = threading.Event()
        self.strange = []

    def take(self, result):
        if len(self.queue) < 1000:
            self.queue.append(result.order_id)

    def run(self):
        while not self.ended.is_set():
            if not self.queue:
                time.sleep(0.01)
                continue
            order = self.queue.popleft()
            dice = self.random.random()
            if dice > 0.5:
                continue
            what = "confirm" if dice < 0.03 else "cancel"
            try:
                answer = self.gateway.admin("POST", f"/admin/v1/orders/{order}/{what}", timeout=10)
            except OSError:
                continue
            if answer.status == 200:
                self.certain[order] = "confirmed" if what == "confirm" else "released"
            elif answer.status == 409 and answer.code in FINAL:
                self.certain[order] = FINAL[answer.code]
            elif answer.status != 503:
                self.strange.append(answer)


def happen(gateway, disk, what, dice):
    """One of the things that happen."""
    if what == "kill":
        gateway.kill()
        disk.heal()
        gateway.start()
    elif what == "restart":
        assert gateway.stop() == 0
        gateway.start()
    elif what == "stop":
        gateway.process.send_signal(signal.SIGSTOP)
        time.sleep(dice.random() * 2)
        gateway.process.send_signal(signal.SIGCONT)
    elif what == "reload":
        gateway.process.send_signal(signal.SIGHUP)
    else:
        {"full": disk.fail_writes, "syncs": disk.fail_syncs, "one sync": lambda: disk.fail_syncs(once=True),
         "hang": disk.hang_syncs, "slow": lambda: disk.slow_syncs(20000)}[what]()
        time.sleep(dice.random() * 2)
        if dice.random() < 0.3:
            gateway.kill()
            disk.heal()
            gateway.start()
        disk.heal()
    wait_until(lambda: gateway.public("GET", "/readyz").status == 200, 30, what="readiness after " + what)


@pytest.mark.soak
def test_minutes_of_trouble_break_no_promise(tmp_path):
    seed = int(os.environ.get("PENSTOCK_SOAK_SEED", "1"))
    dice, disk = random.Random(seed), Disk(tmp_path)
    things = ["kill", "restart", "stop", "reload", "full", "syncs", "one sync", "hang", "slow"]
    with Gateway(env=disk.env) as gateway:
        gateway.no_limits()
        sale = gateway.make_sale(stock=STOCK, reservation_ttl_s=5)
        settlement = Settlement(gateway, seed)
        end = time.monotonic() + SECONDS
        with Load(gateway, sale, threads=6, pause=0.004, promise=settlement.take, timeout=20) as load:
            settlement.start()
            while time.monotonic() < end:
                before = load.promised()
                wait_until(lambda: load.promised() > before + 20, 60, what="orders")
                time.sleep(dice.random())
                happen(gateway, disk, dice.choice(things), dice)
                if dice.random() < 0.2:
                    gateway.assert_books(sale)
        settlement.ended.set()
        settlement.join(30)
        assert not settlement.is_alive() and not settlement.strange, settlement.strange[:3]
        wait_until(lambda: gateway.sale(sale)["skus"][0]["in_doubt"] == 0, 30, what="the end of every doubt")
        wait_until(lambda: gateway.sale(sale)["skus"][0]["held"] == 0, 120, what="the end of every unpaid order")
        states = {o["order_id"]: o["state"] for o in judge(gateway, sale, [load], STOCK, settled=True)}
        broken = {order: (said, states.get(order)) for order, said in settlement.certain.items() if states.get(order) != said}
        assert not broken, list(broken.items())[:5]
        assert load.promised() > SECONDS and len(settlement.certain) > SECONDS
        gateway.kill()
        gateway.start()
        assert {o["order_id"]: o["state"] for o in judge(gateway, sale, [load], STOCK, settled=True)} == states
