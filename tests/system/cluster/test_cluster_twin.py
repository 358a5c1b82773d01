"""Rehearsals beside live sales in a cluster: with a real Redis and a real Kafka, through every gateway."""
import json
import subprocess

import pytest
from cluster import promised_more, records
from penstock import REHEARSE, wait_until
from rehearsal import make_twin, mark, new_key

STOCK = 100000


def key_made(cluster, **members):
    """Believed at every gateway."""
    key = new_key(cluster[0], **members)
    for gateway in cluster.living():
        wait_until(lambda: key["key"] in gateway.admin("GET", "/admin/v1/rehearsal-keys").text, 30, what=f"the key at gateway {gateway.index}")
    return key


def twin_made(cluster, sale, **document):
    twin = make_twin(cluster[0], sale, wait=False, **document)
    cluster.wait_open(twin)
    return twin


def test_a_key_and_a_twin_made_at_one_gateway_serve_rehearsals_at_all_until_they_are_gone(cluster):
    for rule in ("user", "ip", "global", "status"):
        cluster[0].limit(rule, mode="off")
    sale, key = cluster.make_sale(stock=10), key_made(cluster)
    twin = twin_made(cluster, sale, stock=2)
    bought = [cluster.sure_buy(gateway, sale, f"load-{gateway.index}", headers=mark(key)) for gateway in cluster.gateways]
    assert sorted(answer.status for answer in bought) == [202, 202, 409]
    assert {answer.json["sale"] for answer in bought if answer.status == 202} == {twin}
    order = next(answer.json for answer in bought if answer.status == 202)
    user = next(f"load-{gateway.index}" for gateway, answer in zip(cluster.gateways, bought) if answer.status == 202)
    for gateway in cluster.gateways:
        wait_until(lambda: gateway.public("GET", f"/v1/orders/{order['order_id']}", user=user, headers=mark(key)).status == 200, 30, what="the order")
        assert gateway.public("GET", f"/v1/orders/{order['order_id']}", user=user).status == 404
        assert gateway.public("GET", f"/v1/sales/{sale}", headers=mark(key)).json["sale"] == twin
    assert cluster.redis.ask("HGET", "ps:control", f"rehearsal-keys/{key['key']}")
    assert cluster[1].admin("DELETE", f"/admin/v1/rehearsal-keys/{key['key']}").status == 204
    for gateway in cluster.gateways:
        wait_until(lambda: gateway.public("GET", f"/v1/sales/{sale}", headers=mark(key)).json["sale"] == sale, 30, what="the end of the key")
    cluster.wait_rest(sale)
    cluster.wait_rest(twin)
    assert cluster.numbers(sale) == (10, 0, 0, 10) and cluster.numbers(twin) == (0, 2, 0, 2)


@pytest.mark.slow
def test_a_rehearsal_beside_a_live_sale_of_a_cluster_is_proved_and_touches_nothing_real(cluster, tmp_path):
    """A crowd buys at all gateways, and one gateway is killed in the middle."""
    for rule in ("user", "ip", "global", "status"):
        cluster[0].limit(rule, mode="off")
    key, report, path = key_made(cluster), tmp_path / "report.json", tmp_path / "key.json"
    path.write_text(json.dumps(key))
    path.chmod(0o600)
    with cluster.busy_sale(STOCK, rate=100) as (sale, crowd):
        promised_more(crowd, 50)
        words = [REHEARSE, "--public", f"http://127.0.0.1:{cluster[0].port}", "--admin", f"http://127.0.0.1:{cluster[0].admin_port}", "--state-dir", cluster[0].state,
                 "--twin-of", sale, "--rehearsal-key", path, "--buyers", 2000, "--stock", 600, "--over", "5s", "--shape", "constant", "--retry", 40, "--quiet",
                 "--confirm-share", 0.3, "--json", report]
        with subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            def begun():
                return [one["sale"] for one in cluster[0].admin("GET", "/admin/v1/sales").json["sales"] if one.get("twin_of") == sale and one["skus"][0]["held"] > 50]
            twin, = wait_until(begun, 60, what="orders of the twin")
            cluster[2].kill()
            text, _ = process.communicate(timeout=120)
        assert process.returncode == 0, text
        cluster.restart(cluster[2])
        promised_more(crowd, 50)
    said = json.loads(report.read_text())
    assert said["sale"] == twin and said["twin_of"] == sale and said["proof"]["ok"] is True
    cluster.wait_rest(twin)
    prefix = twin.removeprefix("rehearsal-") + "-"
    for gateway in cluster.living():
        assert {order["user"].startswith(prefix) for order in gateway.orders(twin)} == {True}
        assert {order["user"].startswith(prefix) for order in gateway.orders(sale)} == {False}
    of_twin, of_sale = records(cluster[0], twin), records(cluster[0], sale)
    assert {line["type"].split(".")[2] for line in of_twin} >= {"accepted", "confirmed", "adjusted", "fenced"}
    assert {line.get("rehearsal", False) for line in of_twin} == {True}
    assert {line.get("rehearsal", False) for line in of_sale} == {False}
    kept = cluster.redis.ask("KEYS", f"ps:{{{twin}}}:*").split()
    assert kept and not set(kept) & set(cluster.redis.ask("KEYS", f"ps:{{{sale}}}:*").split())
    in_kafka = [json.loads(line) for line in values(cluster, len(of_twin) + len(of_sale))]
    assert {event["sale"]: event.get("rehearsal", False) for event in in_kafka} == {sale: False, twin: True}


def values(cluster, count):
    """So many values of the topic, as a stranger's consumer reads them."""
    text = cluster.kafka.tool("consumer.ConsoleConsumer", "--topic", cluster.topic, "--from-beginning", "--max-messages", count, "--timeout-ms", 30000)
    found = [line for line in text.splitlines() if line.startswith("{")]
    assert len(found) == count
    return found
