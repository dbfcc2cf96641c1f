"""Outputs other than timm's: renaming tables on top of timm's names, and what else the target wants."""

TARGETS = ("timm", "transformers", "netspresso")
"""Libraries that a port can be written for; here, because a command line asks for nothing else of them."""
