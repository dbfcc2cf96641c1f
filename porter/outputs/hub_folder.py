"""A folder that timm loads by itself (``local-dir:``), and that can be put on a hub as it is.

A network that timm has no entry point for is loaded by `porter.load_model`, which takes the folder too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from porter.core.checkpoint import Checkpoint
from porter.errors import OutputError
from porter.networks.pretrained_cfg import pretrained_cfg
from porter.outputs.metadata import describe
from porter.parity.measurements import Support, read_measurements, support
from porter.planning.plan import Plan
from porter.tables.variants import Variant
from porter.transfer.atomic_file import write_whole
from porter.transfer.atomic_folder import new_folder, write_json
from porter.transfer.source_hashes import SourceHashes
from porter.transfer.transfer import Progress, TransferReport, transfer
from porter.version import VERSION

_CONFIG, _WEIGHTS, _CARD = "config.json", "model.safetensors", "README.md"


def write_hub_folder(
    checkpoint: Checkpoint,
    plan: Plan,
    folder: str | os.PathLike[str],
    *,
    command: str,
    dtype: str | None = None,
    progress: Progress | None = None,
    hashes: SourceHashes | None = None,
) -> TransferReport:
    """Write config.json, model.safetensors and a model card.

    Args:
        checkpoint: The open source that `plan` was made from.
        plan: The port to timm.
        folder: Where to write; it appears whole or not at all.
        command: The command line that did it, for the card, as it is given in the source's folder.
        dtype: As for `porter.transfer.transfer`.
        progress: Called with bytes written and bytes in all.
        hashes: The digests of the checkpoint's files, where they were begun before.

    Raises:
        CheckpointError: the source is damaged or changed meanwhile.
        OutputError: the folder is there and not empty, or cannot be written; the network takes BGR images,
            which nothing in such a folder can say.
    """
    if plan.channel_order != "rgb":
        raise OutputError(
            "output/bgr",
            f"{plan.variant.name} takes BGR images, and timm prepares RGB ones for every hub folder",
            file=folder,
            hint="Turn its first convolution round: --channel-order rgb.",
        )
    metadata = describe(plan, checkpoint.format, dtype)
    with new_folder(Path(folder)) as hidden:
        write_json(hidden / _CONFIG, config(plan))
        report = transfer(
            checkpoint,
            plan.assignments,
            hidden / _WEIGHTS,
            dtype=dtype,
            metadata=metadata,
            progress=progress,
            hashes=hashes,
        )
        write_whole(hidden / _CARD, model_card(plan, metadata, report, Path(folder).name, command))
    return report._replace(path=Path(folder) / _WEIGHTS)


def config(plan: Plan) -> dict[str, object]:
    """Return config.json: timm's name and arguments of the network, and how its images are prepared."""
    channels, classes = (_length(plan, argument) for argument in ("in_chans", "num_classes"))
    prepared = {
        **pretrained_cfg(plan.input_spec._asdict(), channels),
        "num_classes": classes,
        **_free_modules(plan.variant),
    }
    return {
        "architecture": plan.variant.target.name,
        "num_classes": classes,
        "model_args": dict(plan.arguments),
        "pretrained_cfg": {key: value for key, value in prepared.items() if value is not None},
    }


def loading_line(plan: Plan, folder: str | os.PathLike[str]) -> str:
    """Return the Python that loads the folder."""
    if plan.variant.is_own:
        return f"porter.load_model({os.fspath(folder)!r})"
    return f"timm.create_model({'local-dir:' + os.fspath(folder)!r}, pretrained=True)"


def model_card(
    plan: Plan, metadata: Mapping[str, str], report: TransferReport, name: str, command: str
) -> str:
    """Return the README of the folder: what it is, where it comes from, how far it is proved."""
    return "\n".join(
        [
            "---",
            "library_name: timm",
            "tags: [image-classification, timm, porter]",
            "---",
            f"# {name}",
            "",
            f"{plan.variant.title}, `{plan.variant.name}`: weights that TensorFlow wrote, ported to timm's",
            f"`{plan.variant.target.name}` by porter {VERSION}. Nothing was trained or fine-tuned for this.",
            "",
            "```python",
            "import timm",
            *(["import porter  # timm has no entry point for this network"] if plan.variant.is_own else []),
            "",
            f"model = {loading_line(plan, name)}.eval()",
            "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))",
            "```",
            *_activation(plan),
            "",
            "## Where it comes from",
            "",
            *_provenance(plan, metadata, report),
            "",
            "The command that made it, in the source's folder:",
            "",
            "```bash",
            command,
            "```",
            "",
            "## How far it is proved",
            "",
            *_parity(plan.variant),
            "",
        ]
    )


def _activation(plan: Plan) -> Iterator[str]:
    """Yield what makes probabilities of the network's answer, where that is not softmax."""
    if plan.classifier_activation not in (None, "softmax"):
        yield ""
        yield f"The network gives logits; in TensorFlow {plan.classifier_activation} follows, not softmax:"
        yield f"`model(image).{plan.classifier_activation}()`."


def _provenance(plan: Plan, metadata: Mapping[str, str], report: TransferReport) -> Iterator[str]:
    table = json.loads(metadata["porter.table"])
    images = plan.input_spec
    yield "| | |"
    yield "|---|---|"
    yield f"| Source | {metadata['porter.source_format']} |"
    for file in report.sources:
        yield f"| `{file.name}` | {file.size:,} bytes, SHA-256 `{file.sha256}` |"
    averaged = f"moving average of {plan.from_average} variables, the rest as trained"
    yield f"| Weights | {averaged if plan.from_average else 'as trained'} |"
    yield f"| Type | {metadata['porter.dtype']} |"
    if plan.bn_eps is not None:
        yield f"| Batch norm epsilon | {plan.bn_eps:g} ({plan.bn_eps_source}) |"
    yield f"| Images | {images.size} px, mean {list(images.mean)}, std {list(images.std)} |"
    yield f"| Mapping table | `{table['file']}`, version {table['version']}, SHA-256 `{table['sha256']}` |"
    for number, finding in enumerate(report.findings):
        yield f"| {'Found' if number == 0 else ''} | {finding} |"


def _parity(variant: Variant) -> Iterator[str]:
    measured = read_measurements()
    found = measured.get(variant.name)
    if found is None or support(variant, measured) in (Support.STALE, Support.NO_PARITY):
        yield "The pair of networks was not measured with this table. To do that, with TensorFlow installed:"
    else:
        versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
        yield "Every stage of TensorFlow's network and timm's, with seeded weights, in float64: the largest"
        yield f"difference, relative to the stage ({found.created}; {versions})."
        yield ""
        yield "| Input | Largest difference |"
        yield "|---|---|"
        yield from (f"| {size} | {worst:.1e} |" for size, worst in found.worst.items())
        yield ""
        yield "To check these very weights, with TensorFlow installed:"
    yield ""
    yield "```bash"
    yield f"parity-check --variant {variant.name} --checkpoint CHECKPOINT"
    yield "```"


def _length(plan: Plan, argument: str) -> int | None:
    """Return a length that the checkpoint decided, the network's default where the plan has none."""
    given = plan.arguments.get(argument)
    if given is not None:
        return int(str(given))
    defaults = (free.default for free in plan.variant.free.values() if free.argument == argument)
    return next(defaults, 3 if argument == "in_chans" else None)


def _free_modules(variant: Variant) -> dict[str, str]:
    """Return the modules that timm changes where a person asks for other channels or classes."""
    found: dict[str, str] = {}
    for entry in variant.entries:
        module, _, leaf = entry.target.rpartition(".")
        for dim in entry.target_shape if leaf == "weight" else ():
            argument = variant.free[dim].argument if isinstance(dim, str) else ""
            key = {"in_chans": "first_conv", "num_classes": "classifier"}.get(argument)
            if key is not None:
                found.setdefault(key, module)
    return found
