"""A folder that timm loads by itself (``local-dir:``), and that can be put on a hub as it is.

A network that timm has no entry point for is loaded by `porter.load_model`, which takes the folder too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import ClassVar

from porter.core.checkpoint import Checkpoint
from porter.errors import OutputError
from porter.networks.pretrained_cfg import pretrained_cfg
from porter.outputs.output import Output, Refusals, adjusted, refuse_cut
from porter.outputs.output_options import OutputOptions
from porter.outputs.timm_call import is_timm_network, load_file_call
from porter.parity.measurements import Support, read_measurements, support
from porter.planning.plan import Plan
from porter.planning.port_options import PortOptions
from porter.tables.shipped import mappings_folder
from porter.tables.variants import Variant
from porter.transfer.atomic_file import write_whole
from porter.transfer.atomic_folder import new_folder, write_json
from porter.transfer.transfer import TransferReport, Writing, transfer
from porter.version import VERSION

_CONFIG, _WEIGHTS, _CARD = "config.json", "model.safetensors", "README.md"


class HubFolder(Output):
    """config.json, model.safetensors and a model card."""

    excluded: ClassVar[Refusals] = {
        "max_shard_size": (
            "output/hub-folder",
            "--hub-folder goes without --max-shard-size: of several files, timm would load the first alone",
        ),
        "fold_bn": (
            "output/hub-folder",
            "--hub-folder goes without --fold-bn: timm builds the network with its norms",
        ),
    }

    def __init__(self, plan: Plan, options: PortOptions, form: OutputOptions) -> None:
        super().__init__(plan, options, form)
        if plan.variant.library != "timm":
            raise OutputError(
                "output/hub-folder",
                f"timm loads a hub folder, and does not have {plan.variant.target.name}",
                file=plan.variant.table,
                hint="Write a file: porter.load_model loads it.",
            )
        if plan.variant.adjust:
            raise adjusted(plan, "timm builds the network of a hub folder by itself")
        refuse_cut(plan, "timm builds the whole network of a hub folder")
        if plan.head:
            raise OutputError(
                "output/own-head",
                "timm builds its own classifier for every hub folder, and the source has another head",
                found=plan.network.rpartition(": ")[2],
                hint="A .safetensors file carries it (porter.load_model); --backbone-only leaves it out.",
            )
        if plan.channel_order != "rgb":
            raise OutputError(
                "output/bgr",
                f"{plan.variant.name} takes BGR images, and timm prepares RGB ones for every hub folder",
                hint="Turn its first convolution round: --channel-order rgb.",
            )

    @classmethod
    def is_file(cls, form: OutputOptions) -> bool:  # noqa: ARG003 (of no form of it)
        """Return False."""
        return False

    def write(self, checkpoint: Checkpoint, out: Path, writing: Writing) -> TransferReport:
        """Move the bytes to a folder that is not there yet, or empty; see `Output.write`."""
        metadata = self.metadata(checkpoint)
        with new_folder(out) as hidden:
            write_json(hidden / _CONFIG, config(self.plan))
            report = transfer(
                checkpoint,
                self.assignments,
                hidden / _WEIGHTS,
                dtype=self.options.dtype,
                metadata=metadata,
                writing=writing,
            )
            made_by = ("call", "python", self._call(checkpoint.path.name, out.name))
            if writing.command is not None:
                made_by = ("command", "bash", writing.command())
            write_whole(hidden / _CARD, model_card(self.plan, metadata, report, out.name, made_by))
        return report._replace(path=out / _WEIGHTS)

    def loading_line(self, out: Path) -> str:
        """Return the Python that loads the folder."""
        if not self.plan.variant.is_own and not is_timm_network(self.plan.variant):
            return load_file_call(self.plan, out / _WEIGHTS)
        return loading_line(self.plan, out)

    def _call(self, source: str, out: str) -> str:
        """Return the call of `porter.port` that asks for this port, without folders: those are private."""
        named = {"target": self.form.target}
        named |= {
            field.name: getattr(self.options, field.name)
            for field in fields(self.options)
            if getattr(self.options, field.name) != field.default
        }
        given = "".join(f", {name}={value!r}" for name, value in named.items())
        table = self.plan.variant.table
        if not table.is_relative_to(mappings_folder()):
            given += f", tables=porter.load_tables({table.name!r})"
        return f"porter.port({source!r}, {out!r}{given})"


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
    plan: Plan,
    metadata: Mapping[str, str],
    report: TransferReport,
    name: str,
    made_by: tuple[str, str, str | None],
) -> str:
    """Return the README of the folder: what it is, where it comes from, how far it is proved.

    Args:
        plan: The port.
        metadata: What the file of weights says of itself.
        report: What was written.
        name: What the folder is called.
        made_by: What made it, in a word; the language that this is written in; and how it was asked for.
    """
    maker, language, asked = made_by
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
            *_registration(plan.variant),
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
            f"The {maker} that made it, in the source's folder:",
            "",
            f"```{language}",
            f"{asked}",
            "```",
            "",
            "## How far it is proved",
            "",
            *_parity(plan.variant),
            "",
        ]
    )


def _registration(variant: Variant) -> Iterator[str]:
    """Say who knows a network that timm has no entry point for."""
    if variant.is_own:
        yield "import porter  # timm has no entry point for this network"
    elif not is_timm_network(variant):
        name = variant.target.name
        yield f"# timm has no entry point for {name!r}: first import the module that registers one"


_METHODS = ("sigmoid", "relu", "tanh")  # of torch.Tensor


def _activation(plan: Plan) -> Iterator[str]:
    """Yield what makes probabilities of the network's answer, if that is not softmax."""
    if plan.classifier_activation not in (None, "softmax"):
        yield ""
        yield f"The network gives logits; in TensorFlow {plan.classifier_activation} follows, not softmax:"
        if plan.classifier_activation in _METHODS:
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
    """Return a length that the checkpoint decided, the network's default if the plan has none."""
    given = plan.arguments.get(argument)
    if given is not None:
        return int(str(given))
    defaults = (free.default for free in plan.variant.free.values() if free.argument == argument)
    return next(defaults, 3 if argument == "in_chans" else None)


def _free_modules(variant: Variant) -> dict[str, str]:
    """Return the modules that timm changes if a person asks for other channels or classes."""
    found: dict[str, str] = {}
    for entry in variant.entries:
        module, _, leaf = entry.target.rpartition(".")
        for dim in entry.target_shape if leaf == "weight" else ():
            argument = variant.free[dim].argument if isinstance(dim, str) else ""
            key = {"in_chans": "first_conv", "num_classes": "classifier"}.get(argument)
            if key is not None:
                found.setdefault(key, module)
    return found
