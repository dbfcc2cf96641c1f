"""The work as Ray Data does it: tasks read the parts, pools of actors of each framework run them."""

from __future__ import annotations

import json
import logging
import pickle
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import ray
import ray.data

from porter.core.child_process import import_path
from porter.data.items import Item, Part
from porter.data.opening import read_part
from porter.errors import ParityError, PorterError, error_from_json
from porter.runners.agreement_job import AgreementJob, Exchange, job_from_json
from porter.runners.process import variables

_STORE = 256 << 20  # bytes of shared memory of a cluster that is started here
_BLOCKS = 2000
_PATIENCE = 10.0  # seconds
_LOOPBACK = ("127.0.0.1", "localhost")

# What Ray passes from step to step: one part a row. A refusal goes along, for Ray would wrap an exception.
Row = dict[str, Any]


class Answer(NamedTuple):
    """A part that is done.

    Attributes:
        part: The part.
        rows: Of its images, as JSON-ready data.
        facts: What the sides say of themselves.
    """

    part: Part
    rows: list[dict[str, Any]]
    facts: list[Any]


class RayEngine:
    """A connection to a Ray cluster. Use as a context manager: leaving it ends what it has started.

    Args:
        address: The cluster; one is started on this machine if None.
        workers: Actors of each framework.
        gpus: Graphics cards of each actor.

    Raises:
        ParityError: there is no such cluster.
    """

    def __init__(self, address: str | None, workers: int, gpus: float) -> None:
        self._workers, self._gpus = workers, gpus
        self._started = not ray.is_initialized()
        if not self._started:
            return
        if address:
            _require_reachable(address)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        here: dict[str, Any] = {} if address else {"num_cpus": 2 * workers + 1, "object_store_memory": _STORE}
        try:
            ray.init(address=address, include_dashboard=None if address else False, **quiet, **here)
        except (ConnectionError, ValueError, RuntimeError) as error:
            said = str(error).splitlines()[0]
            raise ParityError("agree/ray", f"Ray does not start ({said})", found=address) from None

    def run(self, parts: Iterable[Part], job: AgreementJob, steps: Sequence[type]) -> Iterator[Answer]:
        """Yield every part once it is done, in any order; a few are under way at a time.

        Args:
            parts: The parts.
            job: What is run.
            steps: The actors that work on each part, in order: `AGREEMENT` or `PREDICTION`.

        Raises:
            PorterError: a step refused.
            ParityError: Ray gave up, or the cluster cannot hold the actors.
        """
        given = [{"part": json.dumps(part.to_json())} for part in parts]
        if not given:
            return
        self._require_room(len(steps) * self._workers)
        data: Any = ray.data.from_items(given, override_num_blocks=min(len(given), _BLOCKS))
        reading = ray.data.TaskPoolStrategy(
            size=self._workers
        )  # no cores asked for: a process for every part
        data = data.map(_read, num_cpus=0, compute=reading)
        for step in steps:
            data = data.map(step, **self._pool(job))
        try:
            for row in data.iter_rows():
                yield _answer(row)
        except ray.exceptions.RayError as error:
            raise ParityError("agree/ray", f"Ray gave up ({_last_line(error)})") from error

    def _require_room(self, actors: int) -> None:
        """Refuse what would wait for ever, and say nothing: actors that no node can take."""
        needed = {"CPU": actors, "GPU": actors * self._gpus}
        cluster: Any = ray.cluster_resources  # without types
        has = cluster()
        there = {name: has.get(name, 0) for name in needed}
        if any(there[name] < count for name, count in needed.items()):
            raise ParityError(
                "agree/ray",
                "the cluster is too small for the actors",
                expected=_in_words(needed),
                found=_in_words(there),
                hint="Give fewer --workers; a cluster that grows by itself has to be grown first.",
            )

    def _pool(self, job: AgreementJob) -> dict[str, Any]:
        settings = {**variables(job.threads), "PYTHONPATH": import_path()}
        if self._gpus:
            settings.pop("CUDA_VISIBLE_DEVICES")
        return {
            "fn_constructor_args": (job.to_json(),),
            "compute": ray.data.ActorPoolStrategy(size=self._workers),
            "num_cpus": 1,
            "num_gpus": self._gpus or None,
            "runtime_env": {"env_vars": settings},
        }

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the cluster, or leave it, if this engine has connected to it."""
        if self._started:
            ray.shutdown()


def _require_reachable(address: str) -> None:
    """Refuse a cluster that does not answer: Ray itself tries for minutes. Other spellings are left to it."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isascii() and port.isdigit()):
        return
    # Ray takes this machine's own address for the loopback, and may listen at that alone.
    own_address: Any = ray.util.get_node_ip_address  # without types
    hosts = [host.strip("[]"), *([own_address()] if host in _LOOPBACK else [])]
    said = ""
    for each in hosts:
        try:
            socket.create_connection((each, int(port)), timeout=_PATIENCE).close()
        except (OSError, OverflowError) as error:
            said = getattr(error, "strerror", None) or str(error)
        else:
            return
    raise ParityError(
        "agree/ray",
        f"no Ray cluster answers there ({said})",
        found=address,
        hint="The address is that of the head node, as ray start prints it.",
    )


def _in_words(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{count:g} {name}" for name, count in resources.items())


def _read(row: Row) -> Row:
    try:
        items = [tuple(item) for item in read_part(_part(row))]
    except PorterError as error:
        return {**row, "refusal": json.dumps(error.to_json())}
    return {**row, "items": pickle.dumps(items)}


class _Source:
    """TensorFlow's actor."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        from porter.runners.agreement_source import SourceSide  # noqa: PLC0415  (TensorFlow)

        self._refusal, self._side = _made(SourceSide, job)

    def __call__(self, row: Row) -> Row:
        if refusal := row.get("refusal") or self._refusal:
            return {"part": row["part"], "refusal": refusal}
        exchange = self._side.see(_items(row)).to_bytes()
        return {**row, "exchange": exchange, "source": json.dumps(self._side.facts)}


class _Port:
    """PyTorch's actor."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        from porter.runners.agreement_port import PortSide  # noqa: PLC0415  (PyTorch)

        self._refusal, self._side = _made(PortSide, job)

    def __call__(self, row: Row) -> Row:
        if refusal := row.get("refusal") or self._refusal:
            return {"part": row["part"], "refusal": refusal}
        order = json.loads(row["source"])[4]
        exchange = Exchange.from_bytes(row["exchange"])
        try:
            rows = self._side.see(_part(row), _items(row), exchange, order)
        except PorterError as error:
            return {"part": row["part"], "refusal": json.dumps(error.to_json())}
        told = json.dumps([found.to_json() for found in rows])
        facts = json.dumps([json.loads(row["source"]), self._side.facts])
        return {"part": row["part"], "rows": told, "facts": facts}


class _Prediction:
    """PyTorch's actor where it works alone."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        from porter.runners.prediction import PredictionSide  # noqa: PLC0415  (PyTorch)

        self._refusal, self._side = _made(PredictionSide, job)

    def __call__(self, row: Row) -> Row:
        if refusal := row.get("refusal") or self._refusal:
            return {"part": row["part"], "refusal": refusal}
        try:
            told = json.dumps(self._side.see(_part(row), _items(row)))
        except PorterError as error:
            return {"part": row["part"], "refusal": json.dumps(error.to_json())}
        return {"part": row["part"], "rows": told, "facts": json.dumps([self._side.facts])}


AGREEMENT = (_Source, _Port)
PREDICTION = (_Prediction,)


def _made(side: Any, job: Mapping[str, Any]) -> tuple[str, Any]:
    """Return a side, or its refusal: an actor that fails to start would be started again and again."""
    try:
        return "", side(job_from_json(job))
    except PorterError as error:
        return json.dumps(error.to_json()), None


def _part(row: Row) -> Part:
    return Part.from_json(json.loads(row["part"]))


def _items(row: Row) -> list[Item]:
    return [Item(*item) for item in pickle.loads(row["items"])]  # noqa: S301 (of our own making)


def _answer(row: Row) -> Answer:
    if refusal := row.get("refusal"):
        raise error_from_json(json.loads(refusal))
    return Answer(_part(row), json.loads(row["rows"]), json.loads(row["facts"]))


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
