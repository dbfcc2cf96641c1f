"""What the forms for libraries other than timm have in common."""

from __future__ import annotations

import json
import os
from pathlib import Path

from porter.core.checkpoint import Checkpoint
from porter.outputs.output import Output, adjusted, refuse_cut
from porter.outputs.output_options import OutputOptions
from porter.outputs.renaming.aim import aim
from porter.planning.plan import Plan
from porter.planning.port_options import PortOptions

FOLDED = ("output/folded", "--fold-bn goes with timm only: no other library has the network without norms")


class OtherLibrary(Output):
    """A plan under the names of the library that `OutputOptions.target` names."""

    def __init__(self, plan: Plan, options: PortOptions, form: OutputOptions) -> None:
        super().__init__(plan, options, form)
        if plan.variant.adjust:
            raise adjusted(plan, f"{form.target} builds the network by itself")
        refuse_cut(plan, f"{form.target} builds the whole network")
        self.aim = aim(plan, form.target)
        self.library = self.aim.table.target
        self.title = self.aim.table.title
        self.assignments = self.aim.assignments
        self.notes = self.aim.notes

    def loading_line(self, out: Path) -> str:
        """Return what the library's table says."""
        return self.aim.table.load.format(path=os.fspath(out))

    def metadata(self, checkpoint: Checkpoint) -> dict[str, str]:
        """Return what the file says of itself, the library included."""
        table = self.aim.table
        described = {
            "library": table.target,
            "network": table.title,
            "config": dict(self.aim.config),
            "table": {"file": table.file.name, "sha256": table.digest},
        }
        return {**super().metadata(checkpoint), "porter.target": json.dumps(described, sort_keys=True)}
