"""TOML read without forgiveness: a key of the wrong type, or one that nobody asked for, is an error."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from porter.errors import TableError

T = TypeVar("T")
_MISSING: Any = object()


class Section:
    """One TOML table on its way through the parser; every key must be taken once.

    Attributes:
        file: The file it stands in.
        name: Its dotted name in the file, for messages.
    """

    def __init__(self, values: dict[str, Any], file: Path, name: str) -> None:
        self._values = dict(values)
        self.file = file
        self.name = name

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that were not taken yet."""
        return tuple(self._values)

    def holds(self, key: str, kind: type[object]) -> bool:
        """Whether `key` is there with a value of type `kind`."""
        return type(self._values.get(key)) is kind

    def take(self, key: str, kind: type[T], default: Any = _MISSING) -> T:
        """Remove and return the value of `key`.

        An int is accepted if a float is asked for, as TOML writers expect.

        Raises:
            TableError: the key is missing (and there is no default) or of another type.
        """
        if key not in self._values:
            if default is _MISSING:
                raise self.error("table/missing-key", f"key {key!r} is missing")
            return default  # type: ignore[no-any-return]
        value = self._values.pop(key)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise self.error(
                "table/type",
                f"key {key!r}",
                expected=kind.__name__,
                found=f"{type(value).__name__} {value!r}",
            )
        return value

    def take_list(self, key: str, kind: type[T], default: list[T] | None = None) -> list[T]:
        """Remove and return the list `key`, every element of type `kind`.

        Raises:
            TableError: the key is missing (and there is no default) or of another type.
        """
        found: list[Any] = self.take(key, list, _MISSING if default is None else default)
        for value in found:
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise self.error(
                    "table/type",
                    f"key {key!r}",
                    expected=f"a list of {kind.__name__}",
                    found=f"{type(value).__name__} {value!r} in it",
                )
        return found

    def section(self, key: str, *, optional: bool = False) -> Section:
        """Remove and return the sub-table `key` (an empty one if it is optional and missing)."""
        values = self.take(key, dict, {} if optional else _MISSING)
        return Section(values, self.file, f"{self.name}.{key}" if self.name else key)

    def sections(self) -> Iterator[tuple[str, Section]]:
        """Remove and yield every remaining key as a sub-table."""
        for key in list(self._values):
            yield key, self.section(key)

    def rest(self) -> dict[str, Any]:
        """Remove and return whatever is left: for keys whose names the file itself defines."""
        values, self._values = self._values, {}
        return values

    def finish(self) -> None:
        """Check that every key was taken.

        Raises:
            TableError: a key is left.
        """
        if self._values:
            keys = ", ".join(map(repr, sorted(self._values)))
            raise self.error("table/unknown-key", f"unknown key {keys}")

    def error(self, code: str, problem: str, **details: Any) -> TableError:
        """Return a `TableError` that names the file and this section."""
        where = f"[{self.name}]: " if self.name else ""
        return TableError(code, where + problem, file=self.file, **details)


def read_text(file: Path) -> str:
    """Read the text of a TOML file.

    Raises:
        TableError: it cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise TableError("table/unreadable", f"cannot be read ({error.strerror})", file=file) from None
    except UnicodeDecodeError as error:
        raise TableError("table/syntax", f"not valid TOML ({error})", file=file) from None


def parse_toml(file: Path, text: str) -> Section:
    """Parse the text of a TOML file.

    Raises:
        TableError: it is not TOML.
    """
    try:
        return Section(tomllib.loads(text), file, "")
    except tomllib.TOMLDecodeError as error:
        raise TableError("table/syntax", f"not valid TOML ({error})", file=file) from None
