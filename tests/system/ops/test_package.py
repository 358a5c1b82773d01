"""The Debian package: lintian finds nothing, its files work where they are installed, and installing and removing it does no harm."""
import os
import pathlib
import re
import subprocess

import pytest
from penstock import ROOT

DOCUMENTS = "usr/share/doc/penstock"


def run(*words, **more):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, **more)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    where = tmp_path_factory.mktemp("package")
    run("cpack", "-G", "DEB", "--config", ROOT / "build/release/CPackConfig.cmake", "-B", where)
    found, = where.glob("*.deb")
    return found


@pytest.fixture(scope="module")
def files(package, tmp_path_factory):
    """What is in it."""
    where = tmp_path_factory.mktemp("files")
    run("dpkg-deb", "-x", package, where)
    return where


@pytest.mark.slow
def test_lintian_finds_no_error_and_nothing_to_warn_of(package):
    out = run("lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", 0, package)
    assert "E: " not in out and "W: " not in out, out


def test_an_override_says_why():
    lines = (ROOT / "deploy/debian/lintian-overrides").read_text().splitlines()
    assert all(lines[i - 1].startswith("# ") for i, line in enumerate(lines) if not line.startswith("#"))


def test_the_version_is_that_of_the_project(package):
    version = re.search(r"project\(penstock VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]
    changelog = (ROOT / "deploy/debian/changelog").read_text()
    assert package.name.startswith(f"penstock_{version}-1_") and changelog.startswith(f"penstock ({version}-1) ")
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_link_of_a_packaged_document_leads_somewhere(files):
    documents = list((files / DOCUMENTS).rglob("*.md"))
    links = [(document, target) for document in documents for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text())]
    local = [(document, target.split("#")[0]) for document, target in links if not re.match(r"[a-z]+:", target)]
    assert len(documents) > 2 and len(local) > 5
    assert not [(str(document), target) for document, target in local if not (document.parent / target).exists()]


def test_the_programs_and_manuals_run_where_they_lie(files):
    for program in ("sbin/penstock", "bin/penstock-rehearse", "bin/penstock-settle", "bin/penstock-standby", "bin/penstockctl"):
        assert run(files / "usr" / program, "--version").strip()
        flags = run("readelf", "-d", files / "usr" / program)
        assert "BIND_NOW" in flags and "PIE" in flags
    assert "ok" in run(files / "usr/sbin/penstock", "--config", files / DOCUMENTS / "deploy/systemd/penstock.json", "--check-config")
    for page in (files / "usr/share/man").rglob("*.gz"):
        run("groff", "-mandoc", "-z", "-Tutf8", "-", input=run("zcat", page))


def test_shells_complete_penstockctl_and_the_shipped_plans_are_there(files):
    share = files / "usr/share"
    run("bash", "-c", f". {share}/bash-completion/completions/penstockctl && complete -p penstockctl")
    assert (share / "zsh/vendor-completions/_penstockctl").read_text().startswith("#compdef penstockctl")
    assert (share / "man/man1/penstockctl.1.gz").exists()
    assert {path.name for path in (files / DOCUMENTS / "deploy/plans").iterdir()} == {path.name for path in (ROOT / "deploy/plans").iterdir()}


def test_nothing_of_the_operators_is_in_it(files):
    """No conffile: /etc/penstock is written by whoever operates, and asked about by no upgrade."""
    assert not (files / "etc").exists() and not (files / "var").exists()


# --- It comes and goes. ---


STAGE = r"""set -eu
mkdir -p "$ROOT/run/systemd/system" "$ROOT/var/lib/dpkg/updates" "$ROOT/var/lib/dpkg/info" "$ROOT/bin"
touch "$ROOT/var/lib/dpkg/status"
for program in systemctl deb-systemd-invoke; do
    printf '#!/bin/sh\necho "%s $*" >>"%s/calls"\n' "$program" "$ROOT" >"$ROOT/bin/$program"
    chmod 755 "$ROOT/bin/$program"
done
export PATH="$ROOT/bin:$PATH"
act() { dpkg --admindir="$ROOT/var/lib/dpkg" --instdir="$ROOT" --force-script-chrootless --force-depends --log=/dev/null "$@" 2>&1; }
"""


@pytest.fixture()
def stage(tmp_path, package):
    """Runs a script that may act on packages in a directory; a systemd and its programs are pretended."""
    def play(script):
        as_root = [] if os.geteuid() == 0 else ["unshare", "-r"]
        run(*as_root, "bash", "-c", STAGE + script, env={**os.environ, "ROOT": str(tmp_path), "DEB": str(package)})
        calls = tmp_path / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    return play


def test_a_removal_stops_the_services_and_leaves_no_file(stage, tmp_path):
    calls = stage('act -i "$DEB"; : >"$ROOT/calls"; act -r penstock')
    assert calls == ["deb-systemd-invoke stop penstock-settle.service penstock-standby.service penstock.service", "systemctl --system daemon-reload"]
    assert not list((tmp_path / "usr").rglob("*penstock*"))


def test_an_installation_and_an_upgrade_stop_and_start_nothing(stage):
    assert set(stage('act -i "$DEB"; act -i "$DEB"')) == {"systemctl --system daemon-reload"}


def test_a_purge_leaves_orders_and_settings(stage, tmp_path):
    kept = [tmp_path / "var/lib/penstock/journal.db", tmp_path / "etc/penstock/penstock.json"]
    for path in kept:
        path.parent.mkdir(parents=True)
        path.write_text("")
    stage('act -i "$DEB"; act -P penstock')
    assert all(pathlib.Path(path).exists() for path in kept)


def test_a_purge_takes_back_that_services_were_enabled_and_a_removal_does_not(stage, tmp_path):
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    for service in ("penstock.service", "penstock-settle.service", "penstock-standby.service", "other.service"):
        (wants / service).symlink_to(f"/lib/systemd/system/{service}")
    stage('act -i "$DEB"; act -r penstock')
    assert len(list(wants.iterdir())) == 4
    stage('act -P penstock')
    assert [path.name for path in wants.iterdir()] == ["other.service"]
