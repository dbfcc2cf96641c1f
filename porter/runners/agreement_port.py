"""PyTorch's side of an agreement: the ported network on its own pixels, and on TensorFlow's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from timm.data.imagenet_info import ImageNetInfo

from porter.core.checkpoint import Array
from porter.data.items import Item, Part
from porter.data.opening import read_part
from porter.errors import ParityError
from porter.loading.labels import imagenet_labels, labels_of
from porter.parity.image_row import ROUNDING, Answers, ImageRow, agrees_better, compared, probabilities
from porter.parity.row_files import write_rows
from porter.recordings.images import decode_bytes, prepare
from porter.runners.agreement_job import (
    AgreementJob,
    Exchange,
    PortFacts,
    exchange_path,
    in_words,
    job_from_json,
    port_spec,
)
from porter.runners.agreement_worker import Requests, serve_parts
from porter.runners.prediction import open_classifier


class PortSide:
    """The ported network, ready for images.

    Args:
        asked: The two networks.

    Raises:
        PorterError: the ported file cannot be loaded, or has no classes.
    """

    def __init__(self, asked: AgreementJob) -> None:
        self._classifier = found = open_classifier(asked)
        self._spec = port_spec(found.ported)
        is_imagenet = bool(imagenet_labels(found.classes).names)
        self.facts = PortFacts(
            network=f"{found.ported.model}, {Path(asked.ported).name}",
            preparation=f"as the file's metadata say: {in_words(self._spec)}",
            classes=found.classes,
            activation=found.activation,
            names=tuple(labels_of(found.ported, found.classes).names),
            codes=tuple(ImageNetInfo().label_names()) if is_imagenet else (),
        )

    def see(self, part: Part, items: Iterable[Item], source: Exchange, order: str) -> list[ImageRow]:
        """Prepare and run the images of a part; compare them with what TensorFlow made of them.

        Args:
            part: The part.
            items: Its images.
            source: TensorFlow's answer.
            order: Order of the colours of TensorFlow's network.

        Raises:
            ParityError: the networks have other numbers of classes, or an answer is not finite.
        """
        if source.logits.shape[1] != self.facts.classes:
            raise ParityError(
                "agree/classes",
                "source and port have other numbers of classes",
                expected=f"{source.logits.shape[1]}, as the source",
                found=self.facts.classes,
                hint="Was PORTED ported from this source?",
            )
        rows: list[ImageRow] = []
        used: list[tuple[int, int]] = []  # place in TensorFlow's arrays, and in rows
        own: list[Array] = []
        of_source = 0
        for number, item in enumerate(items):
            fault, place = source.faults[number], of_source
            of_source += not fault
            if not fault:
                try:
                    own.append(self._prepared(item))
                    used.append((place, number))
                except ParityError as error:
                    fault = f"Pillow: {error.problem}"
            rows.append(ImageRow(part.index + number, part.number, item.key, item.label, fault))
        if own:
            self._fill(rows, used, np.stack(own), source, order)
        return rows

    def _prepared(self, item: Item) -> Array:
        return prepare(decode_bytes(item.encoded, item.key), self._spec, self._spec.size)

    def _fill(
        self, rows: list[ImageRow], used: list[tuple[int, int]], own: Array, source: Exchange, order: str
    ) -> None:
        """Put what the networks answer into the rows of the images that both could use."""
        places = [place for place, _ in used]
        prepared, resized = source.prepared[places], source.resized[places]
        theirs = prepared if order == self._spec.channel_order else prepared[..., ::-1]
        ported = self._classifier.logits(own)
        same_decoded = self._where_other(resized, own, ported)
        same_pixels = self._where_other(theirs, resized, same_decoded)
        turned = self._turned(theirs, source.logits[places], same_pixels)
        for number, (place, row) in enumerate(used):
            answers = Answers(source.logits[place], same_pixels[number], same_decoded[number], ported[number])
            for logits, side in zip(answers, ("the source's", *["the port's"] * 3), strict=True):
                if not np.isfinite(logits).all():
                    raise ParityError(
                        "agree/not-finite", f"{side} answer is not finite", found=f"image {rows[row].key}"
                    )
            pixels = {
                "decoded_pixels": _largest(resized[number], own[number]),
                "resized_pixels": _largest(theirs[number], resized[number]),
                "turned": number in turned,
            }
            found = compared(answers, self.facts.activation)
            rows[row] = ImageRow.from_json({**rows[row].to_json(), **found, **pixels})

    def _where_other(self, pixels: Array, known: Array, answer: Array) -> Array:
        """Run the images that differ from those whose answer is known."""
        same_shape = pixels.shape == known.shape
        other = [n for n in range(len(pixels)) if not (same_shape and np.array_equal(pixels[n], known[n]))]
        if not other:
            return answer
        # The whole batch, for the last digits of an answer depend on its size.
        found = self._classifier.logits(pixels)
        return np.stack([found[n] if n in other else answer[n] for n in range(len(pixels))])

    def _turned(self, theirs: Array, source: Array, same_pixels: Array) -> set[int]:
        """Find images on which the networks agree only once the colours are turned round; answer with that.

        Then the metadata state the wrong order, and the network itself is right.
        """
        kind = self.facts.activation
        apart = np.abs(probabilities(source, kind) - probabilities(same_pixels, kind)).max()
        if apart <= ROUNDING:
            return set()
        other = self._classifier.logits(theirs[..., ::-1])
        turned = {n for n in range(len(source)) if agrees_better(source[n], other[n], same_pixels[n], kind)}
        for number in turned:
            same_pixels[number] = other[number]
        return turned


def _largest(one: Array, other: Array) -> float | None:
    return float(np.abs(one - other).max(initial=0.0)) if one.shape == other.shape else None


def _work(requests: Requests) -> Iterator[Any]:
    asked = next(requests)
    side = PortSide(job_from_json(asked["job"]))
    yield side.facts
    for request in requests:
        part = Part.from_json(request["part"])
        exchanged = exchange_path(Path(asked["folder"]), part.number)
        if exchanged.exists():  # or else a process that died at this very place has written the rows
            source = Exchange.from_bytes(exchanged.read_bytes())
            rows = side.see(part, read_part(part), source, request["order"])
            write_rows(Path(asked["rows"]), part.number, rows)
            exchanged.unlink()
        yield part.number


if __name__ == "__main__":
    serve_parts(_work)
