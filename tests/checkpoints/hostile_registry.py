"""The list of malformed checkpoints: functions that write one, with the code it must be refused by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bundle_writer as w
import numpy as np

Case = Callable[[Path], Path]
CASES: dict[str, tuple[str, Case]] = {}

FLOATS = np.arange(6, dtype=np.float32).reshape(2, 3)
LONG_VARINT = b"\xff" * 10 + b"\x01"


def register(code: str, name: str, write: Case) -> None:
    """Add one case; names are unique."""
    assert name not in CASES, name
    CASES[name] = code, write


def case(code: str, name: str) -> Callable[[Case], Case]:
    """Register the decorated function: it writes into a folder and returns the path to open."""

    def decorate(write: Case) -> Case:
        register(code, name, write)
        return write

    return decorate


def cases(family: str, inputs: dict[str, dict[str, Any]]) -> Callable[[Callable[[Path, Any], Path]], None]:
    """Register one case per input; `inputs` is code to label to what the function gets after the folder."""

    def decorate(write: Callable[[Path, Any], Path]) -> None:
        for code, labels in inputs.items():
            for label, value in labels.items():
                name = f"{family} {code.split('/')[1]}: {label}"
                register(code, name, lambda folder, value=value: write(folder, value))

    return decorate


def a_bundle(**options: Any) -> w.Bundle:
    """Return a small healthy bundle."""
    bundle = w.Bundle(**options)
    bundle.put("a/kernel", FLOATS)
    bundle.put("b", np.arange(4, dtype=np.int64))
    return bundle


PAIRS = [(b"", w.header()), *sorted(a_bundle().entries.items())]


def with_index(folder: Path, index: bytes) -> Path:
    """Store the healthy bundle's data beside another index."""
    prefix = a_bundle().store(folder / "ckpt")
    (folder / "ckpt.index").write_bytes(index)
    return prefix
