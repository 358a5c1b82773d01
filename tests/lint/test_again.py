"""What .ci/run says of a small tree whose tests fail as each case wants: of unstable tests it lets three pass, of anything else none."""
import json
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ONCE = "echo the claim did not hold; exit 1"


class Tree:
    """The scripts of this tree over tests of its own: a line of a shell for each way through a test."""

    def __init__(self, path):
        self.path = path
        for script in (".ci/run", "tests/run", "tests/again"):
            (path / script).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / script, path / script)
        (path / "deploy").mkdir()
        (path / "deploy/packages.sh").write_text("packages_lint=() packages_unit=() packages_contract=() packages_fuzz=() packages_system=()\ninstall_packages() { :; }\n")
        builds = ("dev", "release")
        presets = {"configurePresets": [{"name": name, "generator": "Ninja", "binaryDir": "${sourceDir}/build/${presetName}"} for name in builds],
                   "buildPresets": [{"name": name, "configurePreset": name} for name in builds]}
        (path / "CMakePresets.json").write_text(json.dumps({"version": 6, **presets}))
        (path / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.25)\nproject(small NONE)\nenable_testing()\n")
        for part in ("lint", "system"):
            (path / "tests" / part).mkdir()
        (path / "tests/pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")

    def steps(self, name, tries):
        """A script that goes the next of the ways each time, and then passes."""
        script = self.path / f"{name}.sh"
        cases = "".join(f"{i}) {step} ;;\n" for i, step in enumerate(tries))
        script.write_text(f'n=$(cat {script}.n 2>/dev/null || echo 0)\necho $((n + 1)) >{script}.n\ncase $n in\n{cases}esac\nexit 0\n')
        return script

    def ctest(self, name, *tries):
        script = self.steps(name, tries)
        with open(self.path / "CMakeLists.txt", "a", encoding="utf-8") as text:
            text.write(f"add_test(NAME {name} COMMAND bash {script})\nset_tests_properties({name} PROPERTIES LABELS unit)\n")

    def pytest(self, part, name, *tries):
        script = self.steps(name, tries)
        (self.path / f"tests/{part}/test_{name}.py").write_text(
            "import subprocess\nimport pytest\n\n\n@pytest.mark.xdist_group('few')\n"
            f"@pytest.mark.parametrize('way', ['a b'])\ndef test_{name}(way):\n"
            f"    done = subprocess.run(['bash', '{script}'], capture_output=True, text=True)\n    print(done.stdout)\n    assert done.returncode == 0\n")

    def run(self, script=".ci/run", parts=("unit",)):
        done = subprocess.run([self.path / script, *parts], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        return done.returncode, done.stdout

    def runs_of(self, name):
        return int((self.path / f"{name}.sh.n").read_text())


@pytest.fixture()
def tree(tmp_path):
    made = Tree(tmp_path)
    made.ctest("unit.good")
    return made


def test_a_test_that_then_passes_three_times_is_named_unstable(tree):
    tree.ctest("unit.flaky", ONCE)
    tree.pytest("lint", "words", ONCE)
    tree.pytest("system", "gateway", ONCE)
    status, out = tree.run(parts=("lint", "unit", "system"))
    assert status == 0 and [tree.runs_of(name) for name in ("unit.flaky", "words", "gateway", "unit.good")] == [4, 4, 4, 1], out
    assert "unstable: unit unit.flaky:" in out and "unstable: lint tests/lint/test_words.py::test_words[a b]:" in out, out
    assert "unstable: system tests/system/test_gateway.py::test_gateway[a b]:" in out, out
    assert out.count("| the claim did not hold") == 3 and out.endswith("all parts well, 3 unstable (at most 3)\n"), out


def test_tests_run_alone_is_strict(tree):
    tree.ctest("unit.flaky", ONCE)
    status, out = tree.run("tests/run")
    assert status != 0 and tree.runs_of("unit.flaky") == 1 and out.endswith("failed: unit\n"), out


@pytest.mark.parametrize("runs, tries", [(2, [ONCE] * 9), (4, [ONCE, "exit 0", "exit 0", ONCE])])
def test_a_test_that_fails_again_fails_the_run(tree, runs, tries):
    tree.ctest("unit.bad", *tries)
    status, out = tree.run()
    assert status != 0 and tree.runs_of("unit.bad") == runs and "unit unit.bad failed again" in out, out


@pytest.mark.parametrize("count, status", [(3, 0), (4, 1)])
def test_at_most_three_are_unstable(tree, count, status):
    for i in range(count):
        tree.ctest(f"unit.flaky{i}", ONCE)
    assert tree.run()[0] == status


@pytest.mark.parametrize("fault", ["kill -ABRT $$", "kill -SEGV $$", "echo '==7==ERROR: AddressSanitizer: heap-use-after-free' >&2; exit 1",
                                   "echo 'WARNING: ThreadSanitizer: data race (pid=7)' >&2; exit 66", "echo 'a.c:1:2: runtime error: overflow'; exit 1"])
def test_a_crash_and_a_sanitizers_report_get_no_second_look(tree, fault):
    tree.ctest("unit.faulty", fault)
    status, out = tree.run()
    assert status != 0 and tree.runs_of("unit.faulty") == 1 and "not plainly" in out, out


def test_a_gateway_that_crashed_under_a_test_gets_none_either(tree):
    tree.pytest("lint", "crash", "echo 'the gateway crashed: SIGSEGV'; exit 1")
    status, out = tree.run(parts=("lint",))
    assert status != 0 and tree.runs_of("crash") == 1 and "not plainly (SIGSEGV)" in out, out


def test_a_build_that_fails_gets_none(tree):
    tree.ctest("unit.flaky", ONCE)
    with open(tree.path / "CMakeLists.txt", "a", encoding="utf-8") as text:
        text.write("message(FATAL_ERROR broken)\n")
    status, out = tree.run()
    assert status == 1 and "=== again" not in out and out.endswith("failed: unit\n"), out


def test_a_test_that_cannot_be_read_gets_none(tree):
    (tree.path / "tests/lint/test_torn.py").write_text("def test_torn(:\n")
    status, out = tree.run(parts=("lint",))
    assert status == 1 and "=== again" not in out, out
