"""The OpenAPI descriptions of both listeners: well-formed, and the same as the tables in the code: paths, methods, roles, codes."""
import pathlib
import re
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PUBLIC, ADMIN = ROOT / "gateway/public/openapi.yaml", ROOT / "gateway/admin/openapi.yaml"
METHODS = {"get", "put", "post", "patch", "delete"}


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, method, item, operation


def resolve(document, reference):
    assert reference.startswith("#/"), reference
    node = document
    for part in reference[2:].split("/"):
        node = node[part]
    return node


def references(node):
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def shape(path):
    return re.sub(r"\{[^}]*\}", "{}", path)


def verdict_codes():
    text = (ROOT / "gateway/answers/verdict.h").read_text(encoding="utf-8")
    return {name for name, status in re.findall(r"\bX\((\w+),\s*(\d{3}),", text) if int(status) >= 400}


@pytest.mark.parametrize("path", [PUBLIC, ADMIN], ids=["public", "admin"])
def test_a_description_is_valid_openapi(path):
    fetched = subprocess.run([ROOT / "tests/python/fetch"], capture_output=True, text=True)
    assert fetched.returncode == 0, fetched.stderr
    done = subprocess.run([fetched.stdout.strip(), "-m", "openapi_spec_validator", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", [PUBLIC, ADMIN], ids=["public", "admin"])
def test_a_description_is_well_formed(path):
    document = load(path)
    assert document["openapi"].startswith("3.1."), document["openapi"]
    assert {"title", "version", "license"} <= document["info"].keys()
    used = set(references(document))
    for reference in used:
        resolve(document, reference)
    defined = {f"#/components/{kind}/{name}" for kind, items in document["components"].items() if kind != "securitySchemes" for name in items}
    assert defined <= used, f"defined and not used: {sorted(defined - used)}"
    ids = [operation["operationId"] for _, _, _, operation in operations(document)]
    assert len(ids) == len(set(ids)), ids
    for path_name, method, item, operation in operations(document):
        where = f"{method} {path_name}"
        assert method in METHODS, where
        assert operation["summary"] and operation["responses"], where
        for status, response in operation["responses"].items():
            response = resolve(document, response["$ref"]) if "$ref" in response else response
            assert re.fullmatch(r"[1-5]\d\d|default", status) and response["description"], where
        parameters = [resolve(document, p["$ref"]) if "$ref" in p else p
                      for p in item.get("parameters", []) + operation.get("parameters", [])]
        named = {p["name"] for p in parameters if p["in"] == "path"}
        assert named == set(re.findall(r"\{([^}]*)\}", path_name)), where


def nodes(node, where="", is_properties=False):
    """Every mapping but those of members' names, and where it is."""
    if isinstance(node, dict):
        if not is_properties:
            yield where, node
        for key, value in node.items():
            if is_properties or key not in ("example", "examples", "default", "enum", "const"):
                yield from nodes(value, f"{where}/{key}", key == "properties" and not is_properties)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from nodes(value, f"{where}/{index}")


@pytest.mark.parametrize("path", [PUBLIC, ADMIN], ids=["public", "admin"])
def test_generators_of_clients_find_a_type_for_all_and_a_name_once(path):
    """They name a class by its title, in their own case, and leave out or break what has no type; a default of a member of two types is of no class.
    tests/system/ops/test_generated_clients.py lets two of them write clients."""
    document = load(path)
    found = list(nodes(document))
    assert len(found) > 200
    kinds_of = {where: node["type"] if isinstance(node.get("type"), list) else [node.get("type")] for where, node in found}
    assert not [where for where, node in found if ("enum" in node or "const" in node) and "type" not in node]
    assert not [where for where, node in found if "array" in kinds_of[where] and "items" not in node]
    assert not [where for where, node in found if "default" in node and {"integer", "string"} <= set(kinds_of[where])]
    names = [re.sub("[^a-z0-9]", "", name.lower()) for name in document["components"]["schemas"]]
    assert len(names) == len(set(names))
    titles = {name: schema["title"] for name, schema in document["components"]["schemas"].items() if "title" in schema}
    assert all(title == name for name, title in titles.items()), titles
    assert not [where for where, node in found if isinstance(node.get("title"), str) and "/components/schemas/" in where and where.count("/") > 3]


def test_the_version_is_that_of_the_project():
    version = re.search(r"project\(penstock VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))[1]
    assert {load(path)["info"]["version"] for path in (PUBLIC, ADMIN)} == {version}


def test_the_public_routes_are_those_of_the_code():
    text = (ROOT / "gateway/public/routes.c").read_text(encoding="utf-8")
    table = text[text.index("} routes[] = {"):]
    rows = re.findall(r'\{"([^"]+)",\s*"([^"]*)",\s*(true|false),\s*(?:true|false),\s*(\w+),\s*(\w+),', table)
    assert rows
    coded = set()
    for prefix, suffix, segment, get, post in rows:
        path = prefix + ("{}" if segment == "true" else "") + suffix
        coded |= {(path, method) for method, handler in (("get", get), ("post", post)) if handler != "NULL"}
    assert coded == {(shape(path), method) for path, method, _, _ in operations(load(PUBLIC))}


def kinds():
    """The kinds of documents that the routes of documents serve: whether a PUT needs a body, whether there is but one document, whether only shipped ones."""
    for path in sorted((ROOT / "gateway/config").rglob("*.c")):
        for row in re.findall(r"\nconst struct cfg_kind \w+ = \{(.*?)\n\};", path.read_text(encoding="utf-8"), re.S):
            if ".is_private = true" in row:
                continue
            yield re.search(r'\.path = "([^"]+)"', row)[1], ".may_be_empty = true" not in row, ".single =" in row, ".only_shipped = true" in row


def admin_rows():
    """The tables of routes, one a part; what is of every kind stands for each."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "gateway/admin").glob("*.c")))
    for path, method, role, flags in re.findall(r'\{"([^"]+)",\s*SRV_([A-Z]+),\s*OP_ROLE_([A-Z]+),\s*([A-Z_ |0-9]+),', text):
        if "{kind}" not in path:
            yield path, method, role, flags
            continue
        for kind, needs_body, single, only_shipped in kinds():
            if (single and path.endswith("{kind}")) or (only_shipped and method == "DELETE"):
                continue
            optional = method == "PUT" and not needs_body
            yield path.replace("{kind}/{}" if single else "{kind}", kind), method, role, flags.replace("OP_NEEDS_BODY", "0") if optional else flags


def test_the_admin_routes_and_roles_are_those_of_the_code():
    rows = list(admin_rows())
    assert rows and len(list(kinds())) >= 4
    coded = {(path, method.lower(), None if "OP_OPEN" in flags or "OP_PAGE" in flags else role.lower()) for path, method, role, flags in rows}
    described = {(shape(path), method, operation.get("x-role")) for path, method, _, operation in operations(load(ADMIN))}
    assert coded == described
    needs_body = {(path, method.lower()) for path, method, _, flags in rows if "OP_NEEDS_BODY" in flags}
    assert needs_body == {(shape(path), method) for path, method, _, operation in operations(load(ADMIN))
                          if operation.get("requestBody", {}).get("required")}


def test_the_codes_of_problems_are_verdicts():
    public, admin = (set(load(path)["components"]["schemas"]["Code"]["enum"]) for path in (PUBLIC, ADMIN))
    assert public | admin == verdict_codes()


def test_the_components_of_documents_are_printed_from_the_tables_of_members():
    printed = subprocess.run([ROOT / "tests/components"], capture_output=True, text=True, check=True).stdout
    assert ADMIN.read_text(encoding="utf-8") == printed, "tests/components > NEW, then mv NEW gateway/admin/openapi.yaml"
