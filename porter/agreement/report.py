"""The outcome of an agreement, ready to be read: on a terminal, in a notebook, by a script."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.agreement.page import page
from porter.agreement.statistics import MEASURES, STEPS, Statistics
from porter.parity.image_row import ROUNDING, ImageRow
from porter.runners.agreement_job import PortFacts, SourceFacts

_FRAME = '<iframe title="agreement" srcdoc="{page}" style="width: 100%; height: 40em; border: 0"></iframe>'
_SHOWN = 5
WORDS = {
    "decode": "TensorFlow and Pillow decode the image files differently",
    "resize": "the port prepares images differently: crop, resize, scaling or colours",
    "network": "the networks answer differently to the same pixels",
}
_HINTS = {
    "decode": "Decoders of JPEG differ in the last bits; images stored without loss show none of it.",
    "resize": "Compare the two lines on images above.",
    "network": "parity-check --checkpoint SOURCE --ported PORTED names the stage.",
}


@dataclass(frozen=True, slots=True, repr=False)
class AgreementReport:
    """How far a source and its port agree on the images of a data set.

    Attributes:
        statistics: Every figure.
        data: The data set, in words.
        source: What TensorFlow ran.
        port: What PyTorch ran.
        labels: How labels were told, in words.
        rows: The file with a row for each image.
        thumbnails: Small copies of the images of the largest flips by the index of their rows, as data URLs.

    Example:
        >>> from porter.agreement.statistics import Statistics
        >>> Statistics().cause is None
        True
    """

    statistics: Statistics
    data: str
    source: SourceFacts
    port: PortFacts
    labels: str
    rows: Path
    thumbnails: Mapping[int, str]

    @property
    def top1(self) -> float:
        """Share of images to which both give the same class first; 1 of none."""
        return self._share("same_first")

    @property
    def top5(self) -> float:
        """Share of images whose first class at the source is one of the port's five likeliest; 1 of none."""
        return self._share("first_in_best")

    @property
    def flips(self) -> int:
        """How many images get another first class."""
        counts = self.statistics.counts
        return counts["compared"] - counts["same_first"]

    @property
    def cause(self) -> str | None:
        """The step that makes most of the difference: ``"decode"``, ``"resize"`` or ``"network"``.

        None if there is no more than float32's rounding.
        """
        return self.statistics.cause

    @property
    def is_preprocessing(self) -> bool:
        """Whether most of the difference is made before the networks."""
        return self.cause in ("decode", "resize")

    def _share(self, name: str) -> float:
        counts = self.statistics.counts
        return counts[name] / counts["compared"] if counts["compared"] else 1.0

    @property
    def verdict(self) -> str:
        """One sentence on what makes the difference."""
        if not self.statistics.counts["compared"]:
            return "no image could be compared"
        if self.cause is None:
            return f"no difference beyond float32's rounding ({ROUNDING:g} of a probability)"
        if self.cause == "resize" and self.statistics.counts["turned"]:
            turned = "the port's metadata state another order of colours than its weights take"
            return f"{turned}: the networks agree once it is turned round"
        return WORDS[self.cause]

    def text(self) -> str:
        """Return the report as lines for a terminal."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        counts = self.statistics.counts
        compared = counts["compared"]
        yield f"data        {self.data}; {self.statistics.images} images"
        yield f"source      TensorFlow: {self.source.network}"
        yield f"  images    {self.source.preparation}"
        yield f"port        PyTorch: {self.port.network}"
        yield f"  images    {self.port.preparation}"
        yield from (f"note        {note}" for note in self.source.notes)
        if counts["unusable"]:
            yield f"unreadable  {counts['unusable']} images, not compared:"
            yield from (f"  {row.key}: {row.fault}" for row in self.statistics.unusable[:_SHOWN])
            if counts["unusable"] > _SHOWN:
                yield f"  and {counts['unusable'] - _SHOWN} more, see {self.rows}"
        yield ""
        yield f"top-1       {self.top1:.3%} agree ({counts['same_first']} of {compared}), {self.flips} flips"
        yield f"top-5       {self.top5:.3%} have the source's first class among the port's five"
        yield from self._accuracy()
        yield from self._table()
        yield ""
        yield f"cause       {self.verdict}"
        if self.cause is not None:
            yield f"            {_HINTS[self.cause]}"
        yield from self._flip_lines()
        yield f"rows        {self.rows}"

    def _accuracy(self) -> Iterator[str]:
        counts = self.statistics.counts
        if not (labelled := counts["labelled"]):
            yield f"accuracy    not known; labels: {self.labels}"
            return
        for side in ("source", "ported"):
            first, best = (counts[f"{side}_{name}"] / labelled for name in ("right", "right_in_best"))
            yield f"accuracy    {side:<6} top-1 {first:.3%}, top-5 {best:.3%} of {labelled}"
        yield f"  labels    {self.labels}"

    def _table(self) -> Iterator[str]:
        yield ""
        yield "largest difference of a class's probability, and what makes it"
        yield f"{'':12}{'median':>10}{'90 %':>10}{'99 %':>10}{'largest':>10}  images where it is the cause"
        for name in MEASURES:
            values = "".join(f"{value:>10.1e}" for value in self.statistics.quantiles(name).values())
            caused = f"  {self.statistics.causes[name]}" if name in STEPS else ""
            yield f"  {_NAMES[name]:10}{values}{caused}"

    def _flip_lines(self) -> Iterator[str]:
        if not self.flips:
            return
        yield "flips       those with the largest difference; the page shows them"
        for row in self.statistics.largest_flips[:_SHOWN]:
            one, other = (self._guess(row, side) for side in ("source", "ported"))
            yield f"  {row.key}: {one}, port {other} ({row.cause})"

    def _guess(self, row: ImageRow, side: str) -> str:
        number, share = getattr(row, f"{side}_best")[0], getattr(row, f"{side}_probabilities")[0]
        return f"{self.name(number)} {share:.1%}"

    def name(self, number: int) -> str:
        """Return the name of a class, or its number."""
        names: Sequence[str] = self.port.names
        return names[number].split(",")[0] if number < len(names) else f"class {number}"

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON-ready data."""
        found = self.statistics
        return {
            "schema": "porter-agreement",
            "schema_version": 1,
            "data": self.data,
            "images": found.images,
            "source": {**self.source._asdict(), "notes": list(self.source.notes)},
            "port": {"network": self.port.network, "preparation": self.port.preparation},
            "classes": self.port.classes,
            "activation": self.port.activation,
            "labels": self.labels,
            "counts": dict(found.counts),
            "top1_agreement": self.top1,
            "top5_agreement": self.top5,
            "flips": self.flips,
            "measures": {
                name: {
                    "mean": found.mean(name),
                    "quantiles": {str(q): value for q, value in found.quantiles(name).items()},
                }
                for name in MEASURES
            },
            "cause": self.cause,
            "cause_in_words": self.verdict,
            "images_by_cause": dict(found.causes),
            "largest_flips": [row.to_json() for row in found.largest_flips],
            "unusable": [row.to_json() for row in found.unusable],
            "rows": str(self.rows),
        }

    def json(self) -> str:
        """Return the report as a JSON document."""
        return json.dumps(self.to_json(), indent=2)

    def html(self) -> str:
        """Return the report as one self-contained page with the flips' images."""
        flips = [
            (row, self._guess(row, "source"), self._guess(row, "ported"), self.thumbnails.get(row.index, ""))
            for row in self.statistics.largest_flips
        ]
        title = f"Agreement on {self.data}"
        return page(title, self.verdict, self.text(), flips, agrees=self.cause is None)

    def __repr__(self) -> str:
        """Return the answer in a line."""
        compared = self.statistics.counts["compared"]
        return f"<{self.top1:.3%} top-1 agreement on {compared} images, {self.flips} flips: {self.verdict}>"

    def _repr_html_(self) -> str:
        """Return the page in a frame: its styles stay out of the notebook."""
        return _FRAME.format(page=html.escape(self.html(), quote=True))


_NAMES = {
    "difference": "all",
    "decode": "decode",
    "resize": "resize",
    "network": "network",
    "divergence": "KL (nats)",
}
