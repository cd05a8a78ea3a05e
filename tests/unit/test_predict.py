"""Predictions: the right images in the right order, with the probabilities of the saved model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from small_networks import inference
from wbcsr.classify import classifiers
from wbcsr.classify.predict import PredictSummary, predict
from wbcsr.engines.engine import build
from wbcsr.engines.source import Workload
from wbcsr.errors import InputError

CLASSES = ["c", "a", "b"]
SIDE = 32
NUMBER = 40


@dataclass
class Case:
    """Forty packed images in three subsets or none, and a model with random weights."""

    folder: Path

    def predict(self, output: str, array: str = "a.npy", classes: list[str] = CLASSES) -> PredictSummary:
        files = [self.folder / name for name in ("model.safetensors", "engine.json", array, "a.csv", "split.csv")]
        return predict(*files, classes, self.folder / output, 1)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("case")
    numbers = np.arange(NUMBER)
    names = [f"TRAIN/{CLASSES[n % 3]}/{(7 * n) % NUMBER}.png" for n in numbers]
    index = pd.DataFrame({"image": names, "partition": "TRAIN", "class": [CLASSES[n % 3] for n in numbers]})
    index.assign(sha256="").to_csv(folder / "a.csv", index=False)
    split = pd.DataFrame({"image": names, "subset": np.array(["test", "train", "validation", "test", ""])[numbers % 5]})
    split.sample(frac=1, random_state=0).to_csv(folder / "split.csv", index=False)
    for name, side in (("a.npy", SIDE), ("larger.npy", 64)):
        np.save(folder / name, np.random.default_rng(0).integers(0, 256, (NUMBER, side, side, 3), np.uint8))
    model = classifiers.build(len(CLASSES), 0, None)
    with torch.no_grad():
        model.fc.weight *= 20  # for probabilities near 0 and 1
    classifiers.save(model.state_dict(), classifiers.Description(tuple(CLASSES), SIDE), folder / "model.safetensors")
    source, _ = classifiers.source(folder / "model.safetensors")
    workload = Workload({(SIDE, SIDE): NUMBER}, {"cpu": 32, "cuda": 32})
    build(source, folder / "engine.json", workload, inference(precision="fp32"))
    return Case(folder)


def test_predictions_equal_those_of_the_model(case: Case) -> None:
    summary = case.predict("first.csv")
    table = pd.read_csv(case.folder / "first.csv")
    held_out = np.flatnonzero(~np.isin(np.arange(NUMBER) % 5, [1, 4]))
    assert list(table.columns) == ["image", "class", "predicted", *CLASSES]
    assert list(table["image"]) == list(pd.read_csv(case.folder / "a.csv")["image"].iloc[held_out])
    assert list(table["class"]) == [CLASSES[n % 3] for n in held_out]
    model, _ = classifiers.load(case.folder / "model.safetensors")
    with torch.inference_mode():
        images = torch.from_numpy(np.load(case.folder / "a.npy")[held_out])
        wanted = model(images).softmax(dim=1).numpy()
    probabilities = table[CLASSES].to_numpy()
    np.testing.assert_allclose(probabilities, wanted, atol=1e-4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)
    assert list(table["predicted"]) == [CLASSES[n] for n in probabilities.argmax(axis=1)]
    assert (summary.images, summary.device, summary.precision) == (len(held_out), "cpu", "fp32")
    assert summary.images_per_second > 0


def test_predicting_twice_gives_the_same_file(case: Case) -> None:
    for output in ("once.csv", "twice.csv"):
        case.predict(output)
    assert (case.folder / "once.csv").read_bytes() == (case.folder / "twice.csv").read_bytes()


@pytest.mark.parametrize(
    ("array", "classes", "message"),
    [
        ("a.npy", ["a", "b", "c"], r"trained for the classes c, a, b, .* \(a, b, c\)"),
        ("a.npy", ["c", "a", "z"], r"trained for the classes c, a, b, .* \(c, a, z\)"),
        ("larger.npy", CLASSES, r"larger\.npy: holds images of 64 pixels, but .* takes 32"),
    ],
    ids=["other order", "other class", "other size"],
)
def test_a_model_that_does_not_fit_is_an_error(case: Case, array: str, classes: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        case.predict("none.csv", array, classes)
    assert not (case.folder / "none.csv").exists()
