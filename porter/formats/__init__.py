"""Byte formats: what lies in files, without what it means to TensorFlow or Keras."""
