"""A hundred rounds of random faults (tests/system/chaos), for tests/run long; a few by default."""
import os
import subprocess

import pytest
from penstock import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("rounds,seed", [(3, 1), pytest.param(100, 20, marks=pytest.mark.soak)])
def test_rounds_of_random_faults_break_no_invariant(rounds, seed):
    """$PENSTOCK_CHAOS_SEED repeats a schedule."""
    seed = os.environ.get("PENSTOCK_CHAOS_SEED", seed)
    done = subprocess.run(["/usr/bin/python3", str(ROOT / "tests/system/chaos"), "--seed", str(seed), "--rounds", str(rounds)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=7200)
    assert done.returncode == 0, done.stdout[-6000:]
