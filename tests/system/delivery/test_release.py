"""A release: what must agree before one is made, what is made, and that packages for both processors start."""
import re
import shutil
import subprocess

import pytest
from penstock import ROOT, Gateway, free_port

VERSION = re.search(r"project\(penstock VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]
# What only the commit of a release changes.
NOT_YET = ["CHANGELOG.md: no section", "README.md: the status says", "README.zh-CN.md: the status says"]


def run(*words, cwd=ROOT, status=0, **more):
    done = subprocess.run(list(map(str, words)), cwd=cwd, capture_output=True, text=True, **more)
    assert done.returncode == status, (words, done.stdout, done.stderr)
    return done


def commit(clone):
    run("git", "-c", "user.name=a", "-c", "user.email=a@example.invalid", "commit", "-qam", "a change", cwd=clone)


def edit(path, old, new):
    text = path.read_text()
    assert re.search(old, text), (path, old)
    path.write_text(re.sub(old, new, text, count=1))


@pytest.fixture()
def clone(tmp_path):
    """A checkout in which everything is ready for a release."""
    where = tmp_path / "clone"
    run("git", "clone", "-q", ROOT, where)
    shutil.copy(ROOT / "deploy/release", where / "deploy/release")  # also before it is committed
    edit(where / "CHANGELOG.md", rf"## \[{VERSION}\] - \w+", f"## [{VERSION}] - 2027-01-31")
    edit(where / "README.md", ", not released yet: formats may still change", "")
    edit(where / "README.zh-CN.md", "，尚未发布；发布之前名称与格式仍可能调整", "")
    commit(where)
    return where


def test_everything_that_names_the_version_agrees():
    """What is left before a release is what only its commit may change."""
    asked = subprocess.run([ROOT / "deploy/release", "--dry-run", VERSION], capture_output=True, text=True)
    ways = [line.strip() for line in asked.stderr.splitlines()[1:]]
    assert not [way for way in ways if not way.startswith((*NOT_YET, "the working tree"))], ways


def test_a_dry_run_lists_what_would_be_made(clone):
    listed = run("deploy/release", "--dry-run", VERSION, cwd=clone).stdout
    for what in (f"penstock-{VERSION}.tar.gz", f"penstock_{VERSION}-1_arm64.deb", f"penstock-{VERSION}.oci.tar", f"penstock-{VERSION}.tgz", "SHA256SUMS"):
        assert what in listed
    assert not (clone / "build").exists()


@pytest.mark.parametrize("path, old, new", [
    ("CMakeLists.txt", f"VERSION {VERSION}", "VERSION 9.9.9"),
    ("gateway/admin/openapi.yaml", f"version: {VERSION}", "version: 9.9.9"),
    ("queue/asyncapi.yaml", f"version: {VERSION}", "version: 9.9.9"),
    ("deploy/debian/changelog", rf"\({VERSION}-1\)", "(9.9.9-1)"),
    ("deploy/chart/Chart.yaml", f"version: {VERSION}", "version: 9.9.9"),
    ("CHANGELOG.md", " - 2027-01-31", " - unreleased"),
    ("README.md", f"Status:\\*\\* {VERSION}", "Status:** 9.9.9")])
def test_what_disagrees_is_named_and_nothing_is_made(clone, path, old, new):
    edit(clone / path, old, new)
    commit(clone)
    said = run("deploy/release", VERSION, cwd=clone, status=1).stderr
    assert f"{path}: " in said and len(said.splitlines()) == 2, said
    assert not (clone / "build").exists()


def test_a_changed_tree_is_refused(clone):
    (clone / "new").touch()
    assert "not committed" in run("deploy/release", VERSION, cwd=clone, status=1).stderr


@pytest.mark.parametrize("words", [(), ("2",), ("0.2.0-dev",), ("--dry", VERSION), (VERSION, "a", "b")])
def test_a_wrong_command_line_gets_the_usage(words):
    assert "usage: " in run(ROOT / "deploy/release", *words, status=2).stderr


def pretend(clone, path, script):
    """In place of what takes minutes and has tests of its own."""
    (clone / path).write_text("#!/bin/sh\n" + script)
    (clone / path).chmod(0o755)


def test_failed_tests_make_nothing(clone):
    pretend(clone, "tests/run", "exit 8\n")
    commit(clone)
    assert "tests failed, nothing was made" in run("deploy/release", VERSION, cwd=clone, status=1).stderr
    assert not (clone / "build").exists()


def test_a_release_has_sources_notes_and_sums_of_all(clone, tmp_path):
    pretend(clone, "tests/run", "exit 0\n")
    pretend(clone, "deploy/debian/build", f'touch "$2/penstock_{VERSION}-1_$1.deb"\n')
    pretend(clone, "deploy/image/build", f'touch "$1/penstock-{VERSION}.oci.tar"\n')
    commit(clone)
    out = tmp_path / "out"
    run("deploy/release", VERSION, out, cwd=clone)
    made = {path.name for path in out.iterdir()}
    assert made == {f"penstock-{VERSION}.tar.gz", f"penstock_{VERSION}-1_amd64.deb", f"penstock_{VERSION}-1_arm64.deb", f"penstock-{VERSION}.oci.tar",
                    f"penstock-{VERSION}.tgz", "NOTES.md", "SHA256SUMS"}
    run("sha256sum", "-c", "--strict", "SHA256SUMS", cwd=out)
    assert len((out / "SHA256SUMS").read_text().splitlines()) == len(made) - 1
    assert (out / "NOTES.md").read_text().lstrip().startswith("### ") and "\n## [" not in (out / "NOTES.md").read_text()
    assert "penstock/Chart.yaml" in run("tar", "tzf", out / f"penstock-{VERSION}.tgz").stdout.splitlines()
    assert f"penstock-{VERSION}/deploy/quickstart" in run("tar", "tzf", out / f"penstock-{VERSION}.tar.gz").stdout


# --- Packages for both processors. ---


def built(architecture, where):
    run(ROOT / "deploy/debian/build", architecture, where)
    package, = where.glob("*.deb")
    return package


@pytest.mark.soak
def test_a_package_comes_out_twice_the_same(tmp_path):
    """In a clean system each time, a minute each; of the last commit."""
    first, second = (built("amd64", tmp_path / name) for name in "ab")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.soak
def test_the_package_for_arm64_sells_a_unit_under_qemu(tmp_path):
    package = built("arm64", tmp_path)
    depends = run("dpkg-deb", "-f", package, "Depends").stdout
    assert run("dpkg-deb", "-f", package, "Architecture").stdout == "arm64\n"
    root = tmp_path / "root"
    libraries = ",".join(re.findall(r"[a-z][a-z0-9.+-]+(?= |,|$)", re.sub(r"\([^)]*\)", "", depends)))
    run("mmdebstrap", "--quiet", "--mode=root", "--variant=extract", "--architectures=arm64", f"--include={libraries}", "bookworm", root)
    run("dpkg-deb", "-x", package, root)
    emulated = ["sh", "-c", f'shift; exec qemu-aarch64 -L "{root}" "{root}/usr/sbin/penstock" "$@"', "sh"]
    with Gateway(prefix=emulated, settings={"listen": {"port": free_port()}}) as gateway:
        gateway.make_sale("spring", stock=1)
        assert gateway.buy("spring", "ann").json["state"] == "accepted"
        assert gateway.buy("spring", "bea").code == "sold_out"
        gateway.assert_books("spring")
