"""Clients that programs make of the two descriptions: two generators of Python clients take each whole, what they write is imported whole, and
with each a sale is made, bought, confirmed and audited on a real gateway."""
import pathlib
import re
import subprocess

import pytest
from penstock import PATIENT_LOG, ROOT, Gateway

SIDES = ("public", "admin")
# Kinds of content that openapi-python-client takes no schema of: it gives their bytes.
CONFIG = """
content_type_overrides:
  application/x-ndjson: application/octet-stream
  application/vnd.sqlite3: application/octet-stream
  text/event-stream: application/octet-stream
"""
IMPORT = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, name + "."):
        importlib.import_module(module.name)
        print(module.name)
"""
SHOPPING = {
    "openapi-python-client": """
import sys
from made_admin import AuthenticatedClient
from made_admin.api.default import audit_sale, confirm_order, get_sale as show_sale, put_limit, put_sale
from made_admin.models import Audit, LimitDocument, Order as Shown, Sale, SaleDocument
from made_public import Client
from made_public.api.default import get_order, get_sale, place_order
from made_public.models import Order, OrderRequest, Problem, SaleStatus

public, admin, token = sys.argv[1:]
operator = AuthenticatedClient(base_url=admin, token=token)
made = put_sale.sync("spring", client=operator, body=SaleDocument.from_dict({"skus": [{"sku": "phone", "stock": 3}], "per_user_cap": 2, "open": True}))
assert isinstance(made, Sale) and made.state == "open" and made.skus[0].available == 3, made
limit = LimitDocument.from_dict({"algorithm": "token_bucket", "key": "user", "rate": 7, "period_s": "10s"})
assert put_limit.sync("calm", client=operator, body=limit).rate == 7
buyer = Client(base_url=public, headers={"X-User-Id": "ann"})
page = get_sale.sync("spring", client=buyer)
assert isinstance(page, SaleStatus) and page.phase == "open", page
order = place_order.sync("spring", client=buyer, body=OrderRequest(sku="phone", quantity=2), idempotency_key="k1")
assert isinstance(order, Order) and order.quantity == 2 and order.state == "accepted" and order.reason is None, order
refused = place_order.sync("spring", client=buyer, body=OrderRequest(sku="phone", quantity=2))
assert isinstance(refused, Problem) and refused.code == "user_limit", refused
assert get_order.sync(order.order_id, client=buyer).pay_by == order.pay_by
assert confirm_order.sync(order.order_id, client=operator).state == "confirmed"
report = audit_sale.sync("spring", client=operator)
assert isinstance(report, Audit) and report.ok and report.skus[0].confirmed == 2, report
assert show_sale.sync("spring", client=operator).skus[0].confirmed == 2
""",
    "openapi-generator": """
import sys
import made_admin, made_public

public, admin, token = sys.argv[1:]
operator = made_admin.DefaultApi(made_admin.ApiClient(made_admin.Configuration(host=admin, access_token=token)))
made = operator.put_sale("spring", made_admin.SaleDocument(skus=[made_admin.SaleDocumentSkusInner(sku="phone", stock=3)], per_user_cap=2, open=True))
assert made.state == "open" and made.skus[0].available == 3, made
buyer = made_public.DefaultApi(made_public.ApiClient(made_public.Configuration(host=public), "X-User-Id", "ben"))
page = buyer.get_sale("spring")
assert page.phase == "open", page
order = buyer.place_order("spring", made_public.OrderRequest(sku="phone", quantity=2), idempotency_key="k1")
assert order.quantity == 2 and order.state == "accepted" and order.reason is None, order
try:
    buyer.place_order("spring", made_public.OrderRequest(sku="phone", quantity=2))
    raise SystemExit("the cap did not hold")
except made_public.ApiException as refused:
    assert refused.status == 409 and '"user_limit"' in refused.body, refused
assert buyer.get_order(order.order_id).pay_by == order.pay_by
assert operator.confirm_order(order.order_id).state == "confirmed"
report = operator.audit_sale("spring")
assert report.ok and report.skus[0].confirmed == 2, report
assert operator.get_sale("spring").skus[0].confirmed == 2
""",
}


@pytest.fixture(scope="module")
def python():
    fetched = subprocess.run([ROOT / "tests/python/fetch"], capture_output=True, text=True)
    assert fetched.returncode == 0, fetched.stderr
    return pathlib.Path(fetched.stdout.strip())


def run(*words, env=None):
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def by_python_client(python, where):
    """It leaves out what it cannot read, with a warning: so it must have none."""
    (where / "config.yaml").write_text(CONFIG)
    for side in SIDES:
        said = run(python, "-m", "openapi_python_client", "generate", "--path", ROOT / f"gateway/{side}/openapi.yaml", "--meta", "none", "--config",
                   where / "config.yaml", "--output-path", where / f"made_{side}", "--fail-on-warning", env={"PATH": f"{python.parent}:/usr/bin:/bin"})
        assert "WARNING" not in said and "Unable" not in said, said
    return [where]


def by_generator(python, where):
    """Its warnings are about examples that it makes up, and patterns of texts that may also be numbers; a model that is missing is none of them."""
    for side in SIDES:
        said = run(python, "-c", "import openapi_generator_cli, sys; sys.exit(openapi_generator_cli.cli())", "generate", "-i", ROOT / f"gateway/{side}/openapi.yaml", "-g", "python", "-o", where / side,
                   "--package-name", f"made_{side}")
        assert not re.search(r"Exception|imports|lookup model|not found", said), said
    return [where / side for side in SIDES]


GENERATORS = {"openapi-python-client": by_python_client, "openapi-generator": by_generator}


@pytest.fixture(scope="module", params=GENERATORS)
def made(request, python, tmp_path_factory):
    return request.param, ":".join(map(str, GENERATORS[request.param](python, tmp_path_factory.mktemp("made"))))


def test_each_module_of_a_generated_client_can_be_imported(made, python):
    modules = run(python, "-c", IMPORT, "made_public", "made_admin", env={"PYTHONPATH": made[1]}).split()
    assert len(modules) > 200, modules


def test_a_sale_is_made_bought_and_confirmed_by_a_generated_client(made, python):
    name, path = made
    with Gateway(settings=PATIENT_LOG) as gateway:
        run(python, "-c", SHOPPING[name], f"http://127.0.0.1:{gateway.port}", f"http://127.0.0.1:{gateway.admin_port}", gateway.token, env={"PYTHONPATH": path})
        assert gateway.assert_books("spring")["skus"][0]["confirmed"] == 2
