"""Every network that was published under the names of TensorFlow 1, by the name of its table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from tensorflow1_variables import (
    Mixed,
    Stages,
    Variable,
    counted,
    efficientnet,
    nearest,
    rounded,
    scaled,
    slim_v1,
    slim_v2,
    slim_v3,
)

# Repeats, kernel, expansion, width, fused: of tensorflow/tpu's efficientnet_builder, google/automl's
# effnetv2_configs.
B0 = [(1, 3, 1, 16, 0), (2, 3, 6, 24, 0), (2, 5, 6, 40, 0), (3, 3, 6, 80, 0), (3, 5, 6, 112, 0)]
B0 += [(4, 5, 6, 192, 0), (1, 3, 6, 320, 0)]
EDGETPU = [(1, 3, 4, 24, 1), (2, 3, 8, 32, 1), (4, 3, 8, 48, 1), (5, 5, 8, 96, 0), (4, 5, 8, 144, 0)]
EDGETPU += [(2, 5, 8, 192, 0)]
V2 = [(1, 3, 1, 16, 1), (2, 3, 4, 32, 1), (2, 3, 4, 48, 1), (3, 3, 4, 96, 0), (5, 3, 6, 112, 0)]
V2 += [(8, 3, 6, 192, 0)]
V2_LARGE: dict[str, tuple[int, Stages]] = {
    "s": (
        24,
        [
            *[(2, 3, 1, 24, 1), (4, 3, 4, 48, 1), (4, 3, 4, 64, 1)],
            *[(6, 3, 4, 128, 0), (9, 3, 6, 160, 0), (15, 3, 6, 256, 0)],
        ],
    ),
    "m": (
        24,
        [
            *[(3, 3, 1, 24, 1), (5, 3, 4, 48, 1), (5, 3, 4, 80, 1)],
            *[(7, 3, 4, 160, 0), (14, 3, 6, 176, 0), (18, 3, 6, 304, 0), (5, 3, 6, 512, 0)],
        ],
    ),
    "l": (
        32,
        [
            *[(4, 3, 1, 32, 1), (7, 3, 4, 64, 1), (7, 3, 4, 96, 1)],
            *[(10, 3, 4, 192, 0), (19, 3, 6, 224, 0), (25, 3, 6, 384, 0), (7, 3, 6, 640, 0)],
        ],
    ),
    "xl": (
        32,
        [
            *[(4, 3, 1, 32, 1), (8, 3, 4, 64, 1), (8, 3, 4, 96, 1)],
            *[(16, 3, 4, 192, 0), (24, 3, 6, 256, 0), (32, 3, 6, 512, 0), (8, 3, 6, 640, 0)],
        ],
    ),
}
# Factors of width and depth.
FACTORS = {
    "b0": (1.0, 1.0),
    "b1": (1.0, 1.1),
    "b2": (1.1, 1.2),
    "b3": (1.2, 1.4),
    "b4": (1.4, 1.8),
    "b5": (1.6, 2.2),
    "b6": (1.8, 2.6),
    "b7": (2.0, 3.1),
    "b8": (2.2, 3.6),
}
LITE = {"lite0": "b0", "lite1": "b1", "lite2": "b2", "lite3": "b3", "lite4": "b4"}
EDGETPU_FACTORS = {"S": (1.0, 1.0), "M": (1.0, 1.1), "L": (1.2, 1.4)}

# Repeats, kernels, groups, expansion, width, squeeze: of tensorflow/tpu's mnasnet_models and mixnet_builder.
ONE = (1, 1)
MNASNET: dict[str, tuple[int, list[Mixed]]] = {
    "a1": (
        32,
        [
            (1, "3", ONE, 1, 16, 0),
            (2, "3", ONE, 6, 24, 0),
            (3, "5", ONE, 3, 40, 0.25),
            (4, "3", ONE, 6, 80, 0),
            (2, "3", ONE, 6, 112, 0.25),
            (3, "5", ONE, 6, 160, 0.25),
            (1, "3", ONE, 6, 320, 0),
        ],
    ),
    "b1": (
        32,
        [
            (1, "3", ONE, 1, 16, 0),
            (3, "3", ONE, 3, 24, 0),
            (3, "5", ONE, 3, 40, 0),
            (3, "5", ONE, 6, 80, 0),
            (2, "3", ONE, 6, 96, 0),
            (4, "5", ONE, 6, 192, 0),
            (1, "3", ONE, 6, 320, 0),
        ],
    ),
    "small": (
        8,
        [
            (1, "3", ONE, 1, 8, 0),
            (1, "3", ONE, 3, 16, 0),
            (2, "3", ONE, 6, 16, 0),
            (4, "5", ONE, 6, 32, 0.25),
            (3, "3", ONE, 6, 32, 0.25),
            (3, "5", ONE, 6, 88, 0.25),
            (1, "3", ONE, 6, 144, 0),
        ],
    ),
}
MIXNET_S: list[Mixed] = [
    (1, "3", ONE, 1, 16, 0),
    (1, "3", (2, 2), 6, 24, 0),
    (1, "3", (2, 2), 3, 24, 0),
    (1, "3 5 7", ONE, 6, 40, 0.5),
    (3, "3 5", (2, 2), 6, 40, 0.5),
    (1, "3 5 7", (1, 2), 6, 80, 0.25),
    (2, "3 5", (1, 2), 6, 80, 0.25),
    (1, "3 5 7", (2, 2), 6, 120, 0.5),
    (2, "3 5 7 9", (2, 2), 3, 120, 0.5),
    (1, "3 5 7 9 11", ONE, 6, 200, 0.5),
    (2, "3 5 7 9", (1, 2), 6, 200, 0.5),
]
MIXNET_M: list[Mixed] = [
    (1, "3", ONE, 1, 24, 0),
    (1, "3 5 7", (2, 2), 6, 32, 0),
    (1, "3", (2, 2), 3, 32, 0),
    (1, "3 5 7 9", ONE, 6, 40, 0.5),
    (3, "3 5", (2, 2), 6, 40, 0.5),
    (1, "3 5 7", ONE, 6, 80, 0.25),
    (3, "3 5 7 9", (2, 2), 6, 80, 0.25),
    (1, "3", ONE, 6, 120, 0.5),
    (3, "3 5 7 9", (2, 2), 3, 120, 0.5),
    (1, "3 5 7 9", ONE, 6, 200, 0.5),
    (3, "3 5 7 9", (1, 2), 6, 200, 0.5),
]
MIXNET_L: list[Mixed] = [(*stage[:4], rounded(stage[4] * 1.3), stage[5]) for stage in MIXNET_M]

# Expansion, width, kernel, whether it squeezes: of slim's mobilenet_v3.
LARGE = [(1, 16, 3, False), (4, 24, 3, False), (3, 24, 3, False), *[(3, 40, 5, True)] * 3]
LARGE += [(6, 80, 3, False), (2.5, 80, 3, False), *[(184 / 80, 80, 3, False)] * 2]
LARGE += [*[(6, 112, 3, True)] * 2, *[(6, 160, 5, True)] * 3]
SMALL = [(1, 16, 3, True), (72 / 16, 24, 3, False), (88 / 24, 24, 3, False), (4, 40, 5, True)]
SMALL += [*[(6, 40, 5, True)] * 2, *[(3, 48, 5, True)] * 2, *[(6, 96, 5, True)] * 3]


def _efficientnets() -> Iterator[tuple[str, Callable[[], Iterator[Variable]]]]:
    for name, (width, depth) in FACTORS.items():
        ends = {"stem": rounded(32 * width), "head": rounded(1280 * width)}
        stages = scaled(B0, width, depth)
        yield f"tpu_efficientnet_{name}", partial(efficientnet, f"efficientnet-{name}", stages, **ends)
        if name <= "b3":
            stages = scaled(V2, width, depth, rounding=nearest)
            model = f"efficientnetv2-{name}"
            yield f"automl_efficientnetv2_{name}", partial(efficientnet, model, stages, **ends)
    for name, (stem, stages) in V2_LARGE.items():
        model = f"efficientnetv2-{name}"
        yield f"automl_efficientnetv2_{name}", partial(efficientnet, model, stages, stem=stem)
    for name, of in LITE.items():
        stages = scaled(B0, *FACTORS[of], keep_ends=True)
        model = f"efficientnet-{name}"
        yield f"tpu_efficientnet_{name}", partial(efficientnet, model, stages, squeeze=False)
    for name, (width, depth) in EDGETPU_FACTORS.items():
        ends = {"stem": rounded(32 * width), "head": rounded(1280 * width)}
        make = partial(
            efficientnet, f"efficientnet-edgetpu-{name}", scaled(EDGETPU, width, depth), **ends, squeeze=False
        )
        yield f"tpu_efficientnet_e{name.lower()}", make


def _others() -> Iterator[tuple[str, Callable[[], Iterator[Variable]]]]:
    for name, (stem, stages) in MNASNET.items():
        yield f"tpu_mnasnet_{name}", partial(counted, f"mnasnet-{name}", "mnas_", (stem, 1280), stages)
    for name, stages in (("s", MIXNET_S), ("m", MIXNET_M), ("l", MIXNET_L)):
        make = partial(counted, f"mixnet-{name}", "", (stages[0][4], 1536), stages)
        yield f"tpu_mixnet_{name}", make
    for alpha in (0.25, 0.5, 0.75, 1.0):
        yield f"slim_mobilenetv1_{alpha * 100:03.0f}", partial(slim_v1, alpha)
    for alpha in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4):
        yield f"slim_mobilenetv2_{alpha * 100:03.0f}", partial(slim_v2, alpha)
    for size, blocks, last in (("large", LARGE, 1280), ("small", SMALL, 1024)):
        make_v3 = partial(slim_v3, blocks, last)
        yield f"slim_mobilenetv3_{size}_100", make_v3
        yield f"slim_mobilenetv3_{size}_075", partial(make_v3, 0.75)
        yield f"slim_mobilenetv3_{size}_minimal_100", partial(make_v3, minimal=True)


NETWORKS = dict([*_efficientnets(), *_others()])
