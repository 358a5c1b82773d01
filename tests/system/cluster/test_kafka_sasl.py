"""A broker that asks for a login: with the right one a gateway sells and a settlement worker follows; with a wrong one both say so, and no word of it stands in any log."""
import json

import pytest
from cluster import NO_LIMITS
from penstock import PATIENT_LOG, Gateway, call, seeds, wait_until
from settle import Sqlite, Worker, init, orders_in

WRONG = "not-the-password"


def login(kafka, password):
    return {"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN", "sasl.username": kafka.login[0], "sasl.password": password}


def test_the_password_may_lie_in_a_file_or_in_a_credential_of_systemd(kafka, topic, tmp_path):
    (tmp_path / "g").mkdir()
    (tmp_path / "sasl-password").write_text(kafka.login[1] + "\n")
    (tmp_path / "sasl-password").chmod(0o600)
    own = settings(kafka, topic, None)
    del own["log"]["kafka"]["properties"]["sasl.password"]
    own["log"]["kafka"]["sasl_password_file"] = "sasl-password"
    with Gateway(tmp_path / "g", settings=own, env={"CREDENTIALS_DIRECTORY": str(tmp_path)}) as gateway:
        sale = gateway.make_sale(stock=5)
        order = gateway.buy(sale, "ann")
        assert (order.status, order.json["state"]) == (202, "accepted")
        shop = init(Sqlite(tmp_path))
        Worker(shop, "--kafka-brokers", f"127.0.0.1:{kafka.sasl_port}", "--kafka-topic", topic, "--kafka-group", topic, "--kafka-properties",
               json.dumps(own["log"]["kafka"]["properties"]), "--kafka-sasl-password-file", str(tmp_path / "sasl-password")).once()
        assert list(orders_in(shop, sale)) == [order.json["order_id"]]
        assert kafka.login[1] not in gateway.log_path.read_text()


def settings(kafka, topic, password):
    return {"seed": seeds(NO_LIMITS), "workers": 1,
            "log": {**PATIENT_LOG["log"], "kind": "kafka", "kafka": {"brokers": f"127.0.0.1:{kafka.sasl_port}", "topic": topic, "properties": login(kafka, password)}}}


@pytest.fixture()
def topic(kafka):
    yield kafka.topic(2)
    kafka.well()


def test_with_the_right_login_orders_are_accepted_and_settled(kafka, topic, tmp_path):
    (tmp_path / "g").mkdir()
    with Gateway(tmp_path / "g", settings=settings(kafka, topic, kafka.login[1])) as gateway:
        sale = gateway.make_sale(stock=5)
        order = gateway.buy(sale, "ann")
        assert (order.status, order.json["state"]) == (202, "accepted")
        shop = init(Sqlite(tmp_path))
        Worker(shop, "--kafka-brokers", f"127.0.0.1:{kafka.sasl_port}", "--kafka-topic", topic, "--kafka-group", topic, "--kafka-properties", json.dumps(login(kafka, kafka.login[1]))).once()
        assert list(orders_in(shop, sale)) == [order.json["order_id"]]
        assert kafka.login[1] not in gateway.log_path.read_text()


@pytest.mark.slow
def test_with_a_wrong_login_a_gateway_says_so_and_sells_nothing(kafka, topic, tmp_path):
    gateway = Gateway(tmp_path, settings=settings(kafka, topic, WRONG))
    gateway.spawn()
    try:
        wait_until(lambda: any("log_unavailable" in line and "Authentication failed" in line for line in gateway.log_path.read_text().splitlines()), 60,
                   what="a line that names the login")
        assert call(gateway.port, "GET", "/readyz").status == 503
        assert WRONG not in gateway.log_path.read_text()
    finally:
        gateway.kill()


def test_with_a_wrong_login_a_worker_says_so(kafka, topic, tmp_path):
    worker = Worker(init(Sqlite(tmp_path)), "--kafka-brokers", f"127.0.0.1:{kafka.sasl_port}", "--kafka-topic", topic, "--kafka-group", topic,
                    "--kafka-properties", json.dumps(login(kafka, WRONG)), log=tmp_path / "worker.log").start()
    try:
        wait_until(lambda: "Authentication failed" in (tmp_path / "worker.log").read_text(), 60, what="a line that names the login")
        assert WRONG not in (tmp_path / "worker.log").read_text()
    finally:
        worker.kill()
