"""One gateway after the other is restarted, as an upgrade does it, while buyers come."""
from cluster import Crowd, promised_more
from load import buy_bytes
from manager import Clicks
from penstock import wait_until

STOCK = 100000


def test_a_rolling_restart_loses_no_order_and_refuses_a_click_at_most_once(cluster):
    """A gateway that restarts has no service manager here: whom it refuses, the next gateway answers within a second."""
    sale, none = cluster.make_sale(stock=STOCK), cluster.make_sale(stock=0)
    ports = [gateway.port for gateway in cluster.gateways]
    with Crowd(cluster, sale) as crowd, Clicks(lambda number: buy_bytes(none, f"c{number}", f"k{number}"), ports, rate=300, retries=True) as clicks:
        promised_more(crowd, 150)
        for gateway in cluster.gateways:
            assert gateway.stop() == 0
            promised_more(crowd, 50)
            cluster.restart(gateway)
            promised_more(crowd, 150)
            wait_until(gateway.ready, what="readiness")
    clicks.assert_all_answered()
    assert clicks.again > 0 and clicks.slowest_again < 1, (clicks.again, clicks.slowest_again)
    assert clicks.statuses.keys() <= {409, 503}, clicks.statuses
    cluster.judge(sale, [crowd], STOCK)
