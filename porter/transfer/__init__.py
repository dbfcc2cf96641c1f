"""Tensors from a checkpoint to files, in bounded memory; a file appears whole or not at all."""
