"""Each rule and each row of failures of docs/protocol.md and docs/promises.md has tests that name it, and tests/MAP.md lists them."""
import importlib.machinery
import importlib.util
import pathlib
import subprocess

TESTS = pathlib.Path(__file__).resolve().parents[1]


def load():
    loader = importlib.machinery.SourceFileLoader("tests_map", str(TESTS / "map"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("tests_map", loader))
    loader.exec_module(module)
    return module


def test_every_rule_has_a_test_and_every_test_names_a_rule_that_there_is():
    tests_map = load()
    rules, named = set(tests_map.rules()), {rule for rule, _, _ in tests_map.tests()}
    assert {f"R{i}" for i in range(1, 16)} | {f"I{i}" for i in range(1, 9)} | {"F1"} <= rules
    assert rules == named


def test_an_id_is_found_where_a_test_names_it():
    tests_map = load()
    assert list(tests_map.ids("R3, I1 to I3: it holds, also F10.")) == ["R3", "I1", "I2", "I3", "F10"]
    assert list(tests_map.ids("R3 x86 ER4 F1x UTF8")) == ["R3"]
    python = 'def test_a(x):\n    """R1."""\n\n    pass\n\n\ndef test_b():\n    pass  # I2\n'
    assert [(name, list(tests_map.ids(text))) for name, text in tests_map.tests_of_python(python)] == [("test_a", ["R1"]), ("test_b", ["I2"])]
    c = "/* R1: why. */\nstatic void a_claim(void **state)\n{\n    x();\n}\n\nstatic void b_claim_R2_R3(void **state)\n{\n}\n"
    assert [(name, list(tests_map.ids(text))) for name, text in tests_map.tests_of_c(c)] == [("a_claim", ["R1"]), ("b_claim_R2_R3", ["R2", "R3"])]


def test_the_map_is_what_is_printed():
    printed = subprocess.run([TESTS / "map"], capture_output=True, text=True, check=True).stdout
    assert (TESTS / "MAP.md").read_text(encoding="utf-8") == printed, "tests/map > tests/MAP.md"
