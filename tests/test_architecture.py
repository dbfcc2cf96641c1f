"""Promises about imports: they go downward, frameworks stay in their places, the port needs none."""

from __future__ import annotations

import ast
import graphlib
import os
import re
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path

import pytest

import porter

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "porter"

# From the bottom up; a module may import from its own package and from those above it in this list.
# One package to a row: two that shared one could import each other.
LAYERS = [
    "errors",
    "version",
    "core",
    "data",
    "formats",
    "checkpoints",
    "tables",
    "planning",
    "transfer",
    "same_padding",
    "networks",
    "recordings",
    "parity",
    "loading",
    "outputs",
    "onnx",
    "diagnosis",
    "report",
    "runners",
    "matching",
    "checks",
    "agreement",
    "cli",
]
LONGEST_FUNCTION = 60
LONGEST_FILE = 350

FRAMEWORKS = {
    "tensorflow": {
        "runners/tensorflow.py",
        "runners/agreement_source.py",
        "runners/builders/",
        "runners/decoding.py",
        "runners/exact_constants.py",
        "runners/fed_network.py",
        "runners/file_network.py",
        "runners/file_witness.py",
        "runners/garden_task.py",
        "runners/graph_lifting.py",
        "runners/lifted_resizing.py",
        "runners/match_source.py",
        "runners/matched_network.py",
        "runners/source_keys.py",
        "runners/built_network.py",
        "runners/graph_part.py",
        "runners/measured_variances.py",
        "runners/own_source.py",
        "runners/restoring.py",
        "runners/tflite_interpreter.py",
        "runners/tflite_network.py",
        "runners/traced_network.py",
        "runners/watched_layers.py",
    },
    "tf_keras": {"runners/tensorflow.py", "runners/builders/", "runners/garden_task.py"},
    "official": {"runners/builders/model_garden.py", "runners/garden_task.py"},
    "timm": {"loading/", "networks/", "outputs/folded.py", "runners/agreement_port.py", "runners/torch.py"},
    "torch": {
        "recordings/capturing.py",
        "loading/",
        "networks/",
        "onnx/export.py",
        "onnx/exported_program.py",
        "runners/agreement_port.py",
        "runners/findings.py",
        "runners/layer_finder.py",
        "runners/bare_parameters.py",
        "runners/joined_attention.py",
        "runners/layer_fits.py",
        "runners/match_target.py",
        "runners/network_ends.py",
        "runners/golden_side.py",
        "runners/ported_reading.py",
        "runners/ported_side.py",
        "runners/prediction.py",
        "runners/structure_target.py",
        "runners/target_layers.py",
        "runners/target_pools.py",
        "runners/target_search.py",
        "runners/torch.py",
        "same_padding/",
    },
    "onnx": {"onnx/", "runners/onnx.py"},
    "onnxruntime": {"runners/onnx.py"},
    "onnx_ir": {"onnx/export.py"},
    "pyarrow": {"agreement/row_table.py", "data/parquet.py"},
    "ray": {"agreement/ray_engine.py"},
    "h5py": {"formats/hdf5/child.py", "formats/hdf5/forks.py", "runners/keras_files.py"},
    "onnxscript": {"onnx/export.py"},
}


def modules():
    """Yield (dotted name, path) of every module of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


NAMES = {name for name, _ in modules()}


@cache
def parsed(path):
    """Return a file's syntax tree; every test looks at every file."""
    return ast.parse(path.read_text())


@cache
def imported(path):
    """Return every module that a file imports, those for type checkers left out."""
    return tuple(_imported(parsed(path)))


def _imported(tree):
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skipped.update(id(child) for statement in node.body for child in ast.walk(statement))
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in NAMES else node.module


def layer(name):
    """Return the number of a module's layer."""
    package = name.split(".")[1]
    assert package in LAYERS, f"{name} has no layer in LAYERS"
    return LAYERS.index(package)


@cache
def functions():
    """Return (where it is, lines with its decorators and docstring) of every function of the package."""
    return [
        (f"{name}.{node.name}", node.end_lineno - node.lineno + 1)
        for name, path in modules()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef)
    ]


@pytest.mark.parametrize(("name", "path"), [m for m in modules() if m[0] != "porter"])
def test_imports_go_downward(name, path):
    """No module imports from a layer above its own."""
    upward = [i for i in imported(path) if i.startswith("porter.") and layer(i) > layer(name)]

    assert upward == []


def test_there_is_no_import_cycle():
    """Every module can be understood before the ones that use it."""
    graph = {name: {i for i in imported(path) if i in NAMES - {"porter", name}} for name, path in modules()}

    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(graph) > len(LAYERS)


def test_packages_import_each_other_one_way_only():
    """Two packages that need each other are one; the layers are an order that the imports bear out."""
    graph = {package: set() for package in LAYERS}
    for name, path in modules():
        for other in imported(path):
            if other in NAMES - {"porter"} and name != "porter":
                graph[name.split(".")[1]].add(other.split(".")[1])

    order = list(graphlib.TopologicalSorter({p: needs - {p} for p, needs in graph.items()}).static_order())

    assert set(order) == set(LAYERS)
    assert set(LAYERS) == {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()
    } - {
        "__init__",
        "__pycache__",
        "py",
    }


@pytest.mark.parametrize(("name", "path"), list(modules()))
def test_no_file_is_too_long_to_be_read_at_once(name, path):
    """A longer file holds more than one concept."""
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("package", ["", *LAYERS])
def test_no_function_is_too_long_to_be_read_at_once(package):
    """A longer function does more than one thing."""
    of_package = [(n, lines) for n, lines in functions() if (n.split(".")[1:-1] or [""])[0] == package]

    assert [(name, lines) for name, lines in of_package if lines > LONGEST_FUNCTION] == []
    assert of_package or package == "version"


@pytest.mark.parametrize("framework", sorted(FRAMEWORKS))
def test_framework_is_imported_in_its_own_files_only(framework):
    """A second file that imports TensorFlow or torch is a leak."""
    allowed = FRAMEWORKS[framework]

    users = {
        str(path.relative_to(PACKAGE))
        for _, path in modules()
        if any(name.split(".")[0] == framework for name in imported(path))
    }

    assert {user for user in users if not user.startswith(tuple(allowed) or "?")} == set()


def test_port_path_loads_no_framework():
    """Importing everything that a port runs brings in neither TensorFlow nor torch nor the progress bar."""
    program = """
        import sys
        import porter, porter.cli.port_weights, porter.outputs.port, porter.cli.inspect, porter.cli.table
        print(sorted({name.split('.')[0] for name in sys.modules}
                     & {'tensorflow', 'torch', 'timm', 'ml_dtypes', 'rich', 'google.protobuf', 'h5py'}))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    assert run.stdout.strip() == "[]"


def test_documents_name_what_there_is():
    """Every ``porter.name`` that a document calls or takes something from exists."""
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.py")]
    used = {n for d in documents for n in re.findall(r"\bporter\.([A-Za-z_]+)(?=[.(])", d.read_text())}

    assert {"compare", "capture", "port"} <= used
    assert used - set(porter.__all__) - {path.stem for path in PACKAGE.iterdir()} == set()


def test_public_page_is_true():
    """Every name on the public page can be imported from where the page says it lives."""
    program = "import porter; print([n for n in porter.__all__ if not hasattr(porter, n)])"
    optional = {"load_model"}
    source = (PACKAGE / "__init__.py").read_text()

    assert all(name in source for name in optional)
    run = subprocess.run(
        [sys.executable, "-c", program.replace("porter.__all__", f"set(porter.__all__) - {optional}")],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert run.stdout.strip() == "[]"
