"""Processes of both frameworks on this machine, each working on one part after another."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

from porter.core.child_process import ChildDiedError, ChildProcess
from porter.data.items import Part
from porter.errors import ParityError, PorterError, error_from_json
from porter.runners.process import failure, require, variables

_DEATHS = 3  # of processes on one part, after which the part is to blame
_MOMENT = 0.1  # seconds
_AHEAD = 3  # parts under way for each process of a stage


class Stage(NamedTuple):
    """What is done to each part, one stage after another.

    Attributes:
        framework: What its processes import, ``"tensorflow"`` or ``"torch"``.
        module: The module below `porter.runners` that is the process.
        setup: What a process is told first.
    """

    framework: str
    module: str
    setup: Mapping[str, Any]


class _Process(ChildProcess):
    """A process of a stage."""

    def __init__(self, stage: Stage, threads: int) -> None:
        super().__init__(f"porter.runners.{stage.module}", variables(threads))

    def do(self, request: Mapping[str, Any]) -> Any:
        """Send a request and wait for the answer.

        Raises:
            PorterError: the process refused.
            ChildDiedError: it ended without an answer.
        """
        answer = json.loads(self.ask(json.dumps(request) + "\n"))
        if "refusal" in answer:
            raise error_from_json(answer["refusal"])
        return answer["answer"]


@dataclass(frozen=True, slots=True)
class _Event:
    """What a worker reports: its facts, a part that is done, or an error."""

    stage: int
    facts: Any = None
    part: Part | None = None
    error: BaseException | None = None


class _Worker(threading.Thread):
    """A process, and the thread that gives it parts and starts it again when it dies."""

    def __init__(self, number: int, stage: Stage, threads: int, events: queue.SimpleQueue[_Event]) -> None:
        super().__init__(daemon=True)
        self.parts: queue.SimpleQueue[tuple[Part, Mapping[str, Any]] | None] = queue.SimpleQueue()
        self.stopped = False
        self._number, self._stage, self._threads, self._events = number, stage, threads, events
        self.process = _Process(stage, threads)

    def share(self, other: _Worker) -> None:
        """Take parts from the same queue as another worker."""
        self.parts = other.parts

    def run(self) -> None:
        try:
            self._events.put(_Event(self._number, facts=self._begin()))
            while (given := self.parts.get()) is not None:
                part, told = given
                self._work(part, told)
                self._events.put(_Event(self._number, part=part))
        except BaseException as error:  # noqa: BLE001 (raised again by whoever reads the events)
            self._events.put(_Event(self._number, error=error))

    def _begin(self) -> Any:
        try:
            return self.process.do(self._stage.setup)
        except ChildDiedError as death:
            raise failure(self._stage.framework, str(death)) from None

    def _work(self, part: Part, told: Mapping[str, Any]) -> None:
        request = {"part": part.to_json(), **told}
        for _ in range(_DEATHS):
            try:
                self.process.do(request)
            except ChildDiedError as error:
                death = str(error)
            else:
                return
            if self.stopped:
                break
            self.process.close()
            self.process = _Process(self._stage, self._threads)
            self._begin()
        raise ParityError(
            "agree/worker-died",
            f"a {self._stage.framework} process {death}; so did {_DEATHS - 1} others on the same images",
            found=f"images {part.index} to {part.index + part.count - 1} of the data",
            hint="If memory ran out, give a smaller --batch or fewer --workers.",
        )


class LocalEngine:
    """Runs parts through stages. Use as a context manager: leaving it ends every process.

    Args:
        stages: In order.
        workers: Processes of each stage.
        threads: Threads of each process.

    Raises:
        MissingDependencyError: a framework is not installed.
    """

    def __init__(self, stages: Sequence[Stage], workers: int, threads: int = 1) -> None:
        for stage in stages:
            require(stage.framework)
        self._stages, self._count = stages, workers
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._workers = [
            [_Worker(number, stage, threads, self._events) for _ in range(workers)]
            for number, stage in enumerate(stages)
        ]
        for some in self._workers:
            for worker in some:
                worker.share(some[0])

    def facts(self) -> list[Any]:
        """Start the processes; return what the first of each stage says of itself.

        Raises:
            PorterError: a process refused, or could not start.
        """
        for worker in (worker for some in self._workers for worker in some):
            worker.start()
        found: dict[int, Any] = {}
        while len(found) < len(self._stages):
            event = self._next()
            found.setdefault(event.stage, event.facts)
        return [found[number] for number in range(len(self._stages))]

    def run(self, parts: Iterable[Part], told: Mapping[str, Any]) -> Iterator[Part]:
        """Yield every part once all stages have worked on it; a few are under way at a time.

        Args:
            parts: The parts.
            told: What a process is told with each part.

        Raises:
            PorterError: a process refused, or one after another died on the same part.
        """
        waiting, under_way = iter(parts), 0
        while True:
            while under_way < _AHEAD * self._count and (part := next(waiting, None)) is not None:
                self._give(0, part, told)
                under_way += 1
            if not under_way:
                return
            event = self._next()
            if event.part is None:
                continue
            if event.stage + 1 < len(self._stages):
                self._give(event.stage + 1, event.part, told)
            else:
                under_way -= 1
                yield event.part

    def _give(self, stage: int, part: Part, told: Mapping[str, Any]) -> None:
        self._workers[stage][0].parts.put((part, told))

    def _next(self) -> _Event:
        event = self._events.get()
        if event.error is not None:
            if isinstance(event.error, PorterError):
                raise event.error
            raise RuntimeError("a worker's thread failed") from event.error
        return event

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every process."""
        workers = [worker for some in self._workers for worker in some]
        for worker in workers:
            worker.stopped = True
            worker.process.kill()
            worker.parts.put(None)
        for worker in workers:
            while worker.is_alive():  # it may have begun another process meanwhile
                worker.process.kill()
                worker.join(_MOMENT)
            worker.process.close()
