"""A child process that ends when its parent ends, however it does: nobody would be answered."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent(how: int = signal.SIGTERM) -> None:
    """Have this process end when its parent ends.

    Linux's kernel does it. Elsewhere a thread looks every second who the parent is; Windows does not say.

    Args:
        how: The signal that Linux sends: SIGTERM can be answered by tidying up, SIGKILL cannot be delayed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, how)
    else:
        threading.Thread(target=_watch_parent, args=(os.getppid(),), daemon=True).start()


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
