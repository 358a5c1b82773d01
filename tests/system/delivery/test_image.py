"""What is in the image, as the archive itself says: only the package and what it depends on, for a user that is not root; and the same twice."""
import hashlib
import json
import os
import re
import time

import pytest
from containers import STATE, USER, VERSION, run
from penstock import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("image")]

PROGRAMS = ("/usr/sbin/penstock", "/usr/bin/penstock-settle", "/usr/bin/penstock-standby", "/usr/bin/penstock-rehearse", "/usr/bin/penstockctl")


def packages(text):
    return {one["Package"]: one for one in (dict(re.findall(r"^([A-Za-z-]+): (.*)$", part, re.M)) for part in text.strip().split("\n\n"))}


def depends(package):
    words = package.get("Pre-Depends", "") + "," + package.get("Depends", "")
    return [[re.sub(r"[ (:].*", "", word.strip()) for word in group.split("|")] for group in words.split(",") if group.strip()]


def test_its_config_says_who_runs_what(archive):
    config = archive.config
    assert config["User"] == f"{USER}:{USER}" and config["Entrypoint"] == ["/usr/sbin/penstock"] and config["StopSignal"] == "SIGTERM"
    assert config["Cmd"] == ["--config", "/etc/penstock/penstock.json"]
    assert set(config["ExposedPorts"]) == {"8080/tcp", "8090/tcp"}


def test_a_container_without_a_volume_gets_none(archive):
    """An engine would make one without a name for each container: orders in it would be lost with the next container, and no warning could say so."""
    assert not archive.config.get("Volumes")


def test_it_says_what_it_is(archive):
    commit, at = run("git", "-C", ROOT, "log", "-1", "--format=%H %ct").stdout.split()
    said = {"title": "Penstock", "version": VERSION, "revision": commit, "licenses": "Apache-2.0", "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(at)))}
    for words in (archive.config["Labels"], archive.manifest["annotations"]):
        assert {key: words["org.opencontainers.image." + key] for key in said} == said
    assert archive.image["created"].startswith(said["created"][:19])


def test_each_program_is_in_it_and_no_shell(archive):
    assert all(archive.files[program].mode & 0o7777 == 0o755 for program in PROGRAMS)
    programs = {path for path in archive.files if re.match(r"/usr/s?bin/", path)}
    assert programs == set(PROGRAMS)


def test_nothing_in_it_gives_anybody_more_rights(archive):
    for path, member in archive.files.items():
        own = path.startswith(STATE)
        assert (member.uid, member.gid) == ((USER, USER) if own else (0, 0)), path
        assert member.mode & 0o6000 == 0 and (member.issym() or member.mode & 0o022 == 0 or path in ("/tmp", "/var/tmp")), path
    assert archive.files[STATE].mode & 0o7777 == 0o700
    assert f"penstock:x:{USER}:{USER}:" in archive.text("/etc/passwd")


def test_its_packages_are_penstock_and_what_that_depends_on(archive):
    found = packages(archive.text("/var/lib/dpkg/status"))
    wanted, todo = set(), ["penstock"]
    while todo:
        name = todo.pop()
        if name in found and name not in wanted:
            wanted.add(name)
            todo += [one for group in depends(found[name]) for one in group]
    assert set(found) - wanted == {"base-files", "ca-certificates"}
    missing = {name: group for name in wanted for group in depends(found[name]) if not set(group) & set(found)}
    assert not missing


def test_scanners_find_each_package_and_its_files(archive):
    """dpkg's status, lists and sums, and the name of the distribution: what Trivy, Grype and dpkg-query read."""
    assert "ID=debian" in archive.text("/usr/lib/os-release") and 'VERSION_ID="12"' in archive.text("/usr/lib/os-release")
    for name, package in packages(archive.text("/var/lib/dpkg/status")).items():
        assert package["Status"] == "install ok installed" and package["Version"]
        name += ":" + package["Architecture"] if package.get("Multi-Arch") == "same" else ""
        assert f"/var/lib/dpkg/info/{name}.list" in archive.files
        assert f"/usr/share/doc/{package['Package']}/copyright" in archive.files or package["Package"] in ("libgcc-s1", "libk5crypto3"), name


def test_dpkg_reads_its_status(archive, tmp_path):
    (tmp_path / "status").write_text(archive.text("/var/lib/dpkg/status"))
    out = run("dpkg-query", "--admindir", tmp_path, "-W", "-f", "${Package} ${Version}\n").stdout
    assert f"penstock {VERSION}-1\n" in out


def test_public_authorities_are_known(archive):
    assert archive.text("/etc/ssl/certs/ca-certificates.crt").count("BEGIN CERTIFICATE") > 100
    assert archive.files["/usr/lib/ssl/cert.pem"].linkname == "/etc/ssl/certs/ca-certificates.crt"


def test_it_is_small(archive):
    """A promise of docs/deploy.md: below 20 MB to fetch."""
    assert archive.path.stat().st_size < 20e6


def test_other_programs_read_the_archive(archive):
    for kind in ("oci-archive", "docker-archive"):
        said = json.loads(run("skopeo", "inspect", f"{kind}:{archive.path}").stdout)
        assert said["Labels"]["org.opencontainers.image.version"] == VERSION and said["Os"] == "linux"


def test_containerd_names_it_as_a_kubelet_looks_for_it(archive, debug_archive):
    """Imported without a registry (ctr, k3s, kind), the image of the chart's default values is found."""
    for one, tag in ((archive, VERSION), (debug_archive, f"{VERSION}-debug")):
        descriptor, = one.index["manifests"]
        assert descriptor["annotations"]["io.containerd.image.name"] == f"docker.io/library/penstock:{tag}"


def test_every_blob_is_what_its_name_says(archive):
    blobs = [member.name for member in archive.tar.getmembers() if "/sha256/" in member.name and member.isfile()]
    assert len(blobs) == 3
    for name in blobs:
        assert hashlib.sha256(archive.tar.extractfile(name).read()).hexdigest() == name.rsplit("/", 1)[1]


def test_the_debug_image_also_has_a_shell_gdb_and_symbols(archive, debug_archive):
    more = {path for path in debug_archive.files if path not in archive.files}
    assert {"/usr/bin/bash", "/usr/bin/sh", "/usr/bin/gdb", "/usr/bin/strace", "/usr/bin/curl", "/usr/bin/ps", "/usr/bin/ss"} <= more
    assert sum(path.startswith("/usr/lib/debug/.build-id/") and path.endswith(".debug") for path in more) == len(PROGRAMS)
    assert not {path for path in archive.files if path not in debug_archive.files}
    for program in PROGRAMS:
        assert debug_archive.layer.extractfile(debug_archive.files[program]).read() == archive.layer.extractfile(archive.files[program]).read()


def sums(directory):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


def test_it_is_the_same_twice(built, tmp_path):
    run(ROOT / "deploy/image/build", tmp_path)
    assert len(sums(built)) == 6 and sums(built) == sums(tmp_path)


@pytest.mark.soak
def test_another_checkout_gives_the_same_bytes(built, tmp_path):
    """Elsewhere, compiled anew, with another umask: no path, time or mode of this machine is in it."""
    elsewhere = tmp_path / "elsewhere"
    run("git", "-C", ROOT, "worktree", "add", "--detach", elsewhere, "HEAD")
    try:
        changes = run("git", "-C", ROOT, "diff", "HEAD", "--binary").stdout
        if changes:
            run("git", "-C", elsewhere, "apply", "-", input=changes)
        run("bash", "-c", 'umask 002 && find . -path ./.git -prune -o -type f -exec chmod g+w {} + && exec deploy/image/build "$0"', tmp_path / "again", cwd=elsewhere)
    finally:
        run("git", "-C", ROOT, "worktree", "remove", "--force", elsewhere)
    assert sums(built) == sums(tmp_path / "again")


@pytest.mark.parametrize("words, says", [(["--source", "x"], "usage: deploy/image/build"), (["--sources", "/no/such/file"], "--sources: name a file"), (["--sources"], "--sources: name a file")])
def test_build_says_what_is_wrong_and_builds_nothing(tmp_path, words, says):
    done = run(ROOT / "deploy/image/build", *words, cwd=tmp_path, status=None)
    assert done.returncode in (1, 2) and says in done.stderr and len(done.stderr.splitlines()) <= 2 and not list(tmp_path.iterdir()), done.stderr


def test_packages_that_cannot_be_fetched_are_reported_and_leave_no_image(tmp_path):
    (tmp_path / "sources").write_text(f"deb [trusted=yes] file://{tmp_path}/nothing bookworm main\n")
    (tmp_path / "package/DEBIAN").mkdir(parents=True)
    (tmp_path / "package/DEBIAN/control").write_text("Package: penstock\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@penstock.invalid>\nDepends: libc6 (>= 2.34)\nDescription: none\n")
    run("dpkg-deb", "-b", tmp_path / "package", tmp_path / "penstock.deb")
    done = run(ROOT / "deploy/image/rootfs", "--sources", tmp_path / "sources", tmp_path / "root.tar", tmp_path / "penstock.deb", status=1, env={**os.environ, "SOURCE_DATE_EPOCH": "1"})
    assert "the packages could not be fetched: look after the network and the apt sources" in done.stderr and not (tmp_path / "root.tar").exists()
