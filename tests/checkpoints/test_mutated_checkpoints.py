from collections import Counter

import pytest
from mutations import Mutator

PER_BATCH = 250


@pytest.fixture(scope="module")
def mutator(module_folder):
    """Healthy checkpoints of every kind, ready to be damaged."""
    return Mutator(module_folder("mutations"))


@pytest.mark.parametrize("batch", range(8))
def test_damage_is_refused_or_harmless(mutator, batch):
    """Damage ends in CheckpointError or the right bytes; any bytes only where checksums were repaired."""
    counts = Counter(mutator.trial(seed) for seed in range(batch * PER_BATCH, (batch + 1) * PER_BATCH))

    assert counts["refused"] > PER_BATCH // 2
    assert counts["other"] > 0
