"""queue/asyncapi.yaml against real records: what a consumer that is none of ours reads from a real broker (headers, key, partition, value), and
the lines that a gateway with a journal gives. Every kind of record and every member that is described must be among them."""
import json
import subprocess

import pytest
import yaml
from jsonschema import Draft7Validator, FormatChecker
from penstock import BUILD, PATIENT_LOG, ROOT, Gateway, wait_until
from settle import murmur2

PARTITIONS = 3
DOCUMENT = yaml.safe_load((ROOT / "queue/asyncapi.yaml").read_text(encoding="utf-8"))
MESSAGES = {message["name"]: message for message in DOCUMENT["components"]["messages"].values()}


def resolve(schema):
    return DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def described(message):
    return set(resolve(message["payload"])["properties"])


def check(value, *schemas):
    whole = Draft7Validator({"allOf": list(schemas), "components": DOCUMENT["components"]}, format_checker=FormatChecker())
    faults = [f"{fault.json_path}: {fault.message} in {value}" for fault in whole.iter_errors(value)]
    assert not faults, faults


def check_value(value):
    """A record by its own type; no member but the described ones."""
    message = MESSAGES[value["type"]]
    check(value, message["payload"])
    assert set(value) <= described(message), value


class Consumed:
    """One line of Kafka's console consumer."""

    def __init__(self, line):
        partition, offset, headers, key, value = line.split("\t")
        self.partition, self.offset = int(partition.removeprefix("Partition:")), int(offset.removeprefix("Offset:"))
        self.headers = dict(header.split(":", 1) for header in headers.split("<|>"))
        self.key, self.value = key, json.loads(value)


def consume(kafka, topic, count):
    shown = [word for name in ("partition", "offset", "headers", "key") for word in ("--property", f"print.{name}=true")]
    text = kafka.tool("consumer.ConsoleConsumer", "--topic", topic, "--from-beginning", "--max-messages", count, "--timeout-ms", 30000,
                      "--property", "print.timestamp=false", "--property", "headers.separator=<|>", *shown)
    records = [Consumed(line) for line in text.splitlines()]
    assert len(records) == count
    return records


def check_record(record):
    message = MESSAGES[record.headers["ce_type"]]
    assert record.value["type"] == record.headers["ce_type"]
    check_value(record.value)
    check(record.headers, message["headers"])
    assert set(record.headers) <= {name for part in (DOCUMENT["components"]["schemas"]["Headers"], message["headers"]["allOf"][1])
                                   for name in part["properties"]}
    assert record.headers["ce_time"] == record.value["at"]
    assert record.headers["ce_subject"] == record.value["sale"] + ("/" + record.value["sku"] if "sku" in record.value else "")
    assert record.headers.get("traceparent") == record.value.get("traceparent")
    check(record.key, message["bindings"]["kafka"]["key"])
    if "partitions" in record.value:
        assert record.key == record.value["sale"]
    else:
        assert record.key == record.value.get("order_id", record.value.get("adjust_id", record.value["sale"]))
        assert record.partition == murmur2(record.key.encode()) % PARTITIONS


@pytest.fixture(scope="module")
def written(kafka):
    """Records of every kind, with every member."""
    topic = kafka.topic(PARTITIONS)
    done = subprocess.run([str(BUILD / "tests/kafka_records"), kafka.direct, topic, str(PARTITIONS)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return consume(kafka, topic, int(done.stdout))


def test_records_of_every_kind_are_as_described(written):
    for record in written:
        check_record(record)
    seen = {name: set().union(*(record.value for record in written if record.value["type"] == name)) for name in MESSAGES}
    assert seen == {name: described(message) for name, message in MESSAGES.items()}
    assert len({record.headers["ce_id"] for record in written}) == len(written)


def test_a_fence_is_in_every_partition_before_anything_else_of_its_sale(written):
    for partition in range(PARTITIONS):
        first = min((record for record in written if record.partition == partition), key=lambda record: record.offset)
        assert first.value["type"] == "penstock.sale.fenced.v1" and first.value["first"]


# What a gateway writes of them: test_archive.py, test_audit_heads.py.
ELSEWHERE = {"penstock.sale.archived.v1", "penstock.desk.head.v1"}


def every_effect(gateway):
    """A sale with an order of each fate and stock that is changed, through the API alone."""
    gateway.no_limits()
    sale = gateway.make_sale(stock=20, per_user_cap=2)
    paid, cancelled = (gateway.buy(sale, user, key=user if user == "ann" else None).json["order_id"] for user in ("ann", "bob"))
    assert gateway.admin("POST", f"/admin/v1/orders/{paid}/confirm").status == 200
    assert gateway.admin("POST", f"/admin/v1/orders/{cancelled}/cancel").status == 200
    assert gateway.change_sale(sale, reservation_ttl_s=5).status == 200
    expired = gateway.buy(sale, "carl").json["order_id"]
    for adjust_id, delta in (("more", 5), ("fewer", -2)):
        body = {"delta": delta, "adjust_id": adjust_id, "reason": f"it is \"{adjust_id}\""}
        assert gateway.admin("POST", f"/admin/v1/sales/{sale}/skus/phone/adjust", body).status == 200
    wait_until(lambda: gateway.admin("GET", f"/admin/v1/orders/{expired}").json["reason"] == "expired", 60, what="the expiry")
    return sale


def lines_of(gateway, sale):
    return gateway.admin("GET", f"/admin/v1/sales/{sale}/log?after=0&limit=1000").lines()


@pytest.mark.slow
def test_a_gateway_writes_to_a_topic_what_is_described(kafka, tmp_path):
    topic = kafka.topic(PARTITIONS)
    settings = {"log": {**PATIENT_LOG["log"], "kind": "kafka", "kafka": {"brokers": kafka.direct, "topic": topic}}}
    with Gateway(tmp_path, settings=settings) as gateway:
        sale = every_effect(gateway)
        lines = lines_of(gateway, sale)
        records = consume(kafka, topic, len(lines))
    for record in records:
        check_record(record)
    assert {record.value["type"] for record in records} == set(MESSAGES) - ELSEWHERE
    by_text = sorted((json.dumps(record.value, sort_keys=True) for record in records))
    assert by_text == sorted(json.dumps({k: v for k, v in line.items() if k != "seq"}, sort_keys=True) for line in lines)


def test_lines_of_a_journal_are_the_same_with_a_seq():
    with Gateway(settings=PATIENT_LOG) as gateway:
        lines = lines_of(gateway, every_effect(gateway))
    for line in lines:
        check(line, DOCUMENT["components"]["schemas"]["Line"])
        assert list(line)[:2] == ["seq", "type"]
        check_value({name: value for name, value in line.items() if name != "seq"})
    assert {line["type"] for line in lines} == set(MESSAGES) - ELSEWHERE
    seqs = [line["seq"] for line in lines]
    assert seqs == sorted(set(seqs))
