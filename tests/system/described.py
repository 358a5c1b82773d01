"""A listener seen through its OpenAPI description: every call is judged by it."""
import re

import yaml
from jsonschema import Draft202012Validator
from penstock import ROOT


class Described:
    """One listener of a gateway through its description."""

    def __init__(self, file, ask):
        self.document = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
        self.ask = ask
        self.called = set()

    def resolve(self, node):
        while "$ref" in node:
            kind, name = node["$ref"].split("/")[-2:]
            node = self.document["components"][kind][name]
        return node

    def check(self, value, schema, where):
        whole = {"allOf": [schema], "components": self.document["components"]}
        faults = [f"{where}: {fault.json_path}: {fault.message}" for fault in Draft202012Validator(whole).iter_errors(value)]
        assert not faults, faults

    def call(self, expected, method, path, body=None, query="", headers=None, **arguments):
        """Every call is judged. Path arguments stand in **arguments."""
        target = re.sub(r"\{(\w+)\}", lambda match: arguments[match[1]], path) + query
        answer = self.ask(method.upper(), target, body, headers)
        where = f"{method} {target}"
        assert answer.status == expected, f"{where}: {answer}"
        operation = self.document["paths"][path][method]
        self.called.add((path, method))
        responses = operation["responses"]
        response = self.resolve(responses[str(expected) if str(expected) in responses else "default"])
        for name in response.get("headers", {}):
            if (name, expected) == ("Retry-After", 409):
                assert ("retry-after" in answer.headers) == (answer.code in ("not_started", "idempotency_in_progress")), where
            elif name not in ("RateLimit-Policy", "RateLimit", "Idempotency-Replayed", "Location", "Penstock-Admission"):
                assert name.lower() in answer.headers, f"{where}: no {name}"
        if "content" not in response:
            assert answer.text == "", where
            return answer
        kind = answer.headers["content-type"].split(";")[0]
        assert kind in response["content"], f"{where}: {kind}"
        values = answer.lines() if kind.endswith("ndjson") else [answer.json] if kind.endswith("json") else []
        for value in values:
            self.check(value, response["content"][kind]["schema"], where)
        if body is not None and expected < 300:
            self.check(body, operation["requestBody"]["content"]["application/json"]["schema"], f"request of {where}")
        return answer

    def assert_all_called(self):
        all_of_them = {(path, method) for path, item in self.document["paths"].items() for method in item if method != "parameters"}
        assert self.called == all_of_them, sorted(all_of_them - self.called)
