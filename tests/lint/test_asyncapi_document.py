"""queue/asyncapi.yaml is well-formed and says of each record what queue/event.c and queue/kafka_record.c say: types, members in their order,
what is required, bounds, reasons, headers."""
import pathlib
import re

import pytest
import yaml
from jsonschema import Draft7Validator, FormatChecker
from test_openapi import references

ROOT = pathlib.Path(__file__).resolve().parents[2]
EVENT = (ROOT / "queue/event.c").read_text(encoding="utf-8")
RECORD = (ROOT / "queue/kafka_record.c").read_text(encoding="utf-8")
DOCUMENT = yaml.safe_load((ROOT / "queue/asyncapi.yaml").read_text(encoding="utf-8"))
MESSAGES = DOCUMENT["components"]["messages"]
LETTERS = {"A": "accepted", "C": "confirmed", "R": "released", "S": "adjusted", "F": "fenced", "D": "head"}
NUMBERS = {"PS_INT_MAX": 2**53 - 1, "-PS_INT_MAX": 1 - 2**53}


def define(name):
    found = [re.search(rf"#define {name}\s+(?:INT64_C\()?(\d+)", path.read_text(encoding="utf-8"))
             for path in (ROOT / "queue/event.h", ROOT / "common/defs.h")]
    return next(int(match[1]) for match in found if match)


def number(text):
    if text in NUMBERS:
        return NUMBERS[text]
    return int(text) if re.fullmatch(r"-?\d+", text) else define(text)


def rows():
    """name, kind, optional, types, min, max of each member of a record, in the order in which they are written."""
    found = re.findall(r"^    MEMBER\(\"(\w+)\",\s*\w+,\s*(\w+),\s*(true|false),\s*([\w| ]+),\s*(-?\w+),\s*(-?\w+)\)", EVENT, re.M)
    assert len(found) == EVENT.count("    MEMBER(")
    return [(name, kind, optional == "true", set(LETTERS) if types == "ALL" else set(types.split(" | ")), low, high)
            for name, kind, optional, types, low, high in found]


def resolve(node):
    while "$ref" in node:
        value = DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            value = value[part]
        node = value
    return node


def validator(schema):
    return Draft7Validator({"allOf": [schema], "components": DOCUMENT["components"]}, format_checker=FormatChecker())


def test_the_document_is_well_formed():
    assert DOCUMENT["asyncapi"] == "3.0.0"
    used = set(references(DOCUMENT))
    for reference in used:
        resolve({"$ref": reference})
    unused = {f"#/components/{kind}/{name}" for kind, items in DOCUMENT["components"].items() for name in items} - used
    assert unused == {"#/components/schemas/Line"}  # of the journal's rows, for readers and tests
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)
    assert {reference["$ref"].rsplit("/", 1)[1] for reference in DOCUMENT["operations"]["appendRecords"]["messages"]} == set(MESSAGES)
    assert set(DOCUMENT["channels"]["orders"]["messages"]) == set(MESSAGES)


def test_the_version_is_that_of_the_project():
    version = re.search(r"project\(penstock VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))[1]
    assert DOCUMENT["info"]["version"] == version


def test_the_types_are_those_of_the_code():
    names = dict(re.findall(r"\[OQ_(\w+)\] = \"(penstock\.[\w.]+)\"", EVENT))
    assert {name.lower(): text for name, text in names.items()} == {name: message["name"] for name, message in MESSAGES.items()}
    for message in MESSAGES.values():
        assert resolve(message["payload"])["properties"]["type"] == {"const": message["name"]}
        assert message["headers"]["allOf"][1]["properties"]["ce_type"] == {"const": message["name"]}


@pytest.mark.parametrize("letter", LETTERS)
def test_a_record_has_the_members_that_the_code_writes(letter):
    schema = resolve(MESSAGES[LETTERS[letter]]["payload"])
    written = [row for row in rows() if letter in row[3]]
    assert list(schema["properties"]) == ["type"] + [row[0] for row in written]
    # A release names an order or an adjustment; the others always have what is "optional" to them by the table alone.
    always = {"A": {"order_id"}, "C": {"order_id"}, "S": {"adjust_id"}}.get(letter, set())
    assert schema["required"] == ["type"] + [row[0] for row in written if not row[2] or row[0] in always]
    for name, kind, _, _, low, high in written:
        member = resolve(schema["properties"][name])
        if kind == "INT":
            least = 1 if (letter, name) in {("A", "epoch"), ("F", "epoch")} else number(low)
            assert (member["minimum"], member["maximum"]) == (least, number(high)), name
        elif kind in ("TEXT", "VISIBLE"):
            assert member["maxLength"] == number(high), name
    limits = {"Name": "PS_NAME_MAX", "User": "PS_USER_MAX"}
    assert all(DOCUMENT["components"]["schemas"][name]["maxLength"] == define(limit) for name, limit in limits.items())
    assert resolve(MESSAGES["accepted"]["payload"])["properties"]["idempotency_key"]["maxLength"] == define("PS_KEY_MAX")


def test_the_reasons_are_those_of_the_code():
    reasons = re.findall(r'"(\w+)"', re.search(r"reason_names\[\] = \{(.*?)\};", EVENT, re.S)[1])
    assert resolve(MESSAGES["released"]["payload"])["properties"]["reason"]["enum"] == reasons


def test_the_headers_are_those_of_the_code():
    written = re.findall(r'^    add_header\(headers, "([\w-]+)"', RECORD, re.M)
    sometimes = re.findall(r'^        add_header\(headers, "([\w-]+)"', RECORD, re.M)
    assert len(written + sometimes) == len(re.findall(r"\badd_header\(headers, ", RECORD))
    headers = DOCUMENT["components"]["schemas"]["Headers"]
    assert headers["required"] == written == list(headers["properties"])
    for name, message in MESSAGES.items():
        own = message["headers"]["allOf"][1]["properties"]
        assert set(own) - set(written) == (set(sometimes) if name == "accepted" else set())


@pytest.mark.parametrize("name", MESSAGES)
def test_an_example_fits_its_schemas(name):
    for example in MESSAGES[name]["examples"]:
        for part in ("headers", "payload"):
            validator(MESSAGES[name][part]).validate(example[part])
        assert example["headers"]["ce_time"] == example["payload"]["at"]
