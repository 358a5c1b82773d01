"""Renders the chart as helm does, for lint and for the system tests."""
import functools
import json
import os
import pathlib
import subprocess

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/chart"
KUBE_VERSION = "1.31.0"


def fetched(script):
    done = subprocess.run([ROOT / script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@functools.cache
def environment():
    """With helm and kustomize in the PATH, and nothing of this machine's own helm or kubectl."""
    return {**os.environ, "PATH": f"{fetched('tests/helm/fetch')}:{os.environ['PATH']}", "HELM_CACHE_HOME": "/nonexistent", "HELM_CONFIG_HOME": "/nonexistent",
            "HELM_DATA_HOME": "/nonexistent", "KUBECONFIG": "/nonexistent"}


def helm(*words, values=None, env=None):
    """(exit status, standard output, standard error); values are given as a file."""
    more = ["-f", "-"] if values is not None else []
    done = subprocess.run(["helm", *map(str, words), *more], input=json.dumps(values or {}), capture_output=True, text=True, env=env or environment())
    return done.returncode, done.stdout, done.stderr


def template(values=None, release="shop", namespace="sales", upgrade=False):
    return helm("template", release, CHART, "--namespace", namespace, "--kube-version", KUBE_VERSION, *(["--is-upgrade"] if upgrade else []), values=values or {})


def render(values=None, release="shop", namespace="sales", upgrade=False):
    """The documents that helm would install, or take to upgrade."""
    status, out, err = template(values, release, namespace, upgrade)
    assert status == 0, err
    return [one for one in yaml.safe_load_all(out) if one]


def one(documents, kind, end=""):
    """The one document of this kind whose name ends so."""
    found = [document for document in documents if document["kind"] == kind and document["metadata"]["name"].endswith(end)]
    assert len(found) == 1, (kind, end, [document["metadata"]["name"] for document in found])
    return found[0]
