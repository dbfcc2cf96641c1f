"""A framework in a process of its own: what it needs, and one error for every way it can fail."""

from __future__ import annotations

import importlib.util
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from porter.core.child_process import ChildProcess, cores
from porter.errors import MissingDependencyError, ParityError, error_from_json, not_installed
from porter.runners.job import REFUSED, STAY, Job, jobs_to_line, reference_to_line

_POLL_SECONDS = 0.02
_LACKING = re.compile(r"ModuleNotFoundError: No module named '([^'.]+)[^']*'$")

# What each framework's module needs, and how to get it.
_NEEDS = {
    "tensorflow": (("tensorflow", "tf_keras", "official"), "pip install 'port-weights[tensorflow]'"),
    "torch": (("torch", "timm", "torchvision", "PIL"), "pip install 'port-weights[torch]'"),
    "onnx": (
        ("torch", "timm", "torchvision", "PIL", "onnx", "onnxruntime", "onnxscript"),
        "pip install 'port-weights[torch,onnx]'",
    ),
}

# Fixed before the framework is imported, because it reads them then. oneDNN reorders sums by CPU type;
# a visible GPU would compute with TF32 and other algorithms.
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_DETERMINISTIC_OPS": "1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_USE_LEGACY_KERAS": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
    "NVIDIA_TF32_OVERRIDE": "0",
    "PYTHONHASHSEED": "0",
    "PYTHONFAULTHANDLER": "1",
}


def missing_packages(framework: str) -> list[str]:
    """Return the packages that `framework` needs and that are not installed, without importing any."""
    return [name for name in _NEEDS[framework][0] if not is_installed(name)]


def is_installed(package: str) -> bool:
    """Whether a package can be found, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:  # a finder that keeps the package from being imported says so
        return False


def require(framework: str) -> None:
    """Check that `framework` is installed.

    Raises:
        MissingDependencyError: it is not; the message says what to install.
    """
    missing = missing_packages(framework)
    if missing:
        raise MissingDependencyError(
            f"runner/no-{framework}", not_installed(missing), hint=_NEEDS[framework][1]
        )


class Child(ChildProcess):
    """A process of one framework that does jobs.

    Args:
        framework: ``"tensorflow"`` or ``"torch"``: the module below `porter.runners` to run.
        *jobs: What to do, in order; one import of the framework serves them all.
        stays: The number of threads of a process that gets its jobs one by one, with `begin`; None for one
            that ends when `jobs` are done.
    """

    def __init__(self, framework: str, *jobs: Job, stays: int | None = None) -> None:
        require(framework)
        self.framework = framework
        threads = stays or max(job.threads for job in jobs)
        super().__init__(f"porter.runners.{framework}", variables(threads))
        self.say(STAY if stays else jobs_to_line(jobs))

    def begin(self, job: Job) -> None:
        """Have a process that stays do one more job; the one before must be answered."""
        self.say(jobs_to_line([job]))

    def answered(self, job: Job) -> bool:
        """Whether a process that stays has done a job.

        Raises:
            ParityError: it has ended.
            PorterError: it refused the job; the error is the child's own.
        """
        if job.answer.exists():
            if refusal := json.loads(job.answer.read_text(encoding="utf-8")):
                raise error_from_json(refusal)
            return True
        if self.finished() and not job.answer.exists():
            raise self._failure()
        return False

    def name_reference(self, path: Path | None, *, whole: bool = True) -> None:
        """Tell the child where the reference recording is, if there is one, or that it has been begun."""
        self.say(reference_to_line(path, whole=whole))

    def finished(self) -> bool:
        """Whether the child has ended well.

        Raises:
            ParityError: it has ended in any other way.
            PorterError: it refused the job; the error is the child's own.
        """
        code = self.exit_code()
        if code is None or code == 0:
            return code == 0
        answer = self._process.stdout.read() if self._process.stdout else ""
        if code == REFUSED and answer:
            raise error_from_json(json.loads(answer))
        if lacking := _LACKING.search(self.last_lines()):
            raise MissingDependencyError(
                f"runner/no-{self.framework}", not_installed([lacking[1]]), hint=_NEEDS[self.framework][1]
            )
        raise self._failure()

    def _failure(self) -> ParityError:
        return failure(self.framework, self.obituary())


def failure(framework: str, how: str) -> ParityError:
    """Return the error that says how a framework's process died."""
    return ParityError(f"runner/{framework}-failed", f"the {framework} process died: it {how}")


def wait_for(
    child: Child, others: Sequence[Child], timeout: float, meanwhile: Callable[[], None] | None = None
) -> None:
    """Wait until `child` has ended well, and notice at once when one of `others` fails meanwhile.

    Args:
        child: The process to wait for.
        others: Processes that may still run afterwards.
        timeout: Seconds.
        meanwhile: Called again and again until then; must be quick.

    Raises:
        ParityError: a process failed, crashed, or did not end in time.
        PorterError: a process refused its job.
    """
    deadline = time.monotonic() + timeout
    while not child.finished():
        for other in others:
            other.finished()
        if meanwhile is not None:
            meanwhile()
        if time.monotonic() > deadline:
            raise ParityError(
                f"runner/{child.framework}-timeout",
                f"the {child.framework} process did not end within {timeout:g} s; "
                f"its last lines: {child.last_lines()}",
            )
        time.sleep(_POLL_SECONDS)


def default_threads() -> int:
    """Threads per framework: half the cores that this process may use, for both run at once; 1 to 4.

    More would change the order of sums from machine to machine for little speed, and threads that
    outnumber the cores wait for each other at every small convolution, which multiplies the time.
    """
    return max(1, min(4, cores() // 2))


def variables(threads: int) -> dict[str, str]:
    """Return what the environment of a framework's process has, if it may use so many threads."""
    return {**_ENVIRONMENT, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
