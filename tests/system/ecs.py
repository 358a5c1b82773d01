"""Lines of logs, checked against the names and types of the Elastic Common Schema (ecs_fields.txt)."""
import datetime
import ipaddress
import json
import pathlib

FIELDS = dict(line.split() for line in pathlib.Path(__file__).with_name("ecs_fields.txt").read_text().splitlines() if not line.startswith("#"))


def is_date(value):
    return datetime.datetime.fromisoformat(value.replace("Z", "+00:00")).tzinfo is not None


def is_whole(value):
    return not isinstance(value, bool) and isinstance(value, (int, float)) and value == int(value) and abs(value) < 2**63


def is_address(value):
    return ipaddress.ip_address(value) is not None


IS = {"date": is_date, "long": is_whole, "ip": is_address}


def read_line(line):
    """The document of a line; each name is one of ECS with a value of its type, or ours."""
    document = json.loads(line)
    for name, value in document.items():
        if name.startswith("penstock."):
            assert isinstance(value, (str, int, bool)), (name, line)
        else:
            assert IS.get(FIELDS[name], lambda text: isinstance(text, str))(value), (name, line)
    assert {"@timestamp", "log.level", "message", "ecs.version", "service.name", "event.action"} <= document.keys(), line
    return document


def read_lines(text):
    return [read_line(line) for line in text.splitlines() if line.startswith("{")]
