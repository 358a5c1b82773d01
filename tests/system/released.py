"""What a released version leaves to its successors: a state directory with everything that operators and buyers can put into one, and what they were told of it."""
import json
import tarfile

from penstock import ANY_VERSION, ROOT, rfc3339

STATES = ROOT / "tests/system/states"
UPSTREAM = {"upstream": {"allowed_networks": ["127.0.0.0/8", "10.0.0.0/8"]}}
WEEK_S = 604800
BOUGHT = {"ann": 2, "bea": 1, "cay": 1, "dan": 1}  # units of spring's phone: confirmed, cancelled, held and held
DOCUMENTS = {
    "pools/blue": {"endpoints": [{"address": "10.0.0.1:80", "weight": 3}, {"address": "10.0.0.2:80", "drain": True}], "algorithm": "weighted_random"},
    "pools/green": {"endpoints": [{"address": "10.0.0.3:80"}]},
    "caches/default": {"bytes": 1048576, "object_bytes_max": 65536},
    "routes/page": {"path": "/p/", "pool": "blue", "split": [{"pool": "green", "share": 0.25, "by": "user"}], "fallback": [{"kind": "stale"}], "cache": {"store": "default"}},
    "blocklist/users/bot-1": {"reason": "a bot"},
    "blocklist/ips/203.0.113.0-24": {"reason": "a data centre"},
    "limits/phones": {"algorithm": "token_bucket", "key": "user", "rate": 1000, "period_s": 1, "burst": 1000, "sale": "spring"},
    "features/exports": {"level": 3},
    "plans/slow": {"title": "The page gives way", "steps": [{"patch": {"kind": "limit", "name": "phones", "with": {"rate": 500}}},
                                                              {"put": {"kind": "block_user", "name": "bot-2", "doc": {"reason": "bots"}}}], "ttl_s": None},
}


def told(answer, status):
    assert answer.status == status, answer
    return answer.json


def play(gateway):
    """Fills the state directory of a fresh gateway; what everybody was told."""
    gateway.make_sale("spring", stock=20, per_user_cap=5, attributes={"title": "春季"})
    gateway.make_sale("summer", opens_in=10 * 365 * 86400)
    gateway.make_sale("winter")
    for path, document in DOCUMENTS.items():
        answer = gateway.admin("PUT", f"/admin/v1/{path}", document)
        if answer.status == 428:  # one that always exists
            answer = gateway.admin("PUT", f"/admin/v1/{path}", document, ANY_VERSION)
        assert answer.status in (200, 201), (path, answer)
    told(gateway.admin("PATCH", "/admin/v1/limits/user", {"rate": 700, "burst": 700, "reason": "for the sale"}, ANY_VERSION), 200)
    told(gateway.admin("POST", "/admin/v1/tokens", {"role": "operator", "note": "desk"}), 201)
    orders = {user: told(gateway.buy("spring", user, quantity=units, key=f"key-{user}"), 202)["order_id"] for user, units in BOUGHT.items()}
    told(gateway.admin("POST", f"/admin/v1/orders/{orders['ann']}/confirm", {"reason": "invoice 17"}), 200)
    told(gateway.admin("POST", f"/admin/v1/orders/{orders['bea']}/cancel", {"reason": "changed their mind"}), 200)
    told(gateway.admin("POST", "/admin/v1/sales/spring/skus/phone/adjust", {"delta": 2, "adjust_id": "returns-1"}), 200)
    told(gateway.admin("POST", "/admin/v1/sales/winter/end", {"reason": "no snow"}), 200)
    gateway.override("feature:access_log", "on", ttl_s=WEEK_S)
    run = told(gateway.admin("POST", "/admin/v1/plans/slow/runs", {"reason": "slow"}), 201)["run"]
    return {"made_at": rfc3339(), "orders": {orders[user]: {"user": user, "key": f"key-{user}", "quantity": units} for user, units in BOUGHT.items()},
            "states": {order["order_id"]: order["state"] for order in gateway.orders("spring")}, "sales": {name: seen(gateway, name) for name in ("spring", "summer", "winter")},
            "documents": gateway.read("/admin/v1/config?base=1").json["documents"], "run": run,
            "versions": len(gateway.read("/admin/v1/limits/user/versions").json["versions"])}


def seen(gateway, name):
    """A sale as its operators see it."""
    sale = gateway.sale(name)
    return {"state": sale["state"], "skus": [{member: sku[member] for member in ("sku", "available", "held", "confirmed", "adjustments")} for sku in sale["skus"]]}


def has(now, then, where=""):
    """Is everything that was there still there, and as it was? A later version may have more members."""
    if isinstance(then, dict):
        for member in then:
            assert member in now, f"{where}/{member} is gone"
            has(now[member], then[member], f"{where}/{member}")
    else:
        assert now == then, (where, now, then)


def write(version, gateway):
    """Into states/: the archive of the gateway's state directory, which has ended, and beside it what was told."""
    facts = play(gateway)
    assert gateway.stop() == 0
    with tarfile.open(STATES / f"{version}.tar.gz", "w:gz") as archive:
        archive.add(gateway.state, "state")
    (STATES / f"{version}.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
