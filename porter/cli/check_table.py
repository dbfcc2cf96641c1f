"""`porter table --check`: what is wrong with a table that somebody is writing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from porter.checkpoints import open_checkpoint
from porter.checks.table_faults import Fit, fits, state_dict_faults, table_faults
from porter.core.named_function import is_function_name
from porter.errors import PorterError
from porter.tables.variants import Variant

# Of a checkpoint that is something else every rule is a fault; these are enough to see it.
_SHOWN = 20


def check(file: Path, against: Path | None, *, trust_table: bool) -> int:
    """Print what is wrong with a table; return 1 if anything is, else 0."""
    faults, variants = table_faults(file)
    own = {} if trust_table else {v.name: v.target.name for v in variants if is_function_name(v.target.name)}
    faults += [line for v in variants if v.name not in own for line in _state_dict_faults(file, v)]
    for line in faults:
        click.echo(line)
    for name, function in own.items():
        click.echo(
            f"{file}: {name}: {function} was not run; --trust-table holds the table against its network"
        )
    lines, closes = (iter(()), True) if against is None else _against(variants, against)
    for line in lines:
        click.echo(line)
    names = ", ".join(variant.name for variant in variants) or "none"
    click.echo(f"{file}: {len(faults)} fault(s); variants that could be read: {names}")
    return 0 if closes and not faults else 1


def _state_dict_faults(file: Path, variant: Variant) -> Iterator[str]:
    try:
        from porter.networks.shapes import state_dict_shapes, takes_epsilon

        shapes = state_dict_shapes(variant)
        is_taken = takes_epsilon(variant)
    except ImportError:
        yield from ()  # without timm the PyTorch side cannot be looked at
    except (AssertionError, PorterError, RuntimeError, TypeError, ValueError) as error:
        yield f"{file}: [variant.{variant.name}.target]: the PyTorch network cannot be built ({error})"
    else:
        yield from (f"{file}: {line}" for line in state_dict_faults(variant, shapes))
        if variant.bn_eps is not None and not is_taken:
            argument, section = variant.bn_eps.argument, f"[variant.{variant.name}.bn_eps]"
            yield (
                f"{file}: {section}: {variant.target.name} does not take its epsilon as {argument!r}: "
                "the port would be made, and not load"
            )


def _against(variants: list[Variant], source: Path) -> tuple[Iterator[str], bool]:
    with open_checkpoint(source) as checkpoint:
        found = fits(variants, checkpoint)
    return _lines(found, source), any(not fit.faults for fit in found)


def _lines(found: list[Fit], source: Path) -> Iterator[str]:
    for number, fit in enumerate(found):
        yield f"{source}: {fit.variant}: {fit.found} of {fit.total} variables fit"
        if number == 0:
            yield from (f"  {line}" for line in fit.faults[:_SHOWN])
            if len(fit.faults) > _SHOWN:
                yield f"  and {len(fit.faults) - _SHOWN} more"
