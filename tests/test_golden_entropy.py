"""Entropies of the quantiser's bits, against the released implementation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden_files import golden_files
from varedit.training.entropy import bsq_entropy

pytestmark = pytest.mark.golden


def test_entropies_of_samples_and_of_the_codebook(golden_dir: Path):
    for file in golden_files(golden_dir, "bsq_entropy"):
        for case in file.facts["cases"]:
            name = f"case{case['index']}"
            found = bsq_entropy(file.tensors[f"{name}.z"], case["inverse_temperature"])
            file.check(f"{name}.per_sample_entropy", found.per_sample_entropy)
            file.check(f"{name}.codebook_entropy", found.codebook_entropy)
            file.check(f"{name}.average_probability", found.average_probability)
