"""`porter.check`: prove that a ported network computes what its source computes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeGuard, cast, get_args

from porter.checks.check import DTYPES, Check, Checked, Size, check_against_tensorflow, silent
from porter.checks.explanation import explained
from porter.checks.framework_pair import FrameworkPair, shared_pair
from porter.checks.goldens import verify_goldens
from porter.checks.report import CheckReport
from porter.core.checkpoint import Checkpoint
from porter.errors import ParityError, not_installed
from porter.outputs.forms import TARGETS
from porter.parity.golden_files import golden_path
from porter.parity.tolerances import Tolerances
from porter.planning.plan import Plan, plan
from porter.planning.port_options import DEFAULTS, PortOptions, require_known
from porter.recordings.random_checkpoint import RandomCheckpoint
from porter.runners.process import missing_packages, require
from porter.tables.known_tables import Tables
from porter.tables.shipped import load_tables
from porter.tables.variants import Variant

Reference = Literal["tensorflow", "golden", "onnx"]
Phase = Callable[[str], None]


def check(  # noqa: PLR0913  (a person gives what differs from the defaults, by name)
    variant: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    *,
    against: Reference | str | os.PathLike[str] | None = None,
    tables: Tables | None = None,
    options: PortOptions = DEFAULTS,
    sizes: Sequence[int | Size] = (),
    dtypes: Sequence[str] = DTYPES,
    batch: int = 1,
    seed: int = 0,
    images: Sequence[str | os.PathLike[str]] = (),
    labels: str | os.PathLike[str] | None = None,
    ported: str | os.PathLike[str] | None = None,
    target: str = "timm",
    source: str | None = None,
    trust_table: bool = False,
    tolerances: Tolerances | None = None,
    phase: Phase = silent,
    **choices: Any,
) -> CheckReport:
    """Run a network and its port side by side and compare them stage by stage.

    Args:
        variant: The network; may be left out if there is a checkpoint, which says what it is.
        checkpoint: These weights are restored by the reference itself and ported for PyTorch; random if None.
        against: The reference; TensorFlow if None, or the network's golden where that is not installed. A
            file that `record_golden` wrote is one for `ported`, without any checkpoint.
        tables: Known networks; those that come with porter if None.
        options: What is chosen about the port.
        sizes: Input sizes in pixels, each a side or (height, width); the table's if empty.
        dtypes: Element types to compute in, of float64 and float32. float64 decides and is always run.
        batch: Images per input.
        seed: Seed of the inputs, and of random weights.
        images: Image files to use as the input.
        labels: File with the names of the classes, one a line, to show with images; ImageNet's if None.
        ported: A ported file, folder or ``.pth`` to check as it is on disk; a fresh port if None.
        target: The library under whose names `ported` was written; as for `port`.
        source: Your own function that builds TensorFlow's network, ``"package.module:function"``: it returns
            a Keras model or a `tf.Module`, and is run in place of what the file carries or the table names.
        trust_table: Run functions that the table, or `ported`, names; they are refused if False.
        tolerances: The defaults if None.
        phase: Called with each phase of the check, in words, as it begins.
        **choices: Single attributes of `PortOptions`, by name, in place of those of `options`.

    Raises:
        PorterError: what is missing or refused. `found` of ``check/beyond-golden`` is what needs TensorFlow.

    Example:
        >>> porter.check("keras_mobilenetv1_025", against="golden").passed
        True
    """
    options = options.merged(choices)
    files = (tuple(map(Path, images)), target, _path(labels), _path(ported))
    shapes = tuple((size, size) if isinstance(size, int) else size for size in sizes)
    types, network = tuple(dict.fromkeys(("float64", *dtypes))), variant or options.variant
    chosen = (_path(checkpoint), replace(options, variant=None), shapes, types, batch, seed)
    given = _Request(network, *chosen, *files, source=source, trust_table=trust_table)
    return given.run(against, tables, tolerances, phase, shared_pair())


def _is_file(against: str | os.PathLike[str] | None) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a reference is a file, and neither a known word nor one that was misspelt."""
    if against is None or against in get_args(Reference):
        return False
    return not isinstance(against, str) or Path(against).exists() or bool(Path(against).suffix)


def _path(given: str | os.PathLike[str] | None) -> Path | None:
    return None if given is None else Path(given)


@dataclass(frozen=True, slots=True)
class _Request:
    """A check whose network is not known yet."""

    variant: str | None
    checkpoint: Path | None
    options: PortOptions
    sizes: tuple[Size, ...]
    dtypes: tuple[str, ...]
    batch: int
    seed: int
    images: tuple[Path, ...]
    target: str
    labels: Path | None
    ported: Path | None
    source: str | None = None
    trust_table: bool = False

    def __post_init__(self) -> None:
        """Refuse what could not be run."""
        require_known("target", self.target, TARGETS)
        for dtype in self.dtypes:
            require_known("dtypes", dtype, DTYPES)
        if self.batch < 1 or any(side < 1 for size in self.sizes for side in size):
            raise ParityError("check/size", "a batch and its images have at least one image and pixel")
        if self.options.dtype is not None:
            raise ParityError(
                "check/dtype",
                "a check computes with the weights as they are stored, and dtype rounds them",
                found=self.options.dtype,
                hint="Leave dtype out.",
            )

    def _require_source(self, against: Reference | None) -> None:
        """Refuse a ported file that there is nothing to hold against."""
        if self.ported is None:
            if self.target != "timm":
                raise ParityError(
                    "check/target-alone",
                    "a target says whose names a ported file has, and none was given",
                    found=self.target,
                )
            return
        if self.checkpoint is None or against not in (None, "tensorflow"):
            raise ParityError(
                "check/ported-alone",
                "a ported file is checked against TensorFlow with the checkpoint that it came from",
                file=self.ported,
                hint="Give the checkpoint too, or a golden that was recorded of it.",
            )
        self._require_ported()

    def _require_ported(self) -> None:
        if self.ported is None or not self.ported.exists():
            raise ParityError("check/no-ported-file", "does not exist", file=self.ported)

    def against_file(self, golden: Path, tolerances: Tolerances | None, phase: Phase) -> CheckReport:
        if self.ported is None:
            raise ParityError(
                "check/golden-alone",
                "a golden of somebody's own weights is held against a ported file, and none was given",
                file=golden,
            )
        if self.variant is not None:
            raise ParityError(
                "check/variant-and-golden",
                "a golden of somebody's own weights says itself what network it is of",
                file=golden,
                hint="Name no variant.",
            )
        if beyond := self._beyond_a_golden():
            raise _needs_tensorflow(beyond[0])
        self._require_ported()
        from porter.checks.own_golden_check import check_against_own_golden  # noqa: PLC0415  (as above)

        return check_against_own_golden(
            self.ported,
            golden,
            target=self.target,
            trust_table=self.trust_table,
            tolerances=tolerances,
            phase=phase,
        )

    def run(
        self,
        against: str | os.PathLike[str] | None,
        tables: Tables | None,
        tolerances: Tolerances | None,
        phase: Phase,
        pair: FrameworkPair | None = None,
    ) -> CheckReport:
        if self.variant is None and self.checkpoint is None and self.ported is None:
            raise ParityError("check/nothing-named", "neither a variant nor a checkpoint was given to check")
        if _is_file(against):
            return self.against_file(Path(against), tolerances, phase)
        require_known("against", against, (None, *get_args(Reference)))
        reference = cast("Reference | None", against)
        return self._against(reference, tables or load_tables(), tolerances, phase, pair)

    def _against(
        self,
        against: Reference | None,
        tables: Tables,
        tolerances: Tolerances | None,
        phase: Phase,
        pair: FrameworkPair | None,
    ) -> CheckReport:
        self._require_source(against)
        golden = self._golden(against, tables)
        if golden is not None:
            trusted, asked = self.trust_table, against == "golden"
            return _against_golden(golden, tables, tolerances, phase, trust_table=trusted, asked_for=asked)
        phase("reading the weights" if self.checkpoint else "making random weights")
        with self._weights(tables) as weights:
            port_plan = plan(weights, tables, replace(self.options, variant=self.variant))
            checked = self._checked(port_plan, against, tolerances, phase, pair)
            named = self.ported is not None and bool(checked.report.findings)
            return _explained(checked, port_plan, weights, phase, names_tensors=named)

    def _golden(self, against: Reference | None, tables: Tables) -> Path | None:
        """Return the golden that is the reference, because it was asked for or there is nothing else."""
        if against in ("tensorflow", "onnx") or (against is None and not missing_packages("tensorflow")):
            return None
        beyond = self._beyond_a_golden()
        if beyond and against == "golden":
            raise _needs_tensorflow(beyond[0])
        path = None if beyond or self.variant is None else golden_path(tables.variant(self.variant))
        if against is None and (path is None or not path.exists()):
            require("tensorflow")
        return path

    def _beyond_a_golden(self) -> list[str]:
        """Return what was asked for and is in no golden, which holds one input and one seed."""
        plain = _Request(
            self.variant,
            None,
            DEFAULTS,
            (),
            self.dtypes,
            1,
            0,
            (),
            self.target,
            None,
            self.ported,
            trust_table=self.trust_table,
        )
        names = [name for name in self.__slots__ if getattr(self, name) != getattr(plain, name)]
        if "options" not in names:
            return names
        chosen = [n for n in PortOptions.__slots__ if getattr(self.options, n) != getattr(DEFAULTS, n)]
        return [*(name for name in names if name != "options"), *chosen]

    def _weights(self, tables: Tables) -> Checkpoint:
        if self.checkpoint is not None:
            from porter.checkpoints import open_checkpoint  # noqa: PLC0415  (see porter.runners.job)

            return open_checkpoint(self.checkpoint)
        return RandomCheckpoint(tables.variant(self.variant or ""), self.seed)

    def _checked(
        self,
        port_plan: Plan,
        against: Reference | None,
        tolerances: Tolerances | None,
        phase: Phase,
        pair: FrameworkPair | None,
    ) -> Checked:
        request = Check(
            port_plan.variant,
            sizes=self.sizes,
            dtypes=self.dtypes,
            batch=self.batch,
            seed=self.seed,
            checkpoint=self.checkpoint,
            options=self.options,
            images=self.images,
            labels=self.labels,
            ported=self.ported,
            target=self.target,
            source=self.source,
            trust_table=self.trust_table,
        )
        request.require_trust()
        if against == "onnx":
            from porter.checks.onnx_check import check_against_onnx  # noqa: PLC0415  (as above)

            return check_against_onnx(request, tolerances, port_plan=port_plan, phase=phase)
        return check_against_tensorflow(request, tolerances, port_plan=port_plan, phase=phase, pair=pair)


def _needs_tensorflow(asked: str) -> ParityError:
    return ParityError(
        "check/beyond-golden",
        "a golden holds one input and its weights; anything else needs TensorFlow",
        found=asked,
    )


def _explained(
    checked: Checked, port_plan: Plan, weights: Checkpoint, phase: Phase, *, names_tensors: bool
) -> CheckReport:
    outcome = checked.report
    # Tensors that are named explain the failure; what the stages look like would only mislead.
    if not outcome.passed and not names_tensors:
        from porter.diagnosis.weights import PlannedWeights  # noqa: PLC0415  (a check that passes needs none)

        phase("looking for the cause")
        outcome = explained(checked, _as_planned(port_plan), PlannedWeights(weights, port_plan))
    return CheckReport(outcome, checked.expected, checked.actual)


def _as_planned(port_plan: Plan) -> Variant:
    """Return the network with the epsilon that the port has."""
    variant = port_plan.variant
    if variant.bn_eps is None or port_plan.bn_eps is None:
        return variant
    return replace(variant, bn_eps=variant.bn_eps._replace(default=port_plan.bn_eps))


def _against_golden(
    path: Path,
    tables: Tables,
    tolerances: Tolerances | None,
    phase: Phase,
    *,
    trust_table: bool,
    asked_for: bool,
) -> CheckReport:
    phase("running PyTorch against the golden")
    (checked,) = verify_goldens([path], tables, tolerances=tolerances, trust_table=trust_table)
    outcome = explained(checked, tables.variant(checked.expected.provenance.variant or ""))
    if not asked_for:
        note = f"compared with the golden, because {not_installed(missing_packages('tensorflow'))}"
        outcome = replace(outcome, notes=(note, *outcome.notes))
    return CheckReport(outcome, checked.expected, checked.actual)
