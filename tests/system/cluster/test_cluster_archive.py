"""A cluster's ended sale: the leader archives it, every gateway frees it, and a gateway that was away learns of it when it returns."""
from archive_readers import archive_under_readers
from archives import lines_of
from cluster import PATIENT, Cluster, merged
from penstock import wait_until

AT_ONCE = merged(PATIENT, {"log": {"archive_after_h": 0}})


def records(cluster, sale):
    return [r for r in cluster[0].admin("GET", f"/admin/v1/sales/{sale}/log").lines() if r["type"] == "penstock.sale.archived.v1"]


def is_emptied(cluster, sale):
    """No key of its orders and buyers is left in Redis."""
    keys = cluster.redis.ask("KEYS", f"ps:{{{sale}}}:*").split()
    return keys and {key.rsplit(":", 1)[-1] for key in keys} <= {"current", "stock"}


def archives(directory):
    return sorted(path.name for path in directory.iterdir())


def test_the_leader_archives_and_every_gateway_lets_go(kafka, tmp_path):
    shared = tmp_path / "archives"
    shared.mkdir()
    with Cluster(kafka, gateways=3, settings=merged(AT_ONCE, {"archive": {"dir": str(shared)}})) as cluster:
        sale, live = cluster.make_sale(stock=100), cluster.make_sale(stock=10)
        ids = [cluster.sure_buy(cluster[i % 3], sale, f"user-{i}").json["order_id"] for i in range(30)]
        kept = cluster.sure_buy(cluster[0], live, "ann").json["order_id"]

        def decided():  # 503: not yet, asked again
            answer = cluster[1].admin("POST", "/admin/v1/orders:batch", {"confirm": ids[:20], "cancel": ids[20:]})
            return answer.status == 200 and {result["status"] for result in answer.json["results"]} == {200}

        wait_until(decided, what="20 confirmed and 10 cancelled")
        absent = cluster[2]
        assert absent.stop() == 0
        assert cluster[0].admin("POST", f"/admin/v1/sales/{sale}/end", {}).status == 200
        for gateway in cluster.gateways[:2]:
            wait_until(lambda g=gateway: g.sale(sale)["state"] == "archived", 90, what="archived")
        assert archives(shared) == [f"{sale}.ndjson.zst"]
        wait_until(lambda: is_emptied(cluster, sale), 30, what="an empty counter")
        cluster.restart(absent)  # the record lies behind it
        lines, last_hash, sha256 = lines_of(shared / f"{sale}.ndjson.zst")
        assert lines[-1]["orders"] == 30 and lines[-1]["skus"][0]["confirmed"] == 20
        for gateway in cluster.gateways:
            wait_until(lambda g=gateway: g.sale(sale)["state"] == "archived", 60, what="archived")
            assert gateway.sale(sale)["skus"][0]["confirmed"] == 20
            assert gateway.buy(sale, "late").code == "ended"
            wait_until(lambda g=gateway: g.public("GET", f"/v1/orders/{ids[0]}", user="user-0").code == "archived", 30, what="410 archived")
            assert gateway.admin("GET", f"/admin/v1/orders/{ids[0]}").json["state"] == "confirmed"
            assert gateway.public("GET", f"/v1/orders/{kept}", user="ann").json["state"] == "accepted"
            cluster.sure_buy(gateway, live, f"buyer-{gateway.directory.name}")


def test_readers_are_answered_alike_at_every_gateway_while_a_sale_is_archived(kafka, tmp_path):
    """F27, I6."""
    shared = tmp_path / "archives"
    shared.mkdir()
    with Cluster(kafka, gateways=2, settings=merged(AT_ONCE, {"archive": {"dir": str(shared)}})) as cluster:
        faults, asked = archive_under_readers(cluster.gateways, 3, 3, cluster.make_sale)
        assert not faults, (asked, faults[:5])


def test_a_rehearsal_of_a_cluster_is_deleted_with_what_is_held_of_it(kafka):
    with Cluster(kafka, gateways=2, settings=AT_ONCE) as cluster:
        sale = cluster.make_sale(stock=500, rehearsal=True)
        for i in range(100):
            cluster.sure_buy(cluster[i % 2], sale, f"user-{i}")
        answer = cluster[1].admin("DELETE", f"/admin/v1/sales/{sale}", {"reason": "done"}, {"If-Match": "*"}, timeout=60)
        assert answer.status == 204, answer
        for gateway in cluster.gateways:
            wait_until(lambda g=gateway: g.admin("GET", f"/admin/v1/sales/{sale}").status == 404, 30, what="gone")
        live = cluster.make_sale(stock=3)
        cluster.sure_buy(cluster[0], live, "ann")
