"""What was measured of each pair of networks: live checks against TensorFlow, kept beside the goldens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from porter.errors import ParityError
from porter.parity.golden_files import golden_folder, golden_path
from porter.parity.tolerances import DEFAULT_RTOL
from porter.tables.variants import Variant

_FILE = "measured.json"


class Support(StrEnum):
    """How far a pair of networks is proved."""

    WORKS = "works"
    NOT_MEASURED = "not measured"
    STALE = "measured before its table changed"
    NO_GOLDEN = "no golden"
    NO_PARITY = "no parity"


@dataclass(frozen=True, slots=True)
class Measurement:
    """The live check of one variant on random weights, every stage, propagated and local.

    Attributes:
        table_digest: The state of the table that was measured.
        worst: Largest relative deviation of any stage in float64, by input size as ``"HxW"``.
        created: ISO date of the measurement.
        versions: Package versions of both sides.
    """

    table_digest: str
    worst: Mapping[str, float]
    created: str
    versions: Mapping[str, str]

    @property
    def largest(self) -> float:
        """The worst of all sizes."""
        return max(self.worst.values())


def read_measurements(folder: Path | None = None) -> dict[str, Measurement]:
    """Read the measurements that come with porter, by variant.

    Raises:
        ParityError: the file is not what `write_measurements` wrote.
    """
    path = (folder or golden_folder()) / _FILE
    if not path.is_file():
        return {}
    try:
        return {
            name: Measurement(**entry) for name, entry in json.loads(path.read_text(encoding="utf-8")).items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise ParityError("measurements/unreadable", f"cannot be read ({error})", file=path) from None


def write_measurements(measured: Mapping[str, Measurement], folder: Path | None = None) -> Path:
    """Write measurements, a line per variant in order, for people to diff; return the file."""
    path = (folder or golden_folder()) / _FILE
    lines = (f"{json.dumps(name)}: {json.dumps(asdict(measured[name]))}" for name in sorted(measured))
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return path


def support(variant: Variant, measured: Mapping[str, Measurement], folder: Path | None = None) -> Support:
    """Say how far `variant` is proved."""
    found = measured.get(variant.name)
    if found is None:
        return Support.NOT_MEASURED
    if found.table_digest != variant.digest:
        return Support.STALE
    if not found.largest <= DEFAULT_RTOL["float64"]:
        return Support.NO_PARITY
    return Support.WORKS if golden_path(variant, folder).is_file() else Support.NO_GOLDEN


def worst_of(variants: Iterable[Variant], measured: Mapping[str, Measurement]) -> float | None:
    """Return the largest deviation of several variants, or None if none was measured."""
    values = [measured[variant.name].largest for variant in variants if variant.name in measured]
    return max(values, default=None)
