"""The one error hierarchy. Every refusal is a `PorterError` with a stable code and one clear line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_LONGEST_NAME = 200


class PorterError(Exception):
    """A refusal that a person can act on.

    Attributes:
        code: Stable identifier such as ``"bundle/bad-checksum"``; safe to match on in scripts.
        file: The file the problem is in, or None.
        tensor: The variable or tensor the problem is about, or None.
        problem: What is wrong, without a full stop.
        expected: What should have been there, or None.
        found: What was there, or None.
        hint: What to do, as a sentence, or None.
        details: Further lines, if one cannot hold what there is to say (a list of candidates).

    Args:
        code: Sets `code`.
        problem: Sets `problem`.
        file: Sets `file`.
        tensor: Sets `tensor`.
        expected: Sets `expected`.
        found: Sets `found`.
        hint: Sets `hint`.
        details: Sets `details`.

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
        self.problem = problem
        self.expected = expected
        self.found = found
        self.hint = hint
        self.details = tuple(details)
        lines = [_one_line(self.file, tensor, problem, expected, found, hint)]
        super().__init__("\n  ".join(lines + [_escaped(detail) for detail in details]))

    def to_json(self) -> dict[str, Any]:
        """Return the error as JSON-ready data, for `error_from_json` in another process."""
        expected, found = (None if value is None else str(value) for value in (self.expected, self.found))
        return {
            "classes": [kind.__name__ for kind in type(self).__mro__ if issubclass(kind, PorterError)],
            "code": self.code,
            "problem": self.problem,
            "file": self.file,
            "tensor": self.tensor,
            "expected": expected,
            "found": found,
            "hint": self.hint,
            "details": list(self.details),
        }


class CheckpointError(PorterError):
    """The source cannot be read as what it claims to be."""


class TableError(PorterError):
    """A mapping table is malformed or contradicts itself."""


class PlanError(PorterError):
    """The checkpoint and the table do not close: something is missing, left over or ambiguous."""


class OutputError(PorterError):
    """The output cannot be written, or a written file cannot be loaded back."""


class DataError(PorterError):
    """A data set of images cannot be opened or read."""


class ParityError(PorterError):
    """A parity check could not be carried out (a failed check is a result, not an error)."""


class MissingDependencyError(PorterError):
    """An optional package is needed and not installed."""


def error_from_json(described: Mapping[str, Any]) -> PorterError:
    """Return the error that `PorterError.to_json` described, of its own class if that is imported here."""
    fields = dict(described)
    known = {kind.__name__: kind for kind in _kinds(PorterError)}
    kind = next(known[name] for name in fields.pop("classes") if name in known)
    return kind(fields.pop("code"), fields.pop("problem"), **fields)


def _kinds(kind: type[PorterError]) -> Iterator[type[PorterError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)


def not_installed(packages: Sequence[str]) -> str:
    """Return that `packages`, at least one, are not installed, in words."""
    *others, last = packages
    return f"{', '.join(others)} and {last} are not installed" if others else f"{last} is not installed"


def printable(text: str) -> str:
    """Return `text` safe for one terminal line: control characters escaped, long names shortened."""
    clean = _escaped(text)
    if len(clean) <= _LONGEST_NAME:
        return clean
    return f"{clean[: _LONGEST_NAME - 20]}... ({len(clean)} characters)"


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
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
