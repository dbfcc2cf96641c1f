"""How much two stages may differ, and why that much."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from porter.parity.outcome import Noise

# Relative to the stage's own scale, max|expected|.
#   float64: a correct port of every known network stays below 4e-13; every known fault is above 1e-7.
#   The others: for runs without a float64 twin, whose noise is therefore unknown. They mark what is worth a
#   look and never decide. The worst correct network measured in float32 shows 2.1e-4 (attention amplifies
#   rounding), a fault can show 4.2e-4. float16 has 13 bits less than float32, bfloat16 16.
DEFAULT_RTOL = MappingProxyType({"float64": 1e-11, "float32": 1e-3, "float16": 5e-2, "bfloat16": 2e-1})

# Two correct float32 implementations of one network differ from float64 by about the same amount, so their
# distance is about twice the smaller one. Worst ratio measured over all variants, sizes and 200 seeds:
# see benchmarks/parity.py. Arithmetic with fewer bits (TF32, bfloat16) exceeds it a hundredfold.
NOISE_FACTOR = 8.0

# Smallest float32 bound: four units in the last place, for stages so short that they hardly round at all.
NOISE_FLOOR = 4 * 2.0**-23


@dataclass(frozen=True, slots=True)
class StageTolerance:
    """A tolerance for one stage, and why it is not the usual one."""

    rtol: float
    reason: str


@dataclass(frozen=True, slots=True)
class Tolerances:
    """The largest relative deviation that passes.

    Attributes:
        rtol: By element type.
        stages: Exceptions by stage name; they hold for every element type.
    """

    rtol: Mapping[str, float] = field(default_factory=lambda: DEFAULT_RTOL)
    stages: Mapping[str, StageTolerance] = field(default_factory=dict)

    def of(self, stage: str, dtype: str, noise: Noise | None) -> float:
        """Return the tolerance of a stage.

        In float32 it comes from the rounding noise that was measured at this stage if there is a float64
        run beside it. By the triangle inequality |a32 - b32| <= |a32 - a64| + |a64 - b64| + |b64 - b32|, the
        sum of both noises; if both frameworks do honest float32 arithmetic these are alike, so a small
        multiple of the *smaller* one bounds it. The larger one is not trusted: it is what reduced precision
        on one side would raise. The local column is held to the same bound, which is generous there: a stage
        that starts from the reference's own input does not inherit the noise of the stages before it.

        Args:
            stage: Name of the stage.
            dtype: Element type computed in.
            noise: Measured rounding noise, or None.
        """
        if stage in self.stages:
            return self.stages[stage].rtol
        if noise is not None:
            measured = [each for each in (noise.expected, noise.actual) if not math.isnan(each)]
            return max(NOISE_FLOOR, NOISE_FACTOR * min(measured))
        return self.rtol.get(dtype, DEFAULT_RTOL["float32"])
