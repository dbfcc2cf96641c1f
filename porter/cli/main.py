"""The `porter` group, and the two commands that are also installed by their own names."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys

import click

from porter.cli.command import LazyGroup
from porter.version import VERSION

_COMMANDS = {
    "port-weights": "porter.cli.port_weights:port_weights",
    "parity-check": "porter.cli.parity_check:parity_check",
    "agree": "porter.cli.agree:agree",
    "export-onnx": "porter.cli.export_onnx:export_onnx",
    "classify": "porter.cli.classify:classify",
    "inspect": "porter.cli.inspect:inspect",
    "variants": "porter.cli.list_variants:variants",
    "table": "porter.cli.table:table",
    "golden": "porter.cli.golden:golden",
    "match": "porter.cli.match:match",
}


_SWITCH_SECONDS = 5e-4


@click.group(cls=LazyGroup, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="porter")
def main() -> None:
    """Port TensorFlow vision weights to PyTorch, and prove that the port is right.

    \b
    Example:
      porter inspect ckpt-100
      porter port-weights ckpt-100 model.safetensors
      porter parity-check --variant hybrid_medium --checkpoint ckpt-100
    """


def port_weights_main() -> None:
    """Entry point of the installed script ``port-weights``."""
    # numpy's linear algebra would start a thread for every processor, a third of what numpy takes to import.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # The digests want the interpreter for microseconds at a time, and would wait 5 ms for each.
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        _run("port-weights")
    except SystemExit as end:
        _end_at_once(end)
        raise


def parity_check_main() -> None:
    """Entry point of the installed script ``parity-check``."""
    _run("parity-check")


def _end_at_once(end: SystemExit) -> None:
    """End the process as `end` asks, without taking the interpreter to pieces: a tenth of a small port.

    Every file is closed and every thread joined by now. Where what was printed cannot be delivered, this
    returns: the interpreter's own way of ending says so.
    """
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        if isinstance(end.code, int):
            os._exit(end.code)


def _run(name: str) -> None:
    module, _, attribute = _COMMANDS[name].partition(":")
    getattr(importlib.import_module(module), attribute)(prog_name=name)


if __name__ == "__main__":
    main()
