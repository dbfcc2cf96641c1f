"""TensorFlow.js models: a ``model.json`` with its binary weight files, in a folder or a zip archive."""
