"""Write TensorFlow's answers: `record_tensorflow.py live OUT.npy`, or `recorded OUT.safetensors`."""

import sys

import numpy as np
import same_padding_cases
import tensorflow as tf
from safetensors.numpy import save_file


def answers(case: same_padding_cases.Case) -> list[np.ndarray]:
    """Return output, input gradient and, where there is one, kernel gradient of one operation, in float64."""
    x, kernel, upstream = (tf.constant(array) for array in case.arrays())
    run = dilated_conv2d if case.operation == "conv2d" and case.dilation > 1 else output
    with tf.GradientTape() as tape:
        tape.watch(x)
        tape.watch(kernel)
        y = run(case, x, kernel)
    gradients = tape.gradient(y, [x, kernel] if case.has_kernel else [x], output_gradients=upstream)
    return [output(case, x, kernel).numpy(), *(gradient.numpy() for gradient in gradients)]


def dilated_conv2d(case: same_padding_cases.Case, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Run conv2d by space-to-batch: TensorFlow has no CPU gradient for tf.nn.conv2d with a dilation."""
    return tf.compat.v1.nn.with_space_to_batch(
        x,
        [case.dilation, case.dilation],
        "SAME",
        lambda blocks, _rank, _padding: tf.nn.conv2d(blocks, kernel, 1, "VALID"),
        filter_shape=kernel.shape,
    )


def output(case: same_padding_cases.Case, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Run one SAME operation, NHWC."""
    if case.operation == "conv2d":
        return tf.nn.conv2d(x, kernel, case.stride, "SAME", dilations=case.dilation)
    if case.operation == "depthwise_conv2d":
        strides = (1, case.stride, case.stride, 1)
        return tf.nn.depthwise_conv2d(x, kernel, strides, "SAME", dilations=(case.dilation, case.dilation))
    pool = tf.nn.max_pool2d if case.operation == "max_pool2d" else tf.nn.avg_pool2d
    return pool(x, case.kernel, case.stride, "SAME")


def main(grid: str, path: str) -> None:
    """Compute a grid and store its answers end to end."""
    cases = same_padding_cases.live_grid() if grid == "live" else same_padding_cases.recorded_grid()
    flat = np.concatenate([array.ravel() for case in cases for array in answers(case)])
    if grid == "live":
        np.save(path, flat)
    else:
        provenance = {"tensorflow": tf.__version__, "numpy": np.__version__, "dtype": "float64"}
        save_file({"answers": flat}, path, metadata=provenance)


if __name__ == "__main__":
    main(*sys.argv[1:])
