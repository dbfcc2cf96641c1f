"""A ported file as ONNX, static or dynamic."""
