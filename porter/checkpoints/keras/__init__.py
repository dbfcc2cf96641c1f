"""Keras's own files."""
