"""What is installed compiles without a warning, and never without its assertions. The dev preset optimises little, and some warnings come
only from the optimiser."""
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_release_build_has_no_warnings():
    for command in (["cmake", "--preset", "release", "-DPENSTOCK_WERROR=ON"], ["cmake", "--build", "--preset", "release"]):
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout[-4000:]


def test_a_build_without_assertions_is_refused():
    """By the header that every folder includes, so no part of it is built."""
    done = subprocess.run(["cc", "-std=c17", "-DNDEBUG", "-I.", "-fsyntax-only", "common/id.c"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert done.returncode != 0 and "NDEBUG" in done.stderr, done.stderr
