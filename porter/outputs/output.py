"""What every form of a port can do."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from porter.core.named_function import is_function_name
from porter.errors import OutputError

if TYPE_CHECKING:  # a form is asked before the source is opened: its digests begin that much earlier
    from porter.core.assignments import Assignment
    from porter.core.checkpoint import Checkpoint
    from porter.outputs.output_options import OutputOptions
    from porter.planning.plan import Plan
    from porter.planning.port_options import PortOptions
    from porter.transfer.transfer import TransferReport, Writing

SUFFIX = ".safetensors"

Refusals = Mapping[str, tuple[str, str]]


class Output(ABC):
    """A plan in one form.

    Attributes:
        plan: The port to timm.
        options: What was chosen about the port.
        form: What was chosen about its form.
        library: What has the network; ``"torch"`` for a person's own.
        title: What is written, in words.
        assignments: One per tensor that is written.
        notes: What a person should know of this form before trusting the result.
        excluded: Why the form cannot have what another choice asks for: the code and the reason, by the name
            of the choice in `OutputOptions`.

    Args:
        plan: Sets `plan`.
        options: Sets `options`.
        form: Sets `form`; `refuse` was asked about it.

    Raises:
        PlanError: the form cannot hold this network.
        OutputError: the form cannot say what this port needs.
    """

    excluded: ClassVar[Refusals] = {}

    def __init__(self, plan: Plan, options: PortOptions, form: OutputOptions) -> None:
        self.plan = plan
        self.options = options
        self.form = form
        self.library = self.title = plan.variant.library
        self.assignments: Sequence[Assignment] = plan.assignments
        self.notes: tuple[str, ...] = ()

    @classmethod
    def refuse(cls, form: OutputOptions, out: Path | None) -> None:
        """Refuse what can be refused before anything is opened.

        Raises:
            OutputError: choices do not go together, or `out` is no name for this form.
        """
        for choice, (code, reason) in cls.excluded.items():
            if getattr(form, choice):
                raise OutputError(code, reason)
        if out is not None and cls.is_file(form) and out.name and out.suffix != SUFFIX:
            raise OutputError(
                "output/suffix", f"OUT must end in {SUFFIX}: whatever loads it goes by the name", file=out
            )

    @classmethod
    def is_file(cls, form: OutputOptions) -> bool:
        """Whether the form is one file and no folder."""
        return form.shard_size is None

    def require_place(self, out: Path, checkpoint: Checkpoint) -> None:
        """Try whether `out` could be written, and leave nothing.

        Raises:
            OutputError: it could not.
        """
        from porter.transfer.atomic_file import require_writable  # noqa: PLC0415 - see above
        from porter.transfer.transfer import refuse_source  # noqa: PLC0415

        refuse_source(out, checkpoint)
        if self.is_file(self.form):
            require_writable(out)
        else:
            from porter.transfer.atomic_folder import require_new  # noqa: PLC0415 - a file needs none of it

            require_new(out)

    @abstractmethod
    def write(self, checkpoint: Checkpoint, out: Path, writing: Writing) -> TransferReport:
        """Write the port; it appears whole or not at all.

        Args:
            checkpoint: The open source that the plan was made from.
            out: The file or folder.
            writing: How it is done.

        Raises:
            CheckpointError: the source is damaged or changed meanwhile.
            OutputError: `out` cannot be written.
        """

    @abstractmethod
    def loading_line(self, out: Path) -> str:
        """Return one line of Python that loads `out` into the library it was written for, strictly."""

    def remarks(self, *, verbose: bool) -> Iterator[str]:  # noqa: ARG002 (forms with more to say use it)
        """Yield lines, after writing, on what this form did beside moving bytes."""
        yield from ()

    def alternatives(self, out: Path) -> Iterator[str]:
        """Yield other ways to load `out`."""
        if is_function_name(self.plan.variant.target.name):
            yield f"or, into a network of yours: porter.load_model({os.fspath(out)!r}, model=network)"

    def details(self) -> Mapping[str, Any]:
        """Return, after writing, entries of the JSON document that this form alone has."""
        return {}

    def metadata(self, checkpoint: Checkpoint) -> dict[str, str]:
        """Return what the file says of itself."""
        from porter.outputs.metadata import describe  # noqa: PLC0415 - see above

        return describe(self.plan, checkpoint.format, self.options.dtype)


def refuse_cut(plan: Plan, why: str) -> None:
    """Refuse a network that ends early in a form whose network is built whole.

    Raises:
        OutputError: it does (``output/cut``).
    """
    if plan.cut is not None:
        raise OutputError(
            "output/cut",
            f"{why}, and the source ends {plan.cut.words}",
            hint="Write a .safetensors file: porter.load_model ends where the source does.",
        )


def adjusted(plan: Plan, why: str) -> OutputError:
    """Return the refusal of a form whose network would lack what the table adjusts in PyTorch's."""
    return OutputError(
        "output/adjusted",
        f"{why}, without what the table adjusts in it ({', '.join(plan.variant.adjust)})",
        file=plan.variant.table,
        hint="Write a .safetensors file: porter.load_model applies the adjustments.",
    )
