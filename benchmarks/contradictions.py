"""Hold every way in which a config or a graph can contradict its weights against what porter does with it.

    python benchmarks/contradictions.py FOLDER [FILE ...]

Without files, writes eight families of each generation of Keras to FOLDER first (minutes), for images of 96
and of 32 pixels, as .h5, .keras, SavedModel and frozen graph (.pb); what is there is not written again.
Prints a line for each file and kind of change: adopted, refused, SILENT, or absent, where the network has
nothing of the kind; the exit status is 1 where one is silent or an unchanged file is refused.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from config_edits import EDITS, edited
from graph_edits import GRAPH_EDITS, graph_edited

import porter
from porter.checkpoints.keras import file as keras_file
from porter.errors import PlanError
from porter.formats.files import RegularFile
from porter.formats.hdf5.description import Description, describe
from porter.planning.plan import Plan, plan

FAMILIES = {
    "MobileNet": "alpha=0.25",
    "MobileNetV2": "alpha=0.35",
    "MobileNetV3Small": "",
    "MobileNetV3Large": "minimalistic=True",
    "EfficientNetB0": "",
    "EfficientNetV2B0": "",
    "ResNet50": "",
    "ResNet101": "",
}
# Those that stand as one layer in a model too, as transfer learning builds it.
NESTED = ("MobileNetV2", "ResNet50")
GENERATIONS = ("tf_keras", "keras")
SUFFIXES = (".h5", ".keras")
GRAPHS = ("", ".pb")  # a SavedModel is a folder
SIZES = (96, 32)  # at 32 pixels the last maps are one pixel, where a 1x1 convolution is a dense layer

# What a change needs, and a network may be without.
NEEDS = {
    "epsilon of all": "batch norm",
    "epsilon of one": "batch norm",
    "stride of the stem": "strided convolution",
    "stride of a depthwise": "strided depthwise convolution",
    "padding mode": "depthwise convolution of stride 1 that pads",
    "padding amounts": "layer that pads",
    "dilation": "depthwise convolution of stride 1 that pads",
    "kernel of a pool": "max pool",
    "kind of a pool": "max pool",
    "kind of the global pool": "average over the map",
    "kind of an activation": "activation that is an operation of its own",
    "cap": "uncapped ReLU",
    "no cap": "ReLU6",
    "slope": "layer, or operation, that is a plain ReLU",
    "threshold": "ReLU layer",
    "order of activation and add": "ReLU behind an addition",
    "no activation": "ReLU or layer for an activation",
    "no addition": "layer that adds",
    "no Rescaling": "Rescaling",
    "scale of the Rescaling": "Rescaling",
    "statistics of the Normalization": "Normalization whose statistics the config gives",
    "an extra pool": "layer that adds",
    "no norm": "fused batch norm",
    "a norm as in training": "fused batch norm",
    "no preparation": "Rescaling",
    "statistics of the preparation": "constant that prepares images",
    "channels first": "depthwise convolution or max pool",
}

_PROGRAM = """
from pathlib import Path

import {generation} as keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2 as freeze

def network(family, **arguments):
    build = getattr(keras.applications, family)
    return build(weights=None, input_shape=({size}, {size}, 3), **arguments)

def nested(family, **arguments):
    images = keras.Input(({size}, {size}, 3))
    prepared = keras.applications.mobilenet_v2.preprocess_input(images)
    features = network(family, include_top=False, **arguments)(prepared, training=False)
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    return keras.Model(images, keras.layers.Dense(5, activation="softmax")(pooled))

model = {expression}
for suffix in {suffixes}:
    model.save({path!r} + suffix)
model.export({path!r})
call = tf.function(lambda images: model(images, training=False))
concrete = call.get_concrete_function(tf.TensorSpec((1, {size}, {size}, 3), tf.float32))
Path({path!r} + ".pb").write_bytes(freeze(concrete).graph.as_graph_def().SerializeToString())
"""


def main() -> int:
    """Print every outcome and their counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", type=Path, nargs="*")
    asked = parser.parse_args()
    counts: Counter[str] = Counter()
    describing_once()
    for file in asked.files or list(written(asked.folder)):
        for change, outcome in outcomes(file, asked.folder):
            counts[outcome] += 1
            print(f"{outcome:<8} {file.parent.name}/{file.name}: {change}", flush=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
    return int(bool(counts["SILENT"] or counts["ALARM"]))


def written(folder: Path) -> Iterator[Path]:
    """Let each generation of Keras write its networks."""
    for generation in GENERATIONS:
        inner = folder / generation
        inner.mkdir(parents=True, exist_ok=True)
        built = {family: f"network({family!r}, {arguments})" for family, arguments in FAMILIES.items()}
        built |= {f"{family}-nested": f"nested({family!r}, {FAMILIES[family]})" for family in NESTED}
        for size, (name, expression) in product(SIZES, built.items()):
            path = inner / f"{name}-{size}"
            if not path.with_name(f"{path.name}.pb").exists():  # written last
                program = _PROGRAM.format(
                    generation=generation,
                    expression=expression,
                    path=str(path),
                    suffixes=SUFFIXES,
                    size=size,
                )
                subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
            yield from (inner / f"{path.name}{suffix}" for suffix in (*SUFFIXES, *GRAPHS))


def describing_once() -> None:
    """Describe the weights in equal archives once: a child process for each edit would take hours."""
    known: dict[int, Description] = {}

    def cached(source: RegularFile, base: int, size: int) -> Description:
        if not base:  # a .h5, which has its config inside
            return describe(source, base, size)
        if size not in known:
            known.clear()
            known[size] = describe(source, base, size)
        return known[size]

    keras_file.describe = cached  # type: ignore[attr-defined]


def outcomes(file: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each change with what became of it; the unchanged file first."""
    try:
        unchanged = planned(file)
    except PlanError as error:
        yield f"unchanged ({error.code})", "ALARM"
        return
    yield f"unchanged ({unchanged.network})", "passed"
    changed = folder / f"changed{file.suffix}"
    is_graph = file.suffix not in SUFFIXES
    edits = GRAPH_EDITS if is_graph else EDITS
    for name, (edit, _) in edits.items():
        if not (graph_edited if is_graph else edited)(file, changed, edit):
            yield f"{name} (no {NEEDS.get(name, name)})", "absent"
            continue
        try:
            yield name, "adopted" if differs(planned(changed), unchanged) else "SILENT"
        except PlanError:
            yield name, "refused"


def planned(path: Path) -> Plan:
    """Return what a port of the file would do."""
    with porter.open_checkpoint(path) as checkpoint:
        return plan(checkpoint)


def differs(found: Plan, unchanged: Plan) -> bool:
    """Whether the written file, or what the person is told, would be another."""
    names = set(found._fields) - {"ledger", "variant", "network"}
    return any(getattr(found, name) != getattr(unchanged, name) for name in names)


if __name__ == "__main__":
    sys.exit(main())
