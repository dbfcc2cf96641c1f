"""PyTorch alone on the images of a data set: what a ported network sees in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from porter.data.items import Item, Part
from porter.data.opening import read_part
from porter.loading.classification import Classifier
from porter.loading.labels import labels_of, read_labels
from porter.parity.image_row import BEST
from porter.parity.row_files import write_described
from porter.runners.agreement_job import AgreementJob, job_from_json
from porter.runners.agreement_worker import Requests, serve_parts


def open_classifier(asked: AgreementJob) -> Classifier:
    """Load the ported network where the job is to run.

    Raises:
        PorterError: the file cannot be loaded, or its network gives no classes.
    """
    torch.set_num_threads(asked.threads)
    device = "cuda" if asked.gpu else "cpu"
    return Classifier(Path(asked.ported), trust_table=asked.trust_table, device=device)


class PredictionSide:
    """A ported network, ready for images.

    Args:
        asked: The ported file; its source is not used.

    Raises:
        PorterError: the ported file cannot be loaded, or has no classes.
    """

    def __init__(self, asked: AgreementJob) -> None:
        self._classifier = found = open_classifier(asked)
        if asked.labels:
            self._labels = read_labels(Path(asked.labels), found.classes)
        else:
            self._labels = labels_of(found.ported, found.classes)
        self.facts = (found.ported.variant, found.activation, self._labels.source)

    def see(self, part: Part, items: Iterable[Item]) -> list[dict[str, Any]]:
        """Return a row for each image of a part.

        Raises:
            OutputError: an answer is not finite.
        """
        images = list(items)
        rows: list[dict[str, Any]] = []
        for number, (item, seen) in enumerate(
            zip(images, self._classifier.see(images, self._labels, BEST), strict=True)
        ):
            label = None if item.label is None else str(item.label)
            row = {"index": part.index + number, "key": item.key, "label": label}
            row["fault"] = seen.error.problem if seen.error else ""
            if not seen.error:
                row["classes"] = [guess.number for guess in seen.best]
                row["names"] = [guess.label for guess in seen.best]
                row["probabilities"] = [guess.probability for guess in seen.best]
            rows.append(row)
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
