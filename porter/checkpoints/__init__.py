"""Reads the containers that TensorFlow weights are kept in."""
