"""What the parsers raise, and the one place where it becomes a refusal that names file and tensor."""

from __future__ import annotations

import os
from types import TracebackType

from porter.errors import CheckpointError


class Malformed(Exception):  # noqa: N818  (it never leaves this package: `naming` turns it into CheckpointError)
    """Bytes that do not mean what they claim; raised by code that does not know which file it is in."""

    def __init__(
        self,
        code: str,
        problem: str,
        *,
        expected: object = None,
        found: object = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.code = code
        self.problem = problem
        self.expected = expected
        self.found = found
        self.hint = hint


class naming:  # noqa: N801  (used as a statement, like contextlib.suppress)
    """Context manager: failures inside become a `CheckpointError` naming `file` and `tensor`.

    Covers `Malformed`, errors of the operating system, and allocations that this machine cannot serve.
    """

    __slots__ = ("file", "tensor")

    def __init__(self, file: str | os.PathLike[str], tensor: str | None = None) -> None:
        self.file = file
        self.tensor = tensor

    def __enter__(self) -> None:
        """Begin the guarded block."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Translate; anything else passes unchanged."""
        if error is None:
            return
        if isinstance(error, Malformed):
            raise CheckpointError(
                error.code,
                error.problem,
                file=self.file,
                tensor=self.tensor,
                expected=error.expected,
                found=error.found,
                hint=error.hint,
            ) from None
        if isinstance(error, OSError):
            raise CheckpointError(
                "checkpoint/unreadable-file",
                f"the operating system refuses to read it ({error.strerror or error})",
                file=self.file,
                tensor=self.tensor,
            ) from error
        if isinstance(error, MemoryError):
            raise CheckpointError(
                "checkpoint/out-of-memory",
                "there is not enough memory to hold it",
                file=self.file,
                tensor=self.tensor,
            ) from error
