"""Damaged files of every kind: never a crash, a hang, or an object without an item or a quarantine row.

`FUZZ_SECONDS` makes it longer, `FUZZ_SEED` repeats a run; the seed stands in the output of a failure.
"""

import os
import secrets
import subprocess
import sys

import pytest

from flywheel.raw.decoders import ENDINGS
from tests.checkout import ROOT
from tests.fuzzing import MAKERS

SECONDS = float(os.environ.get("FUZZ_SECONDS", "15"))


@pytest.mark.timeout(SECONDS * 3 + 300)
def test_damaged_files_should_become_items_or_refusals() -> None:
    seed = int(os.environ.get("FUZZ_SEED", secrets.randbelow(2**31)))
    command = [sys.executable, "-m", "tests.fuzzing", f"--seed={seed}", f"--seconds={SECONDS}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS * 3 + 240)
    told = "\n".join([*done.stdout.splitlines()[-3:], done.stderr[-6000:]])
    assert done.returncode == 0, f"seed {seed}:\n{told}"
    assert "done: " in done.stdout


def test_every_kind_that_is_read_should_have_a_file_to_damage() -> None:
    assert set(ENDINGS) <= set(MAKERS)
