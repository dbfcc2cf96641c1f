"""Port TensorFlow vision weights to PyTorch, and prove that the port is right.

Everything public is listed here and imported on first use, so that ``import porter`` costs nothing and the
port itself needs neither TensorFlow nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from porter import version
from porter.networks.post_import import register_with_timm

if TYPE_CHECKING:
    from porter.agreement.agreeing import agree as agree
    from porter.agreement.engine import Engine as Engine
    from porter.agreement.report import AgreementReport as AgreementReport
    from porter.checkpoints import open_checkpoint as open_checkpoint
    from porter.checks.check_many import check_many as check_many
    from porter.checks.checking import check as check
    from porter.checks.own_goldens import record_golden as record_golden
    from porter.checks.report import CheckReport as CheckReport
    from porter.errors import PorterError as PorterError
    from porter.loading.load_model import load_model as load_model
    from porter.matching.match import match as match
    from porter.outputs.many.port_many import port_many as port_many
    from porter.outputs.port import port as port
    from porter.parity.compare import compare as compare
    from porter.planning.plan import plan as plan
    from porter.recordings.capturing import capture as capture
    from porter.recordings.recording import Recording as Recording
    from porter.tables.shipped import load_tables as load_tables

__version__ = version.VERSION

_HOME = {
    "AgreementReport": "porter.agreement.report",
    "CheckReport": "porter.checks.report",
    "Engine": "porter.agreement.engine",
    "PorterError": "porter.errors",
    "Recording": "porter.recordings.recording",
    "agree": "porter.agreement.agreeing",
    "capture": "porter.recordings.capturing",
    "check": "porter.checks.checking",
    "check_many": "porter.checks.check_many",
    "compare": "porter.parity.compare",
    "load_model": "porter.loading.load_model",
    "load_tables": "porter.tables.shipped",
    "match": "porter.matching.match",
    "open_checkpoint": "porter.checkpoints",
    "plan": "porter.planning.plan",
    "port": "porter.outputs.port",
    "port_many": "porter.outputs.many.port_many",
    "record_golden": "porter.checks.own_goldens",
}

__all__ = ["__version__", *sorted(_HOME)]  # noqa: PLE0604 (every key of _HOME is a string)


register_with_timm()


def __getattr__(name: str) -> Any:
    """Import a public name from the module it lives in."""
    if name not in _HOME:
        raise AttributeError(f"module 'porter' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
