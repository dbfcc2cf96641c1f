"""The port itself: open, plan, move the bytes, say how to load the result."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from porter.checkpoints import open_checkpoint
from porter.core.checkpoint import Checkpoint
from porter.outputs.forms import chosen_output
from porter.outputs.output_options import DEFAULTS as USUAL_FORM
from porter.outputs.output_options import OutputOptions
from porter.outputs.result import PortResult
from porter.planning.plan import Plan, plan
from porter.planning.port_options import DEFAULTS, PortOptions
from porter.tables.known_tables import Tables
from porter.transfer.progress_bar import progress_bar
from porter.transfer.source_hashes import SourceHashes
from porter.transfer.transfer import QUIETLY, Progress, Writing

PathLike = str | os.PathLike[str]


def port(
    source: PathLike,
    out: PathLike,
    *,
    tables: Tables | None = None,
    options: PortOptions = DEFAULTS,
    target: str = "timm",
    fold_bn: bool = False,
    max_shard_size: int | str | None = None,
    progress: Progress | None = None,
    **choices: Any,
) -> PortResult:
    """Port TensorFlow weights to a safetensors file that timm loads with ``strict=True``.

    Args:
        source: A checkpoint prefix, its ``.index`` file, a training directory or a SavedModel.
        out: The file (or folder, see `target`) to write; it appears whole or not at all. A file's name ends
            in ``.safetensors``.
        tables: Known networks; those that come with porter if None.
        options: What was chosen about the port.
        target: ``"timm"``; ``"hub-folder"`` writes a folder that timm loads by itself, with a model card;
            ``"transformers"`` a folder for ``from_pretrained``, ``"netspresso"`` a file under NetsPresso
            Trainer's names.
        fold_bn: Fold norms and layer scales into the convolutions before them; needs torch and timm.
        max_shard_size: Write a folder of files with at most this many bytes of tensors each (``"5GB"`` or a
            number), and an index, as Hugging Face does; for timm, folded or not, and for transformers.
        progress: Called with bytes written and bytes in all, as the work goes on; if None, a large port
            shows a bar in a terminal or notebook.
        **choices: Single attributes of `PortOptions`, by name, in place of those of `options`.

    Raises:
        CheckpointError: the source cannot be read.
        PlanError: the source and the tables do not close, or the target cannot hold this network.
        OutputError: the output cannot be written, or choices about it do not go together.
        MissingDependencyError: torch or timm is needed and not installed.

    Example:
        >>> result = porter.port("ckpt-1", "mobilenet.safetensors")
        >>> result.plan.variant.name, result.report.tensors
        ('keras_mobilenetv1_025', 164)
        >>> print(result.loading_line)
        porter.load_model('mobilenet.safetensors')
    """
    options = options.merged(choices)
    form = OutputOptions(target=target, fold_bn=fold_bn, max_shard_size=max_shard_size)
    chosen_output(form, Path(out))
    # The digests are under way while the plan is being made.
    with open_checkpoint(source) as checkpoint, SourceHashes(checkpoint.files) as hashes:
        port_plan = plan(checkpoint, tables, options)
        with progress_bar(quiet=progress is not None) as bar:
            return carry_out(checkpoint, port_plan, out, options, form, Writing(progress or bar, hashes))


def carry_out(
    checkpoint: Checkpoint,
    plan: Plan,
    out: PathLike,
    options: PortOptions = DEFAULTS,
    form: OutputOptions = USUAL_FORM,
    writing: Writing = QUIETLY,
) -> PortResult:
    """Write a plan that was made from `checkpoint`.

    Args:
        checkpoint: The open source.
        plan: The port to timm.
        out: The file or folder to write.
        options: What was chosen about the port; the plan was made with the same.
        form: What was chosen about its form.
        writing: Who hears of the progress, and digests that the caller began.

    Raises:
        CheckpointError: the source is damaged or changed meanwhile.
        PlanError: the form cannot hold this network.
        OutputError: the output cannot be written, or choices about it do not go together.
    """
    output = chosen_output(form, Path(out))(plan, options, form)
    return PortResult(output, output.write(checkpoint, Path(out), writing), Path(out))
