"""TensorFlow's own containers."""
