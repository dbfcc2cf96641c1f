"""A network that can be run with a fault, and the reference that it is held against."""

from __future__ import annotations

from collections.abc import Mapping

import fault_injection as faults
import numpy as np
import torch

from porter.diagnosis.weights import SeededWeights
from porter.recordings.activation import Activation
from porter.recordings.random_weights import image_input
from porter.recordings.recording import Provenance, Recording, Run
from porter.recordings.sampling import SampleRule
from porter.tables.variants import Stage, Variant

GOLDEN_ELEMENTS = 1024


# float64 rounding of one stage; a hundredth of what the check lets pass.
ROUNDING = 1e-13


def _differ(a: torch.Tensor, b: torch.Tensor) -> bool:
    close = (a - b).abs().max() <= ROUNDING * b.abs().max()
    return not bool(close)  # NaN is not close


class FaultyNetwork:
    """A network, its reference recording, and the means to run it with a fault.

    Args:
        variant: The network.
        size: Height and width of the input.
        seed: Seed of weights and input.
        reference: A recording of the same network at this size, e.g. TensorFlow's; the unmutated PyTorch
            network's own where None.
    """

    def __init__(
        self, variant: Variant, size: int, seed: int = 0, reference: Recording | None = None
    ) -> None:
        self.variant = variant
        self.weights = dict(SeededWeights(variant, seed).items())
        self.model = faults.build(variant)
        state = {n: torch.from_numpy(np.array(w)).double() for n, w in self.weights.items()}
        unexpected = self.model.load_state_dict(state, strict=False).unexpected_keys
        assert not unexpected, unexpected
        if variant.float64_activation:
            self._use_tensorflow_gelu()
        self.input = torch.from_numpy(
            image_input(seed, (size, size), 1).transpose(0, 3, 1, 2).astype("f8").copy()
        )
        self.seed = seed
        self.stages = variant.stages
        self.expected = reference or self.recording(self.forward(0, self.input), {})
        run = self.expected.runs[0]
        given = [run.input, *run.stages.values()]
        tensors = [torch.from_numpy(np.array(a.channels_first(), order="C")) for a in given]
        self.inputs = dict(zip((stage.name for stage in self.stages), tensors, strict=False))
        self.sound = {stage.name: self._run(stage, self.inputs[stage.name]) for stage in self.stages}
        self.golden = self._golden()

    def _use_tensorflow_gelu(self) -> None:
        from porter.runners.torch import TensorFlowGelu

        for _, norm in list(self.model.named_modules()):
            if faults.is_active(norm):
                norm.act = TensorFlowGelu()

    def forward(self, first: int, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run all stages from number `first` on."""
        out = {}
        for stage in self.stages[first:]:
            x = self._run(stage, x)
            out[stage.name] = x
        return out

    def _run(self, stage: Stage, x: torch.Tensor) -> torch.Tensor:
        x = x.clone()  # timm's activations work in place
        with torch.inference_mode():
            for module in stage.target:
                x = self.model.get_submodule(module)(x)
        return x

    def recording(
        self,
        outputs: Mapping[str, torch.Tensor],
        local: Mapping[str, torch.Tensor],
        given: torch.Tensor | None = None,
    ) -> Recording:
        """Make a recording of what was computed."""
        stages, locally = (
            {n: Activation.full(v.numpy(), "NCHW") for n, v in c.items()} for c in (outputs, local)
        )
        given = self.input if given is None else given
        provenance = Provenance("torch", self.variant.target.name, variant=self.variant.name, seed=self.seed)
        run = Run("float64", Activation.full(given.numpy(), "NCHW"), stages, locally)
        return Recording(provenance, (run,))

    def _golden(self) -> Recording:
        run = self.expected.runs[0]
        stages = {
            n: a.sampled(SampleRule(self.seed, f"x/{n}", GOLDEN_ELEMENTS)) for n, a in run.stages.items()
        }
        given = run.input.sampled(SampleRule(self.seed, "x/input", 256))
        return Recording(self.expected.provenance, (Run(run.dtype, given, stages),))

    def affected(self, mutant: faults.Mutant) -> list[int]:
        """Return the numbers of the stages that hold what was changed."""
        if mutant.place == faults.EVERYWHERE:
            return list(range(len(self.stages)))
        names = mutant.place.split(" and ")
        return [
            i
            for i, stage in enumerate(self.stages)
            if any(f"{n}.".startswith(f"{m}.") for n in names for m in stage.target)
        ]

    def mutate(self, mutant: faults.Mutant) -> tuple[Recording, list[str]]:
        """Run the network with a fault; return the recording and the stages whose own output changed."""
        touched = self.affected(mutant)
        assert touched, mutant.place
        with mutant.change():
            local, changed = dict(self.sound), []
            for i in touched:
                name = self.stages[i].name
                local[name] = self._run(self.stages[i], self.inputs[name])
                if _differ(local[name], self.sound[name]):
                    changed.append(name)
            first = touched[0]
            after = self.forward(first, self.inputs[self.stages[first].name])
        return self.recording({**self.sound, **after}, local), changed
