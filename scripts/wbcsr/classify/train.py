"""Training of the classifier; on one machine, a seed always gives the same bytes, interrupted or not."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from wbcsr.classify import classifiers
from wbcsr.classify.augment import augment, draw
from wbcsr.classify.batches import Batches, place
from wbcsr.classify.history import best_epoch
from wbcsr.classify.pack import select
from wbcsr.engines.capability import pick_device
from wbcsr.engines.memory import detect_out_of_memory
from wbcsr.engines.pytorch import Inductor
from wbcsr.errors import InputError
from wbcsr.files import remove_leftovers, sha256, write_csv
from wbcsr.progress import image_progress
from wbcsr.text import counted
from wbcsr.training.precision import autocast, choose_precision
from wbcsr.training.ranks import Part, Ranks
from wbcsr.training.repeatable import describe_device, make_repeatable, read_checkpoint, write_checkpoint
from wbcsr.training.schedule import learning_rate, set_learning_rate
from wbcsr.vision import torchvision

log = logging.getLogger(__name__)

# A checkpoint (377 MB) is written after an epoch if the last one is older than this many times its writing time. If
# epochs take a second, an interruption then costs a few epochs, but training does not take twice as long.
CHECKPOINT_PACE = 20
# Estimated, not measured: ten epochs of 10,000 images gain about 9 s on an H100, and compiling takes it 40 to 60 s.
COMPILE_ABOVE = 1_000_000


@dataclass(frozen=True)
class TrainJob:
    """One classifier to train: packed arrays with their indexes, split, settings and output files.

    With two variants (dual), training and validation use both. `settings` is the section `train` of the configuration;
    `init` is a file of initial weights, or None for random ones.
    """

    arrays: Sequence[Path]
    indexes: Sequence[Path]
    split: Path
    classes: Sequence[str]
    settings: Mapping[str, Any]
    seed: int
    init: Path | None
    model: Path
    history: Path
    checkpoint: Path
    threads: int


@dataclass(frozen=True)
class TrainSummary:
    """The outcome of a training.

    `images_per_second` counts training images; its time excludes validation and includes compiling. `devices` is the
    number of processes, each with its own device. `images_are` says where the images were read from. `best_epoch`
    counts from 1. `resumed_epochs` is the number of epochs taken from a checkpoint.
    """

    device: str
    devices: int
    precision: str
    compiled: bool
    images_are: str
    model_parameters: int
    training_images: int
    validation_images: int
    best_epoch: int
    resumed_epochs: int
    images_per_second: float | None


@detect_out_of_memory()
def train(job: TrainJob, ranks: Ranks | None = None) -> TrainSummary:
    """Train a classifier on the training images of one or two packed variants and keep the best epoch.

    AdamW (Loshchilov and Hutter 2019; no weight decay on norms and biases) with the schedule `learning_rate` and cross
    entropy with label smoothing. `job.history` gets one row per epoch: epoch, learning_rate (of the last step),
    train_loss, train_accuracy (both on augmented images, averaged during the epoch), validation_loss,
    validation_accuracy, seconds. `job.model` gets the state after the best epoch (see `best_epoch`). `job.checkpoint`
    is written after the first and last epoch, and after others if this takes little time compared with training
    (`CHECKPOINT_PACE`); it is not deleted. A checkpoint with the same inputs, settings, versions and device is resumed,
    with the same result as an uninterrupted training.

    With several processes (`ranks`), each process calls this function; they share every batch, all of them validate,
    and the first one writes.

    Raises InputError if the inputs do not fit together (see `select`), there are fewer than two training images, the
    loss is no longer finite, or the training step cannot be compiled although the settings require it.
    Raises torch.OutOfMemoryError if the GPU has too little memory.
    """
    ranks = ranks or Ranks(pick_device())
    training = begin(job, ranks)
    settings = job.settings
    fingerprint = _fingerprint(job, ranks, training.precision, training.compiled, _threads(job, ranks))
    resumed = training.resume(job.checkpoint, fingerprint)
    epochs, seconds, speed = settings["epochs"], 0.0, None
    saved, cost = -math.inf, 0.0
    with (
        logging_redirect_tqdm(),
        _progress(epochs * training.used, resumed * training.used, ranks) as progress,
    ):
        for epoch in range(resumed + 1, epochs + 1):
            progress.set_description_str(f"training, epoch {epoch} of {epochs}", refresh=False)
            seconds += training.run_epoch(epoch, progress)
            since = time.perf_counter() - saved
            if ranks.is_first and (epoch == epochs or since >= CHECKPOINT_PACE * cost):
                cost = training.save(job.checkpoint, fingerprint)
                saved = time.perf_counter()
            speed = (epoch - resumed) * training.used / seconds
            left = (epochs - epoch) * sum(row["seconds"] for row in training.history) / epoch
            log.info(
                "epoch %d of %d: loss %.4f, accuracy %.4f; validation loss %.4f, accuracy %.4f; "
                "%.1f images/s, %.1f min left",
                epoch, epochs, *(training.history[-1][key] for key in _SCORES), speed, left / 60,
            )  # fmt: skip
    best = best_epoch(training.history)
    if ranks.is_first:
        description = classifiers.Description(tuple(job.classes), training.input_size, settings["classifier"])
        classifiers.save(training.best_state, description, job.model)
        write_csv(job.history, pd.DataFrame(training.history))
    log.info("best epoch: %d, validation accuracy %.4f", best, training.history[best - 1]["validation_accuracy"])
    return TrainSummary(
        device=str(ranks.device),
        devices=ranks.count,
        precision=training.precision,
        compiled=training.compiled,
        images_are=training.images.place,
        model_parameters=_parameters(training.model),
        training_images=len(training.images),
        validation_images=len(training.validation),
        best_epoch=best,
        resumed_epochs=resumed,
        images_per_second=round(speed, 2) if speed else None,
    )


def begin(job: TrainJob, ranks: Ranks) -> Training:
    """Return a training before its first step, and set torch's global options for it. Errors as in `train`."""
    settings, device, threads = job.settings, ranks.device, _threads(job, ranks)
    make_repeatable(threads, device, settings["precision"])
    if ranks.is_first:
        remove_leftovers(job.checkpoint.parent)
    images, validation = (
        select(job.arrays, job.indexes, job.split, job.classes, {subset}) for subset in ("train", "validation")
    )
    precision = choose_precision(settings["precision"], device)
    compiled = choose_compile(settings["compile"], ranks, settings["epochs"] * len(images))
    model = classifiers.build(len(job.classes), job.seed, job.init, settings["classifier"])
    model = model.to(device).to(memory_format=torch.channels_last)
    log.info(
        "%s with %.1f million parameters on %s, %s, %s; %d training and %s, %s",
        settings["classifier"], _parameters(model) / 1e6,
        f"{ranks.count} × {device.type}" if ranks.count > 1 else device, precision,
        "compiled" if compiled else "not compiled", len(images),
        counted(len(validation), "validation image"), counted(threads, "thread"),
    )  # fmt: skip
    placed, placed_validation = place([images, validation], device)
    input_size = int(images.arrays[0].shape[1])
    return Training(model, settings, job.seed, precision, compiled, ranks, placed, placed_validation, input_size)


def _threads(job: TrainJob, ranks: Ranks) -> int:
    return max(1, job.threads // ranks.count)


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def choose_compile(requested: bool | str, ranks: Ranks, passes: int) -> bool:
    """Whether torch.compile is used for the training step; `auto`: on a single GPU if a compiler is installed.

    `auto` also needs more than `COMPILE_ABOVE` passes. `passes` is the number of images times the number of epochs.

    Raises InputError if `requested` is true but compiling is not possible.
    """
    reason = Inductor().unavailable(ranks.device)
    if ranks.count > 1:
        reason = "torch cannot compile batch norms that are synchronised between GPUs"
    pays = ranks.device.type == "cuda" and passes > COMPILE_ABOVE
    wanted = pays if requested == "auto" else bool(requested)
    if wanted and reason:
        if requested == "auto":
            log.info("the training step is not compiled: %s", reason)
            return False
        raise InputError(f"configuration: train.compile cannot be true here: {reason}; set it to auto or false")
    return wanted


_SCORES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


class Training:
    """The state that changes from epoch to epoch and is saved in a checkpoint."""

    def __init__(
        self,
        model: nn.Module,
        settings: Mapping[str, Any],
        seed: int,
        precision: str,
        compiled: bool,
        ranks: Ranks,
        images: Batches,
        validation: Batches,
        input_size: int,
    ) -> None:
        self.model = ranks.synchronise_norms(model)
        self.frozen = classifiers.freeze(self.model, settings["classifier"], settings["frozen_stages"])
        self.settings = settings
        self.seed = seed
        self.precision = precision
        self.compiled = compiled
        self.input_size = input_size
        self.ranks = ranks
        self.images = images
        self.validation = validation
        # Weight decay applies to weights only; scales and biases of norms have one dimension.
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        weights = [parameter for parameter in trained if parameter.ndim > 1]
        others = [parameter for parameter in trained if parameter.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": weights, "weight_decay": settings["weight_decay"]},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=settings["learning_rate"],
            fused=True,
        )
        # Batch norm fails on a single image, so a last batch of one image is left out.
        size = settings["batch_size"]
        self.used = len(images) - (1 if len(images) % size == 1 else 0)
        if self.used == 0:
            raise InputError("training needs at least two images, but the split has one; raise dataset.limit_per_class")
        self.steps = -(-self.used // size)
        self.history: list[dict[str, float]] = []
        self.best_state: dict[str, Tensor] = {}
        # `usual_step` is for full batches, `odd_step` for a shorter last batch. Padding the last batch would save
        # compiling a
        # second shape, but batch norm would include the padding.
        self.usual_size = min(size, self.used)
        self.odd_step = ranks.average_gradients(self.model)
        self.usual_step: Callable[[Tensor], Tensor] = self.odd_step
        if compiled:
            # Inductor's deterministic mode chooses kernels without timing them, so the choice is always the same.
            self.usual_step = torch.compile(self.odd_step, dynamic=False, options={"deterministic": True})

    def run_epoch(self, epoch: int, progress: tqdm) -> float:
        """Train and validate one epoch (from 1); returns the seconds of the training part."""
        started = time.perf_counter()
        loss, accuracy = self.train_epoch(epoch, progress)
        seconds = time.perf_counter() - started
        logits = logits_of(self.model, self.validation, self.ranks.device, self.precision)
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

    def train_epoch(self, epoch: int, progress: tqdm) -> tuple[float, float]:
        """Do one pass over the training images; returns mean loss and accuracy. Waits for a GPU only at the end."""
        batches, draws = self._plan_epoch(epoch)
        parts = [self.ranks.part(len(batch)) for batch in batches]
        mine = [batch[part.where] for batch, part in zip(batches, parts, strict=True)]
        total = torch.zeros((), dtype=torch.float64, device=self.ranks.device)
        correct = torch.zeros((), dtype=torch.int64, device=self.ranks.device)
        self.model.train()
        for module in self.frozen:
            module.eval()
        for step, (images, labels) in enumerate(self.images.read(mine)):
            part, size = parts[step], len(batches[step])
            if draws:
                images = augment(images, draws[step][:, part.where])
            self._set_learning_rate((epoch - 1) * self.steps + step)
            loss, logits = self._step(images, labels, part, usual=size == self.usual_size)
            if part.counted:
                total += loss * len(labels)
                correct += (logits.argmax(1) == labels).sum()
            progress.update(size)
        return self.ranks.sum(total).item() / self.used, self.ranks.sum(correct).item() / self.used

    def _plan_epoch(self, epoch: int) -> tuple[list[np.ndarray], Sequence[Tensor]]:
        """Return an epoch's batches (positions) and, if configured, the random numbers for `augment` on the device.

        Both depend only on seed and epoch, not on the number of processes.
        """
        seed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)[0])
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.images), generator=generator)[: self.used]
        batches = order.split(self.settings["batch_size"])
        draws: Sequence[Tensor] = ()
        if self.settings["augment"]:
            sizes = [len(batch) for batch in batches]
            drawn = torch.cat([draw(size, generator) for size in sizes], dim=1)
            draws = drawn.to(self.ranks.device).split(sizes, dim=1)
        return [batch.numpy() for batch in batches], draws

    def _set_learning_rate(self, step: int) -> None:
        rate = learning_rate(
            step,
            self.settings["epochs"] * self.steps,
            self.settings["learning_rate"],
            self.settings["warmup"],
        )
        set_learning_rate(self.optimizer, rate)

    def _step(self, images: Tensor, labels: Tensor, part: Part, usual: bool) -> tuple[Tensor, Tensor]:
        """Do one optimizer step; returns the mean loss over `images` and their logits, both on the device."""
        with autocast(self.ranks.device, self.precision):
            logits = (self.usual_step if usual else self.odd_step)(images)
        logits = logits.float()
        loss = self._loss(logits, labels)
        self.optimizer.zero_grad()
        (loss * part.weight).backward()
        self.optimizer.step()
        return loss.detach(), logits.detach()

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, label_smoothing=self.settings["label_smoothing"])

    def save(self, path: Path, fingerprint: dict[str, str]) -> float:
        """Write a checkpoint atomically; returns the seconds needed."""
        content = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "best_state": self.best_state,
        }
        return write_checkpoint(path, fingerprint, content)

    def resume(self, path: Path, fingerprint: dict[str, str]) -> int:
        """Load the checkpoint at `path` if it has this fingerprint; returns the number of completed epochs."""
        content = read_checkpoint(path, fingerprint)
        if content is None:
            return 0
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.history = content["history"]
        self.best_state = content["best_state"]
        log.info("%s: resuming after epoch %d of %d", path, len(self.history), self.settings["epochs"])
        return len(self.history)


def logits_of(model: nn.Module, images: Batches, device: torch.device, precision: str) -> Tensor:
    """Return the logits of all `images` in order, (n, classes) float32 on the CPU; switches to evaluation mode."""
    model.eval()
    size = classifiers.ENGINE_BATCH[device.type]
    parts = np.split(np.arange(len(images)), range(size, len(images), size))
    with torch.inference_mode(), autocast(device, precision):
        return torch.cat([model(batch).float() for batch, _ in images.read(parts)]).cpu()


def _progress(total: int, done: int, ranks: Ranks) -> tqdm:
    """Return a progress bar over `total` images, shown only by the first process."""
    return image_progress(total, "training", done) if ranks.is_first else tqdm(disable=True)


def _fingerprint(job: TrainJob, ranks: Ranks, precision: str, compiled: bool, threads: int) -> dict[str, str]:
    """Return everything that determines the result, by name; the log lists the names that differ from a checkpoint."""
    chosen = {"precision": precision, "compile": compiled, "gpus": ranks.count}
    return {
        **{f"train.{key}": repr(value) for key, value in {**job.settings, **chosen}.items()},
        "seed": str(job.seed),
        "classes": repr(list(job.classes)),
        "split": sha256(job.split),
        "images": " ".join(sha256(index) for index in job.indexes),
        "initial weights": sha256(job.init) if job.init else "none",
        **describe_device(ranks.device, threads),
        "torchvision": str(torchvision.__version__),
    }
