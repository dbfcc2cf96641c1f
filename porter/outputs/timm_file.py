"""One safetensors file that timm loads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from porter.outputs.output import Output

if TYPE_CHECKING:  # see `Output`
    from porter.core.checkpoint import Checkpoint
    from porter.transfer.transfer import TransferReport, Writing


class TimmFile(Output):
    """The usual form."""

    def write(self, checkpoint: Checkpoint, out: Path, writing: Writing) -> TransferReport:
        """Move the bytes; see `Output.write`."""
        from porter.transfer.transfer import transfer  # noqa: PLC0415 - see above

        return transfer(
            checkpoint,
            self.assignments,
            out,
            dtype=self.options.dtype,
            metadata=self.metadata(checkpoint),
            writing=writing,
        )

    def loading_line(self, out: Path) -> str:
        """Return a call of `timm.create_model`, or of `porter.load_model` for a network of porter's own."""
        from porter.outputs.timm_call import load_file_call  # noqa: PLC0415 - see above

        return load_file_call(self.plan, out)

    def alternatives(self, out: Path) -> Iterator[str]:
        """Yield how timm loads the backbone of a network that only `porter.load_model` builds as it is."""
        plan = self.plan
        if plan.variant.is_own or plan.variant.adjust:
            return
        from porter.outputs.timm_call import keywords  # noqa: PLC0415 - see above

        network = f"timm.create_model({plan.variant.target.name!r}{keywords(plan)}"
        weights = f"load_state_dict(safetensors.torch.load_file({os.fspath(out)!r}), strict=False)"
        if plan.cut is None and plan.head:
            yield f"the backbone alone, in plain timm: {network}).{weights}"
        elif plan.cut is not None and plan.cut.timm_indices:
            maps = f"{network}, features_only=True, out_indices={plan.cut.timm_indices})"
            yield f"the maps as a list, in plain timm: {maps}.{weights}"
