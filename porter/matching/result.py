"""What a match found: the layers, what was adjusted, what is open, and the proof."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Literal, NamedTuple

from porter.matching.target import Target
from porter.transfer.atomic_file import write_whole

_SHOWN = 12


class MatchedLayer(NamedTuple):
    """A layer of the source and the PyTorch module that it is.

    Attributes:
        module: Name of the module.
        layer: The source's name of the layer.
        kind: As a mapping table calls it.
        moved: Each variable: ``key``, ``path`` (object path), ``role``, ``leaf`` (parameter), ``layout``,
            ``scale`` (every value is multiplied by it), ``shape`` in TensorFlow.
        constants: Parameters that the source does without: ``leaf``, ``value``, ``shape``.
        folded: Object path of a bias of the layer before that goes into the running mean, or "".
        lost_bias: Object path of a bias for which the module has no place, or "".
        error: How far its output was from the source's, relative, when it was found; None if nothing was run.
        activated: Whether the module computes the activation too that follows the layer.
        evidence: What speaks for it where nothing was run, or "".
        adjusted: What had to be changed in the module: ``"same_padding"``, ``"eps"``.
    """

    module: str
    layer: str
    kind: str
    moved: Sequence[Mapping[str, Any]]
    constants: Sequence[Mapping[str, Any]]
    folded: str
    lost_bias: str
    error: float | None
    activated: bool = False
    evidence: str = ""
    adjusted: tuple[str, ...] = ()


class Run(NamedTuple):
    """One run of both networks whole: with which weights, at which size, and the worst difference."""

    weights: str
    size: str
    worst: float
    where: str


@dataclass(frozen=True, slots=True, repr=False)
class MatchResult:
    """The outcome of a match.

    Attributes:
        source: The source, as it was given.
        function: What builds it, or "".
        target: The PyTorch network.
        layers: What was found, in PyTorch's order of execution.
        source_layers: Names of all layers of the source with variables, in its order of execution.
        modules: Names of all PyTorch modules with parameters of their own, in order of execution.
        adjustments: What has to be changed in the PyTorch network: ``same_padding``, ``eps``,
            ``average_without_padding``.
        adjusted: Whether the person agreed to that.
        findings: What is open or disagrees, the first one first.
        others: Other mappings that prove as well, in words.
        proof: The runs.
        notes: What else a reader should know.
        end: The source's operation that PyTorch's output is.
        image: ``mean``, ``std``, ``size`` and ``channels`` of the images, as far as the source tells;
            whether that size is ``fixed``.
        preparing: Object paths of variables that only prepare images.
        versions: Packages that ran both sides.
        seconds: Of each part.
        attempts: How often the PyTorch network was run to find the layers.
        parameters: Shape of each of PyTorch's parameters and buffers by name; empty where nothing was run.
    """

    source: str
    function: str
    target: Target
    layers: tuple[MatchedLayer, ...]
    source_layers: tuple[str, ...]
    modules: tuple[str, ...]
    adjustments: Mapping[str, Any]
    adjusted: bool
    findings: tuple[str, ...]
    others: tuple[str, ...]
    proof: tuple[Run, ...]
    notes: tuple[str, ...]
    end: str | None
    image: Mapping[str, Any]
    preparing: tuple[str, ...]
    versions: Mapping[str, str]
    seconds: Mapping[str, float]
    attempts: int
    parameters: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def open(self) -> tuple[str, ...]:
        """Why this is no proof; empty for a proof."""
        needed = () if self.adjusted else tuple(self.needed)
        unrun = () if self.proof or self.findings else ("nothing was run to prove it",)
        return (*self.findings, *needed, *unrun)

    @property
    def needed(self) -> Iterator[str]:
        """What has to be changed in the PyTorch network, a sentence each."""
        padded = self.adjustments.get("same_padding")
        if padded:
            where = "everywhere" if padded is True else ", ".join(padded)
            yield f"PyTorch pads differently: it must pad as TensorFlow's SAME does ({where})"
        averaging = self.adjustments.get("average_without_padding")
        if averaging:
            yield f"PyTorch's averages count the padding, TensorFlow's leave it out ({', '.join(averaging)})"
        epsilon = self.adjustments.get("eps")
        if isinstance(epsilon, Mapping):
            yield from (f"{name} must have the epsilon {value:g}" for name, value in epsilon.items())
        elif epsilon is not None:
            yield f"every norm must have the epsilon {epsilon:g}"

    @property
    def status(self) -> Literal["proved", "draft"]:
        """``"proved"`` only where both networks agree throughout, with every parameter of both used."""
        return "draft" if self.open else "proved"

    @property
    def worst(self) -> float:
        """The worst relative difference of the proof."""
        return max((run.worst for run in self.proof), default=0.0)

    def table(self) -> str:
        """Return the mapping table, TOML."""
        from porter.matching.table_writing import table_of  # noqa: PLC0415  (it reads this module)

        return table_of(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the mapping table to a file, whole or not at all, and return its path.

        Raises:
            OutputError: it cannot be written.
        """
        write_whole(path, self.table())
        return Path(path)

    def text(self, *, verbose: bool = False) -> str:
        """Return the outcome for people."""
        return "\n".join(self._lines(verbose=verbose))

    def _lines(self, *, verbose: bool) -> Iterator[str]:
        yield f"{self.source} -> {self.target.words}: {self.status}"
        how = f"in {self.attempts} run(s)" if self.attempts else "by kind, shape and order"
        yield f"  {len(self.layers)} layers matched {how}, {self._time()}"
        if verbose:
            for each in self.layers:
                why = f": {each.evidence}" if each.evidence else ""
                yield f"    {each.layer} -> {each.module} ({each.kind}){why}"
        for run in self.proof:
            yield f"  {run.size} pixels, {run.weights}: worst difference {run.worst:.1e} ({run.where})"
        if self.adjusted:
            yield from (f"  adjusted: {each}" for each in self.needed)
        shown = self.open if verbose else self.open[:_SHOWN]
        yield from (f"  open: {each}" for each in shown)
        if len(self.open) > len(shown):
            yield f"  and {len(self.open) - len(shown)} more"
        if self.adjustments and not self.adjusted:
            yield "  --adjust makes these changes on the PyTorch side, and says so in the table"
        yield from (f"  also: {each}" for each in self.others)
        yield from (f"  note: {each}" for each in self.notes)

    def _time(self) -> str:
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())

    def html(self) -> str:
        """Return one HTML page: both networks side by side, what is matched joined, what is open marked."""
        from porter.matching.page import page_of  # noqa: PLC0415  (it reads this module)

        return page_of(self)

    def _repr_html_(self) -> str:
        """Show the page in a notebook, in a frame of its own: its style is not the notebook's."""
        return f'<iframe srcdoc="{escape(self.html())}" style="width:100%;height:40rem;border:0"></iframe>'

    def json(self) -> dict[str, Any]:
        """Return the outcome as a JSON document."""
        return {
            "schema": "porter-match",
            "schema_version": 1,
            "source": self.source,
            "target": {
                "library": self.target.library,
                "name": self.target.name,
                "arguments": dict(self.target.arguments),
            },
            "status": self.status,
            "layers": [each._asdict() for each in self.layers],
            "source_layers": list(self.source_layers),
            "modules": list(self.modules),
            "adjustments": dict(self.adjustments),
            "adjusted": self.adjusted,
            "open": list(self.open),
            "others": list(self.others),
            "proof": [each._asdict() for each in self.proof],
            "notes": list(self.notes),
            "end": self.end,
            "versions": dict(self.versions),
            "seconds": dict(self.seconds),
            "attempts": self.attempts,
        }

    def __repr__(self) -> str:
        """Say in a few lines what was found."""
        return self.text()
