"""PyTorch alone on the images of a data set: what a ported network sees in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from porter.data.items import Item, Part
from porter.data.opening import read_part
from porter.errors import OutputError, ParityError
from porter.loading.classification import Classifier
from porter.loading.labels import imagenet_labels, read_labels
from porter.parity.image_row import BEST, probabilities
from porter.parity.row_files import write_described
from porter.recordings.images import decode_bytes, prepare
from porter.runners.agreement_job import AgreementJob, job_from_json, port_spec
from porter.runners.agreement_worker import Requests, serve_parts


class PredictionSide:
    """A ported network, ready for images.

    Args:
        asked: The ported file; its source is not used.

    Raises:
        PorterError: the ported file cannot be loaded, or has no classes.
    """

    def __init__(self, asked: AgreementJob) -> None:
        torch.set_num_threads(asked.threads)
        self._path = Path(asked.ported)
        device = "cuda" if asked.gpu else "cpu"
        self._classifier = found = Classifier(self._path, trust_table=asked.trust_table, device=device)
        self._spec = port_spec(found.ported)
        classes = found.classes
        self._labels = read_labels(Path(asked.labels), classes) if asked.labels else imagenet_labels(classes)
        self.facts = (found.ported.variant, found.activation, self._labels.source)

    def see(self, part: Part, items: Iterable[Item]) -> list[dict[str, Any]]:
        """Return a row for each image of a part.

        Raises:
            OutputError: an answer is not finite.
        """
        rows: list[dict[str, Any]] = []
        prepared, places = [], []
        for number, item in enumerate(items):
            fault = item.fault
            if not fault:
                try:
                    image = decode_bytes(item.encoded, item.key)
                    prepared.append(prepare(image, self._spec, self._spec.size))
                    places.append(number)
                except ParityError as error:
                    fault = error.problem
            label = None if item.label is None else str(item.label)
            rows.append({"index": part.index + number, "key": item.key, "label": label, "fault": fault})
        logits = self._classifier.logits(np.stack(prepared)) if prepared else np.empty((0, 1))
        if not np.isfinite(logits).all():
            raise OutputError("classify/not-finite", "the network's answer is not finite", file=self._path)
        for place, each in zip(places, probabilities(logits, self._classifier.activation), strict=True):
            best = [int(i) for i in np.argsort(-each, kind="stable")[:BEST]]
            rows[place] |= {
                "classes": best,
                "names": [self._labels.name(i) for i in best],
                "probabilities": [float(each[i]) for i in best],
            }
        return rows


def _work(requests: Requests) -> Iterator[Any]:
    asked = next(requests)
    side = PredictionSide(job_from_json(asked["job"]))
    yield side.facts
    for request in requests:
        part = Part.from_json(request["part"])
        write_described(Path(asked["rows"]), part.number, side.see(part, read_part(part)))
        yield part.number


if __name__ == "__main__":
    serve_parts(_work)
