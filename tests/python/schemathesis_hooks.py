"""For schemathesis: what a request that fits the description needs besides to be accepted. Names and ids in paths and queries are those of things that
exist, given as JSON in $PENSTOCK_PINNED, and members agree with each other where JSON Schema cannot say so. What is made to be wrong stays wrong."""
import json
import os
import uuid

import schemathesis
from schemathesis.core.parameters import ParameterLocation

PINNED = json.loads(os.environ["PENSTOCK_PINNED"])


def is_valid(case, location):
    made = case.meta.components.get(location) if case.meta else None
    return made is None or made.mode.is_positive


def readable(value):
    """Without what no body may hold: U+0000, a whole number of more than 64 bits."""
    if isinstance(value, dict):
        return {name.replace("\0", ""): readable(member) for name, member in value.items()}
    if isinstance(value, list):
        return [readable(element) for element in value]
    if isinstance(value, str):
        return value.replace("\0", "")
    return value if not isinstance(value, int) or abs(value) < 2**63 else 0


def agree_on_pool(body):
    if body.get("algorithm") != "consistent_hash":
        body.pop("hash_by", None)
    elif body.get("hash_by"):
        body["hash_by"] = "header:X-A"
    body["endpoints"] = [{**endpoint, "address": f"127.0.0.1:{9000 + place}", "weight": 1}
                         for place, endpoint in enumerate(body.get("endpoints") or [{}])]  # each once
    if body.get("discovery"):
        body["discovery"] = {"registration": True}
    if body.get("health"):
        body["health"].update({"path": "/", "host": None, "interval_ms": 600000})
    if body.get("outlier"):
        body["outlier"]["latency_factor"] = 0


def agree_on_route(body):
    """One that needs nothing which is not there, at a place of its own."""
    for member in ("pool", "redirect", "split", "cache", "fallback", "mirror", "request_headers", "response_headers", "first_byte_ms", "host"):
        body.pop(member, None)
    body.update({"path": f"/{uuid.uuid4()}/", "answer": {"status": 503, "body": "soon"}, "total_ms": 10000})


def agree(body, path):
    if "pool" in path and "address" not in path and "path" not in body:
        agree_on_pool(body)
    if "route" in path and "path" in body:
        agree_on_route(body)
    if "cache" in path:
        body.pop("object_bytes_max", None)  # an eighth of the others
    if "rule" in path:
        body.pop("route", None)
        if body.get("sale"):
            body["allow_unknown"] = True
        if "page" in body.get("applies_to", []):
            body.update({"sale": None, "key": "ip"})
    if "sale" in body and "sale" in path:
        body["sale"] = path["sale"]  # may only repeat the name
    if body.get("algorithm", "").endswith("_window"):
        body.pop("burst", None)  # is always the rate
    if {"confirm", "cancel"} <= set(body):
        body["cancel"] = body["cancel"][:1000 - len(body["confirm"])]  # 1,000 together
    for part in [body, *body.get("skus", [])]:
        if "attributes" in part:
            part["attributes"] = {"colour": "red"}  # at most 2 KiB
    if body.get("expires_at"):
        body["expires_at"] = "2999-01-01T00:00:00Z"
        body.pop("ttl_s", None)  # one of the two
    if body.get("until"):
        body["until"] = "2999-01-01T00:00:00Z"
        body.pop("ttl_s", None)  # one of the two
    for place, sku in enumerate(body.get("skus", [])):
        sku["sku"] = f"sku-{place}"  # each once
    if body.get("closes_at") or body.get("opens_at"):
        body.update({"opens_at": "2998-01-01T00:00:00Z", "closes_at": "2999-01-01T00:00:00Z"})


@schemathesis.hook
def before_call(context, case, kwargs):
    for location, values in ((ParameterLocation.PATH, case.path_parameters), (ParameterLocation.QUERY, case.query)):
        if is_valid(case, location):
            values.update({name: value for name, value in PINNED.items() if name in values})
            for name in {"user", "after"} & set(values):
                if isinstance(values[name], str):
                    values[name] = values[name].encode()[:128].decode(errors="ignore")  # bytes, where JSON Schema counts characters
            if "sale" not in values:
                values.pop("request_id", None)  # with a sale alone
    if is_valid(case, ParameterLocation.HEADER):
        case.headers.pop("If-Match", None)  # the version is another each time
        if "Idempotency-Key" in case.headers:
            case.headers["Idempotency-Key"] = str(uuid.uuid4())  # a used one wants the same order
    if isinstance(case.body, dict) and is_valid(case, ParameterLocation.BODY):
        case.body = readable(case.body)
        agree(case.body, case.path_parameters)


@schemathesis.check
def is_unavailable_only_under_overload(ctx, response, case):
    """Pressure, or an override that is made up here, turns features off: of all 5xx that alone is no fault of the server."""
    if response.status_code == 503 and case.method.upper() != "HEAD":
        assert response.json()["code"] == "shed", response.text
