"""Run by the kill test: writes OUT again and again, each time filled with another number."""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from porter.core.checkpoint import TensorSpec
from porter.core.dtypes import BY_NAME
from porter.transfer.safetensors_writer import SafetensorsWriter

ROWS, COLUMNS = 64, 4096


def write(out: Path, number: int) -> None:
    """Write one file whose every element is `number`."""
    specs = [("t", TensorSpec(BY_NAME["int64"], (ROWS, COLUMNS)))]
    with SafetensorsWriter(out, specs, {"number": "0" * 9}) as writer:
        for _ in range(ROWS):
            writer.write("t", np.full(COLUMNS, number))
        writer.replace_metadata({"number": f"{number:09}"})
        writer.commit()


def main() -> None:
    """Arguments: OUT, ``named`` or ``unnamed``, ``keep`` or ``remove`` (OUT after each write)."""
    out, mode, after = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    # A shell's background job ignores SIGINT, and its children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if mode == "named" and hasattr(os, "O_TMPFILE"):
        del os.O_TMPFILE
    number = 1
    while True:
        write(out, number)
        if number == 1:
            print("ready", flush=True)
        if after == "remove":
            out.unlink()
        number += 1


if __name__ == "__main__":
    main()
