"""TensorFlow's side of an agreement: the source's network on images that the source's code prepares."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from porter.core.checkpoint import Array, Checkpoint
from porter.data.items import Item, Part
from porter.data.opening import read_part
from porter.errors import ParityError
from porter.loading.ported_file import Ported, read_metadata
from porter.planning.expected_input import TABLES_SIZE
from porter.planning.plan import Plan
from porter.planning.port_options import PortOptions
from porter.recordings.images import prepare
from porter.runners.agreement_job import (
    AgreementJob,
    Exchange,
    SourceFacts,
    exchange_path,
    in_words,
    job_from_json,
    port_spec,
)
from porter.runners.agreement_worker import Requests, serve_parts
from porter.runners.decoding import decoded_image, resized
from porter.runners.file_witness import FileWitness
from porter.runners.job import Job, planned_stages
from porter.runners.source_network import open_source_network
from porter.runners.tensorflow import pin, source_preparation, table_logits
from porter.transfer.atomic_file import write_whole

_CHANNELS = 3
_PLACES = re.compile(r"\{\{.*?\}\}|\[Op:.*?\]")


class SourceSide:
    """The source's network, ready for images.

    Args:
        asked: The two networks.

    Raises:
        PorterError: the source cannot be read, planned or run, or has no classes.
    """

    def __init__(self, asked: AgreementJob) -> None:
        if not asked.gpu:
            pin(asked.threads)
        ported = read_metadata(Path(asked.ported))
        self._port_spec = port_spec(ported)
        self._job = job = _job(asked, ported)
        with job.open_weights() as checkpoint:
            self._plan = port_plan = _planned(job, checkpoint, self._port_spec.size)
            self._size = _size(port_plan, checkpoint)
            probe = np.zeros((1, self._size, self._size, _CHANNELS), np.float32)
            probe[:] = np.random.default_rng(0).normal(size=probe.shape)
            if planned_stages(port_plan)[-1].name != "logits":
                raise ParityError("agree/no-classes", "the source has no classifier", file=checkpoint.path)
            witness, notes = open_source_network(job, port_plan, checkpoint, [probe])
            self._prepare, words = self._preparation(witness, checkpoint, probe)
            self._logits = witness.logits if witness else table_logits(port_plan, checkpoint, probe, notes)
        network = witness.words if witness else port_plan.variant.source.name
        said = (*witness.notes, *notes) if witness else notes
        classes = self._run(probe).shape[1]
        self.facts = SourceFacts(network, words, self._size, classes, port_plan.channel_order, said)

    def see(self, items: Iterable[Item]) -> Exchange:
        """Prepare and run the images of a part."""
        faults, prepared, ported = [], [], []
        for item in items:
            fault = item.fault
            if not fault:
                try:
                    decoded = decoded_image(item.encoded)
                    one, other = self._prepare(decoded), self._prepared_as_ported(decoded)
                    prepared.append(one)
                    ported.append(other)
                except (tf.errors.OpError, ValueError, TypeError) as error:  # as its decoders and resize do
                    fault = f"TensorFlow cannot prepare it ({_said(error)})"
                except ParityError as error:
                    fault = f"{error.problem} ({error.found})"
            faults.append(fault)
        size = self._port_spec.size
        given = np.stack(prepared) if prepared else np.empty((0, *(self._size,) * 2, _CHANNELS), np.float32)
        resize = np.stack(ported) if ported else np.empty((0, size, size, _CHANNELS), np.float32)
        logits = self._run(given) if prepared else np.empty((0, self.facts.classes), np.float32)
        return Exchange(tuple(faults), given, resize, logits)

    def _run(self, images: Array) -> Array:
        found = self._logits(images)
        logits: Array = np.ascontiguousarray(found.reshape(len(images), -1), np.float32)
        return logits

    def _prepared_as_ported(self, decoded: Any) -> Array:
        return prepare(decoded.numpy(), self._port_spec, self._port_spec.size)

    def _preparation(
        self, witness: FileWitness | None, checkpoint: Checkpoint, probe: Array
    ) -> tuple[Callable[[Any], Array], str]:
        """Return what prepares a decoded image (H, W, 3) uint8, and what that is in words."""
        spec = self._plan.input_spec._replace(channel_order=self._plan.channel_order)
        spec = spec._replace(size=self._size)
        scale = None if witness is None else witness.scale
        if scale is not None and (np.any(scale.factor != 1) or np.any(scale.offset)):
            crop = in_words(spec).split(", mean")[0]

            def scaled(decoded: Any) -> Array:
                pixels = resized(decoded, spec, self._size).numpy().astype(np.float64)
                values: Array = (pixels * scale.factor + scale.offset).astype(np.float32)
                return values

            return scaled, f"tf.image.resize ({crop}), then the layers of the file's own network"
        own = source_preparation(self._job, self._plan, checkpoint, probe, restored=witness is None)
        if own is not None:
            return own, f"{self._plan.variant.source.name.partition('.')[0]}'s own code: {in_words(spec)}"

        def normalised(decoded: Any) -> Array:
            pixels = resized(decoded, spec, self._size)
            mean, std = (np.asarray(values, np.float32) * np.float32(255) for values in (spec.mean, spec.std))
            values: Array = ((pixels - mean) / std).numpy()
            return values[..., ::-1] if spec.channel_order == "bgr" else values

        return normalised, f"tf.image.resize, as the table says: {in_words(spec)}"


def _job(asked: AgreementJob, ported: Ported) -> Job:
    """Return a job that reads of the source what the ported file was made of, and nothing else of it."""
    options = PortOptions(variant=asked.variant, draft=True).merged(
        {"classes": ported.metadata.get("porter.classes", "all"), "weights": ported.weights_read or "auto"}
    )
    return Job(
        table=asked.table,
        variant=asked.variant,
        inputs="",
        names=(),
        dtypes=("float32",),
        out="",
        threads=asked.threads,
        checkpoint=asked.source,
        options=options,
        trust_table=asked.trust_table,
    )


def _planned(job: Job, checkpoint: Checkpoint, size: int) -> Plan:
    """Plan the source; where it does not tell the size of its images, take the port's."""
    port_plan = job.plan(checkpoint)
    if (
        port_plan.input_spec.size == size
        or port_plan.size_source != TABLES_SIZE
        or port_plan.fixed_size is not None
    ):
        return port_plan
    return replace(job, options=replace(job.options, input_size=size)).plan(checkpoint)


def _size(port_plan: Plan, checkpoint: Checkpoint) -> int:
    if port_plan.fixed_size is None:
        return port_plan.input_spec.size
    height, width = port_plan.fixed_size
    if height != width:
        raise ParityError(
            "agree/not-square",
            "the source's network takes images that are not square, and images are prepared as squares",
            file=checkpoint.path,
            found=f"{height}x{width}",
        )
    return height


def _said(error: Exception) -> str:
    """Return the first line of an error, without where in TensorFlow it was."""
    lines = str(getattr(error, "message", error)).splitlines() or [type(error).__name__]
    return _PLACES.sub("", lines[0]).strip()[:120]


def _work(requests: Requests) -> Iterator[Any]:
    asked = next(requests)
    side = SourceSide(job_from_json(asked["job"]))
    yield side.facts
    for request in requests:
        part = Part.from_json(request["part"])
        found = side.see(read_part(part)).to_bytes()
        write_whole(exchange_path(Path(asked["folder"]), part.number), found)
        yield part.number


if __name__ == "__main__":
    serve_parts(_work)
