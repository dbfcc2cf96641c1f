"""The data files of a bundle: which exist, how long they are, and reading from them."""

from __future__ import annotations

from pathlib import Path

from porter.errors import CheckpointError
from porter.formats.files import RegularFile, require_regular
from porter.formats.magic import refuse_pointer
from porter.formats.malformed import Malformed, naming


class Shards:
    """Data files ``<prefix>.data-00000-of-00005``, opened when first read.

    Attributes:
        count: How many there are by the header.
        missing: Those that are needed and not there, if that is allowed.

    Args:
        prefix: What their names begin with.
        count: Sets `count`.
        may_be_missing: Whether files that are not there are noted and not refused.
    """

    def __init__(self, prefix: Path, count: int, *, may_be_missing: bool = False) -> None:
        self.count = count
        self.missing: set[Path] = set()
        self._may_be_missing = may_be_missing
        self._prefix = prefix
        self._sizes: dict[int, int] = {}
        self._open: dict[int, RegularFile] = {}

    def path(self, shard: int) -> Path:
        """Return the path of data file number `shard`."""
        name = f"{self._prefix.name}.data-{shard:05d}-of-{self.count:05d}"
        return self._prefix.with_name(name)

    @property
    def used(self) -> tuple[Path, ...]:
        """Every data file that holds something, in order."""
        return tuple(self.path(shard) for shard in sorted(self._sizes))

    def require(self, shard: int, offset: int, size: int) -> None:
        """Check that `size` bytes at `offset` exist in data file number `shard`.

        Raises:
            Malformed: the numbers make no sense.
            CheckpointError: the file is missing, too short, or not a data file.
        """
        if not 0 <= shard < self.count:
            raise Malformed(
                "bundle/bad-shard-number",
                "it lies in a data file that does not exist",
                expected=f"0 to {self.count - 1}",
                found=shard,
            )
        if offset < 0 or size < 0:
            raise Malformed("bundle/negative-offset", "its place in the data file is negative", found=offset)
        if self._may_be_missing and not self.path(shard).exists():
            self.missing.add(self.path(shard))
            return
        if shard not in self._sizes:
            self._sizes[shard] = self._size(shard)
        if offset + size > self._sizes[shard]:
            refuse_pointer(self.path(shard))
            raise CheckpointError(
                "bundle/truncated-shard",
                "a data file is too short for the tensors in it",
                file=self.path(shard),
                expected=f"at least {offset + size} bytes",
                found=self._sizes[shard],
                hint="It was cut off while it was written, copied or downloaded: get it again.",
            )

    def file(self, shard: int) -> RegularFile:
        """Return data file number `shard`, opened."""
        found = self._open.get(shard)
        if found is None:
            opened = RegularFile(self.path(shard))
            found = self._open.setdefault(shard, opened)  # another thread may have been faster
            if found is not opened:
                opened.close()
        return found

    def close(self) -> None:
        """Close every data file."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    def _size(self, shard: int) -> int:
        path = self.path(shard)
        with naming(path):
            try:
                status = path.stat()
            except FileNotFoundError:
                raise self._missing(path) from None
            require_regular(status)
        return status.st_size

    def _missing(self, path: Path) -> Malformed:
        start = f"{self._prefix.name}.data-"
        found = sum(entry.name.startswith(start) for entry in path.parent.iterdir())
        return Malformed(
            "bundle/missing-shard",
            "a data file of this checkpoint is missing",
            expected=f"{self.count} data files",
            found=f"{found}",
            hint=f"Put {path.name} beside the index. porter inspect lists what the index alone tells.",
        )
