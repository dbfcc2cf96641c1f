"""`porter.agree`: how far a source and its port agree on a data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from porter.agreement.class_labels import class_labels
from porter.agreement.engine import Engine, Progress, require_package, silent
from porter.agreement.folder import RunFolder, refuse_data, state_of
from porter.agreement.gallery import thumbnails
from porter.agreement.local_engine import LocalEngine, Stage
from porter.agreement.report import AgreementReport
from porter.agreement.statistics import Statistics
from porter.checkpoints import open_checkpoint
from porter.data.items import DataSet
from porter.data.opening import open_data, stated_class_names
from porter.loading.labels import names_of_file, read_labels
from porter.loading.ported_file import ported_files, read_metadata, refuse_several_outputs
from porter.parity.image_row import counted_classes
from porter.parity.row_files import write_described
from porter.runners.agreement_job import AgreementJob, PortFacts, SourceFacts
from porter.tables.known_tables import Tables
from porter.tables.shipped import load_tables
from porter.transfer.atomic_file import write_whole
from porter.transfer.source_hashes import SourceHashes
from porter.version import VERSION


def agree(  # noqa: PLR0913  (a person gives what differs from the defaults, by name)
    source: str | os.PathLike[str],
    ported: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None = None,
    label_offset: int | None = None,
    engine: Engine | None = None,
    tables: Tables | None = None,
    trust_table: bool = False,
    phase: Callable[[str], None] = silent,
    progress: Progress = silent,
) -> AgreementReport:
    """Run a source in TensorFlow and its port in PyTorch on the same images, each with its own preparation.

    Every difference is split: what the decoders make, what crop, resize, scaling and colours make, and what
    the networks make on the same pixels. A run that was interrupted goes on from what is done.

    Args:
        source: What was ported: a file or folder that `open_checkpoint` reads.
        ported: The ported file.
        data: The images: a folder, Parquet files, WebDataset tars, a list, or one image; see `open_data`.
        out: Folder for the rows and the report.
        labels: File with the names of the classes, one a line; ImageNet's if None.
        label_offset: What is added to labels that are numbers.
        engine: Where the work is done; one process of each framework on this machine if None.
        tables: Known networks; those that come with porter if None.
        trust_table: Run functions that the table, or `ported`, names; they are refused if False.
        phase: Called with each phase, in words, as it begins.
        progress: Called with how many images are done, and of how many.

    Returns:
        The figures, the largest flips and the file of all rows.

    Raises:
        PorterError: what is missing or refused.

    Example:
        >>> porter.agree("ckpt-1", "mobilenet.safetensors", "no-such-folder", out="agreement")
        Traceback (most recent call last):
        ...
        porter.errors.DataError: no-such-folder: does not exist
    """
    engine = engine or Engine()
    require_package("torch", "torch")
    images = _images(Path(data), Path(out), labels)
    job = _job(Path(source), Path(ported), tables or load_tables(), engine, trust_table=trust_table)
    with RunFolder(Path(out), "rows") as folder:
        phase("listing the images")
        folder.prepare(images, engine.batch, _described(job))
        facts = _run(folder, job, engine, phase, progress)
        phase("counting")
        facts = _completed(job, facts, labels)
        report = _report(folder, facts, images, label_offset)
        write_whole(folder.path / "agreement.json", report.json())
        write_whole(folder.path / "agreement.html", report.html())
    return report


def _images(data: Path, out: Path, labels: str | os.PathLike[str] | None) -> DataSet:
    """Open the data, and refuse what would only be noticed once every image is done."""
    images = open_data(data)
    refuse_data(out, data)
    if labels is not None:
        names_of_file(Path(labels))
    return images


def _job(source: Path, ported: Path, tables: Tables, engine: Engine, *, trust_table: bool) -> AgreementJob:
    described = read_metadata(ported)
    refuse_several_outputs(described, ported)
    return AgreementJob(
        source=str(source.absolute()),
        ported=str(ported.absolute()),
        table=str(tables.variant(described.variant).table),
        variant=described.variant,
        gpu=engine.gpus_per_worker > 0,
        trust_table=trust_table,
    )


def _described(job: AgreementJob) -> Mapping[str, Any]:
    """Return what makes a run another one: the files, by when they were written, and porter itself."""
    with open_checkpoint(job.source) as checkpoint:
        sources = [state_of(file) for file in checkpoint.files]
    ported = [state_of(file) for file in ported_files(Path(job.ported))]
    table = state_of(Path(job.table))
    return {"porter": VERSION, "source": sources, "ported": ported, "table": table, "gpu": job.gpu}


def _of_another_source(job: AgreementJob) -> Sequence[str]:
    """Return a note if the ported file says that it was made of other files than the source's."""
    stated = read_metadata(Path(job.ported)).source_digests
    with open_checkpoint(job.source) as checkpoint, SourceHashes(checkpoint.files) as hashes:
        found = sorted(file.sha256 for file in hashes.result())
    if not stated or sorted(stated) == found:
        return ()
    return (f"{Path(job.ported).name} was ported from other files than these: their digests differ",)


def _completed(
    job: AgreementJob, facts: tuple[SourceFacts, PortFacts], labels: str | os.PathLike[str] | None
) -> tuple[SourceFacts, PortFacts]:
    """Add to what the sides say of themselves what is known of them here."""
    of_source, of_port = facts
    if labels is not None:
        names = read_labels(Path(labels), counted_classes(of_port.classes)).names
        of_port = of_port._replace(names=names, codes=())
    notes = (*_of_another_source(job), *of_source.notes)
    return of_source._replace(notes=notes), of_port


def _run(
    folder: RunFolder, job: AgreementJob, engine: Engine, phase: Callable[[str], None], progress: Progress
) -> tuple[SourceFacts, PortFacts]:
    """Do what is not done yet; return what both sides say of themselves."""
    done, facts = folder.done_images(), folder.facts()
    if done == folder.images and facts:
        phase("every image is done already")
    else:
        went_on = f", {done} images are done already" if done else ""
        phase(f"starting TensorFlow and PyTorch{went_on}")
        work = _local if engine.name == "local" else _ray
        for count in work(folder, job, engine):
            done += count
            progress(done, folder.images)
        facts = folder.facts()
    return SourceFacts(*facts[0]), PortFacts(*facts[1])


def _local(folder: RunFolder, job: AgreementJob, engine: Engine) -> Iterator[int]:
    """Yield how many images were done, again and again."""
    setup = {"job": job.to_json(), "folder": str(folder.exchange), "rows": str(folder.rows)}
    stages = [Stage("tensorflow", "agreement_source", setup), Stage("torch", "agreement_port", setup)]
    with LocalEngine(stages, engine.workers, job.threads) as running:
        facts = running.facts()
        folder.keep_facts(facts)
        for part in running.run(folder.left(), {"order": SourceFacts(*facts[0]).order}):
            yield part.count


def _ray(folder: RunFolder, job: AgreementJob, engine: Engine) -> Iterator[int]:
    from porter.agreement.ray_engine import AGREEMENT, RayEngine  # noqa: PLC0415  (an extra)

    with RayEngine(engine.ray_address, engine.workers, engine.gpus_per_worker) as running:
        for answer in running.run(folder.left(), job, AGREEMENT):
            folder.keep_facts(answer.facts)
            write_described(folder.rows, answer.part.number, answer.rows)
            yield answer.part.count


def _report(
    folder: RunFolder, facts: tuple[SourceFacts, PortFacts], data: DataSet, offset: int | None
) -> AgreementReport:
    rows = folder.finish()
    port = facts[1]
    found = {row.label for row in folder.read() if row.label is not None}
    stated = stated_class_names(data)
    known = class_labels(found, counted_classes(port.classes), port.names, port.codes, offset, stated)
    statistics = Statistics()
    for row in folder.read():
        statistics.add(row, None if row.label is None else known.numbers.get(row.label))
    small = thumbnails(folder, statistics.largest_flips)
    return AgreementReport(statistics, data.words, *facts, labels=known.words, rows=rows, thumbnails=small)
