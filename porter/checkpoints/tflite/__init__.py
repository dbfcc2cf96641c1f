"""TensorFlow Lite models: a network with its weights in one FlatBuffer."""
