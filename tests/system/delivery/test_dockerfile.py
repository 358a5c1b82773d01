"""deploy/image/Dockerfile builds the files of deploy/image/build. Its base, a Debian 12, is made here, for no registry is asked."""
import hashlib
import re
import subprocess

import pytest
from containers import VERSION, Archive, run
from penstock import ROOT

DOCKERFILE = ROOT / "deploy/image/Dockerfile"
SAME = ("User", "Entrypoint", "Cmd", "StopSignal", "ExposedPorts", "Env")


def test_it_says_the_project_s_version():
    assert set(re.findall(r'version="([\d.]+)"|penstock:([\d.]+\d)', DOCKERFILE.read_text())) == {(VERSION, ""), ("", VERSION)}


def contents(archive):
    """{path: all that a tar says about it but its time}"""
    return {path: (member.type, member.mode & 0o7777, member.uid, member.gid, member.linkname,
                   hashlib.sha256(archive.layer.extractfile(member).read()).hexdigest() if member.isfile() else "")
            for path, member in archive.files.items() if path != "/"}


@pytest.mark.soak
@pytest.mark.xdist_group("image")
def test_docker_builds_the_same_files(archive, tmp_path):
    buildah = ["buildah", "--root", tmp_path / "storage", "--runroot", tmp_path / "run", "--storage-driver", "vfs"]
    packages = run("bash", "-c", '. deploy/packages.sh && IFS=, && echo "${packages_rootfs[*]}"', cwd=ROOT).stdout.strip()
    run("mmdebstrap", "--quiet", "--variant=apt", f"--include={packages}", "bookworm", tmp_path / "base.tar")
    container = run(*buildah, "from", "scratch").stdout.strip()
    run(*buildah, "add", "--quiet", container, tmp_path / "base.tar", "/")
    run(*buildah, "commit", "--quiet", "--rm", container, "localhost/debian:12")
    commit, at = run("git", "-C", ROOT, "log", "-1", "--format=%H %ct").stdout.split()
    built = subprocess.run([*map(str, buildah), "bud", "--isolation", "chroot", "--ignorefile", f"{DOCKERFILE}.dockerignore", "--build-arg", "DEBIAN=localhost/debian:12",
                            "--build-arg", f"SOURCE_DATE_EPOCH={at}", "--build-arg", f"REVISION={commit}", "-f", str(DOCKERFILE), "-t", "penstock:docker", str(ROOT)],
                           capture_output=True, text=True)
    assert built.returncode == 0, built.stdout[-4000:] + built.stderr[-4000:]
    run(*buildah, "push", "--quiet", "penstock:docker", f"oci-archive:{tmp_path}/docker.tar:penstock:docker")
    docker = Archive(tmp_path / "docker.tar", prefix="")
    assert contents(docker) == contents(archive)
    assert {key: docker.config[key] for key in SAME} == {key: archive.config[key] for key in SAME} and not docker.config.get("Volumes")
    assert docker.config["Labels"]["org.opencontainers.image.revision"] == commit
