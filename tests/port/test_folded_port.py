"""`port-weights --fold-bn`: exact, accounted for, and loadable with porter and without."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import porter
from porter.outputs.forms import chosen_output
from porter.outputs.metadata import describe
from porter.outputs.output_options import OutputOptions
from porter.outputs.port import carry_out
from porter.planning.plan import plan
from porter.planning.port_options import PortOptions
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.tables.shipped import load_tables
from porter.transfer.transfer import transfer

pytestmark = pytest.mark.torch
pytest.importorskip("timm", reason="needs timm")
TABLES = load_tables()
FOLDED = OutputOptions(fold_bn=True)

# Folded norms keep one parameter per channel, as a bias. The hybrids' eight norms in front of attention keep
# both of theirs (640 + 1024 and 768 + 2048 more than if they could be folded), and their counter is none.
COUNTS = {
    "conv_small": (3_761_480, 0),
    "conv_medium": (9_681_560, 0),
    "conv_large": (32_516_088, 0),
    "hybrid_medium": (11_032_216, 8),
    "hybrid_large": (37_672_952, 8),
}


@pytest.fixture(scope="module")
def ported(module_folder):
    """Return a function from short name and dtype to (plain file, folded file, result), once per module."""
    done = {}

    def both(name, dtype=None):
        if (name, dtype) not in done:
            folder = module_folder(name)
            checkpoint = RandomCheckpoint(TABLES.variant(name), 0)
            made = plan(checkpoint, TABLES, variant=TABLES.variant(name).name)
            plain, folded = folder / "plain.safetensors", folder / "folded.safetensors"
            transfer(checkpoint, made.assignments, plain, metadata=describe(made, checkpoint.format, None))
            done[name, dtype] = (
                plain,
                folded,
                carry_out(checkpoint, made, folded, PortOptions(dtype=dtype), FOLDED),
            )
        return done[name, dtype]

    return both


def recipe(output, out):
    """Return the program that loads `out` without porter, of what is printed."""
    (text,) = output.alternatives(out)
    return text.partition("\n\n")[2]


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_those_of_the_arithmetic(ported, name):
    """Every norm is in a convolution but those in front of attention, which are listed with the reason."""
    _, folded, result = ported(name)
    total, left = COUNTS[name]
    tensors = load_file(folded)
    weights = {n: v for n, v in tensors.items() if not n.endswith(("mean", "var", "num_batches_tracked"))}

    assert sum(values.size for values in weights.values()) == total
    assert len(result.output.folding.unfolded) == left
    with safe_open(folded, "numpy") as file:
        described = json.loads(file.metadata()["porter.folding"])
    assert described["folded"] == list(result.output.folding.folded)
    assert all("convolution" in reason for reason in described["unfolded"].values())


@pytest.mark.parametrize("name", ["conv_small", "hybrid_medium"])
def test_folded_weights_are_those_of_float64_rounded_once(ported, name):
    """Each stored float32 is the nearest to what float64 gives; the network computes the same to 1e-12."""
    import torch

    from porter.networks.bn_folding import fold_batch_norm

    plain, folded, _ = ported(name)
    model = porter.load_model(plain).double()
    image = torch.rand(1, 3, 96, 96, dtype=torch.float64)
    with torch.no_grad():
        before = model(image)
        fold_batch_norm(model)
        after = model(image)
        loaded = porter.load_model(folded).double()(image)
    expected, found = model.state_dict(), load_file(folded)

    assert float((after - before).abs().max() / before.abs().max()) < 1e-12
    assert set(expected) == set(found)
    for key, values in expected.items():
        np.testing.assert_array_equal(found[key], values.numpy().astype(found[key].dtype), err_msg=key)
    # Rounding the weights to float32 is all that is left: eps of float32 through some fifty layers.
    assert float((loaded - before).abs().max() / before.abs().max()) < 1e-4


def test_narrow_output_is_within_half_a_step(ported):
    """Folded weights can be written in another type: each is the nearest number of that type."""
    _, wide, _ = ported("conv_small")
    _, narrow, _ = ported("conv_small", "bfloat16")
    with safe_open(narrow, "pt") as file:
        kernel = file.get_tensor("conv_stem.weight").float().numpy()

    relative = np.abs(kernel - load_file(wide)["conv_stem.weight"]) / np.abs(kernel)
    assert 0 < relative.max() <= 2**-8


def test_printed_program_loads_it_without_porter(ported, tmp_path):
    """The program that the command prints builds timm's network and loads the file, strictly."""
    import torch

    for name in ("conv_small", "hybrid_medium"):
        _, folded, result = ported(name)
        program = (
            recipe(result.output, folded) + "\nimport sys\nassert 'porter' not in sys.modules\n"
            # The rounding goes by the threads, and another test may have chosen them here.
            f"torch.set_num_threads({torch.get_num_threads()})\n"
            "torch.save(model(torch.ones(1, 3, 64, 64)), sys.argv[1])\n"
        )
        out = tmp_path / f"{name}.pt"
        subprocess.run([sys.executable, "-c", program, out], check=True, cwd=tmp_path)
        with torch.no_grad():
            expected = porter.load_model(folded)(torch.ones(1, 3, 64, 64))
        assert torch.equal(torch.load(out), expected)


def test_command_says_what_was_folded(tmp_path):
    """The command folds, names what it left and why, and prints how to load the file, both ways."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "checkpoints"))
    import bundle_writer

    checkpoint = RandomCheckpoint(TABLES.variant("hybrid_medium"), 0)
    bundle = bundle_writer.Bundle()
    for key in checkpoint.specs:
        bundle.put(key, checkpoint.read(key))
    source, out = bundle.store(tmp_path / "ckpt"), tmp_path / "o.safetensors"
    command = [sys.executable, "-m", "porter.cli.main", "port-weights", str(source), str(out), "--fold-bn"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)

    assert re.search(r"^folded    \d+ norms and layer scales", run.stdout, re.MULTILINE)
    assert re.search(r"^left      8: blocks\.2\.4\.norm, .*SAME pads with zeros", run.stdout, re.MULTILINE)
    assert f"porter.load_model('{out}')" in run.stdout
    assert "without porter" in run.stdout
    document = json.loads(subprocess.run([*command, "--json"], capture_output=True, check=True).stdout)
    assert len(document["folding"]["unfolded"]) == 8


def test_folding_for_another_library_is_a_usage_error(tmp_path):
    """Only timm's network is known without its norms."""
    command = ["-m", "porter.cli.main", "port-weights", "x", "y", "--fold-bn", "--target", "transformers"]
    run = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)

    assert run.returncode == 2
    assert "timm only" in run.stderr


def test_network_that_timm_lacks_has_no_program():
    """What cannot run is not printed: such a file is loaded by porter alone."""
    name = next(name for name, variant in TABLES.variants.items() if variant.is_own and variant.twin is None)
    made = plan(RandomCheckpoint(TABLES.variants[name], 0), TABLES, variant=name)

    output = chosen_output(FOLDED)(made, PortOptions(), FOLDED)

    assert list(output.alternatives("out.safetensors")) == []
