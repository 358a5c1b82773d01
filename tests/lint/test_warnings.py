"""What is installed compiles without a warning, hardened, and never without its assertions. The dev preset optimises little, and some warnings
come only from the optimiser."""
import pathlib
import platform
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ("gateway/penstock", "queue/settle/penstock-settle", "queue/standby/penstock-standby", "loadtest/penstock-rehearse",
            "gateway/ctl/penstockctl")


@pytest.fixture(scope="module")
def release():
    """The build directory; what the compiler wrote, if it wrote anything."""
    for command in (["cmake", "--preset", "release", "-DPENSTOCK_WERROR=ON"], ["cmake", "--build", "--preset", "release"]):
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            return None, done.stdout[-4000:]
    return ROOT / "build/release", ""


def readelf(*words):
    return subprocess.run(["readelf", "-W", *words], capture_output=True, text=True, check=True).stdout


def test_the_release_build_has_no_warnings(release):
    assert release[0], release[1]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_is_linked_hardened(release, program):
    path = release[0] / program
    assert "DYN (Position-Independent Executable file)" in readelf("-h", path)
    assert re.search(r"FLAGS_1.* NOW PIE", readelf("-d", path)) and "GNU_RELRO" in readelf("-l", path)
    assert re.search(r"GNU_STACK .* RW ", readelf("-l", path))  # not executable
    assert "__stack_chk_fail@" in readelf("--dyn-syms", path)


@pytest.mark.parametrize("program", PROGRAMS)
def test_libc_checks_lengths_in_every_optimised_build(release, program):
    for build in (release[0], ROOT / "build/dev"):
        assert re.search(r" __\w*printf_chk@", readelf("--dyn-syms", build / program)), build


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_file_of_a_program_is_compiled_hardened(release, program):
    """As the compiler says itself, in what debuggers read."""
    flags = {"-fPIE", "-fstack-clash-protection", "-fstack-protector-strong"}
    if platform.machine() == "x86_64":
        flags.add("-fcf-protection=full")
    producers = re.findall(r"DW_AT_producer .*?: (GNU C17 .*)", readelf("--debug-dump=info", "--dwarf-depth=1", release[0] / program))
    assert len(producers) > 20 and all(flags <= set(producer.split()) for producer in producers), producers[:1]


def test_a_build_without_assertions_is_refused():
    """By the header that every folder includes, so no part of it is built."""
    done = subprocess.run(["cc", "-std=c17", "-DNDEBUG", "-I.", "-fsyntax-only", "common/text/id.c"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert done.returncode != 0 and "NDEBUG" in done.stderr, done.stderr
