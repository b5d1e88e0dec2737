"""Runs in TensorFlow's environment: ``keras_driver.py NAME MODELS OUT float|int8``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path


def main() -> None:
    name, models, out, kind = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    import numpy as np
    import tensorflow as tf

    model = tf.keras.models.load_model(models / f"{name}.keras", compile=False)
    # Keras leaves the batch open; the others convert for a batch of one, which also lets more be folded.
    one = tf.keras.Input(batch_shape=(1, *model.inputs[0].shape[1:]))
    converter = tf.lite.TFLiteConverter.from_keras_model(tf.keras.Model(one, model(one, training=False)))
    if kind == "int8":
        (samples,) = np.load(models / f"{name}.npz").values()

        def representative() -> Iterator[list[np.ndarray]]:
            for sample in samples:
                yield [sample[None]]

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
    (out / "model.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main()
