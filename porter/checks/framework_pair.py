"""One process of each framework that serves check after check."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from porter.core.closing import Closing
from porter.errors import ParityError, PorterError
from porter.runners.job import Job
from porter.runners.process import Child

_POLL_SECONDS = 0.02


class FrameworkPair(Closing):
    """TensorFlow and PyTorch, each imported once. Use as a context manager: leaving it ends both.

    A job that is refused leaves both processes ready for the next. If one of them dies or hangs, both are
    ended, and the next job starts new ones.
    """

    def __init__(self) -> None:
        self._pair: tuple[Child, Child] | None = None

    def run(self, source_job: Job, target_job: Job, timeout: float) -> None:
        """Have both jobs done, the target's with what the source's records.

        Args:
            source_job: TensorFlow's.
            target_job: PyTorch's; the two have an output of their own each, in no other use.
            timeout: Seconds for both.

        Raises:
            ParityError: a framework crashed or hung.
            PorterError: a framework refused its job; the error is its own.
        """
        source, target = self._pair = self._pair or self._started(source_job.threads)
        deadline = time.monotonic() + timeout
        source.begin(source_job)
        target.begin(target_job)
        refusal = self._wait(source, source_job, deadline)
        target.name_reference(None if refusal else source_job.recording)
        refusal = self._wait(target, target_job, deadline, refusal) or refusal
        if refusal is not None:
            raise refusal

    def _wait(
        self, child: Child, job: Job, deadline: float, before: PorterError | None = None
    ) -> PorterError | None:
        """Wait for a job's end, and return its refusal; the first one if there are two."""
        try:
            while not child.answered(job):
                if time.monotonic() > deadline:
                    raise ParityError(
                        f"runner/{child.framework}-timeout",
                        f"the {child.framework} process did not end in time; its last lines: "
                        f"{child.last_lines()}",
                    )
                time.sleep(_POLL_SECONDS)
        except PorterError as error:
            if not job.answer.exists():  # the process is not ready for another job
                self.close()
                raise before or error from None
            return before or error
        return None

    def _started(self, threads: int) -> tuple[Child, Child]:
        source = Child("tensorflow", stays=threads)
        try:
            return source, Child("torch", stays=threads)
        except BaseException:
            source.close()
            raise

    def close(self) -> None:
        """End both processes, whatever they are doing."""
        for child in self._pair or ():
            child.close()
        self._pair = None


# The processes that the checks of `serving` share; each check has a pair of its own outside of it.
_pair: ContextVar[FrameworkPair | None] = ContextVar("pair", default=None)


@contextmanager
def serving(pair: FrameworkPair) -> Iterator[None]:
    """Have every check against TensorFlow in the block use these processes."""
    token = _pair.set(pair)
    try:
        yield
    finally:
        _pair.reset(token)


def shared_pair() -> FrameworkPair | None:
    """Return the processes that checks share here, or None."""
    return _pair.get()
