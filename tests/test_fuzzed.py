"""Files broken at random are refused in words, or read."""

import os

import pytest

from fuzz import KINDS, fuzz


@pytest.mark.slow
def test_broken_files_do_no_harm():
    counts, failures = fuzz(int(os.environ.get("FUZZ", "10000")))
    assert not failures, "\n".join(failures)
    for kind in KINDS:
        assert counts[kind, "refused"] > counts[kind, "failed"]
