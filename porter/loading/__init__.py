"""Loading and using what was ported."""
