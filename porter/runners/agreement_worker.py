"""A process of one framework that works on one part of a data set after another, as its parent says.

Each line of stdin is a request in JSON, each line of stdout its answer: facts first, then one for each part.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from porter.data.items import Part
from porter.data.opening import read_part
from porter.errors import PorterError
from porter.parity.row_files import write_rows
from porter.runners.agreement_job import Exchange, exchange_path, job_from_json
from porter.runners.job import REFUSED, end_with_parent
from porter.transfer.atomic_file import output_error, write_whole

Answer = Iterator[Any]


def _source(requests: Iterator[Any]) -> Answer:
    from porter.runners.agreement_source import SourceSide

    asked = next(requests)
    side = SourceSide(job_from_json(asked["job"]))
    yield side.facts
    for request in requests:
        part = Part.from_json(request["part"])
        found = side.see(read_part(part)).to_bytes()
        write_whole(exchange_path(Path(asked["folder"]), part.number), found)
        yield part.number


def _port(requests: Iterator[Any]) -> Answer:
    from porter.runners.agreement_port import PortSide

    asked = next(requests)
    side = PortSide(job_from_json(asked["job"]))
    yield side.facts
    for request in requests:
        part = Part.from_json(request["part"])
        exchanged = exchange_path(Path(asked["folder"]), part.number)
        if exchanged.exists():  # or else a process that died at this very place has written the rows
            source = Exchange.from_bytes(exchanged.read_bytes())
            rows = side.see(part, read_part(part), source, request["order"])
            write_rows(Path(asked["rows"]), part.number, rows)
            exchanged.unlink()
        yield part.number


_SIDES: dict[str, Callable[[Iterator[Any]], Answer]] = {"source": _source, "port": _port}


def main(side: str) -> None:
    """Serve until stdin ends.

    A person's Ctrl-C goes to every process of the terminal; the parent ends its children itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # frameworks print as they please
    try:
        for answer in _SIDES[side](json.loads(line) for line in sys.stdin):
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


if __name__ == "__main__":
    main(sys.argv[1])
