"""Mapping tables: strict TOML in, variants with entries, stages and arguments out."""
