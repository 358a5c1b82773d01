"""The schema of each program's settings: shipped files and the settings in documents fit it, and it refuses what the program refuses."""
import json
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETTLE = "build/dev/queue/settle/penstock-settle"
GATEWAY = "build/dev/gateway/penstock"
SHIPPED = {"deploy/penstock.json": GATEWAY, "deploy/cluster/gateway.json": GATEWAY, "deploy/systemd/penstock.json": GATEWAY,
           "deploy/systemd/settle.json": SETTLE}


def printed(program, flag):
    return subprocess.run([ROOT / program, flag], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    """check(program, texts by name) -> exit status, what check-jsonschema says."""
    fetched = subprocess.run([ROOT / "tests/python/fetch"], capture_output=True, text=True)
    assert fetched.returncode == 0, fetched.stderr
    python = fetched.stdout.strip()

    def check(program, texts):
        directory = tmp_path_factory.mktemp("settings")
        schema = directory / "schema.json"
        schema.write_text(printed(program, "--print-schema"))
        subprocess.run([python, "-m", "check_jsonschema", "--check-metaschema", schema], capture_output=True, check=True)
        for name, text in texts.items():
            (directory / name).write_text(text)
        done = subprocess.run([python, "-m", "check_jsonschema", "--schemafile", schema, *(directory / name for name in texts)],
                              capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr
    return check


@pytest.mark.parametrize("program", [GATEWAY, SETTLE])
def test_shipped_files_and_defaults_fit_the_schema(check, program):
    """deploy/cluster/run fills in @PORT@."""
    texts = {path.replace("/", "-"): re.sub("@[A-Z]+@", "6379", (ROOT / path).read_text()) for path, of in SHIPPED.items() if of == program}
    status, said = check(program, {**texts, "defaults.json": printed(program, "--print-default-config")})
    assert status == 0, said


def rows(schema, path=()):
    """Each setting of a schema: its path and its own schema."""
    for name, inside in schema["properties"].items():
        if "properties" in inside:
            yield from rows(inside, (*path, name))
        else:
            yield (*path, name), inside


@pytest.mark.parametrize("program", [GATEWAY, SETTLE])
def test_every_setting_has_an_example_that_is_taken(check, tmp_path, program):
    texts = {}
    for path, row in rows(json.loads(printed(program, "--print-schema"))):
        value = row.get("examples", [row["default"]])[0]
        assert value not in (None, "", [], {}), path
        for name in reversed(path):
            value = {name: value}
        texts[".".join(path) + ".json"] = json.dumps(value)
    status, said = check(program, texts)
    assert status == 0, said
    for name, text in texts.items():
        if program == GATEWAY and "password_file" not in name and "headers_file" not in name:
            (tmp_path / name).write_text(text)
            done = subprocess.run([ROOT / GATEWAY, "--config", tmp_path / name, "--check-config"], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text, says", [('{"listen": {"prot": 1}}', "'prot' was unexpected"), ('{"listen": {"port": 65536}}', "65536 is greater than the maximum"),
                                        ('{"store": {"kind": "radis"}}', "'radis' is not one of"), ('{"state_dir": null}', "None is not of type 'string'"),
                                        ('{"listen.port": 1}', "'listen.port' was unexpected"), ('{"trusted_proxies": [1]}', "1 is not of type 'string'")])
def test_the_schema_refuses_what_the_program_refuses(check, tmp_path, text, says):
    status, said = check(GATEWAY, {"bad.json": text})
    assert status == 1 and says in said
    (tmp_path / "bad.json").write_text(text)
    done = subprocess.run([ROOT / GATEWAY, "--config", tmp_path / "bad.json", "--check-config"], capture_output=True, text=True)
    assert done.returncode == 1, done.stdout


def test_settings_in_documents_fit_the_schema(check):
    """Blocks of JSON whose members are all names of settings."""
    known = set(json.loads(printed(GATEWAY, "--print-schema"))["properties"])
    texts = {}
    for page in [*ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*.md"), ROOT / "README.md"]:
        for number, block in enumerate(re.findall(r"^```json\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)):
            try:
                members = json.loads(block)
            except ValueError:
                continue
            if isinstance(members, dict) and members and set(members) <= known:
                texts[f"{page.relative_to(ROOT).as_posix().replace('/', '-')}-{number}.json"] = block
    assert texts
    status, said = check(GATEWAY, texts)
    assert status == 0, said
