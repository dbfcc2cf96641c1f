"""What a ported network sees in the images of a data set, as a file of rows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from porter.agreement.engine import Engine, Progress, require_package, silent
from porter.agreement.folder import RunFolder, refuse_data, state_of
from porter.agreement.local_engine import LocalEngine, Stage
from porter.data.opening import open_data
from porter.errors import OutputError
from porter.loading.labels import names_of_file
from porter.loading.ported_file import ported_files, read_metadata, refuse_several_outputs
from porter.parity.row_files import finished_parts, read_described, write_described
from porter.runners.agreement_job import AgreementJob
from porter.transfer.atomic_file import output_error, require_writable
from porter.version import VERSION

_ENDINGS = (".parquet", ".jsonl")


class Predicted(NamedTuple):
    """What was written.

    Attributes:
        path: The file, a row for each image.
        images: How many there are.
        unusable: Name and fault of the first that could not be read.
        faults: How many could not be read.
    """

    path: Path
    images: int
    unusable: Sequence[tuple[str, str]]
    faults: int


def predict(
    ported: Path,
    data: Path,
    out: Path,
    *,
    labels: Path | None = None,
    engine: Engine | None = None,
    trust_table: bool = False,
    phase: Callable[[str], None] = silent,
    progress: Progress = silent,
) -> Predicted:
    """Write the five likeliest classes of every image; a run that was interrupted goes on.

    Args:
        ported: The ported file.
        data: The images, as for `porter.agree`.
        out: The file to write, ``.parquet`` or ``.jsonl``.
        labels: File with the names of the classes; ImageNet's if None.
        engine: Where the work is done; one process on this machine if None.
        trust_table: Run a function that `ported` names.
        phase: Called with each phase as it begins.
        progress: Called with how many images are done, and of how many.

    Raises:
        PorterError: what is missing or refused.
    """
    engine = engine or Engine()
    _refuse(ported, data, out)
    images = open_data(data)
    job = AgreementJob(
        source="",
        ported=str(ported.absolute()),
        table="",
        variant="",
        gpu=engine.gpus_per_worker > 0,
        trust_table=trust_table,
        labels="" if labels is None else str(labels.absolute()),
    )
    described = {
        "porter": VERSION,
        "ported": [state_of(file) for file in ported_files(ported)],
        "labels": None if labels is None else names_of_file(labels),
    }
    with RunFolder(out.with_name(f"{out.name}.unfinished"), "rows") as folder:
        require_writable(out)
        phase("listing the images")
        folder.prepare(images, engine.batch, described)
        done = folder.done_images()
        phase("starting PyTorch" + (f", {done} images are done already" if done else ""))
        for count in (_local if engine.name == "local" else _ray)(folder, job, engine):
            done += count
            progress(done, folder.images)
        return _finished(folder, out)


def _refuse(ported: Path, data: Path, out: Path) -> None:
    """Refuse what would only be noticed once every image is done."""
    if out.suffix not in _ENDINGS:
        raise OutputError(
            "classify/out", "the file's ending says its format", file=out, expected=" or ".join(_ENDINGS)
        )
    require_package("torch", "torch")
    if out.suffix == ".parquet":
        require_package("pyarrow", "data")
    refuse_data(out, data)
    refuse_several_outputs(read_metadata(ported), ported)


def _local(folder: RunFolder, job: AgreementJob, engine: Engine) -> Iterator[int]:
    setup = {"job": job.to_json(), "rows": str(folder.rows)}
    with LocalEngine([Stage("torch", "prediction", setup)], engine.workers, job.threads) as running:
        running.facts()
        for part in running.run(folder.left(), {}):
            yield part.count


def _ray(folder: RunFolder, job: AgreementJob, engine: Engine) -> Iterator[int]:
    from porter.agreement.ray_engine import PREDICTION, RayEngine  # noqa: PLC0415  (an extra)

    with RayEngine(engine.ray_address, engine.workers, engine.gpus_per_worker) as running:
        for answer in running.run(folder.left(), job, PREDICTION):
            write_described(folder.rows, answer.part.number, answer.rows)
            yield answer.part.count


def _finished(folder: RunFolder, out: Path) -> Predicted:
    parts = sorted(finished_parts(folder.rows))
    faults: list[tuple[str, str]] = []

    def rows() -> Iterator[Mapping[str, Any]]:
        for row in read_described(folder.rows, parts):
            if row["fault"]:
                faults.append((row["key"], row["fault"]))
            yield row

    beside = folder.path / out.name
    try:
        if out.suffix == ".jsonl":
            with beside.open("w", encoding="utf-8") as lines:
                lines.writelines(json.dumps(row) + "\n" for row in rows())
        else:
            from porter.agreement.row_table import write_predictions  # noqa: PLC0415  (an extra)

            write_predictions(beside, rows())
        beside.replace(out)
    except OSError as error:
        raise output_error(error, out) from None
    shutil.rmtree(folder.path, ignore_errors=True)
    return Predicted(out, folder.images, faults[:5], len(faults))
