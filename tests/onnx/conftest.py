"""One ported network and its exports per session, and recordings of what PyTorch makes of the same inputs."""

from __future__ import annotations

import pytest

from porter.outputs.metadata import describe
from porter.planning.plan import plan
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables
from porter.transfer.transfer import transfer


def pytest_collection_modifyitems(items):
    """Skip the folder where the extra is not installed."""
    from porter.runners.process import missing_packages

    missing = missing_packages("onnx")
    for item in items:
        if missing and item.get_closest_marker("onnx"):
            item.add_marker(pytest.mark.skip(reason=f"needs {', '.join(missing)}"))


@pytest.fixture(scope="session")
def variant():
    """Return a function from short name to variant."""
    tables = load_tables()
    return tables.variant


@pytest.fixture(scope="session")
def ported(variant, tmp_path_factory):
    """Return a function from short name to a file ported from seeded weights, once per session."""
    done = {}

    def file(name):
        if name not in done:
            done[name] = tmp_path_factory.mktemp("ported") / f"{name}.safetensors"
            checkpoint = RandomCheckpoint(variant(name), 0)
            tables = load_tables()
            made = plan(checkpoint, tables, variant=variant(name).name)
            metadata = describe(made, checkpoint.format, None)
            transfer(checkpoint, made.assignments, done[name], metadata=metadata)
        return done[name]

    return file


@pytest.fixture(scope="session")
def exported(ported, variant, tmp_path_factory):
    """Return a function from network, size (None: every size) and folding to the loaded export, made once."""
    import onnx

    from porter.onnx.export import export_onnx

    done = {}

    def model(name, size=None, *, fold_bn=False):
        key = name, size, fold_bn
        if key not in done:
            path = tmp_path_factory.mktemp("exported") / "model.onnx"
            report = export_onnx(ported(name), path, size=size, fold_bn=fold_bn, stages=variant(name).stages)
            done[key] = onnx.load(path), report
        return done[key]

    return model


@pytest.fixture(scope="session")
def recorded(ported, variant):
    """Return a function from network, inputs and element types to PyTorch's recording of every stage."""
    import torch

    import porter
    from porter.recordings.capturing import capture
    from porter.recordings.recording import Provenance, Recording

    def record(name, inputs, dtypes):
        model = porter.load_model(ported(name))
        modules = {stage.name: stage.target[-1] for stage in variant(name).stages}
        runs = []
        for dtype in sorted(dtypes):
            model.to(getattr(torch, dtype))
            with torch.inference_mode(), capture(model, modules) as seen:
                for values in inputs:
                    model(torch.from_numpy(values.transpose(0, 3, 1, 2).astype(dtype)))
            runs += seen.recording().runs
        return Recording(Provenance("torch", name), tuple(runs))

    return record
