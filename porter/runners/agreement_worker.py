"""A process of one framework that works on one part of a data set after another, as its parent says.

Each line of stdin is a request in JSON, each line of stdout its answer: facts first, then one for each part.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from porter.core.parent_process import end_with_parent
from porter.errors import PorterError
from porter.runners.job import REFUSED
from porter.transfer.atomic_file import output_error

Requests = Iterator[Mapping[str, Any]]


def serve_parts(work: Callable[[Requests], Iterator[Any]]) -> None:
    """Be the process: serve until stdin ends.

    A person's Ctrl-C goes to every process of the terminal; the parent ends its children itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # frameworks print as they please
    try:
        for answer in work(json.loads(line) for line in sys.stdin):
            _say(answers, {"answer": answer})
    except PorterError as error:
        _say(answers, {"refusal": error.to_json()})
        os._exit(REFUSED)
    except OSError as error:
        refusal = output_error(error, Path(error.filename or "."))
        _say(answers, {"refusal": refusal.to_json()})
        os._exit(REFUSED)
    except Exception:  # noqa: BLE001 (reported in full, and the process ends)
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)  # at once: taking a framework to pieces takes a second


def _say(answers: IO[str], message: Any) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()
