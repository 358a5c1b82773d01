"""The commands of the documents, as somebody pastes them. In Markdown a block of `sh` runs as it stands beside a quickstart that serves, in
its directory, behind the blocks before it on its page; what needs another machine or another user is a block of `console`."""
import re
import subprocess

from penstock import ROOT

# A curl that fails where the gateway says no.
BEGIN = 'set -euo pipefail\ncurl() { command curl --fail-with-body "$@"; }\n'


def commands(page, language="sh"):
    return "\n".join(re.findall(rf"^ *```{language}\n(.*?)^ *```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S))


def paste(script, directory, replaced):
    """Runs it with each key of `replaced` replaced; returns what it wrote."""
    for old, new in replaced.items():
        script = script.replace(old, str(new))
    done = subprocess.run(["bash", "-c", BEGIN + script], cwd=directory, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{script}\n--- gave\n{done.stdout}{done.stderr}"
    return done.stdout
