"""A bounded number of processes that port, each fed by a thread of this one."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Generator, Sequence

from porter.core.child_process import ChildDiedError, ChildProcess, cores
from porter.errors import OutputError
from porter.outputs.many.records import PortedSource, Task

_SECONDS_TO_TIDY_UP = 5.0


class _Process:
    """One process that ports, started when it is first needed and again after it has died."""

    def __init__(self, threads: int) -> None:
        self._variables = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        self._child: ChildProcess | None = None
        self._lock, self._ended = threading.Lock(), False

    def port(self, task: Task) -> PortedSource:
        """Have a port made; a process that dies of it is a failure of this port alone."""
        started = time.perf_counter()
        with self._lock:
            if self._ended:
                return _not_begun(task)
            if self._child is None:
                self._child = ChildProcess("porter.outputs.many.worker", self._variables)
        try:
            return PortedSource.from_json(json.loads(self._child.ask(task.to_line())))
        except ChildDiedError as death:
            self.close()
            said = f"the process that ported it {death}"
            error = OutputError("output/process-died", said, file=task.source)
            seconds = time.perf_counter() - started
            return PortedSource(task.source, task.out, "failed", seconds=seconds, error=error)

    def end(self, *, at_once: bool) -> None:
        """End the process: when it has done what it does, or at once and in order."""
        with self._lock:
            self._ended = at_once
            child = self._child
        if child is not None:
            child.dismiss(at_once=at_once)

    def close(self) -> None:
        """Forget the process and what it said."""
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.close()


def port_all(tasks: Sequence[Task], *, jobs: int, keep_going: bool) -> Generator[tuple[int, PortedSource]]:
    """Make every port, and yield each with its number as it is done.

    Whoever stops listening (an interrupt, an error) ends the processes: what they were writing is dropped.

    Args:
        tasks: The ports.
        jobs: Processes that work at a time.
        keep_going: Whether tasks are begun after one has failed.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(tasks)):
        waiting.put(number)
    done: queue.SimpleQueue[tuple[int, PortedSource] | BaseException] = queue.SimpleQueue()
    stop = threading.Event()
    jobs = min(jobs, len(tasks))
    processes = [_Process(max(1, cores() // jobs)) for _ in range(jobs)]

    def feed(process: _Process) -> None:
        # Linux ends a process with the thread that started it, so the thread stays as long as the process.
        try:
            while True:
                number = waiting.get_nowait()
                port = _not_begun(tasks[number]) if stop.is_set() else process.port(tasks[number])
                if not (port.passed or keep_going):
                    stop.set()
                done.put((number, port))
        except queue.Empty:
            process.end(at_once=False)
        except BaseException as error:  # noqa: BLE001 (for the thread that listens)
            done.put(error)

    threads = [threading.Thread(target=feed, args=(process,), daemon=True) for process in processes]
    try:
        for thread in threads:
            thread.start()
        for _ in tasks:
            answer = done.get()
            if isinstance(answer, BaseException):
                raise answer
            yield answer
    finally:
        stop.set()
        _end(processes, threads)


def _not_begun(task: Task) -> PortedSource:
    return PortedSource(task.source, task.out, "not begun")


def _end(processes: Sequence[_Process], threads: Sequence[threading.Thread]) -> None:
    """End what still works, and wait for it."""
    if any(thread.is_alive() for thread in threads):
        for process in processes:
            process.end(at_once=True)
    for thread in threads:
        thread.join(_SECONDS_TO_TIDY_UP)
    for process in processes:
        process.close()
