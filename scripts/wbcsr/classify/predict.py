"""Predictions of a trained classifier for the validation and test images."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from wbcsr.classify import classifiers
from wbcsr.classify.pack import select
from wbcsr.engines.engine import load
from wbcsr.errors import InputError
from wbcsr.files import read_csv, write_csv
from wbcsr.text import counted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictSummary:
    """The device, precision and backend of a prediction, the number of images, and the throughput in images/s."""

    device: str
    precision: str
    backend: str
    images: int
    images_per_second: float


def predict(
    model_path: Path,
    engine_path: Path,
    array: Path,
    index: Path,
    split: Path,
    classes: Sequence[str],
    output: Path,
    threads: int,
) -> PredictSummary:
    """Classify the images of a packed variant that `split` uses, but not for training.

    Writes `output` with one row per image in the order of `index`: image, class, predicted, and one column per class
    with its probability (softmax of the logits; each row sums to 1). `engine_path` is the engine of `model_path`.
    Raises InputError if the model was trained for other classes or another image size, if the engine was built for
    something else, or if the inputs do not fit together (see `select`).
    """
    torch.set_num_threads(threads)
    source, description = classifiers.source(model_path)
    classifiers.check_classes(model_path, description.classes, classes)
    tested = set(read_csv(split, ["subset"])["subset"]) - {"", "train"}
    images = select([array], [index], split, classes, tested)
    side = images.arrays[0].shape[1]
    if side != description.input_size:
        raise InputError(
            f"{array}: holds images of {side} pixels, but {model_path} takes {description.input_size}; "
            "run the rule train_classifier again"
        )
    engine = load(source, engine_path)
    started = time.perf_counter()
    batches = (torch.from_numpy(pixels) for pixels, _ in images.batches(np.arange(len(images)), engine.batch))
    # With float64, the written probabilities of a row add up to 1 in all digits.
    probabilities = classifiers.engine_logits(engine, description.network, batches).double().softmax(dim=1).numpy()
    speed = len(images) / (time.perf_counter() - started)
    if not np.isfinite(probabilities).all():
        raise InputError(f"{model_path}: its probabilities are NaN or infinite; run the rule train_classifier again")
    names = np.array(classes, dtype=object)
    predicted = names[probabilities.argmax(axis=1)]
    table = pd.DataFrame({"image": images.names, "class": names[images.labels], "predicted": predicted})
    write_csv(output, table.join(pd.DataFrame(probabilities, columns=list(classes))))
    log.info("classified %s with %s, %.1f images/s", counted(len(images), "image"), engine.identity, speed)
    return PredictSummary(str(engine.device), engine.precision, engine.backend, len(images), round(speed, 2))
