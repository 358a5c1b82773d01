"""The images are built once for all tests that want them, and podman's storage is removed at the end."""
import os
import pathlib
import tempfile

import pytest
from containers import VERSION, Archive, Podman, run
from penstock import ROOT


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The directory that deploy/image/build has filled; $PENSTOCK_IMAGES names one that is filled already."""
    if given := os.environ.get("PENSTOCK_IMAGES"):
        return pathlib.Path(given)
    if os.geteuid() != 0:
        pytest.skip("images are built by root")
    where = tmp_path_factory.mktemp("image")
    run(ROOT / "deploy/image/build", where, env={key: value for key, value in os.environ.items() if key != "SOURCE_DATE_EPOCH"})
    return where


@pytest.fixture(scope="session")
def archive(built):
    return Archive(built / f"penstock-{VERSION}.oci.tar")


@pytest.fixture(scope="session")
def debug_archive(built):
    return Archive(built / f"penstock-{VERSION}-debug.oci.tar")


@pytest.fixture(scope="session")
def podman(built):
    """In a short path: podman wants at most 50 characters, and pytest's are longer where several workers run."""
    with tempfile.TemporaryDirectory(prefix="podman-", ignore_cleanup_errors=True) as directory, Podman(pathlib.Path(directory)) as p:
        yield p


@pytest.fixture(scope="session")
def image(podman, archive):
    return podman.load(archive.path)
