"""Where images are worked on, and by how many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from porter.errors import MissingDependencyError, ParityError, not_installed
from porter.planning.port_options import require_known
from porter.runners.process import is_installed

ENGINES = ("local", "ray")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Where the work is done.

    Attributes:
        name: ``"local"``, or ``"ray"`` for Ray Data.
        workers: Processes (or actors) of each framework.
        batch: Images that a process holds and runs at once.
        ray_address: The Ray cluster; one that is started here if None.
        gpus_per_worker: Graphics cards of each actor.

    Raises:
        PlanError: there is no such engine.
        ParityError: there would be no worker, or no image in a batch.
        MissingDependencyError: Ray is not installed.

    Example:
        >>> porter.Engine(workers=4).batch
        16
    """

    name: Literal["local", "ray"] = "local"
    workers: int = 1
    batch: int = 16
    ray_address: str | None = None
    gpus_per_worker: float = 0

    def __post_init__(self) -> None:
        """Refuse what could not be run."""
        require_known("engine", self.name, ENGINES)
        if self.name == "ray":
            require_package("ray", "ray")
        if self.workers < 1 or self.batch < 1:
            raise ParityError("agree/workers", "there are at least one worker and one image in a batch")


def require_package(name: str, extra: str) -> None:
    """Refuse to go on without a package, before any work is done.

    Raises:
        MissingDependencyError: it is not installed.
    """
    if not is_installed(name):
        raise MissingDependencyError(
            "agree/no-package", not_installed([name]), hint=f"pip install 'port-weights[{extra}]'"
        )


def silent(_: Any, __: Any = None) -> None:
    """Say nothing."""
