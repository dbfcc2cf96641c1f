"""How a port with timm's names is loaded."""

from __future__ import annotations

import os
import re
from pathlib import Path

from porter.core.named_function import is_function_name
from porter.networks.pretrained_cfg import pretrained_cfg
from porter.planning.plan import Plan
from porter.tables.shipped import load_tables, mappings_folder
from porter.tables.variants import Variant


def load_file_call(plan: Plan, out: str | os.PathLike[str]) -> str:
    """Return the Python that loads the file `out`."""
    path = os.fspath(out)
    if needs_porter(plan):
        return load_model_call(plan.variant, path)
    if not is_timm_network(plan.variant):
        return f"model.load_state_dict(safetensors.torch.load_file({path!r}), strict=True)"
    name = plan.variant.target.name
    return f"timm.create_model({name!r}, checkpoint_path={path!r}{keywords(plan)})"


def needs_porter(plan: Plan) -> bool:
    """Whether the library that is ported to does not build by itself what the file's weights are for."""
    variant = plan.variant
    return bool(variant.is_own or plan.head or plan.cut or variant.adjust or variant.library != "timm")


def load_model_call(variant: Variant, path: str) -> str:
    """Return a call of `porter.load_model`, with what it needs to run the function that a table names."""
    trust = ", trust_table=True" if is_function_name(variant.target.name) else ""
    return f"porter.load_model({path!r}{trust})"


def load_folder_call(plan: Plan, out: str | os.PathLike[str]) -> str:
    """Return the Python that loads the folder of shards `out`."""
    path = os.fspath(out)
    if needs_porter(plan) or is_timm_network(plan.variant):
        return load_model_call(plan.variant, path)
    files = f'pathlib.Path({path!r}).glob("*.safetensors")'
    read = f"{{n: t for f in {files} for n, t in safetensors.torch.load_file(f).items()}}"
    return f"model.load_state_dict({read}, strict=True)"


def keywords(plan: Plan) -> str:
    """Return what follows in a `timm.create_model` call: the arguments, and how images are prepared.

    Without the latter `timm.data.resolve_model_data_config` would give timm's own preparation of the network.
    """
    prepared = pretrained_cfg(plan.input_spec._asdict(), plan.arguments.get("in_chans", 3))
    named = {**plan.arguments, "pretrained_cfg_overlay": prepared}
    return "".join(f", {name}={value!r}" for name, value in named.items())


def is_timm_network(variant: Variant) -> bool:
    """Whether timm itself has the network that a table names.

    The tables that come with porter are held against timm by its tests. For other tables, timm's source is
    searched: importing timm takes seconds.
    """
    if variant.is_own or variant.library != "timm":
        return False
    if variant.table.is_relative_to(mappings_folder()):
        return True
    from importlib.util import find_spec  # noqa: PLC0415 - most ports need none of it

    name = variant.target.name.partition(".")[0]
    found = find_spec("timm")
    if found is None or found.origin is None:
        return any(name == known.target.name for known in load_tables().variants.values())
    # A function under this name, or an old name for one.
    defined = re.compile(rf"^def {re.escape(name)}\(|^\s+'{re.escape(name)}':", re.MULTILINE)
    files = (Path(found.origin).parent / "models").glob("*.py")
    return any(defined.search(file.read_text(encoding="utf-8")) for file in files)
