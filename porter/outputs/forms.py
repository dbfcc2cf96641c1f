"""The forms that a port can be written in: one line each, and nothing else to edit for another one."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # a form is imported when it is chosen, and a command line needs the names alone
    from porter.outputs.output import Output
    from porter.outputs.output_options import OutputOptions


class Form(NamedTuple):
    """Where a form is defined, and when it is the one that was chosen.

    Attributes:
        target: The value of `OutputOptions.target` that it belongs to.
        module: The module below `porter.outputs`.
        name: The class in it.
        choice: The attribute of `OutputOptions` that asks for it; None for the usual form of its target.
    """

    target: str
    module: str
    name: str
    choice: str | None = None


# Of the forms of one target the last that was asked for is written.
FORMS = (
    Form("timm", "timm_file", "TimmFile"),
    Form("timm", "shard_folder", "ShardFolder", "max_shard_size"),
    Form("timm", "folded", "FoldedFile", "fold_bn"),
    Form("transformers", "transformers_folder", "TransformersFolder"),
    Form("netspresso", "netspresso_file", "NetsPressoFile"),
    Form("hub-folder", "hub_folder", "HubFolder"),
)

TARGETS = tuple(dict.fromkeys(form.target for form in FORMS))


def chosen_output(options: OutputOptions, out: Path | None = None) -> type[Output]:
    """Return the form that was chosen.

    Args:
        options: The choice.
        out: What to write, if anything is written.

    Raises:
        OutputError: the choices do not go together, or nothing of that form may be called `out`.
    """
    asked = [
        form
        for form in FORMS
        if form.target == options.target and (form.choice is None or getattr(options, form.choice))
    ]
    module = importlib.import_module(f"porter.outputs.{asked[-1].module}")
    output: type[Output] = getattr(module, asked[-1].name)
    output.refuse(options, out)
    return output
