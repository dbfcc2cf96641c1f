"""Runs a TensorFlow Lite model in its interpreter: ``python run_tflite.py MODEL IN.npy OUT.npy``.

The arrays are images (N, H, W, 3) in 0..255, which the model takes as 8-bit pixels, and probabilities (N, K).
"""

import sys

import numpy as np
import tensorflow as tf

interpreter = tf.lite.Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
(given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
found = []
for image in np.load(sys.argv[2]):
    interpreter.set_tensor(given["index"], image[None].astype(given["dtype"]))
    interpreter.invoke()
    scale, zero_point = made["quantization"]
    found.append((interpreter.get_tensor(made["index"]).ravel().astype(np.float64) - zero_point) * scale)
np.save(sys.argv[3], found)
