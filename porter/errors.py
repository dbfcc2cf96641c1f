"""The one error hierarchy. Every refusal is a `PorterError` with a stable code and one clear line."""

from __future__ import annotations

import os
from collections.abc import Sequence

_LONGEST_NAME = 200


class PorterError(Exception):
    """A refusal that a person can act on.

    Attributes:
        code: Stable identifier such as ``"bundle/bad-checksum"``; safe to match on in scripts.
        file: The file the problem is in, or None.
        tensor: The variable or tensor the problem is about, or None.

    Args:
        code: Sets `code`.
        problem: What is wrong, without a full stop.
        file: Sets `file`.
        tensor: Sets `tensor`.
        expected: What should have been there.
        found: What was there.
        hint: What to do, as a sentence.
        details: Further lines, where one cannot hold what there is to say (a list of candidates).

    Example:
        >>> try:
        ...     porter.open_checkpoint("no-such-file")
        ... except porter.PorterError as error:
        ...     print(error.code, error.file)
        checkpoint/not-found no-such-file
    """

    def __init__(
        self,
        code: str,
        problem: str,
        *,
        file: str | os.PathLike[str] | None = None,
        tensor: str | None = None,
        expected: object = None,
        found: object = None,
        hint: str | None = None,
        details: Sequence[str] = (),
    ) -> None:
        self.code = code
        self.file = None if file is None else os.fspath(file)
        self.tensor = tensor
        lines = [_one_line(self.file, tensor, problem, expected, found, hint)]
        super().__init__("\n  ".join(lines + [_escaped(detail) for detail in details]))


class CheckpointError(PorterError):
    """The source cannot be read as what it claims to be."""


class TableError(PorterError):
    """A mapping table is malformed or contradicts itself."""


class PlanError(PorterError):
    """The checkpoint and the table do not close: something is missing, left over or ambiguous."""


class OutputError(PorterError):
    """The output cannot be written, or a written file cannot be loaded back."""


class ParityError(PorterError):
    """A parity check could not be carried out (a failed check is a result, not an error)."""


class MissingDependencyError(PorterError):
    """An optional package is needed and not installed."""


def printable(text: str) -> str:
    """Return `text` safe for one terminal line: control characters escaped, long names shortened."""
    clean = _escaped(text)
    if len(clean) <= _LONGEST_NAME:
        return clean
    return f"{clean[: _LONGEST_NAME - 20]}... ({len(clean)} characters)"


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _one_line(
    file: str | None,
    tensor: str | None,
    problem: str,
    expected: object,
    found: object,
    hint: str | None,
) -> str:
    text = printable(file) + ": " if file else ""
    text += f"tensor '{printable(tensor)}': " if tensor is not None else ""
    text += problem
    if expected is not None:
        text += f"; expected {expected}"
    if found is not None:
        text += f"; found {found}" if expected is None else f", found {found}"
    # What was expected and found may quote names from a file, so the whole line is made safe once more.
    return _escaped(f"{text}. {hint}" if hint else text)
