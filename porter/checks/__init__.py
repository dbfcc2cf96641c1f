"""Whole checks, from a table or a golden to a report: each runs what it needs and compares."""
