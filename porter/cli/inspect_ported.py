"""What `porter inspect` shows of a ``.safetensors`` file: where it came from, and its tensors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from porter.cli.columns import columns
from porter.errors import CheckpointError, printable

_OURS = "porter."
_NOT_OURS = "porter did not write this file: nothing in it tells what its weights were made from"


def document(path: Path) -> dict[str, Any]:
    """Return what is in a safetensors file, ready for JSON.

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        with safe_open(path, "numpy") as file:
            metadata = dict(file.metadata() or {})
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            tensors = [
                {"key": name, "dtype": part.get_dtype(), "shape": list(part.get_shape())}
                for name, part in slices.items()
            ]
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            "checkpoint/safetensors", f"this file is damaged ({error})", file=path
        ) from error
    ported = {
        key.removeprefix(_OURS): _value(text) for key, text in metadata.items() if key.startswith(_OURS)
    }
    return {
        "schema": "porter-inspect",
        "schema_version": 1,
        "format": "safetensors, written by porter" if ported else "safetensors",
        "files": [{"name": path.name, "size": path.stat().st_size}],
        "provenance": ported or None,
        "metadata": metadata,
        "tensors": tensors,
    }


def lines(path: Path, *, with_tensors: bool) -> Iterator[str]:
    """Yield the same for people.

    Raises:
        CheckpointError: it is damaged.
    """
    found = document(path)
    yield f"format    {found['format']}"
    yield f"file      {printable(str(path))} ({path.stat().st_size:,} bytes)"
    yield f"tensors   {len(found['tensors']):,}"
    if found["provenance"] is None:
        yield _NOT_OURS
        yield from (f"{printable(key)}: {printable(text)}" for key, text in sorted(found["metadata"].items()))
    else:
        yield ""
        named = (
            (printable(key), printable(_text(value))) for key, value in sorted(found["provenance"].items())
        )
        yield from columns(("made from", "value"), named)
    if with_tensors:
        yield ""
        rows = (
            (printable(each["key"]), each["dtype"], "x".join(map(str, each["shape"])) or "scalar")
            for each in found["tensors"]
        )
        yield from columns(("tensor", "dtype", "shape"), rows)


def _value(text: str) -> Any:
    """Return what a value of porter's metadata stands for: most are JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
