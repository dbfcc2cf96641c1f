"""Every network, written by TensorFlow, ported, and compared bit by bit with TensorFlow's own variables.

Usage: python benchmarks/every_port.py [VARIANT...]

Without names every variant is taken. TensorFlow builds the network in a process of its own, fills it with
seeded values and saves a checkpoint of objects; for tables of TensorFlow 1's names it saves published names
and moving averages. The port has to recognise the network by itself, but for a twin, which is asked for;
and every tensor of the file has to be TensorFlow's variable, moved as `tests/port/expected_tensors.py` says,
which takes no layout from the tables. MobileViT needs transformers. Prints a line for each network and the
totals; exits with 1 on any failure.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors import safe_open

import porter
from porter.core.checkpoint import Array
from porter.errors import PorterError
from porter.planning.ledger import Bucket
from porter.tables.shipped import load_tables
from porter.tables.variants import Variant

_ROOT = Path(__file__).parent.parent
_WRITERS = _ROOT / "tests" / "port"
sys.path.insert(0, str(_WRITERS))

from expected_tensors import expected_tensors  # noqa: E402  (found by the line above)

_AT_A_TIME = 8  # networks that one TensorFlow process writes: the largest eight take 7 GB of disk
_NAMED = ("automl_", "slim_", "tpu_")  # published under TensorFlow 1's names
_FINE = {Bucket.MAPPED, Bucket.BOOKKEEPING, Bucket.EMA_TWIN, Bucket.OPTIMIZER, Bucket.FOLDED}


def main() -> None:
    """Write, port and compare; print what became of each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("variants", nargs="*")
    tables = load_tables()
    names = parser.parse_args().variants
    variants = [tables.variant(name) for name in names] or list(tables.variants.values())
    counts = {"exact": 0, "tensors": 0, "failed": 0}
    for group in _groups(variants):
        with tempfile.TemporaryDirectory() as folder:
            trouble = _write(group, Path(folder))
            for variant in group:
                _judge(variant, Path(folder) / variant.name, trouble, counts)
    print(
        f"{len(variants)} networks: {counts['exact']} exact in {counts['tensors']} tensors, "
        f"{counts['failed']} failed"
    )
    sys.exit(1 if counts["failed"] else 0)


def _groups(variants: list[Variant]) -> Iterator[list[Variant]]:
    """Yield a few variants at a time that one program writes with one set of packages."""
    alike = defaultdict(list)
    for variant in variants:
        module = variant.source.name.partition(".")[0]
        alike["named" if variant.name.startswith(_NAMED) else module].append(variant)
    for some in alike.values():
        yield from (some[start : start + _AT_A_TIME] for start in range(0, len(some), _AT_A_TIME))


def _write(variants: list[Variant], folder: Path) -> str:
    """Let TensorFlow write the networks; return the last line of what it says where it cannot."""
    names = [variant.name for variant in variants]
    script = "write_tensorflow1.py" if names[0].startswith(_NAMED) else "write_variants.py"
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    command = [sys.executable, _WRITERS / script, folder, *names]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return run.stderr.strip().splitlines()[-1] if run.returncode else ""


def _judge(variant: Variant, folder: Path, trouble: str, counts: dict[str, int]) -> None:
    try:
        compared = _compared(variant, folder, trouble)
    except (PorterError, ValueError) as error:
        counts["failed"] += 1
        print(f"{variant.name:<44}FAILED  {error}", flush=True)
    else:
        counts["exact"] += 1
        counts["tensors"] += compared
        print(f"{variant.name:<44}exact   {compared} tensors", flush=True)


def _compared(variant: Variant, folder: Path, trouble: str) -> int:
    """Port what was written and return how many tensors were compared.

    Raises:
        PorterError: the port refuses the checkpoint.
        ValueError: nothing was written, or the ported file is not what was written.
    """
    if not (folder / "expected.npz").exists():
        raise ValueError(f"TensorFlow did not write it: {trouble}")
    source = next(folder.glob("*ckpt-1*.index")).with_suffix("")
    result = porter.port(source, folder / "out.safetensors", variant=variant.name if variant.twin else None)
    if result.plan.variant.name != variant.name:
        raise ValueError(f"taken for {result.plan.variant.name}")
    odd = [line for line in result.plan.ledger if line.bucket not in _FINE | _left_out(variant)]
    if odd:
        raise ValueError(f"{odd[0].path} is {odd[0].bucket.value}")
    with np.load(folder / "expected.npz") as stored, safe_open(result.out, "numpy") as ported:
        return _compare(variant, stored, ported)


def _left_out(variant: Variant) -> set[Bucket]:
    return {Bucket.LEFT_OUT} if variant.left_out else set()


def _compare(variant: Variant, stored: Mapping[str, Array], ported: safe_open) -> int:
    scope = f"{next(iter(stored)).partition('/')[0]}/" if variant.name.startswith(_NAMED) else ""
    left = {name for name in ported.keys() if not name.endswith(".num_batches_tracked")}  # noqa: SIM118 - this is no dictionary
    compared = 0
    for target, expected in expected_tensors(variant, stored, scope):
        found = ported.get_tensor(target)
        if expected.reshape(found.shape).tobytes() != found.tobytes():
            raise ValueError(f"{target} differs")
        left.remove(target)
        compared += 1
    if left:
        raise ValueError(f"{min(left)} is made of nothing")
    return compared


if __name__ == "__main__":
    main()
