"""The files that a public host reads: each fits its schema, and workflows run the commands that people run."""
import pathlib
import re
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCHEMAS = {".github/workflows/test.yml": "github-workflows", ".github/workflows/release.yml": "github-workflows", ".github/ISSUE_TEMPLATE/bug.yml": "github-issue-forms",
           ".github/ISSUE_TEMPLATE/idea.yml": "github-issue-forms", ".github/ISSUE_TEMPLATE/config.yml": "github-issue-config"}


@pytest.mark.parametrize("path", SCHEMAS)
def test_each_file_fits_its_schema(path):
    fetched = subprocess.run([ROOT / "tests/python/fetch"], capture_output=True, text=True)
    assert fetched.returncode == 0, fetched.stderr
    done = subprocess.run([fetched.stdout.strip(), "-m", "check_jsonschema", "--builtin-schema", f"vendor.{SCHEMAS[path]}", ROOT / path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_of_the_host_is_known():
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / ".github").rglob("*.yml")}
    assert found == set(SCHEMAS)


def test_the_workflow_runs_each_part_that_ci_runs_and_tsan():
    parts = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]["part"]["strategy"]["matrix"]["part"]
    run = (ROOT / "tests/run").read_text()
    of_all = re.search(r"^    all\) parts\+=\((.*?)\)", run, re.M)[1].split()
    assert {*of_all, "contract", "tsan"} == set(parts)


def test_commits_that_blame_leaves_out_are_named_in_full():
    lines = [line for line in (ROOT / ".git-blame-ignore-revs").read_text().splitlines() if line and not line.startswith("#")]
    assert lines and all(re.fullmatch("[0-9a-f]{40}", line) for line in lines)
