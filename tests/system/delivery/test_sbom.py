"""Each image's list of packages: valid as SPDX and as CycloneDX, and what dpkg's status in the image says."""
import json
import re

import pytest
from containers import VERSION, run
from penstock import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("image")]
SUFFIXES = ("", "-debug")

CYCLONEDX = """import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
fault = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read())
sys.exit(f"{fault}" if fault else 0)
"""


@pytest.fixture(scope="module")
def python():
    return run(ROOT / "tests/python/fetch").stdout.strip()


def in_image(archive):
    """And what the program carries in itself: the console's charts."""
    status = archive.files and archive.text("/var/lib/dpkg/status")
    uplot = re.search(r"v([\d.]+)", (ROOT / "common/console/uplot.js").read_text()[:100])[1]
    return {("uplot", uplot)} | {(one["Package"], one["Version"]) for one in (dict(re.findall(r"^([A-Za-z-]+): (.*)$", part, re.M)) for part in status.strip().split("\n\n"))}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_spdx_is_valid_and_lists_what_is_in_the_image(built, archive, debug_archive, python, suffix):
    path = built / f"penstock-{VERSION}{suffix}.spdx.json"
    run(python, "-m", "spdx_tools.spdx.clitools.pyspdxtools", "-i", path)
    document = json.loads(path.read_text())
    listed = {(one["name"], one["versionInfo"]) for one in document["packages"] if one["SPDXID"] != "SPDXRef-Image"}
    assert document["spdxVersion"] == "SPDX-2.3" and listed == in_image(debug_archive if suffix else archive)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cyclonedx_is_valid_and_lists_what_is_in_the_image(built, archive, debug_archive, python, suffix):
    path = built / f"penstock-{VERSION}{suffix}.cdx.json"
    run(python, "-c", CYCLONEDX, path)
    document = json.loads(path.read_text())
    listed = {(one["name"], one["version"]) for one in document["components"]}
    assert document["metadata"]["component"]["name"] == f"penstock-{VERSION}{suffix}" and listed == in_image(debug_archive if suffix else archive)


def test_both_name_who_depends_on_whom(built):
    spdx = json.loads((built / f"penstock-{VERSION}.spdx.json").read_text())
    needs = {(one["spdxElementId"], one["relatedSpdxElement"]) for one in spdx["relationships"] if one["relationshipType"] == "DEPENDS_ON"}
    assert ("SPDXRef-Package-penstock", "SPDXRef-Package-librdkafka1") in needs and ("SPDXRef-Package-librdkafka1", "SPDXRef-Package-libssl3") in needs
    cyclonedx = json.loads((built / f"penstock-{VERSION}.cdx.json").read_text())
    ours, = (one for one in cyclonedx["dependencies"] if one["ref"].startswith("pkg:deb/debian/penstock@"))
    assert any(ref.startswith("pkg:deb/debian/librdkafka1@") for ref in ours["dependsOn"])
