"""What the rest of porter knows of a source: specs by key, a graph of object paths, and lazy reads."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from porter.core.closing import Closing
from porter.core.dtypes import DType
from porter.core.object_graph import ObjectGraph
from porter.core.stored_network import StoredNetwork
from porter.core.stored_preprocessing import NOTHING_STORED, StoredInput
from porter.core.training_settings import TrainingSettings

Array = NDArray[Any]

_SHOWN = 3


class TensorSpec(NamedTuple):
    """Shape and element type of one stored tensor, known without reading its bytes."""

    dtype: DType
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements in memory; 0 for strings, whose length is not in the spec."""
        return self.size * (self.dtype.itemsize or 0)


class Checkpoint(Closing, ABC):
    """An open source of weights. Nothing is read beyond the index until `read` is called.

    Attributes:
        path: The path as the caller gave it.
        format: The container in words, e.g. ``"TensorBundle (TF2 object-based checkpoint)"``.
        files: Every file whose bytes belong to the checkpoint.
        specs: Checkpoint key to spec, in key order; of a Keras file in the model's.
        graph: The stored object graph, or one made from the names if none is stored.
        stored_input: What the source says of the images that its network takes.
        read_network: Reads the network as the source describes it, if that takes time. Of a description
            that is not understood it returns what is not, in words.
        training: What the settings of the training say of the network, where they lie beside the source.
        frozen_in_part: Models inside the model whose layers the source may list out of order, what trains
            first, and whether it certainly does.
        assumed_order: Those of which nothing tells, although a wrong order would fit.
        unplaced_averages: Why moving averages that are stored, or may be, are not in `graph.slots`; "" if
            there are none.
        remarks: What was done to the weights before they were stored, and what that means for a port.
        labels: Names of the classes that the network tells apart, where the source has them.
        numbered_state: Key of each variable of an optimizer, in its own order, if the source does not tell
            what each of them is.
    """

    path: Path
    format: str
    files: tuple[Path, ...]
    specs: Mapping[str, TensorSpec]
    graph: ObjectGraph
    stored_input: StoredInput = NOTHING_STORED
    read_network: Callable[[], StoredNetwork | str | None] | None = None
    training: TrainingSettings | None = None
    frozen_in_part: Mapping[str, bool] = MappingProxyType({})
    assumed_order: tuple[str, ...] = ()
    unplaced_averages: str = ""
    numbered_state: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def stored_network(self) -> StoredNetwork | None:
        """The network as the source describes it, read when it is first asked for; None if it tells of none.

        Raises:
            CheckpointError: the description is damaged.
        """
        return None if isinstance(self._description, str) else self._description

    @property
    def unread_network(self) -> str:
        """What of the source's description of its network is not understood; "" if it is read, or none."""
        return self._description if isinstance(self._description, str) else ""

    @cached_property
    def _description(self) -> StoredNetwork | str | None:
        return None if self.read_network is None else self.read_network()

    @abstractmethod
    def read(self, key: str) -> Array:
        """Return the whole tensor, checksum verified: C-contiguous, native byte order, read-only.

        Elements are `spec.dtype.storage` words; strings are an object array of bytes.

        Raises:
            CheckpointError: the bytes are missing, damaged, or of a type that cannot be represented.
            KeyError: there is no such key.
        """

    @abstractmethod
    def verify(self, key: str) -> None:
        """Check the stored checksum of one tensor in bounded memory.

        Raises:
            CheckpointError: the bytes are missing or damaged.
        """

    @abstractmethod
    def read_block(self, key: str, block: tuple[slice, ...]) -> Array:
        """Return the rectangular part `block` (one slice with step 1 per axis) without verification.

        For tensors too large to hold in memory: call `verify` once, then read it block by block.
        """

    def read_each(self, keys: Iterable[str]) -> Iterator[tuple[str, Array]]:
        """Yield each key with what `read` gives for it, in whatever order costs least.

        An array is valid until the next is asked for.

        Raises:
            CheckpointError: as for `read`.
        """
        for key in keys:
            yield key, self.read(key)

    def read_ranges(self, key: str, axis: int, length: int) -> Iterator[Array]:
        """Yield one tensor as consecutive ranges along `axis`, of `length` elements but for the last.

        A damaged tensor raises at the latest where the iteration would end: what was yielded may be used
        only once it did end. An array is valid until the next is asked for.

        Raises:
            CheckpointError: the bytes are missing or damaged.
        """
        self.verify(key)
        shape = self.specs[key].shape
        for start in range(0, shape[axis], length):
            block = [slice(0, size) for size in shape]
            block[axis] = slice(start, min(start + length, shape[axis]))
            yield self.read_block(key, tuple(block))

    @abstractmethod
    def close(self) -> None:
        """Release every file handle. Arrays that were read stay valid."""

    def __repr__(self) -> str:
        """Say in a few lines what is open: the container, how much it holds, its first variables."""
        size = sum(spec.nbytes for spec in self.specs.values())
        lines = [
            f"{self.path}: {self.format}",
            f"  {len(self.specs)} tensors, {size / 1e6:,.1f} MB",
            *(
                f"  {key} {spec.dtype.name} {list(spec.shape)}"
                for key, spec in [*self.specs.items()][:_SHOWN]
            ),
        ]
        return "\n".join(lines + ["  ..."] * (len(self.specs) > _SHOWN))

    def find(self, object_path: str) -> str | None:
        """Return the key of the variable at `object_path`, by any of its paths in the object graph."""
        node = self.graph.resolve(object_path)
        return None if node is None else self.graph.nodes[node].key


def contiguous(array: Array) -> Array:
    """Return `array` C-contiguous and marked read-only (a copy only if one is needed)."""
    result = np.ascontiguousarray(array).reshape(array.shape)
    result.flags.writeable = False
    return result
