"""What the SAME-padding layer refuses."""

from __future__ import annotations

from porter.errors import PorterError


class SamePaddingError(PorterError):
    """SAME padding cannot be computed, emulated or folded as asked."""
