"""Training of the classifier: the same bytes for the same seed on one machine, interrupted or not."""

from __future__ import annotations

import logging
import math
import os
import pickle
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torchvision
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from wbcsr.classify import resnet
from wbcsr.classify.augment import augment
from wbcsr.classify.history import best_epoch
from wbcsr.classify.pack import ImageSet, select
from wbcsr.engines.capability import pick_device
from wbcsr.errors import InputError
from wbcsr.files import remove_leftovers, replacing, sha256, write_csv
from wbcsr.progress import image_progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainSummary:
    """What a training found out; `images_per_second` counts training images, validation left out.

    `best_epoch` counts from 1; `resumed_epochs` are those that came from a checkpoint.
    """

    device: str
    precision: str
    model_parameters: int
    training_images: int
    validation_images: int
    best_epoch: int
    resumed_epochs: int
    images_per_second: float | None


def train(
    arrays: Sequence[Path],
    indexes: Sequence[Path],
    split: Path,
    classes: Sequence[str],
    settings: Mapping[str, Any],
    seed: int,
    init: Path | None,
    model_path: Path,
    history_path: Path,
    checkpoint_path: Path,
    threads: int,
) -> TrainSummary:
    """Train ResNet-50 on the training images of one or two packed variants and keep its best epoch.

    Two variants (dual) are trained and validated on together. `settings` is the configuration's section `train`;
    `init` a file of initial weights, or None for random ones.
    AdamW (Loshchilov and Hutter 2019; no decay on norms and biases), the learning rate of `learning_rate`, cross
    entropy with smoothed labels. `history_path` gets a row for each epoch: epoch, learning_rate (the last step's),
    train_loss, train_accuracy (both as the model went through the epoch, on augmented images), validation_loss,
    validation_accuracy, seconds. `model_path` becomes the state after the best epoch (see `best_epoch`).
    `checkpoint_path` is written after each epoch and stays; a checkpoint of the same inputs, settings and versions is
    gone on from, with the same result as a training without interruption.

    InputError where the inputs do not fit each other (see `select`), there are fewer than two training images, or
    the loss is no longer finite.
    """
    device = pick_device()
    _make_repeatable(threads)
    remove_leftovers(checkpoint_path.parent)
    images = select(arrays, indexes, split, classes, {"train"})
    validation = select(arrays, indexes, split, classes, {"validation"})
    precision = resnet.choose_precision(settings["precision"], device)
    model = resnet.build(len(classes), seed, init).to(device=device, memory_format=torch.channels_last)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    log.info(
        "ResNet-50 with %.1f million parameters on %s, %s; %d training and %d validation images, %d threads",
        parameters / 1e6, device, precision, len(images), len(validation), threads,
    )  # fmt: skip
    training = _Training(model, settings, seed, precision, images, validation)
    fingerprint = _fingerprint(indexes, split, classes, settings, seed, init)
    resumed = training.resume(checkpoint_path, fingerprint)
    epochs, seconds, speed = settings["epochs"], 0.0, None
    with (
        logging_redirect_tqdm(),
        image_progress(epochs * training.used, "training", resumed * training.used) as progress,
    ):
        for epoch in range(resumed + 1, epochs + 1):
            progress.set_description_str(f"training, epoch {epoch} of {epochs}", refresh=False)
            seconds += training.run_epoch(epoch, progress)
            training.save(checkpoint_path, fingerprint)
            speed = (epoch - resumed) * training.used / seconds
            left = (epochs - epoch) * sum(row["seconds"] for row in training.history) / epoch
            log.info(
                "epoch %d of %d: loss %.4f, accuracy %.4f; validation loss %.4f, accuracy %.4f; "
                "%.1f images/s, %.1f min left",
                epoch, epochs, *(training.history[-1][key] for key in _SCORES), speed, left / 60,
            )  # fmt: skip
    best = best_epoch(training.history)
    input_size = int(images.arrays[0].shape[1])
    resnet.save(training.best_state, resnet.Description(tuple(classes), input_size), model_path)
    write_csv(history_path, pd.DataFrame(training.history))
    log.info("best epoch: %d, validation accuracy %.4f", best, training.history[best - 1]["validation_accuracy"])
    return TrainSummary(
        device=str(device),
        precision=precision,
        model_parameters=parameters,
        training_images=len(images),
        validation_images=len(validation),
        best_epoch=best,
        resumed_epochs=resumed,
        images_per_second=round(speed, 2) if speed else None,
    )


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Learning rate of step `step` (from 0) of `steps`: a linear rise over the share `warmup`, then half a cosine to 0.

    Taken in the middle of the step, so that no step has the rate 0. Goyal et al. 2017; Loshchilov and Hutter 2017.
    """
    done, rise = (step + 0.5) / steps, warmup
    if done < rise:
        return peak * done / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (done - rise) / (1 - rise)))


# What reading a file that is not a whole checkpoint may raise.
_DAMAGE = (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError, zipfile.BadZipFile)
_SCORES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


class _Training:
    """Everything that changes from epoch to epoch, and that a checkpoint therefore holds."""

    def __init__(
        self,
        model: resnet.Classifier,
        settings: Mapping[str, Any],
        seed: int,
        precision: str,
        images: ImageSet,
        validation: ImageSet,
    ) -> None:
        self.model = model
        self.settings = settings
        self.seed = seed
        self.precision = precision
        self.images = images
        self.validation = validation
        self.device = model.mean.device
        # Decay is for what multiplies; norms' scales and biases have one dimension.
        weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": weights, "weight_decay": settings["weight_decay"]},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=settings["learning_rate"],
            fused=True,
        )
        # A last batch of one image cannot be normalised over itself.
        size = settings["batch_size"]
        self.used = len(images) - (1 if len(images) % size == 1 else 0)
        if self.used == 0:
            raise InputError("training needs two images at least, but the split has one; raise dataset.limit_per_class")
        self.steps = -(-self.used // size)
        self.history: list[dict[str, float]] = []
        self.best_state: dict[str, Tensor] = {}

    def run_epoch(self, epoch: int, progress: tqdm) -> float:
        """Train and validate one epoch (from 1); returns the seconds that the training took."""
        started = time.perf_counter()
        loss, accuracy = self._train_epoch(epoch, progress)
        seconds = time.perf_counter() - started
        logits = resnet.compute_logits(self.model, self.validation, self.precision)
        labels = torch.from_numpy(self.validation.labels)
        validation_loss = self._loss(logits, labels).item()
        if not (math.isfinite(loss) and math.isfinite(validation_loss)):
            raise InputError(
                f"training: the loss is no longer finite in epoch {epoch}; lower train.learning_rate "
                f"({self.settings['learning_rate']:g}) or set train.precision to fp32"
            )
        validation_accuracy = (logits.argmax(1) == labels).double().mean().item()
        self.history.append(
            {
                "epoch": epoch,
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "train_loss": loss,
                "train_accuracy": accuracy,
                "validation_loss": validation_loss,
                "validation_accuracy": validation_accuracy,
                "seconds": round(time.perf_counter() - started, 3),
            }
        )
        if best_epoch(self.history) == epoch:
            self.best_state = {name: tensor.cpu().clone() for name, tensor in self.model.state_dict().items()}
        return seconds

    def _train_epoch(self, epoch: int, progress: tqdm) -> tuple[float, float]:
        """One pass over the training images in an order that follows from seed and epoch; mean loss and accuracy."""
        seed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)[0])
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.images), generator=generator).numpy()[: self.used]
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self.model.train()
        for step, (pixels, numbers) in enumerate(self.images.batches(order, self.settings["batch_size"])):
            batch, labels = resnet.to_device(pixels, self.device), resnet.to_device(numbers, self.device)
            if self.settings["augment"]:
                batch = augment(batch, generator)
            rate = learning_rate(
                (epoch - 1) * self.steps + step,
                self.settings["epochs"] * self.steps,
                self.settings["learning_rate"],
                self.settings["warmup"],
            )
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            with resnet.autocast(self.device, self.precision):
                logits = self.model(batch)
            logits = logits.float()
            loss = self._loss(logits, labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(labels)
            correct += (logits.detach().argmax(1) == labels).sum()
            progress.update(len(labels))
        return total.item() / self.used, correct.item() / self.used

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, label_smoothing=self.settings["label_smoothing"])

    def save(self, path: Path, fingerprint: dict[str, str]) -> None:
        """Write a checkpoint, whole or not at all."""
        content = {
            "fingerprint": fingerprint,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "best_state": self.best_state,
        }
        with replacing(path) as beside:
            torch.save(content, beside)

    def resume(self, path: Path, fingerprint: dict[str, str]) -> int:
        """Take over the checkpoint at `path` if there is one with this fingerprint; returns the epochs it has done."""
        if not path.exists():
            return 0
        try:
            # torch writes checksums but does not compare them.
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise zipfile.BadZipFile(f"checksum of {damaged} differs")
            content = torch.load(path, map_location="cpu", weights_only=True)
            found = content["fingerprint"]
        except _DAMAGE as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            log.warning("%s: damaged (%s); training starts anew", path, reason)
            return 0
        different = sorted(key for key in {*found, *fingerprint} if found.get(key) != fingerprint.get(key))
        if different:
            log.warning("%s: made with other %s; training starts anew", path, ", ".join(different))
            return 0
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.history = content["history"]
        self.best_state = content["best_state"]
        log.info("%s: going on after epoch %d of %d", path, len(self.history), self.settings["epochs"])
        return len(self.history)


def _make_repeatable(threads: int) -> None:
    """Have torch give the same bits each time on this machine; a sum's order depends on the number of threads."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def _fingerprint(
    indexes: Sequence[Path],
    split: Path,
    classes: Sequence[str],
    settings: Mapping[str, Any],
    seed: int,
    init: Path | None,
) -> dict[str, str]:
    """What the result follows from, by name; the names appear in the log where a checkpoint has other values."""
    return {
        **{f"train.{key}": repr(value) for key, value in settings.items()},
        "seed": str(seed),
        "classes": repr(list(classes)),
        "split": sha256(split),
        "images": " ".join(sha256(index) for index in indexes),
        "initial weights": sha256(init) if init else "none",
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
    }
