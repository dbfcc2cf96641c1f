"""Outputs other than timm's: renaming tables on top of timm's names, and what else the target wants."""
