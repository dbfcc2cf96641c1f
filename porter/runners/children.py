"""Child processes that answer one request: JSON in, JSON out, each with one framework."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from porter.core.child_process import ChildProcess
from porter.core.parent_process import end_with_parent
from porter.errors import ParityError, PorterError, error_from_json
from porter.runners.job import REFUSED
from porter.runners.process import failure, require, variables


def ask(framework: str, module: str, request: Mapping[str, Any], *, threads: int, timeout: float) -> Any:
    """Start a child, hand it a request and return its answer.

    Args:
        framework: What the child imports, ``"tensorflow"`` or ``"torch"``.
        module: The module below `porter.runners` that is the child.
        request: What it is to do.
        threads: Threads that the framework may use.
        timeout: Seconds.

    Raises:
        PorterError: the child refused; the error is its own.
        ParityError: it crashed, or did not end in time.
        MissingDependencyError: the framework is not installed.
    """
    with asked_later(framework, module, threads=threads) as asking:
        return asking(request, timeout)


Asking = Callable[[Mapping[str, Any], float], Any]


@contextmanager
def asked_later(framework: str, module: str, *, threads: int, early: str | None = None) -> Iterator[Asking]:
    """Start a child that imports its framework while the request is not known yet.

    Args:
        framework: What the child imports, ``"tensorflow"`` or ``"torch"``.
        module: The module below `porter.runners` that is the child.
        threads: Threads that the framework may use.
        early: What `serve_request` hands to the child's `prepare`.

    Yields:
        A function that hands it the request, and how many seconds it may take, and returns the answer; it
        raises what `ask` raises. Call it once.

    Raises:
        MissingDependencyError: the framework is not installed.
    """
    require(framework)
    with ChildProcess(f"porter.runners.{module}", variables(threads)) as child:
        if early is not None:
            child.say(f"{early}\n")

        def asking(request: Mapping[str, Any], timeout: float) -> Any:
            try:
                answer = child.conclude(json.dumps(request), timeout)
            except TimeoutError:
                raise ParityError(
                    f"runner/{framework}-timeout",
                    f"the {framework} process did not end within {timeout:g} s",
                ) from None
            if child.exit_code() == REFUSED and answer:
                raise error_from_json(json.loads(answer))
            if child.exit_code():
                raise failure(framework, child.obituary())
            return json.loads(answer)

        yield asking


def serve_request(
    work: Callable[[Mapping[str, Any]], Any], prepare: Callable[[str], object] | None = None
) -> None:
    """Be the child: read the request from stdin, do it, answer on stdout.

    Frameworks print to stdout as they please, so theirs is turned into stderr first.

    Args:
        work: Takes the request and returns the answer.
        prepare: Takes the line that comes before the request, which may come much later.
    """
    end_with_parent(signal.SIGKILL)
    sys.path.append(str(Path.cwd()))  # last, so that a file there cannot stand in for a package
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    code = 0
    try:
        if prepare is not None:
            prepare(sys.stdin.readline().strip())
        answers.write(json.dumps(work(json.loads(sys.stdin.read())), default=str))
    except PorterError as error:
        answers.write(json.dumps(error.to_json()))
        code = REFUSED
    except Exception:  # noqa: BLE001 (reported in full, and the process ends)
        traceback.print_exc()
        code = 1
    answers.flush()
    sys.stderr.flush()
    os._exit(code)  # at once: what a framework says while it is torn down would hide the traceback's end
