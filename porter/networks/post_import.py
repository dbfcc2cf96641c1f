"""Registration with timm, whether it has been imported or will be; costs nothing if it never is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class _AfterTimm:
    """Registers once timm has been imported; a finder on `sys.meta_path` that finds nothing itself."""

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Let the other finders find timm, and follow its execution by the registration."""
        if name != "timm":
            return None
        import importlib.util

        sys.meta_path.remove(self)  # the search below must not come back here
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = self._following(spec.loader.exec_module)  # type: ignore[assignment, method-assign]
        return spec

    def _following(self, execute: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            _register()

        return execute_and_register


def register_with_timm() -> None:
    """Register now if timm is imported already, else right after it is imported.

    Imports neither timm nor torch by itself.
    """
    if "timm" in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _AfterTimm())


def _register() -> None:
    from porter.networks.registration import register

    register()
