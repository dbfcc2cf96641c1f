"""The images that a network expects: the table's, but for what the source itself says of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from porter.checkpoints.carried import carried_network
from porter.core.checkpoint import Array, Checkpoint
from porter.core.object_graph import ObjectGraph
from porter.core.stored_network import StoredNetwork
from porter.core.stored_preprocessing import (
    ChannelReversal,
    Normalization,
    PreparingStep,
    Rescaling,
    StoredInput,
)
from porter.errors import PlanError
from porter.planning.recognition import Recognised
from porter.planning.stored_images import normalizations, stored_images
from porter.tables.table_records import InputSpec
from porter.tables.variants import Variant

# keras.applications.efficientnet divides by sqrt(variance), and its published weights store ImageNet's std as
# the variance. Built with them, the network has a second layer, without variables, that divides by
# sqrt(std) once more: by the std in all (keras-team/keras, efficientnet.py, IMAGENET_STDDEV_RGB).
_IMAGENET_STD = (0.229, 0.224, 0.225)
_TWICE = (
    "nothing in the source tells whether it divides by the root of ImageNet's std too, as Keras's does with "
    "weights='imagenet': then that factor is missing"
)
_FOR_PIXELS = (
    "nothing in front of the network scales its images, and its first layer is made for pixels in 0..255, "
    "not for the table's mean and std: the metadata says mean 0 and std 1/255 (people train on pixels, and a "
    "converter multiplies a scaling into the first weights)"
)
_CLOSE = 1e-6
_MOST_NAMED = 5
_PIXEL = 255.0
TABLES_SIZE = "the table's; the source tells none"
_SMALLEST_DEVIATION = 1e-7  # keras.backend.epsilon(), below which Normalization does not divide


def expected_input(
    checkpoint: Checkpoint, match: Recognised, size: int | None
) -> tuple[InputSpec, str, tuple[str, ...]]:
    """Return the images that a network expects, where their size comes from, and notes.

    Args:
        checkpoint: The source.
        match: The network in it.
        size: Height and width that a person chose; the source's or the table's if None.

    Raises:
        PlanError: the network takes another size only, or `size` is not positive.
    """
    stored = stored_images(checkpoint)
    if _is_scaled(stored):
        images, notes = _composed(checkpoint, match.variant.input, stored)
    else:
        images, notes = _stored_normalization(checkpoint, match)
        if takes_pixels(checkpoint, match.variant, images):
            images, notes = _of_pixels(images), (*notes, _FOR_PIXELS)
    if stored.unread:
        named = _listed(stored.unread)
        told = f"{named} in front of the network may change images in a way that mean and std do not include"
        notes = (*notes, told)
    chosen, source, more = _size(match, stored, size)
    return images._replace(size=chosen), source, (*notes, *more)


def _listed(names: Sequence[str]) -> str:
    shown, more = ", ".join(names[:_MOST_NAMED]), len(names) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def takes_pixels(checkpoint: Checkpoint, variant: Variant, images: InputSpec) -> bool:
    """Whether nothing scales the images, and the first weights are made for pixels and not for `images`."""
    stored = stored_images(checkpoint)
    if _is_scaled(stored) or stored.unread or checkpoint.stored_network is None:
        return False
    from porter.planning.image_range import ImageRange, image_range  # noqa: PLC0415  (weights alone tell nothing)

    return image_range(checkpoint, variant, images) is ImageRange.PIXELS


def _is_scaled(stored: StoredInput) -> bool:
    return any(not isinstance(step, ChannelReversal) for step in stored.steps)


def size_of_own_network(checkpoint: Checkpoint) -> tuple[int, int] | None:
    """Return height and width that the network in the source takes, if it carries one of a single size."""
    if not carried_network(checkpoint):
        return None
    return checkpoint.stored_input.size or stored_images(checkpoint).size


def _size(match: Recognised, stored: StoredInput, size: int | None) -> tuple[int, str, tuple[str, ...]]:
    table = match.variant.input
    if size is not None:
        if table.check_sizes == (table.size,) and size != table.size:
            raise PlanError(
                "plan/input-size",
                f"{match.variant.name} takes images of one size only",
                expected=table.size,
                found=size,
                hint="Leave --input-size out.",
            )
        return size, "chosen with --input-size", ()
    if stored.size is None:
        return table.size, TABLES_SIZE, ()
    height, width = stored.size
    if height == width:
        return height, stored.size_source, ()
    note = (
        f"the source takes images of {height}x{width} pixels, which are not square: the metadata says "
        f"{table.size}, as the table does; --input-size chooses another"
    )
    return table.size, TABLES_SIZE, (note,)


def _composed(
    checkpoint: Checkpoint, table: InputSpec, stored: StoredInput
) -> tuple[InputSpec, tuple[str, ...]]:
    """Return mean and std that do what the model's own layers do to pixels in 0..255."""
    channels = len(table.mean)
    factor, offset = np.ones(1), np.zeros(1)
    for step in stored.steps:
        if isinstance(step, ChannelReversal):
            factor, offset = factor[::-1], offset[::-1]
            continue
        scale, shift = _affine(checkpoint, step)
        if {len(scale), len(shift)} <= {1, channels}:
            factor, offset = factor * scale, offset * scale + shift
        else:
            factor = np.zeros(1)  # so that it is not taken for a std
    if not np.isfinite(factor).all() or not np.isfinite(offset).all() or not (factor > 0).all():
        told = f"the model's {_names(stored.steps)} cannot be said as one mean and std for each channel"
        return table, (f"{told}: those in the metadata are the table's",)
    if stored.unread and max(factor.size, offset.size) > 1:
        told = (
            f"the model's {_names(stored.steps)} treats each channel by itself, and what else stands in front"
        )
        return table, (f"{told} may have moved them: mean and std are the table's",)
    order = -1 if table.channel_order == "bgr" else 1  # a table and the metadata list channels as RGB
    mean, std = (
        tuple(float(str(value)) for value in np.broadcast_to(values, channels)[::order].astype(np.float32))
        for values in (0.0 - offset / factor / _PIXEL, 1 / (factor * _PIXEL))
    )
    if np.allclose((mean, std), (table.mean, table.std), rtol=_CLOSE, atol=_CLOSE):
        return table, ()
    return table._replace(mean=mean, std=std), (
        f"mean and std are those of the model's {_names(stored.steps)}",
    )


def _of_pixels(images: InputSpec) -> InputSpec:
    """Return the images with a mean and std that leave pixels in 0..255 as they are."""
    channels = len(images.mean)
    return images._replace(mean=(0.0,) * channels, std=(1 / _PIXEL,) * channels)


def _names(steps: Iterable[PreparingStep]) -> str:
    return ", ".join(f"{step.layer} ({type(step).__name__})" for step in steps)


def _affine(checkpoint: Checkpoint, step: Rescaling | Normalization) -> tuple[Array, Array]:
    """Return factor and offset of one layer, float64, one number or one per channel."""
    if isinstance(step, Rescaling):
        return np.asarray(step.scale), np.asarray(step.offset)
    mean, variance = (
        checkpoint.read(values).astype(np.float64).ravel() if isinstance(values, str) else np.asarray(values)
        for values in (step.mean, step.variance)
    )
    deviation = np.maximum(np.sqrt(variance), _SMALLEST_DEVIATION)
    return 1 / deviation, -mean / deviation


def _stored_normalization(checkpoint: Checkpoint, match: Recognised) -> tuple[InputSpec, tuple[str, ...]]:
    """Return mean and std as a layer stores them that the table names.

    They are the table's if the network has no such layer or the checkpoint no values for it.
    """
    variant = match.variant
    node = normalization_node(match)
    if node is None:
        return variant.input, ()
    mean, variance = (_values(checkpoint, match.graph, name, node) for name in ("mean", "variance"))
    if not mean or not variance:
        return variant.input, ()
    note = "mean and std are those of the network's Normalization layer"
    if len(variance) == len(_IMAGENET_STD) and np.allclose(variance, _IMAGENET_STD, rtol=0, atol=_CLOSE):
        why = "its variance is ImageNet's std: networks that Keras publishes divide by its root twice"
        return variant.input._replace(mean=mean, std=variance), (f"{note}; {why}",)
    std = tuple(float(value) for value in np.sqrt(variance))
    return variant.input._replace(mean=mean, std=std), (f"{note}; {_TWICE}",)


def normalization_node(match: Recognised) -> int | None:
    """Return the node of the Normalization layer that the table names, or None.

    A file without a config does not tell which of several unused layers has that place: then the layer is
    told by its variables, which no layer that trains has.
    """
    path, graph = match.variant.input.normalization, match.graph
    if not path:
        return None
    node = graph.resolve(path, match.nodes[match.variant.parts[0].name])
    if node is not None:
        return node
    found = normalizations(graph)
    return found[0] if len(found) == 1 else None


def kept_as_constants(graph: ObjectGraph, network: StoredNetwork) -> Iterator[str]:
    """Yield the variables of Normalization layers that a graph computes with constants in place of."""
    used = {key for operation in network.operations for key in operation.variables.values()}
    for node in graph.nodes:
        if {"mean", "variance"} <= node.children.keys() <= {"mean", "variance", "count"}:
            keys = {key for child in node.children.values() if (key := graph.nodes[child].key) is not None}
            yield from keys if used.isdisjoint(keys) else ()


def _values(checkpoint: Checkpoint, graph: ObjectGraph, name: str, node: int) -> tuple[float, ...]:
    child = graph.resolve(name, node)
    key = None if child is None else graph.nodes[child].key
    if key is None:
        return ()
    # The shortest decimals of the stored float32: 0.485, not 0.48500001430511475.
    return tuple(float(str(value)) for value in checkpoint.read(key).astype(np.float32).ravel())
