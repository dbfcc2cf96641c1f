"""A bounded number of processes that port, each fed by a thread of this one."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence

from porter.core.child_process import cores, import_path
from porter.errors import OutputError
from porter.outputs.many.records import PortedSource, Task

_LAST_LINES = 3
_SECONDS_TO_TIDY_UP = 5.0


class _Process:
    """One process that ports, started when it is first needed and again after it has died."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._process: subprocess.Popen[str] | None = None
        self._lock, self._ended = threading.Lock(), False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `end`)

    def port(self, task: Task) -> PortedSource:
        """Have a port made; a process that dies of it is a failure of this port alone."""
        started = time.perf_counter()
        with self._lock:
            if self._ended:
                return _not_begun(task)
            if self._process is None:
                self._process = self._started()
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101 (both were opened as pipes)
        assert stdout is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):  # it has died already; no answer says so
            stdin.write(task.to_line())
            stdin.flush()
        if answer := stdout.readline():
            return PortedSource.from_json(json.loads(answer))
        error = OutputError("output/process-died", self._obituary(), file=task.source)
        seconds = time.perf_counter() - started
        return PortedSource(task.source, task.out, "failed", seconds=seconds, error=error)

    def end(self, *, at_once: bool) -> None:
        """End the process: when it has done what it does, or at once and in order."""
        with self._lock:
            self._ended = at_once
            process = self._process
        if process is not None:
            if at_once:
                process.terminate()
            elif process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
            try:
                process.wait(_SECONDS_TO_TIDY_UP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self) -> None:
        """Forget the process and what it said."""
        if self._process is not None:
            _close_pipes(self._process)
        self._errors.close()

    def _started(self) -> subprocess.Popen[str]:
        threads = {name: str(self._threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "porter.outputs.many.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **threads, "PYTHONPATH": import_path()},
        )

    def _obituary(self) -> str:
        assert self._process is not None  # noqa: S101 (called when one has died)
        code = self._process.wait()
        _close_pipes(self._process)
        self._process = None
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        told = " | ".join([line.strip() for line in lines if line.strip()][-_LAST_LINES:]) or "none"
        return f"the process that ported it {how}; its last lines: {told}"


def _close_pipes(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


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
