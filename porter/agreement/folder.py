"""The folder of an agreement: what is to be done, what is done, and the rows of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from porter.data.files import OF_A_RUN
from porter.data.items import DataSet, Part
from porter.errors import DataError, OutputError
from porter.parity.image_row import ImageRow
from porter.parity.row_files import finished_parts, read_rows, rows_of_file
from porter.transfer.atomic_file import output_error, write_whole

if TYPE_CHECKING:
    from filelock import FileLock


class RunFolder:
    """A folder that a run writes, and another run goes on with.

    Attributes:
        path: The folder.
        rows: Where the rows of every part lie until all are there.
        exchange: What one framework leaves for the other.
        images: How many images the data set has.

    Args:
        path: The folder; it is made if it is not there.
        name: Of the files that the run leaves, without their endings.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self._name = path, name
        self.rows, self.exchange = path / "parts-done", path / "exchange"
        self._parts, self._run, self._facts = (path / name for name in (*OF_A_RUN, "sides.json"))
        self.images = 0
        self._lock: FileLock | None = None
        self._is_new = False

    def __enter__(self) -> Self:
        """Hold the folder: two runs at once would do the same parts.

        Raises:
            OutputError: another run holds it (``agree/in-use``), or it cannot be written.
        """
        from filelock import FileLock, Timeout  # noqa: PLC0415  (comes with torch)

        try:
            self._is_new = not self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path / ".lock", timeout=0)
            self._lock.acquire()
        except Timeout:
            raise OutputError(
                "agree/in-use",
                "another run writes into this folder",
                file=self.path,
                hint="Wait until it ends, or give another --out.",
            ) from None
        except FileExistsError:
            raise OutputError("output/not-a-folder", "is there and is no folder", file=self.path) from None
        except OSError as error:
            raise output_error(error, Path(error.filename or self.path)) from None
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Let the folder go; a process that dies does so, too. A run that was refused leaves no folder."""
        if self._lock is not None:
            self._lock.release()
        if kind is not None and self._is_new and not self._has_rows:
            shutil.rmtree(self.path, ignore_errors=True)

    @property
    def _has_rows(self) -> bool:
        return self.result is not None or bool(finished_parts(self.rows))

    def prepare(self, data: DataSet, batch: int, described: Mapping[str, Any]) -> None:
        """List the data set, and begin a run or go on with one.

        Args:
            data: The images.
            batch: Images of a part.
            described: What makes a run another one if it changes.

        Raises:
            OutputError: the folder cannot be written, or has another run's rows.
            DataError: there is no image, or a file of the data set is damaged.
        """
        try:
            shutil.rmtree(self.exchange, ignore_errors=True)
            self.exchange.mkdir()
            listed = self.path / "parts.jsonl.new"
            digest = self._list(data, batch, listed)
            about = {"data": data.words, "images": self.images, "batch": batch, "image files": digest}
            given = {**described, **about}
            self._require_same(json.loads(json.dumps(given)))
            listed.replace(self._parts)
            self.rows.mkdir(exist_ok=True)
        except OSError as error:
            raise output_error(error, Path(error.filename or self.path)) from None

    def _list(self, data: DataSet, batch: int, listed: Path) -> str:
        digest, self.images = hashlib.sha256(), 0
        with listed.open("w", encoding="utf-8", errors="surrogateescape") as lines:
            for part in data.parts(batch):
                line = json.dumps(part.to_json()) + "\n"
                digest.update(line.encode())
                digest.update(repr(_states(part)).encode())
                lines.write(line)
                self.images += part.count
        if not self.images:
            raise DataError("data/no-images", "there are no images", found=data.words)
        return digest.hexdigest()

    def _require_same(self, described: Mapping[str, Any]) -> None:
        if not (self._run.exists() and self._has_rows):
            self._facts.unlink(missing_ok=True)
            write_whole(self._run, json.dumps(described, indent=2))
            return
        try:
            before = json.loads(self._run.read_bytes())
        except ValueError:
            before = {}
        changed = [name for name, value in described.items() if before.get(name) != value]
        if changed:
            raise OutputError(
                "agree/other-run",
                "the folder has the rows of another run",
                file=self.path,
                found=f"{', '.join(changed)} changed since",
                hint="Give another --out, or delete the folder.",
            )

    def keep_facts(self, facts: Sequence[Any]) -> None:
        """Keep what the sides say of themselves, for a run that finds every image done."""
        if not self._facts.exists():
            write_whole(self._facts, json.dumps(facts))

    def facts(self) -> Sequence[Any]:
        """Return what `keep_facts` kept; nothing if it was not called yet."""
        found: Sequence[Any] = json.loads(self._facts.read_bytes()) if self._facts.exists() else ()
        return found

    def left(self) -> Iterator[Part]:
        """Yield the parts that are not done, in order."""
        done = finished_parts(self.rows)
        return (part for part in self._all() if part.number not in done)

    def _all(self) -> Iterator[Part]:
        with self._parts.open(encoding="utf-8") as lines:
            for line in lines:
                yield Part.from_json(json.loads(line))

    def part(self, number: int) -> Part:
        """Return one part."""
        return next(part for part in self._all() if part.number == number)

    def done_images(self) -> int:
        """Return how many images are done."""
        if self.result is not None:
            return self.images
        done = finished_parts(self.rows)
        return sum(part.count for part in self._all() if part.number in done)

    @property
    def result(self) -> Path | None:
        """The file of all rows, if it is there."""
        files = (self.path / f"{self._name}.{ending}" for ending in ("parquet", "jsonl"))
        return next((file for file in files if file.exists()), None)

    def finish(self) -> Path:
        """Put the rows of all parts into one file: Parquet if pyarrow is there, or else lines of JSON.

        Raises:
            OutputError: it cannot be written; the rows of the parts are still there.
        """
        if (found := self.result) is not None:
            return found
        try:
            written = self._written()
        except OSError as error:
            raise output_error(error, Path(error.filename or self.path)) from None
        shutil.rmtree(self.rows, ignore_errors=True)
        shutil.rmtree(self.exchange, ignore_errors=True)
        return written

    def _written(self) -> Path:
        parts = sorted(finished_parts(self.rows))
        write: Callable[[Path, Iterator[ImageRow]], None] = _write_lines
        ending = "jsonl"
        if find_spec("pyarrow") is not None:
            from porter.agreement.row_table import write_table  # noqa: PLC0415  (an extra)

            write, ending = write_table, "parquet"
        path = self.path / f"{self._name}.{ending}"
        beside = self.path / f".{path.name}.part"
        try:
            write(beside, read_rows(self.rows, parts))
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        return path

    def read(self) -> Iterator[ImageRow]:
        """Yield every row, in order."""
        found = self.result
        if found is None:
            return read_rows(self.rows, sorted(finished_parts(self.rows)))
        if found.suffix == ".jsonl":
            return rows_of_file(found)
        from porter.agreement.row_table import read_table  # noqa: PLC0415  (an extra)

        return read_table(found)


def _write_lines(path: Path, rows: Iterator[ImageRow]) -> None:
    with path.open("w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps(row.to_json(), sort_keys=True) + "\n")


def _states(part: Part) -> list[list[object] | None]:
    """Return the state of every file of a part; None for one that is not there."""
    files = [entry.path for entry in part.entries] if part.entries else [part.file]
    found: list[list[object] | None] = []
    for file in files:
        try:
            found.append(state_of(Path(file)))
        except (OSError, ValueError):
            found.append(None)
    return found


def refuse_data(out: Path, data: Path) -> None:
    """Refuse to write over the images, or a table among them that would be taken for images the next time.

    Raises:
        OutputError: `out` is the data set, or a Parquet file in its folder.
    """
    whole, place = Path(os.path.realpath(out)), Path(os.path.realpath(data))
    if whole == place or (out.suffix == ".parquet" and place.is_dir() and place in whole.parents):
        raise OutputError(
            "agree/out-in-data",
            "is the data, or would be taken for it the next time",
            file=out,
            found=f"the data {data}",
            hint="Give an --out elsewhere.",
        )


def state_of(file: Path) -> list[object]:
    """Return name, length and date of a file, which another file of that name does not share."""
    found = file.stat()
    return [str(file.absolute()), found.st_size, found.st_mtime_ns]
