"""What is installed compiles without a warning. The dev preset optimises little, and some warnings come only from the optimiser."""
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_release_build_has_no_warnings():
    for command in (["cmake", "--preset", "strict"], ["cmake", "--build", "--preset", "strict"]):
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout[-4000:]
