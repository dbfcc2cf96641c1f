"""Port TensorFlow vision weights to PyTorch, and prove that the port is right."""
