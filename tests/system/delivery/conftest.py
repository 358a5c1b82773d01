"""The images are built once for all tests that want them, and podman's storage is removed at the end."""
import os
import pathlib

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
def podman(built, tmp_path_factory):
    with Podman(tmp_path_factory.mktemp("podman")) as p:
        yield p


@pytest.fixture(scope="session")
def image(podman, archive):
    return podman.load(archive.path)
